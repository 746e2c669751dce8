import CIOUring
import Glibc

/// The kinds of operation a completion can belong to.
enum UringOperation: UInt64 {
  case ignored = 0
  case receive, send, connect, close, accept, watch, datagram, fill
}

/// The word that comes back with a completion: operation (8 bits), generation (32 bits), index (24 bits).
struct UserData {
  let rawValue: UInt64

  @inline(__always) init(rawValue: UInt64) { self.rawValue = rawValue }

  @inline(__always) init(_ operation: UringOperation, _ index: UInt32, generation: UInt32 = 0) {
    rawValue = operation.rawValue << 56 | UInt64(generation) << 24 | UInt64(index)
  }

  @inline(__always) var operation: UInt64 { rawValue >> 56 }
  @inline(__always) var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 24) }
  @inline(__always) var index: Int { Int(truncatingIfNeeded: rawValue & 0xFF_FFFF) }
}

/// The loop on io_uring: multishot accepts and receives, provided buffers, one `io_uring_enter` per turn.
///
/// An operation's slot lives until its last completion was seen: `Slot.inFlight` counts them, `close` cancels them, and
/// only then does the descriptor's own close go to the kernel, whose completion is the `.closed` event. So no
/// completion ever meets a slot's next user, and memory lent to a send is never touched after `.sent`, `.failed` of
/// that send, or `.closed`.
///
/// The ring belongs to the thread that made it (IORING_SETUP_SINGLE_ISSUER).
struct UringBackend: ~Copyable {
  var common: LoopCommon
  let ring: UnsafeMutablePointer<io_uring>
  var buffers: BufferRing
  /// One for each datagram socket, made with it and kept for the next one in its place.
  let datagrams: UnsafeMutablePointer<UnsafeMutablePointer<DatagramBuffers>?>
  /// The first of the slots to begin receiving from when the next turn starts, plus one; chained by `Slot.next`.
  var firstToReceive: UInt32 = 0

  /// - Throws: `ReactorError`, where the probe before should have said no already.
  init(_ options: LoopOptions, _ waker: Waker) throws(ReactorError) {
    let common = try LoopCommon(options, waker)
    var buffers = try BufferRing(size: options.receiveBytes, count: options.receiveBuffers)
    let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
    let refusal = UringSetup.start(ring, entries: 512, completions: 4096)
    guard refusal == 0 else {
      ring.deallocate()
      throw .system("io_uring can't be set up", -refusal)
    }
    // Saves a descriptor look-up per enter; not worth failing for.
    io_uring_register_ring_fd(ring)
    let registered = buffers.register(with: ring)
    guard registered == 0 else {
      io_uring_queue_exit(ring)
      ring.deallocate()
      throw .system("io_uring takes no ring of receive buffers", -registered)
    }
    self.common = common
    self.buffers = buffers
    self.ring = ring
    datagrams = .allocate(capacity: LoopOptions.maximumDatagramSockets)
    datagrams.initialize(repeating: nil, count: LoopOptions.maximumDatagramSockets)
    watch(waker.descriptor, .waker, tag: 0)
  }

  deinit {
    // Nothing of the kernel's may refer to anyone's memory afterwards: cancel all and wait for it. What was queued but
    // not submitted never will be.
    var everything = io_uring_sync_cancel_reg()
    everything.fd = -1
    everything.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL
    everything.timeout.tv_sec = 1
    io_uring_register_sync_cancel(ring, &everything)
    io_uring_get_events(ring)
    io_uring_queue_exit(ring)
    ring.deallocate()
    for index in 0..<common.datagrams.used {
      datagrams[index]?.deinitialize(count: 1)
      datagrams[index]?.deallocate()
    }
    datagrams.deallocate()
  }

  // MARK: A turn

  /// See `Loop.poll`.
  mutating func poll(deadline: UInt64) -> Int {
    recycle()
    if firstToReceive != 0 { startReceiving() }
    common.events.startTurn()
    common.statistics.turns &+= 1
    let result = enter(deadline: min(deadline, common.nextRetry))
    common.waker.awake()
    switch -result {
    case ...0, ETIME, EINTR, EAGAIN, EBUSY, ENOMEM: break
    default: preconditionFailure("io_uring_enter: \(describe(errno: -result))")
    }
    retryAccepting()
    translate()
    return common.events.count
  }

  /// Submits what is queued and waits for one completion, but not past the deadline.
  private func enter(deadline: UInt64) -> Int32 {
    if kvd_cq_ready(ring) > 0 { return io_uring_submit_and_get_events(ring) }
    if deadline == .max { return io_uring_submit_and_wait(ring, 1) }
    let now = Clock.monotonic()
    if deadline <= now { return io_uring_submit_and_get_events(ring) }
    // Passed by the enter call itself (IORING_ENTER_EXT_ARG), so it costs no timeout operation.
    let left = deadline &- now
    var timeout = __kernel_timespec(tv_sec: Int64(left / 1_000_000_000), tv_nsec: Int64(left % 1_000_000_000))
    var completion: UnsafeMutablePointer<io_uring_cqe>?
    return io_uring_submit_and_wait_timeout(ring, &completion, 1, &timeout, nil)
  }

  private mutating func translate() {
    let ready = Int(kvd_cq_ready(ring))
    let head = kvd_cq_head(ring)
    var seen = 0
    while seen < ready && common.events.room >= LoopCommon.eventsPerWatch {
      let completion = kvd_cq_at(ring, head &+ UInt32(truncatingIfNeeded: seen)).pointee
      seen &+= 1
      complete(UserData(rawValue: completion.user_data), completion.res, completion.flags)
    }
    // What found no room stays in the queue, and the next turn won't sleep.
    io_uring_cq_advance(ring, UInt32(truncatingIfNeeded: seen))
  }

  mutating func recycle() {
    buffers.publish()
    for index in 0..<common.datagrams.used { datagrams[index]?.pointee.ring.publish() }
  }

  // MARK: Submissions

  /// A free submission entry; if the queue is full, submits what is in it.
  @inline(__always) func entry() -> UnsafeMutablePointer<io_uring_sqe> {
    if let entry = io_uring_get_sqe(ring) { return entry }
    return entryAfterSubmitting()
  }

  @inline(never) private func entryAfterSubmitting() -> UnsafeMutablePointer<io_uring_sqe> {
    for _ in 0..<1000 {
      _ = io_uring_submit(ring)
      if let entry = io_uring_get_sqe(ring) { return entry }
    }
    preconditionFailure("the kernel takes no submissions any more")
  }

  @inline(__always)
  func armReceive(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32, isMultishot: Bool = true) {
    let entry = entry()
    if isMultishot {
      io_uring_prep_recv_multishot(entry, slot.pointee.descriptor, nil, 0, 0)
    } else {
      io_uring_prep_recv(entry, slot.pointee.descriptor, nil, 0, 0)
    }
    entry.pointee.flags |= kvd_sqe_buffer_select()
    entry.pointee.buf_group = BufferRing.group
    entry.pointee.user_data = UserData(.receive, index, generation: slot.pointee.generation).rawValue
    slot.pointee.flags.remove(.cancelled)
    slot.pointee.flags.insert(.receiving)
    slot.pointee.inFlight &+= 1
  }

  /// Sends what is left of the slot's pieces.
  @inline(__always) func submitSend(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32) {
    let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_WAITALL)
    let entry = entry()
    if slot.pointee.body.iov_len == 0 {
      // The kernel counts one operation in 32 bits; the rest follows with the completion.
      let count = min(slot.pointee.head.iov_len, 1 << 30)
      io_uring_prep_send(entry, slot.pointee.descriptor, slot.pointee.head.iov_base, count, flags)
    } else {
      let message = SocketTable.scratch(slot).assumingMemoryBound(to: msghdr.self)
      message.initialize(to: msghdr())
      message.pointee.msg_iov = SocketTable.pieces(slot)
      message.pointee.msg_iovlen = 2
      io_uring_prep_sendmsg(entry, slot.pointee.descriptor, message, UInt32(bitPattern: flags))
    }
    entry.pointee.user_data = UserData(.send, index, generation: slot.pointee.generation).rawValue
    slot.pointee.inFlight &+= 1
  }

  private func submitClose(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32) {
    let entry = entry()
    io_uring_prep_close(entry, slot.pointee.descriptor)
    entry.pointee.user_data = UserData(.close, index, generation: slot.pointee.generation).rawValue
    slot.pointee.inFlight &+= 1
  }

  func submitCancel(_ target: UserData) {
    let entry = entry()
    io_uring_prep_cancel64(entry, target.rawValue, 0)
    entry.pointee.user_data = UserData(.ignored, 0).rawValue
  }

  private func armAccept(_ index: Int) {
    let entry = entry()
    io_uring_prep_multishot_accept(entry, common.listeners[index].descriptor, nil, nil, Int32(SOCK_CLOEXEC.rawValue))
    entry.pointee.user_data = UserData(.accept, UInt32(index)).rawValue
    common.listeners[index].isArmed = true
    common.listeners[index].retryAt = .max
  }

  private func armWatch(_ index: Int) {
    let entry = entry()
    io_uring_prep_poll_multishot(entry, common.watches[index].descriptor, UInt32(POLLIN))
    entry.pointee.user_data = UserData(.watch, UInt32(index)).rawValue
  }

  // MARK: Completions

  private mutating func complete(_ data: UserData, _ result: Int32, _ flags: UInt32) {
    switch data.operation {
    case UringOperation.receive.rawValue: received(data, result, flags)
    case UringOperation.send.rawValue: sent(data, result)
    case UringOperation.accept.rawValue: accepted(data.index, result, flags)
    case UringOperation.close.rawValue: closed(data)
    case UringOperation.connect.rawValue: connected(data, result)
    case UringOperation.fill.rawValue: filled(data, result)
    case UringOperation.datagram.rawValue: datagramCompleted(data, result, flags)
    case UringOperation.watch.rawValue:
      common.watchFired(data.index)
      if flags & IORING_CQE_F_MORE == 0 { armWatch(data.index) }
    default: break  // a cancel's own result says nothing that its target's doesn't
    }
  }

  /// The slot of an operation; it can't have been given back before the operation's last completion.
  @inline(__always) func slot(_ data: UserData) -> UnsafeMutablePointer<Slot> {
    let slot = common.sockets.slot(at: data.index)
    precondition(slot.pointee.generation == data.generation, "a completion for a slot's former user")
    return slot
  }

  @inline(__always)
  private mutating func received(_ data: UserData, _ result: Int32, _ flags: UInt32) {
    let slot = slot(data)
    let index = UInt32(truncatingIfNeeded: data.index)
    if flags & IORING_CQE_F_MORE == 0 {
      slot.pointee.inFlight &-= 1
      slot.pointee.flags.subtract([.receiving, .cancelled])
    }
    let isHeard = slot.pointee.flags.isDisjoint(with: [.closing, .failed])
    if flags & IORING_CQE_F_BUFFER != 0 {
      let id = Int(truncatingIfNeeded: flags >> 16)
      buffers.give(id)
      if result > 0 && isHeard {
        common.events.append(
          .received, slot, index, bytes: UnsafePointer(buffers.buffer(id)),
          length: UInt32(bitPattern: result))
      }
    }
    if result <= 0 { receiveEnded(slot, index, -result) }
    if flags & IORING_CQE_F_MORE == 0 { settle(slot, index) }
  }

  @inline(never)
  mutating func receiveEnded(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32, _ code: Int32) {
    switch code {
    case 0:
      if slot.pointee.flags.isDisjoint(with: [.closing, .failed, .ended]) { common.events.append(.ended, slot, index) }
      slot.pointee.flags.insert(.ended)
    case ENOBUFS: buffers.grow()
    case ECANCELED, EINTR, EAGAIN: break
    default: fail(slot, index, code)
    }
  }

  /// After an operation's last completion: goes on with closing, or with receiving.
  @inline(__always) mutating func settle(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32) {
    if slot.pointee.flags.contains(.closing) {
      if slot.pointee.inFlight == 0 { submitClose(slot, index) }
    } else if slot.pointee.wantsReceive {
      if slot.pointee.flags.contains(.takesOne) { receiveLater(slot, index) } else { armReceive(slot, index) }
    }
  }

  private mutating func fail(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32, _ code: Int32) {
    if slot.pointee.flags.isDisjoint(with: [.closing, .failed]) {
      common.events.append(.failed, slot, index, code: code)
    }
    slot.pointee.flags.insert(.failed)
  }

  @inline(__always)
  private mutating func sent(_ data: UserData, _ result: Int32) {
    let slot = slot(data)
    let index = UInt32(truncatingIfNeeded: data.index)
    slot.pointee.inFlight &-= 1
    if slot.pointee.flags.contains(.closing) { return settle(slot, index) }
    if result > 0 {
      slot.pointee.drop(Int(result))
      if slot.pointee.unsent == 0 {
        slot.pointee.flags.remove(.sending)
        if !slot.pointee.flags.contains(.failed) { common.events.append(.sent, slot, index) }
      } else {
        submitSend(slot, index)
      }
    } else if result == -EAGAIN || result == -EINTR {
      submitSend(slot, index)
    } else {
      slot.pointee.flags.remove(.sending)
      fail(slot, index, result == 0 ? EPIPE : -result)
    }
  }

  private mutating func connected(_ data: UserData, _ result: Int32) {
    let slot = slot(data)
    let index = UInt32(truncatingIfNeeded: data.index)
    slot.pointee.inFlight &-= 1
    slot.pointee.flags.remove(.connecting)
    if result < 0 {
      fail(slot, index, -result)
    } else if !slot.pointee.flags.contains(.closing) {
      common.events.append(.connected, slot, index)
    }
    settle(slot, index)
  }

  private mutating func closed(_ data: UserData) {
    let slot = slot(data)
    let index = UInt32(truncatingIfNeeded: data.index)
    slot.pointee.inFlight &-= 1
    common.events.append(.closed, slot, index)
    common.sockets.remove(index)
  }

  private mutating func accepted(_ listener: Int, _ result: Int32, _ flags: UInt32) {
    if result >= 0, let index = common.admit(result) {
      let slot = common.sockets.slot(at: Int(index))
      common.events.append(
        .accepted, slot, index, isOverflow: slot.pointee.flags.contains(.overflow),
        tag: common.listeners[listener].tag)
      armReceive(slot, index)
    }
    if flags & IORING_CQE_F_MORE != 0 { return }
    common.listeners[listener].isArmed = false
    if common.listeners[listener].isStopping {
      Glibc.close(common.listeners[listener].descriptor)
      common.listeners[listener].descriptor = -1
      return
    }
    if result < 0 { common.acceptFailed(listener, -result, now: Clock.monotonic()) }
    if common.listeners[listener].retryAt == .max { armAccept(listener) }
  }

  private func retryAccepting() {
    guard common.nextRetry != .max else { return }
    let now = Clock.monotonic()
    for index in 0..<common.listenerCount
    where common.listeners[index].retryAt <= now && !common.listeners[index].isStopping { armAccept(index) }
    retryDatagrams(now: now)
  }

  // MARK: What the owner asks for

  mutating func listen(_ descriptor: Int32, tag: UInt16) { armAccept(common.addListener(descriptor, tag: tag)) }

  mutating func watch(_ descriptor: Int32, _ kind: WatchState.Kind, tag: UInt16) {
    armWatch(common.addWatch(descriptor, kind, tag: tag))
  }

  mutating func stopAccepting() {
    for index in 0..<common.listenerCount where !common.listeners[index].isStopping {
      common.listeners[index].isStopping = true
      if common.listeners[index].isArmed {
        submitCancel(UserData(.accept, UInt32(index)))
      } else {
        Glibc.close(common.listeners[index].descriptor)
        common.listeners[index].descriptor = -1
      }
    }
  }

  mutating func connect(_ descriptor: Int32, _ address: SocketAddress) -> SocketID? {
    guard let index = common.sockets.insert(descriptor, flags: .connecting) else { return nil }
    let slot = common.sockets.slot(at: Int(index))
    // The kernel reads the address when it takes the submission, that is within the next turn.
    address.copy(to: SocketTable.scratch(slot))
    let entry = entry()
    io_uring_prep_connect(
      entry, descriptor, SocketTable.scratch(slot).assumingMemoryBound(to: sockaddr.self), socklen_t(address.count))
    entry.pointee.user_data = UserData(.connect, index, generation: slot.pointee.generation).rawValue
    slot.pointee.inFlight &+= 1
    return SocketID(index: index, generation: slot.pointee.generation)
  }

  @inline(__always)
  mutating func send(
    _ socket: SocketID, _ head: UnsafeRawPointer, _ headCount: Int, _ body: UnsafeRawPointer?, _ bodyCount: Int
  ) {
    let slot = common.open(socket)
    common.beginSend(slot, head, headCount, body, bodyCount)
    submitSend(slot, UInt32(truncatingIfNeeded: socket.index))
  }

  mutating func pause(_ socket: SocketID) {
    let slot = common.open(socket)
    slot.pointee.flags.insert(.paused)
    // One cancel per armed receive: submissions run in order, so it can't meet a later one.
    if slot.pointee.flags.contains(.receiving) && !slot.pointee.flags.contains(.cancelled) {
      cancelReceive(slot, UInt32(truncatingIfNeeded: socket.index))
    }
  }

  mutating func resume(_ socket: SocketID) {
    let slot = common.open(socket)
    slot.pointee.flags.remove(.paused)
    // If the cancelled receive is still under way, its last completion arms the next.
    settle(slot, UInt32(socket.index))
  }

  mutating func close(_ socket: SocketID) {
    let slot = common.open(socket)
    slot.pointee.flags.insert(.closing)
    common.events.retract(slot)
    guard slot.pointee.inFlight > 0 else { return submitClose(slot, UInt32(socket.index)) }
    let entry = entry()
    io_uring_prep_cancel_fd(entry, slot.pointee.descriptor, IORING_ASYNC_CANCEL_ALL)
    entry.pointee.user_data = UserData(.ignored, 0).rawValue
  }
}
