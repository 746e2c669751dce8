import Wire

extension Store {
  /// The first thing that is wrong, or nil: allocator, logs, tables, heaps, sums, checksums. Reads everything.
  package func checkInvariants() -> String? {
    if let wrong = pages.checkInvariants() { return "pages: \(wrong)" }
    var sums = Sums()
    for index in 0..<partitionTotal {
      let p = partitions + index
      settle(p)
      if let wrong = checkLog(p, &sums) ?? checkTable(p, &sums) ?? checkHeap(p, &sums) {
        return "partition \(id(p).rawValue): \(wrong)"
      }
    }
    for id in 1..<max(Int(segmentCount), 1) where segments[id].flags.contains(.zombie) {
      if segments[id].pins == 0 { return "zombie \(id) has no pins" }
      sums.addPages(of: segments[id], to: pages)
    }
    if sums.keys != count { return "\(sums.keys) keys, counted \(count)" }
    if sums.live != liveBytes { return "\(sums.live) live bytes, counted \(liveBytes)" }
    if sums.dead != deadBytes { return "\(sums.dead) dead bytes, counted \(deadBytes)" }
    if sums.pages + stagedPages != pages.usedPages {
      return "\(sums.pages) pages described and \(stagedPages) staged, \(pages.usedPages) used"
    }
    let earliest = (0..<partitionTotal).map { due[dueLeaves + $0] }.min()
    return earliest == due[1] ? nil : "the tournament's minimum is \(due[1])"
  }

  private struct Sums {
    var keys = 0
    var live = 0
    var dead = 0
    var pages = 0

    mutating func addPages(of segment: Segment, to allocator: borrowing PageZones) {
      if allocator.owns(page: segment.page) { pages += Int(segment.pages) }
    }
  }

  private func checkLog(_ p: UnsafeMutablePointer<Partition>, _ sums: inout Sums) -> String? {
    var (used, dead, tombstones, lastOffset) = (0, 0, 0, UInt64(0))
    var previous: Segment.ID = 0
    var id = p.pointee.head
    while id != 0 {
      let segment = segments[Int(id)]
      let name = "segment \(id)"
      if !segment.flags.contains(.exists) || segment.flags.contains(.zombie) { return "\(name) is not a segment" }
      if segment.previous != previous || segment.partition != p - partitions { return "\(name) is linked wrongly" }
      let isBusy = id == p.pointee.open || id == p.pointee.sweepOutput
      if segment.flags.contains(.busy) != isBusy { return "\(name) busy: \(!isBusy)" }
      if segment.used > segment.capacity { return "\(name) is overfull" }
      if segment.firstOffset <= lastOffset && segment.used > 0 { return "\(name) starts before its predecessor ends" }
      var (live, stones) = (0, 0)
      if let wrong = checkRecords(p, id, &live, &stones, &lastOffset) { return "\(name): \(wrong)" }
      let victims = victims(p, in: id)
      if segment.victims != victims { return "\(name): \(victims) victims, counted \(segment.victims)" }
      if live + Int(segment.dead) != segment.used {
        return "\(name): \(live) live, \(segment.dead) dead of \(segment.used)"
      }
      if stones != segment.tombstones { return "\(name): \(stones) bytes of tombstones, counted \(segment.tombstones)" }
      if !isBusy && !p.pointee.isQueued && reclaimable(p, id) == segment.used { return "\(name) is dead but not freed" }
      used += Int(segment.used)
      dead += Int(segment.dead)
      tombstones += stones
      sums.live += live
      sums.addPages(of: segment, to: pages)
      previous = id
      id = segment.next
    }
    sums.dead += dead
    if p.pointee.tail != previous { return "the tail is \(p.pointee.tail), the last segment \(previous)" }
    if p.pointee.open != 0 && p.pointee.open != p.pointee.tail { return "the open segment is not the last" }
    if lastOffset >= p.pointee.nextOffset { return "offset \(lastOffset) is beyond the next" }
    if used != p.pointee.used || dead != p.pointee.dead || tombstones != p.pointee.tombstones {
      return "\(used) used, \(dead) dead, \(tombstones) tombstones; counted \(p.pointee)"
    }
    return nil
  }

  private func checkRecords(
    _ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID, _ live: inout Int, _ tombstones: inout Int,
    _ lastOffset: inout UInt64
  ) -> String? {
    let segment = segments[Int(id)]
    var record = self.record(segment.start)
    let end = record.base + Int(segment.used)
    while record.base < end {
      let offset = record.offset.rawValue
      if offset <= lastOffset || offset < segment.firstOffset { return "offset \(offset) after \(lastOffset)" }
      lastOffset = offset
      if record.base + record.room > end { return "record \(offset) runs over the end" }
      if !record.isIntact { return "record \(offset) has the wrong checksum" }
      if segmentOfPage[Int(position(record)) >> (PageAllocator.pageShift - 3)] != id {
        return "record \(offset) is mapped to another segment"
      }
      if !record.isPut {
        tombstones += record.room
      } else if find(record) || isVictim(p, record) {
        live += record.room
      }
      record = RecordView(record.base + record.room)
    }
    return nil
  }

  /// Whether a slot points to this very record.
  private func find(_ record: RecordView) -> Bool {
    let tag = TableLayout.tag(record.hash)
    var slot = firstSlot(partition(record.hash), tag: tag)
    while slot.pointee != 0 && TableLayout.tag(of: slot.pointee) == tag {
      if TableLayout.position(of: slot.pointee) == position(record) { return true }
      slot += 1
    }
    return false
  }

  private func checkTable(_ p: UnsafeMutablePointer<Partition>, _ sums: inout Sums) -> String? {
    let total = Int(p.pointee.tablePages) * TableLayout.slotsPerPage
    sums.pages += Int(p.pointee.tablePages)
    sums.keys += p.pointee.count
    var (count, expiring, lastTag) = (0, 0, UInt64(0))
    for index in 0..<total {
      let word = p.pointee.slots[index]
      if word == 0 { continue }
      count += 1
      let tag = TableLayout.tag(of: word)
      let home = TableLayout.home(tag: tag, capacity: p.pointee.capacity)
      if tag < lastTag { return "slot \(index) is out of order" }
      if index < home { return "slot \(index) is before its home \(home)" }
      if index > home && p.pointee.slots[index - 1] == 0 { return "slot \(index) is behind a gap" }
      lastTag = tag
      let record = self.record(TableLayout.position(of: word))
      let owner = segmentOfPage[Int(TableLayout.position(of: word)) >> (PageAllocator.pageShift - 3)]
      if owner == 0 || owner >= segmentCount || segments[Int(owner)].partition != p - partitions {
        return "slot \(index) points out of the log"
      }
      if !record.isPut || TableLayout.tag(record.hash) != tag || partition(record.hash) != p {
        return "slot \(index) points to another key"
      }
      if record.hasExpiry { expiring += 1 }
    }
    if total > 0 && p.pointee.slots[total - 1] != 0 { return "the last slot is taken" }
    if count != p.pointee.count { return "\(count) slots, counted \(p.pointee.count)" }
    if expiring != p.pointee.expiring { return "\(expiring) expiring, counted \(p.pointee.expiring)" }
    return nil
  }

  private func checkHeap(_ p: UnsafeMutablePointer<Partition>, _ sums: inout Sums) -> String? {
    let (heap, old) = (p.pointee.heap, p.pointee.oldHeap)
    sums.pages += heap.pages + old.pages
    if !heap.isOrdered || !old.isOrdered { return "a heap is out of order" }
    let earliest = p.pointee.isPassive ? UInt64.max : min(heap.earliest, old.earliest)
    if due[dueLeaves + (p - partitions)] != earliest {
      return "the earliest expiry is not noted"
    }
    var known = Set<[UInt64]>()
    for heap in [heap, old] {
      for index in 0..<heap.count { known.insert([heap.entries![index].expiry, UInt64(heap.entries![index].tag)]) }
    }
    for index in 0..<Int(p.pointee.tablePages) * TableLayout.slotsPerPage where p.pointee.slots[index] != 0 {
      let word = p.pointee.slots[index]
      let record = self.record(TableLayout.position(of: word))
      if record.hasExpiry && !known.contains([record.expiry, TableLayout.tag(of: word)]) {
        return "slot \(index) would never expire"
      }
    }
    return nil
  }

  /// Every partition that has something, and its segments, for debugging.
  package func dump() -> String {
    var text = "\(count) keys, \(liveBytes) live, \(deadBytes) dead, \(pages.usedPages)/\(limitPages) pages\n"
    for index in 0..<partitionTotal where partitions[index].used > 0 || partitions[index].tablePages > 0 {
      let p = partitions[index]
      text += "partition \(firstPartition + index): \(p.count) keys in \(p.tablePages) pages, next \(p.nextOffset), "
      text += "log \(p.used), dead \(p.dead), tombstones \(p.tombstones), expiring \(p.expiring), "
      text += "heaps \(p.heap.count) \(p.oldHeap.count), sweep \(p.sweepNext)->\(p.sweepOutput)\n"
      var id = p.head
      while id != 0 {
        let s = segments[Int(id)]
        text += "  \(id): from \(s.firstOffset), page \(s.page)+\(s.pages), used \(s.used), dead \(s.dead), "
        text += "pins \(s.pins), flags \(s.flags.rawValue)\n"
        id = s.next
      }
    }
    return text
  }
}
