import Engine
import Wire

/// Datagrams, commands of the log and snapshots of the topology, from bytes of any content.
///
/// What is read must be written again as the same bytes, or at least be read back as the same value; and a topology
/// that was read keeps its invariants when a command is applied.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzBeacons(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let input = [UInt8](UnsafeBufferPointer(start: bytes, count: count))
  readBeacon(input)
  readBeacon(withChecksum(input))
  if let command = try? TopologyCommand(decoding: input) {
    let written = command.encoded()
    guard let again = try? TopologyCommand(decoding: written) else { fatalError("a command isn't read back") }
    // A name that wasn't UTF-8 comes out repaired, and stays so.
    precondition(again.encoded() == written, "a command is written in two ways")
    apply(command)
  }
  if let topology = try? Topology(decoding: input) {
    precondition((try? Topology(decoding: topology.encoded())) != nil, "a snapshot isn't read back")
  }
  return 0
}

private func readBeacon(_ input: [UInt8]) {
  guard let beacon = try? Beacon(decoding: input) else { return }
  // Names grow when they are repaired, up to a datagram that would be too long to be sent.
  if case .join = beacon.body { return }
  guard let again = try? Beacon(decoding: beacon.encoded()) else { fatalError("a datagram isn't read back") }
  precondition(again == beacon, "a datagram is read back as another")
}

/// The input with a right length and checksum, so that what lies behind them is reached.
private func withChecksum(_ input: [UInt8]) -> [UInt8] {
  guard input.count >= Beacon.headCount + Beacon.tailCount, input.count <= Beacon.maximumCount else { return input }
  var bytes = Array(input.dropLast(Beacon.tailCount))
  bytes[6] = UInt8(truncatingIfNeeded: input.count)
  bytes[7] = UInt8(input.count >> 8)
  let checksum = bytes.withUnsafeBytes { xxh3($0.baseAddress, count: $0.count, seed: UInt64(Beacon.version)) }
  for shift in stride(from: UInt64(0), to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: checksum >> shift)) }
  return bytes
}

/// Applies a command to a topology of three members.
private func apply(_ command: TopologyCommand) {
  let members = (0..<3).map {
    Member(id: NodeID(high: UInt64($0) + 1, low: 0), peer: PeerAddress(v4: UInt32($0), port: 3100), state: .active)
  }
  var topology = Topology(
    founding: ClusterID(high: 1, low: 1), copies: 3, members: members, voters: [members[0].id], index: LogIndex(1))
  topology.apply(command, at: LogIndex(2))
  topology.checkInvariants()
}
