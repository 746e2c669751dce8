import Glibc
import Testing

@testable import Reactor

@Suite("Addresses and listeners") struct ListenerTests {
  @Test(
    "an address is read in all its forms",
    arguments: [
      ("0.0.0.0:3000", "0.0.0.0:3000"), ("127.0.0.1:0", "127.0.0.1:0"), ("[::]:3000", "[::]:3000"),
      ("[::1]:65535", "[::1]:65535"), ("localhost:3000", "127.0.0.1:3000"), (":3000", "0.0.0.0:3000"),
      ("3000", "0.0.0.0:3000"),
    ])
  func parse(_ text: String, _ expected: String) throws {
    #expect(try SocketAddress.parse(text).description == expected)
  }

  @Test(
    "bad text is refused with a sentence",
    arguments: [
      "", ":", "host", "1.2.3.4", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:65536", "1.2.3.4:-1", "::1:3000", "[::1]",
      "[::1]3000",
      "[]:1", "[1.2.3.4]:1", "[::1]:", "a b:1", "1.2.3.4:+1", "1.2.3.4:000001", "\u{0}:1", "[::1:3000",
    ])
  func refuse(_ text: String) {
    let error = #expect(throws: ReactorError.self) { try SocketAddress.parse(text) }
    #expect(error?.kind == .badAddress)
    #expect(error?.sentence.contains("\"\(text)\"") == true)
  }

  @Test("an unknown host is said to be unknown")
  func unknown() {
    let error = #expect(throws: ReactorError.self) { try SocketAddress.parse("no-such-host.invalid:1") }
    #expect(error?.kind == .unknownHost)
  }

  @Test("a port in use is noticed, also by a group that shares its port", arguments: [false, true], [false, true])
  func inUse(_ firstShares: Bool, _ secondShares: Bool) throws {
    let first = try Listener.listen(on: try SocketAddress.parse("127.0.0.1:0"), shared: firstShares)
    let address = first.address
    #expect(address.port != 0)
    let error = #expect(throws: ReactorError.self) {
      _ = try Listener.listen(on: address, shared: secondShares, patience: 0)
    }
    #expect(error?.kind == .addressInUse)
    #expect(error?.sentence.contains(address.description) == true)
    withExtendedLifetime(first.descriptor) {}
  }

  @Test("a group's listeners share one port, and a freed port can be taken again")
  func group() throws {
    let address: SocketAddress
    do {
      let first = try Listener.listen(on: try SocketAddress.parse("127.0.0.1:0"), shared: true)
      let second = try Listener.another(like: first)
      let third = try Listener.another(like: first)
      address = first.address
      #expect(second.address == address && third.address == address)
      // The kernel spreads connections: none of the three gets all of 60.
      let clients = try (0..<60).map { _ in try Client(address) }
      for descriptor in [first.descriptor, second.descriptor, third.descriptor] {
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        var count = 0
        while true {
          let accepted = accept(descriptor, nil, nil)
          if accepted < 0 { break }
          Glibc.close(accepted)
          count += 1
        }
        #expect(count > 0 && count < 60)
      }
      for client in clients { client.close() }
    }
    #expect(try Listener.listen(on: address).address == address)
  }

  @Test("a port that is about to be given up is waited for")
  func patience() throws {
    let first = try Listener.listen(on: try SocketAddress.parse("127.0.0.1:0"))
    let address = first.address
    let thread = try Thread.start(name: "waits") {
      #expect(throws: Never.self) { _ = try Listener.listen(on: address, patience: 20_000_000_000) }
    }
    Glibc.close(first.take())
    thread.join()
  }

  @Test("an address of another machine and a port without the right to it are told apart")
  func refusals() throws {
    let error = #expect(throws: ReactorError.self) {
      // TEST-NET-1 (RFC 5737): nobody's address.
      _ = try Listener.listen(on: try SocketAddress.parse("192.0.2.1:0"))
    }
    #expect(error?.kind == .addressNotAvailable)
  }
}

@Suite("Memory, processors and threads") struct SystemTests {
  @Test("a region is aligned, zeroed, and costs nothing until it is touched")
  func region() throws {
    let region = try MemoryRegion.reserve(1 << 36)
    #expect(UInt(bitPattern: region.base) % UInt(MemoryRegion.alignment) == 0)
    let bytes = region.base.assumingMemoryBound(to: UInt8.self)
    bytes[0] = 1
    bytes[(1 << 36) - 1] = 2
    bytes[1 << 20] = 3
    region.discard(1..<(1 << 36) - 1)
    // Only whole pages go back: the bytes at both ends stay.
    #expect(bytes[0] == 1 && bytes[(1 << 36) - 1] == 2 && bytes[1 << 20] == 0)
    region.discard(0..<1 << 36)
    #expect(bytes[0] == 0)
  }

  @Test("a region that can't be had is refused with the limits to look at")
  func impossibleRegion() {
    for bytes in [1 << 60, Int.max] {
      let error = #expect(throws: ReactorError.self) { _ = try MemoryRegion.reserve(bytes) }
      #expect(error?.kind == .outOfResources)
      #expect(error?.sentence.contains("ulimit -v") == true)
    }
  }

  @Test("a quota of processors is read from both versions of control groups")
  func quota() {
    let files = [
      "/sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "/sys/fs/cgroup/a/cpu.max": "150000 100000\n",
      "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "50000\n", "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
      "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    ]
    #expect(ControlGroup.quota(membership: "0::/a/b\n") { files[$0] } == 1.5)
    #expect(ControlGroup.quota(membership: "0::/\n") { files[$0] } == nil)
    #expect(ControlGroup.quota(membership: "4:cpu,cpuacct:/x\n0::/\n") { files[$0] } == 0.5)
    #expect(ControlGroup.quota(membership: "nonsense\n::\n1:cpu\n") { _ in "more nonsense" } == nil)
    #expect(ControlGroup.version2("0 100000") == nil)
    #expect(Processors(allowed: [0, 1, 2, 3], quota: 1.5).usable == 2)
    #expect(Processors(allowed: [3], quota: nil).usable == 1)
    #expect(Processors(allowed: [0, 1], quota: 0.1).usable == 1)
    #expect(Processors.current().usable >= 1)
  }

  @Test("a thread runs bound to its processor and can be joined")
  func thread() throws {
    let cpu = Processors.current().allowed.last!
    let result = UnsafeMutablePointer<Int>.allocate(capacity: 1)
    defer { result.deallocate() }
    result.initialize(to: -1)
    let address = UInt(bitPattern: result)
    let thread = try Thread.start(name: "a name longer than fifteen bytes", cpu: cpu) {
      UnsafeMutablePointer<Int>(bitPattern: address)!.pointee =
        Processors.current().allowed == [cpu] ? cpu : -2
    }
    thread.join()
    #expect(result.pointee == cpu)
  }

  @Test("clocks run, and the descriptor limit is at its hard limit afterwards")
  func process() {
    let before = Clock.monotonic()
    #expect(Clock.monotonic() >= before)
    #expect(Clock.realtime() > 1_700_000_000_000_000_000)
    let limit = DescriptorLimit.raise()
    #expect(limit.count >= limit.before)
    #expect(DescriptorLimit.raise().before == limit.count)
  }
}

@Suite("What needs a process of its own") struct ProcessTests {
  /// Few descriptors, many clients: the server must neither spin nor die, and take the rest when it can.
  static func exhaust(_ backend: Backend) throws {
    // The kernel notes the limit when an accept is armed, so it comes first.
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = 200
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    let server = try Server(backend) { $0.acceptRetry = 20_000_000 }
    var clients: [Client] = []
    for _ in 0..<10 { clients.append(try Client(server.address)) }
    try server.turn("accepted") { server.count(.accepted) == 10 }
    // Connections complete in the kernel's backlog without a descriptor on the server's side.
    for _ in 0..<10 { clients.append(try Client(server.address)) }
    var fillers: [Int32] = []
    while case let filler = open("/dev/null", O_RDONLY), filler >= 0 { fillers.append(filler) }
    try server.turn("descriptors ran out") { server.loop.statistics.exhausted > 0 }
    let turns = server.loop.statistics.turns
    let start = Clock.threadTime()
    let end = Clock.monotonic() + 200_000_000
    while Clock.monotonic() < end { server.turn(deadline: end) }
    try #require(server.loop.statistics.turns - turns < 50, "it spins")
    try #require(Clock.threadTime() - start < 50_000_000, "it spins")
    for filler in fillers { close(filler) }
    try server.turn("the rest is accepted") { server.count(.accepted) == 20 }
  }

  @Test("running out of descriptors pauses accepting without spinning (epoll)")
  func exhaustionEpoll() async {
    await #expect(processExitsWith: .success) { try ProcessTests.exhaust(.epoll) }
  }

  @Test(
    "running out of descriptors pauses accepting without spinning (io_uring)",
    .enabled(if: backends.contains(.ioUring), "io_uring isn't permitted here"))
  func exhaustionUring() async {
    await #expect(processExitsWith: .success) { try ProcessTests.exhaust(.ioUring) }
  }

  @Test("SIGTERM reaches the loop as an event though other threads run")
  func terminate() async {
    await #expect(processExitsWith: .success) {
      for backend in backends {
        let finished = UnsafeMutablePointer<Bool>.allocate(capacity: 1)
        finished.initialize(to: false)
        let flag = UInt(bitPattern: finished)
        // The exit test's own threads don't block the signal, so it is aimed at one that does.
        let thread = try Thread.start(name: "main loop") {
          do {
            let source = try SignalSource.block([SIGTERM, SIGINT])
            SignalSource.ignoreBrokenPipes()
            let server = try Server(backend)
            server.loop.add(source)
            pthread_kill(pthread_self(), SIGTERM)
            try server.turn("terminated") { server.history.contains { $0.kind == .signal && $0.code == SIGTERM } }
            UnsafeMutablePointer<Bool>(bitPattern: flag)!.pointee = true
          } catch {}
        }
        thread.join()
        try #require(finished.pointee)
      }
    }
  }

  @Test(
    "a small limit on address space is explained",
    .disabled(if: getenv("KVD_SANITIZED") != nil, "a sanitizer's own memory exceeds the limit"))
  func addressSpace() async {
    await #expect(processExitsWith: .success) {
      var limit = rlimit(rlim_cur: 8 << 30, rlim_max: 8 << 30)
      setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
      let error = #expect(throws: ReactorError.self) { _ = try MemoryRegion.reserve(1 << 36) }
      try #require(error?.kind == .outOfResources)
    }
  }
}
