/// Leaves that walk over bytes: UTF-8 sequences, and the parts of a JSON text already known to be valid.
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
  ///
  /// Each term of the mask sets a byte's high bit where the byte qualifies. Borrows run towards later bytes only, so
  /// the first set bit is exact.
  @inline(__always)
  static func plainEnd(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Int {
    var i = start
    while i &+ 8 <= end {
      let x = word(text, i)
      let quote = (x ^ (ones &* 0x22)) &- ones
      let backslash = (x ^ (ones &* 0x5C)) &- ones
      let control = x &- (ones &* 0x20)
      let mask = (quote | backslash | control | x) & highs
      if mask != 0 { return i &+ (mask.trailingZeroBitCount &>> 3) }
      i &+= 8
    }
    while i < end {
      let byte = text[i]
      if byte == 0x22 || byte == 0x5C || byte < 0x20 || byte >= 0x80 { return i }
      i &+= 1
    }
    return end
  }

  /// The length of the UTF-8 sequence at `i`, which must be below `end`: 1 to 4, or minus the length (1 to 3) of the
  /// ill-formed part there, the maximal subpart of Unicode 16, §3.9, table 3-7.
  @inline(__always)
  static func sequence(_ text: UnsafePointer<UInt8>, _ i: Int, _ end: Int) -> Int {
    let first = text[i]
    if first < 0x80 { return 1 }
    if first < 0xC2 || first > 0xF4 { return -1 }
    guard i &+ 1 < end else { return -1 }
    let second = text[i &+ 1]
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
    guard i &+ 2 < end, text[i &+ 2] & 0xC0 == 0x80 else { return -2 }
    if first < 0xF0 { return 3 }
    guard i &+ 3 < end, text[i &+ 3] & 0xC0 == 0x80 else { return -3 }
    return 4
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
