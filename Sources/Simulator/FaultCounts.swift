/// How many faults of each kind were injected.
package struct FaultCounts: Equatable, Sendable {
  package init() {}

  // MARK: Datagrams

  /// Each as `named` words it.
  package var lost = 0
  package var duplicated = 0
  package var corrupted = 0
  package var truncated = 0
  package var replayed = 0
  package var replayedToSuccessors = 0
  package var forged = 0
  package var reordered = 0
  package var clogged = 0
  package var swallowed = 0
  package var overflowed = 0

  // MARK: Links

  /// Each as `named` words it.
  package var symmetricPartitions = 0
  package var oneWayPartitions = 0
  package var intransitivePartitions = 0
  package var isolations = 0
  package var flaps = 0
  package var strandings = 0
  package var clogs = 0
  package var splitFoundings = 0

  // MARK: Streams

  /// Each as `named` words it.
  package var retransmissions = 0
  package var truncatedStreams = 0
  package var corruptedStreams = 0
  package var brokenStreams = 0
  package var streamPartitions = 0
  package var datagramPartitions = 0
  package var clientCuts = 0
  package var darkHosts = 0
  package var pausesInTurns = 0
  package var ambushes = 0

  // MARK: Processes

  /// Each as `named` words it.
  package var crashes = 0
  package var leaderCrashes = 0
  package var crashesInTransfers = 0
  package var crashesInJoins = 0
  package var minorityLosses = 0
  package var majorityLosses = 0
  package var lossesOfAll = 0
  package var restarts = 0
  package var quickRestarts = 0
  package var rollingRestarts = 0
  package var pauses = 0
  package var longPauses = 0
  package var slowHosts = 0
  package var jumps = 0
  package var driftingClocks = 0
  package var leaves = 0
  package var leavesInJoins = 0
  package var joins = 0
  package var joinsInJoins = 0

  /// Adds another run's.
  package static func += (a: inout FaultCounts, b: FaultCounts) {
    for path in FaultCounts.named { a[keyPath: path.path] += b[keyPath: path.path] }
  }

  /// All kinds by name.
  package static var named: [(name: String, path: WritableKeyPath<FaultCounts, Int>)] {
    [
      ("lost", \.lost),
      ("duplicated", \.duplicated),
      ("corrupted", \.corrupted),
      ("truncated", \.truncated),
      ("replayed", \.replayed),
      ("replayed to a successor", \.replayedToSuccessors),
      ("forged", \.forged),
      ("overtaken", \.reordered),
      ("held back and released in any order", \.clogged),
      ("swallowed by partitions", \.swallowed),
      ("lost in a full queue", \.overflowed),
      ("symmetric partitions", \.symmetricPartitions),
      ("one-way partitions", \.oneWayPartitions),
      ("non-transitive partitions", \.intransitivePartitions),
      ("isolations", \.isolations),
      ("flapping partitions", \.flaps),
      ("leaders stranded with one node", \.strandings),
      ("clogged links", \.clogs),
      ("foundings in a partitioned network", \.splitFoundings),
      ("pieces of streams that had to be sent again", \.retransmissions),
      ("streams cut off in a frame", \.truncatedStreams),
      ("streams changed on the way", \.corruptedStreams),
      ("connections reset", \.brokenStreams),
      ("partitions of TCP alone", \.streamPartitions),
      ("partitions of UDP alone", \.datagramPartitions),
      ("nodes out of clients' reach", \.clientCuts),
      ("hosts gone dark, connections half open", \.darkHosts),
      ("pauses between deed and word", \.pausesInTurns),
      ("ambushes for partitions", \.ambushes),
      ("crashes", \.crashes),
      ("crashes of leaders", \.leaderCrashes),
      ("crashes during a transfer", \.crashesInTransfers),
      ("crashes during a join", \.crashesInJoins),
      ("losses of as many as can be spared", \.minorityLosses),
      ("losses of a majority", \.majorityLosses),
      ("losses of all", \.lossesOfAll),
      ("restarts on the same address", \.restarts),
      ("restarts faster than detection", \.quickRestarts),
      ("rolling restarts", \.rollingRestarts),
      ("pauses", \.pauses),
      ("pauses over a lease", \.longPauses),
      ("slow hosts", \.slowHosts),
      ("clock jumps", \.jumps),
      ("drifting clocks", \.driftingClocks),
      ("leaves", \.leaves),
      ("leaves during a join", \.leavesInJoins),
      ("joins of newcomers", \.joins),
      ("joins during a join", \.joinsInJoins),
    ]
  }
}
