import Testing
import Wire

@testable import Engine

@Suite struct ClusterTopologyTests {
  let cluster = ClusterID(high: 1, low: 2)
  private func id(_ number: Int) -> NodeID { NodeID(high: 0x1111_0000 + UInt64(number), low: 7) }
  private func member(_ number: Int) -> Member {
    Member(
      id: id(number), name: "n\(number)", peer: PeerAddress(v4: 0x0A00_0000 + UInt32(number), port: 3100),
      http: PeerAddress(v4: 0x0A00_0000 + UInt32(number), port: 3000))
  }
  private func three() -> Topology {
    Topology(
      founding: cluster, copies: 3, members: (0..<3).map(member), voters: (0..<3).map(id), index: LogIndex(1))
  }
  private func activation(_ partition: UInt16, _ epoch: UInt32, _ owner: MemberSlot, _ synced: SlotList)
    -> TopologyCommand
  {
    .activate([
      .init(
        partition: PartitionID(partition), epoch: Epoch(epoch), owner: owner, replicationFactor: 3, isLoss: false,
        synced: synced)
    ])
  }

  @Test("a dead node is one entry: all it owns is fenced at a higher epoch")
  func down() {
    var topology = three()
    #expect(topology.apply(activation(5, 0, 0, [0, 1, 2]), at: LogIndex(2)) == true)
    #expect(topology.apply(activation(6, 0, 1, [0, 1, 2]), at: LogIndex(3)) == true)
    #expect(topology.owns(PartitionID(5), id(0)) && topology.partitions[5].epoch == Epoch(1))
    #expect(topology.apply(.setState(id(0), .down), at: LogIndex(4)) == true)
    #expect(!topology.owns(PartitionID(5), id(0)) && topology.owns(PartitionID(6), id(1)))
    #expect(topology.partitions[5].epoch == Epoch(2) && topology.partitions[5].fencedAt == LogIndex(4))
    #expect(topology.partitions[5].promisesNeeded == 2)
    topology.checkInvariants()
  }

  @Test("who is down becomes neither owner, candidate nor heir, though it was meant to before its end was in the log")
  func tooLate() {
    var topology = three()
    topology.apply(activation(5, 0, 1, [0, 1, 2]), at: LogIndex(2))
    topology.apply(activation(6, 0, 1, [0, 1, 2]), at: LogIndex(3))
    topology.apply(.fence([PartitionID(6)]), at: LogIndex(4))
    topology.apply(.setState(id(0), .down), at: LogIndex(5))
    let before = topology.partitions
    let handOver = TopologyCommand.HandOver(
      partition: PartitionID(5), epoch: Epoch(1), version: before[5].version, heir: 0)
    let choice = TopologyCommand.Choice(partition: PartitionID(6), epoch: Epoch(2), candidate: 0)
    for (place, command) in [activation(7, 0, 0, [0, 1]), .handOver([handOver]), .choose([choice])].enumerated() {
      #expect(topology.apply(command, at: LogIndex(6 + UInt64(place))) == false)
    }
    #expect(topology.partitions == before)
    #expect(topology.apply(activation(7, 0, 1, [0, 1]), at: LogIndex(9)) == true)
    topology.checkInvariants()
  }

  @Test("a partition stalls while too few of those that hold it are there, and says what is lost when it begins anew")
  func stalled() {
    var topology = three()
    topology.apply(.markWritten, at: LogIndex(2))
    topology.apply(activation(5, 0, 0, [0, 1]), at: LogIndex(3))
    topology.apply(activation(6, 0, 2, [2, 0, 1]), at: LogIndex(4))
    topology.apply(.setState(id(0), .down), at: LogIndex(5))
    #expect(topology.stalledCount == 0, "of rf 3, S = {0, 1}, one has every majority write")
    topology.apply(.setState(id(1), .down), at: LogIndex(6))
    #expect(topology.isStalled(topology.partitions[5]) && topology.stalledCount == 1)
    var returned = topology
    returned.apply(.setState(id(1), .active), at: LogIndex(7))
    #expect(returned.stalledCount == 0)
    topology.apply(
      .activate([
        .init(
          partition: PartitionID(5), epoch: Epoch(2), owner: 2, replicationFactor: 1, isLoss: true, synced: [2])
      ]), at: LogIndex(7))
    #expect(topology.partitions[5].losses == 1 && topology.partitions[5].lostBefore == Epoch(2))
    #expect(topology.stalledCount == 0)
    #expect(try! Topology(decoding: topology.encoded()) == topology)
    topology.checkInvariants()
  }

  @Test("a command of an older epoch or version changes nothing")
  func stale() {
    var topology = three()
    topology.apply(activation(5, 0, 0, [0, 1, 2]), at: LogIndex(2))
    topology.apply(.fence([PartitionID(5)]), at: LogIndex(3))
    let fenced = topology.partitions[5]
    #expect(topology.apply(activation(5, 1, 1, [1]), at: LogIndex(4)) == false)
    #expect(topology.partitions[5] == fenced)
    #expect(topology.apply(activation(5, 2, 1, [1, 2]), at: LogIndex(5)) == true)
    let version = topology.partitions[5].version
    let resize = TopologyCommand.resize([
      .init(partition: PartitionID(5), epoch: Epoch(2), version: version, replicationFactor: 3, synced: [1, 2, 0])
    ])
    #expect(topology.apply(resize, at: LogIndex(6)) == true)
    #expect(topology.apply(resize, at: LogIndex(7)) == false, "sent again")
    #expect(topology.partitions[5].synced == [1, 2, 0])
  }

  @Test("a member leaves only when nothing depends on it, and its slot is used again")
  func removal() {
    var topology = three()
    topology.apply(activation(5, 0, 0, [0, 2]), at: LogIndex(2))
    topology.apply(voters: [id(0)], at: LogIndex(3))
    #expect(topology.apply(.removeMember(id(2)), at: LogIndex(4)) == false, "it is in a synced set")
    #expect(topology.apply(.removeMember(id(0)), at: LogIndex(5)) == false, "it votes")
    #expect(topology.apply(.removeMember(id(1)), at: LogIndex(6)) == true)
    #expect(topology.apply(.addMember(member(9)), at: LogIndex(7)) == true)
    #expect(topology.slot(of: id(9)) == 1 && topology.members[1]?.state == .joining)
    topology.checkInvariants()
  }

  @Test("the log orders the first write and the dissolution: only the first of them counts")
  func dissolution() {
    let other = ClusterID(high: 0, low: 1)
    var topology = three()
    #expect(topology.apply(.markWritten, at: LogIndex(2)) == true)
    #expect(topology.apply(.dissolve(other), at: LogIndex(3)) == false)
    var empty = three()
    #expect(empty.apply(.dissolve(other), at: LogIndex(2)) == true)
    #expect(empty.apply(.markWritten, at: LogIndex(3)) == false && !empty.isWritten)
  }

  private var commands: [TopologyCommand] {
    [
      .addMember(member(7)), .setState(id(1), .leaving), .removeMember(id(2)), .markWritten, .dissolve(cluster),
      .place([
        .init(partition: PartitionID(1023), replicas: [2, 0, 1]), .init(partition: PartitionID(0), replicas: []),
      ]),
      .fence([PartitionID(3), PartitionID(4)]), activation(9, 77, 1, [1, 0]),
      .resize([
        .init(partition: PartitionID(9), epoch: Epoch(8), version: 7, replicationFactor: 2, synced: [0, 258])
      ]),
    ]
  }

  @Test("commands are these bytes and are read back")
  func bytes() throws {
    for command in commands { #expect(try TopologyCommand(decoding: command.encoded()) == command) }
    #expect(
      commands[7].encoded() == [6, 1, 0, 9, 0, 77, 0, 0, 0, 1, 0, 3, 0, 2, 1, 0, 0, 0], "activate")
    #expect(
      TopologyCommand.place([.init(partition: PartitionID(258), replicas: [3])]).encoded() == [4, 1, 0, 2, 1, 1, 3, 0])
  }

  @Test("a snapshot is read back, and one that is cut or changed is refused or another topology, never a crash")
  func snapshots() throws {
    var topology = three()
    var index = LogIndex(2)
    for command in commands.dropLast(2) where command != .dissolve(cluster) {
      topology.apply(command, at: index)
      index = index.next
    }
    let bytes = topology.encoded()
    #expect(try Topology(decoding: bytes) == topology)
    var random = TestRandom(seed: 3)
    for _ in 0..<300 {
      let count = random.below(bytes.count)
      #expect(throws: BeaconError.self) { try Topology(decoding: Array(bytes[..<count])) }
      var changed = bytes
      changed[random.below(200)] ^= UInt8(1 << random.below(8))
      _ = try? Topology(decoding: changed)
    }
    for command in commands {
      let bytes = command.encoded()
      for count in bytes.indices {
        #expect(throws: BeaconError.self) { try TopologyCommand(decoding: Array(bytes[..<count])) }
      }
      for bit in 0..<8 * bytes.count {
        var changed = bytes
        changed[bit / 8] ^= 1 << (bit % 8)
        if let other = try? TopologyCommand(decoding: changed) {
          var copy = topology
          copy.apply(other, at: copy.index.next)
          copy.checkInvariants()
        }
      }
    }
  }
}
