import CIOUring
import Glibc
import Testing

@testable import Reactor

@Suite("The choice of a backend") struct BackendTests {
  @Test(
    "io_uring is there, so that both backends are tested",
    .enabled(if: backends.contains(.ioUring), "io_uring isn't permitted here: its half of the loop's tests is skipped"))
  func both() throws {
    #expect(try ReactorProbe.choose(.auto).backend == .ioUring)
    #expect(try ReactorProbe.choose(.ioUring).backend == .ioUring)
  }

  @Test("epoll can be asked for")
  func epoll() throws {
    #expect(try ReactorProbe.choose(.epoll) == .init(backend: .epoll, reason: "epoll was asked for"))
  }

  @Test(
    "a refused io_uring leads to epoll with a reason, or to an error if it was asked for by name",
    arguments: [
      (ReactorProbe.Step.ring, ENOSYS, "too old"), (.ring, EPERM, "forbid"), (.ring, ENOMEM, "locked memory"),
      (.buffers, EINVAL, "Linux 6.0"), (.receive, EINVAL, "Linux 6.0"), (.receive, EIO, "trial receive"),
      (.sockets, EMFILE, "Too many open files"),
    ])
  func refusal(_ step: ReactorProbe.Step, _ code: Int32, _ words: String) throws {
    // Where io_uring is really refused, an earlier step may be, for another reason.
    let choice = try ReactorProbe.choose(.auto, refusing: (step, code))
    #expect(choice.backend == .epoll)
    guard backends.contains(.ioUring) else { return }
    #expect(choice.reason.contains(words), "\(choice.reason)")
    let error = #expect(throws: ReactorError.self) { try ReactorProbe.choose(.ioUring, refusing: (step, code)) }
    #expect(error?.kind == .ioUringUnavailable)
    #expect(error?.sentence.contains(words) == true)
  }
}

@Suite("Waking and waiting, on each backend") struct WaitingTests {
  @Test("poll waits until its deadline and no longer than something happens", arguments: backends)
  func deadline(_ backend: Backend) throws {
    let server = try Server(backend)
    server.turn(deadline: 0)
    for wait: UInt64 in [0, 1, 100_000, 5_000_000, 30_000_000] {
      let deadline = Clock.monotonic() + wait
      let count = server.turn(deadline: deadline)
      #expect(count == 0)
      #expect(Clock.monotonic() >= deadline)
    }
    // A deadline far away doesn't hold up an event.
    let client = try Client(server.address)
    server.turn(deadline: Clock.monotonic() + patience)
    #expect(server.count(.accepted) == 1)
    client.close()
  }

  @Test("an idle loop uses no processor time", arguments: backends)
  func idle(_ backend: Backend) throws {
    let server = try Server(backend)
    server.echo()
    let clients = try (0..<20).map { _ in try Client(server.address) }
    for client in clients { client.write("hello") }
    try server.turn("echoed") {
      for client in clients { client.read() }
      return clients.allSatisfy { $0.received.count == 5 }
    }
    while server.turn(deadline: 0) > 0 {}
    let turns = server.loop.statistics.turns
    let before = Clock.threadTime()
    let end = Clock.monotonic() + 300_000_000
    while Clock.monotonic() < end { server.turn(deadline: end) }
    // One wait, of which the thread sleeps all but microseconds; the bounds leave room for a busy machine.
    #expect(server.loop.statistics.turns - turns <= 3)
    #expect(Clock.threadTime() - before < 10_000_000)
  }

  @Test("a wake from another thread is heard, however often and early it comes", arguments: backends)
  func wake(_ backend: Backend) throws {
    let waker = try Waker()
    let server = try Server(backend, waker: waker)
    for _ in 0..<5 { waker.wake() }
    try server.turn("woken once for five") { server.count(.woken) >= 1 }
    while server.turn(deadline: 0) > 0 {}
    #expect(server.count(.woken) <= 2)
    for round in 0..<200 {
      let before = server.count(.woken)
      let thread = try Thread.start(name: "ringer") { waker.wake() }
      server.turn(deadline: Clock.monotonic() + patience)
      thread.join()
      if server.count(.woken) == before { server.turn(deadline: Clock.monotonic() + patience) }
      #expect(server.count(.woken) == before + 1, "round \(round)")
    }
  }

  @Test("two loops play ping-pong through mailboxes and lose no wake-up", arguments: backends)
  func pingPong(_ backend: Backend) throws {
    let rounds: UInt64 = 100_000
    let wakers = [try Waker(), try Waker()]
    let pair = PingPong(wakers, rounds: rounds)
    let thread = try Thread.start(name: "pong") { pair.play(1, backend) }
    pair.play(0, backend)
    thread.join()
    #expect(pair.results[0] == rounds && pair.results[1] == rounds)
  }

  @Test("signals come as events", arguments: backends)
  func signals(_ backend: Backend) throws {
    // Aimed at this one thread, as other tests' threads don't block it.
    let thread = try Thread.start(name: "signals") {
      do {
        let source = try SignalSource.block([SIGUSR1, SIGUSR2])
        let server = try Server(backend)
        server.loop.add(source)
        for round in 1...3 {
          pthread_kill(pthread_self(), SIGUSR1)
          try server.turn("the signal") { server.count(.signal) == round }
        }
        pthread_kill(pthread_self(), SIGUSR1)
        pthread_kill(pthread_self(), SIGUSR2)
        try server.turn("both signals") { server.count(.signal) == 5 }
        let codes = server.history.filter { $0.kind == .signal }.map(\.code)
        #expect(codes[..<3] == [SIGUSR1, SIGUSR1, SIGUSR1] && Set(codes[3...]) == [SIGUSR1, SIGUSR2])
      } catch { Issue.record("\(error)") }
    }
    thread.join()
  }

  @Test("a watched descriptor's readiness is reported at each edge", arguments: backends)
  func watch(_ backend: Backend) throws {
    let descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
    defer { Glibc.close(descriptor) }
    let server = try Server(backend)
    server.loop.watch(descriptor, tag: 42)
    for round in 1...3 {
      eventfd_write(descriptor, 1)
      try server.turn("readable") { server.count(.readable) == round }
      var value: eventfd_t = 0
      eventfd_read(descriptor, &value)
    }
    #expect(server.history.last?.tag == 42)
  }
}

/// Two threads that hand a number to and fro, each asleep in its loop whenever it has nothing to do.
private final class PingPong: @unchecked Sendable {
  private let wakers: [Waker]
  private let rounds: UInt64
  private let writers: UnsafeMutablePointer<MailboxWriter>
  private let readers: UnsafeMutablePointer<MailboxReader>
  /// Written by one thread each.
  let results = UnsafeMutablePointer<UInt64>.allocate(capacity: 2)

  init(_ wakers: [Waker], rounds: UInt64) {
    self.wakers = wakers
    self.rounds = rounds
    writers = .allocate(capacity: 2)
    readers = .allocate(capacity: 2)
    results.initialize(repeating: 0, count: 2)
    for side in 0..<2 {
      Mailbox.make(capacity: 256).split { writer, reader in
        (self.writers + side).initialize(to: writer)
        (self.readers + (1 - side)).initialize(to: reader)
      }
    }
  }

  deinit {
    writers.deinitialize(count: 2)
    readers.deinitialize(count: 2)
    writers.deallocate()
    readers.deallocate()
    results.deallocate()
  }

  func play(_ side: Int, _ backend: Backend) {
    do {
      var loop = try Loop(LoopOptions(backend: backend), waker: wakers[side])
      let end = Clock.monotonic() + 3 * patience
      var heard: UInt64 = 0
      if side == 0 { say(0, side) }
      while heard < rounds {
        while let message = readers[side].next() {
          #expect(message.load(as: UInt64.self) == heard)
          heard += 1
          // Before answering: while both are awake this loop may never find its mailbox empty.
          readers[side].release()
          if side == 1 || heard < rounds { say(side == 0 ? heard : heard - 1, side) }
        }
        results[side] = heard
        if heard == rounds { break }
        loop.announceSleep()
        _ = loop.poll(deadline: readers[side].hasMail ? 0 : end)
        if Clock.monotonic() > end { throw NeverHappened(description: "message \(heard) of side \(side)") }
      }
    } catch { Issue.record("\(error)") }
  }

  private func say(_ number: UInt64, _ side: Int) {
    var number = number
    let isWritten = writers[side].write(&number, count: 8)
    #expect(isWritten)
    if writers[side].publish() { wakers[1 - side].wakeIfAsleep() }
  }
}
