/// What each record that may be taken back replaced, by offset: positions of records, 0 for none. A ring of a power of
/// two that grows with what is under way; a trivial handle.
struct VictimRing {
  private(set) var places: UnsafeMutablePointer<UInt64>?
  private(set) var capacity = 0

  /// The position that the record at `offset` replaced.
  @inline(__always)
  subscript(offset: UInt64) -> UInt64 {
    get { places.unsafelyUnwrapped[Int(truncatingIfNeeded: offset) & (capacity &- 1)] }
    nonmutating set { places.unsafelyUnwrapped[Int(truncatingIfNeeded: offset) & (capacity &- 1)] = newValue }
  }

  /// Makes room for the offsets above `committed` up to `last`; those below `last` are in use.
  mutating func reserve(_ committed: UInt64, _ last: UInt64) {
    let needed = Int(last - committed)
    guard needed > capacity else { return }
    var size = max(capacity, 32)
    while size < needed { size *= 2 }
    let larger = UnsafeMutablePointer<UInt64>.allocate(capacity: size)
    var offset = committed + 1
    while offset < last {
      larger[Int(truncatingIfNeeded: offset) & (size - 1)] = capacity > 0 ? self[offset] : 0
      offset += 1
    }
    places?.deallocate()
    places = larger
    capacity = size
  }

  func deallocate() { places?.deallocate() }
}
