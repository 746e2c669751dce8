import Engine
import Wire

/// A place where nodes run one after the other, each with the same address and a new id.
struct Host {
  var control: ControlPlane?
  /// Whether `control` is there.
  var isUp = false
  var incarnation = 0
  /// Its clock: how many millionths too fast, and what it read when the world began.
  var drift: Int64 = 0
  var offset: UInt64 = 0
  /// It does nothing before this time; what arrives waits, up to a bound.
  var pausedUntil: UInt64 = 0
  var waiting = 0
  /// Before this time it takes up to `slowness` for each datagram and tick.
  var slowUntil: UInt64 = 0
  var slowness: UInt64 = 0
  /// Its tick was put off already.
  var isLate = false
  /// When its next tick is due.
  var wake = UInt64.max
  /// Its cores, where whole nodes are simulated.
  var machine: Machine?
  /// Milliseconds that its calendar is ahead.
  var skew: UInt64 = 0
  /// It has no power: what is sent to it meets silence.
  var isDark = false
  /// Its next turn is followed by a pause of this length before anything of it is said.
  var pausesInTurn: UInt64 = 0
  /// No client reaches it before this time.
  var clientsCutUntil: UInt64 = 0
  /// It doesn't come back by itself.
  var isRetired = false

  /// What its clock reads at a time of the world.
  func clock(_ time: UInt64) -> UInt64 { World.clock(offset, drift, time) }
}

/// Many nodes of the real engine on a simulated network, under a fate drawn from a seed.
///
/// A run has two phases, as TigerBeetle's VOPR has: first faults, during which nothing wrong may happen; then the
/// faults end (some stay for good), and the cluster must be whole again within a bound.
package struct World {
  let options: SimulationOptions
  var chance: Chance
  var queue = EventQueue()
  var now: UInt64 = 1_000_000_000
  var hosts: [Host] = []
  /// Each host's own chance.
  var chances: [Chance]
  var network: Network
  var checker: Checker
  var trace: Trace
  var report: SimulationReport
  /// The phase with faults is over.
  var isHealing = false
  var faultsEnd: UInt64 = 0
  /// A host that stays cut off or dead in the second phase.
  var sacrificed: Int?
  /// When a process was killed last.
  var lastKill: UInt64 = 0
  /// Those that were laid; see `Fate+Ambush`.
  var ambushes: [Ambush] = []
  /// Datagrams of the past that may come again.
  var past: [(to: Int, from: Int, incarnation: Int, datagram: [UInt8])] = []
  private var scratch: [ClusterEffect] = []
  /// Connections by their places, and places that are free.
  var pipes: [Pipe?] = []
  var freePipes: [Int] = []
  var pipeGeneration = 0
  /// When what is sent now leaves, if that is later than now.
  var departure: UInt64 = 0
  let arena = Arena()
  let pool: MemoryPool
  var clients: [Client] = []
  var workload: Workload
  var history = History()
  var side = SideHistory()
  /// At the end: keys that are still to be read, and whether they were listed.
  var finalKeys: [Int] = []
  var hasReadAll = false
  #if DEBUG
    private var firstIDs: [Int: NodeID] = [:]
  #endif
  /// What the nodes seal their datagrams with, if they do.
  let key: BeaconKey?

  /// What a clock reads at a time of the world. Static, since asking a `Host` would copy it.
  static func clock(_ offset: UInt64, _ drift: Int64, _ time: UInt64) -> UInt64 {
    UInt64(Int64(offset + time) + Int64(time) / 1_000_000 * drift)
  }

  /// When a clock will read this, or a little later.
  static func time(_ offset: UInt64, _ drift: Int64, _ clock: UInt64) -> UInt64 {
    guard clock < .max / 2, clock > offset else { return clock <= offset ? 0 : .max }
    let since = Int64(clock - offset)
    return UInt64(since - since / (1_000_000 + drift) * drift + 2 * abs(drift) + 1_000)
  }

  /// A key of a stand-in for HMAC-SHA-256: XXH3 twice, seeded with the secret. Nobody here is out to break it.
  static func key(_ secret: UInt64) -> BeaconKey {
    BeaconKey { bytes in
      BeaconCode(
        first: xxh3(bytes.baseAddress, count: bytes.count, seed: secret),
        last: xxh3(bytes.baseAddress, count: min(bytes.count, 64), seed: ~secret))
    }
  }

  static let port: UInt16 = 3100
  /// Datagrams that wait for a paused host: what a socket's buffer holds.
  static let maximumWaiting = 300
  static let second: UInt64 = 1_000_000_000

  init(_ options: SimulationOptions, pool: MemoryPool, trace: Bool) {
    self.pool = pool
    workload = Workload(options)
    self.options = options
    chance = Chance(seed: options.seed)
    key = options.isKeyed ? World.key(0x5EC2E7) : nil
    let count = options.hosts + options.latecomers
    network = Network(count)
    chances = [Chance](repeating: Chance(seed: 0), count: count)
    checker = Checker(count, options)
    self.trace = Trace(isOn: trace)
    report = SimulationReport(seed: options.seed)
    for number in 0..<count {
      var host = Host()
      if options.drift > 0 { report.faults.driftingClocks += 1 }
      host.drift = options.drift == 0 ? 0 : Int64(chance.below(2 * options.drift + 1) - options.drift)
      host.offset = chance.below(1000 * World.second)
      if options.skew > 0 { host.skew = chance.below(options.skew) }
      hosts.append(host)
      // Those that start together do so within a few milliseconds.
      let start =
        number < options.hosts
        ? chance.below(20_000_000) : chance.below(options.seconds * World.second / 2) + World.second
      queue.push(.start, at: now + start, host: number)
    }
    faultsEnd = now + options.seconds * World.second
    scheduleFate()
    startClients()
  }

  /// Runs one seed to its end or to its first violation.
  package static func run(
    _ options: SimulationOptions, pool: MemoryPool = MemoryPool(), trace: Bool = false
  ) -> SimulationReport {
    var world = World(options, pool: pool, trace: trace)
    world.run()
    return world.report
  }

  private mutating func run() {
    let start = now
    while checker.violation == nil, report.convergence == nil, let event = queue.pop() {
      if event.time > faultsEnd, !isHealing {
        now = faultsEnd
        heal()
        if options.mayLoseMajority { break }
      }
      now = max(now, event.time)
      report.events += 1
      carryOut(event)
    }
    report.nanoseconds = now - start
    if checker.violation == nil { verifyHistory() }
    report.violation = checker.violation
    report.elections = checker.elections
    report.traffic = checker.traffic
    report.leader = leader
    if let violation = checker.violation { trace.add(now, "", "VIOLATION: \(violation)") }
    report.trace = trace.lines
  }

  mutating func carryOut(_ event: Event) {
    let number = Int(event.host)
    switch event.kind {
    case .deliver:
      let datagram = queue.takePayload(event)
      if now < hosts[number].pausedUntil {
        // It waits in the socket's buffer.
        guard hosts[number].waiting < World.maximumWaiting else {
          report.faults.overflowed += 1
          return
        }
        hosts[number].waiting += 1
        return queue.push(
          datagram: datagram, at: hosts[number].pausedUntil, to: number, from: Int(event.from))
      }
      deliver(datagram, to: number, from: Int(event.from))
    case .wake:
      guard event.time == hosts[number].wake, hosts[number].isUp else { return }
      if now < hosts[number].pausedUntil {
        hosts[number].wake = hosts[number].pausedUntil
        return queue.push(.wake, at: hosts[number].wake, host: number)
      }
      if now < hosts[number].slowUntil, !hosts[number].isLate {
        hosts[number].isLate = true
        hosts[number].wake = now + chance.below(hosts[number].slowness)
        return queue.push(.wake, at: hosts[number].wake, host: number)
      }
      hosts[number].isLate = false
      hosts[number].wake = .max
      hosts[number].waiting = 0
      let clock = World.clock(hosts[number].offset, hosts[number].drift, now)
      hosts[number].control!.tick(clock, &chances[number])
      afterStep(number)
    case .start:
      if hosts[number].control == nil, Int(event.detail) == hosts[number].incarnation { start(number) }
    case .fate: strike(event)
    case .stream: arrive(event)
    case .turn: takeTurn(event)
    case .client: act(event)
    }
  }

  // MARK: Hosts

  static func address(_ host: Int) -> PeerAddress { PeerAddress(v4: 0x0A00_0000 + UInt32(host) + 1, port: port) }

  /// The host that has this address.
  static func host(_ address: PeerAddress) -> Int? {
    address.v4.map { Int($0) - 0x0A00_0001 }
  }

  mutating func start(_ number: Int) {
    hosts[number].incarnation += 1
    hosts[number].pausedUntil = 0
    hosts[number].waiting = 0
    hosts[number].isDark = false
    hosts[number].pausesInTurn = 0
    chances[number] = Chance(seed: chance.next())
    let drawn = chance.drawID()
    let identity = NodeIdentity(
      id: identity(number, drawn), name: "n\(number)",
      http: PeerAddress(v4: 0x0A00_0000 + UInt32(number) + 1, port: 3000))
    if hosts[number].incarnation > 1 { report.faults.restarts += 1 }
    if hosts[number].incarnation == 1, number >= options.hosts {
      report.faults.joins += 1
      if isJoining { report.faults.joinsInJoins += 1 }
    }
    hosts[number].control = ControlPlane(
      identity, settings: options.settings, key: key, now: hosts[number].clock(now))
    hosts[number].isUp = true
    if options.cores > 0 {
      hosts[number].machine = Machine(
        hosts[number].control!, options, key: key, wall: wall(number), pool: pool)
      for core in 0..<options.cores { wake(number, core, at: now + 1_000) }
    }
    checker.started(number, identity.id)
    trace.add(now, name(number), "starts as \(identity.id.short)")
    afterStep(number)
  }

  /// Every process is another node ★, but for a planted bug.
  private mutating func identity(_ number: Int, _ drawn: (high: UInt64, low: UInt64)) -> NodeID {
    let fresh = NodeID(high: drawn.high, low: drawn.low)
    #if DEBUG
      if options.replicationMutation == .keepsIdentity {
        if hosts[number].incarnation == 1 { firstIDs[number] = fresh }
        return firstIDs[number] ?? fresh
      }
    #endif
    return fresh
  }

  /// Ends the node on a host, with all it knew.
  mutating func stop(_ number: Int, silently: Bool = false) {
    hosts[number].control = nil
    hosts[number].machine = nil
    hosts[number].isDark = silently
    dropPipes(of: number, silently: silently)
    hosts[number].isUp = false
    hosts[number].wake = .max
    hosts[number].pausedUntil = 0
    checker.stopped(number, now)
  }

  /// A host and its incarnation, for the trace.
  func name(_ number: Int) -> String { "n\(number).\(hosts[number].incarnation)" }

  private mutating func deliver(_ datagram: [UInt8], to number: Int, from: Int) {
    guard hosts[number].isUp else { return }
    let clock = World.clock(hosts[number].offset, hosts[number].drift, now)
    let control = hosts[number].control!
    let isHostile = options.isHostile || hosts[number].incarnation > 1
    let before = isHostile ? control.ignored : IgnoredDatagrams()
    control.receive(datagram, from: World.address(from), clock, &chances[number])
    if isHostile, control.restart == nil {
      checker.delivered(
        datagram, number, control.id, control.ignored, before: before, isOutsiders: from == hosts.count, key, now)
    }
    afterStep(number)
  }

  /// Carries out what a node wants, looks at it, and sets its alarm.
  mutating func afterStep(_ number: Int) {
    if !ambushes.isEmpty { watchAmbushes(number) }
    let control = hosts[number].control!
    swap(&scratch, &control.effects)
    var restart: RestartReason?
    var hasChanged = false
    // Taken from the end, so that none is copied.
    if scratch.count > 1 { scratch.reverse() }
    while let effect = scratch.popLast() {
      switch effect {
      case .send(let address, let datagram):
        checker.sent(datagram, number)
        if let to = World.host(address), hosts.indices.contains(to) { transmit(datagram, from: number, to: to) }
      case .broadcast(let datagram):
        // The network makes as many of it as there are hosts; the sender makes one.
        checker.sent(datagram, number)
        for to in hosts.indices where to != number { transmit(datagram, from: number, to: to) }
      case .event(let event):
        note(event, number)
        if case .lease(true) = event { hasChanged = true }
      case .topologyChanged: hasChanged = true
      case .restart(let reason): restart = reason
      }
    }
    checker.look(at: number, hosts, hasChanged: hasChanged, now)
    if let restart {
      if let machine = hosts[number].machine { return beginStop(number, machine, restart) }
      return end(number, restart)
    }
    if let machine = hosts[number].machine { publish(number, machine) }
    let wake = max(
      World.time(hosts[number].offset, hosts[number].drift, control.deadline), now + 1)
    if wake < hosts[number].wake {
      hosts[number].wake = wake
      queue.push(.wake, at: wake, host: number)
    }
  }

  /// A node that stopped by itself is gone, or begins anew.
  mutating func end(_ number: Int, _ reason: RestartReason) {
    stop(number)
    if reason == .left, isHealing || chance.permille(300) {
      hosts[number].isRetired = true
      return
    }
    queue.push(.start, at: now + chance.below(100_000_000), host: number, detail: hosts[number].incarnation)
  }

  private mutating func note(_ event: ClusterEvent, _ number: Int) {
    checker.event(event, number, hosts[number].control!, now)
    guard trace.isOn else { return }
    let words = Trace.words(event) { checker.name(of: $0) }
    trace.add(now, name(number), words)
  }
}
