import Wire

/// What a request of a batch needs of the store and was fetched ahead, as far as that got.
struct Fetch {
  /// The key's partition; nil for a request that this store has nothing to do with.
  var partition: UnsafeMutablePointer<Partition>?
  /// Where the key's search starts, and then where it led to: a hint, which whoever uses it checks.
  var slot: UnsafeMutablePointer<Slot>?
  /// Position of the record that a write seems to replace; 0 for none.
  var position: UInt64
  var tag: UInt32
  var isWrite: Bool

  static var none: Fetch { Fetch(partition: nil, slot: nil, position: 0, tag: 0, isWrite: false) }

  /// Requests between a request's first fetch and its last.
  @inline(always) static var distance: Int { 12 }

  /// Room for the requests of a batch, and for nothing as far before the first and behind the last as `distance` says.
  static func allocate(batch: Int) -> UnsafeMutablePointer<Fetch> {
    let room = batch + 2 * distance
    let fetches = UnsafeMutablePointer<Fetch>.allocate(capacity: room)
    fetches.initialize(repeating: .none, count: room)
    return fetches + distance
  }

  /// Frees what `allocate` made.
  static func deallocate(_ fetches: UnsafeMutablePointer<Fetch>) { (fetches - distance).deallocate() }
}

// Looking up a batch in stages. A key's record is behind three dependent loads: partition, slot, record; and a write
// follows its old record through two more: the page's segment number, the segment. Each stage fetches for the next one,
// some requests ahead, so that the misses of independent requests overlap (Chen, Ailamaki, Gibbons and Mowry 2004,
// group prefetching). Nothing here changes anything, and a stale or useless fetch does no harm.
extension Store {
  /// First stage: fetches the partition of a key that this store has.
  @inline(always)
  func begin(_ fetch: UnsafeMutablePointer<Fetch>, _ hash: UInt64, isWrite: Bool) {
    let p = partition(hash)
    prefetch(p)
    fetch.pointee.partition = p
    fetch.pointee.tag = UInt32(truncatingIfNeeded: TableLayout.tag(hash))
    fetch.pointee.isWrite = isWrite
  }

  /// Moves the requests before the newest one stage on, so that the misses hide behind the parsing.
  @inline(always)
  func goOn(behind newest: UnsafeMutablePointer<Fetch>) {
    fetchSlot(newest - 4)
    fetchRecord(newest - 8)
    prefetchSegment((newest - 12).pointee.position)
  }

  /// Second stage: fetches the slot where the key's search starts and, since it often goes past the end of a cache
  /// line, the next line.
  @inline(always)
  private func fetchSlot(_ fetch: UnsafeMutablePointer<Fetch>) {
    guard let p = fetch.pointee.partition else {
      fetch.pointee.slot = nil
      return
    }
    let slot = p.pointee.slots + TableLayout.home(tag: UInt64(fetch.pointee.tag), capacity: p.pointee.capacity)
    prefetch(slot)
    prefetch(slot + 8)
    fetch.pointee.slot = slot
  }

  /// Third stage: fetches the record that the key's tag leads to; for a write what it needs of that record, the number
  /// of its segment, and where the new record will go.
  @inline(always)
  private func fetchRecord(_ fetch: UnsafeMutablePointer<Fetch>) {
    guard var slot = fetch.pointee.slot else {
      fetch.pointee.position = 0
      return
    }
    var word = slot.pointee
    while word != 0 && word &>> TableLayout.tagShift < UInt64(fetch.pointee.tag) {
      slot += 1
      word = slot.pointee
    }
    fetch.pointee.slot = slot
    let position = TableLayout.position(of: word)
    let record = UnsafeRawPointer(base) + Int(position &<< 3)
    prefetch(record)
    if fetch.pointee.isWrite {
      // Header and key of usual length lie in two cache lines as often as not.
      prefetch(record + RecordLayout.headerCount + 15)
      prefetch(segmentOfPage + Int(position &>> (PageAllocator.pageShift &- 3)))
      let cursor = fetch.pointee.partition.unsafelyUnwrapped.pointee.cursor ?? base
      prefetch(cursor)
      prefetch(cursor + 64)
      prefetch(cursor + 128)
      fetch.pointee.position = position
    } else {
      prefetch(record + 64)
      prefetch(record + 128)
      fetch.pointee.position = 0
    }
  }

  /// The slot that a hint is right about: the key's one.
  @inline(always)
  func slot(
    _ p: UnsafeMutablePointer<Partition>, _ key: KeyRef, hint: UnsafeMutablePointer<Slot>?
  ) -> UnsafeMutablePointer<Slot>? {
    // The table may have become another one since; every slot of this one can be read.
    guard let hint else { return nil }
    let distance = UInt(bitPattern: hint) &- UInt(bitPattern: p.pointee.slots)
    guard distance < UInt(p.pointee.capacity) &* 8, TableLayout.tag(of: hint.pointee) == TableLayout.tag(key.hash)
    else { return nil }
    let record = self.record(TableLayout.position(of: hint.pointee))
    return record.matches(map: key.map, mapCount: key.mapCount, key: key.key, keyCount: key.keyCount) ? hint : nil
  }

  /// What records from other nodes, or their acknowledgements, need of their partition: all but the line that only
  /// records with an expiry need.
  @inline(__always)
  func prefetchReplicated(_ id: PartitionID) {
    let p = UnsafeRawPointer(partition(id))
    prefetch(p)
    prefetch(p + 64)
    prefetch(p + 192)
  }

  /// Fetches the slot of the first record of a range that came, and what it gets on its way. Returns its hash.
  func prefetchAppend(_ id: PartitionID, _ records: UnsafeRawBufferPointer) -> UInt64 {
    let p = partition(id)
    guard records.count > 0 else { return 0 }
    let hash = RecordView(records.baseAddress!).hash
    let slot = p.pointee.slots + TableLayout.home(tag: TableLayout.tag(hash), capacity: p.pointee.capacity)
    prefetch(slot)
    prefetch(slot + 8)
    if p.pointee.committed != .max {
      p.pointee.victims.prefetch(RecordView(records.baseAddress!).offset.rawValue)
    }
    return hash
  }

  /// Then what the record of this hash replaces, and where it goes. Returns the position of what it seems to replace; 0
  /// for nothing.
  func prefetchReplaced(_ id: PartitionID, _ hash: UInt64) -> UInt64 {
    let p = partition(id)
    var fetch = Fetch.none
    fetch.partition = p
    fetch.tag = UInt32(truncatingIfNeeded: TableLayout.tag(hash))
    fetch.isWrite = true
    fetch.slot = p.pointee.slots + TableLayout.home(tag: UInt64(fetch.tag), capacity: p.pointee.capacity)
    withUnsafeMutablePointer(to: &fetch) { fetchRecord($0) }
    return fetch.position
  }

  /// Fetches what the next record that will be committed replaced: where that is noted,
  func prefetchFirstVictim(_ id: PartitionID) {
    let p = partition(id)
    if p.pointee.committed != .max { p.pointee.victims.prefetch(p.pointee.committed &+ 1) }
  }

  /// then the number of its segment,
  func prefetchVictimPage(_ id: PartitionID) {
    guard let position = firstVictim(id) else { return }
    prefetch(segmentOfPage + Int(position &>> (PageAllocator.pageShift &- 3)))
  }

  /// and its segment.
  func prefetchVictimSegment(_ id: PartitionID) {
    if let position = firstVictim(id) { prefetchSegment(position) }
  }

  @inline(__always)
  private func firstVictim(_ id: PartitionID) -> UInt64? {
    let p = partition(id)
    guard p.pointee.committed < p.pointee.nextOffset &- 1, p.pointee.victims.places != nil else { return nil }
    let victim = p.pointee.victims[p.pointee.committed &+ 1]
    return victim == .none ? nil : victim.position
  }

  /// Fourth stage of a write: fetches the segment of the record it replaces.
  @inline(__always)
  func prefetchSegment(_ position: UInt64) {
    guard position != 0 else { return }
    prefetch(segments + Int(segmentOfPage[Int(position &>> (PageAllocator.pageShift &- 3))]))
  }
}
