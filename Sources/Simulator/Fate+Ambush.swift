import Engine
import Wire

// Faults at the moments at which the rules of replication matter most: each lies in wait for what a partition does.

/// One of them.
struct Ambush {
  enum Kind: Int, CaseIterable {
    /// The owner dies while one copy lags behind, and then the next owner, before it has brought that one in step.
    case successor
    /// The owner dies when its synced set was enlarged and it doesn't know that yet.
    case growth
    /// An owner that lost its partition without knowing reaches a copy again that promised to hear it no more.
    case deposed
    /// The owner dies while one copy lags behind and the other is out of reach: only the one that lags promises.
    case laggard
    /// One copy is cut off while the other lags behind, and the owner dies once it has given up the one cut off.
    case shrinkage
  }

  let kind: Kind
  let partition: Int
  /// The hosts of the owner and of two that hold copies.
  var owner: Int
  var first = -1
  var second = -1
  /// What is cut for it, by the network's numbers.
  var cuts: [Int] = []
  var stage = 0
  /// It is given up then.
  var deadline: UInt64
}

extension World {
  /// The topology to which most was applied.
  private var newestTopology: Topology? {
    hosts.compactMap { $0.control?.topology }.max { $0.index < $1.index }
  }

  private func host(of slot: MemberSlot, _ topology: Topology) -> Int? {
    guard let id = topology.members[Int(slot)]?.id else { return nil }
    return hosts.indices.first { hosts[$0].control?.id == id }
  }

  /// Lays an ambush for a partition that has keys.
  mutating func layAmbush() {
    let kind = Ambush.Kind.allCases[options.ambush ?? chance.below(Ambush.Kind.allCases.count)]
    let partition = workload.keys[chance.below(workload.keys.count)].partition
    guard let topology = newestTopology, ambushes.allSatisfy({ $0.stage < 0 }) else { return }
    let entry = topology.partitions[partition]
    guard entry.isActive, let owner = entry.owner.flatMap({ host(of: $0, topology) }) else { return }
    // A new leader would need the votes of those that are struck.
    guard ![.laggard, .shrinkage].contains(kind) || owner != leader else { return }
    var ambush = Ambush(kind: kind, partition: partition, owner: owner, deadline: now + 8 * World.second)
    if kind != .growth {
      var others = entry.synced.compactMap { host(of: $0, topology) }.filter { $0 != owner }
      guard others.count > 1 else { return }
      if [.laggard, .shrinkage].contains(kind), let place = others.firstIndex(where: { $0 == leader }) {
        // The one that is cut off mustn't lead.
        ambush.first = others.remove(at: place)
      }
      if ambush.first < 0 { ambush.first = others.remove(at: chance.below(others.count)) }
      ambush.second = others[chance.below(others.count)]
    }
    let (one, two) = (ambush.first, ambush.second)
    switch kind {
    case .successor: ambush.cuts = [cutOff([(owner, one), (one, owner), (one, two), (two, one)], .streams)]
    case .laggard, .shrinkage: ambush.cuts = [cutOff([(owner, one), (one, owner)], .streams)]
    case .growth: break
    case .deposed:
      let rest = hosts.indices.filter { $0 != owner }
      ambush.cuts = [
        cutOff(rest.flatMap { [($0, owner), (owner, $0)] }, .datagrams),
        cutOff([(owner, one), (one, owner)], .streams),
        cutOff([(owner, two), (two, owner), (one, two), (two, one)], .streams),
      ]
    }
    trace.add(now, "", "an ambush for partition \(partition) of n\(owner), n\(one) and n\(two): \(kind)")
    report.faults.ambushes += 1
    ambushes.append(ambush)
    let wait = kind == .deposed ? 1900 + chance.below(900 as UInt64) : 200 + chance.below(500 as UInt64)
    schedule(ambushes.count - 1, in: wait)
  }

  private mutating func cutOff(_ links: [(Int, Int)], _ scope: Network.Scope) -> Int {
    network.begin(links.map { (from: $0.0, to: $0.1) }, scope)
  }

  private mutating func schedule(_ number: Int, in milliseconds: UInt64) {
    queue.push(
      .fate, at: now + milliseconds * 1_000_000, host: number, detail: Stroke.stepOut.rawValue)
  }

  /// The next step of an ambush.
  mutating func stepOut(_ number: Int) {
    guard ambushes.indices.contains(number), ambushes[number].stage >= 0 else { return }
    guard now < ambushes[number].deadline else { return endAmbush(number) }
    switch (ambushes[number].kind, ambushes[number].stage) {
    case (.successor, 0):
      guard strikeDown(ambushes[number].owner) else { return endAmbush(number) }
      ambushes[number].stage = 1
      schedule(number, in: 20)
    case (.successor, 1):
      guard let entry = newestTopology?.partitions[ambushes[number].partition], entry.isActive,
        let next = entry.owner.flatMap({ host(of: $0, newestTopology!) }), next != ambushes[number].owner,
        strikeDown(next)
      else { return schedule(number, in: 20) }
      ambushes[number].stage = 2
      schedule(number, in: 300)
    case (.laggard, 0):
      guard strikeDown(ambushes[number].owner) else { return endAmbush(number) }
      cutOffSecond(number)
      schedule(number, in: 4000)
    case (.shrinkage, 0):
      cutOffSecond(number)
      schedule(number, in: 20)
    case (.shrinkage, 1):
      guard hasShrunk(ambushes[number]), strikeDown(ambushes[number].owner) else { return schedule(number, in: 20) }
      ambushes[number].stage = 2
      schedule(number, in: 2500)
    case (.growth, 0):
      // It lies in wait: see `watchAmbushes`.
      schedule(number, in: 500)
    case (.growth, 1):
      _ = strikeDown(ambushes[number].owner)
      ambushes[number].stage = 2
      schedule(number, in: 300)
    case (.deposed, 0):
      network.end(ambushes[number].cuts[1])
      ambushes[number].stage = 1
      schedule(number, in: 700 + chance.below(1000 as UInt64))
    default: endAmbush(number)
    }
  }

  /// Whether of three that held a partition the owner and the one that lags are left.
  private func hasShrunk(_ ambush: Ambush) -> Bool {
    guard let topology = newestTopology else { return false }
    let entry = topology.partitions[ambush.partition]
    guard entry.isActive, let owner = entry.owner, host(of: owner, topology) == ambush.owner else { return false }
    return entry.synced.allSatisfy { [ambush.owner, ambush.first].contains(host(of: $0, topology)) }
  }

  /// The second copy of an ambush is out of everybody's reach from now on.
  private mutating func cutOffSecond(_ number: Int) {
    let second = ambushes[number].second
    let rest = hosts.indices.filter { $0 != second }
    ambushes[number].cuts.append(cutOff(rest.flatMap { [($0, second), (second, $0)] }, .all))
    ambushes[number].stage = 1
  }

  private mutating func endAmbush(_ number: Int) {
    for cut in ambushes[number].cuts { network.end(cut) }
    ambushes[number].stage = -1
  }

  /// Kills a host's process, if the cluster as it is now can spare it.
  private mutating func strikeDown(_ number: Int) -> Bool {
    guard hosts[number].control != nil, canSpare(number, byNewest: true) else { return false }
    kill(number)
    revive(number, within: 8 * World.second)
    return true
  }

  /// A step of a node's is about to be carried out: did it enlarge a synced set that somebody lies in wait for?
  mutating func watchAmbushes(_ number: Int) {
    guard let place = ambushes.lastIndex(where: { $0.kind == .growth && $0.stage == 0 }),
      let topology = hosts[number].control?.topology
    else { return }
    let ambush = ambushes[place]
    let entry = topology.partitions[ambush.partition]
    guard number != ambush.owner, let known = hosts[ambush.owner].control?.topology, known.index < topology.index,
      entry.isActive, entry.owner.flatMap({ host(of: $0, topology) }) == ambush.owner,
      entry.replicationFactor / 2 > known.partitions[ambush.partition].replicationFactor / 2
    else { return }
    let rest = hosts.indices.filter { $0 != ambush.owner }
    let others = entry.synced.compactMap { host(of: $0, topology) }.filter { $0 != ambush.owner }
    ambushes[place].cuts = [
      cutOff(rest.map { ($0, ambush.owner) }, .datagrams),
      cutOff(others.flatMap { [($0, ambush.owner), (ambush.owner, $0)] }, .streams),
    ]
    ambushes[place].stage = 1
    trace.add(now, "", "partition \(ambush.partition) grows: n\(ambush.owner) is cut off")
    schedule(place, in: 200 + chance.below(250 as UInt64))
  }
}
