/// A JSON Pointer (RFC 6901): a view of its text, in which `~0` means `~` and `~1` means `/`.
///
/// It is good for as long as the text stays where and what it is. Percent-encoding belongs to URLs and is the caller's.
///
/// Tokens are compared with member names by their characters, so the token `a` names the member `"\u0061"`. Of members
/// with the same name a pointer names the last one, as a parser that keeps the last one would. A member whose name has
/// a lone surrogate has no pointer, since pointers are UTF-8.
package struct JSONPointer {
  let text: UnsafePointer<UInt8>?
  let count: Int
  /// The number of tokens, which is the number of containers around the value that the pointer names.
  package let tokenCount: Int

  /// - Throws: nothing but `.malformed(.pointer)`: the text neither is empty nor begins with a slash, has a `~` that is
  ///   followed by neither 0 nor 1, or isn't UTF-8.
  package init(_ bytes: UnsafeRawBufferPointer) throws(JSONEditError) {
    text = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
    count = bytes.count
    var tokens = 0
    var i = 0
    while let text, i < count {
      let length = Text.utf8Sequence(text + i, count &- i)
      guard length > 0 else { throw JSONEditError(.malformed(.pointer)) }
      if text[i] == 0x2F {
        tokens &+= 1
      } else if i == 0 {
        throw JSONEditError(.malformed(.pointer))
      } else if text[i] == 0x7E {
        guard i &+ 1 < count, text[i &+ 1] & 0xFE == 0x30 else { throw JSONEditError(.malformed(.pointer)) }
      }
      i &+= length
    }
    tokenCount = tokens
  }

  /// The token whose slash is at `position`.
  @inline(__always)
  func token(at position: Int) -> JSONPointerToken {
    // A position below count implies a text.
    let text = text.unsafelyUnwrapped
    var end = position &+ 1
    while end < count, text[end] != 0x2F { end &+= 1 }
    return JSONPointerToken(text: text, start: position &+ 1, end: end)
  }

  /// Whether this pointer names a container around what `other` names.
  ///
  /// Both `~` and `/` can be written in one way only, so comparing the texts is enough.
  func isProperPrefix(of other: JSONPointer) -> Bool {
    count < other.count && isTextPrefix(of: other) && other.text.unsafelyUnwrapped[count] == 0x2F
  }

  static func == (a: JSONPointer, b: JSONPointer) -> Bool { a.count == b.count && a.isTextPrefix(of: b) }

  private func isTextPrefix(of other: JSONPointer) -> Bool {
    for i in 0..<count where text.unsafelyUnwrapped[i] != other.text.unsafelyUnwrapped[i] { return false }
    return true
  }
}

/// One reference token of a JSON Pointer.
struct JSONPointerToken {
  let text: UnsafePointer<UInt8>
  let start: Int
  /// Also the position of the next token, or the pointer's end.
  let end: Int

  /// Whether the token is `-`, the element past an array's end.
  var isPastEnd: Bool { end &- start == 1 && text[start] == 0x2D }

  /// The array index that the token is, or nil. One too large to count with is `Int.max`, which no array has.
  var index: Int? {
    guard start < end, text[start] != 0x30 || end &- start == 1 else { return nil }
    var index = 0
    for i in start..<end {
      guard JSONScanner.isDigit(text[i]) else { return nil }
      index = index > Int.max / 16 ? Int.max : index &* 10 &+ Int(text[i] &- 0x30)
    }
    return index
  }

  /// Whether this token names the member called `name`, a string.
  func names(_ name: JSONValue) -> Bool {
    // Bytes that differ and are no escape on either side decide at once; that is nearly every call.
    var i = start
    var j = name.start &+ 1
    let nameEnd = name.end &- 1
    while i < end, j < nameEnd {
      let a = text[i]
      let b = name.text[j]
      if a == 0x7E || b == 0x5C { return namesWithEscapes(name, i, j) }
      if a != b { return false }
      i &+= 1
      j &+= 1
    }
    return i == end && j == nameEnd
  }

  /// Whether the rest of the token from `i` means the same as the rest of `name` from `j`.
  private func namesWithEscapes(_ name: JSONValue, _ i: Int, _ j: Int) -> Bool {
    var bytes = JSONStringBytes(name.text, j, name.end &- 1)
    var i = i
    while i < end {
      if bytes.next() != Int(nextByte(&i)) { return false }
    }
    return bytes.next() < 0
  }

  /// The meaning of the byte or escape at `i`, which moves behind it.
  private func nextByte(_ i: inout Int) -> UInt8 {
    let byte = text[i]
    i &+= 1
    guard byte == 0x7E else { return byte }
    i &+= 1
    return text[i &- 1] == 0x30 ? 0x7E : 0x2F
  }

  /// Appends the token as a JSON string.
  func appendName(to output: inout [UInt8]) {
    var plain: [UInt8] = []
    plain.reserveCapacity(end - start)
    var i = start
    while i < end { plain.append(nextByte(&i)) }
    plain.withUnsafeBytes { appendJSONString($0, to: &output) }
  }
}
