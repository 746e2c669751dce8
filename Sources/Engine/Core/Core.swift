import Wire

/// What a core is told when it is made.
package struct CoreConfiguration {
  /// This core, and how many share the node.
  package var index: Int
  package var count: Int
  package var limits: Limits
  package var name: String
  package var version: String
  package var logLevel: LogLevel
  package var eviction: Eviction
  /// The process-wide reservation and its length; this core's parts of it, in bytes from its start: for tables and
  /// small records, and for large values.
  package var memory: UnsafeMutableRawPointer
  package var memoryCount: Int
  package var memoryRange: Range<Int>
  package var extents: Range<Int>?
  /// Bytes of it that this core may use.
  package var memoryLimit: Int
  /// A random number drawn at start: the node's identity.
  package var nodeID: (UInt64, UInt64)
  /// The key that nodes prove to each other; nil where none is shared.
  package var key: BeaconKey?
  #if DEBUG
    /// A planted bug, for tests of the simulator's checkers.
    package var mutation: ReplicationMutation?
  #endif

  package init(
    index: Int, count: Int, limits: Limits, name: String, version: String, logLevel: LogLevel, eviction: Eviction,
    memory: UnsafeMutableRawPointer, memoryCount: Int, memoryRange: Range<Int>, extents: Range<Int>?,
    memoryLimit: Int, nodeID: (UInt64, UInt64), key: BeaconKey? = nil
  ) {
    self.index = index
    self.count = count
    self.limits = limits
    self.name = name
    self.version = version
    self.logLevel = logLevel
    self.eviction = eviction
    self.memory = memory
    self.memoryCount = memoryCount
    self.extents = extents
    self.memoryRange = memoryRange
    self.memoryLimit = memoryLimit
    self.nodeID = nodeID
    self.key = key
  }
}

/// One core's whole server, pure: received bytes, mail and time go in, effects come out.
///
/// A turn is: `beginTurn`, then any number of `opened`, `receive`, `ended`, `failed`, `sent`, `closed` and
/// `receiveMail`, then `endTurn`; the owner carries out `effects` and posts the outboxes. Received bytes must stay
/// unchanged until `endTurn` returns. Requests are gathered into a batch of up to `batchCapacity`: each is parsed and
/// its key hashed and its table slot prefetched as it comes; when the batch runs, all records are prefetched and then
/// each is answered, so that cache and TLB misses of independent requests overlap.
package struct Core: ~Copyable {
  private let anchor = Anchor()
  let index: Int
  let coreCount: Int
  let configuration: CoreConfiguration
  let limits: Limits
  /// Whether each request makes a log line.
  let logsRequests: Bool
  /// The partitions this core owns; a contiguous block.
  let partitions: Range<Int>

  var store: Store
  /// What the turn asks of the world, in order; its owner carries it out and empties it.
  package var effects = EffectBuffer()
  var connections: UnsafeMutablePointer<Connection>
  let connectionCapacity: Int
  /// Entries of `connections` below this are initialised; those above have never been used.
  private var connectionHigh = 0
  /// Connections that were opened and not yet closed.
  package private(set) var openConnections = 0
  var chunks = ChunkPool()
  var scratch = Scratch(capacity: 1 << 20)
  /// Log lines of this turn; valid until the next turn begins.
  var logScratch = Scratch(capacity: 1 << 14)
  var metrics = Metrics()
  var outboxes: [Outbox]
  var gathers: [UInt32: Gather] = [:]
  /// Listings that go on in the next turn.
  var deferredLists: [Gather] = []
  var nextGather: UInt32 = 1
  var maps = MapTable()
  /// Copies of cached values of other nodes, and what is known of other nodes' copies.
  var copies = CopyTable()
  var cacheDesk = CacheDesk()
  /// Settings of maps that the cluster was asked for.
  var pendingSettings: [PendingSettings] = []
  /// The sentence of the refusal made last, where it isn't a fixed one.
  var problemText: [UInt8] = []
  /// The requests of open gaps, kept only when requests are logged.
  var gapRequests: [UnsafeMutablePointer<Chunk>: LoggedRequest] = [:]
  var dedup = Dedup()
  /// The cluster as this core knows it.
  var standing = ClusterStanding()
  /// By partition, whether a write may happen here now; see `ClusterStanding`.
  var writable: UnsafePointer<UInt8>
  /// Whether any partition of this node's has, or should have, copies elsewhere; see `Core+Concern`.
  var isReplicated = false
  #if DEBUG
    var concernDesk: ConcernDesk?
  #endif
  /// The partitions' replication.
  var desk = ReplicationDesk()
  /// Answers that wait for other nodes.
  var waiting = WaitingAnswers()
  /// Whether some partition has another owner than this node, and where each goes then.
  var isRouted = false
  var routes = Routes()
  /// Connections to other nodes; see `Link`. `nextLinkTick` is when to look at them, in monotonic milliseconds.
  var links: [UnsafeMutablePointer<Link>] = []
  var linkConnections = 0
  var nextLinkTick = UInt64.max
  var linkChance: Chance
  /// Answers, of any core, that wait for this core's copies.
  var copyRequests: [CopyRequest] = []
  /// Memory of that list for the next turn, empty.
  var spareCopyRequests: [CopyRequest] = []
  /// What the control plane sent and received, on the core that runs it.
  package var datagrams = DatagramCounts()
  /// Numbers of the data, for whoever compares copies.
  var digests = DataDigests()
  /// Operations that wait for an owner who takes them.
  var held = HeldOperations()
  /// Reads that wait until this core's copy has a revision.
  var deferredReads: [DeferredRead] = []
  /// Operations that another node didn't execute, to be attempted once more.
  var second: [SecondAttempt] = []
  /// The cluster that the node belongs to: itself, as long as it is alone.
  var clusterID: FrameID
  var selfID: FrameID
  /// What the connections of the `--peer` port need beside.
  var frames: FrameBatch

  /// The batch: requests parsed and not yet answered, their heads, and who asked.
  static var batchCapacity: Int { 32 }
  let operations: UnsafeMutablePointer<Operation>
  /// The head of the request that is being taken. Passed on as a pointer: it has 96 bytes, and copying what was just
  /// written byte by byte waits for the store buffer.
  let head: UnsafeMutablePointer<RequestHead>
  let requests: UnsafeMutablePointer<BatchEntry>
  var batchCount = 0
  /// What each operation of the batch needs, fetched ahead.
  let fetches: UnsafeMutablePointer<Fetch>
  /// Heads that clients repeat.
  let templates = HeadTemplates()

  /// Connections with output to flush when the turn ends.
  var dirty: [UInt32] = []
  /// Connections that are in the middle of a body: their next bytes may go straight to where they stay.
  var borrowers: [UInt32] = []
  /// Connections that stopped parsing because of a bound and may go on.
  var blocked: [UInt32] = []

  /// Wall clock in milliseconds since 1970 and monotonic clock in nanoseconds and milliseconds, as of this turn.
  var wall: UInt64 = 0
  var monotonic: UInt64 = 0
  var monotonicMilliseconds: UInt64 { monotonic / 1_000_000 }
  /// The next time connections are looked at for time-outs (monotonic milliseconds).
  var nextSweep = UInt64.max
  /// The `Date` header's 29 bytes and the second they stand for.
  let date: UnsafeMutableRawPointer
  /// What the answers to plain requests are put together from.
  var plainHead = PlainHead()
  private var dateSecond = UInt64.max
  var hasMaintenance = false
  /// Bytes of bodies being collected in memory, over all connections.
  var collectedBytes = 0
  /// How the node goes down; see `Core+Shutdown`.
  var shutdown = Shutdown()
  /// The node leaves its cluster and stops then.
  var isLeaving = false
  /// Whether each answer tells its client to go on elsewhere, so that no request is under way to a node that stops.
  @inline(__always) var isWindingDown: Bool { isShuttingDown || isLeaving }
  let startedAt: UInt64
  /// Bytes of memory out of use that are kept from the kernel at most.
  private let surplusLimit: Int

  /// Makes a core whose clock reads `wall` (milliseconds since 1970).
  package init(_ configuration: CoreConfiguration, wall: UInt64) {
    Metrics.checkInvariants()
    self.configuration = configuration
    index = configuration.index
    coreCount = configuration.count
    limits = configuration.limits
    logsRequests = configuration.logLevel <= .debug
    partitions = Core.partitions(of: configuration.index, count: configuration.count)
    store = Store(
      processBase: configuration.memory, processBytes: configuration.memoryCount, range: configuration.memoryRange,
      partitions: partitions,
      settings: StoreSettings(
        memory: configuration.memoryLimit, eviction: configuration.eviction, maximumValue: configuration.limits.value,
        extents: configuration.extents))
    connectionCapacity = configuration.limits.connections + 1024
    connections = .allocate(capacity: connectionCapacity)
    outboxes = (0..<configuration.count).map { _ in Outbox() }
    operations = .allocate(capacity: Core.batchCapacity)
    requests = .allocate(capacity: Core.batchCapacity)
    fetches = Fetch.allocate(batch: Core.batchCapacity)
    head = .allocate(capacity: 1)
    head.initialize(to: RequestHead())
    frames = FrameBatch(frame: limits.frame)
    date = .allocate(byteCount: 32, alignment: 8)
    startedAt = wall
    selfID = FrameID(high: configuration.nodeID.0, low: configuration.nodeID.1)
    clusterID = selfID
    linkChance = Chance(seed: configuration.nodeID.0 &+ UInt64(configuration.index))
    writable = UnsafePointer(standing.owned)
    surplusLimit = max(32 << 20, configuration.memoryLimit / 8)
  }

  deinit {
    operations.deallocate()
    requests.deallocate()
    Fetch.deallocate(fetches)
    head.deallocate()
    for position in 0..<connectionHigh {
      connections[position].input.removeAll()
      guard let peer = connections[position].peer else { continue }
      peer.deinitialize(count: 1)
      peer.deallocate()
    }
    connections.deallocate()
    date.deallocate()
    plainHead.deallocate()
    for outbox in outboxes { outbox.deallocate() }
    for operation in held.all { operation.deallocate() }
    for link in links {
      link.pointee.freeFrames()
      link.deinitialize(count: 1)
      link.deallocate()
    }
  }

  /// The block of partitions that belongs to a core: contiguous, as equal as can be.
  package static func partitions(of core: Int, count: Int) -> Range<Int> {
    (core * partitionCount / count)..<((core + 1) * partitionCount / count)
  }

  /// The core that owns a partition; the inverse of `partitions(of:count:)`.
  @inline(__always) func core(of partition: PartitionID) -> Int {
    coreCount == 1 ? 0 : ((Int(partition.rawValue) + 1) * coreCount - 1) / partitionCount
  }

  /// Whether this core executes what is asked of a key of this hash.
  @inline(__always) func isHere(_ hash: UInt64) -> Bool {
    coreCount == 1 || core(of: PartitionID(hash: hash)) == index
  }

  // MARK: The turn

  /// Starts a turn at this time.
  ///
  /// - Parameter lease: until when, by the monotonic clock, the node may act as the owner of what it owns.
  package mutating func beginTurn(wall: UInt64, monotonic: UInt64, lease: UInt64 = .max) {
    self.wall = wall
    self.monotonic = monotonic
    let second = wall / 1000
    if second != dateSecond {
      dateSecond = second
      Text.writeHTTPDate(unixSeconds: Int64(second), to: date.assumingMemoryBound(to: UInt8.self))
      plainHead.setDate(date)
    }
    logScratch.reset()
    metrics.count(.turns)
    renewLease(until: lease)
  }

  /// Ends the turn: answers what was gathered, flushes outputs, looks at time-outs, and does a slice of maintenance.
  package mutating func endTurn() {
    runBatch()
    if !deferredLists.isEmpty { runDeferredLists() }
    if !blocked.isEmpty { resumeBlocked() }
    if monotonicMilliseconds >= nextSweep { sweepConnections() }
    if waiting.count > 0 { expireWaiting() }
    if !pendingSettings.isEmpty { finishSettings() }
    if !second.isEmpty { makeSecondAttempts() }
    if !held.isEmpty { retryHeld() }
    if digests.part != nil { addDigests() }
    if !deferredReads.isEmpty { runDeferredReads() }
    if desk.parts != nil { turnReplication() }
    if !copyRequests.isEmpty { settleCopies() }
    if !links.isEmpty { turnLinks() }
    if isShuttingDown && !closesIdle { lookForLast() }
    hasMaintenance = store.maintain(now: wall, budget: 256 << 10)
    if coreCount > 1 { releaseForeign() }
    if !frames.ackDue.isEmpty { writeAcks() }
    sealReply()  // what was answered since the batch; a flush would leave it behind
    flushDirty()
    if !borrowers.isEmpty { lendToBorrowers() }
    if store.surplusBytes > surplusLimit { discardSurplus() }
    if let range = store.takeWanted() { effects.append(.populate(range)) }
  }

  /// What links need once per turn: time, and their frames.
  private mutating func turnLinks() {
    if monotonicMilliseconds >= nextLinkTick { tickLinks() }
    pumpLinks()
    if isShuttingDown { closeLinksAtEnd() }
  }

  /// Gives memory that went out of use back to the kernel, a few areas per turn, when it is much.
  private mutating func discardSurplus() {
    var left = 4
    while left > 0, store.surplusBytes > surplusLimit,
      let range = store.takeDiscardable()
    {
      effects.append(.discard(range))
      left -= 1
    }
  }

  /// Whether the turn answered requests, so that their latency wants the time at its end.
  package var wantsTurnEnd: Bool { metrics.hasTurn }

  /// Notes the latency of this turn's answers: monotonic nanoseconds after its sends were handed over.
  package mutating func turnEnded(monotonic end: UInt64) {
    metrics.endTurn(nanoseconds: end &- monotonic)
  }

  /// When the core wants a turn even if nothing happens: monotonic nanoseconds, `.max` for never.
  package var deadline: UInt64 {
    if hasMaintenance || !deferredLists.isEmpty || !blocked.isEmpty { return 0 }
    if !desk.backlog.isEmpty || digests.part != nil { return 0 }
    var next = min(nextSweep == .max ? UInt64.max : nextSweep * 1_000_000, standing.patience)
    next = min(next, desk.nextTick, desk.nextCatchUp)
    if let wheel = waiting.deadline { next = min(next, wheel * 1_000_000) }
    if nextLinkTick != .max { next = min(next, nextLinkTick * 1_000_000) }
    if !second.isEmpty || !copyRequests.isEmpty || !deferredReads.isEmpty { next = min(next, monotonic + 5_000_000) }
    for pending in pendingSettings { next = min(next, pending.deadline) }
    next = min(next, held.nextTry, shutdown.deadline)
    let expiry = store.nextExpiry
    if expiry != .max {
      // A time to live may outlast what nanoseconds can count (584 years): a day at a time is soon enough to look
      // again.
      let wait = min(expiry > wall ? expiry - wall : 0, 86_400_000)
      next = min(next, monotonic + (wait + 1) * 1_000_000)
    }
    return next
  }

  // MARK: Connections

  /// A connection was accepted, on the `--peer` port or on that for HTTP. One beyond the node's limit is told so and
  /// closed.
  package mutating func opened(_ id: ConnectionID, isPeer: Bool = false, isBeyondLimit: Bool = false) {
    let connection = occupy(id)
    if isPeer { becomePeer(connection) }
    if isShuttingDown {
      fail(connection, .goingDown, route: .other)
    } else if isBeyondLimit || openConnections > limits.connections {
      fail(connection, .tooManyConnections, route: .other)
    }
    schedule(monotonicMilliseconds + UInt64(limits.idleTimeout))
  }

  /// Takes the slot of a new connection.
  mutating func occupy(_ id: ConnectionID) -> UnsafeMutablePointer<Connection> {
    precondition(Int(id.index) < connectionCapacity, "connection index \(id.index) beyond the table")
    while connectionHigh <= Int(id.index) {
      (connections + connectionHigh).initialize(to: .free)
      connectionHigh += 1
    }
    let connection = connections + Int(id.index)
    connection.initialize(to: Connection(id: id, now: monotonicMilliseconds))
    openConnections += 1
    metrics.count(.connectionsOpened)
    return connection
  }

  /// The live connection of this id, or nil when it is gone.
  @inline(__always)
  func connection(_ id: ConnectionID) -> UnsafeMutablePointer<Connection>? {
    guard Int(id.index) < connectionHigh else { return nil }
    let connection = connections + Int(id.index)
    return connection.pointee.id == id && connection.pointee.state != .free ? connection : nil
  }

  /// The client sends no more: what it asked for is still answered.
  package mutating func ended(_ id: ConnectionID) {
    guard let connection = connection(id) else { return }
    runBatch()
    endLoan(connection)
    if connection.pointee.state == .draining { return close(connection) }
    if link(of: connection) != nil { return close(connection) }
    connection.pointee.hasEnded = true
    if connection.pointee.peer != nil { endFrames(connection) }
    markDirty(connection)
  }

  /// The connection broke; nothing can be sent any more.
  package mutating func failed(_ id: ConnectionID) {
    guard let connection = connection(id), connection.pointee.state != .closing else { return }
    runBatch()
    close(connection)
  }

  /// The reactor has nothing of this connection in flight any more; its memory is free.
  package mutating func closed(_ id: ConnectionID) {
    guard let connection = connection(id) else { return }
    runBatch()
    endLoan(connection)
    releaseOutput(connection)
    abandonBody(connection)
    if link(of: connection) != nil {
      unlink(connection)
      linkConnections -= 1
    }
    freePeer(connection)
    connection.pointee.input.removeAll()
    connection.pointee.state = .free
    openConnections -= 1
    metrics.count(.connectionsClosed)
  }

  /// Asks the reactor to reset a connection whose client takes nothing; `closed` follows.
  mutating func abort(_ connection: UnsafeMutablePointer<Connection>) {
    guard connection.pointee.state != .closing else { return }
    effects.append(.abort(connection.pointee.id))
    close(connection)
  }

  /// Asks the reactor to close; `closed` follows.
  mutating func close(_ connection: UnsafeMutablePointer<Connection>) {
    guard connection.pointee.state != .closing else { return }
    connection.pointee.state = .closing
    if connection.pointee.peer != nil { unlink(connection) }
    abandonBody(connection)
    connection.pointee.input.removeAll()
    effects.append(.close(connection.pointee.id))
  }

  /// Visits every connection that isn't free.
  mutating func forEachConnection(_ body: (inout Core, UnsafeMutablePointer<Connection>) -> Void) {
    var index = 0
    while index < connectionHigh {
      let connection = connections + index
      if connection.pointee.state != .free { body(&self, connection) }
      index += 1
    }
  }
}
