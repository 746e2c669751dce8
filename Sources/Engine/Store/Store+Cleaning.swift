import Wire

extension Store {
  /// What a sweep does with records that are alive.
  enum Survival {
    /// Keeps them.
    case all
    /// Keeps those that were read since the hand last passed.
    case referenced
    /// Keeps none: memory is wanted and everything was read.
    case none
  }

  /// What one step of a sweep came to.
  enum SweepStep {
    /// So many bytes of work.
    case worked(Int)
    /// The same, and it was the last of the log.
    case finished(Int)
    /// There is not even memory for what survives.
    case stuck
  }

  // MARK: The queue of partitions to clean

  /// A death made more of the log dead than is tolerated: queues the partition if that is worth a sweep.
  @inline(never)
  mutating func considerCleaning(_ p: UnsafeMutablePointer<Partition>) {
    let reclaimable = p.pointee.reclaimable
    let segment = segmentPages(p, room: 0) << PageAllocator.pageShift
    if reclaimable * cleaningFactor > p.pointee.used && reclaimable > segment { enqueue(p) }
  }

  mutating func enqueue(_ p: UnsafeMutablePointer<Partition>) {
    guard !p.pointee.isQueued else { return }
    p.pointee.isQueued = true
    p.pointee.nextQueued = 0
    let number = UInt32(p - partitions + 1)
    if queueTail == 0 { queueHead = number } else { partitions[Int(queueTail) - 1].nextQueued = number }
    queueTail = number
  }

  private mutating func dequeue() {
    let p = partitions + (Int(queueHead) - 1)
    queueHead = p.pointee.nextQueued
    if queueHead == 0 { queueTail = 0 }
    p.pointee.isQueued = false
  }

  /// Background work in bounded slices: expires what is due, evicts ahead of the writes, cleans. A slice exceeds
  /// `budget`, in bytes of log passed, by at most one segment. Answers whether more work waits.
  @inline(__always)
  package mutating func maintain(now: UInt64, budget: Int) -> Bool {
    // What a sweep copies to gain a byte is live/dead: two bytes at a third dead, one at a half (Rosenblum and
    // Ousterhout 1992). Memory that nobody else wants yet is spent to halve the work.
    cleaningFactor = countedPages * 2 < limitPages ? 2 : 3
    return needsMaintenance(now) ? work(now: now, budget: budget) : false
  }

  /// Whether there is anything to do for `maintain`; most turns have nothing.
  @inline(__always)
  private func needsMaintenance(_ now: UInt64) -> Bool {
    queueHead != 0 || nextExpiry <= now || (evicts && !fits(headroomPages))
  }

  @inline(never)
  private mutating func work(now: UInt64, budget: Int) -> Bool {
    var left = budget - expireDue(now: now, budget: budget)
    var evictionIsStuck = false
    while left > 0 && !evictionIsStuck && !fits(headroomPages) && evicts {
      let work = evict(.referenced, time: now)
      evictionIsStuck = work == 0
      left -= work
    }
    while left > 0 && queueHead != 0 {
      switch sweep(partitions + (Int(queueHead) - 1), keeping: .all, thorough: false, time: now) {
      case .worked(let work): left -= work
      case .finished(let work):
        left -= work + 64
        dequeue()
      case .stuck:
        left -= 64
        dequeue()
      }
    }
    return queueHead != 0 || nextExpiry <= now || (evicts && !evictionIsStuck && !fits(headroomPages))
  }

  // MARK: Making room

  /// Frees memory until `count` more pages fit: expires what is due, then evicts or cleans. The work is bounded by what
  /// is asked for. False if it did not suffice.
  mutating func makeRoom(_ count: Int, for claim: Claim = .write, time: UInt64) -> Bool {
    if fits(count, for: claim) { return true }
    guard count <= limitPages - reservePages else { return false }
    _ = expireDue(now: time, budget: 64 << 10)
    if evicts {
      var work = 0
      let bound = 1 << 20 + 2 * count << PageAllocator.pageShift
      while !fits(count, for: claim) && work < 2 * bound {
        let step = evict(work < bound ? .referenced : .none, time: time)
        if step == 0 { break }
        work += step
      }
    } else if deadBytes > barrenAt {
      var work = 0
      while !fits(count, for: claim) && work < 1 << 20 {
        let step = reclaim(time: time)
        if step == 0 {
          // Until that much more has died, looking again would find nothing.
          barrenAt = deadBytes + limitPages << PageAllocator.pageShift / 256
          break
        }
        work += step
      }
      if fits(count, for: claim) { barrenAt = -1 }
    }
    return fits(count, for: claim)
  }

  /// One step of cleaning the next partition where it pays a little: the limit is reached. Answers the work done; 0
  /// when there is no such partition.
  private mutating func reclaim(time: UInt64) -> Int {
    for _ in 0..<partitionTotal {
      let p = partitions + reclaimHand
      let reclaimable = p.pointee.reclaimable
      let isEmpty = p.pointee.count == 0 && p.pointee.tablePages > 0
      let isDead = reclaimable == p.pointee.used && (reclaimable > 0 || isEmpty)
      let pays = reclaimable >= 2 * PageAllocator.pageSize && reclaimable * 16 > p.pointee.used
      if isDead || pays || p.pointee.sweepNext != 0 {
        switch sweep(p, keeping: .all, thorough: true, time: time) {
        case .worked(let work): return work
        case .finished(let work) where work > 0:
          reclaimHand = reclaimHand + 1 < partitionTotal ? reclaimHand + 1 : 0
          return work
        default: break
        }
      }
      reclaimHand = reclaimHand + 1 < partitionTotal ? reclaimHand + 1 : 0
    }
    return 0
  }

  /// One step of the hand over all logs: a segment of the next partition. Answers the work done; 0 when there was
  /// nothing to evict anywhere.
  private mutating func evict(_ survival: Survival, time: UInt64) -> Int {
    if isPassive { return 0 }
    // Twice around: the first time may only end the laps that are under way.
    for _ in 0..<2 * partitionTotal {
      let p = partitions + evictionHand
      evictionHand = evictionHand + 1 < partitionTotal ? evictionHand + 1 : 0
      if p.pointee.isPassive || (p.pointee.count == 0 && p.pointee.sweepNext == 0) { continue }
      switch sweep(p, keeping: survival, thorough: true, time: time) {
      case .worked(let work): return work
      case .finished(let work) where work > 0: return work
      default: break
      }
    }
    return 0
  }

  // MARK: Sweeping a log

  /// One step of the partition's sweep, from its log's oldest segment to its newest: the survivors of a segment go to
  /// the output segment, which stands right before it in the log, and the segment is freed.
  ///
  /// Where all records are kept, a segment of which less than an eighth is dead is passed over; `thorough`, when memory
  /// is short, takes whatever gains a 32nd. Copying only the segments with most dead would move fewer bytes, but those
  /// stand apart, and each would leave a short segment with a page half empty: measured, 20 % more memory.
  private mutating func sweep(
    _ p: UnsafeMutablePointer<Partition>, keeping survival: Survival, thorough: Bool, time: UInt64
  ) -> SweepStep {
    if p.pointee.sweepNext == 0 {
      // The last sweep may have ended by the death of the segment it was at.
      closeOutput(p)
      p.pointee.sweepNext = p.pointee.head
    }
    let id = p.pointee.sweepNext
    guard id != 0 else { return finishSweep(p, 0) }
    let segment = segments + Int(id)
    if id == p.pointee.open {
      settle(p)
      let gain = reclaimable(p, id)
      let isWorth = survival == .all ? gain * 3 > Int(segment.pointee.used) : segment.pointee.used > 0
      guard isWorth else { return finishSweep(p, 0) }
      sealOpen(p)
      if p.pointee.sweepNext != id { return finishSweep(p, 64) }
    }
    if segment.pointee.victims > 0 && survival == .all {
      closeOutput(p)
      return goOn(p, from: segment.pointee.next, 64)
    }
    if survival == .all {
      if !pays(p, id, thorough: thorough) {
        closeOutput(p)
        return goOn(p, from: segment.pointee.next, 64)
      }
    } else if segment.pointee.flags.contains(.large) || p.pointee.committed != .max {
      // What others may have yet to hear of stays where it is until they have.
      return evictLarge(p, id, keeping: survival, time: time)
    }
    let work = Int(segment.pointee.used) + 512
    guard moveSurvivors(p, id, keeping: survival, time: time) else { return .stuck }
    return goOn(p, from: p.pointee.sweepNext, work)
  }

  /// Whether a sweep that keeps everything takes this segment.
  private func pays(_ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID, thorough: Bool) -> Bool {
    let gain = reclaimable(p, id)
    let used = Int(segments[Int(id)].used)
    if gain == 0 { return used == 0 }
    return gain * (thorough ? 32 : 8) >= used
  }

  private mutating func goOn(_ p: UnsafeMutablePointer<Partition>, from next: Segment.ID, _ work: Int) -> SweepStep {
    p.pointee.sweepNext = next
    return next == 0 ? finishSweep(p, work) : .worked(work)
  }

  private mutating func finishSweep(_ p: UnsafeMutablePointer<Partition>, _ work: Int) -> SweepStep {
    p.pointee.sweepNext = 0
    closeOutput(p)
    shrinkTable(p)
    return .finished(work)
  }

  mutating func closeOutput(_ p: UnsafeMutablePointer<Partition>) {
    let id = p.pointee.sweepOutput
    guard id != 0 else { return }
    p.pointee.sweepOutput = 0
    close(id)
  }

  /// Bytes left in the sweep's output.
  private func outputRoom(_ p: UnsafeMutablePointer<Partition>) -> Int {
    let id = p.pointee.sweepOutput
    return id == 0 ? 0 : segments[Int(id)].capacity - Int(segments[Int(id)].used)
  }

  /// Moves what survives of a segment and frees it. All memory is taken before anything moves; false without.
  private mutating func moveSurvivors(
    _ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID, keeping survival: Survival, time: UInt64
  ) -> Bool {
    let segment = segments + Int(id)
    let floor = p.pointee.tombstoneFloor
    let keepsTombstones = segment.pointee.tombstones > 0 && offsetBound(p, id) > floor
    let needed =
      Int(segment.pointee.used - segment.pointee.dead) + (keepsTombstones ? Int(segment.pointee.tombstones) : 0)
    var spare: Range<Int>?
    if needed > outputRoom(p) {
      let wanted = max(needed, survivorsAhead(p, id))
      spare = takePages(
        atLeast: PageAllocator.pages(needed), preferring: PageAllocator.pages(wanted), for: .removal)
      if spare == nil { return false }
    }
    fetchStart(segment.pointee.next)
    segment.pointee.flags.insert(.busy)
    var record = self.record(segment.pointee.start)
    let end = record.base + Int(segment.pointee.used)
    var hash = record.base < end ? record.hash : 0
    while record.base < end {
      let room = record.room
      let nextHash = fetchAhead(p, of: record, room: room, end: end)
      if record.isPut {
        if let slot = self.slot(p, hash, position(record)) {
          let keep = survives(slot, survival) || !evictOne(p, slot, record, time: time)
          if keep {
            let copy = append(p, record, room: room, spare: &spare, before: id)
            slot.pointee = slot.pointee & ~TableLayout.positionMask | position(copy)
            if survival != .all { slot.pointee &= ~TableLayout.referenced }
          }
        }
      } else if keepsTombstones && record.offset.rawValue >= floor {
        _ = append(p, record, room: room, spare: &spare, before: id)
        countTombstone(p, p.pointee.sweepOutput, room: room)
      } else {
        p.pointee.forgotten = max(p.pointee.forgotten, record.offset.rawValue)
      }
      record = RecordView(record.base + room)
      hash = nextHash
    }
    if let spare { pages.free(spare.lowerBound, count: spare.count) }
    // The survivors' room is counted in the output; the source goes as a whole.
    let moved = Int(segment.pointee.used - segment.pointee.dead)
    segment.pointee.dead = segment.pointee.used
    p.pointee.dead += moved
    deadBytes += moved
    free(p, id, forgets: false)
    return true
  }

  /// Fetches the slot of the next record, and some of the log behind it: segments are short, and where one begins the
  /// processor doesn't yet know which way it is read. Returns the next record's hash.
  @inline(__always)
  private func fetchAhead(
    _ p: UnsafeMutablePointer<Partition>, of record: RecordView, room: Int, end: UnsafeRawPointer
  ) -> UInt64 {
    prefetch(record.base + 512)
    prefetch(record.base + 576)
    let next = record.base + room
    guard next < end else { return 0 }
    let hash = RecordView(next).hash
    prefetch(p.pointee.slots + TableLayout.home(tag: TableLayout.tag(hash), capacity: p.pointee.capacity))
    return hash
  }

  /// Fetches where the records of a segment start that a sweep comes to next, as far as `fetchAhead` won't, and the
  /// descriptor of the one behind it.
  @inline(__always)
  private func fetchStart(_ id: Segment.ID) {
    guard id != 0 else { return }
    let segment = segments + Int(id)
    let start = UnsafeRawPointer(base) + Int(segment.pointee.start) << 3
    for line in 0..<8 { prefetch(start + line &* 64) }
    prefetch(segments + Int(segment.pointee.next))
  }

  private func survives(_ slot: UnsafeMutablePointer<Slot>, _ survival: Survival) -> Bool {
    switch survival {
    case .all: true
    case .referenced: slot.pointee & TableLayout.referenced != 0
    case .none: false
    }
  }

  private mutating func evictOne(
    _ p: UnsafeMutablePointer<Partition>, _ slot: UnsafeMutablePointer<Slot>, _ record: RecordView, time: UInt64
  ) -> Bool {
    do { _ = try drop(p, slot, record, kind: .evict, time: time) } catch { return false }
    return true
  }

  /// Copies a record to the output, which becomes the spare run when the record no longer fits.
  private mutating func append(
    _ p: UnsafeMutablePointer<Partition>, _ record: RecordView, room: Int, spare: inout Range<Int>?,
    before next: Segment.ID
  ) -> RecordView {
    if outputRoom(p) < room {
      guard let run = spare, let id = newSegment() else { preconditionFailure("a sweep's output is too small") }
      spare = nil
      closeOutput(p)
      link(p, id, page: run.lowerBound, pages: run.count, lead: 0, flags: .busy, before: next)
      segments[Int(id)].firstOffset = record.offset.rawValue
      p.pointee.sweepOutput = id
    }
    let output = segments + Int(p.pointee.sweepOutput)
    let target = base + Int(output.pointee.start) << 3 + Int(output.pointee.used)
    target.copyMemory(from: record.base, byteCount: room)
    output.pointee.used += UInt32(room)
    p.pointee.used += room
    return RecordView(target)
  }

  /// Bytes that survive of this segment and the next few that the sweep will take, up to a segment's size: the output
  /// is made as large.
  private func survivorsAhead(_ p: UnsafeMutablePointer<Partition>, _ first: Segment.ID) -> Int {
    let bound = segmentPages(p, room: 0) << PageAllocator.pageShift
    var sum = 0
    var id = first
    for _ in 0..<16 where id != 0 && id != p.pointee.open && sum < bound {
      let segment = segments + Int(id)
      if segment.pointee.flags.contains(.large) || !pays(p, id, thorough: false) { break }
      sum += Int(segment.pointee.used) - reclaimable(p, id)
      id = segment.pointee.next
    }
    return min(sum, bound)
  }

  /// The slot of this key hash that points to this position.
  func slot(
    _ p: UnsafeMutablePointer<Partition>, _ hash: UInt64, _ position: UInt64
  ) -> UnsafeMutablePointer<Slot>? {
    let tag = TableLayout.tag(hash)
    var slot = p.pointee.slots + TableLayout.home(tag: tag, capacity: p.pointee.capacity)
    while slot.pointee != 0 && TableLayout.tag(of: slot.pointee) <= tag {
      if TableLayout.position(of: slot.pointee) == position { return slot }
      slot += 1
    }
    return nil
  }

  /// The hand at a segment that isn't copied: its records go, or lose their marks and stay.
  private mutating func evictLarge(
    _ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID, keeping survival: Survival, time: UInt64
  ) -> SweepStep {
    let segment = segments + Int(id)
    segment.pointee.flags.insert(.busy)
    var record = self.record(segment.pointee.start)
    let end = record.base + Int(segment.pointee.used)
    while record.base < end {
      let room = record.room
      if record.isPut, let slot = self.slot(p, record.hash, position(record)) {
        if survives(slot, survival) || !evictOne(p, slot, record, time: time) {
          slot.pointee &= ~TableLayout.referenced
        }
      }
      record = RecordView(record.base + room)
    }
    segment.pointee.flags.remove(.busy)
    closeOutput(p)
    let next = segment.pointee.next
    if segment.pointee.dead == segment.pointee.used { freeIfDead(id) }
    return goOn(p, from: next, 4096)
  }
}
