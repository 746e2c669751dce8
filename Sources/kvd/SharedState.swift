import Engine
import Glibc
import Reactor
import Synchronization
import Wire

/// What the cores of a node share: settings, wakers, the way down. Everything else belongs to one core.
final class SharedState: @unchecked Sendable {
  let settings: ServerSettings
  let log: LogSink
  let backend: Backend
  /// Connections of the node at most, and now.
  let connectionLimit: Int
  let populator = Populator()
  let connections = Atomic<Int>(0)
  let nodeID: (UInt64, UInt64)
  private(set) var wakers: [Waker] = []
  /// Set once by the core that gets the signal.
  let isStopping = Atomic<Bool>(false)
  /// Cores that have nothing left in flight; all leave together, since each may still serve the others.
  let drained = Atomic<Int>(0)
  /// What the control plane knows, and a number that changes with it: what a core compares at the start of a turn.
  let viewNumber = Atomic<UInt64>(0)
  private let view = Mutex<ClusterView?>(nil)
  /// Until when the node may act as an owner (monotonic nanoseconds).
  let leaseEnd = Atomic<UInt64>(0)
  /// A core has writes that wait for the cluster to note that it takes some.
  let wantsWrites = Atomic<Bool>(false)
  /// Settings of maps that clients asked for, encoded, at most `ClusterLimits.mapRequests`, and whether there are any.
  private let mapRequests = Mutex<[[UInt8]]>([])
  let hasMapRequests = Atomic<Bool>(false)
  /// What each core's partitions want of the control plane, and whether any of it is news.
  private let wishes = Mutex<[[PartitionWish]]>([])
  let hasWishes = Atomic<Bool>(false)
  /// Once stopped, the process starts again as a new node.
  let beginsAnew = Atomic<Bool>(false)
  /// The node stops since it was cut off for too long.
  let isIsolated = Atomic<Bool>(false)

  // Written before the first thread starts, taken by the thread that owns them.
  private var posts: [CorePost] = []
  private var base: UnsafeMutableRawPointer?
  private var configurations: [CoreConfiguration] = []
  private var threads: [Handover<Thread>] = []

  init(settings: ServerSettings, log: LogSink, backend: Backend, connectionLimit: Int) {
    self.settings = settings
    self.log = log
    self.backend = backend
    self.connectionLimit = connectionLimit
    var random = SystemRandomNumberGenerator()
    nodeID = (random.next(), random.next())
  }

  /// Makes wakers, mailboxes and the cores' configurations.
  func prepare(_ plan: MemoryPlan, base: UnsafeMutableRawPointer) throws {
    self.base = base
    if settings.hugePages { try populator.start(base) }
    let count = settings.cores
    for _ in 0..<count { wakers.append(try Waker()) }
    let posts = (0..<count).map { CorePost(core: $0, count: count) }
    for from in 0..<count {
      for to in 0..<count where from != to {
        Mailbox.make(capacity: settings.limits.mailbox * 2).split { writer, reader in
          posts[from].add(writer: writer, to: to)
          posts[to].add(reader: reader, from: from)
        }
      }
    }
    self.posts = posts
    var limits = settings.limits
    limits.connections = connectionLimit
    for core in 0..<count {
      configurations.append(
        CoreConfiguration(
          index: core, count: count, limits: limits, name: settings.name, version: Kvd.version,
          logLevel: settings.logLevel, eviction: settings.eviction, memory: base, memoryCount: plan.count,
          memoryRange: plan.records(core), extents: plan.extents(core), memoryLimit: settings.memory / count,
          nodeID: nodeID, key: settings.cluster.key.map(BeaconKey.init(secret:))))
    }
  }

  /// Gives bytes of the reservation back to the kernel.
  func discard(_ range: Range<Int>) { MemoryRegion.discard(base!, range) }

  /// Runs a core on a thread of its own.
  func start(core: Int, http: consuming Listener, peer: consuming Listener) throws {
    let http = Handover(http)
    let peer = Handover(peer)
    let thread = try Thread.start(name: "kvd-core-\(core)") { [self] in
      do {
        var thread = try coreThread(core)
        thread.run(http: http.take(), peer: peer.take())
      } catch {
        writeError("kvd: core \(core): \(error)\n")
        exit(1)
      }
    }
    threads.append(Handover(thread))
  }

  /// Runs the first core on this thread; it also gets the signals.
  func runFirst(
    http: consuming Listener, peers: consuming PeerSockets, _ control: ControlPlane, _ signals: borrowing SignalSource
  ) throws {
    var thread = try coreThread(0)
    thread.add(signals)
    let peer = peers.listener
    try thread.take(control, peers.datagrams)
    thread.run(http: http, peer: peer)
  }

  /// Waits for the other cores.
  func join() {
    for thread in threads { thread.take().join() }
    threads = []
  }

  /// Makes a view the one that all cores take.
  func publish(_ view: ClusterView) {
    self.view.withLock { $0 = view }
    viewNumber.add(1, ordering: .acquiringAndReleasing)
  }

  /// The newest view and its number; nil before the first.
  func newestView() -> (view: ClusterView, number: UInt64)? {
    view.withLock { view in view.map { ($0, viewNumber.load(ordering: .acquiring)) } }
  }

  /// Takes what a core's partitions want, all of it, for core 0.
  func setWishes(_ new: [PartitionWish], core: Int) {
    wishes.withLock { wishes in
      while wishes.count <= core { wishes.append([]) }
      wishes[core] = new
    }
    hasWishes.store(true, ordering: .releasing)
    if core != 0 { wakers[0].wake() }
  }

  /// Has core 0 ask the cluster for a map's settings.
  func ask(for command: [UInt8]) {
    mapRequests.withLock { if $0.count < ClusterLimits.mapRequests { $0.append(command) } }
    hasMapRequests.store(true, ordering: .releasing)
    wakers[0].wake()
  }

  /// Whether a core has something for the control plane.
  @inline(__always) var hasClusterWork: Bool {
    wantsWrites.load(ordering: .relaxed) || hasWishes.load(ordering: .relaxed)
      || hasMapRequests.load(ordering: .relaxed)
  }

  /// The settings that were asked for since the last time.
  func takeMapRequests() -> [[UInt8]] {
    guard hasMapRequests.load(ordering: .relaxed), hasMapRequests.exchange(false, ordering: .acquiringAndReleasing)
    else { return [] }
    return mapRequests.withLock { requests in
      defer { requests = [] }
      return requests
    }
  }

  /// What all cores' partitions want; nil if that is no news.
  func takeWishes() -> [PartitionWish]? {
    guard hasWishes.load(ordering: .relaxed), hasWishes.exchange(false, ordering: .acquiringAndReleasing) else {
      return nil
    }
    return wishes.withLock { $0.flatMap { $0 } }
  }

  /// Has all cores finish what is in flight and end; for core 0, in whose turn they are told.
  func stop(core: Int) {
    if !isStopping.exchange(true, ordering: .acquiringAndReleasing) { wakeOthers(than: core) }
  }

  /// Wakes every core but one.
  func wakeOthers(than core: Int) {
    for (index, waker) in wakers.enumerated() where index != core { waker.wake() }
  }

  private func coreThread(_ core: Int) throws -> CoreThread {
    var options = LoopOptions(backend: backend)
    options.connections = connectionLimit
    return try CoreThread(
      shared: self, post: posts[core], configuration: configurations[core], options: options, waker: wakers[core])
  }
}

/// Hands a value that can't be copied to another owner, once.
final class Handover<Value: ~Copyable & Sendable>: @unchecked Sendable {
  private var value: Value?

  init(_ value: consuming Value) { self.value = consume value }

  /// The value; asked for once.
  func take() -> Value {
    guard let taken = value.take() else { preconditionFailure("handed over twice") }
    return taken
  }
}
