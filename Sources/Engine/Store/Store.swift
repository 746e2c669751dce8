import Wire

/// Why a write was refused; nothing changed.
package enum StoreError: Error, Equatable, Sendable {
  /// The memory limit is reached and nothing could be freed: HTTP 507.
  case full
  /// Too many keys whose hashes agree; only keys made for it come to this.
  case collision
  /// The key, the map's name or the value has more bytes than a record can say.
  case tooLarge
}

/// What happens at the memory limit.
package enum Eviction: Sendable {
  /// Writes are refused with `StoreError.full`; everything stays readable.
  case none
  /// Records that were not read since the hand last passed make room (second chance, Corbató 1968).
  case lru
}

/// What one core's store is given.
package struct StoreSettings: Sendable {
  /// Bytes of pages it may use.
  package var memory: Int
  package var eviction = Eviction.none
  /// Bytes of the largest value: where the room of a value of unknown length ends.
  package var maximumValue = 64 << 20
  /// This core's bytes of the process-wide reservation for large values; nil to take them from its other range.
  package var extents: Range<Int>?

  package init(
    memory: Int, eviction: Eviction = .none, maximumValue: Int = 64 << 20, extents: Range<Int>? = nil
  ) {
    self.extents = extents
    self.memory = memory
    self.eviction = eviction
    self.maximumValue = maximumValue
  }
}

/// The records of one core: a contiguous block of partitions, each a segmented log and a table that points into it.
///
/// The log is append-only: a put or a tombstone goes to the end, and what it supersedes is counted dead in its segment.
/// A segment whose last record dies is freed at once; otherwise cleaning copies the survivors of neighbouring segments
/// into fresh ones at the same place, so that the log stays in order of offsets and a record keeps its bytes (Rosenblum
/// and Ousterhout 1992; Rumble et al. 2014). Nothing here allocates from the system after `init`: tables, segments and
/// heaps are pages of this core's range.
///
/// Not thread-safe; it belongs to one core. `RecordView`s are good until the next mutating call or, if the record's
/// segment is pinned, until it is unpinned.
package struct Store: ~Copyable {
  private let anchor = Anchor()
  /// The process-wide base that positions count from.
  let base: UnsafeMutableRawPointer
  let partitions: UnsafeMutablePointer<Partition>
  let segments: UnsafeMutablePointer<Segment>
  /// The segment of each page of the process. Entries of pages that no segment has were never written: whoever comes
  /// from an arbitrary address checks the descriptor (Briggs and Torczon 1993, sparse sets).
  let segmentOfPage: UnsafeMutablePointer<Segment.ID>
  let firstPartition: Int
  let partitionTotal: Int
  let evicts: Bool
  /// No partition removes anything by itself, neither what expired nor what may be evicted; see `Partition.isPassive`.
  package var isPassive = false
  let processPages: Int
  let segmentLimit: Int
  let maximumValue: Int
  /// Bytes of the largest segment that more than one record shares, and of the largest record that goes there.
  let maximumSegment: Int
  let largestShared: Int
  /// Pages this store may use, and of these the ones that only removals and cleaning may take. The reserve has a page
  /// for a tombstone in every partition and what a sweep has out at once; an eighth of a tiny store.
  let limitPages: Int
  let reservePages: Int
  /// Pages that, of a store that is replicated, only copies of other nodes' writes may take beside the reserve: what
  /// may be on its way here when the others hear that there is no more.
  let copyPages: Int
  /// Free pages that eviction maintains ahead of the writes.
  let headroomPages: Int
  /// What a partition without a table has for one: an empty slot.
  let emptySlots: UnsafeMutablePointer<Slot>
  /// A tournament of the partitions' earliest expiries: leaves from `dueLeaves` on, the minimum at 1.
  let due: UnsafeMutablePointer<UInt64>
  let dueLeaves: Int

  var pages: PageZones
  var segmentCount: Segment.ID = 1
  var freeSegments: Segment.ID = 0
  /// Partitions that wait to be cleaned, first to last, as index + 1.
  var queueHead: UInt32 = 0
  var queueTail: UInt32 = 0
  var reclaimHand = 0
  var evictionHand = 0
  /// A log is swept when this many times its dead bytes are more than it has: 2 while less than half of the memory
  /// limit is used, else 3.
  var cleaningFactor = 3
  /// `deadBytes` when a search for something to clean last came back empty.
  var barrenAt = -1
  /// Extents that other cores lent and that go back to them, in bytes from the base.
  var foreignFrees: [Range<Int>] = []
  /// Pages of staged values that no log has: being received, or adopted by another core.
  var stagedPages = 0
  /// Of these, pages that another core adopted: they count there. And pages of other cores that count here.
  var lentPages = 0
  var borrowedPages = 0

  /// Keys, expired ones that were not noticed yet included.
  package private(set) var count = 0
  /// Whether records of any partition may be taken back.
  var isReplicated = false
  /// Memory is so short that whoever has its writes copied here had better refuse them; see `updateShortage`.
  package internal(set) var isShort = false
  /// Flags of every record that is written, beside its own: see `Core.unsafelyAnswered`.
  var writeFlags: UInt8 = 0
  /// Partitions that got records since `takeTouched`, by index.
  var touched: [Int] = []
  /// Bytes of records that are some key's, and of records in the log that are nobody's any more.
  package var liveBytes = 0
  package var deadBytes = 0
  /// Totals since the start.
  package var expiredTotal = 0
  package var evictedTotal = 0

  /// - Parameters:
  ///   - processBase: start of the process-wide reservation, aligned to 2 MiB in production and to 8 bytes at least.
  ///   - processBytes: its length, at most 512 GiB.
  ///   - range: this core's bytes of it, whole 2-MiB areas in production and whole pages at least. Larger than
  ///     `settings.memory`, twice as large for comfort: what is not used costs nothing, and a run of pages needs an
  ///     aligned hole.
  ///   - partitions: the block of partitions this core owns.
  package init(
    processBase: UnsafeMutableRawPointer, processBytes: Int, range: Range<Int>, partitions owned: Range<Int>,
    settings: StoreSettings
  ) {
    precondition(range.lowerBound >= 0 && range.upperBound <= processBytes && !owned.isEmpty)
    base = processBase
    pages = PageZones(range: range, extents: settings.extents)
    processPages = processBytes >> PageAllocator.pageShift
    firstPartition = owned.lowerBound
    partitionTotal = owned.count
    evicts = settings.eviction == .lru
    maximumValue = settings.maximumValue
    limitPages = min(settings.memory, range.count + (settings.extents?.count ?? 0)) >> PageAllocator.pageShift
    maximumSegment = min(max(floorPowerOfTwo(settings.memory / 256), 4 << 10), 256 << 10)
    largestShared = max(maximumSegment / 8, PageAllocator.pageSize)
    reservePages = min(limitPages / 8, owned.count + 2 * PageAllocator.pages(maximumSegment))
    copyPages = min(limitPages / 16, PageAllocator.pages(8 << 20))
    headroomPages = evicts ? min(limitPages / 32, 2 * PageAllocator.pages(settings.maximumValue)) : 0
    segmentLimit = pages.pageCount + processPages / PageAllocator.pages(largestShared) + 2
    segments = .allocate(capacity: segmentLimit)
    segmentOfPage = .allocate(capacity: processPages)
    emptySlots = .allocate(capacity: 1)
    emptySlots.initialize(to: 0)
    precondition(MemoryLayout<Partition>.stride % 64 == 0, "\(MemoryLayout<Partition>.stride)")
    partitions = UnsafeMutableRawPointer.allocate(
      byteCount: owned.count * MemoryLayout<Partition>.stride, alignment: 64
    ).bindMemory(to: Partition.self, capacity: owned.count)
    partitions.initialize(repeating: Partition(slots: emptySlots), count: owned.count)
    dueLeaves = 1 << PageAllocator.order(owned.count)
    due = .allocate(capacity: 2 * dueLeaves)
    due.initialize(repeating: .max, count: 2 * dueLeaves)
  }

  deinit {
    for index in 0..<partitionTotal { partitions[index].victims.deallocate() }
    partitions.deallocate()
    segments.deallocate()
    segmentOfPage.deallocate()
    emptySlots.deallocate()
    due.deallocate()
  }

  // MARK: Looking up

  /// The partition of a key's hash; it must be one of this core's.
  @inline(__always)
  func partition(_ hash: UInt64) -> UnsafeMutablePointer<Partition> {
    partitions + (Int(PartitionID(hash: hash).rawValue) &- firstPartition)
  }

  @inline(__always)
  func partition(_ id: PartitionID) -> UnsafeMutablePointer<Partition> {
    let index = Int(id.rawValue) - firstPartition
    precondition(index >= 0 && index < partitionTotal, "partition \(id.rawValue) is another core's")
    return partitions + index
  }

  @inline(__always)
  func id(_ p: UnsafeMutablePointer<Partition>) -> PartitionID {
    PartitionID(UInt16(truncatingIfNeeded: p - partitions &+ firstPartition))
  }

  @inline(__always)
  func record(_ position: UInt64) -> RecordView { RecordView(base + Int(position &<< 3)) }

  @inline(__always)
  func position(_ record: RecordView) -> UInt64 { UInt64((record.base - UnsafeRawPointer(base)) &>> 3) }

  /// The key's record, or nil when it has none or its time to live ran out by `now`.
  ///
  /// - Parameter hint: the slot that it probably has.
  @inline(always)
  func find(_ key: KeyRef, now: UInt64, hint: UnsafeMutablePointer<Slot>?) -> RecordView? {
    guard let slot = slot(partition(key.hash), key, hint: hint) else { return find(key, now: now) }
    let word = slot.pointee
    let record = self.record(TableLayout.position(of: word))
    if record.isExpired(at: now) { return nil }
    if evicts && word & TableLayout.referenced == 0 { slot.pointee = word | TableLayout.referenced }
    return record
  }

  /// The key's record, or nil when it has none or its time to live ran out by `now`.
  @inline(never)
  package func find(_ key: KeyRef, now: UInt64) -> RecordView? {
    guard let (slot, record) = search(partition(key.hash), key), !record.isExpired(at: now) else { return nil }
    if evicts && slot.pointee & TableLayout.referenced == 0 { slot.pointee |= TableLayout.referenced }
    return record
  }

  /// The key's slot and its record, expired or not.
  @inline(__always)
  func search(
    _ p: UnsafeMutablePointer<Partition>, _ key: KeyRef
  ) -> (slot: UnsafeMutablePointer<Slot>, record: RecordView)? {
    let tag = TableLayout.tag(key.hash)
    var slot = p.pointee.slots + TableLayout.home(tag: tag, capacity: p.pointee.capacity)
    while true {
      let word = slot.pointee
      let found = TableLayout.tag(of: word)
      if word == 0 || found > tag { return nil }
      if found == tag {
        let record = self.record(TableLayout.position(of: word))
        if record.matches(map: key.map, mapCount: key.mapCount, key: key.key, keyCount: key.keyCount) {
          return (slot, record)
        }
      }
      slot += 1
    }
  }

  // MARK: Partitions

  /// The term under which records are written from now on; never lowered.
  package mutating func setEpoch(_ epoch: Epoch, of id: PartitionID) {
    let p = partition(id)
    precondition(epoch.rawValue >= p.pointee.epoch)
    p.pointee.epoch = epoch.rawValue
  }

  /// The epoch the partition's next record is written in; `id` must be this core's.
  package func epoch(of id: PartitionID) -> Epoch { Epoch(partition(id).pointee.epoch) }

  /// The offset the partition's next record gets.
  package func nextOffset(of id: PartitionID) -> Offset { Offset(partition(id).pointee.nextOffset) }

  /// Cleaning keeps tombstones from this offset on, for whoever has not seen them; none by default.
  package mutating func setTombstoneFloor(_ floor: Offset?, of id: PartitionID) {
    let p = partition(id)
    p.pointee.tombstoneFloor = floor?.rawValue ?? .max
    if p.pointee.tombstones > 0 { enqueue(p) }
  }

  // MARK: Sizes

  /// Bytes of pages in use: logs, tables, heaps, staged values.
  package var usedBytes: Int { countedPages << PageAllocator.pageShift }

  /// Pages that count against this core's limit, whosever they are.
  @inline(__always) var countedPages: Int { pages.usedPages &- lentPages &+ borrowedPages }

  /// A 2-MiB area of the region (bytes from the base) that went out of use: the reactor may give it back to the kernel
  /// before it calls anything else here. Nil when a bounded search found none.
  package mutating func takeDiscardable() -> Range<Int>? { pages.takeDiscardable() }

  /// A 2-MiB area of the region (bytes from the base) that will probably be written soon: whoever has a thread to spare
  /// may have the kernel give it its memory, so that this store's thread needn't wait for it.
  package mutating func takeWanted() -> Range<Int>? { pages.takeWanted() }

  /// Bytes that the kernel may have given beyond those in use: areas that went out of use and the rests of areas.
  package var surplusBytes: Int { pages.dirtyAreas << 21 - pages.usedPages << PageAllocator.pageShift }

  mutating func addToCount(_ change: Int) { count &+= change }
}

/// The largest power of two that is at most `n`, for n > 0.
func floorPowerOfTwo(_ n: Int) -> Int { 1 << (Int.bitWidth &- 1 &- max(n, 1).leadingZeroBitCount) }
