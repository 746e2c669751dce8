import Glibc
import Testing

@testable import Wire

@Suite("Places to join") struct JoinTests {
  @Test(
    "are read with their ports",
    arguments: [
      ("10.0.0.7", .v4(0x0A00_0007), 3100...3100), ("10.0.0.7:1", .v4(0x0A00_0007), 1...1),
      ("255.1.2.3:65535", .v4(0xFF01_0203), 65535...65535), ("node-1", .name("node-1"), 3100...3100),
      ("Kvd_1.Example.org:3100-3163", .name("kvd_1.example.org"), 3100...3163), ("a.b.", .name("a.b."), 3100...3100),
      ("10.0.0.7.nip.io:7", .name("10.0.0.7.nip.io"), 7...7), ("0x7f", .name("0x7f"), 3100...3100),
      ("[::1]", .v6(high: 0, low: 1), 3100...3100), ("[FD00::a:1]:5-6", .v6(high: 0xFD00 << 48, low: 0xA0001), 5...6),
      ("[::ffff:10.0.0.7]:9", .v4(0x0A00_0007), 9...9),
      ("[64:ff9b::1.2.3.4]", .v6(high: 0x64_FF9B << 32, low: 0x0102_0304), 3100...3100),
    ] as [(String, JoinTarget.Host, ClosedRange<UInt16>)])
  func good(_ text: String, _ host: JoinTarget.Host, _ ports: ClosedRange<UInt16>) throws {
    let found = try JoinTargets(parsing: text, defaultPort: 3100)
    #expect(found.targets == [JoinTarget(host: host, ports: ports)])
  }

  @Test("come as a list, in order, each once")
  func list() throws {
    let found = try JoinTargets(parsing: " b , a:3100,b:3100,a:1-2, A ,[::1]", defaultPort: 3100)
    #expect(
      found.targets == [
        JoinTarget(host: .name("b"), ports: 3100...3100), JoinTarget(host: .name("a"), ports: 3100...3100),
        JoinTarget(host: .name("a"), ports: 1...2), JoinTarget(host: .v6(high: 0, low: 1), ports: 3100...3100),
      ])
    #expect(found.names == ["b", "a"])
    #expect(try JoinTargets(parsing: "  ", defaultPort: 3100) == JoinTargets())
  }

  @Test(
    "that can't be are refused, and quoted",
    arguments: [
      ("a,,b", "empty"), ("a,", "empty"), (",", "empty"), ("300.1.1.1", "valid host"), ("1.2.3", "valid host"),
      ("1.2.3.04", "valid host"), ("a b", "valid host"), ("-a", "valid host"), ("a-.b", "valid host"),
      ("a..b", "valid host"), (".", "valid host"), (":3100", "valid host"), ("ä", "valid host"), ("a%b", "valid host"),
      ("a:", "port"), ("a:0", "port"), ("a:65536", "port"), ("a:x", "port"), ("a:-1", "port"), ("a:5-", "port"),
      ("a:6-5", "port"), ("a:1-2-3", "port"), ("a:+5", "port"), ("a:000005", "port"), ("a:1-65", "65 ports"),
      ("::1", "brackets"), ("fd00::1:3100", "brackets"), ("[::1", "closing bracket"), ("[::1]x", "behind the bracket"),
      ("[::1]:", "port"), ("[1.2.3.4]", "IPv6"), ("[]", "IPv6"), ("[fe80::1%eth0]", "zones"), ("[a]:1", "IPv6"),
      ("0.0.0.0", "every address"), ("[::]:3100", "every address"),
    ])
  func bad(_ text: String, _ word: String) {
    let error = #expect(throws: JoinError.self) { try JoinTargets(parsing: text, defaultPort: 3100) }
    #expect(error?.sentence.contains(word) == true, "\(error?.sentence ?? "")")
    #expect(error?.sentence.contains("\"\(text)\"") == true)
  }

  @Test("may be so many and no more")
  func bounds() throws {
    let most = (1...JoinTargets.maximumCount).map { "n\($0)" }.joined(separator: ",")
    #expect(try JoinTargets(parsing: most + ",n1", defaultPort: 1).targets.count == JoinTargets.maximumCount)
    let error = #expect(throws: JoinError.self) { try JoinTargets(parsing: most + ",more", defaultPort: 1) }
    #expect(error?.sentence.contains("more than 64") == true)
    let label = String(repeating: "a", count: 63)
    #expect(throws: Never.self) { try JoinTargets(parsing: label, defaultPort: 1) }
    #expect(throws: JoinError.self) { try JoinTargets(parsing: label + "a", defaultPort: 1) }
    let long = [label, label, label, String(label.dropLast(2))].joined(separator: ".")
    #expect(throws: Never.self) { try JoinTargets(parsing: long, defaultPort: 1) }
    #expect(throws: JoinError.self) { try JoinTargets(parsing: long + "a", defaultPort: 1) }
  }

  @Test("by IPv6 are what the C library reads, on thousands of random texts")
  func twin() {
    var random = JoinRandom(state: 7)
    var valid = 0
    for _ in 0..<20_000 {
      let text = random.text()
      var expected = in6_addr()
      let isValid = inet_pton(AF_INET6, text, &expected) == 1
      let found = try? JoinTargets(parsing: "[\(text)]", defaultPort: 1)
      let words = withUnsafeBytes(of: &expected) { bytes in
        (
          UInt64(bigEndian: bytes.load(as: UInt64.self)),
          UInt64(bigEndian: bytes.load(fromByteOffset: 8, as: UInt64.self))
        )
      }
      if !isValid || words == (0, 0) {
        #expect(found == nil, "\(text)")
        continue
      }
      valid += 1
      let isMapped = words.0 == 0 && words.1 >> 32 == 0xFFFF
      let host: JoinTarget.Host =
        isMapped ? .v4(UInt32(truncatingIfNeeded: words.1)) : .v6(high: words.0, low: words.1)
      #expect(found?.targets.first?.host == host, "\(text)")
    }
    #expect(valid > 1_000)
  }
}

/// Texts that are IPv6 addresses, or nearly.
private struct JoinRandom {
  var state: UInt64

  mutating func below(_ bound: UInt64) -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (state >> 33) % bound
  }

  mutating func text() -> String {
    let count = below(3) == 0 ? 8 : below(9)
    var pieces = (0..<count).map { _ in String(below(2) == 0 ? below(3) : below(0x1FFFF), radix: 16) }
    if below(5) == 0 { pieces.append("\(below(256)).\(below(256)).\(below(260)).\(below(12))") }
    if below(2) == 0 { pieces.insert("", at: Int(below(UInt64(pieces.count) + 1))) }
    var text = pieces.joined(separator: ":")
    if text.hasPrefix(":") && below(4) > 0 { text = ":" + text }
    if text.hasSuffix(":") && below(4) > 0 { text += ":" }
    if below(8) == 0, !text.isEmpty { text.removeLast() }
    return text
  }
}
