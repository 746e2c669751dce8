extension Text {
  /// Bytes of `writeHTTPDate`.
  package static var httpDateCount: Int { 29 }
  /// Bytes of `writeISO8601`.
  package static var iso8601Count: Int { 24 }

  /// A moment as calendar fields in UTC.
  struct CalendarTime {
    var year, month, day, hour, minute, second, weekday: UInt32  // weekday: 0 is Sunday
  }

  /// The calendar fields of seconds since 1970, kept within the years 0 to 9999.
  ///
  /// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days: years start in March, so that the
  /// leap day is their last.
  static func calendarTime(_ unixSeconds: Int64) -> CalendarTime {
    let clamped = min(max(unixSeconds, -62_167_219_200), 253_402_300_799)
    // Days are counted from 0000-03-01, 719,468 before 1970; one more era of 400 years keeps all of them positive.
    let shifted = UInt64(clamped + (719_468 + 146_097) * 86_400)
    let days = shifted / 86_400
    let era = days / 146_097
    let dayOfEra = days % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    // The year 0 begins two months before the first March: counted with the extra era, then taken off.
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0) - 400
    let second = shifted % 86_400
    return CalendarTime(
      year: UInt32(truncatingIfNeeded: year), month: UInt32(truncatingIfNeeded: month),
      day: UInt32(truncatingIfNeeded: dayOfYear - (153 * marchMonth + 2) / 5 + 1),
      hour: UInt32(truncatingIfNeeded: second / 3_600), minute: UInt32(truncatingIfNeeded: second / 60 % 60),
      second: UInt32(truncatingIfNeeded: second % 60),
      // 0000-03-01 was a Wednesday, and 146,097 is a multiple of 7.
      weekday: UInt32(truncatingIfNeeded: (days + 3) % 7))
  }

  /// Writes an IMF-fixdate (RFC 9110, section 5.6.7), for example "Sat, 21 Nov 2026 11:07:00 GMT": 29 bytes.
  package static func writeHTTPDate(unixSeconds: Int64, to bytes: UnsafeMutablePointer<UInt8>) {
    let time = calendarTime(unixSeconds)
    let weekdays: StaticString = "Sun,Mon,Tue,Wed,Thu,Fri,Sat,"
    let months: StaticString = " Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
    _ = write("Sun, 00 Jan 0000 00:00:00 GMT", to: bytes)
    UnsafeMutableRawPointer(bytes).copyMemory(from: weekdays.utf8Start + Int(time.weekday) * 4, byteCount: 4)
    writePair(time.day, to: bytes + 5)
    UnsafeMutableRawPointer(bytes + 7).copyMemory(from: months.utf8Start + Int(time.month - 1) * 4, byteCount: 4)
    writePair(time.year / 100, to: bytes + 12)
    writePair(time.year % 100, to: bytes + 14)
    writeClock(time, to: bytes + 17)
  }

  /// Writes a moment as ISO 8601 has it, for example "2026-11-21T11:07:00.123Z": 24 bytes.
  package static func writeISO8601(unixMilliseconds: Int64, to bytes: UnsafeMutablePointer<UInt8>) {
    let remainder = unixMilliseconds % 1_000
    let milliseconds = UInt32(remainder < 0 ? remainder + 1_000 : remainder)
    let time = calendarTime(unixMilliseconds / 1_000 - (remainder < 0 ? 1 : 0))
    _ = write("0000-00-00T00:00:00.000Z", to: bytes)
    writePair(time.year / 100, to: bytes)
    writePair(time.year % 100, to: bytes + 2)
    writePair(time.month, to: bytes + 5)
    writePair(time.day, to: bytes + 8)
    writeClock(time, to: bytes + 11)
    bytes[20] = UInt8(ascii: "0") + UInt8(milliseconds / 100)
    writePair(milliseconds % 100, to: bytes + 21)
  }

  private static func writeClock(_ time: CalendarTime, to bytes: UnsafeMutablePointer<UInt8>) {
    writePair(time.hour, to: bytes)
    writePair(time.minute, to: bytes + 3)
    writePair(time.second, to: bytes + 6)
  }
}
