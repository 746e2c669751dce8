import CXXHash

/// Leaves that walk over bytes: plain runs, white space, and the parts of a JSON text already known to be valid.
///
/// Every function takes the text's first byte, an offset and the text's end, and never reads at or past that end.
enum JSONText {
  static var ones: UInt64 { 0x0101_0101_0101_0101 }
  static var highs: UInt64 { 0x8080_8080_8080_8080 }

  /// Eight bytes as a little-endian word, so that the lowest set bit of a mask belongs to the first byte.
  @inline(__always)
  static func word(_ text: UnsafePointer<UInt8>, _ i: Int) -> UInt64 {
    UInt64(littleEndian: UnsafeRawPointer(text + i).loadUnaligned(as: UInt64.self))
  }

  /// The offset of the first byte from `i` that is a quote, a backslash, a control byte or not ASCII, or `end`.
  @inline(__always)
  static func plainEnd(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Int {
    kvd_find_json_mark(text, start, end)
  }

  /// The offset of the first byte from `i` that isn't white space, or `end`.
  @inline(__always)
  static func skipSpace(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Int {
    var i = start
    if i < end, text[i] > 0x20 { return i }
    while i < end {
      let byte = text[i]
      guard byte <= 0x20, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return i }
      i &+= 1
      while i &+ 8 <= end, word(text, i) == ones &* 0x20 { i &+= 8 }
    }
    return end
  }

  // MARK: Valid text only

  /// Whether a comma follows an entry at `i`, and not `closer`, which ends its container. Every walk through a
  /// container comes through here once for each entry, so this is where a text that isn't valid after all is stopped.
  @inline(__always)
  static func goesOn(_ text: UnsafePointer<UInt8>, _ i: Int, _ end: Int, _ closer: UInt8) -> Bool {
    precondition(i < end && (text[i] == 0x2C || text[i] == closer), "a JSON text is walked that isn't valid")
    return text[i] == 0x2C
  }

  /// The offset after the valid string that begins at `start`.
  @inline(__always)
  static func skipString(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Int {
    var i = start &+ 1
    while i < end {
      while i &+ 8 <= end {
        let x = word(text, i)
        let quote = x ^ (ones &* 0x22)
        let backslash = x ^ (ones &* 0x5C)
        let mask = (((quote &- ones) & ~quote) | ((backslash &- ones) & ~backslash)) & highs
        if mask != 0 {
          i &+= mask.trailingZeroBitCount &>> 3
          break
        }
        i &+= 8
      }
      guard i < end else { break }
      if text[i] == 0x22 { return i &+ 1 }
      i &+= text[i] == 0x5C ? 2 : 1
    }
    return end
  }

  /// The offset after the valid value that begins at `start`.
  @inline(__always)
  static func skipValue(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Int {
    switch text[start] {
    case 0x22: return skipString(text, start, end)
    case 0x7B, 0x5B: return skipContainer(text, start, end).end
    default: return skipScalar(text, start, end)
    }
  }

  /// The offset after the valid number or literal that begins at `start`.
  @inline(__always)
  static func skipScalar(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Int {
    var i = start
    while i < end {
      let byte = text[i]
      if byte <= 0x20 || byte == 0x2C || byte == 0x5D || byte == 0x7D { return i }
      i &+= 1
    }
    return end
  }

  /// The offset after the valid array or object that begins at `start`, and how deeply it is nested, itself counted.
  static func skipContainer(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> (end: Int, depth: Int) {
    var i = start
    var depth = 0
    var deepest = 0
    while i < end {
      switch text[i] {
      case 0x22:
        i = skipString(text, i, end)
        continue
      case 0x7B, 0x5B:
        depth &+= 1
        if depth > deepest { deepest = depth }
      case 0x7D, 0x5D:
        depth &-= 1
        if depth == 0 { return (i &+ 1, deepest) }
      default: break
      }
      i &+= 1
    }
    return (end, deepest)
  }
}
