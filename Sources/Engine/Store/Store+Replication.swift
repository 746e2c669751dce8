import Wire

// What replication needs of a log: to take records as another node wrote them, to take back those that no majority
// holds, and to begin anew.
//
// A record that may be taken back (its offset is above `committed`) must leave what it replaced as it was: that one,
// its
// victim, counts as alive and stays where it is until the record is committed. `Partition.victims` has the victim of
// each such record, so that it is also an undo log: taking records back, the last first, puts their victims into the
// table again. And a follower that lags behind by no more than `committed` finds in the log every record that it lacks.
extension Store {
  // MARK: Committing

  /// Has records of the partition be taken back from now on, down to `committed`; all that are there now are committed
  /// otherwise. A passive partition removes nothing by itself, neither what expired nor what may be evicted.
  package mutating func setReplicated(_ id: PartitionID, isPassive: Bool) {
    let p = partition(id)
    isReplicated = true
    if p.pointee.committed == .max {
      p.pointee.committed = p.pointee.nextOffset - 1
      p.pointee.tombstoneFloor = p.pointee.nextOffset
    }
    if p.pointee.isPassive != isPassive {
      p.pointee.isPassive = isPassive
      updateDue(p)
    }
  }

  /// Records up to this one are never taken back: what they replaced dies.
  package mutating func commit(_ id: PartitionID, upTo offset: Offset) {
    let p = partition(id)
    guard p.pointee.committed != .max, offset.rawValue > p.pointee.committed else { return }
    let last = min(offset.rawValue, p.pointee.nextOffset &- 1)
    while p.pointee.committed < last {
      let next = p.pointee.committed &+ 1
      p.pointee.committed = next
      let victim = p.pointee.victims[next]
      if victim != .none { bury(p, victim) }
    }
    p.pointee.committed = max(p.pointee.committed, offset.rawValue)
  }

  /// Records of the partition that may be taken back.
  package func uncommitted(_ id: PartitionID) -> Int {
    let p = partition(id)
    guard p.pointee.committed < p.pointee.nextOffset else { return 0 }
    return Int(p.pointee.nextOffset &- 1 &- p.pointee.committed)
  }

  /// The log has every removal from this offset on.
  package func removalsKept(from id: PartitionID) -> Offset { Offset(partition(id).pointee.forgotten + 1) }

  /// Notes that the record at `offset`, which was just appended, replaced another one.
  @inline(never)
  mutating func replace(_ p: UnsafeMutablePointer<Partition>, _ old: RecordView?, by offset: UInt64) {
    if !p.pointee.isTouched {
      p.pointee.isTouched = true
      touched.append(p - partitions)
    }
    guard offset > p.pointee.committed else {
      if let old { kill(p, old) }
      return
    }
    p.pointee.victims.reserve(p.pointee.committed, offset)
    guard let old else {
      p.pointee.victims[offset] = .none
      return
    }
    if old.hasExpiry { removeExpiry(p) }
    p.pointee.victims[offset] = Victim(position: position(old), room: old.room)
    segments[Int(segmentOfPage[Int(position(old)) >> (PageAllocator.pageShift - 3)])].victims += 1
  }

  /// The victim is dead for good.
  private mutating func bury(_ p: UnsafeMutablePointer<Partition>, _ victim: Victim) {
    let id = segmentOfPage[Int(victim.position) >> (PageAllocator.pageShift - 3)]
    segments[Int(id)].victims -= 1
    countDead(p, id, room: victim.room)
  }

  // MARK: Taking records

  /// Appends a record as another node wrote it: the same bytes, offset and epoch. Its offset is at least the next one;
  /// the ones between were cleaned away before. Nothing changes if it throws.
  package mutating func append(_ record: RecordView, to id: PartitionID, time: UInt64) throws(StoreError) {
    let p = partition(id)
    let offset = record.offset.rawValue
    precondition(offset >= p.pointee.nextOffset, "offset \(offset) after \(p.pointee.nextOffset)")
    let key = KeyRef(
      map: record.map.baseAddress!, mapCount: record.mapCount, key: record.key.baseAddress!,
      keyCount: record.keyCount, hash: record.hash)
    if record.isPut {
      try append(put: record, key, p, time)
    } else {
      try append(removal: record, key, p)
    }
  }

  private mutating func append(
    put record: RecordView, _ key: KeyRef, _ p: UnsafeMutablePointer<Partition>, _ time: UInt64
  ) throws(StoreError) {
    let room = record.room
    let expiry = record.expiry
    if remaining(p) < room || p.pointee.count >= p.pointee.maximumCount || (expiry != 0 && p.pointee.heap.isFull) {
      release(try prepare(p, key, room: room, expires: expiry != 0, time: time, nil, nil, for: .copy))
    }
    let place = try locate(p, key)
    skip(p, to: record.offset.rawValue)
    let target = p.pointee.cursor!
    copy(record, to: target, room)
    p.pointee.cursor = target + room
    _ = publish(p, place, key.hash, RecordView(target), room: room, expiry: expiry, time: time)
  }

  private mutating func append(
    removal record: RecordView, _ key: KeyRef, _ p: UnsafeMutablePointer<Partition>
  ) throws(StoreError) {
    let room = record.room
    guard remaining(p) >= room || openSegment(p, room: room, for: .removal) else { throw .full }
    skip(p, to: record.offset.rawValue)
    let slot = find(p, key)
    let old = slot.map { self.record(TableLayout.position(of: $0.pointee)) }
    if let slot { deleteSlot(p, slot) }
    let target = p.pointee.cursor!
    copy(record, to: target, room)
    p.pointee.cursor = target + room
    p.pointee.used &+= room
    p.pointee.nextOffset += 1
    countTombstone(p, p.pointee.open, room: room)
    replace(p, old, by: record.offset.rawValue)
  }

  private func copy(_ record: RecordView, to target: UnsafeMutableRawPointer, _ room: Int) {
    target.copyMemory(from: record.base, byteCount: record.length)
    if room > record.length {
      (target + record.length).initializeMemory(as: UInt8.self, repeating: 0, count: room - record.length)
    }
  }

  /// The slot of a key, expired or not.
  private func find(_ p: UnsafeMutablePointer<Partition>, _ key: KeyRef) -> UnsafeMutablePointer<Slot>? {
    let tag = TableLayout.tag(key.hash)
    var slot = firstSlot(p, tag: tag)
    while slot.pointee != 0 && TableLayout.tag(of: slot.pointee) == tag {
      let record = self.record(TableLayout.position(of: slot.pointee))
      if record.matches(map: key.map, mapCount: key.mapCount, key: key.key, keyCount: key.keyCount) { return slot }
      slot += 1
    }
    return nil
  }

  /// The log goes on at this offset: the ones before were cleaned away at their owner. A segment without records begins
  /// there too.
  mutating func skip(_ p: UnsafeMutablePointer<Partition>, to offset: UInt64) {
    guard offset > p.pointee.nextOffset else { return }
    // A removal may have been among them: whoever ends before it wouldn't hear of it from here.
    if p.pointee.isCopy { p.pointee.forgotten = max(p.pointee.forgotten, offset - 1) }
    var next = max(p.pointee.nextOffset, p.pointee.committed == .max ? offset : p.pointee.committed + 1)
    while next < offset {
      p.pointee.victims.reserve(p.pointee.committed, next)
      p.pointee.victims[next] = .none
      next += 1
    }
    p.pointee.nextOffset = offset
  }

  /// A stream of records begins, from the first one on if `isCopy`: then those that are missing in it may have been
  /// removals. In any other stream they weren't, since its sender has all removals from where it begins.
  package mutating func beginStream(_ id: PartitionID, isCopy: Bool) { partition(id).pointee.isCopy = isCopy }

  /// Records up to `end` were taken, as far as any were left of them.
  package mutating func cover(_ id: PartitionID, upTo end: Offset) {
    let p = partition(id)
    skip(p, to: end.rawValue + 1)
  }

  // MARK: Taking back

  /// Takes all records behind `offset` back, the last first; what they had replaced is there again. None of them may be
  /// committed. `dropped` is shown each. False if the partition must be reset, since there is no memory even for that.
  package mutating func truncate(
    _ id: PartitionID, behind offset: Offset, _ dropped: (RecordView) -> Void
  ) -> Bool {
    let p = partition(id)
    precondition(offset.rawValue >= p.pointee.committed, "record \(offset.rawValue + 1) is committed")
    closeOutput(p)
    p.pointee.sweepNext = 0
    // A segment that is taken from must not be freed before all is done.
    settle(p)
    var hasAll = true
    for position in positions(p, behind: offset.rawValue).reversed() {
      let record = self.record(position)
      dropped(record)
      if hasAll { hasAll = undo(p, record) }
    }
    guard hasAll else { return false }
    dropTail(p, behind: offset.rawValue)
    p.pointee.nextOffset = offset.rawValue + 1
    return true
  }

  /// Where the records behind an offset are, in order.
  private func positions(_ p: UnsafeMutablePointer<Partition>, behind offset: UInt64) -> [UInt64] {
    var id = p.pointee.tail
    while id != 0, segments[Int(id)].firstOffset > offset, segments[Int(id)].previous != 0 {
      id = segments[Int(id)].previous
    }
    var found: [UInt64] = []
    while id != 0 {
      let segment = segments[Int(id)]
      var record = self.record(segment.start)
      let end = record.base + Int(segment.used)
      while record.base < end {
        if record.offset.rawValue > offset { found.append(position(record)) }
        record = RecordView(record.base + record.room)
      }
      id = segment.next
    }
    return found
  }

  /// Takes one record back, the last there is.
  private mutating func undo(_ p: UnsafeMutablePointer<Partition>, _ record: RecordView) -> Bool {
    let room = record.room
    let victim = p.pointee.victims[record.offset.rawValue].position
    let segment = segments + Int(segmentOfPage[Int(position(record)) >> (PageAllocator.pageShift - 3)])
    if record.isPut {
      guard let slot = slot(p, record.hash, position(record)) else {
        preconditionFailure("record \(record.offset.rawValue) is nobody's")
      }
      if victim != 0 {
        slot.pointee = slot.pointee & ~TableLayout.positionMask | victim
      } else {
        deleteSlot(p, slot)
      }
      liveBytes &-= room
      if record.hasExpiry { removeExpiry(p) }
    } else {
      if victim != 0, !insert(p, self.record(victim)) { return false }
      segment.pointee.dead &-= UInt32(room)
      segment.pointee.tombstones &-= UInt32(room)
      p.pointee.dead &-= room
      p.pointee.tombstones &-= room
      deadBytes &-= room
    }
    segment.pointee.used &-= UInt32(room)
    p.pointee.used &-= room
    if victim != 0 {
      segments[Int(segmentOfPage[Int(victim) >> (PageAllocator.pageShift - 3)])].victims -= 1
      return remember(p, self.record(victim))
    }
    return true
  }

  /// Makes a record that is in the log its key's one again.
  private mutating func insert(_ p: UnsafeMutablePointer<Partition>, _ record: RecordView) -> Bool {
    if p.pointee.count >= p.pointee.maximumCount,
      !resizeTable(p, pages: TableLayout.grown(pages: Int(p.pointee.tablePages)))
    {
      return false
    }
    let key = KeyRef(
      map: record.map.baseAddress!, mapCount: record.mapCount, key: record.key.baseAddress!,
      keyCount: record.keyCount, hash: record.hash)
    guard let place = try? locate(p, key), let gap = place.gap else { return false }
    var hole = gap
    while hole > place.slot {
      hole.pointee = (hole - 1).pointee
      hole -= 1
    }
    place.slot.pointee = TableLayout.tag(key.hash) &<< TableLayout.tagShift | position(record)
    p.pointee.count &+= 1
    addToCount(1)
    return true
  }

  /// A record that is alive again may have lost its entry among the expiries.
  private mutating func remember(_ p: UnsafeMutablePointer<Partition>, _ record: RecordView) -> Bool {
    guard record.hasExpiry else { return true }
    guard !p.pointee.heap.isFull || growHeap(p) else { return false }
    p.pointee.expiring += 1
    p.pointee.heap.push(ExpiryEntry(expiry: record.expiry, tag: UInt32(TableLayout.tag(record.hash))))
    updateDue(p)
    return true
  }

  /// Frees the segments behind an offset, all of whose records were taken back, and seals the one before.
  private mutating func dropTail(_ p: UnsafeMutablePointer<Partition>, behind offset: UInt64) {
    if p.pointee.open != 0 {
      let id = p.pointee.open
      p.pointee.open = 0
      p.pointee.hintOffset = 0
      p.pointee.cursor = nil
      p.pointee.end = nil
      close(id)
    }
    var id = p.pointee.tail
    while id != 0, segments[Int(id)].used == 0 {
      let previous = segments[Int(id)].previous
      free(p, id)
      id = previous
    }
  }

  // MARK: Beginning anew

  /// Drops everything that the partition has; what is pinned stays in memory until it isn't.
  package mutating func reset(_ id: PartitionID) {
    let p = partition(id)
    closeOutput(p)
    p.pointee.sweepNext = 0
    settle(p)
    p.pointee.open = 0
    p.pointee.hintOffset = 0
    p.pointee.cursor = nil
    p.pointee.end = nil
    var segment = p.pointee.head
    while segment != 0 {
      let next = segments[Int(segment)].next
      liveBytes -= Int(segments[Int(segment)].used) - Int(segments[Int(segment)].dead)
      segments[Int(segment)].flags.remove(.busy)
      segments[Int(segment)].victims = 0
      free(p, segment, forgets: false)
      segment = next
    }
    addToCount(-p.pointee.count)
    p.pointee.count = 0
    shrinkTable(p)
    clearExpiries(p)
    p.pointee.nextOffset = 1
    p.pointee.forgotten = 0
    if p.pointee.committed != .max { p.pointee.committed = 0 }
  }

  // MARK: Reading for others

  /// Gives the partitions, counted from this core's first, that got records since it was asked last to the list, which
  /// is empty, and takes over the memory that it has.
  package mutating func takeTouched(_ list: inout [Int]) {
    guard !touched.isEmpty else { return }
    for index in touched { partitions[index].isTouched = false }
    swap(&touched, &list)
  }

  /// As `scan`; but what was written since `noteScanned` is found without a search, as long as it is in the segment
  /// that is appended to.
  package mutating func scanNew(
    _ id: PartitionID, from offset: Offset, maximumBytes: Int, into list: inout RecordList
  ) -> Offset? {
    let p = partition(id)
    let segment = segments + Int(p.pointee.open)
    if p.pointee.open != 0, p.pointee.hintOffset == offset.rawValue, let cursor = p.pointee.cursor,
      p.pointee.hintPlace >= segment.pointee.start, record(p.pointee.hintPlace).base < UnsafeRawPointer(cursor)
    {
      var record = self.record(p.pointee.hintPlace)
      // A long record lies elsewhere: then this one is a later one.
      guard record.offset == offset else { return scan(id, from: offset, maximumBytes: maximumBytes, into: &list) }
      var bytes = 0
      while record.base < UnsafeRawPointer(cursor) {
        if bytes >= maximumBytes { return record.offset }
        list.append(record)
        bytes += record.length
        record = RecordView(record.base + record.room)
      }
      return nil
    }
    return scan(id, from: offset, maximumBytes: maximumBytes, into: &list)
  }

  /// All that the log has was scanned: the next scan begins behind it.
  package mutating func noteScanned(_ id: PartitionID) {
    let p = partition(id)
    guard p.pointee.open != 0, let cursor = p.pointee.cursor else { return }
    p.pointee.hintOffset = p.pointee.nextOffset
    p.pointee.hintPlace = position(RecordView(cursor))
  }

  /// Whether a follower that has nothing of it needs this record of the log: a removal, or a value that is its key's or
  /// may be again; nothing of a cache. The others were replaced for good, by what it gets later or by a removal that
  /// may be gone.
  package func isNeeded(_ record: RecordView, of id: PartitionID) -> Bool {
    if record.mapCount > 0, MapTable.isCache(record.map) { return false }
    let p = partition(id)
    if !record.isPut || record.offset.rawValue > p.pointee.committed { return true }
    return slot(p, record.hash, position(record)) != nil || isVictim(p, record)
  }

  /// Whether a record that may be taken back replaced this one.
  func isVictim(_ p: UnsafeMutablePointer<Partition>, _ record: RecordView) -> Bool {
    let id = segmentOfPage[Int(position(record)) >> (PageAllocator.pageShift - 3)]
    guard segments[Int(id)].victims > 0 else { return false }
    var offset = p.pointee.committed &+ 1
    while offset < p.pointee.nextOffset {
      if p.pointee.victims[offset].position == position(record) { return true }
      offset += 1
    }
    return false
  }

  /// How many victims lie in a segment, counted.
  func victims(_ p: UnsafeMutablePointer<Partition>, in id: Segment.ID) -> UInt32 {
    guard p.pointee.committed != .max else { return 0 }
    var sum: UInt32 = 0
    var offset = p.pointee.committed + 1
    while offset < p.pointee.nextOffset {
      let victim = p.pointee.victims[offset].position
      if victim != 0, segmentOfPage[Int(victim) >> (PageAllocator.pageShift - 3)] == id { sum += 1 }
      offset += 1
    }
    return sum
  }
}
