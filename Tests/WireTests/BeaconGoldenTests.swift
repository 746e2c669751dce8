import Testing

@testable import Wire

/// The datagrams of Wire.docc's article, byte by byte. A change there or here is a change of the protocol.
@Suite struct BeaconGoldenTests {
  private static let cluster = ClusterID(high: 0x0001_0203_0405_0607, low: 0x0809_0a0b_0c0d_0e0f)
  private static let source = NodeID(high: 0x1011_1213_1415_1617, low: 0x1819_1a1b_1c1d_1e1f)
  private static let other = NodeID(high: 0x2021_2223_2425_2627, low: 0x2829_2a2b_2c2d_2e2f)
  private static let first = PeerAddress(v4: 0x0A00_0001, port: 3100)
  private static let second = PeerAddress(v4: 0x0A00_0002, port: 3100)
  private static let promise = BeaconBody.promise(FoundingReply(ballot: 1, cluster: cluster))

  /// The examples of single kinds, by the article's names.
  private static let bodies: [String: BeaconBody] = [
    "HELLO of a seeker": .hello(
      Hello(
        nameHash: nameHash, isMember: false, isWritten: false, expect: 3, size: 0, index: LogIndex(0), leader: .none,
        leaderAddress: .none, seen: [other])),
    "HELLO of a member": .hello(
      Hello(
        nameHash: nameHash, isMember: true, isWritten: true, expect: 1, size: 5, index: LogIndex(42), leader: other,
        leaderAddress: second, seen: [])),
    "PROPOSE": .propose(
      Founding(
        ballot: 1, cluster: cluster, copies: 3,
        founders: [Founder(id: source, address: .none), Founder(id: other, address: second)])),
    "JOIN": .join(Join(http: PeerAddress(v4: 0x0A00_0001, port: 3000), receiver: second, weight: 100, name: "n1")),
    "EVICTED": .evicted(EvictionNotice(index: LogIndex(42))),
    "REQUEST to leave": .request(.leave),
    "REQUEST of a command": .request(.command([8])),
    "REQUEST about a rival": .request(.rival(cluster, isWritten: true)),
    "PING": .ping(
      Probe(sequence: 8, incarnation: 2, rumors: [Rumor(subject: other, state: .suspected, incarnation: 1)])),
    "PROBE REQUEST": .probeRequest(IndirectProbe(sequence: 8, target: other, incarnation: 0)),
    "VOTE REQUEST": .election(
      .voteRequest(
        VoteRequest(
          isPre: true, isForced: false, term: Term(7), lastIndex: LogIndex(42), lastTerm: Term(6), silence: 512,
          round: 3))),
    "VOTE REPLY": .election(.voteReply(VoteReply(isPre: true, isGranted: true, term: Term(6), round: 3))),
    "APPEND": .election(
      .append(
        AppendRequest(
          term: Term(7), previousIndex: LogIndex(41), previousTerm: Term(6), commit: LogIndex(41),
          sentAt: 1_000_000_000, leaseFrom: 2_000_000_000,
          entries: [LogEntry(term: Term(7), kind: .command, payload: [8])]))),
    "APPEND REPLY": .election(
      .appendReply(
        AppendReply(
          term: Term(7), isAccepted: true, match: LogIndex(42), applied: LogIndex(41), sentAt: 1_000_000_000,
          clock: 2_100_000_000))),
    "SNAPSHOT": .election(
      .snapshot(
        SnapshotPiece(
          term: Term(7), index: LogIndex(42), indexTerm: Term(6), sentAt: 1_000_000_000, offset: 1024, total: 1027,
          bytes: [0xAA, 0xBB, 0xCC]))),
    "SNAPSHOT REPLY": .election(
      .snapshotReply(SnapshotReply(term: Term(7), index: LogIndex(42), sentAt: 1_000_000_000, offset: 1024))),
    "TIMEOUT NOW": .election(.timeoutNow(Term(7))),
  ]

  private static var nameHash: UInt64 {
    Array("kvd".utf8).withUnsafeBytes { xxh3($0.baseAddress, count: $0.count, seed: 0) }
  }

  @Test("a plain datagram and a sealed one are the bytes that the article shows")
  func whole() throws {
    let article = try FrameDocument.read("Beacons", fence: "beacon").examples
    let plain = Beacon(cluster: .none, source: Self.source, destination: Self.other, sequence: 5, body: Self.promise)
    #expect(BeaconSample.hex(plain.encoded()) == article["PROMISE"])
    let key = BeaconSample.key(Array(0..<32))
    let sealed = Beacon(
      cluster: Self.cluster, source: Self.source, destination: Self.other, sequence: 9,
      body: .election(.timeoutNow(Term(7))))
    #expect(BeaconSample.hex(sealed.encoded(key: key)) == article["TIMEOUT NOW, sealed"])
    #expect(try Beacon(decoding: sealed.encoded(key: key), key: key) == sealed)
  }

  @Test("the fields of every kind are the bytes that the article shows")
  func fields() throws {
    let article = try FrameDocument.read("Beacons", fence: "fields").examples
    #expect(Set(article.keys) == Set(Self.bodies.keys))
    for (name, body) in Self.bodies {
      let beacon = Beacon(cluster: Self.cluster, source: Self.source, destination: Self.other, body: body)
      let bytes = beacon.encoded()
      #expect(BeaconSample.hex(bytes[Beacon.headCount..<(bytes.count - Beacon.tailCount)]) == article[name], "\(name)")
      #expect(try Beacon(decoding: bytes) == beacon)
    }
  }

  @Test("HMAC-SHA-256 of the tests is that of RFC 4231")
  func vectors() {
    let key = [UInt8](repeating: 0x0b, count: 20)
    #expect(
      BeaconSample.hex(BeaconSample.hmac(key, Array("Hi There".utf8)))
        == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
    #expect(
      BeaconSample.hex(BeaconSample.hmac(Array("Jefe".utf8), Array("what do ya want for nothing?".utf8)))
        == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
  }
}
