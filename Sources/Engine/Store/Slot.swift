import Wire

/// A slot of a partition's table, one word: tag (27 bits) | referenced (1 bit) | position (36 bits). 0 is empty.
///
/// The tag is the low bits of the key's hash, of which the high bits chose the partition. The position counts 8-byte
/// units from the process-wide base, so any core's memory has one; it is never 0. Because the tag is on top, slots in
/// the order of their tags are words in order.
typealias Slot = UInt64

/// The parts of a slot and the arithmetic of a table of sorted linear probing.
///
/// A tag's home is `tag * capacity / 2^27`, monotone in the tag, and a slot is never before its tag's home; slots are
/// kept in order of tags. So the whole array is one sorted sequence with gaps (Amble and Knuth 1974, ordered hash
/// tables; here without wrap-around): a search for an absent tag ends at the first larger one, a table of another size
/// is one sequential merge that touches no record, and a tag is a listing cursor that growth can't disturb.
enum TableLayout {
  static var tagBits: UInt64 { 27 }
  static var tagMask: UInt64 { 1 << tagBits &- 1 }
  static var tagShift: UInt64 { 37 }
  static var referenced: UInt64 { 1 << 36 }
  static var positionMask: UInt64 { 1 << 36 &- 1 }
  static var slotsPerPage: Int { PageAllocator.pageSize / 8 }
  /// Slots beyond the last home, for the keys that are displaced past it; the very last one always stays empty, so that
  /// every search ends.
  static var overflow: Int { 64 }
  /// Keys that may have the same tag; a further one is refused. Chance gives 3 in a partition of a million.
  static var maximumRun: Int { 60 }
  /// Slots between a key's home and its place; a further one is refused. At the highest load chance gives 100 once in
  /// 10^13 keys.
  static var maximumDisplacement: Int { 1024 }

  @inline(__always) static func tag(_ hash: UInt64) -> UInt64 { hash & tagMask }
  @inline(__always) static func tag(of slot: Slot) -> UInt64 { slot &>> tagShift }
  @inline(__always) static func position(of slot: Slot) -> UInt64 { slot & positionMask }
  @inline(__always) static func home(tag: UInt64, capacity: UInt64) -> Int { Int((tag &* capacity) &>> tagBits) }

  /// Homes of a table of this many pages.
  static func capacity(pages: Int) -> Int { pages * slotsPerPage - overflow }
  /// The most keys in a table of this many pages: a load of 0.85.
  static func maximumCount(pages: Int) -> Int { capacity(pages: pages) * 17 / 20 }
  /// The next larger size: one page more, then an eighth more.
  static func grown(pages: Int) -> Int { pages + max(1, pages / 8) }
  /// The smallest size for this many keys.
  static func pages(count: Int) -> Int {
    var pages = PageAllocator.pages((count * 20 / 17 + overflow) * 8)
    while maximumCount(pages: pages) < count { pages += 1 }
    return pages
  }
}
