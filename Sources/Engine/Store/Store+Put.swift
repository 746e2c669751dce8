import Wire

/// What a put made.
package struct PutResult {
  /// The new record, in the log.
  package let record: RecordView
  /// Its epoch and offset. The record has them too, but reading what was just written would wait for the store.
  let epoch: Epoch
  let offset: Offset
  /// Whether the key had a value, not expired, before.
  package let existed: Bool

  /// The token of the write.
  @inline(__always)
  func revision(in partition: PartitionID) -> Revision {
    Revision(partition: partition, epoch: epoch, offset: offset)
  }
}

/// Segments that a write holds on to because its value lies in them; none is 0.
struct HeldSegments {
  var a: Segment.ID = 0
  var b: Segment.ID = 0
}

extension Store {
  /// Gives the key a value: the bytes of `a`, then of `b` (either may be empty and may lie in this store's log).
  ///
  /// - Parameters:
  ///   - expiry: milliseconds since 1970 from which on the key counts as absent; 0 for never.
  ///   - flags: within `RecordLayout.flagMask`, kept with the record.
  ///   - time: now, in milliseconds since 1970.
  package mutating func put(
    _ key: KeyRef, _ a: UnsafeRawBufferPointer,
    _ b: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    contentType: RecordContentType = RecordContentType(), expiry: UInt64 = 0, flags: UInt8 = 0, time: UInt64
  ) throws(StoreError) -> PutResult {
    try put(key, a, b, contentType: contentType, expiry: expiry, flags: flags, time: time, hint: nil)
  }

  /// The same.
  ///
  /// - Parameter hint: the slot that the key probably has.
  mutating func put(
    _ key: KeyRef, _ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer, contentType: RecordContentType,
    expiry: UInt64, flags: UInt8, time: UInt64, hint: UnsafeMutablePointer<Slot>?
  ) throws(StoreError) -> PutResult {
    let p = partition(key.hash)
    var head = RecordHead(
      kind: .put, flags: flags | writeFlags, epoch: Epoch(p.pointee.epoch), offset: Offset(p.pointee.nextOffset),
      time: time, expiry: expiry, contentType: contentType)
    let prefixCount = head.prefixCount
    let valueStart = prefixCount &+ key.mapCount &+ key.keyCount
    let length = valueStart &+ a.count &+ b.count
    let room = RecordLayout.padded(length)
    var held = HeldSegments()
    let isTooLong = key.keyCount | key.mapCount &<< 8 > Int(UInt16.max)
    if remaining(p) < room || p.pointee.count >= p.pointee.maximumCount || isTooLong
      || (expiry != 0 && p.pointee.heap.isFull)
    {
      held = try prepare(p, key, room: room, expires: expiry != 0, time: time, a.baseAddress, b.baseAddress)
      head.offset = Offset(p.pointee.nextOffset)
    }
    let place: Place
    if let slot = slot(p, key, hint: hint) {
      place = Place(slot: slot, gap: nil)
    } else {
      do { place = try locate(p, key) } catch {
        release(held)
        throw error
      }
    }
    let target = p.pointee.cursor!
    head.write(to: target, length: length, mapCount: key.mapCount, keyCount: key.keyCount)
    if key.mapCount > 0 { copyBytes(target + prefixCount, key.map, key.mapCount) }
    copyBytes(target + prefixCount + key.mapCount, key.key, key.keyCount)
    if let bytes = a.baseAddress { copyValue(target + valueStart, bytes, a.count) }
    if let bytes = b.baseAddress { (target + valueStart + a.count).copyMemory(from: bytes, byteCount: b.count) }
    // Of one piece, the source is hashed: reading what was just written would wait for the copy.
    RecordLayout.seal(
      target, valueStart: valueStart, value: b.count == 0 ? a.baseAddress : UnsafeRawPointer(target + valueStart),
      valueCount: a.count &+ b.count)
    p.pointee.cursor = target + room
    let existed = publish(p, place, key.hash, RecordView(target), room: room, expiry: expiry, time: time)
    if held.a | held.b != 0 { release(held) }
    return PutResult(record: RecordView(target), epoch: head.epoch, offset: head.offset, existed: existed)
  }

  /// The short way of nearly all puts: a value without a content type, that doesn't expire, for a key of the default
  /// map that has such a value. The same as `put`, with all else left out that it decides. Nil, and nothing changed,
  /// where it isn't so or the log lacks the room.
  @inline(always)
  mutating func replacePlainly(
    _ key: KeyRef, _ value: UnsafeRawBufferPointer, time: UInt64, hint: UnsafeMutablePointer<Slot>?
  ) -> PutResult? {
    let p = partition(key.hash)
    guard key.mapCount == 0, !isReplicated, let slot = slot(p, key, hint: hint), let bytes = value.baseAddress,
      let target = p.pointee.cursor
    else { return nil }
    let valueStart = RecordLayout.headerCount &+ key.keyCount
    let length = valueStart &+ value.count
    let room = RecordLayout.padded(length)
    guard remaining(p) >= room, !record(TableLayout.position(of: slot.pointee)).hasExpiry else { return nil }
    let head = RecordHead(
      kind: .put, flags: writeFlags, epoch: Epoch(p.pointee.epoch), offset: Offset(p.pointee.nextOffset), time: time)
    head.write(to: target, length: length, mapCount: 0, keyCount: key.keyCount)
    copyBytes(target + RecordLayout.headerCount, key.key, key.keyCount)
    copyValue(target + valueStart, bytes, value.count)
    RecordLayout.seal(target, valueStart: valueStart, value: bytes, valueCount: value.count)
    p.pointee.cursor = target + room
    let record = RecordView(target)
    let existed = publish(p, Place(slot: slot, gap: nil), key.hash, record, room: room, expiry: 0, time: time)
    return PutResult(record: record, epoch: head.epoch, offset: head.offset, existed: existed)
  }

  /// Bytes left in the segment the partition appends to.
  @inline(__always)
  func remaining(_ p: UnsafeMutablePointer<Partition>) -> Int {
    guard let cursor = p.pointee.cursor, let end = p.pointee.end else { return -1 }
    return end - cursor
  }

  /// Where a key's slot is or goes: `gap` is the first empty slot from there on, or nil if the key is there.
  struct Place {
    var slot: UnsafeMutablePointer<Slot>
    var gap: UnsafeMutablePointer<Slot>?
  }

  @inline(never)
  mutating func locate(_ p: UnsafeMutablePointer<Partition>, _ key: KeyRef) throws(StoreError) -> Place {
    while true {
      let tag = TableLayout.tag(key.hash)
      let home = p.pointee.slots + TableLayout.home(tag: tag, capacity: p.pointee.capacity)
      var slot = home
      var run = 0
      while true {
        let word = slot.pointee
        let found = TableLayout.tag(of: word)
        if word == 0 || found > tag { break }
        if found == tag {
          let record = self.record(TableLayout.position(of: word))
          if record.matches(map: key.map, mapCount: key.mapCount, key: key.key, keyCount: key.keyCount) {
            return Place(slot: slot, gap: nil)
          }
          run &+= 1
        }
        slot += 1
      }
      if run >= TableLayout.maximumRun || slot - home > TableLayout.maximumDisplacement { throw .collision }
      var gap = slot
      while gap.pointee != 0 { gap += 1 }
      let last = p.pointee.slots + (Int(p.pointee.tablePages) &* TableLayout.slotsPerPage &- 1)
      if gap < last { return Place(slot: slot, gap: gap) }
      try makeGap(p)
    }
  }

  /// Makes a record that is in the log its key's one: updates the table, the counts, the dead and the expiry heap.
  /// There is room in the heap. Answers whether the key had an unexpired value.
  @inline(__always)
  mutating func publish(
    _ p: UnsafeMutablePointer<Partition>, _ place: Place, _ hash: UInt64, _ record: RecordView, room: Int,
    expiry: UInt64, time: UInt64
  ) -> Bool {
    let offset = p.pointee.nextOffset
    p.pointee.nextOffset = offset &+ 1
    p.pointee.used &+= room
    liveBytes &+= room
    let word = TableLayout.tag(hash) &<< TableLayout.tagShift | position(record)
    var existed = false
    var oldExpiry: UInt64 = 0
    if let gap = place.gap {
      let slot = place.slot
      var hole = gap
      while hole > slot {
        hole.pointee = (hole - 1).pointee
        hole -= 1
      }
      slot.pointee = word
      p.pointee.count &+= 1
      addToCount(1)
      if isReplicated { replace(p, nil, by: offset) }
    } else {
      let old = place.slot.pointee
      place.slot.pointee = word | old & TableLayout.referenced
      let oldRecord = self.record(TableLayout.position(of: old))
      oldExpiry = oldRecord.expiry
      existed = oldExpiry == 0 || oldExpiry > time
      if isReplicated { replace(p, oldRecord, by: offset) } else { kill(p, oldRecord) }
    }
    if expiry != 0 { addExpiry(p, expiry, hash, isKnown: oldExpiry == expiry) }
    return existed
  }

  /// Notes that no slot points to a record any more, which is dead by that.
  @inline(__always)
  mutating func kill(_ p: UnsafeMutablePointer<Partition>, _ record: RecordView) {
    if record.hasExpiry { removeExpiry(p) }
    countDead(p, record)
  }

  /// Counts a record as dead, and frees its segment if it was the last one alive there.
  @inline(__always)
  mutating func countDead(_ p: UnsafeMutablePointer<Partition>, _ record: RecordView) {
    countDead(p, segmentOfPage[Int(position(record)) &>> (PageAllocator.pageShift &- 3)], room: record.room)
  }

  /// The same of `room` bytes in a segment.
  @inline(__always)
  mutating func countDead(_ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID, room: Int) {
    let segment = segments + Int(id)
    segment.pointee.dead &+= UInt32(truncatingIfNeeded: room)
    p.pointee.dead &+= room
    liveBytes &-= room
    deadBytes &+= room
    if segment.pointee.dead == segment.pointee.used { freeIfDead(id) }
    if p.pointee.dead &* cleaningFactor > p.pointee.used && p.pointee.dead > PageAllocator.pageSize
      && !p.pointee.isQueued
    {
      considerCleaning(p)
    }
  }

  // MARK: Removing

  /// Removes the key and leaves a tombstone of this kind in the log. Answers the tombstone's revision, nil when the key
  /// had no value or an expired one. Throws `.full` only if tombstones must be kept (`setTombstoneFloor`) and the
  /// reserve is used up.
  package mutating func remove(_ key: KeyRef, kind: RecordKind = .remove, time: UInt64) throws(StoreError) -> Revision?
  {
    let p = partition(key.hash)
    guard let (slot, record) = search(p, key) else { return nil }
    let expired = record.isExpired(at: time)
    let revision = try drop(p, slot, record, kind: expired ? .expire : kind, time: time)
    return expired && kind == .remove ? nil : revision
  }

  /// Takes a slot's key away: tombstone, table, dead count. Where memory is so short that not even the reserve has room
  /// for a tombstone, and nobody needs one, its offset is used up without one.
  mutating func drop(
    _ p: UnsafeMutablePointer<Partition>, _ slot: UnsafeMutablePointer<Slot>, _ record: RecordView, kind: RecordKind,
    time: UInt64
  ) throws(StoreError) -> Revision {
    let prefix = RecordLayout.headerCount
    let length = prefix + record.mapCount + record.keyCount
    let room = RecordLayout.padded(length)
    let offset = p.pointee.nextOffset
    let hasRoom = remaining(p) >= room || openSegment(p, room: room, for: .removal)
    if !hasRoom && p.pointee.tombstoneFloor <= offset { throw .full }
    deleteSlot(p, slot)
    p.pointee.nextOffset = offset + 1
    if hasRoom {
      let target = p.pointee.cursor!
      let head = RecordHead(
        kind: kind, flags: writeFlags, epoch: Epoch(p.pointee.epoch), offset: Offset(offset), time: time)
      head.write(to: target, length: length, mapCount: record.mapCount, keyCount: record.keyCount)
      (target + prefix).copyMemory(from: record.map.baseAddress!, byteCount: record.mapCount + record.keyCount)
      RecordLayout.seal(target, valueStart: length, valueHash: xxh3(nil, count: 0, seed: 0))
      p.pointee.cursor = target + room
      p.pointee.used &+= room
      countTombstone(p, p.pointee.open, room: room)
    }
    if kind == .expire { expiredTotal += 1 }
    if kind == .evict { evictedTotal += 1 }
    if !hasRoom { p.pointee.forgotten = offset }
    if isReplicated { replace(p, record, by: offset) } else { kill(p, record) }
    return Revision(partition: id(p), epoch: Epoch(p.pointee.epoch), offset: Offset(offset))
  }

  /// A tombstone is dead from the start: no slot points to it.
  mutating func countTombstone(_ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID, room: Int) {
    segments[Int(id)].dead &+= UInt32(room)
    segments[Int(id)].tombstones &+= UInt32(room)
    p.pointee.dead &+= room
    p.pointee.tombstones &+= room
    deadBytes &+= room
  }

  /// Empties a slot and moves the displaced ones behind it back by one.
  mutating func deleteSlot(_ p: UnsafeMutablePointer<Partition>, _ slot: UnsafeMutablePointer<Slot>) {
    let slots = p.pointee.slots
    var hole = slot
    while true {
      let next = (hole + 1).pointee
      if next == 0 { break }
      if slots + TableLayout.home(tag: TableLayout.tag(of: next), capacity: p.pointee.capacity) > hole { break }
      hole.pointee = next
      hole += 1
    }
    hole.pointee = 0
    p.pointee.count &-= 1
    addToCount(-1)
    // A table that emptied is given back piecemeal: the end of a sweep halves it.
    if p.pointee.tablePages > 1 && p.pointee.count &* 4 < p.pointee.maximumCount { enqueue(p) }
  }
}
