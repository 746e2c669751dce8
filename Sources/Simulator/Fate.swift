import Engine
import Wire

/// What fate does, as an event's detail.
enum Stroke: Int {
  // Drawn again and again, each with a mean interval of its own.
  case partition, clog, crash, massacre, roll, pause, slow, jump, leave, write, strand, sever, seclude, ambush
  // What an earlier one brings with it.
  case endPartition, flap, restartNext, strandLeader, stepOut
  case sample
}

extension World {
  /// Lets each kind of fault begin.
  mutating func scheduleFate() {
    for number in Stroke.partition.rawValue...Stroke.ambush.rawValue { scheduleNext(Stroke(rawValue: number)!) }
    queue.push(.fate, at: now, host: 0, detail: Stroke.sample.rawValue)
    guard options.startsPartitioned, hosts.count > 1 else { return }
    report.faults.splitFoundings += 1
    cut(kind: chance.below(4), for: 500_000_000 + chance.below(5 * World.second))
  }

  private func interval(_ stroke: Stroke) -> UInt64 {
    switch stroke {
    case .partition: options.partitions
    case .clog: options.clogs
    case .crash: options.crashes
    case .massacre: options.massacres
    case .roll: options.rolls
    case .pause: options.pauses
    case .slow: options.slowness
    case .jump: options.jumps
    case .leave: options.leaves
    case .write: options.writes
    case .strand: options.strandings
    case .sever: options.breaks
    case .seclude: options.seclusions
    case .ambush: options.ambushes
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
    case .clog: clog()
    case .strand: strand()
    case .strandLeader: strandLeader(Int(event.from), with: Int(event.host))
    case .crash: crash()
    case .massacre: massacre()
    case .roll: restart(0)
    case .restartNext: restart(Int(event.host))
    case .pause: pause()
    case .slow: slowDown()
    case .jump: jump()
    case .leave: leave()
    case .write: write()
    case .sever: breakPipe()
    case .seclude: seclude()
    case .ambush: layAmbush()
    case .stepOut: stepOut(Int(event.host))
    case .sample: break
    }
    scheduleNext(stroke)
  }

  /// The host that leads, or thinks so.
  var leader: Int? { hosts.indices.first { hosts[$0].control?.standing.role == .leader } }

  /// A host by chance, rather often the one that leads.
  mutating func victim() -> Int {
    let number = chance.below(hosts.count)
    return chance.permille(300) ? leader ?? number : number
  }

  // MARK: The second phase

  /// Ends the faults; one of them may stay for good.
  mutating func heal() {
    isHealing = true
    network.endAll()
    ambushes = []
    for number in hosts.indices {
      hosts[number].pausedUntil = min(hosts[number].pausedUntil, now)
      hosts[number].slowUntil = 0
    }
    if hosts.count > 2, chance.permille(options.sacrifice) { sacrifice(chance.below(hosts.count)) }
    trace.add(now, "", "the faults end" + (sacrificed.map { ", but n\($0) stays away" } ?? ""))
    for number in hosts.indices where hosts[number].control == nil && number != sacrificed {
      if !hosts[number].isRetired {
        queue.push(.start, at: now + 1_000_000, host: number, detail: hosts[number].incarnation)
      }
    }
  }

  /// Takes a host away for good, if it isn't needed: it dies, or is cut off.
  private mutating func sacrifice(_ number: Int) {
    guard canSpare(number) else { return }
    sacrificed = number
    if chance.permille(500) || hosts[number].control == nil {
      if hosts[number].control != nil { stop(number) }
      hosts[number].incarnation += 1
    } else {
      let links = hosts.indices.filter { $0 != number }.flatMap { [(number, $0), ($0, number)] }
      _ = network.begin(links.map { (from: $0.0, to: $0.1) })
    }
  }

  /// Looks at the whole, ten times a second.
  private mutating func sample() {
    queue.push(.fate, at: now + 100_000_000, host: 0, detail: Stroke.sample.rawValue)
    checker.sample(hosts, network, now)
    if options.cores > 0 { checker.lookAtLogs(hosts, workload.replicatedKeys, now) }
    guard isHealing else { return }
    if let missing = checker.missing(core, hosts, now) ?? missingAtEnd() {
      let settings = options.settings
      let bound = 40 * World.second + settings.evictAfter + max(settings.evictAfter, settings.abandonAfter)
      if now > faultsEnd + bound { checker.violate(.converges, missing, now) }
    } else {
      report.convergence = now - faultsEnd
      trace.add(now, "", "the cluster is whole")
    }
  }
}
