/// The times, counts and bounds of the control plane, each with how it was derived. Times are nanoseconds of a clock
/// that counts on while the machine sleeps (CLOCK_BOOTTIME).
package struct ClusterSettings: Equatable, Sendable {
  /// A millisecond.
  package static let millisecond: UInt64 = 1_000_000

  // MARK: Election and leases

  /// Between a leader's heartbeats to a voter; learners get every second one.
  package var heartbeat = 100 * millisecond
  /// How long a voter protects a leader it heard, and the shortest time after which it campaigns: five heartbeats, so
  /// that three may be lost.
  package var electionTimeout = 500 * millisecond
  /// Chance adds up to this much, so that candidates seldom collide.
  package var electionSpread = 300 * millisecond
  /// How long a node may act as an owner after it last asked the leader: six heartbeats of a voter, three of a learner.
  package var lease = 600 * millisecond
  /// How much faster or slower than true time any clock may run, in thousandths. Quartz has 0.1.
  package var drift: UInt64 = 10
  /// What the leader waits beyond a lease's end and the drift.
  package var leaseMargin = 50 * millisecond
  /// Entries of the log from which on the applied ones become a snapshot, and those kept for followers a little behind.
  package var maximumLog = 256
  package var logTrail = 64
  /// Entries sent to a follower ahead of its acknowledgement, and pieces of a snapshot. Small, since one that is lost
  /// has all that follow it sent again, and enough for thousands of entries a second.
  package var window = 8
  package var snapshotWindow = 16

  /// Datagrams a second, to all followers together, that a leader sends besides heartbeats: entries, news of commits,
  /// pieces of snapshots. As many may be saved up. What there is to send goes with the number of members, so this takes
  /// longer in a large cluster rather than more at a time: 2 MB a second at most, and a change of one member, some ten
  /// entries among 200, within a few seconds.
  package var bulkRate: UInt64 = 2000

  // MARK: Membership

  /// Between two pings of the same member.
  package var ping = 100 * millisecond
  /// Pings without an answer until a member is suspected, and until it is unhealthy.
  package var suspectedAfter = 3
  package var unhealthyAfter = 10
  /// Members that ping a member; each pings as many. Eight watch even when half of them are down.
  package var observers = 8
  /// Members that are asked to ping a member that doesn't answer.
  package var indirectProbes = 2

  // MARK: Discovery

  /// Between the beacons of a node that seeks a cluster.
  package var seekerHello = 100 * millisecond
  /// Between the beacons of a member of a small cluster; in a large one they are as much rarer.
  package var memberHello = 1000 * millisecond
  /// Seekers that must see each other before one founds a cluster.
  package var expect = 1
  /// How long they must have seen each other, unchanged: several beacons, so that a node started at the same instant is
  /// heard even when some are lost.
  package var settle = 600 * millisecond
  /// How long a proposal of a founding waits for its promises.
  package var foundingRound = 500 * millisecond
  /// How long a promise binds; over four times a round, so that the proposer has surely given up when it ends.
  package var promise = 2500 * millisecond
  /// A seeker that was silent for this long is gone.
  package var seekerSilence = 1000 * millisecond
  /// How long a join is tried before another cluster is looked for.
  package var joinTimeout = 3000 * millisecond

  // MARK: Planning

  /// How long after its lease a member that others still hear stays up.
  package var downGrace = 1000 * millisecond
  /// How long a member is down before it is removed, if no partition needs what it holds.
  package var evictAfter = 30_000 * millisecond
  /// How long a partition waits, without an owner, for the members that hold it, all of which are down, before they
  /// count as dead and it begins anew, empty. Not before `evictAfter`; at once when others have all of their addresses.
  package var abandonAfter = 600_000 * millisecond
  /// How long no further member must have come until partitions move to new ones; six times that at most.
  package var placementDelay = 500 * millisecond
  /// Copies of each partition that are wanted.
  package var copies: UInt8 = 3
  /// Whether the control plane settles synced sets and owners by itself, because no data plane does: only where it is
  /// simulated alone.
  package var standsInForData = true
  /// How long a member of a cluster never written waits for a leader when it hears a rival cluster, before it gives up.
  package var orphanTimeout = 10_000 * millisecond

  #if DEBUG
    /// A planted bug, for tests of the simulator's checkers.
    package var mutation: Mutation?
  #endif

  package init() {}

  /// Whether the bug is planted. Release builds have no bugs to plant.
  @inline(__always) func has(_ mutation: @autoclosure () -> Mutation) -> Bool {
    #if DEBUG
      return self.mutation == mutation()
    #else
      return false
    #endif
  }

  /// The longest time by a clock that is slow during which `time` passes by a clock that is fast.
  func stretched(_ time: UInt64) -> UInt64 { time + time * 2 * drift / 1000 }
  /// The shortest time by a clock that is fast during which `time` passes by a clock that is slow.
  func shrunk(_ time: UInt64) -> UInt64 { time - time * 2 * drift / 1000 }
}

/// Bugs that tests plant to see the simulator's checkers find them. They exist in debug builds only.
package enum Mutation: UInt8, CaseIterable, Sendable {
  /// A voter votes for everyone who asks.
  case votesTwice
  /// A voter doesn't compare logs.
  case votesForStaleLogs
  /// A voter does without a change of the voters that isn't committed although it is one of those who commit it.
  case doubtsAnyChange
  /// A voter doesn't compare its log with that of the leader it heard last, whatever was added since.
  case trustsOldLeaders
  /// An entry counts as committed as soon as the leader has it.
  case commitsEarly
  /// A follower doesn't check that the entry before the new ones is the leader's.
  case appendsBlindly
  /// A node's lease never ends.
  case leasesForever
  /// The leader doesn't wait for a lease to end.
  case fencesEarly
  /// A leader grants leases without knowing that it still leads.
  case grantsBlindly
  /// A fence doesn't raise the epoch.
  case reusesEpochs
  /// A fence sets an entry's version back.
  case resetsVersions
  /// A change of an entry's replicas doesn't raise its version.
  case keepsVersions
  /// Everybody pings everybody.
  case pingsEverybody
  /// A node promises to every proposal of a founding.
  case promisesTwice
  /// What is lost is never sent again.
  case neverResends
  /// A node accepts datagrams that are meant for another.
  case ignoresDestination
  /// A node takes a datagram as often as it comes, from wherever.
  case takesReplays
  /// A queue forgets its bound.
  case forgetsNothing
  /// A snapshot leaves out where partitions were fenced.
  case losesInSnapshots
  /// One promise is enough to choose a fence's candidate.
  case choosesEarly
}

/// Chance as an argument: SplitMix64 (Steele, Lea and Flood 2014). The process seeds it from the kernel, a simulator
/// from its seed.
package struct Chance: RandomNumberGenerator, Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// A number from 0 to below `bound`; 0 if that is 0. The bias is below bound / 2^64.
  package mutating func below(_ bound: UInt64) -> UInt64 { bound == 0 ? 0 : next().multipliedFullWidth(by: bound).high }

  /// A number from 0 to below `bound`.
  package mutating func below(_ bound: Int) -> Int { Int(below(UInt64(bound))) }

  /// True with this probability in thousandths.
  package mutating func permille(_ probability: Int) -> Bool { below(1000) < probability }

  /// A fresh 128-bit id.
  package mutating func drawID() -> (high: UInt64, low: UInt64) { (next() | 1, next()) }
}
