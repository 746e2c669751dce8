import Testing

@testable import Wire

@Suite struct BeaconTests {
  private let cluster = ClusterID(high: 0x0102_0304_0506_0708, low: 0x1112_1314_1516_1718)
  private let source = NodeID(high: 0x21, low: 0x22)
  private let destination = NodeID(high: 0x31, low: 0x32)
  private let address = PeerAddress(v4: 0x0A00_0001, port: 3100)

  private func beacon(_ body: BeaconBody) -> Beacon {
    Beacon(cluster: cluster, source: source, destination: destination, body: body)
  }

  /// One of each kind, with every field set.
  private var bodies: [BeaconBody] {
    let reply = FoundingReply(ballot: 3, cluster: cluster)
    let founding = Founding(
      ballot: 3, cluster: cluster, copies: 3,
      founders: [Founder(id: source, address: address), Founder(id: destination, address: .none)])
    let probe = Probe(
      sequence: 8, incarnation: 2, rumors: [Rumor(subject: source, state: .suspected, incarnation: 1)])
    let indirect = IndirectProbe(sequence: 9, target: source, incarnation: 4)
    let entry = LogEntry(term: Term(4), kind: .command, payload: [1, 2, 3])
    return [
      .hello(
        Hello(
          nameHash: 5, isMember: true, isWritten: true, expect: 3, size: 4, index: LogIndex(6), leader: source,
          leaderAddress: address, seen: [source, destination])),
      .propose(founding), .promise(reply), .decline(reply), .abandon(reply), .founded(founding),
      .join(Join(http: address, receiver: address, weight: 100, name: "n1")),
      .evicted(EvictionNotice(index: LogIndex(7))),
      .request(.leave), .request(.command([8, 9])), .request(.rival(cluster, isWritten: true)),
      .ping(probe), .acknowledgement(probe), .probeRequest(indirect), .probeReport(indirect),
      .election(
        .voteRequest(
          VoteRequest(
            isPre: true, isForced: true, term: Term(2), lastIndex: LogIndex(3), lastTerm: Term(1), silence: 5, round: 6)
        )),
      .election(.voteReply(VoteReply(isPre: false, isGranted: true, term: Term(2), round: 6))),
      .election(
        .append(
          AppendRequest(
            term: Term(2), previousIndex: LogIndex(3), previousTerm: Term(1), commit: LogIndex(2), sentAt: 10,
            leaseFrom: 11, entries: [entry, entry]))),
      .election(
        .appendReply(
          AppendReply(
            term: Term(2), isAccepted: true, match: LogIndex(4), applied: LogIndex(3), sentAt: 10, clock: 12))),
      .election(
        .snapshot(
          SnapshotPiece(
            term: Term(2), index: LogIndex(9), indexTerm: Term(1), sentAt: 10, offset: 4, total: 20, bytes: [7, 7]))),
      .election(.snapshotReply(SnapshotReply(term: Term(2), index: LogIndex(9), sentAt: 10, offset: 6))),
      .election(.timeoutNow(Term(2))),
    ]
  }

  @Test("every kind is read back as it was written")
  func roundTrip() throws {
    let key = BeaconSample.key([1, 2, 3])
    for body in bodies {
      let bytes = beacon(body).encoded()
      #expect(bytes.count <= Beacon.maximumCount)
      #expect(try Beacon(decoding: bytes) == beacon(body))
      #expect(try Beacon(decoding: beacon(body).encoded(key: key), key: key) == beacon(body))
    }
  }

  @Test("the largest bodies fit a datagram")
  func largest() {
    let ids = (1...32).map { NodeID(high: UInt64($0), low: 0) }
    let hello = Hello(
      nameHash: 0, isMember: false, isWritten: false, expect: 1, size: 0, index: LogIndex(0), leader: .none,
      leaderAddress: .none, seen: ids)
    let founding = Founding(
      ballot: 1, cluster: cluster, copies: 3, founders: ids.map { Founder(id: $0, address: address) })
    let payload = [UInt8](repeating: 1, count: LogEntry.maximumPayload)
    let append = AppendRequest(
      term: Term(1), previousIndex: LogIndex(1), previousTerm: Term(1), commit: LogIndex(1), sentAt: 1, leaseFrom: 1,
      entries: [LogEntry(term: Term(1), kind: .command, payload: payload)])
    let piece = SnapshotPiece(
      term: Term(1), index: LogIndex(1), indexTerm: Term(1), sentAt: 1, offset: 0, total: 1,
      bytes: [UInt8](repeating: 1, count: SnapshotPiece.maximumBytes))
    let key = BeaconKey { _ in BeaconCode(first: 1, last: 2) }
    for body in [.hello(hello), .propose(founding), .election(.append(append)), .election(.snapshot(piece))]
      as [BeaconBody]
    {
      #expect(beacon(body).encoded(key: key).count <= Beacon.maximumCount)
    }
  }

  @Test("a datagram that is cut short, longer, of another version, or of which any bit changed, is refused")
  func hostile() {
    for body in bodies {
      let bytes = beacon(body).encoded()
      for count in bytes.indices { #expect(throws: BeaconError.self) { try Beacon(decoding: Array(bytes[..<count])) } }
      #expect(throws: BeaconError.truncated) { try Beacon(decoding: bytes + [0]) }
      #expect(throws: BeaconError.oversized) { try Beacon(decoding: bytes + [UInt8](repeating: 0, count: 1300)) }
      for bit in 0..<8 * bytes.count {
        var changed = bytes
        changed[bit / 8] ^= 1 << (bit % 8)
        #expect(throws: BeaconError.self) { try Beacon(decoding: changed) }
      }
    }
  }

  @Test("a sealed datagram of which any bit changed, or with another key or none, is refused as unauthenticated")
  func seals() {
    let key = BeaconKey { bytes in
      BeaconCode(
        first: xxh3(bytes.baseAddress, count: bytes.count, seed: 7),
        last: xxh3(bytes.baseAddress, count: bytes.count, seed: 8))
    }
    for body in bodies {
      let bytes = beacon(body).encoded(key: key)
      #expect(throws: BeaconError.unauthenticated) { try Beacon(decoding: bytes) }
      #expect(throws: BeaconError.unauthenticated) { try Beacon(decoding: beacon(body).encoded(), key: key) }
      #expect(throws: BeaconError.unauthenticated) { try Beacon(decoding: bytes, key: BeaconSample.key([1])) }
      for count in bytes.indices { #expect(throws: BeaconError.self) { try Beacon(decoding: Array(bytes[..<count])) } }
      for bit in 0..<8 * bytes.count {
        var changed = bytes
        changed[bit / 8] ^= 1 << (bit % 8)
        #expect(throws: BeaconError.self) { try Beacon(decoding: changed, key: key) }
        if bit >= 64 { #expect(throws: BeaconError.unauthenticated) { try Beacon(decoding: changed, key: key) } }
      }
    }
  }

  @Test("bytes of any content with a right checksum are read or refused, never more")
  func fuzz() {
    var state: UInt64 = 1
    func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state >> 33
    }
    for _ in 0..<20_000 {
      var bytes = beacon(bodies[Int(next()) % bodies.count]).encoded()
      bytes.removeLast(8)
      for _ in 0...Int(next() % 4) { bytes[8 + Int(next()) % (bytes.count - 8)] = UInt8(truncatingIfNeeded: next()) }
      if next() % 3 == 0 { bytes[4] = UInt8(next() % 48) }
      if next() % 4 == 0 { bytes.removeLast(Int(next()) % (bytes.count - Beacon.headCount + 1)) }
      let count = bytes.count + 8
      bytes[6] = UInt8(truncatingIfNeeded: count)
      bytes[7] = UInt8(count >> 8)
      let checksum = bytes.withUnsafeBytes { xxh3($0.baseAddress, count: $0.count, seed: 1) }
      var writer = BeaconWriter()
      writer.raw(bytes)
      writer.u64(checksum)
      guard let read = try? Beacon(decoding: writer.bytes) else { continue }
      // What is read can be written again; only texts that weren't UTF-8 come out longer.
      if case .join = read.body { continue }
      #expect(read.encoded().count == writer.bytes.count)
    }
  }
}
