import CIOUring
import Glibc

/// One thread's door to the kernel: sockets, listeners, signals and wake-ups, as a run of events per turn.
///
/// ```swift
/// var loop = try Loop(options, waker: waker)
/// loop.add(listener, tag: 0)
/// while running {
///   for index in 0..<loop.poll(deadline: nextTimer) {
///     let event = loop.events + index
///     switch event.pointee.kind { … loop.send(event.pointee.socket, …) … }
///   }
/// }
/// ```
///
/// The contract, the same on io_uring and on epoll:
/// - A socket's id comes with `.accepted` (or from `connect`) and is dead after `.closed`. Bytes are reported from the
///   start.
/// - `close` ends it: events of the socket later in this turn turn `.stale`, and nothing but one `.closed` follows.
/// - One send at a time; it ends with `.sent`, or never: `.failed` or `close` came first. **The memory of a send is
///   lent to the kernel until `.sent` or `.closed`.**
/// - `.failed` comes at most once, and then only `.closed` after the owner's `close`.
/// - `.ended` comes at most once; sending may go on.
/// - Received bytes stay where they are until the next `poll`. `receive(_:into:)` has the next ones put elsewhere.
///
/// A loop belongs to the thread that made it, and every call to that thread. Only its `Waker` may be used from others.
package struct Loop: ~Copyable {
  let uring: UnsafeMutablePointer<UringBackend>?
  let epoll: UnsafeMutablePointer<EpollBackend>?
  /// The last turn's events; as many as `poll` returned.
  package let events: UnsafePointer<Event>
  package let options: LoopOptions
  package let waker: Waker

  /// Sets up the backend that `ReactorProbe.choose` chose.
  ///
  /// - Throws: `ReactorError` if memory, address space or descriptors are short.
  package init(_ options: LoopOptions, waker: Waker) throws(ReactorError) {
    self.options = options
    self.waker = waker
    switch options.backend {
    case .ioUring:
      let backend = UnsafeMutablePointer<UringBackend>.allocate(capacity: 1)
      do throws(ReactorError) { backend.initialize(to: try UringBackend(options, waker)) } catch {
        backend.deallocate()
        throw error
      }
      uring = backend
      epoll = nil
      events = UnsafePointer(backend.pointee.common.events.base)
    case .epoll:
      let backend = UnsafeMutablePointer<EpollBackend>.allocate(capacity: 1)
      do throws(ReactorError) { backend.initialize(to: try EpollBackend(options, waker)) } catch {
        backend.deallocate()
        throw error
      }
      uring = nil
      epoll = backend
      events = UnsafePointer(backend.pointee.common.events.base)
    }
  }

  /// Closes every socket at once; afterwards the kernel refers to nobody's memory.
  deinit {
    uring?.deinitialize(count: 1)
    uring?.deallocate()
    epoll?.deinitialize(count: 1)
    epoll?.deallocate()
  }

  // MARK: Turning

  /// Hands everything asked for to the kernel and waits for events, but not past the deadline.
  ///
  /// - Parameter deadline: of `Clock.monotonic`, in nanoseconds; 0 doesn't wait, `.max` waits for ever.
  /// - Returns: how many `events` there are now. It may be 0, also before the deadline: something happened that
  ///   concerns nobody, or the kernel cut the wait short (EINTR).
  package mutating func poll(deadline: UInt64 = .max) -> Int {
    if let uring { return uring.pointee.poll(deadline: deadline) }
    return epoll!.pointee.poll(deadline: deadline)
  }

  /// Says that this thread is about to sleep in `poll`. Call it, look into every mailbox once more, and pass a deadline
  /// of 0 if there is mail; from here to `poll`'s return `Waker.wakeIfAsleep` rings. Not needed by a loop without mail.
  package mutating func announceSleep() { waker.announceSleep() }

  /// Gives the memory of received bytes back before the next `poll` would. The turn's bytes are dead afterwards.
  package mutating func recycle() { uring?.pointee.recycle() }

  // MARK: Sockets

  /// Sends `count` bytes, 1 or more, whole; the memory is lent until `.sent` or `.closed`.
  package mutating func send(_ socket: SocketID, _ bytes: UnsafeRawPointer, _ count: Int) {
    if let uring { return uring.pointee.send(socket, bytes, count, nil, 0) }
    epoll!.pointee.send(socket, bytes, count, nil, 0)
  }

  /// Sends a head of 1 or more bytes and a body right behind it, whole, from two places.
  package mutating func send(
    _ socket: SocketID, head: UnsafeRawPointer, _ headCount: Int, body: UnsafeRawPointer, _ bodyCount: Int
  ) {
    if let uring { return uring.pointee.send(socket, head, headCount, body, bodyCount) }
    epoll!.pointee.send(socket, head, headCount, body, bodyCount)
  }

  /// Tells the peer that nothing more comes (a FIN). No send may be under way; none may follow.
  package mutating func shutdownWrite(_ socket: SocketID) {
    let slot = open(socket)
    precondition(!slot.pointee.flags.contains(.sending), "shutting down in the middle of a send")
    // Doesn't wait, and io_uring would hand it to a worker thread. If the peer is gone already, an event says so.
    Glibc.shutdown(slot.pointee.descriptor, Int32(SHUT_WR))
  }

  /// Ends the socket: cancels what is under way, and reports `.closed` when the kernel has let go of it.
  ///
  /// Received bytes that the peer's kernel doesn't know to be read make it a reset rather than a FIN, as everywhere.
  package mutating func close(_ socket: SocketID) {
    if let uring { return uring.pointee.close(socket) }
    epoll!.pointee.close(socket)
  }

  /// Makes the `close` to come reset the connection (SO_LINGER of 0): what the kernel still holds for a peer that takes
  /// nothing is dropped instead of being kept for minutes.
  package mutating func resetOnClose(_ socket: SocketID) {
    var abort = linger(l_onoff: 1, l_linger: 0)
    let size = socklen_t(MemoryLayout<linger>.size)
    setsockopt(open(socket).pointee.descriptor, SOL_SOCKET, SO_LINGER, &abort, size)
  }

  /// Stops reading, so that the peer's window fills. What is already on its way to this process still arrives.
  package mutating func pause(_ socket: SocketID) {
    if let uring { return uring.pointee.pause(socket) }
    epoll!.pointee.pause(socket)
  }

  /// Reads again.
  package mutating func resume(_ socket: SocketID) {
    if let uring { return uring.pointee.resume(socket) }
    epoll!.pointee.resume(socket)
  }

  /// Has the next bytes of the socket, `count` at most and 1 at least, put straight where they are wanted, if that can
  /// still be done: for bodies of many bytes, which are then copied once, by the kernel.
  ///
  /// It holds for the next `.received`. If that one's `bytes` are at `memory` they were put there; if not, they were on
  /// their way before. Either way ask again for more. Until then, or `.ended` or `.closed`, the memory is lent.
  package mutating func receive(_ socket: SocketID, into memory: UnsafeMutableRawPointer, _ count: Int) {
    if let uring { return uring.pointee.receive(socket, into: memory, count) }
    epoll!.pointee.common.setTarget(open(socket), memory, count)
  }

  /// Starts a TCP connection (with TCP_NODELAY): `.connected` or `.failed` follows, also for a refusal at once.
  ///
  /// - Parameter unsent: bytes that the kernel takes beyond those that are under way (TCP_NOTSENT_LOWAT); 0 for as many
  ///   as its buffer holds. What is sent later waits for no more than that.
  /// - Throws: `ReactorError` of kind `outOfResources` if no descriptor or no slot is left.
  package mutating func connect(_ address: SocketAddress, unsent: Int32 = 0) throws(ReactorError) -> SocketID {
    let descriptor = Glibc.socket(address.family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .system("no socket for connecting to \(address)", errno) }
    var on: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    var most = unsent
    if most > 0 {
      setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, &most, socklen_t(MemoryLayout<Int32>.size))
    }
    let socket =
      if let uring { uring.pointee.connect(descriptor, address) } else { epoll!.pointee.connect(descriptor, address) }
    guard let socket else {
      Glibc.close(descriptor)
      throw ReactorError(.outOfResources, "no slot is left for connecting to \(address): \(options.slots) are taken")
    }
    return socket
  }

  /// Whether the id is of a socket that its owner hasn't closed.
  package func isOpen(_ socket: SocketID) -> Bool {
    guard let slot = find(socket) else { return false }
    return !slot.pointee.flags.contains(.closing)
  }

  /// The other end's address, nil if the connection is broken. A system call: for logs.
  package func peerAddress(_ socket: SocketID) -> SocketAddress? { remoteAddress(of: open(socket).pointee.descriptor) }

  /// Sockets held now, those that are being closed included.
  package var socketCount: Int {
    if let uring { return uring.pointee.common.sockets.count }
    return epoll!.pointee.common.sockets.count
  }

  /// What the loop has counted since it was made.
  package var statistics: LoopStatistics {
    if let uring { return uring.pointee.common.statistics }
    return epoll!.pointee.common.statistics
  }

  // MARK: Listeners, signals, other descriptors

  /// Takes connections from the listener from now on, each reported with `tag`.
  package mutating func add(_ listener: consuming Listener, tag: UInt16) {
    let descriptor = listener.take()
    if let uring { return uring.pointee.listen(descriptor, tag: tag) }
    epoll!.pointee.listen(descriptor, tag: tag)
  }

  /// Closes every listener of this loop. Connections the kernel had accepted for it may still be reported.
  package mutating func stopAccepting() {
    if let uring { return uring.pointee.stopAccepting() }
    epoll!.pointee.stopAccepting()
  }

  /// Reports the process's blocked signals as `.signal`; one loop of a process does this. The source must outlive it.
  package mutating func add(_ signals: borrowing SignalSource) { watch(signals.descriptor, .signals, tag: 0) }

  /// Reports `.readable` with `tag` each time the descriptor becomes readable (edge-triggered: read until it would
  /// block). It must stay open as long as the loop lives.
  package mutating func watch(_ descriptor: Int32, tag: UInt16) { watch(descriptor, .descriptor, tag: tag) }

  private mutating func watch(_ descriptor: Int32, _ kind: WatchState.Kind, tag: UInt16) {
    if let uring { return uring.pointee.watch(descriptor, kind, tag: tag) }
    epoll!.pointee.watch(descriptor, kind, tag: tag)
  }

  private func open(_ socket: SocketID) -> UnsafeMutablePointer<Slot> {
    if let uring { return uring.pointee.common.open(socket) }
    return epoll!.pointee.common.open(socket)
  }

  private func find(_ socket: SocketID) -> UnsafeMutablePointer<Slot>? {
    if let uring { return uring.pointee.common.sockets.find(socket) }
    return epoll!.pointee.common.sockets.find(socket)
  }
}
