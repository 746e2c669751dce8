import Testing
import Wire

@testable import Engine

/// What an owner that gives its partition away, the one that gets it, and one that lets others answer must not forget
/// (Slot.tla: `StopRule`, `LateRule`, `GrantRule`).
@Suite("Hand-overs")
struct OwnerHandOverTests {
  private let around = Surroundings(
    replicas: [1, 0, 2], replicationFactor: 3, isUp: [true, true, true], isActive: [true, true, true])

  private func entry() -> PartitionEntry {
    var entry = PartitionEntry()
    entry.epoch = Epoch(1)
    entry.version = 3
    entry.isActive = true
    entry.owner = 0
    entry.replicas = [1, 0, 2]
    entry.synced = [0, 1, 2]
    entry.replicationFactor = 3
    return entry
  }

  /// Brings a follower with an empty log in step with an owner whose log is empty.
  private func open(_ owner: inout Owner, _ slot: MemberSlot) {
    let index = owner.index(of: slot)!
    owner.connected(slot, now: 0)
    #expect(owner.instruction(index, last: .none) == .open(stream: owner.followers[index].stream))
    _ = owner.receive(
      position: .empty, from: slot, stream: owner.followers[index].stream, history: EpochHistory(), last: .none,
      keepsFrom: Offset(1), now: 0)
    _ = owner.instruction(index, last: .none)
    #expect(owner.followers[index].phase == .streaming)
  }

  @Test("an owner that asked to be relieved takes writes again only when the entry has another version")
  func cancel() {
    var entry = entry()
    var owner = Owner(0, entry, committed: .none, last: .none, now: 0)
    owner.setFollowers([1, 2], now: 0)
    open(&owner, 1)
    #expect(owner.wish(around, last: .none, now: 0) == .handOver(version: 3, to: 1))
    #expect(!owner.canReach(.majority))
    // Something was appended nevertheless; the heir doesn't hear of it.
    let last = Offset(1)
    #expect(owner.wish(around, last: last, now: 1) == nil)
    let late = Owner.handOverPatience + 1
    for time in [late, late + 1, 100 * late] {
      #expect(
        owner.wish(around, last: last, now: time) == .resize(version: 3, replicationFactor: 3, synced: [0, 1, 2]))
      #expect(!owner.canReach(.majority), "the leader may grant the hand-over any time")
    }
    entry.version = 4
    owner.learn(entry)
    #expect(owner.canReach(.majority))
  }

  @Test("a set that is larger than the factor was meant to be goes on growing after a fence")
  func factor() {
    var entry = entry()
    entry.synced = [0, 1, 2, 3]
    entry.replicas = [0, 1, 2, 3, 4]
    entry.isActive = false
    // One of five isn't active yet, another one leaves.
    let few = Surroundings(
      replicas: entry.replicas, replicationFactor: 3, isUp: [true, true, true, true, true],
      isActive: [true, true, true, false, false])
    var owner = Owner(0, entry, committed: .none, last: .none, now: 0)
    owner.setFollowers([1, 2, 3, 4], now: 0)
    for slot in 1...4 as ClosedRange<MemberSlot> { open(&owner, slot) }
    #expect(owner.wish(few, last: .none, now: 1) == .activate(replicationFactor: 4, synced: [0, 1, 2, 3]))
    entry.isActive = true
    entry.version += 1
    entry.replicationFactor = 4
    owner.learn(entry)
    let all = Surroundings(
      replicas: entry.replicas, replicationFactor: 5, isUp: few.isUp, isActive: [true, true, true, true, true])
    #expect(
      owner.wish(all, last: .none, now: 2) == .resize(version: 4, replicationFactor: 5, synced: [0, 1, 2, 3, 4]))
  }

  @Test("nothing expires at an owner that asked to be relieved: its heir must have all of the log", arguments: [1, 2])
  func expiry(cores: Int) {
    let cluster = TestCluster(3, cores: cores, factor: 3)
    cluster.settle()
    let key = cluster.key(of: 0)
    let number = cluster.nodes[0].partition(of: key)
    #expect(cluster.nodes[0].ask("PUT", "/\(key)?ttl=1s&w=1", body: "v").status == 201)
    cluster.settle()
    cluster.apply(.place([.init(partition: PartitionID(UInt16(number)), replicas: [1, 0, 2])]))
    cluster.publish()
    func state(_ node: Int) -> Core.PartitionState {
      let core = (0..<cores).first { cluster.nodes[node].cores[$0].executes(number) }!
      return cluster.nodes[node].cores[core].inspect(number)
    }
    // The owner has asked, and nobody has answered it: the value's time comes.
    cluster.advance(3_000)
    #expect(cluster.nodes[0].ask("GET", "/\(key)").status == 404)
    for node in 0..<3 { #expect(state(node).last == Offset(1)) }
    cluster.govern()
    #expect(cluster.topology.partitions[number].owner == 1)
    // The heir removes it.
    cluster.advance(1_000)
    for node in 0..<3 {
      #expect(state(node).last == Offset(2))
      #expect(state(node).lastEpoch == cluster.topology.partitions[number].epoch)
    }
  }

  @Test("a member that may answer is removed only when others hold that; a planted bug forgets", arguments: [0, 1])
  func grants(bug: Int) {
    var owner = Owner(0, entry(), committed: .none, last: .none, now: 0)
    if bug == 1 { owner.mutation = .forgetsGrants }
    owner.setFollowers([1, 2], now: 0)
    open(&owner, 1)
    open(&owner, 2)
    let last = Offset(1)
    let granted = [
      owner.grant(last, .majority, to: 1), owner.grant(last, .all, to: 1), owner.grant(last, .one, to: 1),
      owner.grant(last, .majority, to: 3),
    ]
    #expect(granted == [true, false, false, false])
    let without = Surroundings(
      replicas: [0, 1, 2], replicationFactor: 2, isUp: [true, false, true], isActive: [true, false, true])
    let asked = Wish.resize(version: 3, replicationFactor: 2, synced: [0, 2])
    #expect(owner.wish(without, last: last, now: 1) == (bug == 1 ? asked : nil))
    let index = owner.index(of: 2)!
    owner.didSend(index, upTo: last, now: 1)
    _ = owner.receive(
      acknowledgement: last, from: 2, stream: owner.followers[index].stream, last: last, now: 2)
    #expect(owner.wish(without, last: last, now: 2) == asked)
    let isGranted = owner.grant(Offset(2), .majority, to: 2)
    #expect(!isGranted, "a change is under way")
  }

  @Test("one that hasn't asked yet goes on by itself")
  func neverAsked() {
    var owner = Owner(0, entry(), committed: .none, last: .none, now: 0)
    owner.setFollowers([1, 2], now: 0)
    open(&owner, 1)
    let last = Offset(1)
    #expect(owner.wish(around, last: last, now: 0) == nil)
    #expect(!owner.canReach(.majority))
    #expect(owner.wish(around, last: last, now: Owner.handOverPatience + 1) == nil)
    #expect(owner.canReach(.majority))
  }

  @Test("the planted bug: one that forgets its question takes writes that the heir will not have")
  func planted() {
    var owner = Owner(0, entry(), committed: .none, last: .none, now: 0)
    owner.mutation = .forgetsQuestion
    owner.setFollowers([1, 2], now: 0)
    open(&owner, 1)
    #expect(owner.wish(around, last: .none, now: 0) == .handOver(version: 3, to: 1))
    _ = owner.wish(around, last: Offset(1), now: Owner.handOverPatience + 1)
    #expect(owner.canReach(.majority))
  }

  @Test("an heir removes nobody before the others hold all that it got", arguments: [false, true])
  func late(isPlanted: Bool) {
    var heir = PartitionReplication()
    if isPlanted { heir.mutation = .trustsSilence }
    var first = entry()
    first.replicas = [1, 2]
    _ = heir.adopt(first, slot: 1, around, now: 0) { _ in }
    _ = heir.receive(.open, Epoch(1), stream: 1, from: 0) { _ in }
    let history = EpochHistory([.init(epoch: Epoch(1), first: Offset(1))])!
    let start = ReplicationMessage.start(resets: false, next: Offset(1), history)
    _ = heir.receive(start, Epoch(1), stream: 1, from: 0) { _ in }
    let append = ReplicationMessage.append(first: Offset(1), end: Offset(1), committed: .none)
    let taken = heir.receive(append, Epoch(1), stream: 1, from: 0) { _ in }
    #expect(taken == .append && heir.replica.last == Offset(1))
    // Its predecessor hands over, and will answer for the record later.
    var second = first
    second.epoch = Epoch(2)
    second.version = 4
    second.owner = 1
    second.fencedAt = LogIndex(9)
    let wanted = Surroundings(
      replicas: [1, 2], replicationFactor: 2, isUp: [true, true, true], isActive: [true, true, true])
    #expect(heir.adopt(second, slot: 1, wanted, now: 0) { _ in }.becameOwner)
    // Member 2 doesn't have it yet: member 0 must stay.
    let wish = heir.wish(wanted, now: 0)
    if isPlanted {
      #expect(wish == .resize(version: 4, replicationFactor: 2, synced: [1, 2]))
    } else {
      #expect(wish == nil)
    }
  }
}
