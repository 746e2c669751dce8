import CIOUring
import Glibc
import Synchronization

/// Turns names into addresses on a thread of its own, since asking a name server may take many seconds.
///
/// The owner asks with `resolve` and, when its loop's waker rings, takes what came with `takeAnswers`. Names are looked
/// up one after the other; nothing is kept, so an owner that wants fresh addresses asks again. The thread starts with
/// the first question and sleeps between questions.
package final class Resolver: @unchecked Sendable {
  /// What became of one question.
  package struct Answer: Sendable, Equatable {
    /// The name, as it was asked for.
    package let name: String
    /// What it stands for now.
    package let outcome: Outcome
  }

  /// The addresses of a name, or why there are none.
  package enum Outcome: Sendable, Equatable {
    /// One or more, with port 0, IPv4 first, each once; at most `maximumAddresses`.
    case addresses([SocketAddress])
    /// Nothing was found, for now or for ever; the error's sentence says why.
    case failed(ReactorError)
  }

  private struct State {
    /// Questions that the thread hasn't taken, oldest first.
    var questions: [String] = []
    var answers: [Answer] = []
    /// Names asked for whose answers weren't taken: the bound of both lists above.
    var pending: Set<String> = []
    var hasThread = false
    var isStopped = false
  }

  /// Names under way at most.
  package static var maximumPending: Int { 64 }
  /// Addresses of one name at most.
  package static var maximumAddresses: Int { 64 }

  private let state = Mutex(State())
  private let waker: Waker
  private let lookUp: @Sendable (String) -> Outcome
  /// Counts questions, and the stop.
  private let bell: UnsafeMutablePointer<sem_t>

  /// - Parameters:
  ///   - waker: of the loop that takes the answers.
  ///   - lookUp: how a name is looked up, on the resolver's thread; the C library's way by default.
  package init(waker: Waker, lookUp: @escaping @Sendable (String) -> Outcome = { Resolver.lookUp($0) }) {
    self.waker = waker
    self.lookUp = lookUp
    bell = .allocate(capacity: 1)
    sem_init(bell, 0, 0)
  }

  deinit {
    sem_destroy(bell)
    bell.deallocate()
  }

  /// Asks for a name; asking again before the answer was taken changes nothing.
  ///
  /// - Returns: false if too many names are under way (or the resolver has stopped): ask later.
  @discardableResult
  package func resolve(_ name: String) -> Bool {
    let (isTaken, needsThread, isNew) = state.withLock { state in
      if state.isStopped { return (false, false, false) }
      if state.pending.contains(name) { return (true, false, false) }
      guard state.pending.count < Self.maximumPending else { return (false, false, false) }
      state.pending.insert(name)
      state.questions.append(name)
      defer { state.hasThread = true }
      return (true, !state.hasThread, true)
    }
    if isNew { sem_post(bell) }
    if needsThread { start() }
    return isTaken
  }

  /// The answers that came since the last call, in the order of the questions.
  package func takeAnswers() -> [Answer] {
    state.withLock { state in
      let answers = state.answers
      state.answers = []
      for answer in answers { state.pending.remove(answer.name) }
      return answers
    }
  }

  /// Ends the thread, without waiting for a name server: what is asked for comes no more.
  package func stop() {
    state.withLock { state in
      state.isStopped = true
      state.questions = []
    }
    sem_post(bell)
  }

  private func start() {
    do throws(ReactorError) {
      // It may be in the middle of a question when the process ends; nobody waits for that.
      try Thread.start(name: "kvd-resolver") { [self] in run() }.detach()
    } catch {
      state.withLock { state in
        state.hasThread = false
        for name in state.questions { state.answers.append(Answer(name: name, outcome: .failed(error))) }
        state.questions = []
      }
      waker.wake()
    }
  }

  private func run() {
    while true {
      while sem_wait(bell) != 0 {}
      let (name, isStopped) = state.withLock { state in
        (state.questions.isEmpty ? nil : state.questions.removeFirst(), state.isStopped)
      }
      if isStopped { return }
      guard let name else { continue }
      let answer = Answer(name: name, outcome: lookUp(name))
      state.withLock { $0.answers.append(answer) }
      waker.wake()
    }
  }

  /// Asks the C library (getaddrinfo), and thereby whatever /etc/nsswitch.conf names. Waits.
  package static func lookUp(_ name: String) -> Outcome {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(name, nil, &hints, &list)
    let failure = errno
    defer { if let list { freeaddrinfo(list) } }
    guard code == 0 else {
      let reason = code == EAI_SYSTEM ? describe(errno: failure) : String(cString: gai_strerror(code))
      return .failed(ReactorError(.unknownHost, "the name \"\(name)\" can't be resolved: \(reason)"))
    }
    var found: [SocketAddress] = []
    var entry = list
    while let info = entry, found.count < maximumAddresses {
      let bytes = UnsafeRawBufferPointer(start: info.pointee.ai_addr, count: Int(info.pointee.ai_addrlen))
      if let address = SocketAddress(bytes), !found.contains(address) { found.append(address) }
      entry = info.pointee.ai_next
    }
    guard !found.isEmpty else {
      return .failed(
        ReactorError(.unknownHost, "the name \"\(name)\" has neither an IPv4 nor an IPv6 address"))
    }
    return .addresses(found.filter { $0.family == AF_INET } + found.filter { $0.family != AF_INET })
  }
}
