import Wire

@testable import Engine

// The random schedule and what is checked after its steps.
extension ReplicationHarness {
  mutating func fail(_ sentence: String) { if violation == nil { violation = sentence } }

  /// One random step.
  mutating func step(maximumCrashes: Int) {
    let node = random.below(nodes.count)
    switch random.below(1000) {
    case 0..<150: write(node)
    case 150..<440: speak(node)
    case 440..<740: deliver()
    case 740..<800: adopt(node)
    case 800..<840: decide()
    case 840..<890: tick()
    case 890..<910: hurry(node)
    case 910..<940: setLink(node, random.below(nodes.count), up: !random.chance(4))
    case 940..<950: if !letters.isEmpty { letters.remove(at: random.below(letters.count)) }
    case 950..<(950 + 3 * unrest):
      count("fence")
      apply(.fence([PartitionID(0)]))
    case 970..<(970 + 2 * unrest): place()
    case 980..<982: expire(node)
    case 982..<(982 + unrest): if crashes < maximumCrashes, nodes.count < 12 { crash(node) }
    case 990...: noticeDeath()
    default: break
    }
  }

  /// A node learns what was decided and is the first to be heard.
  private mutating func hurry(_ node: Int) {
    adopt(node)
    speak(node)
    decide()
  }

  /// The control plane finds a dead node.
  mutating func noticeDeath() {
    for index in nodes.indices where !nodes[index].isAlive {
      guard let id = topology.members[index]?.id, topology.members[index]!.state == .active else { continue }
      return apply(.setState(id, .down))
    }
  }

  /// Runs a schedule; returns what it violated.
  mutating func run(steps: Int, maximumCrashes: Int) -> String? {
    for _ in 0..<steps where violation == nil {
      step(maximumCrashes: maximumCrashes)
      if anewRandom?.chance(100) == true { beginAnew() }
      check()
    }
    return violation
  }

  /// Ends all faults and waits until the partition is whole again; false if it never is.
  mutating func heal() -> Bool {
    slow = -1
    lazy = -1
    for _ in 0..<nodes.count { noticeDeath() }
    place()
    for round in 0..<400 where violation == nil {
      for a in nodes.indices { for b in nodes.indices { setLink(a, b, up: true) } }
      for node in nodes.indices {
        adopt(node)
        speak(node)
      }
      for _ in 0..<letters.count { deliver() }
      decide()
      tick()
      if round % 3 == 0 { for node in nodes.indices { write(node) } }
      check()
      if isWhole { return true }
    }
    return violation == nil && isWhole
  }

  /// Whether the wanted members, all of them alive, are the synced set and the wanted owner has the partition.
  var isWhole: Bool {
    let entry = entry
    guard entry.isActive, entry.owner == entry.replicas.first, Set(entry.synced) == Set(entry.replicas) else {
      return false
    }
    return entry.synced.allSatisfy { nodes[Int($0)].isAlive } && entry.replicationFactor == UInt8(entry.synced.count)
  }

  /// Whether enough of S is alive that a fence can end.
  var canRecover: Bool {
    let alive = entry.synced.count { nodes[Int($0)].isAlive }
    if let owner = entry.owner, entry.isActive, nodes[Int(owner)].isAlive { return alive >= entry.promisesNeeded }
    return alive >= entry.promisesNeeded
  }

  /// NoLoss, Agree and Fresh of Slot.tla, and PROTOCOL.md's invariants of logs.
  mutating func check() {
    if entry.isActive, let owner = entry.owner {
      let log = nodes[Int(owner)].log
      for (offset, record) in acknowledged where offset > UInt64(log.count) || log[Int(offset) - 1] != record {
        return fail("the owner \(owner) of epoch \(entry.epoch.rawValue) has lost \(record.operation) at \(offset)")
      }
    }
    guard random.chance(8) else { return }
    for (index, node) in nodes.enumerated() {
      let replica = node.replication.replica
      if Int(replica.last.rawValue) != node.log.count { return fail("node \(index) miscounts its log") }
      if let last = node.log.last, replica.end.epoch != last.epoch { return fail("node \(index) mistakes its end") }
      if let owner = node.replication.owner, owner.isActive,
        let record = node.log.first(where: { life($0.epoch) != life(owner.epoch) })
      {
        return fail("node \(index) owns epoch \(owner.epoch.rawValue) and has a record of \(record.epoch.rawValue)")
      }
      for other in nodes[..<index] { compare(node, other) }
    }
  }

  /// Two logs agree up to the last position that both have in one epoch, and as far as both know it to be committed.
  private mutating func compare(_ a: Node, _ b: Node) {
    guard let lastA = a.log.last, let lastB = b.log.last, life(lastA.epoch) == life(lastB.epoch) else { return }
    let both = min(a.log.count, b.log.count)
    var agreed = both
    while agreed > 0, a.log[agreed - 1].epoch != b.log[agreed - 1].epoch { agreed -= 1 }
    if a.log[..<agreed] != b.log[..<agreed] { return fail("logs of \(a.slot) and \(b.slot) differ within an epoch") }
    let committed = Int(min(a.replication.replica.committed, b.replication.replica.committed).rawValue)
    if committed > agreed, mutation == nil {
      return fail("logs of \(a.slot) and \(b.slot) differ in what is committed")
    }
  }
}
