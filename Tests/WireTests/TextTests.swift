import CXXHash
import Testing

@testable import Wire

/// Calls a reader with a string's bytes.
func reading<R>(_ text: String, _ body: (UnsafePointer<UInt8>, Int) -> R) -> R {
  withExactBytes(Array(text.utf8), body)
}

@Suite("Text leaves")
struct TextTests {
  @Test("decimals are written as Swift writes them, and read back")
  func decimals() {
    var values: [UInt64] = [.max, .max - 1, 0]
    var power: UInt64 = 1
    for _ in 0..<20 {
      values += [power, power &- 1, power &+ 1]
      power = power &* 10
    }
    var random = SplitMix(seed: 7)
    for _ in 0..<2_000 { values.append(random.next() >> UInt64.random(in: 0..<64, using: &random)) }
    for value in values {
      let text = written(Text.maximumDecimal) { Text.writeDecimal(value, to: $0) }
      #expect(text == String(value))
      #expect(reading(text) { Text.parseDecimal($0, $1) } == value)
      let signed = Int64(bitPattern: value)
      let signedText = written(Text.maximumDecimal) { Text.writeSigned(signed, to: $0) }
      #expect(signedText == String(signed))
      #expect(reading(signedText) { Text.parseSigned($0, $1) } == signed)
    }
  }

  @Test(
    "what isn't a decimal",
    arguments: ["", "-1", "+1", " 1", "1 ", "a", "1.", "18446744073709551616", "000000000000000000001"])
  func badDecimals(text: String) {
    #expect(reading(text) { Text.parseDecimal($0, $1) } == nil)
  }

  @Test("bounds of decimals and signed decimals")
  func bounds() {
    #expect(reading("101") { Text.parseDecimal($0, $1, maximum: 100) } == nil)
    #expect(reading("100") { Text.parseDecimal($0, $1, maximum: 100) } == 100)
    #expect(reading("+5") { Text.parseSigned($0, $1) } == 5)
    for junk in ["-", "+", "", "--1", "9223372036854775808", "-9223372036854775809"] {
      #expect(reading(junk) { Text.parseSigned($0, $1) } == nil)
    }
  }

  @Test(
    "durations",
    arguments: [
      ("30s", 30_000), ("500ms", 500), ("5m", 300_000), ("1h", 3_600_000), ("2d", 172_800_000), ("7", 7_000),
      ("0", 0), ("1000000000000000ms", 1_000_000_000_000_000), ("1000000000001s", nil), ("", nil), ("s", nil),
      ("1S", nil), ("-1s", nil), ("1.5s", nil), ("1 s", nil), ("1w", nil), ("1mss", nil), ("1sm", nil), ("ms", nil),
      ("18446744073709551615d", nil), ("99999999999999999999999s", nil),
    ] as [(String, UInt64?)])
  func durations(text: String, milliseconds: UInt64?) {
    #expect(reading(text) { Text.parseDuration($0, $1) } == milliseconds)
  }

  @Test("durations are written in one unit and read back")
  func writtenDurations() {
    for (value, text) in [(0, "0ms"), (1_500, "1500ms"), (30_000, "30s"), (60_000, "1m"), (7_200_000, "2h")]
      as [(UInt64, String)]
    {
      #expect(written { Text.writeDuration(value, to: $0) } == text)
      #expect(reading(text) { Text.parseDuration($0, $1) } == value)
    }
  }

  @Test(
    "sizes",
    arguments: [
      ("0", 0), ("17", 17), ("17B", 17), ("64k", 64 << 10), ("64K", 64 << 10), ("512MB", 512 << 20), ("4GiB", 4 << 30),
      ("4gib", 4 << 30), ("1T", 1 << 40), ("4194304T", 1 << 62), ("4194305T", nil), ("", nil), ("k", nil), ("1iB", nil),
      ("1Gi", nil), ("1GiBB", nil), ("1X", nil), ("-1", nil), ("1.5G", nil), ("1 G", nil),
    ] as [(String, UInt64?)])
  func sizes(text: String, bytes: UInt64?) {
    #expect(reading(text) { Text.parseSize($0, $1) } == bytes)
  }

  @Test("revisions are printed and read back; only the printed form is one")
  func revisions() {
    for (p, e, o) in [(17, 1, 42), (0, 0, 0), (1023, .max, .max)] as [(UInt16, UInt32, UInt64)] {
      let revision = Revision(partition: PartitionID(p), epoch: Epoch(e), offset: Offset(o))
      let text = written(Text.maximumRevision) { Text.writeRevision(revision, to: $0) }
      #expect(text == "\(p)-\(e)-\(o)")
      #expect(reading(text) { Text.parseRevision($0, $1) } == revision)
    }
    var power: UInt64 = 1
    while power <= 1_000_000_000_000 {
      for near in [power - 1, power, power + 1, power * 7] {
        let revision = Revision(partition: PartitionID(UInt16(near % 1024)), epoch: Epoch(1), offset: Offset(near))
        let text = written(Text.maximumRevision) { Text.writeRevision(revision, to: $0) }
        #expect(text == "\(near % 1024)-1-\(near)")
      }
      power *= 10
    }
    for number in stride(from: 0, to: 10_000, by: 7) {
      let revision = Revision(partition: PartitionID(0), epoch: Epoch(1), offset: Offset(UInt64(number * 10_001)))
      #expect(written(Text.maximumRevision) { Text.writeRevision(revision, to: $0) } == "0-1-\(number * 10_001)")
    }
    let junk = [
      "", "17", "17-1", "17-1-", "-1-42", "17--42", "17-1-42-", "17-1-42-1", "017-1-42", "17-01-42", "17-1-042",
      "1024-1-1", "1-4294967296-1", "1-1-18446744073709551616", "a-b-c", " 1-1-1", "1-1-1 ", "+1-1-1", "--", "---",
    ]
    for text in junk { #expect(reading(text) { Text.parseRevision($0, $1) } == nil, "\(text)") }
  }

  @Test(
    "entity tag lists",
    arguments: [
      ("\"17-1-42\"", true, true), ("*", true, true), ("W/\"17-1-42\"", false, true), ("\"17-1-43\"", false, false),
      ("\"a\", \"17-1-42\"", true, true), (",, \"a\" ,\t\"17-1-42\",", true, true), ("\"\"", false, false),
      ("W/\"a\",W/\"17-1-42\"", false, true), ("\"17-1-42\", W/\"17-1-42\"", true, true), ("\"a,b\"", false, false),
      ("\"\u{E9}\"", false, false), ("\"017-1-42\"", false, false),
    ])
  func entityTags(text: String, strong: Bool, weak: Bool) {
    let current = Revision(partition: PartitionID(17), epoch: Epoch(1), offset: Offset(42))
    #expect(reading(text) { EntityTagCondition.matches($0, $1, current: current, weak: false) } == strong)
    #expect(reading(text) { EntityTagCondition.matches($0, $1, current: current, weak: true) } == weak)
    #expect(reading(text) { EntityTagCondition.matches($0, $1, current: nil, weak: true) } == false)
  }

  @Test(
    "lists that aren't entity tags",
    arguments: [
      "", ",", "17-1-42", "\"a", "a\"", "\"a\"\"b\"", "\"a\" \"b\"", "w/\"a\"", "W/", "W", "*, \"a\"", "**", "\"a b\"",
      "\"a\", *",
    ])
  func badEntityTags(text: String) {
    let current = Revision(partition: PartitionID(17), epoch: Epoch(1), offset: Offset(42))
    #expect(reading(text) { EntityTagCondition.matches($0, $1, current: current, weak: true) } == nil)
  }

  @Test(
    "HTTP dates and ISO 8601",
    arguments: [
      (0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.007Z"),
      (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.007Z"),
      (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00.007Z"),
      (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT", "2100-02-28T23:59:59.007Z"),
      (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00.007Z"),
      (1_795_259_220, "Sat, 21 Nov 2026 11:07:00 GMT", "2026-11-21T11:07:00.007Z"),
      (-1, "Wed, 31 Dec 1969 23:59:59 GMT", "1969-12-31T23:59:59.007Z"),
      (-62_167_219_200, "Sat, 01 Jan 0000 00:00:00 GMT", "0000-01-01T00:00:00.007Z"),
      (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59.007Z"),
    ] as [(Int64, String, String)])
  func dates(seconds: Int64, http: String, iso: String) {
    let date = written(Text.httpDateCount) {
      Text.writeHTTPDate(unixSeconds: seconds, to: $0)
      return Text.httpDateCount
    }
    #expect(date == http)
    let moment = written(Text.iso8601Count) {
      Text.writeISO8601(unixMilliseconds: seconds * 1_000 + 7, to: $0)
      return Text.iso8601Count
    }
    #expect(moment == iso)
  }

  @Test("dates far out of range are kept within four digits")
  func clampedDates() {
    for seconds in [Int64.min, .max] {
      let date = written(Text.httpDateCount) {
        Text.writeHTTPDate(unixSeconds: seconds, to: $0)
        return Text.httpDateCount
      }
      #expect(date.hasSuffix(seconds < 0 ? "01 Jan 0000 00:00:00 GMT" : "31 Dec 9999 23:59:59 GMT"))
      _ = written(Text.iso8601Count) {
        Text.writeISO8601(unixMilliseconds: seconds, to: $0)
        return Text.iso8601Count
      }
    }
  }

  @Test("days follow each other")
  func days() {
    var previous = Text.calendarTime(-400 * 146_097 / 400 * 86_400)
    for day in 1...146_097 {
      let next = Text.calendarTime(Int64(day - 146_097) * 86_400)
      #expect(next.weekday == (previous.weekday + 1) % 7)
      let sameMonth = next.day == previous.day + 1 && next.month == previous.month && next.year == previous.year
      let nextMonth = next.day == 1 && next.month == previous.month % 12 + 1 && previous.day >= 28
      if !sameMonth && !nextMonth { Issue.record("day \(day)") }
      previous = next
    }
  }
}
