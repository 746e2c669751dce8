/// Base64 (RFC 4648 section 4), strict: the alphabet with + and /, padded, no white space, no stray bits.
package enum Base64 {
  private static func digit(_ value: UInt8) -> UInt8 {
    switch value {
    case 0..<26: UInt8(ascii: "A") + value
    case 26..<52: UInt8(ascii: "a") + value - 26
    case 52..<62: UInt8(ascii: "0") + value - 52
    case 62: UInt8(ascii: "+")
    default: UInt8(ascii: "/")
    }
  }

  private static func value(_ digit: UInt8) -> UInt32? {
    switch digit {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(digit - UInt8(ascii: "A"))
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(digit - UInt8(ascii: "a")) + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(digit - UInt8(ascii: "0")) + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }

  /// Appends the encoding of the bytes: four digits for each three bytes, the last group padded.
  package static func append(_ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
    var index = 0
    while index < bytes.count {
      let left = min(3, bytes.count - index)
      var group = UInt32(bytes[index]) << 16
      if left > 1 { group |= UInt32(bytes[index + 1]) << 8 }
      if left > 2 { group |= UInt32(bytes[index + 2]) }
      for position in 0..<4 {
        let six = UInt8(truncatingIfNeeded: group >> UInt32(18 - 6 * position)) & 63
        output.append(position <= left ? digit(six) : UInt8(ascii: "="))
      }
      index += 3
    }
  }

  /// Decodes in place.
  ///
  /// - Returns: the count of decoded bytes, or nil if the text isn't exactly what `append` writes for some bytes.
  package static func decode(_ text: UnsafeMutablePointer<UInt8>, _ count: Int) -> Int? {
    guard count % 4 == 0 else { return nil }
    var written = 0
    var index = 0
    while index < count {
      let isLast = index + 4 == count
      let padding = !isLast || text[index + 3] != UInt8(ascii: "=") ? 0 : text[index + 2] == UInt8(ascii: "=") ? 2 : 1
      var group = UInt32(0)
      for position in 0..<4 {
        guard position < 4 - padding else {
          group <<= 6
          continue
        }
        guard let six = value(text[index + position]) else { return nil }
        group = group << 6 | six
      }
      guard group & (padding == 2 ? 0xFFFF : padding == 1 ? 0xFF : 0) == 0 else { return nil }
      text[written] = UInt8(truncatingIfNeeded: group >> 16)
      if padding < 2 { text[written + 1] = UInt8(truncatingIfNeeded: group >> 8) }
      if padding < 1 { text[written + 2] = UInt8(truncatingIfNeeded: group) }
      written += 3 - padding
      index += 4
    }
    return written
  }
}
