/// What a datagram is about; its number on the wire.
package enum BeaconKind: UInt8, CaseIterable, Sendable {
  case hello = 1
  case propose, promise, decline, abandon, founded
  case join, evicted, request
  case ping = 16
  case acknowledgement, probeRequest, probeReport
  case voteRequest = 32
  case voteReply, append, appendReply, snapshot, snapshotReply, timeoutNow
}

/// What a datagram says.
package enum BeaconBody: Equatable, Sendable {
  case hello(Hello)
  case propose(Founding)
  case promise(FoundingReply)
  case decline(FoundingReply)
  case abandon(FoundingReply)
  case founded(Founding)
  case join(Join)
  case evicted(EvictionNotice)
  case request(LeaderRequest)
  case ping(Probe)
  case acknowledgement(Probe)
  case probeRequest(IndirectProbe)
  case probeReport(IndirectProbe)
  case election(ElectionMessage)
}

/// A datagram of the control plane: who says what to whom. All of them are UDP, on the peer port.
///
/// Little-endian, without padding:
///
/// | bytes | field |
/// |---|---|
/// | 0–2 | `kvd` |
/// | 3 | version, 1 |
/// | 4 | kind |
/// | 5 | flags: 1 sealed |
/// | 6–7 | bytes of the whole datagram |
/// | 8–23 | cluster id; zero from a node that has none |
/// | 24–39 | source: the sender's id |
/// | 40–55 | destination: the receiver's id, or zero for whoever hears it |
/// | 56–63 | sequence: the sender's datagrams, counted from 1 |
/// | 64–… | the kind's fields |
/// | last 8 | plain: XXH3_64, seed 1, of all bytes before |
/// | last 16 | sealed: a message authentication code of all bytes before, see `BeaconKey` |
///
/// The checksum finds what changed on the way; only a seal proves that the sender belongs here. The article on beacons
/// has every field of every kind.
package struct Beacon: Equatable, Sendable {
  /// Which cluster.
  package let cluster: ClusterID
  /// Who sent it.
  package let source: NodeID
  /// Who is meant; nobody stands for whoever hears it.
  package let destination: NodeID
  /// Which of its sender's datagrams this is, from 1: no sender uses a number twice.
  package let sequence: UInt64
  /// What it says.
  package let body: BeaconBody

  package init(cluster: ClusterID, source: NodeID, destination: NodeID, sequence: UInt64 = 1, body: BeaconBody) {
    self.cluster = cluster
    self.source = source
    self.destination = destination
    self.sequence = sequence
    self.body = body
  }

  /// The version of this layout and of what the messages mean.
  package static let version: UInt8 = 1
  /// Bytes before the kind's fields, and after them: of a plain datagram and of a sealed one.
  package static let headCount = 64
  package static let tailCount = 8
  package static let sealCount = 16
  /// Bytes of a datagram at most: IPv6's least MTU, 1280, less the heads of IPv6 and UDP.
  package static let maximumCount = 1232

  private static let sealed: UInt8 = 1

  /// The bytes of this datagram, sealed if there is a key. Its lists must keep their bounds; a datagram that would be
  /// too long is our own bug.
  package func encoded(key: BeaconKey? = nil) -> [UInt8] {
    var writer = BeaconWriter(capacity: 256)
    let flags = key == nil ? 0 : Beacon.sealed
    let first =
      0x0064_766B | UInt64(Beacon.version) << 24 | UInt64(body.kind.rawValue) << 32 | UInt64(flags) << 40
    // All at once: words appended one by one are most of what a datagram costs.
    let head: InlineArray<8, UInt64> = [
      first.littleEndian, cluster.high.bigEndian, cluster.low.bigEndian, source.high.bigEndian, source.low.bigEndian,
      destination.high.bigEndian, destination.low.bigEndian, sequence.littleEndian,
    ]
    withUnsafeBytes(of: head) { writer.bytes.append(contentsOf: $0) }
    body.write(to: &writer)
    let count = writer.bytes.count + (key == nil ? Beacon.tailCount : Beacon.sealCount)
    precondition(count <= Beacon.maximumCount, "a datagram of \(count) bytes")
    writer.bytes[6] = UInt8(truncatingIfNeeded: count)
    writer.bytes[7] = UInt8(count >> 8)
    if let key {
      let code = writer.bytes.withUnsafeBytes { key.code($0) }
      writer.u64(code.first)
      writer.u64(code.last)
    } else {
      writer.u64(writer.bytes.withUnsafeBytes { Beacon.checksum($0) })
    }
    return writer.bytes
  }

  private static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    xxh3(bytes.baseAddress, count: bytes.count, seed: UInt64(version))
  }

  /// Reads a datagram; anything but exactly one is an error, and with a key anything that isn't sealed with it, before
  /// more than its head is looked at.
  package init(decoding buffer: UnsafeRawBufferPointer, key: BeaconKey? = nil) throws(BeaconError) {
    guard buffer.count <= Beacon.maximumCount else { throw .oversized }
    guard buffer.count >= Beacon.headCount + Beacon.tailCount else { throw .truncated }
    var head = BeaconReader(buffer)
    let magic = try head.u32()
    guard magic & 0xFF_FFFF == 0x0064_766B else { throw .magic }
    guard UInt8(magic >> 24) == Beacon.version else { throw .version }
    let (rawKind, flags, count) = (try head.u8(), try head.u8(), try head.u16())
    guard Int(count) == buffer.count else { throw .truncated }
    guard flags & ~Beacon.sealed == 0 else { throw .malformed }
    let end = try Beacon.verifiedEnd(of: buffer, isSealed: flags == Beacon.sealed, key)
    guard let kind = BeaconKind(rawValue: rawKind) else { throw .kind }
    var reader = BeaconReader(UnsafeRawBufferPointer(rebasing: buffer[8..<end]))
    cluster = try reader.clusterID()
    source = try reader.nodeID()
    destination = try reader.nodeID()
    sequence = try reader.u64()
    body = try BeaconBody(kind, &reader)
    try reader.finish()
    guard source != .none, sequence > 0 else { throw .malformed }
  }

  /// Where the fields end, once the checksum or the code behind them was found right.
  private static func verifiedEnd(
    of buffer: UnsafeRawBufferPointer, isSealed: Bool, _ key: BeaconKey?
  ) throws(BeaconError) -> Int {
    guard isSealed == (key != nil) else { throw .unauthenticated }
    let end = buffer.count - (isSealed ? sealCount : tailCount)
    guard end >= headCount else { throw .truncated }
    let content = UnsafeRawBufferPointer(rebasing: buffer[..<end])
    if let key {
      let code = BeaconCode(UnsafeRawBufferPointer(rebasing: buffer[end...]))
      guard code.isEqual(to: key.code(content)) else { throw .unauthenticated }
    } else {
      var tail = BeaconReader(UnsafeRawBufferPointer(rebasing: buffer[end...]))
      guard try tail.u64() == checksum(content) else { throw .checksum }
    }
    return end
  }

  /// Reads a datagram from an array.
  package init(decoding bytes: [UInt8], key: BeaconKey? = nil) throws(BeaconError) {
    let result = bytes.withUnsafeBytes { buffer -> Result<Beacon, BeaconError> in
      do throws(BeaconError) { return .success(try Beacon(decoding: buffer, key: key)) } catch {
        return .failure(error)
      }
    }
    self = try result.get()
  }
}

extension BeaconBody {
  /// The kind that says what this is.
  package var kind: BeaconKind {
    switch self {
    case .hello: .hello
    case .propose: .propose
    case .promise: .promise
    case .decline: .decline
    case .abandon: .abandon
    case .founded: .founded
    case .join: .join
    case .evicted: .evicted
    case .request: .request
    case .ping: .ping
    case .acknowledgement: .acknowledgement
    case .probeRequest: .probeRequest
    case .probeReport: .probeReport
    case .election(let message):
      switch message {
      case .voteRequest: .voteRequest
      case .voteReply: .voteReply
      case .append: .append
      case .appendReply: .appendReply
      case .snapshot: .snapshot
      case .snapshotReply: .snapshotReply
      case .timeoutNow: .timeoutNow
      }
    }
  }

  fileprivate func write(to writer: inout BeaconWriter) {
    switch self {
    case .hello(let hello): writer.hello(hello)
    case .propose(let founding), .founded(let founding): writer.founding(founding)
    case .promise(let reply), .decline(let reply), .abandon(let reply):
      writer.u64(reply.ballot)
      writer.id(reply.cluster)
    case .join(let join):
      writer.address(join.http)
      writer.address(join.receiver)
      writer.u16(join.weight)
      writer.text(join.name)
    case .evicted(let eviction): writer.u64(eviction.index.rawValue)
    case .request(let request): writer.request(request)
    case .ping(let probe), .acknowledgement(let probe): writer.probe(probe)
    case .probeRequest(let probe), .probeReport(let probe): writer.indirect(probe)
    case .election(let message): writer.election(message)
    }
  }

  fileprivate init(_ kind: BeaconKind, _ reader: inout BeaconReader) throws(BeaconError) {
    switch kind {
    case .hello: self = .hello(try reader.hello())
    case .propose: self = .propose(try reader.founding())
    case .founded: self = .founded(try reader.founding())
    case .promise, .decline, .abandon:
      let ballot = try reader.u64()
      let reply = FoundingReply(ballot: ballot, cluster: try reader.clusterID())
      self = kind == .promise ? .promise(reply) : kind == .decline ? .decline(reply) : .abandon(reply)
    case .join:
      let (http, receiver, weight) = (try reader.address(), try reader.address(), try reader.u16())
      self = .join(Join(http: http, receiver: receiver, weight: weight, name: try reader.text()))
    case .evicted: self = .evicted(EvictionNotice(index: LogIndex(try reader.u64())))
    case .request: self = .request(try reader.request())
    case .ping: self = .ping(try reader.probe())
    case .acknowledgement: self = .acknowledgement(try reader.probe())
    case .probeRequest: self = .probeRequest(try reader.indirect())
    case .probeReport: self = .probeReport(try reader.indirect())
    default: self = .election(try reader.election(kind))
    }
  }
}
