/// A socket of one loop: its slot and the slot's generation, so that a late event never reaches a slot's next user.
///
/// Ids are meaningful only to the loop that gave them. `rawValue` 0 is no socket.
@frozen public struct SocketID: Equatable, Hashable, Sendable {
  @usableFromInline package let rawValue: UInt64

  @inlinable @inline(__always) package init(rawValue: UInt64) { self.rawValue = rawValue }

  @inlinable @inline(__always) package init(index: UInt32, generation: UInt32) {
    rawValue = UInt64(generation) << 32 | UInt64(index)
  }

  /// The slot, below `LoopOptions.slots`: an owner can keep its own state in an array of that many entries.
  @inlinable @inline(__always) package var index: Int { Int(truncatingIfNeeded: rawValue & 0xFFFF_FFFF) }
  @inlinable @inline(__always) package var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) }

  /// No socket: what events that concern none carry.
  @inlinable package static var none: SocketID { SocketID(rawValue: 0) }
}

/// What happened. One loop turn hands out a run of these; see `Loop.poll`.
@frozen public enum EventKind: UInt8, Sendable {
  /// Nothing any more: the socket was closed earlier in this turn. Skip it.
  case stale = 0
  /// A connection came in at the listener `tag`; it is already being read. `isOverflow` says that the owner's limit of
  /// connections is passed: answer so and close.
  case accepted
  /// An outgoing connection stands; it is already being read.
  case connected
  /// `count` bytes at `bytes`, the owner's until the next poll; or for ever, if that is where `Loop.receive` was asked
  /// to put them.
  case received
  /// The peer sends no more (end of file). Sending may go on.
  case ended
  /// The socket broke with errno `code`; nothing but `.closed` follows, after `close`. Memory of a send under way stays
  /// lent until `.closed`.
  case failed
  /// The whole send was taken by the kernel; its memory is the owner's again.
  case sent
  /// The socket is gone after `close`: nothing refers to its memory, its id is dead.
  case closed
  /// Another thread rang the waker.
  case woken
  /// The process got the signal `code`.
  case signal
  /// The watched descriptor `tag` became readable (edge-triggered: read until it would block).
  case readable
  /// A datagram of `count` bytes at `bytes`, the owner's until the next poll, came to the datagram socket `tag`; see
  /// `source`, `isTruncated` and `datagramSocket`.
  case datagram
}

/// One event, 32 bytes, trivial; valid until the next `poll` of its loop.
@frozen public struct Event: Sendable {
  /// What happened.
  @usableFromInline package internal(set) var kind: EventKind
  /// With `accepted`: the owner's limit of connections is passed. With `datagram`: `isTruncated`.
  @usableFromInline package let isOverflow: Bool
  /// The owner's number for a listener, a watched descriptor or a datagram socket.
  @usableFromInline package let tag: UInt16
  /// An errno (`failed`) or a signal's number (`signal`).
  @usableFromInline package let code: Int32
  @usableFromInline package let socket: SocketID
  /// With `received` and `datagram`; else a valid address of no bytes.
  @usableFromInline package nonisolated(unsafe) let bytes: UnsafePointer<UInt8>
  @usableFromInline let length: UInt32
  /// The previous event of the same socket in this turn plus one, 0 if there is none: `close` makes them stale. With
  /// `datagram`, the id of its socket, for the same purpose.
  @usableFromInline let previous: UInt32

  /// Bytes received, at most `LoopOptions.receiveBytes` or what `Loop.receive` asked for, or `datagramBytes` of a
  /// datagram.
  @inlinable @inline(__always) package var count: Int { Int(truncatingIfNeeded: length) }
}

/// The events of one turn: a fixed array that `poll` fills.
struct EventBuffer: ~Copyable {
  let base: UnsafeMutablePointer<Event>
  let capacity: Int
  var count = 0
  /// Distinguishes this turn's chains from those of earlier turns.
  var turn: UInt32 = 1
  private let nowhere: UnsafeMutablePointer<UInt8>

  init(capacity: Int) {
    self.capacity = capacity
    base = .allocate(capacity: capacity)
    nowhere = .allocate(capacity: 1)
    nowhere.initialize(to: 0)
  }

  deinit {
    base.deallocate()
    nowhere.deallocate()
  }

  @inline(__always) var room: Int { capacity &- count }

  mutating func startTurn() {
    count = 0
    turn &+= 1
  }

  /// Appends an event that concerns no socket.
  mutating func append(_ kind: EventKind, tag: UInt16 = 0, code: Int32 = 0) {
    precondition(count < capacity, "more events than the turn has room for")
    (base + count).initialize(
      to: Event(
        kind: kind, isOverflow: false, tag: tag, code: code, socket: .none, bytes: UnsafePointer(nowhere), length: 0,
        previous: 0))
    count &+= 1
  }

  /// Appends an event of a socket and chains it to the socket's earlier ones of this turn.
  @inline(__always)
  mutating func append(
    _ kind: EventKind, _ slot: UnsafeMutablePointer<Slot>, _ index: UInt32, isOverflow: Bool = false, tag: UInt16 = 0,
    code: Int32 = 0, bytes: UnsafePointer<UInt8>? = nil, length: UInt32 = 0
  ) {
    precondition(count < capacity, "more events than the turn has room for")
    let previous = slot.pointee.lastTurn == turn ? slot.pointee.lastEvent : 0
    if kind == .received || kind == .ended { slot.pointee.flags.remove(.hasTarget) }
    (base + count).initialize(
      to: Event(
        kind: kind, isOverflow: isOverflow, tag: tag, code: code,
        socket: SocketID(index: index, generation: slot.pointee.generation), bytes: bytes ?? UnsafePointer(nowhere),
        length: length, previous: previous))
    count &+= 1
    slot.pointee.lastTurn = turn
    slot.pointee.lastEvent = UInt32(truncatingIfNeeded: count)
  }

  /// Makes every event of the socket in this turn stale: its owner closed it.
  mutating func retract(_ slot: UnsafeMutablePointer<Slot>) {
    guard slot.pointee.lastTurn == turn else { return }
    var next = slot.pointee.lastEvent
    while next != 0 {
      let event = base + Int(next &- 1)
      event.pointee.kind = .stale
      next = event.pointee.previous
    }
  }
}
