import Wire

// Looking up a batch in stages. A key's record is behind three dependent loads: partition, slot, record; and a write
// follows its old record through two more: the page's segment number, the segment. Each stage fetches for the next one,
// some requests ahead, so that the misses of independent requests overlap (Chen, Ailamaki, Gibbons and Mowry 2004,
// group prefetching). Nothing here changes anything, and a stale or useless fetch does no harm.
extension Store {
  /// Second stage, after the partition itself: fetches the slot where the key's search starts and, since it often goes
  /// past the end of a cache line, the next line.
  @inline(__always)
  func prefetchSlot(_ p: UnsafeMutablePointer<Partition>, _ hash: UInt64) {
    let slot = p.pointee.slots + TableLayout.home(tag: TableLayout.tag(hash), capacity: p.pointee.capacity)
    prefetch(slot)
    prefetch(slot + 8)
  }

  /// Third stage: fetches the first three cache lines of the record that the key's tag leads to.
  @inline(__always)
  func prefetchRecord(_ p: UnsafeMutablePointer<Partition>, _ hash: UInt64) {
    let slot = firstSlot(p, tag: TableLayout.tag(hash))
    let position = TableLayout.position(of: slot.pointee)
    let address = UnsafeRawPointer(base) + Int(position &<< 3)
    prefetch(address)
    prefetch(address + 64)
    prefetch(address + 128)
  }

  /// Third stage of a write: fetches the record it replaces, the number of that record's segment, and where the new
  /// record will go. Answers the old record's position, 0 when there is none.
  @inline(__always)
  func prefetchWrite(_ p: UnsafeMutablePointer<Partition>, _ hash: UInt64) -> UInt64 {
    let slot = firstSlot(p, tag: TableLayout.tag(hash))
    let position = TableLayout.position(of: slot.pointee)
    // Its header and key of usual length, which lie in two cache lines as often as not.
    let old = UnsafeRawPointer(base) + Int(position &<< 3)
    prefetch(old)
    prefetch(old + RecordLayout.headerCount + 15)
    prefetch(segmentOfPage + Int(position &>> (PageAllocator.pageShift &- 3)))
    if let cursor = p.pointee.cursor {
      prefetch(cursor)
      prefetch(cursor + 64)
      prefetch(cursor + 128)
    }
    return position
  }

  /// What records from other nodes, or their acknowledgements, need of their partition.
  @inline(__always)
  func prefetchReplicated(_ id: PartitionID) {
    let p = UnsafeRawPointer(partition(id))
    var line = 0
    while line < MemoryLayout<Partition>.stride {
      prefetch(p + line)
      line &+= 64
    }
  }

  /// Fetches the slots of the first records of a range that came, and what the first of them gets on its way.
  func prefetchAppend(_ id: PartitionID, _ records: UnsafeRawBufferPointer) {
    let p = partition(id)
    guard records.count > 0 else { return }
    let record = RecordView(records.baseAddress!)
    prefetchSlot(p, record.hash)
    if p.pointee.committed != .max { p.pointee.victims.prefetch(record.offset.rawValue) }
  }

  /// Then what they replace, and where they go.
  func prefetchReplaced(_ id: PartitionID, _ records: UnsafeRawBufferPointer) {
    guard records.count > 0 else { return }
    let record = RecordView(records.baseAddress!)
    _ = prefetchWrite(partition(id), record.hash)
  }

  /// Fetches the segment of what the record at `offset`, which will be committed, replaced.
  func prefetchVictim(_ id: PartitionID, _ offset: Offset) {
    let p = partition(id)
    guard p.pointee.committed < offset.rawValue, offset.rawValue < p.pointee.nextOffset else { return }
    let victim = p.pointee.victims[offset.rawValue]
    if victim != .none { prefetchSegment(victim.position) }
  }

  /// Fourth stage of a write: fetches the segment of the record it replaces.
  @inline(__always)
  func prefetchSegment(_ position: UInt64) {
    guard position != 0 else { return }
    prefetch(segments + Int(segmentOfPage[Int(position &>> (PageAllocator.pageShift &- 3))]))
  }
}
