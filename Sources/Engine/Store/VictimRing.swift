import Wire

/// A record that another one replaced, which may be taken back: where it lies, and its room, so that it can be counted
/// dead without a look at it.
struct Victim: Equatable {
  /// The position in the lower 36 bits, which is all that 512 GiB have; the room above, in units of 8 bytes too.
  private let rawValue: UInt64

  /// None.
  static let none = Victim(position: 0, room: 0)

  init(position: UInt64, room: Int) {
    precondition(position < 1 << 36 && room < 1 << 31, "a record of \(room) bytes at \(position)")
    rawValue = position | UInt64(room) << 33
  }

  /// In units of 8 bytes from the process-wide base; 0 for none.
  var position: UInt64 { rawValue & (1 << 36 - 1) }
  /// Bytes, a multiple of 8.
  var room: Int { Int(rawValue >> 36) << 3 }
}

/// What each record that may be taken back replaced, by offset. A ring of a power of two that grows with what is under
/// way; a trivial handle.
struct VictimRing {
  private(set) var places: UnsafeMutablePointer<Victim>?
  private(set) var capacity = 0

  /// What the record at `offset` replaced.
  @inline(__always)
  subscript(offset: UInt64) -> Victim {
    get { places.unsafelyUnwrapped[Int(truncatingIfNeeded: offset) & (capacity &- 1)] }
    nonmutating set { places.unsafelyUnwrapped[Int(truncatingIfNeeded: offset) & (capacity &- 1)] = newValue }
  }

  /// Makes room for the offsets above `committed` up to `last`; those below `last` are in use.
  mutating func reserve(_ committed: UInt64, _ last: UInt64) {
    let needed = Int(last - committed)
    guard needed > capacity else { return }
    var size = max(capacity, 32)
    while size < needed { size *= 2 }
    let larger = UnsafeMutablePointer<Victim>.allocate(capacity: size)
    var offset = committed + 1
    while offset < last {
      larger[Int(truncatingIfNeeded: offset) & (size - 1)] = capacity > 0 ? self[offset] : .none
      offset += 1
    }
    places?.deallocate()
    places = larger
    capacity = size
  }

  /// Fetches what belongs to an offset.
  @inline(__always)
  func prefetch(_ offset: UInt64) {
    if let places { Wire.prefetch(places + (Int(truncatingIfNeeded: offset) & (capacity &- 1))) }
  }

  func deallocate() { places?.deallocate() }
}
