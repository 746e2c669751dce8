/// A strict validator of JSON texts: RFC 8259 to the letter, with a bound on nesting.
///
/// Accepted is exactly one value with white space around it: UTF-8 without a byte order mark, no control characters
/// inside strings, numbers as §6 writes them, nothing after the value. Two things that RFC 8259 leaves open are
/// accepted:
/// - an escaped lone surrogate such as `"\uD800"`. It equals only itself (see `JSONStringBytes`), and can't be decoded
///   into UTF-8 (see `JSONValue.string`);
/// - a member name that comes several times in an object. The last one counts, as with most parsers.
///
/// It doesn't recurse and doesn't allocate: the open arrays and objects are one bit each in a 128-bit word.
package enum JSONScanner {
  /// The deepest nesting that can be accepted.
  package static var maximumDepth: Int { 128 }

  /// What was found in a valid text.
  struct Result {
    /// The value without the white space around it.
    var value: Range<Int>
    /// Arrays and objects inside each other at the deepest place; 0 for a scalar.
    var depth: Int
  }

  /// Checks a whole text.
  ///
  /// - Parameters:
  ///   - bytes: the text.
  ///   - maximumDepth: the nesting that is accepted; larger numbers than `JSONScanner.maximumDepth` mean that.
  /// - Throws: where and why the text isn't JSON.
  static func scan(
    _ bytes: UnsafeRawBufferPointer, maximumDepth: Int = JSONScanner.maximumDepth
  ) throws(JSONSyntaxError) -> Result {
    let end = bytes.count
    guard end > 0, let base = bytes.baseAddress else { throw JSONSyntaxError(0, .empty) }
    let text = base.assumingMemoryBound(to: UInt8.self)
    let start = JSONText.skipSpace(text, 0, end)
    guard start < end else { throw JSONSyntaxError(end, .empty) }
    if start == 0, end >= 3, text[0] == 0xEF, text[1] == 0xBB, text[2] == 0xBF {
      throw JSONSyntaxError(0, .byteOrderMark)
    }
    var result = Result(value: start..<start, depth: 0)
    let valueEnd = try scanValue(text, start, end, min(maximumDepth, JSONScanner.maximumDepth), &result.depth)
    let rest = JSONText.skipSpace(text, valueEnd, end)
    guard rest == end else { throw JSONSyntaxError(rest, .trailingBytes) }
    result.value = start..<valueEnd
    return result
  }

  /// The offset after the value at `start`, which is no white space and below `end`.
  private static func scanValue(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, _ maximumDepth: Int, _ deepest: inout Int
  ) throws(JSONSyntaxError) -> Int {
    var i = start
    var depth = 0
    var objects: UInt128 = 0  // the lowest bit tells whether the innermost open container is an object
    while true {
      // A value begins at i. A container that isn't empty goes round to its first value.
      guard i < end else { throw JSONSyntaxError(end, .truncated) }
      switch text[i] {
      case 0x22: i = try scanString(text, i, end)
      case 0x7B, 0x5B:
        let isObject = text[i] == 0x7B
        guard depth < maximumDepth else { throw JSONSyntaxError(i, .tooDeep) }
        depth &+= 1
        if depth > deepest { deepest = depth }
        i = JSONText.skipSpace(text, i &+ 1, end)
        guard i < end else { throw JSONSyntaxError(end, .truncated) }
        objects = (objects &<< 1) | (isObject ? 1 : 0)
        if text[i] != (isObject ? 0x7D : 0x5D) {
          if isObject { i = try scanName(text, i, end) }
          continue
        }
        i &+= 1
        depth &-= 1
        objects &>>= 1
      default: i = try scanScalar(text, i, end)
      }
      // A value ended at i: close containers until one goes on.
      while true {
        if depth == 0 { return i }
        i = JSONText.skipSpace(text, i, end)
        guard i < end else { throw JSONSyntaxError(end, .truncated) }
        let isObject = objects & 1 == 1
        if text[i] == 0x2C {
          i = JSONText.skipSpace(text, i &+ 1, end)
          if isObject { i = try scanName(text, i, end) }
          break
        }
        guard text[i] == (isObject ? 0x7D : 0x5D) else {
          throw JSONSyntaxError(i, isObject ? .expectedCommaOrBrace : .expectedCommaOrBracket)
        }
        i &+= 1
        depth &-= 1
        objects &>>= 1
      }
    }
  }

  /// The offset of the value after the member name at `start`.
  @inline(__always)
  private static func scanName(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int
  ) throws(JSONSyntaxError) -> Int {
    guard start < end else { throw JSONSyntaxError(end, .truncated) }
    guard text[start] == 0x22 else { throw JSONSyntaxError(start, .expectedName) }
    var i = try scanString(text, start, end)
    i = JSONText.skipSpace(text, i, end)
    guard i < end else { throw JSONSyntaxError(end, .truncated) }
    guard text[i] == 0x3A else { throw JSONSyntaxError(i, .expectedColon) }
    return JSONText.skipSpace(text, i &+ 1, end)
  }

  /// The offset after the string whose opening quote is at `start`.
  @inline(__always)
  private static func scanString(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int
  ) throws(JSONSyntaxError) -> Int {
    let i = JSONText.plainEnd(text, start &+ 1, end)
    if i < end, text[i] == 0x22 { return i &+ 1 }
    return try scanStringRest(text, i, end)
  }

  /// The offset after the string that is under way at `start`, where a byte needs a closer look.
  @inline(never)
  private static func scanStringRest(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int
  ) throws(JSONSyntaxError) -> Int {
    var i = start
    while i < end {
      let byte = text[i]
      if byte >= 0x80 {
        repeat {
          let count = Text.utf8Sequence(text + i, end &- i)
          guard count > 0 else { throw JSONSyntaxError(i, .badUTF8) }
          i &+= count
        } while i < end && text[i] >= 0x80
      } else if byte == 0x22 {
        return i &+ 1
      } else if byte == 0x5C {
        i = try scanEscape(text, i, end)
      } else if byte < 0x20 {
        throw JSONSyntaxError(i, .controlInString)
      }
      i = JSONText.plainEnd(text, i, end)
    }
    throw JSONSyntaxError(end, .truncated)
  }

  /// The offset after the escape whose backslash is at `start`.
  @inline(__always)
  private static func scanEscape(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int
  ) throws(JSONSyntaxError) -> Int {
    guard start &+ 1 < end else { throw JSONSyntaxError(end, .truncated) }
    switch text[start &+ 1] {
    case 0x22, 0x5C, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74: return start &+ 2
    case 0x75:
      for i in start &+ 2..<start &+ 6 {
        guard i < end else { throw JSONSyntaxError(end, .truncated) }
        guard JSONStringBytes.hexDigit(text[i]) >= 0 else { throw JSONSyntaxError(start, .badEscape) }
      }
      return start &+ 6
    default: throw JSONSyntaxError(start, .badEscape)
    }
  }

  /// The offset after the number or literal at `start`.
  @inline(__always)
  private static func scanScalar(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int
  ) throws(JSONSyntaxError) -> Int {
    switch text[start] {
    case 0x2D, 0x30...0x39: return try scanNumber(text, start, end)
    case 0x74: return try scanLiteral(text, start, end, "true")
    case 0x66: return try scanLiteral(text, start, end, "false")
    case 0x6E: return try scanLiteral(text, start, end, "null")
    default: throw JSONSyntaxError(start, .expectedValue)
    }
  }

  /// The offset after the literal at `start`, whose first byte is already known to be right.
  @inline(__always)
  private static func scanLiteral(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, _ literal: StaticString
  ) throws(JSONSyntaxError) -> Int {
    for i in 1..<literal.utf8CodeUnitCount {
      guard start &+ i < end else { throw JSONSyntaxError(end, .truncated) }
      guard text[start &+ i] == literal.utf8Start[i] else { throw JSONSyntaxError(start, .badLiteral) }
    }
    return start &+ literal.utf8CodeUnitCount
  }

  /// The offset after the number at `start`: `[ "-" ] ( "0" / 1-9 *digit ) [ "." 1*digit ] [ e [ sign ] 1*digit ]`.
  @inline(__always)
  private static func scanNumber(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int
  ) throws(JSONSyntaxError) -> Int {
    var i = start
    if text[i] == 0x2D { i &+= 1 }
    if i < end, text[i] == 0x30 {
      i &+= 1
      if i < end, isDigit(text[i]) { throw JSONSyntaxError(start, .badNumber) }
    } else {
      i = try scanDigits(text, i, end, start)
    }
    if i < end, text[i] == 0x2E { i = try scanDigits(text, i &+ 1, end, start) }
    if i < end, text[i] | 0x20 == 0x65 {
      i &+= 1
      if i < end, text[i] == 0x2B || text[i] == 0x2D { i &+= 1 }
      i = try scanDigits(text, i, end, start)
    }
    return i
  }

  /// The offset after one or more digits at `i` of the number at `start`.
  @inline(__always)
  private static func scanDigits(
    _ text: UnsafePointer<UInt8>, _ first: Int, _ end: Int, _ start: Int
  ) throws(JSONSyntaxError) -> Int {
    var i = first
    while i < end, isDigit(text[i]) { i &+= 1 }
    guard i > first else {
      throw first < end ? JSONSyntaxError(start, .badNumber) : JSONSyntaxError(end, .truncated)
    }
    return i
  }

  @inline(__always)
  static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }
}
