import CIOUring
import Glibc

/// The two ways to the kernel; both are always compiled in.
package enum Backend: String, Sendable, CaseIterable {
  case ioUring = "io_uring"
  case epoll
}

/// The bounds of one loop.
package struct LoopOptions: Sendable, Equatable {
  /// The kernel interface to use; it must be one that `ReactorProbe` found.
  package var backend: Backend
  /// Sockets up to which `accepted` comes without `isOverflow`. Outgoing connections count too.
  package var connections = 65_536
  /// Sockets beyond, so that a client over the limit can be told so. Beyond these a connection is closed unanswered and
  /// counted as rejected.
  package var overflow = 64
  /// Bytes of one `received` event at most. A buffer costs memory only as far as bytes reached it. Measured with bodies
  /// of megabytes: 16 KiB costs a tenth to a third more of the kernel's time, 64 KiB saves nothing more, but memory.
  package var receiveBytes = 32 << 10
  /// Bytes of one `received` event at most where the owner said where they go: as many as stay in a core's own cache
  /// (usually 512 KiB or more) until the owner looks at them.
  package var fillBytes = 256 << 10
  /// Receive buffers at most, a power of two; 64 are in use until a turn needs more.
  package var receiveBuffers = 512
  /// Bytes of one datagram at most; a longer one is cut and reported so. The default is the IPv4 payload of an Ethernet
  /// frame, rounded up.
  package var datagramBytes = 1536
  /// Datagrams of one turn and socket at most, a power of two; more wait in the kernel.
  package var datagramsPerTurn = 64
  /// Events of one turn at most.
  package var events = 2048
  /// Nanoseconds until accepting is tried again after descriptors or memory ran out.
  package var acceptRetry: UInt64 = 100_000_000

  package init(backend: Backend) { self.backend = backend }

  /// Slots of the socket table: every `SocketID.index` is below.
  package var slots: Int { connections + overflow }

  /// Listeners of one loop, and descriptors it watches besides sockets.
  static var maximumListeners: Int { 8 }
  static var maximumWatches: Int { 16 }

  func check() {
    precondition(connections > 0 && overflow >= 0 && slots < 1 << 24, "a loop has 24 bits for a socket's index")
    precondition(receiveBytes >= 512 && receiveBytes <= 1 << 20, "receive buffers of an impossible size")
    precondition(
      receiveBuffers >= 2 && receiveBuffers <= 1 << 15 && receiveBuffers & (receiveBuffers - 1) == 0,
      "the number of receive buffers is a power of two up to 32768")
    checkDatagrams()
    precondition(events >= 64 && events <= 1 << 20, "an event buffer of an impossible size")
  }
}

/// What a loop counts about itself, since its start.
package struct LoopStatistics: Sendable, Equatable {
  /// Connections taken, those beyond the limit included.
  package internal(set) var accepted: UInt64 = 0
  /// Connections closed unanswered because every slot was taken.
  package internal(set) var rejected: UInt64 = 0
  /// Times accepting paused because descriptors or memory ran out.
  package internal(set) var exhausted: UInt64 = 0
  /// Turns, that is calls of `poll`.
  package internal(set) var turns: UInt64 = 0
  /// What the datagram sockets have counted.
  package internal(set) var datagrams = DatagramStatistics()
}

/// A listener given to a loop.
struct ListenerState {
  var descriptor: Int32
  var tag: UInt16
  /// The kernel watches it for us.
  var isArmed: Bool
  /// Closed as soon as the kernel lets go of it.
  var isStopping: Bool
  /// When to try again, `.max` if nothing is wrong.
  var retryAt: UInt64
}

/// A descriptor that a loop watches besides its sockets.
struct WatchState {
  enum Kind { case waker, signals, descriptor }
  var descriptor: Int32
  var kind: Kind
  var tag: UInt16
}

/// A member whose layout isn't known until run time: the struct around it is passed by its address. One of plain
/// members is copied to the stack, all of it, for each call of a method that isn't `mutating`; a backend has 400 bytes.
private struct Anchor: Sendable {
  private let nothing: any Sendable = ()
}

/// What both backends have: sockets, events, listeners, watches.
struct LoopCommon: ~Copyable {
  let options: LoopOptions
  let waker: Waker
  var sockets: SocketTable
  var events: EventBuffer
  var statistics = LoopStatistics()
  let listeners: UnsafeMutablePointer<ListenerState>
  var listenerCount = 0
  let watches: UnsafeMutablePointer<WatchState>
  var watchCount = 0
  var datagrams = DatagramTable()
  private let anchor = Anchor()

  init(_ options: LoopOptions, _ waker: Waker) throws(ReactorError) {
    options.check()
    self.options = options
    self.waker = waker
    sockets = try SocketTable(capacity: options.slots)
    events = EventBuffer(capacity: options.events)
    listeners = .allocate(capacity: LoopOptions.maximumListeners)
    watches = .allocate(capacity: LoopOptions.maximumWatches)
  }

  deinit {
    for index in 0..<listenerCount where listeners[index].descriptor >= 0 { Glibc.close(listeners[index].descriptor) }
    for index in 0..<sockets.used {
      let slot = sockets.slot(at: index)
      if slot.pointee.flags.contains(.open) { Glibc.close(slot.pointee.descriptor) }
    }
    listeners.deallocate()
    watches.deallocate()
  }

  /// The slot of a socket that its owner hasn't closed.
  @inline(__always) func open(_ socket: SocketID) -> UnsafeMutablePointer<Slot> {
    guard let slot = sockets.find(socket), !slot.pointee.flags.contains(.closing) else {
      preconditionFailure("socket \(socket.index).\(socket.generation) was closed before")
    }
    return slot
  }

  /// Starts a send in the slot's bookkeeping.
  @inline(__always)
  func beginSend(
    _ slot: UnsafeMutablePointer<Slot>, _ head: UnsafeRawPointer, _ headCount: Int, _ body: UnsafeRawPointer?,
    _ bodyCount: Int
  ) {
    precondition(
      !slot.pointee.flags.contains(.sending) && !slot.pointee.flags.contains(.connecting),
      "one send at a time, and none before .connected")
    precondition(headCount > 0 && bodyCount >= 0, "a send of nothing")
    slot.pointee.flags.insert(.sending)
    slot.pointee.setPieces(head, headCount, body, bodyCount)
  }

  /// Notes where the socket's next bytes go.
  func setTarget(_ slot: UnsafeMutablePointer<Slot>, _ memory: UnsafeMutableRawPointer, _ count: Int) {
    precondition(!slot.pointee.flags.contains(.hasTarget), "memory is lent until the next bytes came")
    precondition(count > 0, "a receive of nothing")
    slot.pointee.flags.insert(.hasTarget)
    slot.pointee.target = memory.assumingMemoryBound(to: UInt8.self)
    slot.pointee.targetCount = min(count, options.fillBytes)
  }

  /// Takes a fresh connection into the table; nil if every slot is taken, and then it is closed.
  mutating func admit(_ descriptor: Int32) -> UInt32? {
    let isOverflow = sockets.count >= options.connections
    guard let index = sockets.insert(descriptor, flags: isOverflow ? .overflow : []) else {
      Glibc.close(descriptor)
      statistics.rejected &+= 1
      return nil
    }
    statistics.accepted &+= 1
    return index
  }

  mutating func addListener(_ descriptor: Int32, tag: UInt16) -> Int {
    precondition(listenerCount < LoopOptions.maximumListeners, "too many listeners on one loop")
    (listeners + listenerCount).initialize(
      to: ListenerState(descriptor: descriptor, tag: tag, isArmed: false, isStopping: false, retryAt: .max))
    listenerCount += 1
    return listenerCount - 1
  }

  mutating func addWatch(_ descriptor: Int32, _ kind: WatchState.Kind, tag: UInt16) -> Int {
    precondition(watchCount < LoopOptions.maximumWatches, "too many watched descriptors on one loop")
    (watches + watchCount).initialize(to: WatchState(descriptor: descriptor, kind: kind, tag: tag))
    watchCount += 1
    return watchCount - 1
  }

  /// Pauses a listener after a failed accept. Errors of one connection need no pause; anything else would come back
  /// at once and make the loop spin.
  mutating func acceptFailed(_ listener: Int, _ code: Int32, now: UInt64) {
    switch code {
    case ECONNABORTED, EINTR, EAGAIN: break
    default:
      listeners[listener].retryAt = now &+ options.acceptRetry
      statistics.exhausted &+= 1
    }
  }

  /// When the first paused listener or datagram socket is due, `.max` if none is paused.
  var nextRetry: UInt64 {
    var first = datagrams.nextRetry
    for index in 0..<listenerCount where !listeners[index].isStopping { first = min(first, listeners[index].retryAt) }
    return first
  }

  /// The most events one watch may bring: the distinct signals a process waits for, or one.
  static var eventsPerWatch: Int { 8 }

  mutating func watchFired(_ index: Int) {
    let watch = watches[index]
    switch watch.kind {
    case .waker:
      waker.heard()
      events.append(.woken)
    case .descriptor: events.append(.readable, tag: watch.tag)
    case .signals:
      for _ in 0..<Self.eventsPerWatch {
        let signal = kvd_next_signal(watch.descriptor)
        if signal == 0 { break }
        events.append(.signal, tag: watch.tag, code: signal)
      }
    }
  }
}
