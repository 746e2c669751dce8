import Engine
import Glibc
import Reactor
import Synchronization
import Wire

/// One core at work: its loop and its engine, and nothing between them but translation. Events become calls of the
/// engine, effects become calls of the loop.
struct CoreThread: ~Copyable {
  private let shared: SharedState
  private let post: CorePost
  private let index: Int
  private var loop: Loop
  private var core: Core
  private var isStopping = false
  private var isAccepting = true
  private var hasDrained = false
  private var hasSignal = false
  /// The control plane; of core 0 alone.
  private var cluster: ClusterNode?
  /// When the control plane wants its turn (monotonic nanoseconds): 0 once it took something in, `.max` on other cores.
  private var clusterDeadline = UInt64.max
  /// Since when it has been left for a turn without answers; 0 once it had one. And for how long it may be.
  private var clusterDue: UInt64 = 0
  private static var clusterLeave: UInt64 { 1_000_000 }
  /// The number of the view that the engine has.
  private var viewNumber: UInt64 = 0
  /// What the loop calls the listener of the `--peer` port.
  private static var peerTag: UInt16 { 1 }
  /// When the pages that only starting needed are unmapped (monotonic nanoseconds); core 0 does that, once.
  private var forgetsAt: UInt64
  private static var startTime: UInt64 { 2_000_000_000 }
  /// When waiting for what is in flight ends (monotonic nanoseconds).
  private var stopDeadline = UInt64.max

  init(
    shared: SharedState, post: CorePost, configuration: CoreConfiguration, options: LoopOptions, waker: Waker
  ) throws {
    self.shared = shared
    self.post = post
    index = configuration.index
    forgetsAt = index == 0 ? Clock.monotonic() + CoreThread.startTime : .max
    loop = try Loop(options, waker: waker)
    core = Core(configuration, wall: Clock.realtime() / 1_000_000)
  }

  /// Has this core get the process's signals.
  mutating func add(_ signals: borrowing SignalSource) { loop.add(signals) }

  /// Has this core run the control plane.
  mutating func take(_ control: ControlPlane, _ datagrams: consuming DatagramSocket) throws {
    let sockets = try ClusterSockets(datagrams, &loop) { [shared] in shared.log.write(.notice, $0, []) }
    cluster = ClusterNode(control, shared, sockets)
    clusterDeadline = 0
  }

  /// Serves until the node has stopped.
  mutating func run(http: consuming Listener, peer: consuming Listener) {
    loop.add(http, tag: 0)
    loop.add(peer, tag: CoreThread.peerTag)
    while !isDone { turn() }
  }

  private mutating func turn() {
    var deadline = min(core.deadline, min(stopDeadline, clusterDeadline))
    if cluster != nil && hasNews { deadline = 0 }
    if isAccepting && core.closesIdle { deadline = 0 }
    if deadline != 0 && post.count > 1 {
      loop.announceSleep()
      if core.hasMail || post.hasMail { deadline = 0 }
    }
    let count = loop.poll(deadline: deadline)
    let now = Clock.monotonic()
    core.beginTurn(
      wall: Clock.realtime() / 1_000_000, monotonic: now, lease: shared.leaseEnd.load(ordering: .acquiring))
    if hasNewView { adoptView() }
    for position in 0..<count { take(loop.events + position) }
    if post.count > 1 { readMail() }
    if shared.isStopping.load(ordering: .acquiring) { stop() }
    core.endTurn()
    carryOut()
    if let wishes = core.takeWishes() { shared.setWishes(wishes, core: index) }
    if now >= clusterDeadline || (cluster != nil && shared.hasClusterWork) { turnClusterUnlessAnswering(now) }
    if post.count > 1 { sendMail() }
    if now >= forgetsAt {
      forgetsAt = .max
      ProgramPages.forget()
    }
    if core.wantsTurnEnd { core.turnEnded(monotonic: Clock.monotonic()) }
    loop.recycle()
  }

  /// Answers of this turn go out before the control plane takes its time; but a busy core has answers in every turn.
  @inline(never)
  private mutating func turnClusterUnlessAnswering(_ now: UInt64) {
    if clusterDue == 0 { clusterDue = now }
    if core.wantsTurnEnd, now < clusterDue + CoreThread.clusterLeave {
      clusterDeadline = 0
    } else {
      clusterDue = 0
      turnCluster(now)
    }
  }

  /// The control plane does what is due, and is asked when it wants its next turn.
  @inline(never)
  private mutating func turnCluster(_ now: UInt64) {
    guard let cluster else { return }
    cluster.turn(&loop, now: now)
    if let counts = cluster.takeCounts(&loop) { core.datagrams = counts }
    clusterDeadline = cluster.deadline
  }

  // MARK: In

  @inline(__always)
  private mutating func take(_ event: UnsafePointer<Event>) {
    let socket = event.pointee.socket
    let id = ConnectionID(index: UInt32(truncatingIfNeeded: socket.index), generation: socket.generation)
    switch event.pointee.kind {
    case .received: core.receive(id, event.pointee.bytes, event.pointee.count)
    case .sent: core.sent(id)
    case .accepted: core.opened(id, isPeer: event.pointee.tag == Self.peerTag, isBeyondLimit: isBeyondLimit())
    case .ended: core.ended(id)
    case .failed: core.failed(id)
    case .closed:
      shared.connections.subtract(1, ordering: .relaxed)
      core.closed(id)
    case .signal: signalled()
    case .datagram:
      clusterDeadline = 0
      cluster?.receive(event, &loop, now: Clock.monotonic())
    case .woken:
      if cluster != nil { clusterDeadline = 0 }
      cluster?.woken()
    case .connected: core.connected(id)
    case .stale, .readable: break
    }
  }

  /// Counts a connection of the node; whether there are too many.
  private func isBeyondLimit() -> Bool {
    shared.connections.add(1, ordering: .relaxed).newValue > shared.connectionLimit
  }

  private mutating func readMail() {
    for other in 0..<post.count where other != index {
      let reader = post.reader(from: other)
      while let message = reader.pointee.next() {
        // Its sender may have acted by a newer view.
        if hasNewView { adoptView() }
        core.receiveMail(message)
      }
      reader.pointee.release()
    }
  }

  /// Whether this core's own last turn left something for all cores to hear of.
  private var hasNews: Bool { hasNewView || (!isStopping && shared.isStopping.load(ordering: .relaxed)) }

  /// Whether the cluster changed since the engine was told.
  @inline(__always) private var hasNewView: Bool { shared.viewNumber.load(ordering: .acquiring) != viewNumber }

  @inline(never)
  private mutating func adoptView() {
    guard let (view, number) = shared.newestView() else { return }
    viewNumber = number
    core.adopt(view)
  }

  // MARK: Out

  @inline(__always)
  private mutating func carryOut() {
    var position = 0
    while position < core.effects.count {
      switch core.effects[position] {
      case .send(let id, let bytes, let count): loop.send(SocketID(id), bytes, count)
      case .sendPair(let id, let head, let count, let tail, let tailCount):
        loop.send(SocketID(id), head: head, count, body: tail, tailCount)
      case .connect(let link, let address): connect(link, address)
      case .abort(let id): loop.resetOnClose(SocketID(id))
      case .shutdownWrite(let id): loop.shutdownWrite(SocketID(id))
      case .close(let id): loop.close(SocketID(id))
      case .pause(let id): loop.pause(SocketID(id))
      case .resume(let id): loop.resume(SocketID(id))
      case .askForWrites:
        shared.wantsWrites.store(true, ordering: .releasing)
        shared.wakers[0].wake()
      case .setMap(let bytes, let count): shared.ask(for: Array(UnsafeRawBufferPointer(start: bytes, count: count)))
      case .receive(let id, let memory, let count): loop.receive(SocketID(id), into: memory, count)
      case .discard(let range): shared.discard(range)
      case .populate(let range): shared.populator.ask(for: range)
      case .log(let level, let bytes, let count):
        shared.log.write(level, fields: UnsafeRawBufferPointer(start: bytes, count: count))
      }
      position &+= 1
    }
    core.effects.removeAll()
  }

  /// Bytes to other nodes that the kernel takes beyond those under way. What a write waits for goes behind no more than
  /// these, also while a newcomer on a slow network gets all that there is.
  private static var unsentOfLink: Int32 { 256 << 10 }

  private mutating func connect(_ link: Int, _ address: PeerAddress) {
    guard let socket = try? loop.connect(SocketAddress(address), unsent: CoreThread.unsentOfLink) else {
      return core.dialFailed(link)
    }
    shared.connections.add(1, ordering: .relaxed)
    core.dialed(link, ConnectionID(index: UInt32(truncatingIfNeeded: socket.index), generation: socket.generation))
  }

  /// Bytes of mail that are moved into a mailbox at once.
  private static var mailPiece: Int { 32 << 10 }

  private mutating func sendMail() {
    for other in 0..<post.count where other != index {
      let writer = post.writer(to: other)
      while let mail = core.outbox(for: other, atMost: CoreThread.mailPiece) {
        guard writer.pointee.write(mail.baseAddress!, count: mail.count) else { break }
        core.posted(to: other, mail.count)
      }
      if writer.pointee.publish() { shared.wakers[other].wakeIfAsleep() }
    }
  }

  // MARK: The way down

  /// The first signal stops the node gently, once the cluster has taken over what it has; a second one at once.
  private mutating func signalled() {
    if hasSignal || cluster == nil {
      shared.stop(core: index)
      core.closeAll()
    } else {
      hasSignal = true
      clusterDeadline = 0
      cluster?.leave(&loop, now: Clock.monotonic())
    }
  }

  private mutating func stop() {
    if !isStopping {
      isStopping = true
      core.beginShutdown()
      stopDeadline = Clock.monotonic() + UInt64(shared.settings.limits.shutdownTimeout) * 1_000_000
    }
    if core.closesIdle && isAccepting {  // and what has connected by now is told to go elsewhere
      isAccepting = false
      loop.stopAccepting()
    }
    if Clock.monotonic() >= stopDeadline {
      core.closeAll()
      stopDeadline = .max
    }
    if !hasDrained && !isAccepting && core.openConnections == 0 {
      hasDrained = true
      shared.drained.add(1, ordering: .acquiringAndReleasing)
      shared.wakeOthers(than: index)
    }
  }

  /// All cores leave together: each may have work of the others until all have drained.
  private var isDone: Bool {
    hasDrained && shared.drained.load(ordering: .acquiring) == post.count
  }
}

extension SocketID {
  /// The reactor's name for one of the engine's connections.
  @inline(__always) fileprivate init(_ id: ConnectionID) { self.init(index: id.index, generation: id.generation) }
}
