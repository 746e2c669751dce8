/// The pages of one core: one zone for tables and segments that many records share, and optionally one for extents of
/// large values.
///
/// A large value takes an aligned hole of the next power of two, whose rest stays free. In the zone of small runs such
/// rests are filled, and huge pages pay; among large extents they often aren't, so there the reactor advises no huge
/// pages and the untouched rests cost address space only.
struct PageZones: ~Copyable {
  private let anchor = Anchor()
  private var small: PageAllocator
  private let large: UnsafeMutablePointer<PageAllocator>?

  /// - Parameter extents: bytes from the process-wide base for large values; nil to take them from `range` too.
  init(range: Range<Int>, extents: Range<Int>?) {
    small = PageAllocator(range: range)
    if let extents {
      large = .allocate(capacity: 1)
      large?.initialize(to: PageAllocator(range: extents))
    } else {
      large = nil
    }
  }

  deinit {
    large?.deinitialize(count: 1)
    large?.deallocate()
  }

  /// Pages in both zones, and of these handed out now.
  var pageCount: Int { small.pageCount + (large?.pointee.pageCount ?? 0) }
  @inline(__always) var usedPages: Int { small.usedPages &+ (large?.pointee.usedPages ?? 0) }

  /// 2-MiB areas that were used since they were last given back to the kernel.
  var dirtyAreas: Int { small.dirtyAreas + (large?.pointee.dirtyAreas ?? 0) }

  /// Whether this process-wide page is of one of the zones.
  func owns(page: Int) -> Bool { small.owns(page: page) || large?.pointee.owns(page: page) == true }

  /// A run for tables and shared segments; see `PageAllocator.allocate`.
  mutating func allocate(atLeast minimum: Int, preferring preferred: Int) -> Range<Int>? {
    small.allocate(atLeast: minimum, preferring: preferred)
  }

  /// Exactly `count` pages for a large value.
  mutating func allocateExtent(_ count: Int) -> Int? {
    guard let large else { return small.allocate(count) }
    return large.pointee.allocate(count)
  }

  /// Takes back any run of pages that are handed out.
  mutating func free(_ page: Int, count: Int) {
    if small.owns(page: page) { return small.free(page, count: count) }
    large!.pointee.free(page, count: count)
  }

  /// See `PageAllocator.takeDiscardable`.
  mutating func takeDiscardable() -> Range<Int>? { small.takeDiscardable() ?? large?.pointee.takeDiscardable() }

  /// See `PageAllocator.takeWanted`; for the zone that has huge pages.
  mutating func takeWanted() -> Range<Int>? { small.takeWanted() }

  /// The first thing that is wrong, or nil.
  func checkInvariants() -> String? { small.checkInvariants() ?? large?.pointee.checkInvariants() }
}
