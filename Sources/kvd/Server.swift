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
  func run() throws {
    let log = LogSink(level: settings.logLevel, isJSON: settings.logsJSON)
    LoggingSystem.bootstrap { _ in LineLogHandler(sink: log) }
    let logger = Logger(label: "kvd")
    SignalSource.ignoreBrokenPipes()
    let signals = try SignalSource.block([SIGTERM, SIGINT])
    let backend = try ReactorProbe.choose(settings.io)
    let descriptors = DescriptorLimit.raise()
    let connections = connectionLimit(descriptors, logger)
    let share = memoryShare
    let memory = try MemoryRegion.reserve(share * settings.cores)
    let listener = try Listener.listen(on: settings.http, shared: settings.cores > 1)
    let address = listener.address
    let shared = SharedState(settings: settings, log: log, backend: backend.backend, connectionLimit: connections)
    try shared.prepare(base: memory.base, share: share)
    for core in 1..<max(1, settings.cores) {
      let another = try Listener.another(like: listener)
      try shared.start(core: core, another)
    }
    logger.info(
      "starting",
      metadata: [
        "type": "STARTED", "name": "\(settings.name)", "version": "\(Kvd.version)", "io": "\(backend.backend.rawValue)",
        "reason": "\(backend.reason)", "cores": "\(settings.cores)", "memory": "\(settings.memory)",
      ])
    logger.info("listening", metadata: ["http": "\(address)"])
    try shared.runFirst(listener, signals)
    shared.join()
    logger.info("stopped")
  }

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

  /// Address space of one core, whole huge pages: its share of the memory and once more the whole, since it may receive
  /// the large values of all other cores. What isn't used costs nothing.
  private var memoryShare: Int {
    let page = MemoryRegion.alignment
    let most = (512 << 30) / settings.cores / page * page
    return min(most, (settings.memory / settings.cores + settings.memory + page - 1) / page * page)
  }
}
