import Engine

// What fate does to links.

extension World {
  /// Cuts links of one of six kinds for a while.
  mutating func cut(kind: Int, for time: UInt64) {
    guard hosts.count > 1 else { return }
    let side = hosts.map { _ in chance.permille(500) }
    let one = chance.below(hosts.count)
    let other = (one + 1 + chance.below(hosts.count - 1)) % hosts.count
    var links: [(from: Int, to: Int)] = []
    func add(_ condition: (Int, Int) -> Bool) {
      for from in hosts.indices {
        for to in hosts.indices where from != to && condition(from, to) { links.append((from, to)) }
      }
    }
    switch kind {
    case 0:
      add { side[$0] != side[$1] }
      report.faults.symmetricPartitions += 1
    case 1:
      add { side[$0] && !side[$1] }
      report.faults.oneWayPartitions += 1
    case 2:
      // Both still hear all others: who hears whom isn't transitive any more.
      links = [(one, other), (other, one)]
      report.faults.intransitivePartitions += 1
    case 3:
      add { $0 == one || $1 == one }
      report.faults.isolations += 1
    case 4:
      links = [(one, other)]
      report.faults.intransitivePartitions += 1
    default:
      // The leader, which hurts most.
      let leader = leader ?? one
      let isDeaf = chance.permille(500)
      add { isDeaf ? $1 == leader : $0 == leader }
      report.faults.oneWayPartitions += 1
    }
    let number = begin(links)
    if chance.permille(200) {
      report.faults.flaps += 1
      queue.push(
        .fate, at: now + chance.below(World.second), host: number, from: 2 + chance.below(20),
        detail: Stroke.flap.rawValue)
    } else {
      queue.push(.fate, at: now + time, host: number, detail: Stroke.endPartition.rawValue)
    }
  }

  private mutating func begin(_ links: [(from: Int, to: Int)]) -> Int {
    var scope = Network.Scope.all
    if options.oddPartitions > 0, chance.permille(options.oddPartitions) {
      scope = chance.permille(500) ? .streams : .datagrams
      if scope == .streams { report.faults.streamPartitions += 1 } else { report.faults.datagramPartitions += 1 }
    }
    let number = network.begin(links, scope)
    trace.add(
      now, "",
      "partition \(number)\(scope == .all ? "" : " of \(scope)"): "
        + links.map { "\($0.from)→\($0.to)" }.joined(separator: " "))
    return number
  }

  /// A partition that ends and begins again.
  mutating func flap(_ number: Int, left: Int) {
    let links = network.partitions[number]
    let scope = network.scope(number)
    network.end(number)
    guard left > 0, let links else { return }
    // Begun again at once, or after the network was whole for a moment.
    let again = network.begin(left % 2 == 0 ? [] : links, scope, standingFor: links)
    queue.push(.fate, at: now + chance.below(World.second), host: again, from: left - 1, detail: Stroke.flap.rawValue)
  }

  /// Links that hold back what is sent for a while, and then deliver all of it in any order.
  mutating func clog() {
    guard hosts.count > 1 else { return }
    report.faults.clogs += 1
    let one = chance.below(hosts.count)
    let other = (one + 1 + chance.below(hosts.count - 1)) % hosts.count
    let until = now + chance.below(3 * World.second)
    let isWhole = chance.permille(300)
    for to in hosts.indices where to != one && (isWhole || to == other) { network.clog(one, to, until: until) }
    trace.add(now, "", "what n\(one) sends to \(isWhole ? "all" : "n\(other)") is held back")
  }

  /// For a while no client reaches a node, and what it answers reaches none.
  mutating func seclude() {
    let number = chance.below(hosts.count)
    report.faults.clientCuts += 1
    hosts[number].clientsCutUntil = now + chance.below(4 * World.second)
    trace.add(now, "", "clients don't reach n\(number)")
  }

  // MARK: The worst case for leases

  /// Leaves one node with no other than the leader, and a moment later the leader with no other than that node: the
  /// leader can still be heard by one that no other leader can reach.
  mutating func strand() {
    guard hosts.count > 2, let leader else { return }
    let other = (leader + 1 + chance.below(hosts.count - 1)) % hosts.count
    report.faults.strandings += 1
    let rest = hosts.indices.filter { $0 != leader && $0 != other }
    let number = begin(rest.flatMap { [(from: other, to: $0), (from: $0, to: other)] })
    queue.push(.fate, at: now + 6 * World.second, host: number, detail: Stroke.endPartition.rawValue)
    queue.push(
      .fate, at: now + chance.below(2 * World.second), host: other, from: leader, detail: Stroke.strandLeader.rawValue)
  }

  mutating func strandLeader(_ leader: Int, with other: Int) {
    let rest = hosts.indices.filter { $0 != leader && $0 != other }
    let number = begin(rest.flatMap { [(from: leader, to: $0), (from: $0, to: leader)] })
    queue.push(.fate, at: now + 4 * World.second, host: number, detail: Stroke.endPartition.rawValue)
  }
}
