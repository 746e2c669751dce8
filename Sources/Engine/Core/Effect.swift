import Wire

/// A connection as the reactor names it: a slot and the slot's generation, so that an event or an answer that comes
/// late can't reach the slot's next tenant.
@frozen public struct ConnectionID: Equatable, Hashable, Sendable {
  /// The index in the reactor's and the core's flat tables.
  @usableFromInline package let index: UInt32
  @usableFromInline package let generation: UInt32

  @inlinable @inline(__always) package init(index: UInt32, generation: UInt32) {
    self.index = index
    self.generation = generation
  }
}

/// The severity of a log line, ordered as in swift-log.
@frozen public enum LogLevel: UInt8, Comparable, Sendable {
  case trace, debug, info, notice, warning, error, critical

  /// Whether a is less severe than b.
  @inlinable public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
}

/// What a core asks of the world. Trivial values in a reused buffer: the engine never calls the kernel.
///
/// Memory named by a send stays unchanged until the reactor reports `sent`, or `closed` for the connection; all other
/// memory that is read is valid until the end of the turn.
package enum Effect {
  /// Send these bytes, all of them; at most one send per connection is under way.
  case send(ConnectionID, UnsafeRawPointer, count: Int)
  /// Send two pieces as one: a head and a slice of the log, which isn't copied.
  case sendPair(ConnectionID, UnsafeRawPointer, count: Int, UnsafeRawPointer, tailCount: Int)
  /// Connect to a node's `--peer` port, for this link; `dialed` or `dialFailed` is called at once, and `connected` or
  /// `failed` follows.
  case connect(link: Int, PeerAddress)
  /// No more bytes will be sent; go on receiving.
  case shutdownWrite(ConnectionID)
  /// Let the `close` that follows reset the connection instead of delivering what the kernel still holds.
  case abort(ConnectionID)
  /// Give the connection up; `closed` follows when nothing of it is in flight any more.
  case close(ConnectionID)
  /// Stop (or take up again) receiving from this connection.
  case pause(ConnectionID)
  case resume(ConnectionID)
  /// Put the next bytes of this connection, so many at most, straight here, if that can still be done; the memory is
  /// lent until bytes of the connection came (wherever they are), or `ended` or `closed`.
  case receive(ConnectionID, into: UnsafeMutableRawPointer, count: Int)
  /// Give the memory of these bytes of the reservation back to the kernel; nothing uses them.
  case discard(Range<Int>)
  /// Have the kernel give these bytes of the reservation their memory soon, without changing them and without waiting
  /// for it: they will probably be written.
  case populate(Range<Int>)
  /// Have the cluster note that it takes writes; those that wait for it go on when a view shows it.
  case askForWrites
  /// Ask the cluster for a map's settings: an encoded `TopologyCommand.setMap`.
  case setMap(UnsafeRawPointer, count: Int)
  /// One log line: the fields of a JSON object without its braces.
  case log(LogLevel, UnsafeRawPointer, count: Int)
}

/// The effects of one turn in order; a flat buffer that grows to the busiest turn and stays.
package struct EffectBuffer: ~Copyable {
  private var base: UnsafeMutablePointer<Effect>
  private var capacity: Int
  /// How many effects wait.
  package private(set) var count = 0

  init(capacity: Int = 256) {
    self.capacity = capacity
    base = .allocate(capacity: capacity)
  }

  deinit { base.deallocate() }

  mutating func append(_ effect: Effect) {
    if count == capacity { grow() }
    (base + count).initialize(to: effect)
    count &+= 1
  }

  /// The effect at `index`, which must be below `count`.
  package subscript(index: Int) -> Effect { base[index] }

  /// Forgets all effects, once they have been carried out.
  package mutating func removeAll() { count = 0 }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<Effect>.allocate(capacity: capacity * 2)
    larger.moveInitialize(from: base, count: count)
    base.deallocate()
    base = larger
    capacity *= 2
  }
}
