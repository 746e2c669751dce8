extension Text {
  /// Reads a duration: a whole number with the unit ms, s, m, h or d; a plain number is seconds ("500ms", "30s", "1h").
  ///
  /// - Returns: milliseconds, or nil for anything else or more than 10^15 ms (about 31,000 years, so that a duration
  ///   can be added to a time without overflow).
  package static func parseDuration(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> UInt64? {
    let digits = digitCount(bytes, count)
    let unit = bytes + digits
    let factor: UInt64
    switch count - digits {
    case 0: factor = 1_000
    case 1:
      switch unit[0] {
      case UInt8(ascii: "s"): factor = 1_000
      case UInt8(ascii: "m"): factor = 60_000
      case UInt8(ascii: "h"): factor = 3_600_000
      case UInt8(ascii: "d"): factor = 86_400_000
      default: return nil
      }
    case 2 where unit[0] == UInt8(ascii: "m") && unit[1] == UInt8(ascii: "s"): factor = 1
    default: return nil
    }
    return scaled(bytes, digits, by: factor, maximum: 1_000_000_000_000_000)
  }

  /// Writes milliseconds as the shortest duration of one unit up to hours that `parseDuration` reads back to the same
  /// number: "1500ms", "30s", "2h". At most `maximumDecimal` + 2 bytes.
  package static func writeDuration(_ milliseconds: UInt64, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    if milliseconds == 0 || milliseconds % 1_000 != 0 {
      let count = writeDecimal(milliseconds, to: bytes)
      return count &+ write("ms", to: bytes + count)
    }
    let seconds = milliseconds / 1_000
    let (value, unit): (UInt64, UInt8) =
      seconds % 3_600 == 0
      ? (seconds / 3_600, UInt8(ascii: "h"))
      : seconds % 60 == 0 ? (seconds / 60, UInt8(ascii: "m")) : (seconds, UInt8(ascii: "s"))
    let count = writeDecimal(value, to: bytes)
    bytes[count] = unit
    return count &+ 1
  }

  /// Reads a size in bytes: a whole number, then nothing or B; or k, M, G, T, each also with iB or B. All are powers of
  /// 1024, whatever the spelling ("4GiB", "512MB", "64k"), since memory is bought that way; the case doesn't matter.
  ///
  /// - Returns: nil for anything else or more than 2^62.
  package static func parseSize(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> UInt64? {
    let digits = digitCount(bytes, count)
    var unit = digits
    var shift: UInt64 = 0
    if unit < count {
      switch bytes[unit] | 0x20 {
      case UInt8(ascii: "k"): shift = 10
      case UInt8(ascii: "m"): shift = 20
      case UInt8(ascii: "g"): shift = 30
      case UInt8(ascii: "t"): shift = 40
      default: unit -= 1
      }
      unit += 1
    }
    switch count - unit {
    case 0: break
    case 1: guard bytes[unit] | 0x20 == UInt8(ascii: "b") else { return nil }
    case 2:
      guard shift > 0, bytes[unit] == UInt8(ascii: "i"), bytes[unit + 1] | 0x20 == UInt8(ascii: "b") else { return nil }
    default: return nil
    }
    return scaled(bytes, digits, by: 1 << shift, maximum: 1 << 62)
  }

  private static func digitCount(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int {
    var digits = 0
    while digits < count && bytes[digits] &- UInt8(ascii: "0") <= 9 { digits += 1 }
    return digits
  }

  private static func scaled(
    _ bytes: UnsafePointer<UInt8>, _ digits: Int, by factor: UInt64, maximum: UInt64
  ) -> UInt64? {
    guard let number = parseDecimal(bytes, digits, maximum: maximum) else { return nil }
    let (value, overflow) = number.multipliedReportingOverflow(by: factor)
    return overflow || value > maximum ? nil : value
  }
}
