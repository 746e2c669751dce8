import Glibc
import Synchronization
import Testing

@testable import Reactor

@Suite("The resolver") struct ResolverTests {
  /// A loop that takes a resolver's answers when it is woken.
  private struct Owner: ~Copyable {
    var loop: Loop
    let resolver: Resolver
    var answers: [Resolver.Answer] = []

    init(_ backend: Backend, _ lookUp: @escaping @Sendable (String) -> Resolver.Outcome) throws {
      let waker = try Waker()
      loop = try Loop(LoopOptions(backend: backend), waker: waker)
      resolver = Resolver(waker: waker, lookUp: lookUp)
    }

    deinit { resolver.stop() }

    /// Turns until so many answers have come, each announced by the waker.
    mutating func turn(until count: Int) throws {
      let end = Clock.monotonic() + patience
      while answers.count < count {
        if Clock.monotonic() > end { throw NeverHappened(description: "\(count) answers; so far \(answers)") }
        for index in 0..<loop.poll(deadline: end) where loop.events[index].kind == .woken {
          answers += resolver.takeAnswers()
        }
      }
    }
  }

  private static let somewhere = SocketAddress(v4: 0x0A00_0001, port: 0)

  @Test("wakes the loop with answers in the order of the questions, as often as asked", arguments: backends)
  func answers(_ backend: Backend) throws {
    let asked = Mutex<[String]>([])
    var owner = try Owner(backend) { name in
      asked.withLock { $0.append(name) }
      return name.hasPrefix("no") ? .failed(ReactorError(.unknownHost, "none")) : .addresses([Self.somewhere])
    }
    for round in 1...3 {
      for name in ["a", "no", "b"] { #expect(owner.resolver.resolve(name)) }
      try owner.turn(until: 3 * round)
    }
    #expect(owner.answers.map(\.name) == ["a", "no", "b", "a", "no", "b", "a", "no", "b"])
    #expect(owner.answers[0].outcome == .addresses([Self.somewhere]))
    #expect(owner.answers[1].outcome == .failed(ReactorError(.unknownHost, "none")))
    #expect(asked.withLock(\.count) == 9)
  }

  @Test("lets nobody wait for a slow name server, and takes a bounded number of names")
  func bounds() throws {
    let gate = Mutex(())
    let calls = Atomic<Int>(0)
    var owner = try Owner(.epoll) { _ in
      calls.add(1, ordering: .relaxed)
      gate.withLock { _ in }
      return .addresses([Self.somewhere])
    }
    gate.withLock { _ in
      for number in 0..<Resolver.maximumPending { #expect(owner.resolver.resolve("n\(number)")) }
      // Asked before: nothing new. One too many: later.
      #expect(owner.resolver.resolve("n0"))
      #expect(!owner.resolver.resolve("one-more"))
      #expect(owner.resolver.takeAnswers().isEmpty)
    }
    try owner.turn(until: Resolver.maximumPending)
    #expect(owner.answers.map(\.name) == (0..<Resolver.maximumPending).map { "n\($0)" })
    #expect(calls.load(ordering: .relaxed) == Resolver.maximumPending)
    #expect(owner.resolver.resolve("one-more"))
    try owner.turn(until: Resolver.maximumPending + 1)
    owner.resolver.stop()
    #expect(!owner.resolver.resolve("after-the-end"))
  }

  @Test("asks the C library, and says in a sentence what it doesn't find")
  func real() throws {
    guard case .addresses(let found) = Resolver.lookUp("localhost") else {
      Issue.record("localhost has no address")
      return
    }
    #expect(found.contains(SocketAddress(v4: 0x7F00_0001, port: 0)) && found.allSatisfy { $0.port == 0 })
    #expect(Resolver.lookUp("127.0.0.5") == .addresses([SocketAddress(v4: 0x7F00_0005, port: 0)]))
    #expect(Resolver.lookUp("::1") == .addresses([SocketAddress(high: 0, low: 1, port: 0)]))
    guard case .failed(let error) = Resolver.lookUp("no-such-host.invalid") else {
      Issue.record("a host that can't exist was found")
      return
    }
    #expect(error.kind == .unknownHost)
    #expect(error.sentence.hasPrefix("the name \"no-such-host.invalid\" can't be resolved: "))
  }
}
