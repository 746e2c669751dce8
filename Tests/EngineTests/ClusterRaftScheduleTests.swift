import Testing
import Wire

@testable import Engine

/// `Raft` values under a schedule by chance that no network would have: each message may be late by any time, doubled
/// or lost, each node has a clock of its own that leaps, voters change all the time. Nothing is promised about progress
/// or leases then; terms have one leader, and what is committed stays.
private struct RaftSchedule {
  var chance: Chance
  var nodes: [Raft] = []
  var clocks: [UInt64]
  var underway: [(from: Int, to: Int, message: ElectionMessage)] = []
  var leaders: [Term: NodeID] = [:]
  var committed: [LogIndex: LogEntry] = [:]
  var violation: String?
  // What has to happen for the test to be one.
  var retractions = 0
  var doubts = 0
  var returns = 0
  var changes = 0

  init(seed: UInt64, mutation: Mutation? = nil) {
    chance = Chance(seed: seed)
    let count = 3 + chance.below(3)
    let voters = 1 + chance.below(count)
    var settings = ClusterSettings()
    settings.mutation = mutation
    let ids = (0..<count).map { RaftGroup.id($0) }
    let members = ids.map { Member(id: $0, peer: .none, state: .active) }
    let topology = Topology(
      founding: ClusterID(high: 1, low: 1), copies: 3, members: members, voters: Array(ids[..<voters]),
      index: LogIndex(1))
    clocks = [UInt64](repeating: 1_000 * ClusterSettings.millisecond, count: count)
    let now = clocks[0]
    nodes = ids.map { Raft(founding: $0, topology: topology, isProposer: false, settings: settings, now: now) }
  }

  func number(_ id: NodeID) -> Int { nodes.firstIndex { $0.id == id }! }

  /// One step of one node.
  mutating func step() {
    let node = chance.below(nodes.count)
    switch chance.below(100) {
    case 0..<60:
      guard !underway.isEmpty else { break }
      let place = chance.below(underway.count)
      let (from, to, message) = underway[place]
      if !chance.permille(100) { underway.remove(at: place) }
      if chance.permille(150) { break }
      let hadVote = nodes[to].isVoter
      nodes[to].receive(message, from: RaftGroup.id(from), clocks[to], &chance)
      // It was given a vote by one that has more, since it led the term of that.
      if case .voteRequest(let request) = message, !request.isPre, nodes[to].vote == RaftGroup.id(from),
        nodes[to].isVoter, nodes[to].term == request.term,
        (request.lastTerm, request.lastIndex) < (nodes[to].lastTerm, nodes[to].lastIndex)
      {
        returns += 1
      }
      // It was elected, to begin with, by voters of whom it thought that it was none.
      if !hadVote, nodes[to].role == .candidate || nodes[to].role == .leader { doubts += 1 }
      note(to)
    case 60..<80:
      clocks[node] += chance.below(chance.permille(200) ? 1_500 : 150) * ClusterSettings.millisecond
      let voters = nodes[node].voters
      nodes[node].tick(clocks[node], &chance)
      if nodes[node].voters != voters { retractions += 1 }
    case 80..<90: _ = try? nodes[node].propose([UInt8(chance.below(256)), UInt8(chance.below(256))], clocks[node])
    default: changeVoters(node)
    }
    note(node)
  }

  private mutating func changeVoters(_ node: Int) {
    let other = RaftGroup.id(chance.below(nodes.count))
    let voters = nodes[node].voters
    let wanted = voters.contains(other) ? voters.filter { $0 != other } : voters + [other]
    if (try? nodes[node].propose(voters: wanted, clocks[node])) != nil { changes += 1 }
  }

  /// Takes what a node says, and looks at what it holds.
  private mutating func note(_ node: Int) {
    if nodes[node].role == .leader {
      nodes[node].setLearners(nodes.map(\.id).filter { $0 != nodes[node].id }, clocks[node])
      nodes[node].flush(clocks[node])
      let (term, id) = (nodes[node].term, nodes[node].id)
      if leaders[term, default: id] != id { violation = "term \(term.rawValue) has two leaders" }
      leaders[term] = id
    }
    for (to, message) in nodes[node].output {
      // The oldest is lost where there is no room.
      if underway.count == 60 { underway.removeFirst() }
      underway.append((node, number(to), message))
    }
    nodes[node].output = []
    while let (index, entry) = nodes[node].takeCommitted() {
      if let known = committed[index], known != entry { violation = "entry \(index.rawValue) was committed twice" }
      committed[index] = entry
    }
    nodes[node].checkInvariants()
    if nodes[node].violations > 0 { violation = "\(nodes[node].violations) messages that no correct node sends" }
  }

  /// Runs one schedule until it has shown something.
  mutating func run(steps: Int) {
    for _ in 0..<steps where violation == nil { step() }
  }
}

@Suite("the control plane's log under any schedule")
struct ClusterRaftScheduleTests {
  @Test("one leader a term, and what is committed stays, whatever becomes of changes of the voters")
  func safety() {
    var (retractions, doubts, returns, changes, committed) = (0, 0, 0, 0, 0)
    for seed in UInt64(1)...300 {
      var schedule = RaftSchedule(seed: seed)
      schedule.run(steps: 1_500)
      #expect(schedule.violation == nil, "seed \(seed)")
      retractions += schedule.retractions
      doubts += schedule.doubts
      returns += schedule.returns
      changes += schedule.changes
      committed += schedule.committed.count
    }
    #expect(retractions > 20 && doubts > 10 && returns > 10 && changes > 400 && committed > 2_000)
  }

  @Test(
    "a planted bug is found",
    arguments: [Mutation.votesTwice, .votesForStaleLogs, .doubtsAnyChange, .trustsOldLeaders, .commitsEarly])
  func planted(mutation: Mutation) {
    let found = (UInt64(1)...400).first { seed in
      var schedule = RaftSchedule(seed: seed, mutation: mutation)
      schedule.run(steps: 1_500)
      return schedule.violation != nil
    }
    #expect(found != nil)
  }
}
