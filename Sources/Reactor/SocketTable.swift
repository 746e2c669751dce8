import Glibc

/// What a loop knows of one socket: a cache line of state that every operation needs, a second one that few need, and
/// behind them in memory 64 bytes of scratch for the kernel (`msghdr` of a two-piece send, or the address of a connect
/// under way).
struct Slot {
  /// What is left of the send under way, in two pieces; first, because the kernel gets their address as an array.
  var head: iovec
  var body: iovec
  var descriptor: Int32
  var generation: UInt32
  var flags: SlotFlags
  /// Operations the kernel still has (io_uring); a slot is given back only at zero.
  var inFlight: UInt32
  /// The last event of this turn plus one, and the turn it belongs to.
  var lastEvent: UInt32
  var lastTurn: UInt32
  /// The next slot of the free list or of the list of sockets with something to report, plus one.
  var next: UInt32
  /// The errno to report, with `.reportFailed`.
  var error: Int32
  /// With `.hasTarget`: where the socket's next bytes go, and how many at most.
  var target: UnsafeMutablePointer<UInt8>?
  var targetCount = 0
}

/// Facts about a slot, one bit each.
struct SlotFlags: OptionSet {
  let rawValue: UInt32

  /// The slot has a socket that its owner hasn't closed.
  static let open = SlotFlags(rawValue: 1 << 0)
  /// The owner called `close`; `.closed` is still to come.
  static let closing = SlotFlags(rawValue: 1 << 1)
  /// The owner asked for no more bytes.
  static let paused = SlotFlags(rawValue: 1 << 2)
  /// The peer's end of file was reported.
  static let ended = SlotFlags(rawValue: 1 << 3)
  /// `.failed` was reported.
  static let failed = SlotFlags(rawValue: 1 << 4)
  /// A send is under way.
  static let sending = SlotFlags(rawValue: 1 << 5)
  /// A connect is under way.
  static let connecting = SlotFlags(rawValue: 1 << 6)
  /// io_uring: the kernel has a receive of this socket.
  static let receiving = SlotFlags(rawValue: 1 << 7)
  /// io_uring: that receive was told to stop.
  static let cancelled = SlotFlags(rawValue: 1 << 8)
  /// epoll: the descriptor is registered; it watches for reading; for writing.
  static let registered = SlotFlags(rawValue: 1 << 9)
  static let watchesRead = SlotFlags(rawValue: 1 << 10)
  static let watchesWrite = SlotFlags(rawValue: 1 << 11)
  /// epoll: on the list of sockets with something to report, and what.
  static let listed = SlotFlags(rawValue: 1 << 12)
  static let reportSent = SlotFlags(rawValue: 1 << 13)
  static let reportFailed = SlotFlags(rawValue: 1 << 14)
  static let reportConnected = SlotFlags(rawValue: 1 << 15)
  /// The owner asked for the next bytes to be put at `target`.
  static let hasTarget = SlotFlags(rawValue: 1 << 17)
  /// io_uring: the receive under way fills `target`.
  static let filling = SlotFlags(rawValue: 1 << 18)
  /// io_uring: received from once at a time, because the owner may ask for a target each time; the last receive was
  /// one into a buffer.
  static let takesOne = SlotFlags(rawValue: 1 << 19)
  static let tookOne = SlotFlags(rawValue: 1 << 20)
  /// io_uring: on the list of sockets that the next turn begins to receive from.
  static let waitsToReceive = SlotFlags(rawValue: 1 << 21)
  /// Taken beyond the owner's limit of connections.
  static let overflow = SlotFlags(rawValue: 1 << 16)
}

/// The sockets of one loop: a flat array of 192-byte slots with a free list through it (last freed, first used).
///
/// The array is reserved as address space at its full size and the kernel backs a page when a slot in it is first
/// used, so it grows four kilobytes at a time and slots never move.
struct SocketTable: ~Copyable {
  static var stride: Int { 192 }
  static var scratchOffset: Int { 128 }

  private let region: MemoryRegion
  let capacity: Int
  /// Slots ever used; those at and above are untouched memory.
  private(set) var used = 0
  /// Sockets now held, closing ones included.
  private(set) var count = 0
  private var firstFree: UInt32 = 0

  /// - Throws: `ReactorError` if the address space can't be had.
  init(capacity: Int) throws(ReactorError) {
    precondition(MemoryLayout<Slot>.stride <= Self.scratchOffset, "a slot's state outgrew its lines")
    self.capacity = capacity
    region = try MemoryRegion.reserve(capacity * Self.stride, hugePages: false)
  }

  @inline(__always) func slot(at index: Int) -> UnsafeMutablePointer<Slot> {
    (region.base + index &* Self.stride).assumingMemoryBound(to: Slot.self)
  }

  /// The slot of a socket, nil if it is closed (or was never).
  @inline(__always) func find(_ socket: SocketID) -> UnsafeMutablePointer<Slot>? {
    guard socket.index < used else { return nil }
    let slot = slot(at: socket.index)
    return slot.pointee.generation == socket.generation && slot.pointee.flags.contains(.open) ? slot : nil
  }

  /// The pieces of a slot's send as the kernel wants them; the slot doesn't move, so the address stays good.
  @inline(__always) static func pieces(_ slot: UnsafeMutablePointer<Slot>) -> UnsafeMutablePointer<iovec> {
    UnsafeMutableRawPointer(slot).assumingMemoryBound(to: iovec.self)
  }

  /// The 64 bytes behind a slot that stay put while the kernel reads them.
  @inline(__always) static func scratch(_ slot: UnsafeMutablePointer<Slot>) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(slot) + scratchOffset
  }

  /// Takes a slot for a descriptor; its index, or nil if all are taken.
  mutating func insert(_ descriptor: Int32, flags: SlotFlags = []) -> UInt32? {
    let index: UInt32
    if firstFree != 0 {
      index = firstFree &- 1
      firstFree = slot(at: Int(index)).pointee.next
    } else if used < capacity {
      index = UInt32(truncatingIfNeeded: used)
      used &+= 1
    } else {
      return nil
    }
    let slot = slot(at: Int(index))
    // Fresh memory is zero, so the first generation is 1 and no id is ever 0.
    let generation = max(1, slot.pointee.generation &+ 1)
    slot.initialize(
      to: Slot(
        head: iovec(), body: iovec(), descriptor: descriptor, generation: generation, flags: flags.union(.open),
        inFlight: 0, lastEvent: 0, lastTurn: 0, next: 0, error: 0))
    count &+= 1
    return index
  }

  /// Gives the slot back. Its generation stays until the next `insert` raises it; `open` is gone, so no id finds it.
  mutating func remove(_ index: UInt32) {
    let slot = slot(at: Int(index))
    precondition(slot.pointee.inFlight == 0, "a slot was given back while the kernel still works on it")
    slot.pointee.flags = []
    slot.pointee.next = firstFree
    firstFree = index &+ 1
    count &-= 1
  }
}

extension Slot {
  /// Queues a send of one or two pieces.
  @inline(__always)
  mutating func setPieces(
    _ head: UnsafeRawPointer, _ headCount: Int, _ body: UnsafeRawPointer?, _ bodyCount: Int
  ) {
    self.head = iovec(iov_base: UnsafeMutableRawPointer(mutating: head), iov_len: headCount)
    self.body = iovec(iov_base: UnsafeMutableRawPointer(mutating: body), iov_len: bodyCount)
  }

  /// Bytes of the send that the kernel hasn't taken.
  @inline(__always) var unsent: Int { head.iov_len &+ body.iov_len }

  /// Drops what the kernel took from the front of the send.
  mutating func drop(_ taken: Int) {
    let fromHead = min(taken, head.iov_len)
    head.iov_base = head.iov_base.map { $0 + fromHead }
    head.iov_len &-= fromHead
    let fromBody = taken &- fromHead
    precondition(fromBody <= body.iov_len, "the kernel took more than it was given")
    body.iov_base = body.iov_base.map { $0 + fromBody }
    body.iov_len &-= fromBody
  }
}
