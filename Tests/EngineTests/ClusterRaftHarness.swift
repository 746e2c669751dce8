import Wire

@testable import Engine

/// A few `Raft` values on a network that delivers at once, except where links are cut.
struct RaftGroup {
  let settings: ClusterSettings
  var now: UInt64 = 1_000 * ClusterSettings.millisecond
  var chance = Chance(seed: 1)
  var nodes: [Raft]
  var topologies: [Topology]
  /// Directed links that lose everything.
  var cut: Set<[Int]> = []
  var delivered = 0

  static func id(_ number: Int) -> NodeID { NodeID(high: 0xA0 + UInt64(number), low: 1) }

  /// `count` nodes of which the first `voters` found the cluster and vote; the others join.
  init(_ count: Int, voters: Int, settings: ClusterSettings = ClusterSettings()) {
    self.settings = settings
    let members = (0..<count).map {
      Member(id: RaftGroup.id($0), peer: PeerAddress(v4: UInt32($0), port: 1), state: .active)
    }
    let topology = Topology(
      founding: ClusterID(high: 1, low: 1), copies: 3, members: members,
      voters: (0..<voters).map { RaftGroup.id($0) }, index: LogIndex(1))
    topologies = [Topology](repeating: topology, count: count)
    nodes = []
    for number in 0..<count {
      let id = RaftGroup.id(number)
      nodes.append(
        number < voters
          ? Raft(founding: id, topology: topology, isProposer: false, settings: settings, now: now)
          : Raft(joining: id, settings: settings, now: now))
    }
  }

  func number(_ id: NodeID) -> Int { Int(id.high - 0xA0) }

  mutating func cutOff(_ node: Int) {
    for other in nodes.indices where other != node { cut.formUnion([[node, other], [other, node]]) }
  }

  /// Delivers everything that is under way, and what comes of it.
  mutating func settle() {
    var isBusy = true
    while isBusy {
      isBusy = false
      for from in nodes.indices {
        nodes[from].flush(now)
        let output = nodes[from].output
        nodes[from].output = []
        for (to, message) in output {
          isBusy = true
          delivered += 1
          if cut.contains([from, number(to)]) || !nodes.indices.contains(number(to)) { continue }
          nodes[number(to)].receive(message, from: RaftGroup.id(from), now, &chance)
          apply(number(to))
        }
        apply(from)
      }
    }
  }

  private mutating func apply(_ node: Int) {
    if let piece = nodes[node].takeSnapshot(), let topology = try? Topology(decoding: piece.bytes) {
      topologies[node] = topology
      nodes[node].restore(topology, from: piece, now)
    }
    while let (index, entry) = nodes[node].takeCommitted() {
      switch entry.kind {
      case .nothing: topologies[node].applyNothing(at: index)
      case .voters: topologies[node].apply(voters: RaftLog.voters(entry.payload), at: index)
      case .command:
        if let command = try? TopologyCommand(decoding: entry.payload) {
          topologies[node].apply(command, at: index)
        } else {
          topologies[node].applyNothing(at: index)
        }
      }
    }
    if nodes[node].wantsSnapshot { nodes[node].compact(topologies[node].encoded()) }
    nodes[node].checkInvariants()
  }

  /// Lets time pass in small steps.
  mutating func run(milliseconds: Int) {
    for _ in 0..<milliseconds / 10 {
      now += 10 * ClusterSettings.millisecond
      for node in nodes.indices {
        nodes[node].tick(now, &chance)
        if nodes[node].role == .leader {
          nodes[node].setLearners(nodes.indices.map { RaftGroup.id($0) }.filter { $0 != nodes[node].id }, now)
        }
        settle()
      }
    }
  }

  var leaders: [Int] { nodes.indices.filter { nodes[$0].role == .leader } }

  /// Runs until exactly one leads, and returns it.
  mutating func elect() throws -> Int {
    for _ in 0..<50 where leaders.count != 1 { run(milliseconds: 100) }
    guard leaders.count == 1 else { throw Failure.noLeader(leaders) }
    return leaders[0]
  }

  enum Failure: Error {
    case noLeader([Int])
  }

  mutating func propose(_ node: Int, _ name: String) -> LogIndex? {
    let member = Member(id: NodeID(high: 7, low: 7), name: name, peer: .none)
    let index = try? nodes[node].propose(TopologyCommand.addMember(member).encoded(), now)
    settle()
    return index
  }

  func name(at node: Int) -> String? { topologies[node].member(NodeID(high: 7, low: 7))?.name }
}
