/// A run of pages that holds consecutive records of one partition's log: its descriptor, in a dense array by number.
///
/// Segments of a partition are doubly linked in order of their records' offsets. Number 0 is nobody.
struct Segment {
  typealias ID = UInt32

  struct Flags: OptionSet {
    let rawValue: UInt8
    /// Records are still being appended or copied into it, or out of it: not freed when everything in it is dead.
    static let busy = Flags(rawValue: 1)
    /// Made for one record too large to be copied by cleaning.
    static let large = Flags(rawValue: 2)
    /// Its pages belong to another core's allocator.
    static let foreign = Flags(rawValue: 4)
    /// No longer part of any log; its pages go back when the last pin does.
    static let zombie = Flags(rawValue: 8)
    /// The descriptor describes a segment.
    static let exists = Flags(rawValue: 16)
  }

  // What an overwrite looks at stands first: of 56 bytes, one after another, the first eight are never in two cache
  // lines and the first sixteen once in eight times, and `Store.prefetchSegment` fetches one.
  /// Bytes of records; of the segment a partition appends to, good only after `Store.settle`.
  var used: UInt32 = 0
  /// Bytes of records that no slot points to: superseded, removed, moved away, and every tombstone.
  var dead: UInt32 = 0
  /// Records that no slot points to, but might again: they count as alive, and the segment isn't swept.
  var victims: UInt32 = 0
  var pages: UInt32 = 0
  /// The offset of the first record that was put in.
  var firstOffset: UInt64 = 0
  /// Position of the first record, in 8-byte units from the process-wide base; in the first page.
  var start: UInt64 = 0
  /// Bytes of tombstones, part of `dead`.
  var tombstones: UInt32 = 0
  var previous: ID = 0
  /// Of a free descriptor: the next free one.
  var next: ID = 0
  var pins: UInt32 = 0
  /// Index of the partition in its store.
  var partition: UInt16 = 0
  var flags: Flags = []

  /// The process-wide number of its first page.
  var page: Int { Int(start) >> (PageAllocator.pageShift - 3) }
  /// Bytes between the first record and the end of the pages.
  var capacity: Int { Int(pages) << PageAllocator.pageShift - Int(start * 8) % PageAllocator.pageSize }
}
