import CXXHash

extension HeadParser {
  // MARK: Field lines (RFC 9112, section 5)

  /// Reads field lines up to and with the empty line after them.
  @inline(__always)
  func fields(from start: Int, _ head: inout RequestHead) -> Int {
    var at = start
    // Two bytes in front of every line: its end, or a name and more.
    while at >= 0 && at &+ 2 <= end {
      if isLineBreak(at) { return at &+ 2 }
      var next = commonField(at, &head)
      if next == 0 { next = line(at, &head) }
      at = next
    }
    return at < 0 ? at : shortLine(at)
  }

  /// The two fields that nearly every request has, in the form that nearly every client sends: `Host: ` with an
  /// ordinary name or address, `Content-Length: ` with at most 18 digits. Answers 0, where no line ends, if it is
  /// neither; `line` takes those.
  @inline(__always)
  private func commonField(_ at: Int, _ head: inout RequestHead) -> Int {
    guard end &- at >= 20 else { return 0 }
    let fold: UInt64 = 0x2020_2020_2020_2020  // folds the case of letters, and blurs the rest: compared again below
    let first = Text.word8(bytes + at) | fold
    let host: StaticString = "host: 00"
    if (first ^ Text.word8(host.utf8Start)) << 16 == 0 && bytes[at &+ 4] == UInt8(ascii: ":")
      && bytes[at &+ 5] == UInt8(ascii: " ")
    {
      let stop = kvd_find_not_host(bytes, at &+ 6, end)
      guard stop &+ 2 <= end, isLineBreak(stop), !head.hasHost else { return 0 }
      head.hasHost = true
      return stop &+ 2
    }
    let length: StaticString = "content-length: "
    guard first == Text.word8(length.utf8Start),
      Text.word8(bytes + (at &+ 8)) | fold == Text.word8(length.utf8Start + 8),
      bytes[at &+ 7] == UInt8(ascii: "-"), bytes[at &+ 14] == UInt8(ascii: ":"), bytes[at &+ 15] == UInt8(ascii: " ")
    else { return 0 }
    let digits = at &+ 16
    var value = 0
    var i = digits
    let last = min(digits &+ 18, end &- 2)
    while i < last {
      let digit = bytes[i] &- UInt8(ascii: "0")
      guard digit <= 9 else { break }
      value = value &* 10 &+ Int(digit)
      i &+= 1
    }
    guard i > digits, isLineBreak(i), !head.hasContentLength, !head.chunked else { return 0 }
    head.contentLength = value
    head.hasContentLength = true
    return i &+ 2
  }

  /// Any field line.
  private func line(_ at: Int, _ head: inout RequestHead) -> Int {
    // One scan finds the end of the line and proves that no control character stands in it.
    let lineEnd = kvd_find_control(bytes, at, end)
    var colon = kvd_find_not_word(bytes, at, lineEnd)
    if colon == at || colon == lineEnd || bytes[colon] != UInt8(ascii: ":") {
      colon = nameEndSlowly(at, colon, lineEnd)
      guard colon >= 0 else { return colon }
    }
    guard lineEnd &+ 2 <= end && isLineBreak(lineEnd) else { return lineBreakSlowly(lineEnd) }
    var start = colon &+ 1
    var stop = lineEnd
    while start < stop && isBlank(bytes[start]) { start &+= 1 }
    while start < stop && isBlank(bytes[stop &- 1]) { stop &-= 1 }
    let violation = field(at, colon, start, stop, &head)
    return violation < 0 ? violation : lineEnd &+ 2
  }

  @inline(__always)
  private func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

  /// A line of which less than two bytes are there.
  private func shortLine(_ at: Int) -> Int {
    guard at < end && bytes[at] != UInt8(ascii: "\r") else { return HeadParser.incomplete }
    let lineEnd = kvd_find_control(bytes, at, end)
    return min(nameEndSlowly(at, at, lineEnd), HeadParser.incomplete)
  }

  /// Why there is no CRLF at the end of the bytes, or at the control character, at `index`.
  private func lineBreakSlowly(_ index: Int) -> Int {
    guard index < end else { return HeadParser.incomplete }
    guard bytes[index] == UInt8(ascii: "\r")
    else { return fail(bytes[index] == UInt8(ascii: "\n") ? .bareLineFeed : .controlInField) }
    return index + 1 < end ? fail(.bareCarriageReturn) : HeadParser.incomplete
  }

  /// The colon after a name with characters beyond letters, digits and '-', looked for from `index` on.
  private func nameEndSlowly(_ at: Int, _ index: Int, _ lineEnd: Int) -> Int {
    var i = index
    while i < lineEnd && Text.isToken(bytes[i]) { i += 1 }
    if i == lineEnd {
      guard i < end else { return HeadParser.incomplete }
      if bytes[i] == UInt8(ascii: "\r") {
        // At the start of a line it is a broken empty line, not a field.
        return i == at ? lineBreakSlowly(i) : fail(.missingColon)
      }
      return fail(bytes[i] == UInt8(ascii: "\n") ? .bareLineFeed : .badFieldName)
    }
    if isBlank(bytes[i]) { return fail(i == at ? .foldedField : .spaceBeforeColon) }
    return bytes[i] == UInt8(ascii: ":") && i > at ? i : fail(.badFieldName)
  }

  // MARK: The fields that mean something here

  /// Takes one field and answers 0, or a violation; names are told apart by their length, then compared eight bytes at
  /// a time.
  @inline(__always)
  private func field(_ name: Int, _ colon: Int, _ start: Int, _ stop: Int, _ head: inout RequestHead) -> Int {
    switch colon &- name {
    case 4 where matches(name, colon, "host"): return host(start, stop, &head)
    case 6: return field6(name, colon, start, stop, &head)
    case 8 where matches(name, colon, "if-match"):
      return capture(start, stop, .duplicateIfMatch, &head.ifMatch)
    case 10 where matches(name, colon, "connection"):
      connection(start, stop, &head)
      return 0
    case 11 where matches(name, colon, "traceparent"):
      if head.traceparent.offset == 0 { head.traceparent = slice(start, stop) }
      return 0
    case 12 where matches(name, colon, "content-type"):
      return capture(start, stop, .duplicateContentType, &head.contentType)
    case 13: return field13(name, colon, start, stop, &head)
    case 14 where matches(name, colon, "content-length"): return contentLength(start, stop, &head)
    case 15 where matches(name, colon, "idempotency-key"):
      return capture(start, stop, .duplicateIdempotencyKey, &head.idempotencyKey)
    case 17 where matches(name, colon, "transfer-encoding"): return transferEncoding(start, stop, &head)
    default: return 0
    }
  }

  private func field6(_ name: Int, _ colon: Int, _ start: Int, _ stop: Int, _ head: inout RequestHead) -> Int {
    if matches(name, colon, "accept") {
      if head.accept.offset == 0 { head.accept = slice(start, stop) }
    } else if matches(name, colon, "expect") {
      guard matches(start, stop, "100-continue") else { return fail(.unknownExpectation) }
      head.expectContinue = true
    }
    return 0
  }

  private func field13(_ name: Int, _ colon: Int, _ start: Int, _ stop: Int, _ head: inout RequestHead) -> Int {
    if matches(name, colon, "if-none-match") { return capture(start, stop, .duplicateIfNoneMatch, &head.ifNoneMatch) }
    if matches(name, colon, "authorization") {
      return capture(start, stop, .duplicateAuthorization, &head.authorization)
    }
    return 0
  }

  @inline(__always)
  private func matches(_ start: Int, _ stop: Int, _ literal: StaticString) -> Bool {
    Text.matches(bytes + start, stop &- start, folded: literal)
  }

  @inline(__always)
  private func capture(
    _ start: Int, _ stop: Int, _ duplicate: HTTPViolation, _ into: inout Slice
  ) -> Int {
    guard into.offset == 0 else { return fail(duplicate) }
    into = slice(start, stop)
    return 0
  }

  @inline(__always)
  private func host(_ start: Int, _ stop: Int, _ head: inout RequestHead) -> Int {
    guard !head.hasHost else { return fail(.duplicateHost) }
    guard hostEnd(start, stop) == stop else { return fail(.badHost) }
    head.hasHost = true
    return 0
  }

  private func connection(_ start: Int, _ stop: Int, _ head: inout RequestHead) {
    forEachElement(start, stop) { first, last in
      if matches(first, last, "close") { head.connectionClose = true }
      if matches(first, last, "keep-alive") { head.connectionKeepAlive = true }
    }
  }

  /// The elements of a comma-separated list without the blanks around them; empty ones are left out.
  @inline(__always)
  private func forEachElement(_ start: Int, _ stop: Int, _ body: (_ first: Int, _ last: Int) -> Void) {
    var i = start
    while i < stop {
      var first = i
      while i < stop && bytes[i] != UInt8(ascii: ",") { i &+= 1 }
      var last = i
      while first < last && isBlank(bytes[first]) { first &+= 1 }
      while first < last && isBlank(bytes[last &- 1]) { last &-= 1 }
      if first < last { body(first, last) }
      i &+= 1
    }
  }

  // MARK: Framing (RFC 9112, section 6)

  @inline(__always)
  private func contentLength(_ start: Int, _ stop: Int, _ head: inout RequestHead) -> Int {
    guard !head.hasContentLength else { return fail(.duplicateContentLength) }
    guard !head.chunked else { return fail(.lengthAndTransferEncoding) }
    guard start < stop else { return fail(.badContentLength) }
    var value = 0
    var digits = 0  // significant ones: 18 can't overflow
    var i = start
    while i < stop {
      let digit = Int(bytes[i] &- UInt8(ascii: "0"))
      guard digit <= 9 else { return fail(.badContentLength) }
      value = value &* 10 &+ digit
      if value != 0 { digits &+= 1 }
      // A 19th digit settles it, but only when all that follows are digits too.
      if digits > 18 { return longContentLength(i, stop) }
      i &+= 1
    }
    head.contentLength = value
    head.hasContentLength = true
    return 0
  }

  private func longContentLength(_ start: Int, _ stop: Int) -> Int {
    for i in start..<stop where bytes[i] &- UInt8(ascii: "0") > 9 { return fail(.badContentLength) }
    return fail(.contentTooLong)
  }

  private func transferEncoding(_ start: Int, _ stop: Int, _ head: inout RequestHead) -> Int {
    guard head.http11 else { return fail(.transferEncodingInHTTP10) }
    guard !head.chunked else { return fail(.duplicateTransferEncoding) }
    guard !head.hasContentLength else { return fail(.lengthAndTransferEncoding) }
    guard !matches(start, stop, "chunked") else {
      head.chunked = true
      return 0
    }
    var elements = 0
    var chunked = 0
    var isFinal = false
    forEachElement(start, stop) { first, last in
      isFinal = matches(first, last, "chunked")
      elements += 1
      if isFinal { chunked += 1 }
    }
    return fail(isFinal && chunked == 1 && elements > 1 ? .unsupportedTransferEncoding : .chunkedNotFinal)
  }

  /// What only the whole head can tell.
  @inline(__always)
  func finish(_ at: Int, _ head: inout RequestHead) -> Int {
    if head.http11 {
      guard head.hasHost else { return fail(.missingHost) }
      head.keepAlive = !head.connectionClose
    } else {
      head.keepAlive = head.connectionKeepAlive && !head.connectionClose
    }
    if head.expectContinue {
      // HTTP/1.0 clients don't wait for 100 (RFC 9110, section 10.1.1), nor does anyone without a body.
      head.expectContinue = head.http11 && (head.chunked || head.contentLength > 0)
    }
    head.headCount = UInt32(truncatingIfNeeded: at)
    return at
  }
}
