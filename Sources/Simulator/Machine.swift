import Engine
import Wire

/// What the cores of one simulated process are, beside its control plane: what `CoreThread`, `SharedState` and
/// `ClusterNode` are in the real one, with the same order of steps.
final class Machine {
  /// What a core's next turn is told, in order; the bytes are those of the kernel's buffer.
  enum Input {
    case opened(ConnectionID, isPeer: Bool)
    case bytes(ConnectionID, [UInt8])
    case sent(ConnectionID)
    case ended(ConnectionID)
    case failed(ConnectionID)
    case closed(ConnectionID)
    case connected(ConnectionID)
  }

  /// A connection's place in the world.
  struct Socket {
    var generation: UInt32
    var pipe: Int
    var side: Int
    /// The core gave it up; its name is free once it has heard that nothing is in flight any more.
    var isClosing = false
    /// The core gave bytes and hasn't heard yet that they have left: it must give no others.
    var isSending = false
  }

  /// What belongs to one core.
  struct Seat {
    var inbox: [Input] = []
    var inboxBytes = 0
    /// Something waits for room in it.
    var isFull = false
    /// When its next turn is, and when it was last.
    var turn = UInt64.max
    var adopted = 0
    /// By index of the connection; nil where none is.
    var sockets: [Socket?] = []
    var free: [UInt32] = []
    var wishes: [PartitionWish] = []
    /// Messages from each other core.
    var mail: [[[UInt8]]]
  }

  let cores: UnsafeMutablePointer<Core>
  let count: Int
  var seats: [Seat]
  private let memory: MemoryBlock
  private let pool: MemoryPool

  /// Partitions that its cores took writes of when they adopted the view last.
  var owned = PartitionSet()

  /// What the cores are told of the cluster, as it was published last.
  var view: ClusterView
  var viewNumber = 1
  var told: Told
  var nextNews: UInt64 = 0
  var leaseEnd: UInt64 = 0
  var wantsWrites = false
  /// Settings of maps that clients asked for.
  var maps: [MapEntry] = []
  var hasWishes = false
  /// The process ends when its cores have drained, or at this time.
  var isStopping = false
  var reason = RestartReason.left
  var stopDeadline = UInt64.max
  var generation: UInt32 = 0
  /// Connections that stand or are being made.
  var connections = 0

  /// What decides what a node may do; see `ClusterView.isDecisive`.
  struct Told {
    private let cluster: ClusterID
    private let version: UInt64?
    private let term: Term
    private let role: Raft.Role
    private let leader: NodeID?
    private let isLeaving: Bool

    init(_ control: borrowing ControlPlane) {
      cluster = control.cluster
      version = control.topologyVersion
      term = control.standing.term
      role = control.standing.role
      leader = control.standing.leader
      isLeaving = control.isLeaving
    }

    func agrees(_ standing: ControlPlane.Standing, version: UInt64?, cluster: ClusterID, isLeaving: Bool) -> Bool {
      self.version == version && term == standing.term && role == standing.role && leader == standing.leader
        && self.cluster == cluster && self.isLeaving == isLeaving
    }
  }

  init(
    _ control: borrowing ControlPlane, _ options: SimulationOptions, key: BeaconKey?, wall: UInt64,
    pool: MemoryPool
  ) {
    let count = options.cores
    self.count = count
    self.pool = pool
    memory = pool.take()
    cores = .allocate(capacity: count)
    seats = (0..<count).map { _ in Seat(mail: [[[UInt8]]](repeating: [], count: count)) }
    view = ClusterView(control)
    told = Told(control)
    let share = MemoryBlock.count / (2 * count)
    for core in 0..<count {
      var configuration = CoreConfiguration(
        index: core, count: count, limits: options.limits, name: control.identity.name, version: "0.0.0",
        logLevel: .error, eviction: .none, memory: memory.base, memoryCount: MemoryBlock.count,
        memoryRange: core * share..<(core + 1) * share,
        extents: (count + core) * share..<(count + core + 1) * share, memoryLimit: share / 2,
        nodeID: (control.id.high, control.id.low), key: key)
      #if DEBUG
        configuration.mutation = options.replicationMutation
      #endif
      (cores + core).initialize(to: Core(configuration, wall: wall))
    }
  }

  deinit {
    cores.deinitialize(count: count)
    cores.deallocate()
    pool.give(memory)
  }

  /// The core that has a partition.
  func core(of partition: Int) -> Int {
    count == 1 ? 0 : (0..<count).first { cores[$0].executes(partition) }!
  }

  /// Notes what a core takes writes of.
  func noteOwned(_ core: Int) {
    for partition in Core.partitions(of: core, count: count) {
      if cores[core].takesWrites(partition) { owned.insert(partition) } else { owned.remove(partition) }
    }
  }

  /// Whether the node would take a write of a partition at a reading of its clock. A core that hasn't heard the news
  /// yet hears it before it does anything else.
  func takesWrites(_ partition: Int, _ clock: UInt64) -> Bool {
    let core = core(of: partition)
    return clock < leaseEnd && seats[core].adopted == viewNumber && cores[core].takesWrites(partition)
  }

  // MARK: Sockets

  /// The name of a new connection of a core.
  func occupy(_ core: Int, pipe: Int, side: Int) -> ConnectionID {
    generation += 1
    connections += 1
    let socket = Socket(generation: generation, pipe: pipe, side: side)
    let index: UInt32
    if let free = seats[core].free.popLast() {
      index = free
      seats[core].sockets[Int(index)] = socket
    } else {
      index = UInt32(seats[core].sockets.count)
      seats[core].sockets.append(socket)
    }
    return ConnectionID(index: index, generation: generation)
  }

  /// Where a connection of a core is; nil when the core gave it up.
  func socket(_ id: ConnectionID, _ core: Int) -> Socket? {
    guard Int(id.index) < seats[core].sockets.count, let socket = seats[core].sockets[Int(id.index)],
      socket.generation == id.generation, !socket.isClosing
    else { return nil }
    return socket
  }

  /// Nothing of a connection is in flight any more.
  func vacate(_ id: ConnectionID, _ core: Int) {
    seats[core].sockets[Int(id.index)] = nil
    seats[core].free.append(id.index)
    connections -= 1
  }
}

/// The memory of one process. Its pages cost nothing until they are touched, and a seed after another touches the same.
package final class MemoryBlock {
  static let count = 64 << 20
  let base: UnsafeMutableRawPointer

  init() { base = .allocate(byteCount: MemoryBlock.count, alignment: 4096) }
  deinit { base.deallocate() }
}

/// Memory that processes of the past have left behind, for those to come.
package final class MemoryPool {
  private var free: [MemoryBlock] = []

  package init() {}

  func take() -> MemoryBlock { free.popLast() ?? MemoryBlock() }
  func give(_ block: MemoryBlock) { free.append(block) }
}
