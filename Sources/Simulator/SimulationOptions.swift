import Engine
import Wire

/// What one run of the simulator does. Every option can be drawn from a seed: swarm testing (Groce et al., "Swarm
/// Testing", 2012) finds more by leaving some kinds of fault out of each run than by always having all of them.
package struct SimulationOptions: Sendable {
  /// What everything is drawn from.
  package var seed: UInt64
  /// Hosts that start at the beginning, and those that start later.
  package var hosts = 5
  package var latecomers = 0
  /// Simulated seconds of the phase with faults.
  package var seconds: UInt64 = 60
  package var settings = ClusterSettings()

  // Chances in thousandths for each datagram.
  /// Lost.
  package var loss = 0
  /// Sent twice.
  package var duplication = 0
  /// Changed on the way.
  package var corruption = 0
  /// Followed by an old one.
  package var replay = 0
  /// Followed by one that an outsider made: see `Forgery`.
  package var forgery = 0
  /// Delays in microseconds; one datagram in a hundred takes up to `tail`, which reorders.
  package var delay: ClosedRange<UInt64> = 50...500
  package var tail: UInt64 = 500

  /// Milliseconds between faults on the mean; 0 for none.
  package var partitions: UInt64 = 0
  package var clogs: UInt64 = 0
  package var strandings: UInt64 = 0
  package var crashes: UInt64 = 0
  package var massacres: UInt64 = 0
  package var rolls: UInt64 = 0
  package var pauses: UInt64 = 0
  package var slowness: UInt64 = 0
  package var jumps: UInt64 = 0
  package var leaves: UInt64 = 0
  package var writes: UInt64 = 0
  /// Clocks run up to this many millionths too fast or too slow.
  package var drift = 0
  /// The nodes share a key; outsiders don't have it.
  package var isKeyed = false
  /// Hosts can't hear each other all when they start.
  package var startsPartitioned = false
  /// Crashes may take a majority: nothing is promised about life then, but all about safety.
  package var mayLoseMajority = false

  /// Chance in thousandths that one host doesn't come back when the faults end.
  package var sacrifice = 400

  package init(seed: UInt64) { self.seed = seed }

  /// Seeds that once found something, and run with every test.
  package static let kept: [UInt64] = [
    5030, 100000, 100024, 100039, 100117, 100190, 100220, 100221, 100229, 100254, 100296, 200026, 200089, 200103,
    200173,
    200321,
    // A voter that died before it could vote; replicas that died before they were missed; a lease for a member that was
    // removed and came back; more pings for others than bounded; a factor below the number of holders.
    179_529_454_400_239, 179_529_454_400_321, 179_529_454_401_001, 179_529_454_401_050, 179_529_454_401_528,
  ]

  /// Options drawn from a seed.
  package static func swarm(_ seed: UInt64) -> SimulationOptions {
    var options = SimulationOptions(seed: seed)
    var chance = Chance(seed: seed ^ 0x5EED)
    options.hosts = [1, 2, 3, 3, 4, 5, 5, 5, 6, 7, 9][chance.below(11)]
    options.latecomers = chance.permille(400) ? 1 + chance.below(3) : 0
    options.settings.expect = chance.permille(500) ? 1 : 1 + chance.below(options.hosts)
    options.settings.evictAfter = [2_000, 5_000, 10_000, 30_000][chance.below(4)] * ClusterSettings.millisecond
    if chance.permille(300) {
      options.settings.maximumLog = 24
      options.settings.logTrail = 4
    }
    if chance.permille(600) { options.loss = [5, 20, 50, 100, 200][chance.below(5)] }
    if chance.permille(400) { options.duplication = [5, 50, 200][chance.below(3)] }
    if chance.permille(300) { options.corruption = [2, 20][chance.below(2)] }
    if chance.permille(500) { options.replay = [2, 20][chance.below(2)] }
    let least = [20, 100, 1000, 5000][chance.below(4)] as UInt64
    options.delay = least...least * (1 + chance.below(6 as UInt64))
    options.tail = chance.permille(500) ? [20_000, 100_000, 400_000][chance.below(3)] : options.delay.upperBound
    if chance.permille(600) { options.partitions = [1000, 3000, 8000][chance.below(3)] }
    if chance.permille(600) { options.crashes = [2000, 5000, 12_000][chance.below(3)] }
    if chance.permille(500) { options.pauses = [1000, 4000, 10_000][chance.below(3)] }
    if chance.permille(400) { options.jumps = 5000 }
    if chance.permille(300) { options.leaves = 10_000 }
    if chance.permille(600) { options.writes = 10_000 }
    if chance.permille(600) { options.drift = [200, 2000, 9000][chance.below(3)] }
    options.startsPartitioned = chance.permille(200)
    options.mayLoseMajority = chance.permille(100)
    options.isKeyed = chance.permille(500)
    if chance.permille(400) { options.forgery = [2, 20][chance.below(2)] }
    if chance.permille(300) { options.clogs = [1000, 5000][chance.below(2)] }
    if chance.permille(200) { options.strandings = 8000 }
    if chance.permille(200) { options.massacres = 15_000 }
    if chance.permille(200) { options.rolls = 30_000 }
    if chance.permille(300) { options.slowness = [2000, 8000][chance.below(2)] }
    if chance.permille(200) { options.settings.electionSpread = [10, 100, 1500][chance.below(3)] * 1_000_000 }
    return options
  }

  /// Whether datagrams may come that must be ignored.
  var isHostile: Bool { replay > 0 || corruption > 0 || forgery > 0 || duplication > 0 }

  /// A calm run of some hosts, to measure speed and traffic.
  package static func calm(hosts: Int, seconds: UInt64, seed: UInt64 = 1) -> SimulationOptions {
    var options = SimulationOptions(seed: seed)
    options.hosts = hosts
    options.seconds = seconds
    options.sacrifice = 0
    return options
  }
}

/// What a host sent in a second.
package struct Traffic: Equatable, Sendable {
  /// Datagrams, and their bytes together.
  package var datagrams = 0
  package var bytes = 0
  /// Datagrams by the number of their kind.
  package var kinds: [Int] = []

  package init(datagrams: Int = 0, bytes: Int = 0, kinds: [Int] = []) {
    self.datagrams = datagrams
    self.bytes = bytes
    self.kinds = kinds
  }

  /// What was sent of each kind, in words.
  package var words: String {
    kinds.indices.filter { kinds[$0] > 0 }
      .map { "\(kinds[$0]) \(BeaconKind(rawValue: UInt8($0)).map { "\($0)" } ?? "?")" }.joined(separator: ", ")
  }
}

/// The outcome of one run.
package struct SimulationReport: Sendable {
  /// What everything is drawn from.
  package let seed: UInt64
  /// The first violation; nil when all invariants held and the cluster converged.
  package var violation: Violation?
  /// Simulated time.
  package var nanoseconds: UInt64 = 0
  package var events = 0
  package var datagrams = 0
  package var elections = 0
  /// What each host sent in the last whole second, and which host led at the end.
  package var traffic: [Traffic] = []
  package var leader: Int?
  package var faults = FaultCounts()
  /// How long after the faults ended the cluster was whole; nil when that isn't promised.
  package var convergence: UInt64?
  /// What happened, one line each; empty unless it was asked for.
  package var trace: [String] = []

  init(seed: UInt64) { self.seed = seed }
}

/// An invariant that didn't hold.
package struct Violation: Equatable, Sendable, CustomStringConvertible {
  /// The invariants of PROTOCOL that concern this layer.
  package enum Invariant: String, Sendable {
    case oneLeaderPerTerm = "one leader per term"
    case oneOwnerPerEpoch = "one owner per (partition, epoch)"
    case oneOwnerAtATime = "one owner at a time"
    case versionsGrow = "versions and epochs only grow"
    case committedAgrees = "committed entries agree"
    case topologiesAgree = "topologies agree"
    case noLeaseWithoutQuorum = "no lease without quorum"
    case boundedTraffic = "traffic is bounded"
    case boundedQueues = "queues are bounded"
    case oneFounding = "a node founds one cluster"
    case ignoresStrangers = "a misdirected datagram changes nothing"
    case takesOnce = "a datagram is taken once, and only from its sender"
    case converges = "a healthy core converges"
  }

  /// Which one.
  package let invariant: Invariant
  /// Who and what, in words.
  package let detail: String
  /// Simulated nanoseconds.
  package let time: UInt64

  package var description: String { "\(invariant.rawValue): \(detail), at \(Trace.seconds(time))" }
}
