import CXXHash

extension Text {
  /// Whether bytes are well-formed UTF-8 (Unicode, table 3-7): nothing overlong, no surrogates, nothing above U+10FFFF.
  package static func isUTF8(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    var at = kvd_find_not_ascii(bytes, 0, count)
    while at < count {
      let sequence = utf8Sequence(bytes + at, count &- at)
      guard sequence > 0 else { return false }
      at &+= sequence
      if at < count && bytes[at] < 0x80 { at = kvd_find_not_ascii(bytes, at, count) }
    }
    return true
  }

  /// The length of the well-formed sequence of two to four bytes that the bytes start with; for anything else minus the
  /// length of the part to be replaced by one U+FFFD (Unicode, section 3.9, "maximal subparts"). `count` is above 0.
  static func utf8Sequence(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int {
    let lead = bytes[0]
    let length: Int
    var low: UInt8 = 0x80
    var high: UInt8 = 0xBF
    switch lead {
    case 0xC2...0xDF: length = 2
    case 0xE0...0xEF:
      length = 3
      if lead == 0xE0 { low = 0xA0 } else if lead == 0xED { high = 0x9F }
    case 0xF0...0xF4:
      length = 4
      if lead == 0xF0 { low = 0x90 } else if lead == 0xF4 { high = 0x8F }
    default: return -1
    }
    for i in 1..<length {
      guard i < count && bytes[i] >= low && bytes[i] <= high else { return -i }
      low = 0x80
      high = 0xBF
    }
    return length
  }

  /// The most bytes `writeJSONString` writes for `count` bytes.
  package static func maximumJSONString(_ count: Int) -> Int { 6 * count + 2 }

  /// Writes bytes as a JSON string with its quotes (RFC 8259, section 7): quote, backslash and controls escaped, the
  /// rest as it is. Whatever isn't UTF-8 becomes U+FFFD, so that the answer is always valid JSON.
  ///
  /// - Returns: bytes written, at most `maximumJSONString(count)`.
  package static func writeJSONString(
    _ bytes: UnsafePointer<UInt8>, _ count: Int, to written: UnsafeMutablePointer<UInt8>
  ) -> Int {
    var from = 0
    var to = 1
    written[0] = UInt8(ascii: "\"")
    while true {
      let mark = kvd_find_json_mark(bytes, from, count)
      UnsafeMutableRawPointer(written + to).copyMemory(from: bytes + from, byteCount: mark &- from)
      to &+= mark &- from
      guard mark < count else { break }
      from = mark
      if bytes[mark] < 0x80 {
        to &+= writeEscape(bytes[mark], to: written + to)
        from &+= 1
        continue
      }
      let sequence = utf8Sequence(bytes + mark, count &- mark)
      if sequence > 0 {
        UnsafeMutableRawPointer(written + to).copyMemory(from: bytes + mark, byteCount: sequence)
        to &+= sequence
        from &+= sequence
      } else {
        to &+= write("\u{FFFD}", to: written + to)
        from &-= sequence
      }
    }
    written[to] = UInt8(ascii: "\"")
    return to &+ 1
  }

  private static func writeEscape(_ byte: UInt8, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    bytes[0] = UInt8(ascii: "\\")
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes[1] = byte
    case 0x08: bytes[1] = UInt8(ascii: "b")
    case 0x09: bytes[1] = UInt8(ascii: "t")
    case 0x0A: bytes[1] = UInt8(ascii: "n")
    case 0x0C: bytes[1] = UInt8(ascii: "f")
    case 0x0D: bytes[1] = UInt8(ascii: "r")
    default:
      let digits: StaticString = "0123456789abcdef"
      _ = write("\\u00", to: bytes)
      bytes[4] = digits.utf8Start[Int(byte >> 4)]
      bytes[5] = digits.utf8Start[Int(byte & 15)]
      return 6
    }
    return 2
  }
}
