import Wire

extension Store {
  // MARK: Memory

  /// What memory is wanted for: the worse it would be to have none, the further it may go.
  package enum Claim: Sendable {
    /// A write that may be refused.
    case write
    /// What another node has taken already: refused, it would hold up everything behind it, removals too.
    case copy
    /// A removal, or what gives memory back in the end.
    case removal
  }

  /// Whether `count` more pages are within the limit; all but removals leave the reserve alone, and writes what copies
  /// of other nodes' writes may need beside.
  func fits(_ count: Int, for claim: Claim = .write) -> Bool {
    var limit = limitPages
    if claim != .removal { limit &-= reservePages }
    if claim == .write && isReplicated && !evicts { limit &-= copyPages }
    return countedPages &+ count <= limit
  }

  /// Between `minimum` and `preferred` pages within the limit, or nil.
  mutating func takePages(atLeast minimum: Int, preferring preferred: Int, for claim: Claim) -> Range<Int>? {
    guard fits(minimum, for: claim) else { return nil }
    return pages.allocate(atLeast: minimum, preferring: fits(preferred, for: claim) ? preferred : minimum)
  }

  /// Exactly `count` pages within the limit for a record of its own, or nil.
  mutating func takeExtent(_ count: Int, for claim: Claim) -> Range<Int>? {
    guard fits(count, for: claim), let page = pages.allocateExtent(count) else { return nil }
    return page..<page + count
  }

  /// Returns pages to their allocator, which may be another core's.
  mutating func giveBack(_ page: Int, count: Int) {
    if pages.owns(page: page) {
      pages.free(page, count: count)
    } else {
      let start = page << PageAllocator.pageShift
      borrowedPages -= count
      foreignFrees.append(start..<start + count << PageAllocator.pageShift)
    }
  }

  func address(page: Int) -> UnsafeMutableRawPointer { base + page << PageAllocator.pageShift }

  // MARK: Preparing a write

  /// The slow path of a put: sees to it that the log (if `room` > 0), the table and, if it expires, the heap have room
  /// for one record, without moving a value that lies at `a` or `b`. The segments of these stay held until `release`.
  @inline(never)
  mutating func prepare(
    _ p: UnsafeMutablePointer<Partition>, _ key: KeyRef, room: Int, expires: Bool, time: UInt64,
    _ a: UnsafeRawPointer?, _ b: UnsafeRawPointer?, for claim: Claim = .write
  ) throws(StoreError) -> HeldSegments {
    guard key.keyCount <= Int(UInt16.max), key.mapCount <= Int(UInt8.max), room <= Int(UInt32.max) / 2 else {
      throw .tooLarge
    }
    let held = hold(a, b)
    // Making room may clean this very partition and so use up what it had: look again, but not for ever.
    for _ in 0..<4 {
      let needsLog = room > 0 && remaining(p) < room
      let needsTable = p.pointee.count >= p.pointee.maximumCount
      let needsHeap = expires && p.pointee.heap.isFull
      var needed = needsLog ? PageAllocator.pages(room) : 0
      if needsTable { needed += TableLayout.grown(pages: Int(p.pointee.tablePages)) }
      if needsHeap { needed += grownHeapPages(p) }
      if !fits(needed, for: claim) {
        if makeRoom(needed, for: claim, time: time) { continue }
        break
      }
      if needsTable && !resizeTable(p, pages: TableLayout.grown(pages: Int(p.pointee.tablePages))) { break }
      if needsHeap && !growHeap(p) { break }
      if needsLog && !openSegment(p, room: room, for: claim) { break }
      return held
    }
    release(held)
    throw .full
  }

  /// Looks whether memory is so short that this node's writes are refused, so that those of other nodes that it copies
  /// had better be, too; true if that changed. It lasts until some more is free than was missed.
  @inline(__always)
  package mutating func updateShortage(time: UInt64) -> Bool {
    guard isReplicated, !evicts, isShort || !fits(1) else { return false }
    return lookForShortage(time: time)
  }

  @inline(never)
  private mutating func lookForShortage(time: UInt64) -> Bool {
    let wasShort = isShort
    isShort = !makeRoom(wasShort ? max(1, copyPages / 4) : 1, time: time)
    return isShort != wasShort
  }

  /// The gap search met the table's end: the same with a larger table, if the keys are many enough for chance.
  @inline(never)
  mutating func makeGap(_ p: UnsafeMutablePointer<Partition>) throws(StoreError) {
    if p.pointee.count < p.pointee.maximumCount / 2 { throw .collision }
    let grown = TableLayout.grown(pages: Int(p.pointee.tablePages))
    guard fits(grown, for: .copy), resizeTable(p, pages: grown) else { throw .full }
  }

  /// Makes the table `count` pages large, by one merge from the old array to the new. False if there is no memory or,
  /// which takes made-up keys, the displaced would run over the end.
  mutating func resizeTable(_ p: UnsafeMutablePointer<Partition>, pages count: Int) -> Bool {
    guard let page = takePages(atLeast: count, preferring: count, for: .removal)?.lowerBound else { return false }
    let capacity = UInt64(TableLayout.capacity(pages: count))
    let slots = address(page: page).assumingMemoryBound(to: Slot.self)
    let last = count * TableLayout.slotsPerPage - 1
    let oldSlots = p.pointee.slots
    let oldPages = Int(p.pointee.tablePages)
    var next = 0
    var left = p.pointee.count
    var source = oldSlots
    while left > 0 {
      let word = source.pointee
      source += 1
      if word == 0 { continue }
      left &-= 1
      let home = TableLayout.home(tag: TableLayout.tag(of: word), capacity: capacity)
      while next < home {
        slots[next] = 0
        next &+= 1
      }
      if next == last {
        pages.free(page, count: count)
        return false
      }
      slots[next] = word
      next &+= 1
    }
    (slots + next).update(repeating: 0, count: last + 1 - next)
    p.pointee.slots = slots
    p.pointee.capacity = capacity
    p.pointee.tablePages = UInt32(count)
    p.pointee.maximumCount = TableLayout.maximumCount(pages: count)
    if oldPages > 0 {
      pages.free((UnsafeMutableRawPointer(oldSlots) - base) >> PageAllocator.pageShift, count: oldPages)
    }
    return true
  }

  /// Gives back the table's memory that its keys no longer need.
  mutating func shrinkTable(_ p: UnsafeMutablePointer<Partition>) {
    let current = Int(p.pointee.tablePages)
    guard current > 0 else { return }
    if p.pointee.count == 0 {
      pages.free((UnsafeMutableRawPointer(p.pointee.slots) - base) >> PageAllocator.pageShift, count: current)
      p.pointee.slots = emptySlots
      p.pointee.capacity = 0
      p.pointee.tablePages = 0
      p.pointee.maximumCount = 0
    } else if p.pointee.count * 4 < p.pointee.maximumCount {
      let wanted = TableLayout.pages(count: p.pointee.count + p.pointee.count / 4)
      if wanted < current { _ = resizeTable(p, pages: wanted) }
    }
  }

  // MARK: Holding values that a write reads from the log

  private func hold(_ a: UnsafeRawPointer?, _ b: UnsafeRawPointer?) -> HeldSegments {
    var held = HeldSegments()
    if let a, let id = segment(holding: a) { held.a = id }
    if let b, let id = segment(holding: b) { held.b = id }
    if held.a != 0 { segments[Int(held.a)].pins += 1 }
    if held.b != 0 { segments[Int(held.b)].pins += 1 }
    return held
  }

  mutating func release(_ held: HeldSegments) {
    if held.a != 0 { unpin(held.a) }
    if held.b != 0 { unpin(held.b) }
  }

  /// The segment that has this address in its pages, or nil: the map's entry may be stale or never written.
  func segment(holding address: UnsafeRawPointer) -> Segment.ID? {
    let distance = address - UnsafeRawPointer(base)
    let page = distance >> PageAllocator.pageShift
    guard distance >= 0 && page < processPages else { return nil }
    let id = segmentOfPage[page]
    guard id > 0 && id < segmentCount else { return nil }
    let segment = segments + Int(id)
    guard segment.pointee.flags.contains(.exists), page >= segment.pointee.page,
      page < segment.pointee.page + Int(segment.pointee.pages)
    else { return nil }
    return id
  }

  /// Keeps the record's memory from being reused until `unpin`, although the record may be superseded or moved
  /// meanwhile: for sending straight from the log.
  package mutating func pin(_ record: RecordView) -> UInt32 {
    let id = segmentOfPage[Int(position(record)) >> (PageAllocator.pageShift - 3)]
    precondition(segments[Int(id)].flags.contains(.exists) && segments[Int(id)].partition < partitionTotal)
    segments[Int(id)].pins += 1
    return id
  }

  /// Ends one `pin`.
  package mutating func unpin(_ id: UInt32) {
    let segment = segments + Int(id)
    precondition(id > 0 && id < segmentCount && segment.pointee.pins > 0, "segment \(id) is not pinned")
    segment.pointee.pins -= 1
    if segment.pointee.pins == 0 && segment.pointee.flags.contains(.zombie) { recycle(id) }
  }
}
