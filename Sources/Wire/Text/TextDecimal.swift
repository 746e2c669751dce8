extension Text {
  /// The most bytes `writeDecimal` writes.
  package static var maximumDecimal: Int { 20 }

  /// All numbers below 100, two digits each.
  @inlinable @inline(always)
  static var digitPairs: UnsafePointer<UInt8> {
    let pairs: StaticString = """
      0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
      5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899
      """
    return pairs.utf8Start
  }

  /// Writes the two digits of a number below 100.
  @inlinable @inline(always)
  static func writePair(_ value: UInt32, to bytes: UnsafeMutablePointer<UInt8>) {
    let pair = UnsafeRawPointer(digitPairs + Int(value &* 2)).loadUnaligned(as: UInt16.self)
    UnsafeMutableRawPointer(bytes).storeBytes(of: pair, as: UInt16.self)
  }

  /// Writes a number in decimal and answers how many bytes that took, at most `maximumDecimal`.
  @inlinable @inline(always)
  package static func writeDecimal(_ value: UInt64, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    if value < 10 {
      bytes[0] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: value)
      return 1
    }
    if value < 100 {
      writePair(UInt32(truncatingIfNeeded: value), to: bytes)
      return 2
    }
    if value < 10_000 {
      let high = UInt32(truncatingIfNeeded: value) / 100
      let low = UInt32(truncatingIfNeeded: value) &- high &* 100
      if high < 10 {
        bytes[0] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: high)
        writePair(low, to: bytes + 1)
        return 3
      }
      writePair(high, to: bytes)
      writePair(low, to: bytes + 2)
      return 4
    }
    return value < 100_000_000
      ? writeDecimal32(UInt32(truncatingIfNeeded: value), to: bytes) : writeLongDecimal(value, to: bytes)
  }

  /// Writes a number below 10^8 in decimal and answers how many bytes that took; eight bytes are written in any case.
  ///
  /// All digits at once in one word and no branch that depends on their number, which predictors guess badly where
  /// numbers differ (Khuong 2017, "How to print integers really fast"): halves of four digits, of these pairs, of
  /// these single ones, each quotient by a multiplication that is exact in its range.
  @inlinable @inline(always)
  static func writeShortDecimal(_ value: UInt32, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    let high = value / 10_000
    var digits = UInt64(high) | UInt64(value &- high &* 10_000) &<< 32
    let hundreds = (digits &* 10_486) &>> 20 & 0x0000_007F_0000_007F
    digits = hundreds | (digits &- hundreds &* 100) &<< 16
    let tens = (digits &* 103) &>> 10 & 0x000F_000F_000F_000F
    digits = tens | (digits &- tens &* 10) &<< 8
    // The first digit is in the lowest byte. Zeros in front of it go, but not the last digit.
    let zeros = min(digits.trailingZeroBitCount & ~7, 56)
    let text = (digits | 0x3030_3030_3030_3030) &>> UInt64(zeros)
    UnsafeMutableRawPointer(bytes).storeBytes(of: text.littleEndian, as: UInt64.self)
    return 8 &- zeros &>> 3
  }

  /// Numbers below 10^8, backwards and two digits a step.
  @usableFromInline
  static func writeDecimal32(_ value: UInt32, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    let count =
      value < 10_000
      ? (value < 100 ? (value < 10 ? 1 : 2) : (value < 1_000 ? 3 : 4))
      : (value < 1_000_000 ? (value < 100_000 ? 5 : 6) : (value < 10_000_000 ? 7 : 8))
    var rest = value
    var end = count
    while rest >= 100 {
      end &-= 2
      writePair(rest % 100, to: bytes + end)
      rest /= 100
    }
    if rest >= 10 {
      writePair(rest, to: bytes)
    } else {
      bytes[0] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: rest)
    }
    return count
  }

  /// Numbers from 10^8: the head, then eight digits at a time with their zeros.
  @usableFromInline
  static func writeLongDecimal(_ value: UInt64, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    let head = value / 100_000_000
    let count =
      head < 100_000_000
      ? writeDecimal32(UInt32(truncatingIfNeeded: head), to: bytes) : writeLongDecimal(head, to: bytes)
    var tail = UInt32(truncatingIfNeeded: value % 100_000_000)
    var at = count &+ 8
    while at > count {
      at &-= 2
      writePair(tail % 100, to: bytes + at)
      tail /= 100
    }
    return count &+ 8
  }

  /// Writes a signed number in decimal: at most `maximumDecimal` bytes.
  package static func writeSigned(_ value: Int64, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    guard value < 0 else { return writeDecimal(value.magnitude, to: bytes) }
    bytes[0] = UInt8(ascii: "-")
    return 1 &+ writeDecimal(value.magnitude, to: bytes + 1)
  }

  /// Reads a number of 1 to 20 digits, no sign, leading zeros allowed.
  ///
  /// - Returns: nil for anything else and for numbers above `maximum`.
  package static func parseDecimal(_ bytes: UnsafePointer<UInt8>, _ count: Int, maximum: UInt64 = .max) -> UInt64? {
    guard count >= 1 && count <= maximumDecimal else { return nil }
    var value: UInt64 = 0
    for i in 0..<count {
      let digit = bytes[i] &- UInt8(ascii: "0")
      guard digit <= 9 else { return nil }
      let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = tens.addingReportingOverflow(UInt64(digit))
      if overflow || carry { return nil }
      value = sum
    }
    return value <= maximum ? value : nil
  }

  /// Reads a number with an optional '-' or '+' before 1 to 20 digits; nil for anything else or beyond Int64.
  package static func parseSigned(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int64? {
    guard count > 0 else { return nil }
    let isNegative = bytes[0] == UInt8(ascii: "-")
    let skip = isNegative || bytes[0] == UInt8(ascii: "+") ? 1 : 0
    guard let magnitude = parseDecimal(bytes + skip, count - skip) else { return nil }
    if isNegative { return magnitude <= 1 << 63 ? Int64(truncatingIfNeeded: 0 &- magnitude) : nil }
    return Int64(exactly: magnitude)
  }
}
