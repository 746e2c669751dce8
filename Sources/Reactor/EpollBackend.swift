import CIOUring
import Glibc

/// The loop on epoll, level-triggered, with the same contract as the one on io_uring.
///
/// A send is tried at once and only its remainder waits for EPOLLOUT. A socket with nothing to watch for (paused, or at
/// its end) isn't registered at all, because a hang-up can't be masked and would make the loop spin. What a call of the
/// owner brings about (sent, failed, closed) is reported by the next turn, from a list through the slots.
struct EpollBackend: ~Copyable {
  var common: LoopCommon
  let epoll: Int32
  private var waitsInNanoseconds = true
  /// What `epoll_wait` returned, and how much of it was handled: a turn that runs out of room leaves the rest to the
  /// next, in order, so that no socket starves.
  private let ready: UnsafeMutablePointer<epoll_event>
  private var readyCount = 0
  private var handled = 0
  /// Where this turn's bytes go, from its beginning each turn, so that small messages share few cache lines.
  private let arena: MemoryRegion
  private var arenaUsed = 0
  /// Where this turn's datagrams go; made with the first datagram socket.
  var datagramArena: UnsafeMutablePointer<MemoryRegion>?
  var datagramsThisTurn = 0
  /// The slots with something to report: first and last plus one, chained by `Slot.next`.
  private var firstReport: UInt32 = 0
  private var lastReport: UInt32 = 0
  private var lastTurnOnlyReported = false

  private static var readyCapacity: Int { 256 }
  /// Connections accepted per turn and listener.
  private static var acceptBatch: Int { 64 }
  /// Receives of full size that fit one turn.
  private static var arenaReceives: Int { 16 }
  /// A socket's readiness may bring connected, received, ended, failed or sent; this many at most.
  private static var eventsPerSocket: Int { 4 }

  init(_ options: LoopOptions, _ waker: Waker) throws(ReactorError) {
    let common = try LoopCommon(options, waker)
    let arena = try MemoryRegion.reserve(options.receiveBytes * Self.arenaReceives, hugePages: false)
    let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard epoll >= 0 else { throw .system("epoll can't be set up", errno) }
    self.common = common
    self.arena = arena
    self.epoll = epoll
    ready = .allocate(capacity: Self.readyCapacity)
    watch(waker.descriptor, .waker, tag: 0)
  }

  deinit {
    Glibc.close(epoll)
    ready.deallocate()
    datagramArena?.deinitialize(count: 1)
    datagramArena?.deallocate()
  }

  // MARK: A turn

  /// See `Loop.poll`.
  mutating func poll(deadline: UInt64) -> Int {
    common.events.startTurn()
    common.statistics.turns &+= 1
    arenaUsed = 0
    datagramsThisTurn = 0
    report()
    let isFull = common.events.room < common.events.capacity / 2
    if common.events.count > 0 && (!lastTurnOnlyReported || isFull) {
      // Handing these out before asking the kernel spares a call that would mostly find nothing; but never twice in a
      // row, or an owner that sends on every `.sent` would hear of nothing else.
      lastTurnOnlyReported = true
      common.waker.awake()
      return common.events.count
    }
    lastTurnOnlyReported = false
    if handled == readyCount { wait(deadline: common.events.count > 0 ? 0 : min(deadline, common.nextRetry)) }
    common.waker.awake()
    retryAccepting()
    handleReady()
    return common.events.count
  }

  private mutating func wait(deadline: UInt64) {
    handled = 0
    readyCount = 0
    let capacity = Int32(Self.readyCapacity)
    var result: Int32
    if deadline == .max {
      result = epoll_wait(epoll, ready, capacity, -1)
      if result < 0 { result = -errno }
    } else {
      let now = deadline == 0 ? 0 : Clock.monotonic()
      result = wait(nanoseconds: deadline > now ? deadline &- now : 0)
    }
    precondition(result >= 0 || result == -EINTR, "epoll_wait: \(describe(errno: -result))")
    readyCount = max(0, Int(result))
  }

  private mutating func wait(nanoseconds: UInt64) -> Int32 {
    let capacity = Int32(Self.readyCapacity)
    if waitsInNanoseconds && nanoseconds > 0 {
      let result = kvd_epoll_wait_ns(epoll, ready, capacity, nanoseconds)
      // Linux before 5.11, or a filter that doesn't know the call.
      if result != -ENOSYS && result != -EPERM { return result }
      waitsInNanoseconds = false
    }
    // Rounded up: waking early would only mean turning in circles until the deadline.
    let milliseconds = min(nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 == 0 ? 0 : 1), 86_400_000)
    let result = epoll_wait(epoll, ready, capacity, Int32(milliseconds))
    return result < 0 ? -errno : result
  }

  private mutating func handleReady() {
    while handled < readyCount {
      guard common.events.room >= LoopCommon.eventsPerWatch,
        arena.count &- arenaUsed >= common.options.receiveBytes
      else { return }
      let event = ready[handled]
      handled &+= 1
      let data = UserData(rawValue: event.data.u64)
      switch data.operation {
      case UringOperation.receive.rawValue: socketReady(data, event.events)
      case UringOperation.accept.rawValue: accept(data.index)
      case UringOperation.datagram.rawValue: datagramsReady(data)
      default: common.watchFired(data.index)
      }
    }
  }

  private mutating func socketReady(_ data: UserData, _ mask: UInt32) {
    let slot = common.sockets.slot(at: data.index)
    let index = UInt32(truncatingIfNeeded: data.index)
    // Closed since the kernel said so, perhaps with a new user.
    guard slot.pointee.generation == data.generation, slot.pointee.flags.contains(.open),
      !slot.pointee.flags.contains(.closing)
    else { return }
    let broken = EPOLLERR.rawValue | EPOLLHUP.rawValue
    if mask & (EPOLLOUT.rawValue | broken) != 0 {
      if slot.pointee.flags.contains(.connecting) {
        finishConnect(slot, index)
      } else if slot.pointee.flags.contains(.sending) {
        let code = trySend(slot)
        if code != 0 {
          fail(slot, index, code)
        } else if !slot.pointee.flags.contains(.sending) {
          common.events.append(.sent, slot, index)
        }
      }
    }
    if mask & (EPOLLIN.rawValue | broken) != 0 && slot.pointee.wantsBytes { receive(slot, index) }
    watch(slot, index)
  }

  private mutating func receive(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32) {
    if slot.pointee.flags.contains(.hasTarget) { return fill(slot, index) }
    let target = arena.base + arenaUsed
    let count = recv(slot.pointee.descriptor, target, common.options.receiveBytes, 0)
    if count > 0 {
      arenaUsed &+= (count &+ 63) & ~63
      common.events.append(
        .received, slot, index, bytes: UnsafePointer(target.assumingMemoryBound(to: UInt8.self)),
        length: UInt32(truncatingIfNeeded: count))
    } else {
      receiveEnded(slot, index, count == 0 ? 0 : errno)
    }
  }

  @inline(never)
  private mutating func fill(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32) {
    let target = slot.pointee.target!
    let count = recv(slot.pointee.descriptor, target, slot.pointee.targetCount, 0)
    if count <= 0 { return receiveEnded(slot, index, count == 0 ? 0 : errno) }
    common.events.append(
      .received, slot, index, bytes: UnsafePointer(target), length: UInt32(truncatingIfNeeded: count))
  }

  private mutating func receiveEnded(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32, _ code: Int32) {
    if code == 0 {
      slot.pointee.flags.insert(.ended)
      common.events.append(.ended, slot, index)
    } else if code != EAGAIN && code != EINTR {
      fail(slot, index, code)
    }
  }

  /// Only within a turn: a call of the owner reports later.
  private mutating func fail(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32, _ code: Int32) {
    if slot.pointee.flags.contains(.failed) { return }
    slot.pointee.flags.subtract([.sending, .connecting])
    slot.pointee.flags.insert(.failed)
    common.events.append(.failed, slot, index, code: code)
  }

  /// Makes the kernel watch for what the socket still wants, no more.
  @inline(__always) private func watch(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32) {
    let reads = slot.pointee.wantsBytes
    let writes =
      !slot.pointee.flags.isDisjoint(with: [.sending, .connecting]) && !slot.pointee.flags.contains(.failed)
    if reads == slot.pointee.flags.contains(.watchesRead) && writes == slot.pointee.flags.contains(.watchesWrite) {
      return
    }
    changeWatch(slot, index, reads, writes)
  }

  @inline(never)
  private func changeWatch(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32, _ reads: Bool, _ writes: Bool) {
    var event = epoll_event()
    event.events = (reads ? EPOLLIN.rawValue : 0) | (writes ? EPOLLOUT.rawValue : 0)
    event.data.u64 = UserData(.receive, index, generation: slot.pointee.generation).rawValue
    let operation =
      if !reads && !writes { EPOLL_CTL_DEL } else if slot.pointee.flags.contains(.registered) { EPOLL_CTL_MOD } else {
        EPOLL_CTL_ADD
      }
    let result = epoll_ctl(epoll, operation, slot.pointee.descriptor, &event)
    precondition(result == 0, "epoll_ctl: \(describe(errno: errno))")
    slot.pointee.flags.subtract([.registered, .watchesRead, .watchesWrite])
    if reads || writes { slot.pointee.flags.insert(.registered) }
    if reads { slot.pointee.flags.insert(.watchesRead) }
    if writes { slot.pointee.flags.insert(.watchesWrite) }
  }

  // MARK: Sending

  /// Offers the kernel what is left; afterwards `.sending` says whether anything still is. 0 or an errno.
  @inline(__always) private func trySend(_ slot: UnsafeMutablePointer<Slot>) -> Int32 {
    let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
    let count: Int
    if slot.pointee.body.iov_len == 0 {
      count = Glibc.send(slot.pointee.descriptor, slot.pointee.head.iov_base, slot.pointee.head.iov_len, flags)
    } else {
      var message = msghdr()
      message.msg_iov = SocketTable.pieces(slot)
      message.msg_iovlen = 2
      count = sendmsg(slot.pointee.descriptor, &message, flags)
    }
    if count < 0 { return errno == EAGAIN || errno == EINTR ? 0 : errno }
    slot.pointee.drop(count)
    if slot.pointee.unsent == 0 { slot.pointee.flags.remove(.sending) }
    return 0
  }

  @inline(__always)
  mutating func send(
    _ socket: SocketID, _ head: UnsafeRawPointer, _ headCount: Int, _ body: UnsafeRawPointer?, _ bodyCount: Int
  ) {
    let slot = common.open(socket)
    let index = UInt32(truncatingIfNeeded: socket.index)
    common.beginSend(slot, head, headCount, body, bodyCount)
    // After a failure there is nothing left to say.
    if slot.pointee.flags.contains(.failed) {
      slot.pointee.flags.remove(.sending)
      return
    }
    let code = trySend(slot)
    if code != 0 {
      slot.pointee.flags.remove(.sending)
      slot.pointee.error = code
      list(slot, index, .reportFailed)
    } else if slot.pointee.flags.contains(.sending) {
      watch(slot, index)
    } else {
      list(slot, index, .reportSent)
    }
  }

  // MARK: Reports

  private mutating func list(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32, _ report: SlotFlags) {
    slot.pointee.flags.insert(report)
    if slot.pointee.flags.contains(.listed) { return }
    slot.pointee.flags.insert(.listed)
    slot.pointee.next = 0
    if lastReport == 0 {
      firstReport = index &+ 1
    } else {
      common.sockets.slot(at: Int(lastReport &- 1)).pointee.next = index &+ 1
    }
    lastReport = index &+ 1
  }

  private mutating func report() {
    while firstReport != 0 && common.events.room >= Self.eventsPerSocket {
      let index = firstReport &- 1
      let slot = common.sockets.slot(at: Int(index))
      firstReport = slot.pointee.next
      if firstReport == 0 { lastReport = 0 }
      let flags = slot.pointee.flags
      slot.pointee.flags.subtract([.listed, .reportSent, .reportFailed, .reportConnected])
      if flags.contains(.closing) {
        common.events.append(.closed, slot, index)
        common.sockets.remove(index)
        continue
      }
      if flags.contains(.failed) { continue }
      if flags.contains(.reportConnected) { common.events.append(.connected, slot, index) }
      if flags.contains(.reportSent) { common.events.append(.sent, slot, index) }
      if flags.contains(.reportFailed) {
        fail(slot, index, slot.pointee.error)
        watch(slot, index)
      }
    }
  }

  // MARK: Listeners

  private mutating func accept(_ listener: Int) {
    guard !common.listeners[listener].isStopping else { return }
    for _ in 0..<Self.acceptBatch {
      guard common.events.room >= Self.eventsPerSocket else { return }
      let descriptor = kvd_accept(common.listeners[listener].descriptor, 1)
      if descriptor < 0 {
        if descriptor == -EAGAIN { return }
        common.acceptFailed(listener, -descriptor, now: Clock.monotonic())
        if common.listeners[listener].retryAt == .max { continue }
        common.listeners[listener].isArmed = false
        epoll_ctl(epoll, EPOLL_CTL_DEL, common.listeners[listener].descriptor, nil)
        return
      }
      guard let index = common.admit(descriptor) else { continue }
      let slot = common.sockets.slot(at: Int(index))
      watch(slot, index)
      common.events.append(
        .accepted, slot, index, isOverflow: slot.pointee.flags.contains(.overflow),
        tag: common.listeners[listener].tag)
    }
  }

  private func armAccept(_ listener: Int) {
    common.listeners[listener].isArmed = true
    common.listeners[listener].retryAt = .max
    register(common.listeners[listener].descriptor, EPOLLIN.rawValue, UserData(.accept, UInt32(listener)))
  }

  private func retryAccepting() {
    guard common.nextRetry != .max else { return }
    let now = Clock.monotonic()
    for index in 0..<common.listenerCount
    where common.listeners[index].retryAt <= now && !common.listeners[index].isStopping { armAccept(index) }
    retryDatagrams(now: now)
  }

  func register(_ descriptor: Int32, _ events: UInt32, _ data: UserData) {
    var event = epoll_event()
    event.events = events
    event.data.u64 = data.rawValue
    let result = epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event)
    precondition(result == 0, "epoll_ctl: \(describe(errno: errno))")
  }

  // MARK: What the owner asks for

  mutating func listen(_ descriptor: Int32, tag: UInt16) {
    // Without this a connection that vanished between readiness and accept would block the loop.
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    armAccept(common.addListener(descriptor, tag: tag))
  }

  mutating func watch(_ descriptor: Int32, _ kind: WatchState.Kind, tag: UInt16) {
    let index = common.addWatch(descriptor, kind, tag: tag)
    register(descriptor, EPOLLIN.rawValue | EPOLLET.rawValue, UserData(.watch, UInt32(index)))
  }

  mutating func stopAccepting() {
    for index in 0..<common.listenerCount where !common.listeners[index].isStopping {
      common.listeners[index].isStopping = true
      Glibc.close(common.listeners[index].descriptor)
      common.listeners[index].descriptor = -1
    }
  }

  mutating func connect(_ descriptor: Int32, _ address: SocketAddress) -> SocketID? {
    guard let index = common.sockets.insert(descriptor, flags: .connecting) else { return nil }
    let slot = common.sockets.slot(at: Int(index))
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    let result = address.withSockaddr { Glibc.connect(descriptor, $0, $1) }
    if result == 0 {
      slot.pointee.flags.remove(.connecting)
      list(slot, index, .reportConnected)
    } else if errno != EINPROGRESS && errno != EINTR {
      slot.pointee.flags.remove(.connecting)
      slot.pointee.error = errno
      list(slot, index, .reportFailed)
      return SocketID(index: index, generation: slot.pointee.generation)
    }
    watch(slot, index)
    return SocketID(index: index, generation: slot.pointee.generation)
  }

  private mutating func finishConnect(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32) {
    var code: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    getsockopt(slot.pointee.descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
    if code != 0 { return fail(slot, index, code) }
    slot.pointee.flags.remove(.connecting)
    common.events.append(.connected, slot, index)
  }

  mutating func pause(_ socket: SocketID) {
    let slot = common.open(socket)
    slot.pointee.flags.insert(.paused)
    watch(slot, UInt32(socket.index))
  }

  mutating func resume(_ socket: SocketID) {
    let slot = common.open(socket)
    slot.pointee.flags.remove(.paused)
    watch(slot, UInt32(socket.index))
  }

  mutating func close(_ socket: SocketID) {
    let slot = common.open(socket)
    common.events.retract(slot)
    // Also takes it out of the epoll set: nothing else holds the descriptor.
    Glibc.close(slot.pointee.descriptor)
    list(slot, UInt32(socket.index), .closing)
  }
}

extension Slot {
  /// Whether received bytes would be reported.
  @inline(__always) var wantsBytes: Bool {
    flags.isDisjoint(with: [.closing, .paused, .ended, .failed, .connecting])
  }
}
