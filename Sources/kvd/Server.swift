import Engine
import Glibc
import Logging
import Reactor
import Wire

/// One node: everything that is shared by its cores, made before the first of them starts.
struct Server {
  let settings: ServerSettings

  init(_ settings: ServerSettings) { self.settings = settings }

  /// Runs until a signal says stop; returns after what was in flight is finished.
  func run() throws -> ServerEnding {
    let log = LogSink(level: settings.logLevel, isJSON: settings.logsJSON)
    LoggingSystem.bootstrap { _ in LineLogHandler(sink: log) }
    let logger = Logger(label: "kvd")
    SignalSource.ignoreBrokenPipes()
    let signals = try SignalSource.block([SIGTERM, SIGINT])
    let backend = try ReactorProbe.choose(settings.io)
    let descriptors = DescriptorLimit.raise()
    let connections = connectionLimit(descriptors, logger)
    let plan = MemoryPlan(memory: settings.memory, cores: settings.cores)
    let memory = try MemoryRegion.reserve(plan.count, hugePages: 0..<(settings.hugePages ? plan.extentsStart : 0))
    let listener = try Listener.listen(on: settings.http, shared: settings.cores > 1)
    let peers = try PeerSockets.listen(settings)
    let address = listener.address
    let peerAddress = peers.listener.address
    let shared = SharedState(settings: settings, log: log, backend: backend.backend, connectionLimit: connections)
    try shared.prepare(plan, base: memory.base)
    let control = ClusterNode.control(shared, http: address)
    shared.publish(ClusterView(control))
    for core in 1..<max(1, settings.cores) {
      let another = try Listener.another(like: listener)
      let anotherPeer = try Listener.another(like: peers.listener)
      try shared.start(core: core, http: another, peer: anotherPeer)
    }
    logger.info(
      "starting",
      metadata: [
        "type": "STARTED", "name": "\(settings.name)", "version": "\(Kvd.version)", "io": "\(backend.backend.rawValue)",
        "reason": "\(backend.reason)", "cores": "\(settings.cores)", "memory": "\(settings.memory)",
      ])
    logger.info("listening", metadata: ["http": "\(address)", "peer": "\(peerAddress)"])
    try shared.runFirst(http: listener, peers: peers, control, signals)
    shared.join()
    logger.info("stopped")
    if shared.beginsAnew.load(ordering: .acquiring) { return .beginsAnew(http: address, peer: peerAddress) }
    return shared.isIsolated.load(ordering: .acquiring) ? .isolated : .stopped
  }
}

/// Why a node's run ended, in good order.
enum ServerEnding {
  /// A signal said so.
  case stopped
  /// It was cut off from its cluster for as long as `--exit-when-isolated` says.
  case isolated
  /// Its cluster goes on without it: it is to be a new node, on the same addresses.
  case beginsAnew(http: SocketAddress, peer: SocketAddress)
}

/// What a node has on its `--peer` address: connections and datagrams.
struct PeerSockets: ~Copyable {
  let listener: Listener
  let datagrams: DatagramSocket

  /// TCP and UDP on the same port; if any port will do, one that is free for both.
  static func listen(_ settings: ServerSettings) throws -> PeerSockets {
    var attempts = settings.peer.port == 0 ? 20 : 1
    while true {
      let listener = try Listener.listen(on: settings.peer, shared: settings.cores > 1)
      attempts -= 1
      do throws(ReactorError) {
        let datagrams = try DatagramSocket.bind(
          to: listener.address, patience: settings.peer.port == 0 ? 0 : 500_000_000)
        return PeerSockets(listener: listener, datagrams: datagrams)
      } catch {
        guard error.kind == .addressInUse, attempts > 0 else { throw error }
      }
    }
  }
}

extension Server {

  /// Connections of the node: the limit, as far as descriptors go.
  private func connectionLimit(_ descriptors: DescriptorLimit, _ logger: Logger) -> Int {
    let wanted = settings.limits.connections
    let possible = max(16, descriptors.count - 32 - 8 * settings.cores)
    if possible < wanted {
      logger.notice(
        "fewer connections than limits.connections: the limit on open files (ulimit -n) allows no more",
        metadata: ["connections": "\(possible)", "files": "\(descriptors.count)"])
    }
    return min(wanted, possible)
  }
}

/// How the reservation is divided: first every core's zone for tables and small records, then every core's zone for
/// large values. Address space that isn't used costs nothing.
struct MemoryPlan {
  private let cores: Int
  private let recordBytes: Int
  private let extentBytes: Int

  init(memory: Int, cores: Int) {
    let area = MemoryRegion.alignment
    let share = memory / cores
    self.cores = cores
    // Twice the share, since a run of pages takes an aligned hole of up to twice its size: else values of a size that
    // fits its holes badly would find no room long before the limit, where even a removal that waits behind one that
    // was written already would find none.
    recordBytes = (2 * share + area) / area * area
    // A core may receive the large values of all others, and each may take twice its size in address space.
    let most = ((512 << 30) / cores - recordBytes) / area * area
    extentBytes = min(most, (2 * (share + memory) + area) / area * area)
  }

  /// Where the zones for large values begin, and where all end.
  var extentsStart: Int { recordBytes * cores }
  var count: Int { (recordBytes + extentBytes) * cores }

  /// A core's zone for tables and small records.
  func records(_ core: Int) -> Range<Int> { core * recordBytes..<(core + 1) * recordBytes }

  /// A core's zone for large values.
  func extents(_ core: Int) -> Range<Int> {
    extentsStart + core * extentBytes..<extentsStart + (core + 1) * extentBytes
  }
}
