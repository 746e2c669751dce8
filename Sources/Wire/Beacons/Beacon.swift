/// What a datagram is about; its number on the wire.
package enum BeaconKind: UInt8, Sendable {
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
/// | 5 | 0 |
/// | 6–7 | bytes of the whole datagram |
/// | 8–23 | cluster id, low half first; zero from a node that has none |
/// | 24–39 | source: the sender's id |
/// | 40–55 | destination: the receiver's id, or zero for whoever hears it |
/// | 56–… | the kind's fields |
/// | last 8 | XXH3_64, seed 1, of all bytes before |
///
/// The checksum finds what changed on the way; it is no proof of who sent it.
package struct Beacon: Equatable, Sendable {
  /// Which cluster.
  package let cluster: ClusterID
  /// Who sent it.
  package let source: NodeID
  /// Who is meant; nobody stands for whoever hears it.
  package let destination: NodeID
  /// What it says.
  package let body: BeaconBody

  package init(cluster: ClusterID, source: NodeID, destination: NodeID, body: BeaconBody) {
    self.cluster = cluster
    self.source = source
    self.destination = destination
    self.body = body
  }

  /// The version of this layout and of what the messages mean.
  package static let version: UInt8 = 1
  /// Bytes before the kind's fields, and after them.
  package static let headCount = 56
  package static let tailCount = 8
  /// Bytes of a datagram at most: IPv6's least MTU, 1280, less the heads of IPv6 and UDP.
  package static let maximumCount = 1232

  /// The bytes of this datagram. Its lists must keep their bounds; a datagram that would be too long is our own bug.
  package func encoded() -> [UInt8] {
    var writer = BeaconWriter(capacity: 256)
    writer.u32(0x0064_766B | UInt32(Beacon.version) << 24)
    writer.u8(body.kind.rawValue)
    writer.u8(0)
    writer.u16(0)
    writer.id(cluster)
    writer.id(source)
    writer.id(destination)
    body.write(to: &writer)
    let count = writer.bytes.count + Beacon.tailCount
    precondition(count <= Beacon.maximumCount, "a datagram of \(count) bytes")
    writer.bytes[6] = UInt8(truncatingIfNeeded: count)
    writer.bytes[7] = UInt8(count >> 8)
    writer.u64(Beacon.checksum(writer.bytes))
    return writer.bytes
  }

  private static func checksum(_ bytes: [UInt8]) -> UInt64 {
    bytes.withUnsafeBytes { xxh3($0.baseAddress, count: $0.count, seed: UInt64(version)) }
  }

  /// Reads a datagram; anything but exactly one is an error.
  package init(decoding buffer: UnsafeRawBufferPointer) throws(BeaconError) {
    guard buffer.count <= Beacon.maximumCount else { throw .oversized }
    guard buffer.count >= Beacon.headCount + Beacon.tailCount else { throw .truncated }
    var reader = BeaconReader(UnsafeRawBufferPointer(rebasing: buffer[..<(buffer.count - Beacon.tailCount)]))
    var tail = BeaconReader(UnsafeRawBufferPointer(rebasing: buffer[(buffer.count - Beacon.tailCount)...]))
    let magic = try reader.u32()
    guard magic & 0xFF_FFFF == 0x0064_766B else { throw .magic }
    guard UInt8(magic >> 24) == Beacon.version else { throw .version }
    let (rawKind, reserved, count) = (try reader.u8(), try reader.u8(), try reader.u16())
    guard Int(count) == buffer.count else { throw .truncated }
    let checksum = xxh3(buffer.baseAddress, count: buffer.count - Beacon.tailCount, seed: UInt64(Beacon.version))
    guard try tail.u64() == checksum else { throw .checksum }
    guard reserved == 0, let kind = BeaconKind(rawValue: rawKind) else { throw .kind }
    cluster = try reader.clusterID()
    source = try reader.nodeID()
    destination = try reader.nodeID()
    body = try BeaconBody(kind, &reader)
    try reader.finish()
    guard source != .none else { throw .malformed }
  }

  /// Reads a datagram from an array.
  package init(decoding bytes: [UInt8]) throws(BeaconError) {
    let result = bytes.withUnsafeBytes { buffer -> Result<Beacon, BeaconError> in
      do throws(BeaconError) { return .success(try Beacon(decoding: buffer)) } catch { return .failure(error) }
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
