import Wire

extension Store {
  /// The earliest expiry of any record, or of one that was replaced since; milliseconds since 1970, `UInt64.max` for
  /// none. When `maintain` has something to do.
  package var nextExpiry: UInt64 { isPassive ? .max : due[1] }

  /// Notes that a record with this expiry became alive. `isKnown`: it replaces one with the same expiry, whose entry
  /// serves it too.
  @inline(never)
  mutating func addExpiry(_ p: UnsafeMutablePointer<Partition>, _ expiry: UInt64, _ hash: UInt64, isKnown: Bool) {
    p.pointee.expiring += 1
    if !isKnown {
      p.pointee.heap.push(ExpiryEntry(expiry: expiry, tag: UInt32(TableLayout.tag(hash))))
      tidyHeap(p)
    }
    updateDue(p)
  }

  /// Notes that a record with an expiry died; its entry stays behind.
  @inline(never)
  mutating func removeExpiry(_ p: UnsafeMutablePointer<Partition>) {
    p.pointee.expiring -= 1
    tidyHeap(p)
    updateDue(p)
  }

  /// Keeps the heap within twice the live entries and a constant, a few entries at a time: when it has more, it becomes
  /// the old heap, whose leaves move to a fresh one, four with every change, unless they are stale.
  private mutating func tidyHeap(_ p: UnsafeMutablePointer<Partition>) {
    if p.pointee.oldHeap.count == 0 {
      guard p.pointee.heap.count > 2 * p.pointee.expiring + 2 * ExpiryHeap.entriesPerPage else { return }
      let entries = p.pointee.expiring + p.pointee.heap.count / 4 + 2
      guard let fresh = newHeap(pages: entries / ExpiryHeap.entriesPerPage + 1) else { return }
      p.pointee.oldHeap = p.pointee.heap
      p.pointee.heap = fresh
    }
    for _ in 0..<4 where p.pointee.oldHeap.count > 0 {
      // One place stays free for the push that may be under way.
      if p.pointee.heap.count + 1 >= p.pointee.heap.capacity { break }
      let entry = p.pointee.oldHeap.popLeaf()
      if isCurrent(p, entry) { p.pointee.heap.push(entry) }
    }
    if p.pointee.oldHeap.count == 0 { freeOldHeap(p) }
  }

  private mutating func freeOldHeap(_ p: UnsafeMutablePointer<Partition>) {
    freeHeap(p.pointee.oldHeap)
    p.pointee.oldHeap = ExpiryHeap()
  }

  /// Whether some key of the entry's tag still has that expiry.
  private func isCurrent(_ p: UnsafeMutablePointer<Partition>, _ entry: ExpiryEntry) -> Bool {
    var slot = firstSlot(p, tag: UInt64(entry.tag))
    while slot.pointee != 0 && TableLayout.tag(of: slot.pointee) == UInt64(entry.tag) {
      if record(TableLayout.position(of: slot.pointee)).expiry == entry.expiry { return true }
      slot += 1
    }
    return false
  }

  /// The first slot of this tag, or where it would be.
  @inline(__always)
  func firstSlot(_ p: UnsafeMutablePointer<Partition>, tag: UInt64) -> UnsafeMutablePointer<Slot> {
    var slot = p.pointee.slots + TableLayout.home(tag: tag, capacity: p.pointee.capacity)
    while slot.pointee != 0 && TableLayout.tag(of: slot.pointee) < tag { slot += 1 }
    return slot
  }

  private func newHeapPage(_ run: Range<Int>) -> ExpiryHeap {
    ExpiryHeap(
      entries: address(page: run.lowerBound).bindMemory(
        to: ExpiryEntry.self, capacity: run.count * ExpiryHeap.entriesPerPage),
      count: 0, capacity: run.count * ExpiryHeap.entriesPerPage, page: run.lowerBound, pages: run.count)
  }

  private mutating func newHeap(pages count: Int) -> ExpiryHeap? {
    takePages(atLeast: count, preferring: count, for: .removal).map { newHeapPage($0) }
  }

  private mutating func freeHeap(_ heap: ExpiryHeap) {
    if heap.pages > 0 { pages.free(heap.page, count: heap.pages) }
  }

  /// Pages of the heap's next size.
  func grownHeapPages(_ p: UnsafeMutablePointer<Partition>) -> Int {
    p.pointee.heap.pages + max(1, p.pointee.heap.pages / 4)
  }

  /// Moves the heap to its next size; false without memory.
  mutating func growHeap(_ p: UnsafeMutablePointer<Partition>) -> Bool {
    guard var grown = newHeap(pages: grownHeapPages(p)) else { return false }
    let old = p.pointee.heap
    if let entries = old.entries { grown.entries!.update(from: entries, count: old.count) }
    grown.count = old.count
    p.pointee.heap = grown
    freeHeap(old)
    return true
  }

  /// Forgets all expiries: the partition is emptied.
  mutating func clearExpiries(_ p: UnsafeMutablePointer<Partition>) {
    p.pointee.expiring = 0
    freeHeap(p.pointee.heap)
    p.pointee.heap = ExpiryHeap()
    freeOldHeap(p)
    updateDue(p)
  }

  /// Writes the partition's earliest expiry into the tournament: none if it is passive.
  func updateDue(_ p: UnsafeMutablePointer<Partition>) {
    var node = dueLeaves + (p - partitions)
    var earliest = p.pointee.isPassive ? .max : min(p.pointee.heap.earliest, p.pointee.oldHeap.earliest)
    while node >= 1 && due[node] != earliest {
      due[node] = earliest
      if node == 1 { return }
      earliest = min(earliest, due[node ^ 1])
      node >>= 1
    }
  }

  /// Removes expired keys, with tombstones, until none is left or `budget` bytes of work are done. Answers the work.
  mutating func expireDue(now: UInt64, budget: Int) -> Int {
    var work = 0
    while nextExpiry <= now && work < budget {
      var node = 1
      while node < dueLeaves { node = due[2 * node] <= due[2 * node + 1] ? 2 * node : 2 * node + 1 }
      work += expireFirst(partitions + (node - dueLeaves), now: now)
    }
    return work
  }

  /// Takes the partition's earliest entry, which is due, and expires the keys of its tag that are.
  private mutating func expireFirst(_ p: UnsafeMutablePointer<Partition>, now: UInt64) -> Int {
    let takesOld = p.pointee.oldHeap.earliest < p.pointee.heap.earliest
    let entry = takesOld ? p.pointee.oldHeap.entries![0] : p.pointee.heap.entries![0]
    if takesOld { p.pointee.oldHeap.pop() } else { p.pointee.heap.pop() }
    if p.pointee.oldHeap.count == 0 { freeOldHeap(p) }
    var work = 128
    var slot = firstSlot(p, tag: UInt64(entry.tag))
    while slot.pointee != 0 && TableLayout.tag(of: slot.pointee) == UInt64(entry.tag) {
      let record = self.record(TableLayout.position(of: slot.pointee))
      guard record.isExpired(at: now) else {
        slot += 1
        continue
      }
      work += record.room
      // Only where tombstones must be kept and even the reserve is gone; reads treat it as absent all the same.
      do { _ = try drop(p, slot, record, kind: .expire, time: now) } catch { slot += 1 }
    }
    if p.pointee.expiring == 0 {
      freeHeap(p.pointee.heap)
      p.pointee.heap = ExpiryHeap()
      freeOldHeap(p)
    }
    updateDue(p)
    return work
  }
}
