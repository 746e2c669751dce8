import Testing
import Wire

@testable import Engine

@Suite struct ClusterRaftTests {
  @Test("one of three leads, and what it proposes is applied everywhere")
  func election() throws {
    var group = RaftGroup(3, voters: 3)
    let leader = try group.elect()
    #expect(group.propose(leader, "x") != nil)
    group.run(milliseconds: 300)
    for node in 0..<3 { #expect(group.name(at: node) == "x") }
    #expect(Set(group.nodes.map(\.term)).count == 1)
  }

  @Test("a lone voter leads and commits by itself at once")
  func lone() throws {
    var group = RaftGroup(1, voters: 1)
    let leader = try group.elect()
    #expect(group.propose(leader, "x") != nil)
    #expect(group.name(at: 0) == "x")
    #expect(group.nodes[0].holdsLease(group.now))
  }

  @Test("a node that was cut off raises no term and finds the leader again")
  func preVote() throws {
    var group = RaftGroup(3, voters: 3)
    let leader = try group.elect()
    let term = group.nodes[leader].term
    let other = (leader + 1) % 3
    group.cutOff(other)
    group.run(milliseconds: 10_000)
    #expect(group.nodes[other].term == term && group.nodes[other].role == .preCandidate)
    group.cut = []
    group.run(milliseconds: 1000)
    #expect(group.leaders == [leader] && group.nodes[leader].term == term)
  }

  @Test("a leader that no majority answers steps down, and one of the others leads")
  func checkQuorum() throws {
    var group = RaftGroup(5, voters: 5)
    let leader = try group.elect()
    group.cutOff(leader)
    group.run(milliseconds: 3000)
    #expect(group.nodes[leader].role != .leader && !group.nodes[leader].holdsLease(group.now))
    let next = try group.elect()
    #expect(next != leader)
    #expect(group.propose(next, "y") != nil)
    group.cut = []
    group.run(milliseconds: 1000)
    #expect(group.leaders == [next] && group.name(at: leader) == "y")
  }

  @Test("a leader cut off commits nothing, and its entries give way to its successor's")
  func overwritten() throws {
    var group = RaftGroup(3, voters: 3)
    let leader = try group.elect()
    group.cutOff(leader)
    #expect(group.propose(leader, "lost") != nil)
    #expect(group.name(at: leader) == nil)
    group.run(milliseconds: 3000)
    let next = try group.elect()
    #expect(group.propose(next, "kept") != nil)
    group.cut = []
    group.run(milliseconds: 1000)
    for node in 0..<3 { #expect(group.name(at: node) == "kept") }
  }

  @Test("of two voters with equal logs, the one that heard the leader last leads")
  func tie() throws {
    for seed in 0..<12 as Range<UInt64> {
      var group = RaftGroup(3, voters: 3)
      group.chance = Chance(seed: seed)
      let leader = try group.elect()
      group.run(milliseconds: 500)
      let last = (leader + 1 + Int(seed) % 2) % 3
      // The other one stops hearing the leader earlier, and so would campaign earlier.
      group.cut.insert([leader, 3 - leader - last])
      group.run(milliseconds: 300)
      group.cutOff(leader)
      group.run(milliseconds: 2000)
      #expect(group.leaders.filter { $0 != leader } == [last], "seed \(seed)")
    }
  }

  @Test("the leadership moves to the voter it is handed to, without an election's silence")
  func transfer() throws {
    var group = RaftGroup(3, voters: 3)
    let leader = try group.elect()
    group.run(milliseconds: 300)
    let target = (leader + 2) % 3
    group.nodes[leader].transfer(to: RaftGroup.id(target), group.now)
    #expect(!group.nodes[leader].leads(group.now), "its lease is void once another was told to campaign")
    group.settle()
    #expect(group.leaders == [target])
  }

  @Test("a transfer whose word is lost ends with the leader stepping down")
  func lostTransfer() throws {
    var group = RaftGroup(3, voters: 3)
    let leader = try group.elect()
    group.run(milliseconds: 300)
    let target = (leader + 2) % 3
    let term = group.nodes[leader].term
    group.nodes[leader].transfer(to: RaftGroup.id(target), group.now)
    group.nodes[leader].output = []
    group.run(milliseconds: 4000)
    _ = try group.elect()
    #expect(group.nodes[target].term > term)
  }

  @Test("a learner gets a snapshot and the log, and votes only after the leader made it a voter")
  func learner() throws {
    var settings = ClusterSettings()
    settings.maximumLog = 20
    settings.logTrail = 4
    var group = RaftGroup(4, voters: 3, settings: settings)
    group.cutOff(3)
    let leader = try group.elect()
    for number in 0..<100 { #expect(group.propose(leader, "n\(number)") != nil) }
    #expect(group.nodes[leader].logCount <= 21)
    let all = (0..<4).map { RaftGroup.id($0) }
    #expect(throws: Raft.Refusal.unfit) { _ = try group.nodes[leader].propose(voters: all, group.now) }
    group.cut = []
    group.run(milliseconds: 1000)
    #expect(group.name(at: 3) == "n99" && !group.nodes[3].isVoter && group.nodes[3].leader == RaftGroup.id(leader))
    _ = try group.nodes[leader].propose(voters: all, group.now)
    #expect(throws: Raft.Refusal.unsettled) { _ = try group.nodes[leader].propose(voters: Array(all[1...]), group.now) }
    group.run(milliseconds: 300)
    #expect(group.nodes.allSatisfy { $0.isVoter } && group.topologies[3].voters == all)
    #expect(throws: Raft.Refusal.unfit) {
      _ = try group.nodes[leader].propose(voters: Array(all[..<2]), group.now)
    }
  }

  @Test("a lone voter whose first companion dies before it votes goes on alone, and takes another one")
  func retract() throws {
    var group = RaftGroup(3, voters: 1)
    let leader = try group.elect()
    group.run(milliseconds: 500)
    let term = group.nodes[leader].term
    let dead = (leader + 1) % 3
    let other = (leader + 2) % 3
    group.cutOff(dead)
    _ = try group.nodes[leader].propose(voters: [RaftGroup.id(leader), RaftGroup.id(dead)], group.now)
    group.settle()
    #expect(group.propose(leader, "waits") != nil && group.name(at: leader) == nil)
    #expect(group.nodes[leader].voters.count == 2)
    group.run(milliseconds: 2_000)
    #expect(group.leaders == [leader] && group.nodes[leader].voters == [RaftGroup.id(leader)])
    #expect(group.nodes[leader].term > term)
    #expect(group.propose(leader, "goes on") != nil && group.name(at: leader) == "goes on")
    // It may have taken the entry all the same: nobody votes for it, and it follows when it is back.
    group.cut = []
    group.run(milliseconds: 2_000)
    #expect(group.leaders == [leader] && group.name(at: dead) == "goes on")
    _ = try group.nodes[leader].propose(voters: [RaftGroup.id(leader), RaftGroup.id(other)], group.now)
    group.run(milliseconds: 500)
    #expect(group.nodes[dead].voters == [RaftGroup.id(leader), RaftGroup.id(other)])
  }

  @Test("one that only it knows to be no voter any more helps to elect another, or leads, and votes as before")
  func removedInDoubt() throws {
    var group = RaftGroup(4, voters: 4)
    let leader = try group.elect()
    group.run(milliseconds: 500)
    let removed = (leader + 1) % 4
    let others = [(leader + 2) % 4, (leader + 3) % 4]
    for other in others { group.cut.formUnion([[leader, other], [other, leader]]) }
    let rest = (0..<4).filter { $0 != removed }.map { RaftGroup.id($0) }
    _ = try group.nodes[leader].propose(voters: rest, group.now)
    group.settle()
    #expect(!group.nodes[removed].isVoter && others.allSatisfy { group.nodes[$0].voters.count == 4 })
    group.cutOff(leader)
    group.run(milliseconds: 5_000)
    // The others lack the entry, and are two of four.
    let next = try #require(group.leaders.first { $0 != leader })
    #expect(group.nodes[next].leads(group.now) && group.propose(next, "goes on") != nil)
    for node in others + [removed] { #expect(group.name(at: node) == "goes on" && group.nodes[node].voters.count == 4) }
  }

  @Test("one that alone has what was committed before its removal leads, without the removal")
  func removedWithMore() throws {
    var group = RaftGroup(3, voters: 3)
    let leader = try group.elect()
    group.run(milliseconds: 500)
    let removed = (leader + 1) % 3
    let other = (leader + 2) % 3
    group.cut.formUnion([[leader, other], [other, leader]])
    #expect(group.propose(leader, "committed") != nil && group.name(at: leader) == "committed")
    _ = try group.nodes[leader].propose(voters: [leader, other].map { RaftGroup.id($0) }, group.now)
    #expect(group.propose(leader, "behind") != nil)
    group.cutOff(leader)
    group.run(milliseconds: 5_000)
    #expect(group.nodes[removed].role == .leader && group.name(at: other) == "committed")
    #expect(group.propose(removed, "goes on") != nil && group.name(at: other) == "goes on")
    #expect(group.nodes[removed].isVoter && group.nodes[other].voters.count == 3)
  }

  @Test("one whose removal is committed elects nobody with those who lack it")
  func removedForGood() throws {
    var group = RaftGroup(4, voters: 4)
    let leader = try group.elect()
    group.run(milliseconds: 500)
    let (removed, informed, other) = ((leader + 1) % 4, (leader + 2) % 4, (leader + 3) % 4)
    for node in [informed, other] { group.cut.formUnion([[leader, node], [node, leader]]) }
    let rest = (0..<4).filter { $0 != removed }.map { RaftGroup.id($0) }
    let index = try group.nodes[leader].propose(voters: rest, group.now)
    group.settle()
    group.cut = []
    group.cutOff(removed)
    group.cut.formUnion([[leader, other], [other, leader]])
    group.run(milliseconds: 200)
    // Two of the three that are left have the entry; the removed one has it too, but doesn't know that.
    #expect(group.nodes[leader].commit >= index && group.nodes[informed].lastIndex >= index)
    #expect(!group.nodes[removed].isVoter && group.nodes[removed].commit < index)
    #expect(group.nodes[other].voters.count == 4)
    group.cut = []
    group.cutOff(leader)
    group.run(milliseconds: 5_000)
    #expect(group.leaders.filter { $0 != leader } == [informed] && group.nodes[informed].voters == rest)
    #expect(group.nodes[other].voters == rest && !group.nodes[removed].isVoter)
  }

  @Test("a removal that would leave the dead in the majority is taken back")
  func retractRemoval() throws {
    var group = RaftGroup(3, voters: 3)
    let leader = try group.elect()
    group.run(milliseconds: 500)
    let dead = (leader + 1) % 3
    let silent = (leader + 2) % 3
    group.cutOff(dead)
    group.cutOff(silent)
    #expect(group.propose(leader, "before") != nil)
    _ = try group.nodes[leader].propose(voters: [RaftGroup.id(leader), RaftGroup.id(dead)], group.now)
    #expect(group.propose(leader, "behind") != nil)
    group.run(milliseconds: 2_000)
    #expect(group.leaders.isEmpty && group.nodes[leader].voters.count == 3)
    group.cut = []
    group.cutOff(dead)
    group.run(milliseconds: 5_000)
    let next = try #require(group.leaders.first)
    #expect(group.leaders == [next] && next != dead && group.propose(next, "goes on") != nil)
    #expect([leader, silent].allSatisfy { group.name(at: $0) == "goes on" })
    // What was removed by nobody votes again.
    group.cut = []
    group.run(milliseconds: 2_000)
    #expect(group.nodes.allSatisfy { $0.isVoter } && group.name(at: dead) == "goes on")
  }

  @Test("a leader that took back a change of the voters leads those again that still have it")
  func retractTold() throws {
    var group = RaftGroup(5, voters: 5)
    let leader = try group.elect()
    group.run(milliseconds: 500)
    let (removed, told) = ((leader + 1) % 5, (leader + 2) % 5)
    for dead in [(leader + 3) % 5, (leader + 4) % 5] { group.cutOff(dead) }
    let rest = (0..<5).filter { $0 != removed }.map { RaftGroup.id($0) }
    let index = try group.nodes[leader].propose(voters: rest, group.now)
    #expect(group.propose(leader, "behind") != nil)
    group.run(milliseconds: 100)
    // With it, two of the four voters that count are gone; without it, two of five.
    #expect(group.nodes[leader].commit < index)
    for node in [removed, told] { #expect(group.nodes[node].voters == rest) }
    group.run(milliseconds: 10_000)
    #expect(group.leaders == [leader] && group.propose(leader, "goes on") != nil)
    for node in [leader, removed, told] {
      #expect(group.name(at: node) == "goes on" && group.nodes[node].voters.count == 5)
    }
  }

  @Test("a node that becomes a follower again holds no lease before it has applied what it missed")
  func leaseAgain() throws {
    var group = RaftGroup(4, voters: 3)
    let leader = try group.elect()
    group.run(milliseconds: 1_500)
    #expect(group.nodes[3].holdsLease(group.now))
    let id = RaftGroup.id(3)
    let others = (0..<3).map { RaftGroup.id($0) }.filter { $0 != RaftGroup.id(leader) }
    group.nodes[leader].setLearners(others, group.now)
    #expect(group.propose(leader, "missed") != nil)
    group.nodes[leader].setLearners(others + [id], group.now)
    // Its answers say that it is behind: whatever it says, nothing is granted.
    let behind = AppendReply(
      term: group.nodes[leader].term, isAccepted: true, match: LogIndex(1), applied: LogIndex(2), sentAt: group.now,
      clock: group.now)
    group.nodes[leader].receive(.appendReply(behind), from: id, group.now, &group.chance)
    let granted = group.nodes[leader].output.contains { to, message in
      if to == id, case .append(let append) = message { return append.leaseFrom > 0 }
      return false
    }
    #expect(!granted)
    group.run(milliseconds: 1_000)
    #expect(group.name(at: 3) == "missed" && group.nodes[3].holdsLease(group.now))
  }

  @Test("every node holds a lease while it hears the leader, and none a lease's length after it is cut off")
  func lease() throws {
    var group = RaftGroup(5, voters: 3)
    let leader = try group.elect()
    group.run(milliseconds: 1000)
    for node in 0..<5 { #expect(group.nodes[node].holdsLease(group.now), "\(node)") }
    group.cutOff(4)
    group.run(milliseconds: 700)
    #expect(!group.nodes[4].holdsLease(group.now))
    #expect(group.nodes[leader].holdsLease(group.now))
    group.run(milliseconds: 100)
    #expect(!group.nodes[leader].mayHoldLease(RaftGroup.id(4), group.now))
  }

  @Test("a new leader supposes that leases of its predecessor last until they must have ended")
  func inheritedLease() throws {
    var group = RaftGroup(5, voters: 5)
    let leader = try group.elect()
    group.run(milliseconds: 1000)
    group.cutOff(leader)
    while group.leaders.allSatisfy({ $0 == leader }) { group.run(milliseconds: 10) }
    let next = try #require(group.leaders.first { $0 != leader })
    #expect(group.nodes[next].mayHoldLease(RaftGroup.id(leader), group.now))
    #expect(!group.nodes[leader].holdsLease(group.now))
    group.run(milliseconds: 1000)
    #expect(!group.nodes[next].mayHoldLease(RaftGroup.id(leader), group.now))
  }

  @Test("an idle group of five sends a bounded number of messages, and a lost answer starts no storm")
  func traffic() throws {
    var group = RaftGroup(5, voters: 5)
    _ = try group.elect()
    group.run(milliseconds: 500)
    group.delivered = 0
    group.run(milliseconds: 1000)
    #expect(group.delivered <= 11 * 8)
  }

  @Test("messages of any content and origin break no invariant")
  func hostile() throws {
    var random = Chance(seed: 4)
    var group = RaftGroup(3, voters: 3)
    _ = try group.elect()
    func number() -> UInt64 { [0, 1, 2, 3, 5, .max, .max - 1, 3_000_000_000, 1 << 62][random.below(9)] }
    var chance = Chance(seed: 5)
    for _ in 0..<3000 {
      let entries = (0..<random.below(3)).map { _ in
        LogEntry(term: Term(number()), kind: .command, payload: [UInt8](repeating: 9, count: random.below(9)))
      }
      let message: ElectionMessage =
        switch random.below(6) {
        case 0:
          .append(
            AppendRequest(
              term: group.nodes[0].term, previousIndex: LogIndex(number()), previousTerm: Term(number()),
              commit: LogIndex(0), sentAt: number(), leaseFrom: number(), entries: entries))
        case 1:
          .appendReply(
            AppendReply(
              term: group.nodes[0].term, isAccepted: random.permille(500), match: LogIndex(number()),
              applied: LogIndex(number()), sentAt: number(), clock: number()))
        case 2: .snapshotReply(SnapshotReply(term: Term(2), index: LogIndex(number()), sentAt: number(), offset: 7))
        case 3:
          .snapshot(
            SnapshotPiece(
              term: group.nodes[0].term, index: LogIndex(number()), indexTerm: Term(1), sentAt: 0, offset: 0,
              total: UInt32(truncatingIfNeeded: number()), bytes: [1, 2, 3]))
        case 4: .timeoutNow(Term(number()))
        default: .voteReply(VoteReply(isPre: false, isGranted: true, term: Term(1), round: 1))
        }
      let node = random.below(3)
      group.nodes[node].receive(message, from: RaftGroup.id(random.below(4)), group.now, &chance)
      _ = group.nodes[node].takeSnapshot()
      group.nodes[node].checkInvariants()
      if random.permille(20) { group.run(milliseconds: 50) }
    }
  }
}
