/// Hands out runs of pages of one core's byte range of the process-wide region, lowest address first.
///
/// A binary buddy system (Knuth, TAOCP 1, 2.5) whose state is a complete binary tree of one byte per node instead of
/// free lists: a node holds 1 + the order of the largest free aligned block below it, 0 when there is none. Allocation
/// walks to the leftmost block that is large enough; so memory stays compact at low addresses and free pages are never
/// touched. Freeing sets the node and repairs the path to the root, which merges buddies. Both take one walk of at most
/// 28 steps per aligned block, and a run of n pages decomposes into at most 2 log2(n) blocks.
///
/// A node that is wholly free or wholly used says so for its whole subtree; the bytes below it are stale until a walk
/// passes through and pushes the state down. That is why the tree needs no initialisation and a region of any size
/// costs only what is used of it.
///
/// A page has 2 KiB rather than 4: tables and log segments are sized in pages, and at 1 M keys in 1024 partitions the
/// finer grain saves 2 bytes a record.
struct PageAllocator: ~Copyable {
  static var pageShift: Int { 11 }
  static var pageSize: Int { 1 << pageShift }
  /// Pages of an area that can be given back to the kernel: 2 MiB.
  static var areaShift: Int { 21 - pageShift }

  /// The process-wide number of this core's first page.
  let firstPage: Int
  let pageCount: Int
  private let topOrder: Int
  private let tree: UnsafeMutablePointer<UInt8>
  /// Which areas were used since they were last given back: a bit each.
  private let dirty: UnsafeMutablePointer<UInt64>
  private let areaCount: Int
  private var areaHand = 0
  /// Areas that were looked at in vain, one after another, since pages came back last.
  private(set) var barrenAreas = 0
  /// How many those are.
  private(set) var dirtyAreas = 0
  /// The untouched area that will be needed next and was not reported yet, and the one that was reported last.
  private var wantedArea: Int? = 0
  private var reportedArea = 0
  /// Pages handed out now.
  private(set) var usedPages = 0
  /// Runs of 1, 2, 4 and 8 pages that came back last, used in the tree, to be handed out next: a log in steady state
  /// frees and takes such runs in turns, and these are still in the processor's cache.
  private let recent: UnsafeMutablePointer<Int>
  private var recentCounts = (0, 0, 0, 0)

  /// `range` is in bytes from the process-wide base and in whole pages. Page 0 of the process is never handed out, so
  /// that no record has position 0.
  init(range: Range<Int>) {
    precondition(range.lowerBound % Self.pageSize == 0 && range.upperBound % Self.pageSize == 0, "\(range)")
    precondition(!range.isEmpty && range.upperBound <= 1 << 39, "36 bits of 8-byte units address 512 GiB")
    firstPage = range.lowerBound >> Self.pageShift
    pageCount = range.count >> Self.pageShift
    topOrder = Self.order(pageCount)
    tree = .allocate(capacity: 2 << topOrder)
    areaCount = (pageCount >> Self.areaShift) + 1
    dirty = .allocate(capacity: areaCount / 64 + 1)
    dirty.initialize(repeating: 0, count: areaCount / 64 + 1)
    recent = .allocate(capacity: Self.recentOrders * Self.recentBound)
    recent.initialize(repeating: 0, count: Self.recentOrders * Self.recentBound)
    tree[1] = Self.full(topOrder)
    set(pageCount, count: (1 << topOrder) - pageCount, free: false)
    if firstPage == 0 { set(0, count: 1, free: false) }
  }

  deinit {
    tree.deallocate()
    dirty.deallocate()
    recent.deallocate()
  }

  /// The smallest order whose block has at least `pages` pages.
  static func order(_ pages: Int) -> Int { pages <= 1 ? 0 : Int.bitWidth - (pages - 1).leadingZeroBitCount }

  /// Pages that hold `bytes` bytes.
  static func pages(_ bytes: Int) -> Int { (bytes &+ pageSize &- 1) >> pageShift }

  /// What a wholly free node of this order holds.
  private static func full(_ order: Int) -> UInt8 { UInt8(truncatingIfNeeded: order &+ 1) }

  /// Whether these process-wide pages are this core's.
  func owns(page: Int) -> Bool { page >= firstPage && page < firstPage + pageCount }

  /// Exactly `pages` pages, or nil when no aligned block is large enough. Answers the process-wide number of the first.
  mutating func allocate(_ pages: Int) -> Int? { allocate(atLeast: pages, preferring: pages)?.lowerBound }

  /// The lowest free run of at least `minimum` pages, up to `preferred` of them where it has so many: what lets holes
  /// be filled rather than passed over.
  mutating func allocate(atLeast minimum: Int, preferring preferred: Int) -> Range<Int>? {
    precondition(minimum > 0 && minimum <= preferred)
    if let page = popRecent(preferred) {
      usedPages &+= preferred
      return page..<page &+ preferred
    }
    let wanted = Self.full(Self.order(minimum))
    if tree[1] < wanted {
      flushRecent(keeping: 0)
      guard tree[1] >= wanted else { return nil }
    }
    var node = 1
    var order = topOrder
    while tree[node] != Self.full(order) {
      node &*= 2
      order &-= 1
      if tree[node] < wanted { node &+= 1 }
    }
    let start = (node << order) &- (1 << topOrder)
    let count = min(preferred, 1 << order)
    set(start, count: count, free: false)
    usedPages &+= count
    for area in start >> Self.areaShift...(start &+ count &- 1) >> Self.areaShift {
      let bit = 1 << UInt64(area & 63) as UInt64
      if dirty[area >> 6] & bit == 0 {
        // Not `|=`: with -sanitize=thread the compiler (6.3) makes invalid code of that on an element.
        dirty[area >> 6] = dirty[area >> 6] | bit
        dirtyAreas &+= 1
      }
    }
    lookAhead(behind: start &+ count)
    return start &+ firstPage..<start &+ firstPage &+ count
  }

  /// Wants the area that follows when half of the one before the page `end` was passed: growth goes from low addresses
  /// to high ones, and giving an area its memory takes the kernel longer than a turn may last.
  @inline(__always)
  private mutating func lookAhead(behind end: Int) {
    let next = (end &+ 1 << (Self.areaShift &- 1)) >> Self.areaShift
    guard next != reportedArea, next > (end &- 1) >> Self.areaShift, next < pageCount >> Self.areaShift,
      dirty[next >> 6] & 1 << UInt64(next & 63) == 0
    else { return }
    wantedArea = next
  }

  /// The 2-MiB area, in bytes from the process-wide base, that will probably be used next and has no memory yet.
  /// Reported once; nil when there is none.
  mutating func takeWanted() -> Range<Int>? {
    guard let area = wantedArea else { return nil }
    wantedArea = nil
    reportedArea = area
    guard area < pageCount >> Self.areaShift else { return nil }
    let start = (firstPage + area << Self.areaShift) << Self.pageShift
    return start..<start + 1 << 21
  }

  /// Takes back any run of pages that are handed out, whole allocations or parts of them.
  mutating func free(_ page: Int, count: Int) {
    precondition(owns(page: page) && page &+ count <= firstPage &+ pageCount && count > 0, "\(page) \(count)")
    usedPages &-= count
    barrenAreas = 0
    if !pushRecent(page, count) { set(page &- firstPage, count: count, free: true) }
  }

  /// A 2-MiB area, in bytes from the process-wide base, that holds nothing but may still cost memory; it is reported
  /// once until it is used again. Looks at no more than 64 areas per call, and at none when it has gone around in vain
  /// since pages came back last; nil when none of them is such.
  mutating func takeDiscardable() -> Range<Int>? {
    let whole = pageCount >> Self.areaShift
    // Twice: what is used again soon comes back to the tree in the middle of a round.
    guard barrenAreas < 2 * whole else { return nil }
    for _ in 0..<min(whole, 64) {
      let area = areaHand
      if area == 0 { flushRecent(keeping: 0) }
      areaHand = areaHand &+ 1 < whole ? areaHand &+ 1 : 0
      barrenAreas &+= 1
      guard dirty[area >> 6] & 1 << UInt64(area & 63) != 0, isFree(area << Self.areaShift, order: Self.areaShift)
      else { continue }
      dirty[area >> 6] = dirty[area >> 6] & ~(1 << UInt64(area & 63))
      dirtyAreas -= 1
      if area == reportedArea { reportedArea = 0 }
      let start = (firstPage + area << Self.areaShift) << Self.pageShift
      return start..<start + 1 << 21
    }
    return nil
  }

  /// Whether the aligned block is wholly free.
  private func isFree(_ start: Int, order wanted: Int) -> Bool {
    guard wanted <= topOrder else { return false }
    var order = topOrder
    while true {
      let value = tree[(1 << (topOrder - order)) + start >> order]
      if value == Self.full(order) { return true }
      if order == wanted || value == 0 { return false }
      order -= 1
    }
  }

  // MARK: Recently freed runs

  static var recentOrders: Int { 4 }
  /// Runs of each size that are kept; all of them are 480 KiB.
  static var recentBound: Int { 16 }

  private func recentCount(_ order: Int) -> Int {
    switch order {
    case 0: recentCounts.0
    case 1: recentCounts.1
    case 2: recentCounts.2
    default: recentCounts.3
    }
  }

  private mutating func setRecentCount(_ order: Int, _ count: Int) {
    switch order {
    case 0: recentCounts.0 = count
    case 1: recentCounts.1 = count
    case 2: recentCounts.2 = count
    default: recentCounts.3 = count
    }
  }

  private mutating func popRecent(_ count: Int) -> Int? {
    guard count <= 8 && count & (count &- 1) == 0 else { return nil }
    let order = count.trailingZeroBitCount
    let kept = recentCount(order)
    guard kept > 0 else { return nil }
    setRecentCount(order, kept &- 1)
    return recent[order &* Self.recentBound &+ kept &- 1]
  }

  /// Keeps a run that came back; of 16 kept ones the 8 oldest go to the tree first. False for other sizes.
  private mutating func pushRecent(_ page: Int, _ count: Int) -> Bool {
    guard count <= 8 && count & (count &- 1) == 0 else { return false }
    let order = count.trailingZeroBitCount
    if recentCount(order) == Self.recentBound { flush(order, keeping: Self.recentBound / 2) }
    let kept = recentCount(order)
    recent[order &* Self.recentBound &+ kept] = page
    setRecentCount(order, kept &+ 1)
    return true
  }

  private mutating func flushRecent(keeping count: Int) {
    for order in 0..<Self.recentOrders { flush(order, keeping: count) }
  }

  private mutating func flush(_ order: Int, keeping left: Int) {
    let runs = recent + order * Self.recentBound
    let surplus = recentCount(order) - left
    guard surplus > 0 else { return }
    for index in 0..<surplus { set(runs[index] &- firstPage, count: 1 << order, free: true) }
    for index in 0..<left { runs[index] = runs[index + surplus] }
    setRecentCount(order, left)
  }

  /// Pages of the runs that are kept, for checks: all must be distinct.
  private func recentPages() -> Set<Int> {
    var pages = Set<Int>()
    for order in 0..<Self.recentOrders {
      for index in 0..<recentCount(order) {
        let page = recent[order * Self.recentBound + index]
        pages.formUnion(page..<page + 1 << order)
      }
    }
    return pages
  }

  private func set(_ start: Int, count: Int, free: Bool) {
    var low = start
    let high = start &+ count
    while low < high {
      let room = Int.bitWidth &- 1 &- (high &- low).leadingZeroBitCount
      let order = low == 0 ? room : min(low.trailingZeroBitCount, room)
      setBlock(low, order: order, free: free)
      low &+= 1 << order
    }
  }

  private func setBlock(_ start: Int, order: Int, free: Bool) {
    let node = (1 << (topOrder &- order)) &+ (start >> order)
    var above = topOrder
    while above > order {
      let ancestor = node >> (above &- order)
      let value = tree[ancestor]
      if value == 0 || value == Self.full(above) {
        let state = value == 0 ? 0 : Self.full(above &- 1)
        tree[ancestor &* 2] = state
        tree[ancestor &* 2 &+ 1] = state
      }
      above &-= 1
    }
    precondition(tree[node] == (free ? 0 : Self.full(order)), "pages handed out or taken back twice")
    tree[node] = free ? Self.full(order) : 0
    var current = node
    var level = order
    while current > 1 {
      let left = tree[current & ~1]
      let right = tree[current | 1]
      let whole = Self.full(level)
      current >>= 1
      level &+= 1
      let merged = left == whole && right == whole ? Self.full(level) : max(left, right)
      if tree[current] == merged { return }
      tree[current] = merged
    }
  }
}

extension PageAllocator {
  /// The first thing that is wrong with the tree, or nil.
  func checkInvariants() -> String? {
    var free = 0
    var wrong: String?
    visit(node: 1, order: topOrder, free: &free, wrong: &wrong)
    let reserved = firstPage == 0 ? 1 : 0
    let recent = recentPages()
    if recent.contains(where: { isFree($0 - firstPage, order: 0) }) { wrong = "a page came back twice" }
    if wrong == nil && free + recent.count + usedPages + reserved != pageCount {
      wrong = "free \(free) + recent \(recent.count) + used \(usedPages) + reserved \(reserved) != \(pageCount) pages"
    }
    return wrong
  }

  private func visit(node: Int, order: Int, free: inout Int, wrong: inout String?) {
    let value = tree[node]
    if value == 0 || wrong != nil { return }
    if value == Self.full(order) {
      free += 1 << order
      return
    }
    guard order > 0 else {
      wrong = "leaf \(node) holds \(value)"
      return
    }
    let (left, right) = (tree[2 * node], tree[2 * node + 1])
    let whole = Self.full(order - 1)
    if left > whole || right > whole || value != max(left, right) || (left == whole && right == whole) {
      wrong = "node \(node) of order \(order) holds \(value) over \(left) and \(right)"
      return
    }
    visit(node: 2 * node, order: order - 1, free: &free, wrong: &wrong)
    visit(node: 2 * node + 1, order: order - 1, free: &free, wrong: &wrong)
  }

  /// Whether this page is handed out, for checks and dumps.
  func isUsed(page: Int) -> Bool { !isFree(page - firstPage, order: 0) && !recentPages().contains(page) }
}
