import Wire

// The bytes of commands and snapshots. Integers are little-endian; a list is its count and its items.
//
//   member      id 16, peer 18, http 18, weight 2, state 1, name 1 + n
//   slots       count 1, then 2 each
//   command     kind 1, then by kind:
//     1 addMember     member
//     2 setState      id 16, state 1
//     3 removeMember  id 16
//     4 place         count 2; partition 2, slots
//     5 fence         count 2; partition 2
//     6 activate      count 2; partition 2, epoch 4, owner 2, rf 1, loss 1, slots
//     7 resize        count 2; partition 2, epoch 4, version 4, rf 1, slots
//     8 markWritten   nothing
//     9 dissolve      cluster 16
//    10 choose        count 2; partition 2, epoch 4, candidate 2
//    11 handOver      count 2; partition 2, epoch 4, version 4, heir 2
//    12 setMap        map
//   map         name 1 + n, replicas 2, mode 1, time to live 8, history 8, version 8
//   snapshot    version 1 (= 1), cluster 16, copies 1, index 8, version 8, written at 8, dissolved 16 (zero: no),
//               voters: count 1, 16 each; members: count 2, each present 1 and, if 1, member;
//               partitions: 1024 of epoch 4, version 4, active 1, rf 1, owner 2 (0xFFFF: none), candidate 2 (likewise),
//               fencedAt 8, losses 2, lostBefore 4, replicas slots, synced slots; maps: count 2, each map

extension BeaconWriter {
  fileprivate mutating func member(_ member: Member) {
    id(member.id)
    address(member.peer)
    address(member.http)
    u16(member.weight)
    u8(member.state.rawValue)
    text(member.name)
  }

  fileprivate mutating func slots(_ slots: SlotList) {
    u8(UInt8(slots.count))
    u16s(slots.count) { slots[$0] }
  }
}

extension BeaconReader {
  fileprivate mutating func memberState() throws(BeaconError) -> MemberState {
    guard let state = MemberState(rawValue: try u8()) else { throw .malformed }
    return state
  }

  fileprivate mutating func member() throws(BeaconError) -> Member {
    let id = try nodeID()
    let peer = try address()
    let http = try address()
    let weight = try u16()
    let state = try memberState()
    return Member(id: id, name: try text(), peer: peer, http: http, weight: weight, state: state)
  }

  /// A list of slots; one that is longer than any may be is malformed.
  mutating func slots() throws(BeaconError) -> SlotList {
    SlotList(littleEndian: try take(2 * (try count8(atMost: SlotList.capacity))))
  }

  fileprivate mutating func partition() throws(BeaconError) -> PartitionID {
    let partition = try u16()
    guard partition < partitionCount else { throw .malformed }
    return PartitionID(partition)
  }
}

extension TopologyCommand {
  /// The bytes of this command. A list must have at most 65535 items.
  package func encoded() -> [UInt8] {
    var writer = BeaconWriter(capacity: 64)
    switch self {
    case .addMember(let member):
      writer.u8(1)
      writer.member(member)
    case .setState(let id, let state):
      writer.u8(2)
      writer.id(id)
      writer.u8(state.rawValue)
    case .removeMember(let id):
      writer.u8(3)
      writer.id(id)
    case .setMap(let entry):
      writer.u8(12)
      writer.map(entry)
    case .place, .fence, .activate, .resize, .choose, .handOver:
      encodeList(to: &writer)
    case .markWritten:
      writer.u8(8)
    case .dissolve(let cluster):
      writer.u8(9)
      writer.id(cluster)
    }
    return writer.bytes
  }

  private func encodeList(to writer: inout BeaconWriter) {
    switch self {
    case .place(let items):
      writer.u8(4)
      writer.u16(UInt16(items.count))
      for item in items {
        writer.u16(item.partition.rawValue)
        writer.slots(item.replicas)
      }
    case .fence(let items):
      writer.u8(5)
      writer.u16(UInt16(items.count))
      for item in items { writer.u16(item.rawValue) }
    case .activate(let items):
      writer.u8(6)
      writer.u16(UInt16(items.count))
      for item in items {
        writer.u16(item.partition.rawValue)
        writer.u32(item.epoch.rawValue)
        writer.u16(item.owner)
        writer.u8(item.replicationFactor)
        writer.u8(item.isLoss ? 1 : 0)
        writer.slots(item.synced)
      }
    case .resize(let items):
      writer.u8(7)
      writer.u16(UInt16(items.count))
      for item in items {
        writer.u16(item.partition.rawValue)
        writer.u32(item.epoch.rawValue)
        writer.u32(item.version)
        writer.u8(item.replicationFactor)
        writer.slots(item.synced)
      }
    case .choose(let items):
      writer.u8(10)
      writer.u16(UInt16(items.count))
      for item in items {
        writer.u16(item.partition.rawValue)
        writer.u32(item.epoch.rawValue)
        writer.u16(item.candidate)
      }
    case .handOver(let items):
      writer.u8(11)
      writer.u16(UInt16(items.count))
      for item in items {
        writer.u16(item.partition.rawValue)
        writer.u32(item.epoch.rawValue)
        writer.u32(item.version)
        writer.u16(item.heir)
      }
    default: preconditionFailure("not a list")
    }
  }

  /// Reads a command; the whole of `bytes` must be one.
  package init(decoding bytes: [UInt8]) throws(BeaconError) {
    self = try decode(bytes) { (reader) throws(BeaconError) in
      switch try reader.u8() {
      case 1: return .addMember(try reader.member())
      case 2:
        let id = try reader.nodeID()
        return .setState(id, try reader.memberState())
      case 3: return .removeMember(try reader.nodeID())
      case 8: return .markWritten
      case 9: return .dissolve(try reader.clusterID())
      case 12: return .setMap(try reader.map())
      case let kind: return try TopologyCommand.list(kind, &reader)
      }
    }
  }

  private static func list(_ kind: UInt8, _ reader: inout BeaconReader) throws(BeaconError) -> TopologyCommand {
    let count = try reader.count16(atMost: partitionCount)
    switch kind {
    case 4:
      return .place(
        try items(count) { () throws(BeaconError) in
          let partition = try reader.partition()
          return Placement(partition: partition, replicas: try reader.slots())
        })
    case 5: return .fence(try items(count) { () throws(BeaconError) in try reader.partition() })
    case 6:
      return .activate(
        try items(count) { () throws(BeaconError) in
          let (partition, epoch) = (try reader.partition(), Epoch(try reader.u32()))
          let (owner, factor, isLoss) = (try reader.u16(), try reader.u8(), try reader.flag())
          return Activation(
            partition: partition, epoch: epoch, owner: owner, replicationFactor: factor, isLoss: isLoss,
            synced: try reader.slots())
        })
    case 7:
      return .resize(
        try items(count) { () throws(BeaconError) in
          let (partition, epoch) = (try reader.partition(), Epoch(try reader.u32()))
          let (version, factor) = (try reader.u32(), try reader.u8())
          return Resize(
            partition: partition, epoch: epoch, version: version, replicationFactor: factor, synced: try reader.slots())
        })
    case 10:
      return .choose(
        try items(count) { () throws(BeaconError) in
          let (partition, epoch) = (try reader.partition(), Epoch(try reader.u32()))
          return Choice(partition: partition, epoch: epoch, candidate: try reader.u16())
        })
    case 11:
      return .handOver(
        try items(count) { () throws(BeaconError) in
          let (partition, epoch) = (try reader.partition(), Epoch(try reader.u32()))
          let version = try reader.u32()
          return HandOver(partition: partition, epoch: epoch, version: version, heir: try reader.u16())
        })
    default: throw .kind
    }
  }

  private static func items<Item>(
    _ count: Int, _ read: () throws(BeaconError) -> Item
  ) throws(BeaconError) -> [Item] {
    var items: [Item] = []
    items.reserveCapacity(count)
    for _ in 0..<count { items.append(try read()) }
    return items
  }
}

/// Reads a value that takes all of the bytes.
private func decode<Value>(
  _ bytes: [UInt8], _ read: (inout BeaconReader) throws(BeaconError) -> Value
) throws(BeaconError) -> Value {
  let result = bytes.withUnsafeBytes { buffer -> Result<Value, BeaconError> in
    var reader = BeaconReader(buffer)
    do throws(BeaconError) {
      let value = try read(&reader)
      try reader.finish()
      return .success(value)
    } catch { return .failure(error) }
  }
  return try result.get()
}

extension PartitionEntry {
  /// Bytes that it takes in a snapshot at most.
  fileprivate static let maximumBytes = 30 + 2 * (1 + 2 * SlotList.capacity)

  /// Writes what a snapshot has of it; returns how many bytes that are.
  fileprivate func write(to place: UnsafeMutableRawPointer, isMutated: Bool) -> Int {
    var count = 0
    func word<Word: FixedWidthInteger>(_ value: Word) {
      place.storeBytes(of: value.littleEndian, toByteOffset: count, as: Word.self)
      count += MemoryLayout<Word>.size
    }
    word(epoch.rawValue)
    word(version)
    word(isActive ? 1 : 0 as UInt8)
    word(replicationFactor)
    word(owner ?? Topology.noOwner)
    word(candidate ?? Topology.noOwner)
    word(isMutated ? 0 : fencedAt.rawValue)
    word(losses)
    word(lostBefore.rawValue)
    word(UInt8(replicas.count))
    for slot in replicas { word(slot) }
    word(UInt8(synced.count))
    for slot in synced { word(slot) }
    return count
  }
}

extension Topology {
  fileprivate static let noOwner = MemberSlot.max
  private static let maximumVoters = 16

  /// The snapshot: the whole topology in some 30 KB for three copies.
  package func encoded() -> [UInt8] {
    var writer = BeaconWriter(capacity: 64 + 128 * members.count + 40 * partitions.count)
    writer.u8(1)
    writer.id(cluster)
    writer.u8(copies)
    writer.u64(index.rawValue)
    writer.u64(version)
    writer.u64(writtenAt.rawValue)
    writer.id(dissolved ?? .none)
    writer.u8(UInt8(voters.count))
    for voter in voters { writer.id(voter) }
    writer.u16(UInt16(members.count))
    for member in members {
      writer.u8(member == nil ? 0 : 1)
      if let member { writer.member(member) }
    }
    var isMutated = false
    #if DEBUG
      isMutated = mutation == .losesInSnapshots
    #endif
    // Entry by entry, since words appended one by one are most of what a snapshot costs.
    withUnsafeTemporaryAllocation(byteCount: PartitionEntry.maximumBytes, alignment: 8) { room in
      partitions.withUnsafeBufferPointer { entries in
        for index in entries.indices {
          let count = entries[index].write(to: room.baseAddress!, isMutated: isMutated)
          writer.bytes.append(contentsOf: UnsafeRawBufferPointer(start: room.baseAddress!, count: count))
        }
      }
    }
    writer.u16(UInt16(maps.count))
    for map in maps { writer.map(map) }
    return writer.bytes
  }

  /// Reads a snapshot; every slot it names must be a member's.
  package init(decoding bytes: [UInt8]) throws(BeaconError) {
    self = try decode(bytes) { (reader) throws(BeaconError) in
      guard try reader.u8() == 1 else { throw .version }
      let (cluster, copies) = (try reader.clusterID(), try reader.u8())
      let (index, version) = (LogIndex(try reader.u64()), try reader.u64())
      let (writtenAt, dissolved) = (LogIndex(try reader.u64()), try reader.clusterID())
      var voters: [NodeID] = []
      for _ in 0..<(try reader.count8(atMost: Topology.maximumVoters)) { voters.append(try reader.nodeID()) }
      var members: [Member?] = []
      for _ in 0..<(try reader.count16(atMost: Topology.maximumMembers)) {
        members.append(try reader.flag() ? try reader.member() : nil)
      }
      var partitions: [PartitionEntry] = []
      partitions.reserveCapacity(partitionCount)
      for _ in 0..<partitionCount { partitions.append(try Topology.entry(&reader, members)) }
      var maps: [MapEntry] = []
      for _ in 0..<(try reader.count16(atMost: Topology.maximumMaps)) { maps.append(try reader.map()) }
      var topology = Topology(
        decoded: cluster, copies: copies, index: index, version: version, voters: voters, members: members,
        partitions: partitions)
      topology.writtenAt = writtenAt
      topology.maps = maps
      topology.dissolved = dissolved == .none ? nil : dissolved
      return topology
    }
  }

  private static func entry(_ reader: inout BeaconReader, _ members: [Member?]) throws(BeaconError) -> PartitionEntry {
    var entry = PartitionEntry()
    entry.epoch = Epoch(try reader.u32())
    entry.version = try reader.u32()
    entry.isActive = try reader.flag()
    entry.replicationFactor = try reader.u8()
    let owner = try reader.u16()
    entry.owner = owner == noOwner ? nil : owner
    let candidate = try reader.u16()
    entry.candidate = candidate == noOwner ? nil : candidate
    entry.fencedAt = LogIndex(try reader.u64())
    entry.losses = try reader.u16()
    entry.lostBefore = Epoch(try reader.u32())
    entry.replicas = try reader.slots()
    entry.synced = try reader.slots()
    func isMember(_ slot: MemberSlot) -> Bool {
      guard Int(slot) < members.count, case .some = members[Int(slot)] else { return false }
      return true
    }
    guard entry.replicas.allSatisfy(isMember), entry.synced.allSatisfy(isMember) else { throw .malformed }
    guard entry.owner.map(isMember) ?? true, entry.candidate.map(isMember) ?? true else { throw .malformed }
    guard !entry.isActive || entry.owner != nil else { throw .malformed }
    return entry
  }

  /// Checks what must hold at every index: entries name members only, and an active partition's owner is synced.
  package func checkInvariants() {
    for (partition, entry) in partitions.enumerated() {
      for slot in Array(entry.replicas) + entry.synced + (entry.owner.map { [$0] } ?? []) {
        precondition(
          Int(slot) < members.count && members[Int(slot)] != nil, "partition \(partition) names the empty slot \(slot)")
      }
      var alone = PartitionSet()
      alone.insert(partition)
      precondition(
        (inactive.first(sharedWith: alone) == nil) == entry.isActive, "partition \(partition) isn't where it is sought")
      if entry.isActive {
        precondition(
          entry.owner.map { entry.synced.contains($0) && members[Int($0)]!.state != .down } == true,
          "partition \(partition) is active without its owner")
        precondition(
          entry.epoch > Epoch(0) && entry.replicationFactor > 0, "partition \(partition) was never activated")
      }
    }
    for voter in voters {
      precondition(slot(of: voter) != nil, "the voter \(voter) is no member")
    }
  }
}
