import CXXHash

extension Text {
  /// Whether bytes are 8 to 16 ASCII characters, as most keys are: in line and without a loop.
  @inlinable @inline(always)
  package static func isShortASCII(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    count >= 8 && count <= 16 && (word8(bytes) | word8(bytes + (count &- 8))) & 0x8080_8080_8080_8080 == 0
  }

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

  /// The length of the sequence that the bytes start with, 1 to 4; where it is ill-formed, minus the length (1 to 3) of
  /// the part to be replaced by one U+FFFD (Unicode 16, section 3.9, "maximal subparts", table 3-7). `count` is above
  /// 0.
  @inline(__always)
  static func utf8Sequence(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int {
    let first = bytes[0]
    if first < 0x80 { return 1 }
    if first < 0xC2 || first > 0xF4 { return -1 }
    guard count > 1 else { return -1 }
    let second = bytes[1]
    if first < 0xE0 { return second & 0xC0 == 0x80 ? 2 : -1 }
    var low: UInt8 = 0x80
    var high: UInt8 = 0xBF
    switch first {
    case 0xE0: low = 0xA0
    case 0xED: high = 0x9F
    case 0xF0: low = 0x90
    case 0xF4: high = 0x8F
    default: break
    }
    guard second >= low, second <= high else { return -1 }
    guard count > 2, bytes[2] & 0xC0 == 0x80 else { return -2 }
    if first < 0xF0 { return 3 }
    guard count > 3, bytes[3] & 0xC0 == 0x80 else { return -3 }
    return 4
  }
}
