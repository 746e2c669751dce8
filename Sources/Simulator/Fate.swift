import Engine
import Wire

/// What fate does, as an event's detail.
enum Stroke: Int {
  case partition, endPartition, flap, crash, pause, jump, leave, write, sample
}

extension World {
  /// Lets each kind of fault begin.
  mutating func scheduleFate() {
    for stroke in [Stroke.partition, .crash, .pause, .jump, .leave, .write] { scheduleNext(stroke) }
    queue.push(.fate, at: now, host: 0, detail: Stroke.sample.rawValue)
    guard options.startsPartitioned, hosts.count > 1 else { return }
    cut(kind: chance.below(4), for: 500_000_000 + chance.below(5 * World.second))
  }

  private func interval(_ stroke: Stroke) -> UInt64 {
    switch stroke {
    case .partition: options.partitions
    case .crash: options.crashes
    case .pause: options.pauses
    case .jump: options.jumps
    case .leave: options.leaves
    case .write: options.writes
    default: 0
    }
  }

  private mutating func scheduleNext(_ stroke: Stroke) {
    let mean = interval(stroke)
    guard mean > 0 else { return }
    queue.push(.fate, at: now + chance.below(2 * mean * 1_000_000), host: 0, detail: stroke.rawValue)
  }

  mutating func strike(_ event: Event) {
    guard let stroke = Stroke(rawValue: Int(event.detail)) else { return }
    if stroke == .sample { return sample() }
    guard !isHealing else { return }
    checker.observe(hosts, network, now)
    switch stroke {
    case .partition: cut(kind: chance.below(6), for: chance.below(6 * World.second))
    case .endPartition:
      network.end(Int(event.host))
      trace.add(now, "", "partition \(event.host) ends")
    case .flap: flap(Int(event.host), left: Int(event.from))
    case .crash: crash()
    case .pause: pause()
    case .jump: jump()
    case .leave: leave()
    case .write:
      let number = chance.below(hosts.count)
      hosts[number].control?.markWritten()
    case .sample: break
    }
    scheduleNext(stroke)
  }

  // MARK: Partitions

  /// Cuts links of one of six kinds for a while.
  private mutating func cut(kind: Int, for time: UInt64) {
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
      links = [(one, other), (other, one)]
      report.faults.singleLinks += 1
    case 3:
      add { $0 == one || $1 == one }
      report.faults.isolations += 1
    case 4:
      links = [(one, other)]
      report.faults.singleLinks += 1
    default:
      // The leader, which hurts most.
      let leader = hosts.indices.first { hosts[$0].control?.raft?.role == .leader } ?? one
      let isDeaf = chance.permille(500)
      add { isDeaf ? $1 == leader : $0 == leader }
      report.faults.oneWayPartitions += 1
    }
    let number = network.begin(links)
    trace.add(now, "", "partition \(number): " + links.map { "\($0.from)→\($0.to)" }.joined(separator: " "))
    if chance.permille(200) {
      report.faults.flaps += 1
      queue.push(
        .fate, at: now + chance.below(World.second), host: number, from: 2 + chance.below(20),
        detail: Stroke.flap.rawValue)
    } else {
      queue.push(.fate, at: now + time, host: number, detail: Stroke.endPartition.rawValue)
    }
  }

  /// A partition that ends and begins again.
  private mutating func flap(_ number: Int, left: Int) {
    let links = network.partitions[number]
    network.end(number)
    guard left > 0, let links else { return }
    if left % 2 == 0 {
      // Whole for a moment; an empty partition stands for it, so that the next flap knows the links.
      queue.push(
        .fate, at: now + chance.below(World.second), host: network.begin(links), from: left - 1,
        detail: Stroke.flap.rawValue)
    } else {
      let again = network.begin(links)
      queue.push(.fate, at: now + chance.below(World.second), host: again, from: left - 1, detail: Stroke.flap.rawValue)
    }
  }

  // MARK: Crashes

  /// Whether a cluster can live on without this host's memory: every configuration that any node has keeps a majority
  /// of voters whose memory is there.
  func canSpare(_ victim: Int) -> Bool {
    for host in hosts {
      guard let raft = host.control?.raft, !raft.voters.isEmpty else { continue }
      let left = raft.voters.count { voter in
        hosts.indices.contains { $0 != victim && hosts[$0].control?.id == voter && hosts[$0].control?.raft != nil }
      }
      if left <= raft.voters.count / 2 { return false }
    }
    return canSpareCopies(victim)
  }

  /// Whether enough holders of each partition are left to answer a fence.
  private func canSpareCopies(_ victim: Int) -> Bool {
    let alive = hosts.indices.filter { $0 != victim }.compactMap { hosts[$0].control?.id }
    for topology in hosts.compactMap({ $0.control?.topology }) {
      let isAlive = topology.members.map { $0.map { alive.contains($0.id) } ?? false }
      for entry in topology.partitions where !entry.synced.isEmpty {
        if entry.synced.count(where: { isAlive[Int($0)] }) < entry.promisesNeeded { return false }
      }
    }
    return true
  }

  private mutating func crash() {
    var number = chance.below(hosts.count)
    let leader = hosts.indices.first { hosts[$0].control?.raft?.role == .leader }
    if let leader, chance.permille(400) { number = leader }
    guard hosts[number].control != nil, options.mayLoseMajority || canSpare(number) else { return }
    report.faults.crashes += 1
    if number == leader { report.faults.leaderCrashes += 1 }
    trace.add(now, name(number), "crashes")
    stop(number)
    // Often sooner than anyone notices.
    let delay = chance.permille(400) ? chance.below(300_000_000) : chance.below(15 * World.second)
    queue.push(.start, at: now + delay, host: number, detail: hosts[number].incarnation)
  }

  private mutating func pause() {
    let number = chance.below(hosts.count)
    guard hosts[number].control != nil, now >= hosts[number].pausedUntil else { return }
    let time = chance.permille(500) ? chance.below(500_000_000) : chance.below(5 * World.second)
    report.faults.pauses += 1
    if time > options.settings.lease { report.faults.longPauses += 1 }
    trace.add(now, name(number), "pauses for \(time / 1_000_000) ms")
    hosts[number].pausedUntil = now + time
  }

  /// A clock jumps ahead by less than the margin that leases have.
  private mutating func jump() {
    let number = chance.below(hosts.count)
    report.faults.jumps += 1
    hosts[number].offset += chance.below(options.settings.leaseMargin / 3)
  }

  private mutating func leave() {
    let number = chance.below(hosts.count)
    guard let members = hosts[number].control?.topology?.memberCount, members > 1 else { return }
    report.faults.leaves += 1
    trace.add(now, name(number), "wants to leave")
    hosts[number].control!.leave()
  }

  // MARK: The second phase

  /// Ends the faults; one of them may stay for good.
  mutating func heal() {
    isHealing = true
    network.endAll()
    for number in hosts.indices { hosts[number].pausedUntil = min(hosts[number].pausedUntil, now) }
    if hosts.count > 2, chance.permille(options.sacrifice) {
      let number = chance.below(hosts.count)
      // Whoever it is must not be needed.
      if canSpare(number) {
        sacrificed = number
        if chance.permille(500) || hosts[number].control == nil {
          if hosts[number].control != nil { stop(number) }
          hosts[number].incarnation += 1
        } else {
          let links = hosts.indices.filter { $0 != number }.flatMap { [(number, $0), ($0, number)] }
          _ = network.begin(links.map { (from: $0.0, to: $0.1) })
        }
      }
    }
    trace.add(now, "", "the faults end" + (sacrificed.map { ", but n\($0) stays away" } ?? ""))
    for number in hosts.indices where hosts[number].control == nil && number != sacrificed {
      if !hosts[number].isRetired {
        queue.push(.start, at: now + 1_000_000, host: number, detail: hosts[number].incarnation)
      }
    }
  }

  /// Looks at the whole, ten times a second.
  private mutating func sample() {
    queue.push(.fate, at: now + 100_000_000, host: 0, detail: Stroke.sample.rawValue)
    checker.sample(hosts, network, now)
    guard isHealing else { return }
    let core = hosts.indices.filter { $0 != sacrificed && !hosts[$0].isRetired }
    if let missing = checker.missing(core, hosts, now) {
      let bound = 40 * World.second + options.settings.evictAfter * 2
      if now > faultsEnd + bound { checker.violate(.converges, missing, now) }
    } else {
      report.convergence = now - faultsEnd
      trace.add(now, "", "the cluster is whole")
    }
  }
}
