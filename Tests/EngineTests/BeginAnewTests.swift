import Testing
import Wire

@testable import Engine

/// What becomes of a node's log when a partition begins anew (Slot.tla: `Forget`).
@Suite("Beginning anew")
struct BeginAnewTests {
  private let around = Surroundings(
    replicas: [1, 2], replicationFactor: 2, isUp: [false, true, true], isActive: [false, true, true])

  /// The entry of a partition that was fenced in epoch 2, when its only holder, member 0, went away.
  private var fenced: PartitionEntry {
    var entry = PartitionEntry()
    entry.epoch = Epoch(2)
    entry.version = 3
    entry.owner = 0
    entry.replicas = [1, 2]
    entry.synced = [0]
    entry.replicationFactor = 2
    entry.fencedAt = LogIndex(5)
    return entry
  }

  /// The same when member 1 has begun anew with it.
  private var begun: PartitionEntry {
    var entry = fenced
    entry.version = 4
    entry.isActive = true
    entry.owner = 1
    entry.synced = [1]
    entry.losses = 1
    entry.lostBefore = Epoch(2)
    return entry
  }

  /// Has a node take a record in this epoch from this member.
  private func follow(_ node: inout PartitionReplication, _ epoch: Epoch, from source: MemberSlot) {
    _ = node.receive(.open, epoch, stream: 1, from: source) { _ in }
    let history = EpochHistory([.init(epoch: epoch, first: Offset(1))])!
    _ = node.receive(.start(resets: false, next: Offset(1), history), epoch, stream: 1, from: source) { _ in }
    let append = ReplicationMessage.append(first: Offset(1), end: Offset(1), committed: .none)
    let taken = node.receive(append, epoch, stream: 1, from: source) { _ in }
    #expect(taken == .append && node.replica.last == Offset(1))
  }

  @Test("a log of the life before is dropped")
  func old() {
    var node = PartitionReplication()
    follow(&node, Epoch(1), from: 0)
    _ = node.adopt(fenced, slot: 2, around, now: 0) { _ in }
    let change = node.adopt(begun, slot: 2, around, now: 0) { _ in }
    #expect(change.resetsLog && node.replica.last == .none)
  }

  @Test("what came of the new life before the news of it is kept: its owner counts on it")
  func new() {
    var node = PartitionReplication()
    _ = node.adopt(fenced, slot: 2, around, now: 0) { _ in }
    follow(&node, Epoch(2), from: 1)
    let change = node.adopt(begun, slot: 2, around, now: 0) { _ in }
    #expect(!change.resetsLog && node.replica.last == Offset(1))
    #expect(node.replica.isListening(Epoch(2), stream: 1))
  }
}
