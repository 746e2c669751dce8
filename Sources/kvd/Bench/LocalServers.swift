import Glibc
import Reactor

/// Nodes that `kvd bench --servers` starts on this machine, of this very program, and ends with itself.
///
/// They have one core each and nothing else set, and no nodes beside each other know of each other unless the network
/// tells them.
struct LocalServers: ~Copyable {
  private(set) var pids: [Int] = []
  private(set) var clients: [SocketAddress] = []
  private(set) var peers: [SocketAddress] = []
  /// Nanoseconds from the start of the first to the readiness of all.
  private(set) var stableAfter: UInt64 = 0

  private static let patience: UInt64 = 30_000_000_000

  /// Starts them and waits until all are ready.
  ///
  /// - Throws: `LoadFailure` or `ReactorError` if one doesn't start, or isn't ready in time.
  init(_ count: Int) throws {
    let began = Clock.monotonic()
    do {
      for _ in 0..<count { try start() }
      for address in clients { try waitUntilReady(address, deadline: began + LocalServers.patience) }
    } catch {
      stop()
      throw error
    }
    stableAfter = Clock.monotonic() - began
  }

  deinit { stop() }

  private borrowing func stop() {
    for pid in pids { kill(pid_t(pid), SIGTERM) }
    for pid in pids { waitpid(pid_t(pid), nil, 0) }
  }

  private mutating func start() throws {
    let (http, peer) = (try LocalServers.freePort(), try LocalServers.freePort())
    let arguments = [
      "kvd", "serve", "--http", "127.0.0.1:\(http)", "--peer", "127.0.0.1:\(peer)", "--cores", "1", "--log-level",
      "error", "--cluster", "bench-\(getpid())-\(http)",
    ]
    var pid: pid_t = 0
    var words = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    // The signals this process has blocked are to reach the servers.
    var attributes = posix_spawnattr_t()
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    let code = posix_spawn(&pid, "/proc/self/exe", nil, &attributes, &words, environ)
    guard code == 0 else { throw LoadFailure(description: "a server can't be started: \(describe(errno: code))") }
    pids.append(Int(pid))
    clients.append(try SocketAddress.parse("127.0.0.1:\(http)"))
    peers.append(try SocketAddress.parse("127.0.0.1:\(peer)"))
  }

  private borrowing func waitUntilReady(_ address: SocketAddress, deadline: UInt64) throws {
    while true {
      if let answer = try? Target("http://\(address)/readyz").request("GET"), answer.status == 200 { return }
      for pid in pids where waitpid(pid_t(pid), nil, WNOHANG) != 0 {
        throw LoadFailure(description: "a server that was started has ended")
      }
      guard Clock.monotonic() < deadline else { throw LoadFailure(description: "\(address) isn't ready after 30 s") }
      usleep(500)
    }
  }

  /// A port that nobody listens on at the moment.
  private static func freePort() throws -> UInt16 {
    try Listener.listen(on: SocketAddress.parse("127.0.0.1:0")).address.port
  }
}
