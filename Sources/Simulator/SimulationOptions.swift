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
  /// Calendars are up to so many milliseconds ahead of each other.
  package var skew: UInt64 = 0
  /// The nodes share a key; outsiders don't have it.
  package var isKeyed = false
  /// Hosts can't hear each other all when they start.
  package var startsPartitioned = false
  /// Crashes may take a majority: nothing is promised about life then, but all about safety.
  package var mayLoseMajority = false

  // Whole nodes.
  /// Cores of each node; 0 for nodes that are a control plane and nothing else.
  package var cores = 0
  package var limits = SimulationOptions.limits
  /// Clients, the milliseconds one of them rests on the mean, and keys that they use.
  package var clients = 4
  package var think: UInt64 = 20
  package var keys = 10
  /// Keys of a map in mode `cache`, and keys whose values expire.
  package var cachedKeys = 0
  package var mortalKeys = 0
  /// Chance in thousandths of a request that is a batch, and of a read that names the newest revision its client saw.
  package var batches = 0
  package var stickiness = 0
  /// Whether `read=linearizable` is held to its word; otherwise only to what was ever written.
  package var strictReads = true
  /// Nanoseconds until a core's turn at most, once there is something to do.
  package var turn: UInt64 = 20_000
  /// Chance in thousandths of a value that is long, and of a piece of a stream between nodes that is changed or cut.
  package var longValues = 0
  package var streamCorruption = 0
  /// Milliseconds between breaks of connections on the mean; 0 for none.
  package var breaks: UInt64 = 0
  /// The same of times during which clients can't reach a node.
  package var seclusions: UInt64 = 0
  /// The same of ambushes, and of which kind they are; nil for any.
  package var ambushes: UInt64 = 0
  var ambush: Int?
  /// Chance in thousandths that a partition stops only UDP, or only TCP; that a crash takes the whole host, whose
  /// connections stay half open; and that a pause comes between what a turn did and what it says.
  package var oddPartitions = 0
  package var darkness = 0
  package var pausesInTurns = 0

  #if DEBUG
    /// A planted bug, for tests of the checkers.
    package var replicationMutation: ReplicationMutation? {
      didSet { if replicationMutation == .choosesEarly { settings.mutation = .choosesEarly } }
    }
  #endif

  /// A node's limits, with tables for fewer connections.
  package static var limits: Limits {
    var limits = Limits()
    limits.connections = 500
    return limits
  }

  /// Chance in thousandths that one host doesn't come back when the faults end.
  package var sacrifice = 400

  package init(seed: UInt64) { self.seed = seed }

  /// Seeds of control planes alone that once found something, and run with every test.
  package static let kept: [UInt64] = [
    5030, 100000, 100024, 100039, 100117, 100190, 100220, 100221, 100229, 100254, 100296, 200026, 200089, 200103,
    200173,
    200321,
    // A voter that died before it could vote; replicas that died before they were missed; a lease for a member that was
    // removed and came back; more pings for others than bounded; a factor below the number of holders.
    179_529_454_400_239, 179_529_454_400_321, 179_529_454_401_001, 179_529_454_401_050, 179_529_454_401_528,
    // Fate killed one of two that were left of a synced set, since it didn't see what a leader had proposed.
    970178,
    // A voter whose removal only it knew of did not campaign, and the others could elect nobody without it.
    1_010_436,
    // A leader removed one of three voters just when another one died.
    1_021_734,
    // Voters that were leaving: gave up a cluster, which then had too few of them; kept the others from founding one.
    1_061_290, 1_071_523,
    // A voter that held the entry of its own removal voted for nobody who lacked it, as all did whom it could reach.
    179_543_435_700_935, 179_543_435_702_629,
    // One of three copies died, and one gave up a cluster before it knew of its first write: the checker's mistake.
    179_543_435_701_565,
  ]

  /// The same of whole nodes; see `wholeSwarm`.
  package static let keptWhole: [UInt64] = [
    // Owners that were cut off removed what expired; see also `LeaseTests`.
    930149, 1_030_155,
    // A refusal that was remembered for its idempotency key had no sentence at the next owner, which ended.
    1_040_353,
    // A founder ended while the first owners were being named, and was named nevertheless.
    940094,
    // An operation that had come home and waited there forgot that it had been sent on before.
    970197,
    // A partition was activated with more members than its factor, and could never get another one.
    980001,
    // A value expired at an owner that had asked to hand its partition over.
    980095,
    // What a cluster that never took a write had said of a key arrived when its node was in another cluster: the
    // checker's mistake.
    1_300_022,
    // An owner whose log was a copy didn't know which removals it lacked, and brought an older log in step without.
    179_543_435_700_445,
    // A leader took back that a voter was removed, since two had died; one that had been told of it refused its vote.
    179_549_271_300_005,
    // A member was pinged for good where somebody else's copy of its datagram had come from, and never healthy again.
    179_551_198_801_911,
  ]

  /// The same of whole nodes of which clients ask simple things; see `plain`.
  package static let keptPlain: [UInt64] = [
    // A partition that was dropped and filled again took bytes inside a record for the next record.
    700142,
    // A member that was gone and one whose log was of no use kept each other in a synced set.
    700077,
    // A wrong address in the log kept a voter out without which there was no majority to put it right.
    700134,
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
    // Drawn apart, so that older seeds stay what they were.
    var patience = Chance(seed: seed ^ 0xABAD)
    options.settings.abandonAfter = options.settings.evictAfter + [0, 5_000_000_000, 30_000_000_000][patience.below(3)]
    return options
  }

  /// The same with whole nodes and clients, which take longer to simulate: fewer, and for a shorter time.
  package static func wholeSwarm(_ seed: UInt64) -> SimulationOptions {
    var options = swarm(seed)
    var chance = Chance(seed: seed ^ 0xDA7A)
    options.settings.standsInForData = false
    options.cores = chance.permille(200) ? 2 : 1
    options.hosts = min(options.hosts, 5)
    options.latecomers = min(options.latecomers, 2)
    options.seconds = 30
    options.writes = 0
    options.settings.copies = [3, 3, 3, 3, 2, 5, 1][chance.below(7)]
    options.settings.expect = min(options.settings.expect, options.hosts)
    options.clients = 1 + chance.below(6)
    options.think = [2, 20, 20, 100][chance.below(4)]
    options.keys = [1, 3, 5, 10][chance.below(4)]
    options.turn = [2_000, 20_000, 20_000, 300_000][chance.below(4)]
    options.skew = [0, 50, 5000][chance.below(3)]
    if chance.permille(300) { options.longValues = [20, 200][chance.below(2)] }
    if chance.permille(300) { options.streamCorruption = [1, 10][chance.below(2)] }
    if chance.permille(400) { options.breaks = [300, 2000][chance.below(2)] }
    if chance.permille(300) { options.seclusions = 3000 }
    if chance.permille(500) { options.oddPartitions = 400 }
    if chance.permille(500) { options.darkness = 400 }
    if chance.permille(500) { options.pausesInTurns = 500 }
    var more = Chance(seed: seed ^ 0xCAC4E)
    if more.permille(400) { options.cachedKeys = 1 + more.below(3) }
    if more.permille(400) { options.mortalKeys = 1 + more.below(3) }
    if more.permille(400) { options.batches = [50, 300][more.below(2)] }
    if more.permille(500) { options.stickiness = [100, 500][more.below(2)] }
    if more.permille(400) { options.ambushes = [2000, 6000][more.below(2)] }
    return options
  }

  /// The same with the simplest requests and faults only, as older seeds had them.
  package var plain: SimulationOptions {
    var options = self
    (options.cachedKeys, options.mortalKeys, options.batches, options.stickiness) = (0, 0, 0, 0)
    options.ambushes = 0
    return options
  }

  /// Few keys, busy clients and short lives: what brings out faults of the data plane soon.
  package static func harsh(_ seed: UInt64) -> SimulationOptions {
    var options = calmWhole(hosts: 4, seconds: 20, clients: 5, seed: seed)
    options.settings.evictAfter = 2000 * ClusterSettings.millisecond
    options.keys = 4
    options.think = 5
    options.turn = 300_000
    options.delay = 200...5000
    options.tail = 100_000
    options.partitions = 1500
    options.oddPartitions = 400
    options.crashes = 2000
    options.pauses = 2000
    options.pausesInTurns = 300
    options.breaks = 500
    options.darkness = 300
    options.leaves = 6000
    return options
  }

  /// How many kinds of ambushes there are.
  package static var ambushKinds: Int { Ambush.Kind.allCases.count }

  /// Busy clients, and ambushes of one kind: 0 successor, 1 growth, 2 deposed, 3 laggard, 4 shrinkage; see `Ambush`.
  package static func ambushed(_ kind: Int, _ seed: UInt64) -> SimulationOptions {
    var options = calmWhole(hosts: kind == 1 ? 3 : 6, seconds: 25, clients: 6, seed: seed)
    options.settings.evictAfter = 2000 * ClusterSettings.millisecond
    options.keys = 4
    options.think = 5
    options.turn = 300_000
    options.delay = 200...5000
    options.ambushes = 1500
    options.ambush = kind
    if kind == 1 {
      // With one copy each, every move of a partition is a growth from one to two.
      options.settings.copies = 1
      options.latecomers = 2
      options.leaves = 2500
    }
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
    options.settings.abandonAfter = options.settings.evictAfter
    return options
  }

  /// The same with whole nodes and clients.
  package static func calmWhole(
    hosts: Int, seconds: UInt64, clients: Int = 4, seed: UInt64 = 1
  ) -> SimulationOptions {
    var options = calm(hosts: hosts, seconds: seconds, seed: seed)
    options.settings.standsInForData = false
    options.cores = 1
    options.clients = clients
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
  /// Turns of cores, pieces of streams, operations of clients and their answers by status.
  package var turns = 0
  package var segments = 0
  package var operations = 0
  package var answers: [Int: Int] = [:]
  /// The history had a key for which the search took too long.
  package var undecided = 0
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
  /// The invariants of PROTOCOL.
  package enum Invariant: String, CaseIterable, Sendable {
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
    case obeysReactor = "effects name what is there"
    case answersMakeSense = "answers make sense"
    case equalRecords = "equal (partition, epoch, offset) means equal bytes"
    case keepsAcknowledged = "what was acknowledged stays"
    case linearizable = "histories are linearizable"
    case minimumRevision = "who names a revision reads nothing older"
    case freshCopies = "a cached map shows nothing older than what was acknowledged"
    case timesToLive = "a value is there as long as it lives, and no longer"
    case twoHops = "an operation takes two hops at most"
  }

  /// Which one.
  package let invariant: Invariant
  /// Who and what, in words.
  package let detail: String
  /// Simulated nanoseconds.
  package let time: UInt64

  package var description: String { "\(invariant.rawValue): \(detail), at \(Trace.seconds(time))" }
}
