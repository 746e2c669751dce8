import CXXHash

/// The meaning of a valid JSON string, byte by byte: UTF-8 with the escapes resolved.
///
/// A pair of surrogate escapes is one character. A lone one has no UTF-8, so it gives the three bytes that UTF-8's
/// scheme would give it (the "WTF-8" encoding, https://simonsapin.github.io/wtf-8/). Those three bytes are no valid
/// UTF-8, so a lone surrogate equals only itself.
struct JSONStringBytes {
  private let text: UnsafePointer<UInt8>
  private var i: Int
  private let end: Int
  /// Bytes of a character that are still to be given, the next one lowest.
  private var pending: UInt32 = 0
  /// Whether a lone surrogate was met.
  private(set) var metLoneSurrogate = false

  /// The string between `start` and `end`, both without the quotes.
  init(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) {
    self.text = text
    i = start
    self.end = end
  }

  /// The next byte, or -1 after the last one.
  @inline(__always)
  mutating func next() -> Int {
    if pending != 0 {
      let byte = Int(pending & 0xFF)
      pending &>>= 8
      return byte
    }
    guard i < end else { return -1 }
    let byte = text[i]
    i &+= 1
    return byte == 0x5C ? escape() : Int(byte)
  }

  /// The first byte of what the escape means whose backslash was just passed.
  private mutating func escape() -> Int {
    let letter = text[i]
    i &+= 1
    switch letter {
    case 0x62: return 0x08
    case 0x66: return 0x0C
    case 0x6E: return 0x0A
    case 0x72: return 0x0D
    case 0x74: return 0x09
    case 0x75: return character()
    default: return Int(letter)  // quote, backslash and slash mean themselves
    }
  }

  /// The first byte of the character whose `\u` was just passed; the others become pending.
  private mutating func character() -> Int {
    var scalar = unit(i)
    i &+= 4
    if scalar & 0xF800 == 0xD800 {
      if scalar < 0xDC00, i &+ 6 <= end, text[i] == 0x5C, text[i &+ 1] == 0x75, unit(i &+ 2) & 0xFC00 == 0xDC00 {
        scalar = 0x10000 &+ ((scalar & 0x3FF) &<< 10) &+ (unit(i &+ 2) & 0x3FF)
        i &+= 6
      } else {
        metLoneSurrogate = true
      }
    }
    if scalar < 0x80 { return Int(scalar) }
    let last = 0x80 | scalar & 0x3F
    if scalar < 0x800 {
      pending = last
      return Int(0xC0 | scalar &>> 6)
    }
    let third = 0x80 | scalar &>> 6 & 0x3F
    if scalar < 0x10000 {
      pending = last &<< 8 | third
      return Int(0xE0 | scalar &>> 12)
    }
    pending = last &<< 16 | third &<< 8 | (0x80 | scalar &>> 12 & 0x3F)
    return Int(0xF0 | scalar &>> 18)
  }

  /// The four hexadecimal digits at `start`.
  private func unit(_ start: Int) -> UInt32 {
    var unit: UInt32 = 0
    for j in start..<start &+ 4 { unit = unit &<< 4 | UInt32(truncatingIfNeeded: Self.hexDigit(text[j])) }
    return unit
  }

  /// The worth of a hexadecimal digit, or -1.
  @inline(__always)
  static func hexDigit(_ byte: UInt8) -> Int {
    switch byte {
    case 0x30...0x39: Int(byte) &- 0x30
    case 0x41...0x46: Int(byte) &- 0x41 &+ 10
    case 0x61...0x66: Int(byte) &- 0x61 &+ 10
    default: -1
    }
  }
}

extension JSONValue {
  /// The order of two strings' meanings by bytes: negative, zero or positive. Both values must be strings.
  static func compareStrings(_ a: JSONValue, _ b: JSONValue) -> Int {
    let common = min(a.count, b.count) &- 2
    var same = 0
    // Bytes that are the same up to here mean the same, but an escape must not be cut in two.
    while same < common {
      let byte = a.text[a.start &+ 1 &+ same]
      if byte != b.text[b.start &+ 1 &+ same] || byte == 0x5C { break }
      same &+= 1
    }
    var left = JSONStringBytes(a.text, a.start &+ 1 &+ same, a.end &- 1)
    var right = JSONStringBytes(b.text, b.start &+ 1 &+ same, b.end &- 1)
    while true {
      let x = left.next()
      let y = right.next()
      if x != y { return x &- y }
      if x < 0 { return 0 }
    }
  }

  /// Whether this value is the string `wanted`, in which there must be nothing that needs an escape.
  package func isString(_ wanted: StaticString) -> Bool {
    guard kind == .string else { return false }
    var bytes = JSONStringBytes(text, start &+ 1, end &- 1)
    for i in 0..<wanted.utf8CodeUnitCount {
      if bytes.next() != Int(wanted.utf8Start[i]) { return false }
    }
    return bytes.next() < 0
  }

  /// Appends the meaning of this string to `output`, as UTF-8.
  ///
  /// - Returns: false, with `output` as it was, if this isn't a string or has a lone surrogate, which has no UTF-8.
  package func string(into output: inout [UInt8]) -> Bool {
    guard kind == .string else { return false }
    let before = output.count
    let contents = UnsafeRawBufferPointer(start: text + start + 1, count: count - 2)
    let plain = kvd_find_byte(text + start + 1, count - 2, 0x5C)
    output.append(contentsOf: contents[..<plain])
    var bytes = JSONStringBytes(text, start + 1 + plain, end - 1)
    while case let byte = bytes.next(), byte >= 0 { output.append(UInt8(truncatingIfNeeded: byte)) }
    if bytes.metLoneSurrogate {
      output.removeLast(output.count - before)
      return false
    }
    return true
  }

  /// Writes the meaning of this string, as UTF-8, to `output`, which must have room for `count` bytes: unescaping never
  /// makes a string longer.
  ///
  /// - Returns: the bytes written, or nil if this isn't a string or has a lone surrogate, which has no UTF-8.
  package func string(to output: UnsafeMutablePointer<UInt8>) -> Int? {
    guard kind == .string else { return nil }
    var written = 0
    var bytes = JSONStringBytes(text, start &+ 1, end &- 1)
    while case let byte = bytes.next(), byte >= 0 {
      output[written] = UInt8(truncatingIfNeeded: byte)
      written &+= 1
    }
    return bytes.metLoneSurrogate ? nil : written
  }
}
