import Wire

extension Store {
  // MARK: Appending

  /// The size of a partition's next shared segment: a 32nd of its log or little more, so that the part of the open one
  /// that is empty stays small beside the log; but room for eight records like this one where the log has as much, so
  /// that what is left over at the end of a segment is small beside the segment.
  func segmentPages(_ p: UnsafeMutablePointer<Partition>, room: Int) -> Int {
    var bytes = max(p.pointee.used / 32, PageAllocator.pageSize)
    if room * 8 > bytes {
      bytes = max(bytes, min(1 << PageAllocator.order(room * 8), floorPowerOfTwo(p.pointee.used / 4)))
    }
    let pages = PageAllocator.pages(max(room, min(bytes, maximumSegment)))
    return room > 0 && pages <= 16 ? fittingPages(pages, room: room) : pages
  }

  /// Of the sizes up to twice that many pages the one with the smallest share left over at its end, if all records are
  /// like this one. With 144 bytes each, 5 pages lose 16 bytes, but 2, 3 or 4 pages a 64th.
  private func fittingPages(_ pages: Int, room: Int) -> Int {
    var best = pages
    var bestRest = UInt32(pages << PageAllocator.pageShift) % UInt32(room)
    for count in pages + 1...2 * pages where count << PageAllocator.pageShift <= maximumSegment {
      let rest = UInt32(count << PageAllocator.pageShift) % UInt32(room)
      if Int(rest) * best < Int(bestRest) * count {
        best = count
        bestRest = rest
      }
    }
    return best
  }

  /// Seals the segment the partition appends to and gives it one with room for a record; a large record gets exactly
  /// its pages. False without memory, and nothing changed.
  @inline(never)
  mutating func openSegment(_ p: UnsafeMutablePointer<Partition>, room: Int, for claim: Claim) -> Bool {
    let minimum = PageAllocator.pages(room)
    let isLarge = room > largestShared
    let wanted = isLarge ? minimum : segmentPages(p, room: room)
    let least = max(minimum, wanted / 2)
    let run =
      isLarge
      ? takeExtent(minimum, for: claim)
      : takePages(atLeast: least, preferring: wanted, for: claim == .removal ? .write : claim)
        ?? takePages(atLeast: minimum, preferring: minimum, for: claim)
    guard let run else { return false }
    guard let id = newSegment() else {
      pages.free(run.lowerBound, count: run.count)
      return false
    }
    sealOpen(p)
    link(
      p, id, page: run.lowerBound, pages: run.count, lead: lead(p, room: room, pages: run.count),
      flags: isLarge ? [.busy, .large] : .busy, before: 0)
    segments[Int(id)].firstOffset = p.pointee.nextOffset
    startAppending(p, to: id, at: 0)
    return true
  }

  /// Where the first record of a segment goes, in bytes. Were the first records of all partitions at the start of a
  /// page, then those of a small data set would all fall into a few sets of the processor's caches and evict each
  /// other; so each partition's log starts at another line of its first page.
  private func lead(_ p: UnsafeMutablePointer<Partition>, room: Int, pages count: Int) -> Int {
    guard p.pointee.used == 0 else { return 0 }
    let lead = (p - partitions) % 16 * 64
    return lead + room <= count << PageAllocator.pageShift ? lead : 0
  }

  /// Makes the tail the segment to append to, from `used` bytes on.
  mutating func startAppending(_ p: UnsafeMutablePointer<Partition>, to id: Segment.ID, at used: Int) {
    let segment = segments + Int(id)
    let start = base + Int(segment.pointee.start) << 3
    p.pointee.open = id
    p.pointee.hintOffset = 0
    p.pointee.cursor = start + used
    p.pointee.end = start + segment.pointee.capacity
  }

  /// Writes the open segment's length into its descriptor.
  func settle(_ p: UnsafeMutablePointer<Partition>) {
    guard p.pointee.open != 0, let cursor = p.pointee.cursor else { return }
    let segment = segments + Int(p.pointee.open)
    segment.pointee.used = UInt32(cursor - (base + Int(segment.pointee.start) << 3))
  }

  /// Ends appending to the open segment: its unused pages go back, and all of it if nothing in it is alive.
  mutating func sealOpen(_ p: UnsafeMutablePointer<Partition>) {
    let id = p.pointee.open
    guard id != 0 else { return }
    settle(p)
    p.pointee.open = 0
    p.pointee.hintOffset = 0
    p.pointee.cursor = nil
    p.pointee.end = nil
    close(id)
  }

  /// Ends writing into a segment.
  mutating func close(_ id: Segment.ID) {
    let segment = segments + Int(id)
    segment.pointee.flags.remove(.busy)
    let lead = Int(segment.pointee.start * 8) % PageAllocator.pageSize
    let needed = PageAllocator.pages(lead + Int(segment.pointee.used))
    let surplus = Int(segment.pointee.pages) - needed
    if needed > 0 && surplus > 0 {
      segment.pointee.pages = UInt32(needed)
      giveBack(segment.pointee.page + needed, count: surplus)
    }
    if segment.pointee.dead == segment.pointee.used { freeIfDead(id) }
  }

  // MARK: Descriptors

  /// A free descriptor, or nil when there are as many as there could ever be.
  mutating func newSegment() -> Segment.ID? {
    let id = freeSegments
    if id != 0 {
      freeSegments = segments[Int(id)].next
      return id
    }
    guard Int(segmentCount) < segmentLimit else { return nil }
    segmentCount += 1
    return segmentCount - 1
  }

  /// Describes a run of pages as a segment of the partition, whose first record comes `lead` bytes into the first page,
  /// and links it before another one, or at the end if that is 0.
  mutating func link(
    _ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID, page: Int, pages count: Int, lead: Int,
    flags: Segment.Flags, before next: Segment.ID
  ) {
    let previous = next == 0 ? p.pointee.tail : segments[Int(next)].previous
    var segment = Segment()
    segment.start = UInt64(page << PageAllocator.pageShift + lead) >> 3
    segment.pages = UInt32(count)
    segment.partition = UInt16(p - partitions)
    segment.flags = flags.union(.exists)
    segment.previous = previous
    segment.next = next
    (segments + Int(id)).initialize(to: segment)
    if previous == 0 { p.pointee.head = id } else { segments[Int(previous)].next = id }
    if next == 0 { p.pointee.tail = id } else { segments[Int(next)].previous = id }
    (segmentOfPage + page).update(repeating: id, count: count)
  }

  /// The offset that every record in the segment is below.
  func offsetBound(_ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID) -> UInt64 {
    let next = segments[Int(id)].next
    return next == 0 ? p.pointee.nextOffset : segments[Int(next)].firstOffset
  }

  /// Bytes of a segment that cleaning it gets back: the dead except tombstones that someone still needs.
  func reclaimable(_ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID) -> Int {
    let segment = segments + Int(id)
    let keeps = segment.pointee.tombstones > 0 && offsetBound(p, id) > p.pointee.tombstoneFloor
    return Int(segment.pointee.dead) - (keeps ? Int(segment.pointee.tombstones) : 0)
  }

  /// Frees a segment in which nothing is alive or needed.
  @inline(never)
  mutating func freeIfDead(_ id: Segment.ID) {
    let segment = segments + Int(id)
    let p = partitions + Int(segment.pointee.partition)
    guard !segment.pointee.flags.contains(.busy), reclaimable(p, id) == Int(segment.pointee.used) else { return }
    free(p, id)
  }

  /// Takes a segment out of its log; its pages go back now or when it is unpinned. `forgets`: removals go with it.
  mutating func free(_ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID, forgets: Bool = true) {
    let segment = segments + Int(id)
    if forgets && segment.pointee.tombstones > 0 {
      p.pointee.forgotten = max(p.pointee.forgotten, offsetBound(p, id) &- 1)
    }
    let (previous, next) = (segment.pointee.previous, segment.pointee.next)
    if previous == 0 { p.pointee.head = next } else { segments[Int(previous)].next = next }
    if next == 0 { p.pointee.tail = previous } else { segments[Int(next)].previous = previous }
    if p.pointee.sweepNext == id { p.pointee.sweepNext = next }
    p.pointee.used -= Int(segment.pointee.used)
    p.pointee.dead -= Int(segment.pointee.dead)
    p.pointee.tombstones -= Int(segment.pointee.tombstones)
    deadBytes -= Int(segment.pointee.dead)
    segment.pointee.flags = segment.pointee.flags.union(.zombie)
    if segment.pointee.pins == 0 { recycle(id) }
  }

  /// Returns the pages of a segment that no log has.
  mutating func recycle(_ id: Segment.ID) {
    let segment = segments + Int(id)
    segment.pointee.flags = []
    giveBack(segment.pointee.page, count: Int(segment.pointee.pages))
    segment.pointee.next = freeSegments
    freeSegments = id
  }
}
