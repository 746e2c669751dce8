/// When a record expires, and the tag under which its partition's table has it. It may be stale: the record was
/// replaced or removed since.
struct ExpiryEntry {
  var expiry: UInt64
  var tag: UInt32
}

/// A binary heap of expiries, earliest first, in pages of the store. Trivial; the store owns the pages.
struct ExpiryHeap {
  var entries: UnsafeMutablePointer<ExpiryEntry>?
  var count = 0
  var capacity = 0
  var page = 0
  var pages = 0

  static var entriesPerPage: Int { PageAllocator.pageSize / MemoryLayout<ExpiryEntry>.stride }

  var isFull: Bool { count == capacity }
  /// The earliest expiry, `UInt64.max` when there is none.
  var earliest: UInt64 { count == 0 ? .max : entries![0].expiry }

  /// Adds an entry; there must be room.
  mutating func push(_ entry: ExpiryEntry) {
    let entries = self.entries!
    var hole = count
    count &+= 1
    while hole > 0 {
      let parent = (hole &- 1) >> 1
      if entries[parent].expiry <= entry.expiry { break }
      entries[hole] = entries[parent]
      hole = parent
    }
    entries[hole] = entry
  }

  /// Removes the earliest entry; there must be one.
  mutating func pop() {
    let entries = self.entries!
    count &-= 1
    let last = entries[count]
    var hole = 0
    while true {
      var child = 2 &* hole &+ 1
      if child >= count { break }
      if child &+ 1 < count && entries[child &+ 1].expiry < entries[child].expiry { child &+= 1 }
      if entries[child].expiry >= last.expiry { break }
      entries[hole] = entries[child]
      hole = child
    }
    if count > 0 { entries[hole] = last }
  }

  /// Removes and answers the last leaf, which leaves a heap a heap.
  mutating func popLeaf() -> ExpiryEntry {
    count &-= 1
    return entries![count]
  }

  var isOrdered: Bool {
    (0..<count).allSatisfy { $0 == 0 || entries![($0 - 1) / 2].expiry <= entries![$0].expiry }
  }
}
