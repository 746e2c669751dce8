import CXXHash

/// The HTTP/1.1 request head parser (RFC 9112, sections 2 to 6), as strict as smuggling demands.
///
/// It takes what has been received so far, from the head's first byte on, and reads it left to right.
/// Whatever is wrong is found at the first byte that makes it wrong, and more bytes never change a verdict: any prefix
/// of an input is either `incomplete` or has the very result of the whole. That is what makes calling it again from the
/// start, after more bytes have come, correct; `limit` bounds what that costs.
public enum RequestParser {
  /// Parses the head at the start of `bytes`.
  ///
  /// - Parameters:
  ///   - limit: the most bytes of a head; beyond it the answer is 414 (in the request line) or 431. At most
  ///     `UInt32.max`.
  ///   - head: only of use when the result is `complete`.
  package static func parse(
    _ bytes: UnsafePointer<UInt8>, _ count: Int, limit: Int, into head: inout RequestHead
  ) -> ParseResult {
    head = RequestHead()
    // Nothing beyond the limit is looked at, so a head that is too long fails alike however it arrives.
    let parser = HeadParser(bytes: bytes, end: min(count, limit))
    let fields = parser.requestLine(&head)
    var at = fields
    if at >= 0 { at = parser.fields(from: at, &head) }
    if at >= 0 { at = parser.finish(at, &head) }
    if at >= 0 { return .complete }
    if at == HeadParser.incomplete {
      return count < limit ? .incomplete : .failed(fields < 0 ? .requestLineTooLong : .headTooLarge)
    }
    return .failed(HeadParser.violation(at))
  }
}

/// The steps of the parser. Each takes the index where it starts and answers the one after it, or a negative number:
/// `incomplete`, or a violation. (Indices that stay in registers instead of a cursor in memory are worth 8 ns a head.)
struct HeadParser {
  let bytes: UnsafePointer<UInt8>
  let end: Int

  /// The bytes end before the step does.
  static var incomplete: Int { -1 }

  /// The answer of a step that failed.
  @inline(__always)
  func fail(_ violation: HTTPViolation) -> Int { -2 &- Int(violation.rawValue) }

  /// The violation inside the answer of a step that failed.
  static func violation(_ answer: Int) -> HTTPViolation {
    guard let violation = HTTPViolation(rawValue: UInt8(truncatingIfNeeded: -2 &- answer)) else {
      preconditionFailure("a parsing step answered \(answer)")
    }
    return violation
  }

  @inline(__always)
  func slice(_ start: Int, _ end: Int) -> Slice {
    Slice(offset: UInt32(truncatingIfNeeded: start), count: UInt32(truncatingIfNeeded: end &- start))
  }

  @inline(__always)
  func requestLine(_ head: inout RequestHead) -> Int {
    guard end > 0 else { return HeadParser.incomplete }
    var at = bytes[0] > 0x20 ? 0 : emptyLines()
    if at >= 0 { at = method(at, &head) }
    if at >= 0 { at = target(at, &head) }
    if at >= 0 { at = version(at, &head) }
    return at
  }

  // MARK: The request line

  /// Skips up to two empty lines: some old clients send one after a body (RFC 9112, section 2.2).
  private func emptyLines() -> Int {
    var at = 0
    while at < end {
      switch bytes[at] {
      case UInt8(ascii: "\r"):
        if at == 4 { return fail(.emptyLines) }
        guard at + 1 < end else { return HeadParser.incomplete }
        guard bytes[at + 1] == UInt8(ascii: "\n") else { return fail(.bareCarriageReturn) }
        at += 2
      case UInt8(ascii: "\n"): return fail(.bareLineFeed)
      case 0x16: return fail(.tls)  // the first byte of a TLS record that holds a ClientHello
      default: return at
      }
    }
    return HeadParser.incomplete
  }

  @inline(__always)
  private func method(_ at: Int, _ head: inout RequestHead) -> Int {
    guard end &- at >= 8 else { return methodSlowly(at, &head) }
    let word = Text.word8(bytes + at)
    if starts(word, "GET ") { return at &+ 4 }
    if starts(word, "PUT ") {
      head.method = .put
      return at &+ 4
    }
    if starts(word, "POST ") {
      head.method = .post
      return at &+ 5
    }
    return methodSlowly(at, &head)
  }

  /// Whether eight bytes, read as `word`, start with a literal of up to eight.
  @inline(__always)
  private func starts(_ word: UInt64, _ literal: StaticString) -> Bool {
    var wanted: UInt64 = 0
    var i = 0
    while i < literal.utf8CodeUnitCount {
      wanted |= UInt64(literal.utf8Start[i]) << UInt64(i &* 8)
      i &+= 1
    }
    return (word ^ wanted) << UInt64(64 &- literal.utf8CodeUnitCount &* 8) == 0
  }

  /// Any method, byte by byte.
  private func methodSlowly(_ at: Int, _ head: inout RequestHead) -> Int {
    let longest = 24
    var i = at
    while i < end {
      let byte = bytes[i]
      if byte == UInt8(ascii: " ") && i > at { return classify(at, i, &head) }
      if byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") { return fail(.methodCase) }
      if byte == UInt8(ascii: "\n") { return fail(.bareLineFeed) }
      guard Text.isToken(byte) else { return fail(.badMethod) }
      guard i - at < longest else { return fail(.unknownMethod) }
      i += 1
    }
    return HeadParser.incomplete
  }

  private func classify(_ at: Int, _ methodEnd: Int, _ head: inout RequestHead) -> Int {
    let name = bytes + at
    let count = methodEnd - at
    if Text.equals(name, count, "GET") {
      head.method = .get
    } else if Text.equals(name, count, "PUT") {
      head.method = .put
    } else if Text.equals(name, count, "POST") {
      head.method = .post
    } else if Text.equals(name, count, "HEAD") {
      head.method = .head
    } else if Text.equals(name, count, "DELETE") {
      head.method = .delete
    } else if Text.equals(name, count, "PATCH") {
      head.method = .patch
    } else if Text.equals(name, count, "OPTIONS") {
      head.method = .options
    } else {
      if Text.equals(name, count, "PRI") { return fail(.http2Preface) }
      return fail(Text.equals(name, count, "CONNECT") ? .connect : .unknownMethod)
    }
    return methodEnd + 1
  }

  @inline(__always)
  private func target(_ at: Int, _ head: inout RequestHead) -> Int {
    guard at < end else { return HeadParser.incomplete }
    return bytes[at] == UInt8(ascii: "/") ? pathAndQuery(at, &head) : otherTarget(at, &head)
  }

  /// The rest of a target from the start of its path to the space after it.
  @inline(__always)
  private func pathAndQuery(_ start: Int, _ head: inout RequestHead) -> Int {
    let mark = kvd_find_target_mark(bytes, start, end)
    guard mark < end && bytes[mark] == UInt8(ascii: " ") else { return markedPathAndQuery(start, mark, &head) }
    head.path = slice(start, mark)
    return mark &+ 1
  }

  /// The same for a target with a query or escapes, from the first of its marks.
  private func markedPathAndQuery(_ start: Int, _ mark: Int, _ head: inout RequestHead) -> Int {
    var i = mark
    var question = -1
    while true {
      guard i < end else { return HeadParser.incomplete }
      let byte = bytes[i]
      if byte == UInt8(ascii: " ") { break }
      if byte == UInt8(ascii: "?") {
        if question < 0 { question = i }
      } else if byte == UInt8(ascii: "%") {
        if question < 0 { head.pathHasEscapes = true }
      } else {
        return failTarget(byte)
      }
      i = kvd_find_target_mark(bytes, i &+ 1, end)
    }
    head.path = slice(start, question < 0 ? i : question)
    if question >= 0 {
      head.query = slice(question &+ 1, i)
      head.hasQuery = true
    }
    return i &+ 1
  }

  private func failTarget(_ byte: UInt8) -> Int {
    switch byte {
    case UInt8(ascii: "\r"): fail(.missingVersion)
    case UInt8(ascii: "\n"): fail(.bareLineFeed)
    default: fail(.targetCharacter)
    }
  }

  /// asterisk-form with OPTIONS, and absolute-form, which every server must take (RFC 9112, section 3.2).
  private func otherTarget(_ at: Int, _ head: inout RequestHead) -> Int {
    if bytes[at] == UInt8(ascii: "*") {
      guard head.method == .options else { return fail(.asteriskTarget) }
      guard at + 1 < end else { return HeadParser.incomplete }
      guard bytes[at + 1] == UInt8(ascii: " ") else { return fail(.badTarget) }
      head.path = slice(at, at + 1)
      return at + 2
    }
    let scheme: StaticString = "http://"
    for i in 0..<scheme.utf8CodeUnitCount {
      guard at + i < end else { return HeadParser.incomplete }
      let byte = bytes[at + i]
      let folded = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
      guard folded == scheme.utf8Start[i] else { return fail(.badTarget) }
    }
    let authority = at + scheme.utf8CodeUnitCount
    let path = hostEnd(authority, end)
    guard path < end else { return HeadParser.incomplete }
    let byte = bytes[path]
    guard path > authority, byte == UInt8(ascii: "/") || byte == UInt8(ascii: "?") || byte == UInt8(ascii: " ")
    else { return fail(.badTarget) }
    let next = markedPathAndQuery(path, kvd_find_target_mark(bytes, path, end), &head)
    // No path means "/" (RFC 9110, section 4.2.3): the second '/' of "http://" stands in for it.
    if next >= 0 && head.path.isEmpty { head.path = slice(authority - 1, authority) }
    return next
  }

  /// The end of the host and port that start at `start`: the characters of RFC 3986's host and port, and no others.
  func hostEnd(_ start: Int, _ end: Int) -> Int {
    var i = start
    while true {
      i = kvd_find_not_host(bytes, i, end)
      guard i < end && isHostMark(bytes[i]) else { return i }
      i &+= 1
    }
  }

  /// The rarer characters of a host: brackets of IP literals, '%', and what a registered name may hold.
  private func isHostMark(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "%"), UInt8(ascii: "_"), UInt8(ascii: "~"),
      UInt8(ascii: "!"), UInt8(ascii: "$"), UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "("),
      UInt8(ascii: ")"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: ","), UInt8(ascii: ";"),
      UInt8(ascii: "="):
      true
    default: false
    }
  }

  @inline(__always)
  private func version(_ at: Int, _ head: inout RequestHead) -> Int {
    let http11: StaticString = "HTTP/1.1\r\n"
    guard end &- at >= 10, Text.word8(bytes + at) == Text.word8(http11.utf8Start), isLineBreak(at &+ 8)
    else { return versionSlowly(at, &head) }
    head.http11 = true
    return at &+ 10
  }

  /// Whether CRLF stands at an index; both bytes must be there.
  @inline(__always)
  func isLineBreak(_ at: Int) -> Bool {
    UInt16(littleEndian: UnsafeRawPointer(bytes + at).loadUnaligned(as: UInt16.self)) == 0x0A0D
  }

  private func versionSlowly(_ at: Int, _ head: inout RequestHead) -> Int {
    let pattern: StaticString = "HTTP/1.d\r\n"  // d: 0 or 1
    for i in 0..<pattern.utf8CodeUnitCount {
      guard at + i < end else { return HeadParser.incomplete }
      let byte = bytes[at + i]
      let isDigit = byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
      switch i {
      case 5 where isDigit && byte != UInt8(ascii: "1"), 7 where isDigit && byte > UInt8(ascii: "1"):
        return fail(.unsupportedVersion)
      case 7 where isDigit:
        if byte == UInt8(ascii: "1") { head.http11 = true }
      case 8 where byte == UInt8(ascii: "\n"):
        return fail(.bareLineFeed)
      case 9 where byte != UInt8(ascii: "\n"):
        return fail(.bareCarriageReturn)
      default:
        guard byte == pattern.utf8Start[i] else { return fail(.badVersion) }
      }
    }
    return at + pattern.utf8CodeUnitCount
  }
}
