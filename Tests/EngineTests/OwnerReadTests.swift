import Testing

@testable import Engine
@testable import Wire

@Suite("Rounds of reads")
struct OwnerReadTests {
  private func entry(_ members: Int, _ factor: Int) -> PartitionEntry {
    var entry = PartitionEntry()
    entry.epoch = Epoch(3)
    entry.isActive = true
    entry.owner = 0
    entry.replicationFactor = UInt8(factor)
    entry.synced = SlotList((0..<members).map { MemberSlot($0) })
    return entry
  }

  private func owner(_ entry: PartitionEntry) -> Owner {
    var owner = Owner(0, entry, committed: .none, last: .none, now: 0)
    owner.setFollowers(SlotList((1..<7).map { MemberSlot($0) }), now: 0)
    _ = owner.beginRound()
    return owner
  }

  /// Whether the members that didn't answer are too few for a fence of this set to end without any that did.
  private func rulesOutFence(_ entry: PartitionEntry, _ confirmed: Set<MemberSlot>) -> Bool {
    entry.synced.filter { $0 != 0 && !confirmed.contains($0) }.count < entry.promisesNeeded
  }

  @Test("a round ends only when no fence can have ended before, whatever the set and the change that is asked for")
  func intersects() {
    var ended = 0
    for members in 1...5 {
      for factor in 1...6 {
        let entry = entry(members, factor)
        var changes: [(Owner.PendingResize?, PartitionEntry)] = [(nil, entry)]
        for next in max(1, factor - 1)...factor + 1 {
          for removed in 1..<max(2, members) where removed < members {
            var after = entry
            after.synced = entry.synced.filter { $0 != MemberSlot(removed) }
            after.replicationFactor = UInt8(next)
            let change = Owner.PendingResize(
              removed: MemberSlot(removed), added: nil, replicationFactor: UInt8(next))
            changes.append((change, after))
          }
          var after = entry
          after.synced.append(6)
          after.replicationFactor = UInt8(next)
          changes.append((Owner.PendingResize(removed: nil, added: 6, replicationFactor: UInt8(next)), after))
        }
        for (pending, after) in changes {
          for bits in 0..<64 {
            let confirmed = Set((1..<7).filter { bits >> ($0 - 1) & 1 == 1 }.map { MemberSlot($0) })
            var owner = owner(entry)
            owner.pending = pending
            for slot in confirmed { _ = owner.confirmed(1, by: slot) }
            guard owner.confirmedRound == 1 else { continue }
            ended += 1
            #expect(rulesOutFence(entry, confirmed) && rulesOutFence(after, confirmed))
          }
        }
      }
    }
    #expect(ended > 1000)
  }

  @Test("reads of one turn share a round; what is answered late or twice counts for its own round alone")
  func rounds() {
    var owner = owner(entry(3, 3))
    var round = owner.beginRound()
    #expect(round == 1)
    owner.readers.append(Reader(token: 7, round: 1, offset: .none))
    var asked = [owner.question(0), owner.question(0), owner.question(1)]
    #expect(asked == [1, nil, 1])
    owner.closeRound()
    round = owner.beginRound()
    #expect(round == 2)
    owner.readers.append(Reader(token: 8, round: 2, offset: .none))
    var isNews = [owner.confirmed(1, by: 1), owner.confirmed(1, by: 1), owner.confirmed(9, by: 2)]
    #expect(isNews == [true, false, false])
    var answered: [UInt64] = []
    owner.takeReaders(last: .none) { answered.append($0) }
    #expect(answered == [7])
    asked = [owner.question(0), owner.question(1)]
    #expect(asked == [2, 2])
    isNews = [owner.confirmed(2, by: 2)]
    owner.takeReaders(last: .none) { answered.append($0) }
    #expect(answered == [7, 8] && isNews == [true])
    owner.readers.append(Reader(token: 9, round: 2, offset: Offset(5)))
    owner.takeReaders(last: Offset(5)) { answered.append($0) }
    #expect(answered == [7, 8], "a majority doesn't have it")
    _ = owner.acknowledge(1, upTo: Offset(5), last: Offset(5), now: 0)
    owner.takeReaders(last: Offset(5)) { answered.append($0) }
    #expect(answered == [7, 8, 9] && owner.acknowledged == Offset(5))
  }
}
