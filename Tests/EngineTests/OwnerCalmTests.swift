import Testing
import Wire

@testable import Engine

/// When an owner is looked at less often, and what ends that.
@Suite("Calm owners")
struct OwnerCalmTests {
  private var entry: PartitionEntry {
    var entry = PartitionEntry()
    entry.epoch = Epoch(1)
    entry.version = 3
    entry.isActive = true
    entry.owner = 0
    entry.replicas = [0, 1, 2]
    entry.synced = [0, 1]
    entry.replicationFactor = 2
    return entry
  }

  private let around = Surroundings(
    replicas: [0, 1, 2], replicationFactor: 3, isUp: [true, true, true], isActive: [true, true, true])

  /// An owner of ten records, with a member of its set that has them all, and a learner that has none.
  private func owner() -> Owner {
    var owner = Owner(0, entry, committed: .none, now: 0)
    owner.setFollowers([1, 2], now: 0)
    for index in owner.followers.indices {
      owner.followers[index].phase = .streaming
      owner.followers[index].stream = 1
    }
    _ = owner.receive(acknowledgement: Offset(10), from: 1, stream: 1, last: Offset(10), now: 0)
    return owner
  }

  @Test("one that brings a learner in step is calm until that was sent everything")
  func learner() {
    var owner = owner()
    let last = Offset(10)
    #expect(owner.isCalm(last: last) && owner.wish(around, last: last, now: 1) == nil)
    owner.didSend(1, upTo: Offset(4), now: 1)
    _ = owner.receive(acknowledgement: Offset(4), from: 2, stream: 1, last: last, now: 2)
    #expect(owner.isCalm(last: last) && owner.wish(around, last: last, now: 2) == nil)
    owner.didSend(1, upTo: last, now: 3)
    #expect(!owner.isCalm(last: last), "its acknowledgement is news")
    owner.followers[1].isKeptUp = true
    #expect(!owner.isCalm(last: Offset(11)), "also when another record was written")
    _ = owner.receive(acknowledgement: last, from: 2, stream: 1, last: last, now: 4)
    #expect(!owner.isCalm(last: last))
    let wish = Wish.resize(version: 3, replicationFactor: 3, synced: [0, 1, 2])
    #expect(owner.wish(around, last: last, now: 4) == wish)
    // It wishes the same until the entry changes, whatever is written and acknowledged meanwhile.
    #expect(owner.isCalm(last: last) && owner.isCalm(last: Offset(12)))
    #expect(owner.wish(around, last: Offset(12), now: 5) == wish)
  }

  @Test("one whose follower doesn't stream or lacks results, that has a reader, or gives its partition away, isn't")
  func others() {
    let last = Offset(10)
    for spoil: (inout Owner) -> Void in [
      { $0.followers[0].phase = .opening }, { $0.followers[1].phase = .idle }, { $0.followers[1].lacksResults = true },
      { $0.successor = 1 }, { $0.setFollowers([2], now: 0) },
      { $0.readers = [Reader(token: 1, round: 1, offset: Offset(10))] },
    ] {
      var owner = owner()
      #expect(owner.isCalm(last: last))
      spoil(&owner)
      #expect(!owner.isCalm(last: last))
    }
  }
}
