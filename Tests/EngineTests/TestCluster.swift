import Testing

@testable import Engine
@testable import Wire

/// Test nodes that keep the same time, and a network between them whose connections can be held up, cut and refused.
final class TestCluster {
  /// A connection between two nodes: what one side's engine sends arrives at the other, in order.
  final class Pipe {
    let from: Int
    let to: Int
    let near: TestClient
    let far: TestClient
    /// Nothing arrives, and neither side hears of it: the network is gone, or the other host.
    var isDead = false
    fileprivate var isOver = false

    init(from: Int, to: Int, near: TestClient, far: TestClient) {
      self.from = from
      self.to = to
      self.near = near
      self.far = far
    }
  }

  let nodes: [TestNode]
  private(set) var topology: Topology
  private(set) var pipes: [Pipe] = []
  /// Pairs of nodes that can't connect, and nodes that don't even refuse: connecting to them takes forever.
  var refused: Set<[Int]> = []
  var silent: Set<Int> = []
  /// Hears what a node sends.
  var tap: ((Int, [UInt8]) -> Void)?
  private var random: TestRandom?
  /// Nodes that are gone.
  private(set) var dead: Set<Int> = []
  /// What each core of each node wishes for.
  private var wishes: [[Int]: [PartitionWish]] = [:]

  /// The owner of each partition is `partition % count`, unless told otherwise.
  init(
    _ count: Int, cores: Int = 1, limits: Limits = TestNode.limits, seed: UInt64? = nil, copies: [Int] = [],
    adopts: Bool = true, factor: Int = 0, keys: [UInt64?] = []
  ) {
    nodes = (0..<count).map {
      TestNode(
        cores: cores, limits: limits, memory: 16 << 20, seed: seed.map { $0 &* 7 &+ 1 }, id: (UInt64($0 + 1), 7),
        key: $0 < keys.count ? keys[$0].map(TestCluster.key) : nil)
    }
    random = seed.map { TestRandom(seed: $0) }
    let members = (0..<count).map {
      Member(
        id: NodeID(high: UInt64($0 + 1), low: 7), name: "n\($0)",
        peer: PeerAddress(v4: 0x7F00_0001, port: UInt16(1000 + $0)))
    }
    topology = Topology(
      founding: ClusterID(high: 5, low: 6), copies: UInt8(max(factor, 1)), members: members, voters: members.map(\.id),
      index: LogIndex(1))
    if factor > 0 {
      found(count, factor)
    } else {
      for partition in 0..<partitionCount { own(partition, partition % count) }
    }
    for (index, node) in nodes.enumerated() {
      node.dial = { [unowned self] in self.dial(index, $0, $1) }
      if adopts { adopt(index) }
    }
  }

  /// A key whose codes a test needs no cryptography for.
  static func key(_ secret: UInt64) -> BeaconKey {
    BeaconKey { bytes in
      BeaconCode(
        first: xxh3(bytes.baseAddress, count: bytes.count, seed: secret),
        last: xxh3(bytes.baseAddress, count: bytes.count, seed: ~secret))
    }
  }

  // MARK: Topology

  /// Gives a partition another owner in the topology that is adopted next.
  func own(_ partition: Int, _ node: Int?, copies: [Int] = []) {
    topology.partitions[partition].owner = node.map { MemberSlot($0) }
    topology.partitions[partition].isActive = node != nil
    topology.partitions[partition].epoch = Epoch(topology.partitions[partition].epoch.rawValue + 1)
    topology.partitions[partition].version += 1
    topology.partitions[partition].synced = SlotList(([node].compactMap { $0 } + copies).map { MemberSlot($0) })
  }

  /// All that was changed becomes one newer topology.
  func publish(to nodes: [Int]? = nil) {
    topology.applyNothing(at: topology.index.next)
    topology.apply(voters: topology.voters, at: topology.index.next)  // raises the version
    for node in nodes ?? Array(self.nodes.indices) where !dead.contains(node) { adopt(node) }
  }

  private func adopt(_ index: Int) {
    let id = NodeID(high: UInt64(index + 1), low: 7)
    // No core takes mail of one that knows a newer topology before it knows it, too.
    let held = nodes[index].holdsMail
    nodes[index].holdsMail = true
    for core in 0..<nodes[index].count {
      let topology = topology
      nodes[index].turn(core) { $0.adopt(topology: topology, me: id) }
    }
    nodes[index].holdsMail = held
  }

  /// The n-th key that a node owns by the founding rule.
  func key(of node: Int, _ n: Int = 0, prefix: String = "k") -> String {
    var left = n
    var number = 0
    while true {
      let name = "\(prefix)\(number)"
      if nodes[0].partition(of: name) % nodes.count == node {
        if left == 0 { return name }
        left -= 1
      }
      number += 1
    }
  }

  // MARK: Replicated clusters

  /// Every partition is held by `factor` nodes, from `partition % count` on; the first owns it.
  private func found(_ count: Int, _ factor: Int) {
    let holders = (0..<partitionCount).map { partition in
      SlotList((0..<min(factor, count)).map { MemberSlot((partition + $0) % count) })
    }
    apply(
      .place(
        holders.enumerated().map { .init(partition: PartitionID(UInt16($0.offset)), replicas: SlotList($0.element)) }))
    apply(
      .activate(
        holders.enumerated().map {
          .init(
            partition: PartitionID(UInt16($0.offset)), epoch: Epoch(0), owner: $0.element[0],
            replicationFactor: UInt8($0.element.count), isLoss: false, synced: SlotList($0.element))
        }))
  }

  /// Makes a change the control plane's; nodes hear of it by `publish`.
  func apply(_ command: TopologyCommand) { topology.apply(command, at: topology.index.next) }

  /// The cluster goes on without a member that owns and holds nothing any more.
  func remove(_ node: Int) {
    let id = NodeID(high: UInt64(node + 1), low: 7)
    topology.apply(voters: topology.voters.filter { $0 != id }, at: topology.index.next)
    apply(.removeMember(id))
    precondition(topology.slot(of: id) == nil, "n\(node) still has something")
  }

  /// The node is gone from one instant to the next; the others' connections to it break.
  func kill(_ node: Int) {
    dead.insert(node)
    wishes = wishes.filter { $0.key[0] != node }
    for pipe in pipes where pipe.from == node || pipe.to == node {
      pipe.isOver = true
      pipe.isDead = true
      (pipe.from == node ? pipe.far : pipe.near).reset()
    }
    for other in nodes.indices { refused.insert([other, node]) }
  }

  /// The leader's part: grants what nodes wish for, and chooses candidates, until nothing changes any more.
  func govern(rounds: Int = 40) {
    for _ in 0..<rounds {
      settle()
      for (index, node) in nodes.enumerated() where !dead.contains(index) {
        for core in 0..<node.count {
          node.turn(core) { if let news = $0.takeWishes() { wishes[[index, core]] = news } }
        }
      }
      let before = topology
      for partition in 0..<partitionCount { rule(partition) }
      if topology.version == before.version { return }
      publish()
    }
  }

  private func rule(_ partition: Int) {
    let entry = topology.partitions[partition]
    let id = PartitionID(UInt16(partition))
    var promises: [Promise] = []
    for (place, list) in wishes {
      let slot = MemberSlot(place[0])
      for told in list where told.partition == id && told.epoch == entry.epoch {
        switch told.wish {
        case .promise(let end): promises.append(Promise(slot: slot, end: end))
        case .resize(let version, let factor, let synced) where entry.isActive && entry.owner == slot:
          apply(
            .resize([
              .init(partition: id, epoch: told.epoch, version: version, replicationFactor: factor, synced: synced)
            ]))
        case .handOver(let version, let heir) where entry.isActive && entry.owner == slot:
          apply(.handOver([.init(partition: id, epoch: told.epoch, version: version, heir: heir)]))
        case .activate(let factor, let synced) where !entry.isActive && entry.candidate == slot:
          apply(
            .activate([
              .init(
                partition: id, epoch: told.epoch, owner: slot, replicationFactor: factor, isLoss: false,
                synced: synced)
            ]))
        default: break
        }
      }
    }
    if !entry.isActive, entry.candidate == nil, let chosen = entry.candidate(of: promises) {
      apply(.choose([.init(partition: id, epoch: entry.epoch, candidate: chosen)]))
    }
  }

  // MARK: The network

  private func dial(_ from: Int, _ client: TestClient, _ address: PeerAddress) {
    let to = Int(address.port) - 1000
    if silent.contains(to) { return }
    if refused.contains([from, to]) { return client.reset() }
    let core = random.map { _ in random!.below(nodes[to].count) } ?? from % nodes[to].count
    let far = nodes[to].connect(core, isPeer: true)
    pipes.append(Pipe(from: from, to: to, near: client, far: far))
    client.isAnswered = true
  }

  /// Moves what was sent; whether anything moved.
  private func carry() -> Bool {
    var moved = false
    for pipe in pipes where !pipe.isDead && !pipe.isOver {
      for (a, b) in [(pipe.near, pipe.far), (pipe.far, pipe.near)] {
        var count = a.receivedCount
        if count > 0 && random != nil { count = 1 + random!.below(count) }
        if count > 0 {
          moved = true
          let bytes = a.takeBytes(count)
          tap?(a === pipe.near ? pipe.from : pipe.to, bytes)
          b.send(bytes)
        }
        guard a.receivedCount == 0, a.isClosing || a.isWriteShut, !a.isTaking else { continue }
        moved = true
        pipe.isOver = true
        a.isWriteShut && !a.isClosing ? b.end() : b.reset()
      }
    }
    pipes.removeAll { $0.near.isGone && $0.far.isGone }
    return moved
  }

  /// Breaks all connections between two nodes; both sides hear of it.
  func cut(_ a: Int, _ b: Int) {
    for pipe in pipes where [pipe.from, pipe.to].sorted() == [a, b].sorted() {
      pipe.isOver = true
      pipe.near.reset()
      pipe.far.reset()
    }
  }

  /// Holds up all connections between two nodes; neither side hears of it.
  func hold(_ a: Int, _ b: Int, _ isDead: Bool = true) {
    for pipe in pipes where [pipe.from, pipe.to].sorted() == [a, b].sorted() { pipe.isDead = isDead }
  }

  /// Holds up what one node opened to another, and nothing else.
  func hold(from: Int, to: Int, _ isDead: Bool = true) {
    for pipe in pipes where pipe.from == from && pipe.to == to { pipe.isDead = isDead }
  }

  // MARK: Time

  /// Turns of all nodes until nothing is left to do at this time.
  func settle() {
    for _ in 0..<100_000 {
      for (index, node) in nodes.enumerated() where !dead.contains(index) { node.settle() }
      if !carry() { return }
    }
    Issue.record("the cluster does not come to rest")
  }

  /// Lets time pass on all nodes.
  func advance(_ milliseconds: Int) {
    settle()
    let nodes = nodes.enumerated().filter { !dead.contains($0.offset) }.map(\.element)
    let end = nodes[0].monotonic + UInt64(milliseconds) * 1_000_000
    for _ in 0..<100_000 {
      let next = max(nodes.map(\.deadline).min()!, nodes[0].monotonic)
      let time = min(next, end)
      for node in nodes { node.wake(at: time) }
      settle()
      if time == end && nodes.allSatisfy({ $0.deadline > end }) { return }
    }
    Issue.record("a deadline in the past keeps a node awake")
  }

  /// Ends all links and checks that nothing is left.
  func checkAtRest() {
    refused = Set(nodes.indices.flatMap { a in nodes.indices.map { [a, $0] } })
    silent = []
    for pipe in pipes {
      pipe.isOver = true
      pipe.near.reset()
      pipe.far.reset()
    }
    for (index, node) in nodes.enumerated() where !dead.contains(index) { node.settle() }
    for (index, node) in nodes.enumerated() where !dead.contains(index) { node.checkAtRest() }
  }
}
