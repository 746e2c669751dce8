import Wire

/// Which requests wait, because the node doesn't know yet whether it may serve them.
enum ClusterGate: UInt8 {
  /// None.
  case open
  /// Writes: the cluster notes first that it takes writes, which rules out that it dissolves into another.
  case holdsWrites
  /// All that concern keys: the node seeks its cluster, or isn't an active member of it yet.
  case holdsAll
  /// None, but requests for keys are refused: the node has sought for longer than a client should wait.
  case refusesAll
}

/// What a core knows of the cluster, and what it may do by it.
///
/// Whether a write of a partition may happen here now is one byte per partition: it is set for those that this node
/// owns, in a cluster that takes writes. While the node's lease has run out, `writable` points to zeros instead.
struct ClusterStanding: ~Copyable {
  /// nil in a core that was made without a cluster, which may do everything.
  var view: ClusterView?
  var gate = ClusterGate.open
  /// Since when requests wait for the gate, and until when (monotonic nanoseconds); `.max` when none does.
  var patience = UInt64.max
  /// Whether the node may act as an owner: its lease lasts in this turn.
  var hasLease = true
  /// Since it joined, the node held all it should and reached everybody it had to, once.
  var wasReady = false
  /// The cluster was asked to note that it takes writes.
  var hasAskedForWrites = false
  let owned: UnsafeMutablePointer<UInt8>
  let none: UnsafeMutablePointer<UInt8>

  init() {
    owned = .allocate(capacity: partitionCount)
    owned.initialize(repeating: 1, count: partitionCount)
    none = .allocate(capacity: partitionCount)
    none.initialize(repeating: 0, count: partitionCount)
  }

  deinit {
    owned.deallocate()
    none.deallocate()
  }
}

// A core's place in the cluster.
extension Core {
  /// Takes the cluster's newest view; between `beginTurn` and `endTurn`, or before the first turn.
  package mutating func adopt(_ view: ClusterView) {
    runBatch()
    let wasForming = standing.view?.isForming ?? true
    standing.view = view
    isLeaving = view.isLeaving
    let isOpen = view.topology?.isWritten == true && !view.isForming
    let own = isOpen ? view.topology!.slot(of: view.identity.id) : nil
    if let own {
      view.topology!.partitions.withUnsafeBufferPointer { entries in
        for partition in 0..<partitionCount {
          standing.owned[partition] = entries[partition].isActive && entries[partition].owner == own ? 1 : 0
        }
      }
    } else {
      standing.owned.update(repeating: 0, count: partitionCount)
    }
    if let topology = view.topology {
      adopt(topology: topology, me: view.identity.id)
    } else {
      clusterID = FrameID(high: view.cluster.high, low: view.cluster.low)
    }
    if view.isForming {
      if !wasForming || standing.gate == .open { hold(.holdsAll) }
    } else if view.topology?.isWritten == true {
      releaseHeld()
    } else if standing.gate != .holdsWrites {
      releaseHeld()
      standing.gate = .holdsWrites
    }
  }

  /// Whether a write of this partition may happen here now.
  @inline(__always) func mayWrite(_ partition: PartitionID) -> Bool { writable[Int(partition.rawValue)] != 0 }

  /// Takes how long the lease lasts, at the start of a turn.
  @inline(__always)
  mutating func renewLease(until end: UInt64) {
    var hasLease = monotonic < end
    #if DEBUG
      if configuration.mutation == .ignoresLease { hasLease = true }
    #endif
    standing.hasLease = hasLease
    // What the store removes by itself is a write like any other.
    store.isPassive = !hasLease
    writable = UnsafePointer(hasLease ? standing.owned : standing.none)
    if monotonic >= standing.patience { endPatience() }
  }

  // MARK: Waiting for the cluster

  private mutating func hold(_ gate: ClusterGate) {
    standing.gate = gate
    standing.patience = monotonic + UInt64(limits.clusterWait) * 1_000_000
  }

  /// Whoever waited has waited long enough, or in vain since the node goes down: it is told so.
  @inline(never)
  mutating func endPatience() {
    guard standing.gate == .holdsAll || standing.gate == .holdsWrites else { return }
    let wasHoldingAll = standing.gate == .holdsAll
    releaseHeld()
    if wasHoldingAll { standing.gate = .refusesAll }
  }

  /// Lets what waits go on.
  private mutating func releaseHeld() {
    standing.gate = .open
    standing.patience = .max
    standing.hasAskedForWrites = false
    forEachConnection { core, connection in core.unblock(connection) }
  }

  /// Whether a request has to wait for the cluster.
  @inline(never)
  mutating func mustWaitForCluster(_ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>) -> Bool {
    guard standing.gate == .holdsAll || standing.gate == .holdsWrites else { return false }
    let path = UnsafeRawBufferPointer(start: bytes + Int(head.pointee.path.offset), count: Int(head.pointee.path.count))
    switch Resource.route(path) {
    case .key, .batch, .map: break
    default: return false
    }
    if standing.gate == .holdsAll { return true }
    switch head.pointee.method {
    case .get, .head, .options: return false
    default: return mustWaitForWrites()
    }
  }

  /// The same for frames, which may hold reads and writes.
  @inline(never)
  mutating func mustFramesWaitForCluster() -> Bool {
    switch standing.gate {
    case .open, .refusesAll: return false
    case .holdsAll: return true
    case .holdsWrites: return mustWaitForWrites()
    }
  }

  private mutating func mustWaitForWrites() -> Bool {
    // Without a lease it wouldn't be answered, and who goes down asks the cluster for nothing any more.
    guard standing.hasLease, !isShuttingDown else { return false }
    if !standing.hasAskedForWrites {
      standing.hasAskedForWrites = true
      standing.patience = monotonic + UInt64(limits.clusterWait) * 1_000_000
      effects.append(.askForWrites)
    }
    return true
  }

  // MARK: Refusing

  /// Why a write of a partition doesn't happen here.
  @inline(never)
  mutating func refuseWrite(_ operation: UnsafePointer<Operation>) -> Outcome {
    if let staged = operation.pointee.staged { discard(staged) }
    let partition = operation.pointee.key.partition
    let mayKnowMore = standing.gate != .open || routes.table[Int(partition.rawValue)].owner != Routes.own
    if operation.pointee.isForwarded && mayKnowMore { return wrongOwner(partition) }
    guard let view = standing.view, let topology = view.topology, !view.isForming else { return Outcome(seeking) }
    guard standing.hasLease else { return Outcome(cutOff) }
    let entry = topology.partitions[Int(partition.rawValue)]
    guard topology.isWritten else { return Outcome(isShuttingDown ? .goingDown : .notYetWritable) }
    guard entry.isActive, let owner = entry.owner, let member = topology.members[Int(owner)] else {
      return Outcome(topology.isStalled(entry) ? .stalled : .fenced)
    }
    let sentence =
      "Not applied: partition \(partition.rawValue) of this key is owned by \(member.name) at "
      + "\(member.http). Send the write there."
    var outcome = Outcome(Problem(503, ""))
    outcome.value = scratch.copy(Array(sentence.utf8))
    return outcome
  }
}

extension Core {
  /// What a write is told that this node must not take.
  var cutOff: Problem { isWindingDown ? .goingDown : .readOnly }
  /// What a request is told that needs a cluster where there is none.
  var seeking: Problem { isShuttingDown ? .goingDown : .seeking }
}

extension Problem {
  static var seeking: Problem {
    Problem(503, "This node is still looking for its cluster (see /readyz?verbose). Try again shortly.")
  }
  static var readOnly: Problem {
    Problem(
      503,
      """
      Not applied: this node is read-only, since it can't reach a majority of its cluster. Reads still work, and may \
      be stale.
      """
    )
  }
  static var notYetWritable: Problem {
    Problem(503, "Not applied: the cluster has not yet agreed to take writes. Try again shortly.")
  }
  static var stalled: Problem {
    Problem(
      503,
      """
      Not applied: too many of the nodes that hold this key's partition are down to tell what was written last. It \
      waits for them: see partitions in /v1/cluster.
      """
    )
  }
  static var stalledRead: Problem {
    Problem(
      503,
      """
      Too many of the nodes that hold this key's partition are down to tell its value. It waits for them: see \
      partitions in /v1/cluster.
      """
    )
  }
  static var fenced: Problem {
    Problem(503, "Not applied: this key's partition is changing its owner. Try again shortly.", passes: true)
  }
}
