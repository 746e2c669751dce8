import Wire

// Maps in mode `cache`: a value is in the log of its owner alone, and nodes that read it keep copies for a while.
//
// Coherence is by leases (Gray and Cheriton 1989). A copy is good for seven eighths of `limits.cacheLease`, counted by
// the reader's clock from when it asked; the owner counts a whole one from when it answered, so the clocks' rates may
// differ by an eighth. A write is answered when every node that may have a good copy in the key's partition has dropped
// that of the key, or its lease is over: from then on nobody answers with an older value. A new owner doesn't know the
// leases of the one before, and waits for as long as they can last.
//
// A cached record is good in the epoch in which it was written, at the owner of that epoch: when the partition gets
// another owner, its cached values are gone. Followers never get them; the streams leave gaps there.
extension Core {
  /// The key's record for whoever reads or writes it here.
  @inline(__always)
  func lookUp(_ key: KeyRef) -> RecordView? {
    let record = store.find(key, now: wall)
    return key.mapCount == 0 ? record : visible(record, key)
  }

  @inline(never)
  private func visible(_ record: RecordView?, _ key: KeyRef) -> RecordView? {
    guard key.isCached else { return record }
    guard owns(key.partition) else { return copies.find(key, monotonic: monotonic, wall: wall) }
    guard let record, record.epoch == store.epoch(of: key.partition) else { return nil }
    return record
  }

  /// Whether this node owns the partition, as far as it knows.
  func owns(_ partition: PartitionID) -> Bool {
    !isRouted || routes.table[Int(partition.rawValue)].owner == Routes.own
  }

  /// Whether a record may be listed here.
  func isListed(_ record: RecordView, in partition: PartitionID) -> Bool {
    guard MapTable.isCache(record.map) else { return true }
    return owns(partition) && record.epoch == store.epoch(of: partition)
  }

  // MARK: At a reader

  /// Where a cached key is read: where the copy is, which only the partition's core of this node knows.
  func cachedPlace(_ operation: UnsafePointer<Operation>, owner: Int16) -> Int {
    let partition = operation.pointee.key.partition
    // Another node asks the owner, not a copy: what it is told it may keep, by the owner's leave.
    if operation.pointee.isForwarded { return Place(owner: owner).rawValue }
    if operation.pointee.hasOptions && operation.pointee.options.redirects { return Place(owner: owner).rawValue }
    let home = core(of: partition)
    if home != index { return home }
    let isLocal = !operation.pointee.hasOptions || operation.pointee.options.readLevel == .local
    if isLocal, copies.find(operation.pointee.key, monotonic: monotonic, wall: wall) != nil { return index }
    return Place(owner: owner).rawValue
  }

  /// A read of a cached key that another core mailed here, since the copy would be here: it isn't, so the owner is
  /// asked. False if it is.
  mutating func relayCached(_ operation: UnsafePointer<Operation>, for target: AnswerTarget) -> Bool {
    guard isRouted, operation.pointee.key.isCached, !operation.pointee.kind.isWrite, !operation.pointee.isForwarded
    else { return false }
    let place = Place(rawValue: place(of: operation))
    guard place.rawValue < 0 else { return false }
    if let refusal = refusal(place, operation) {
      deliver(target, refusal)
    } else {
      relay(operation, over: place.link!, for: target)
    }
    return true
  }

  /// Keeps a copy of a record that its owner has sent.
  mutating func keepCopy(
    _ prefix: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ answer: UnsafePointer<WaitingAnswer>
  ) {
    let record = RecordView(prefix.baseAddress!)
    let (partition, since) = (answer.pointee.partition, answer.pointee.since)
    guard answer.pointee.kind == .get, MapTable.isCache(record.map), PartitionID(hash: record.hash) == partition,
      core(of: partition) == index
    else { return }
    let lease = UInt64(limits.cacheLease) * 1_000_000
    copies.keep(
      prefix, value, record.hash, asked: since, until: since * 1_000_000 + lease - lease / 8, limit: limits.cacheBytes,
      monotonic: monotonic)
  }

  /// The owner of a key is about to answer a write of it.
  mutating func invalidate(_ section: SectionView, _ slot: MemberSlot) {
    #if DEBUG
      if configuration.mutation != .keepsCopies { copies.invalidate(section.hash, now: monotonicMilliseconds) }
    #else
      copies.invalidate(section.hash, now: monotonicMilliseconds)
    #endif
    guard desk.peers[Int(slot)]?.pointee.isConnected == true else { return }
    makeRoom(24, Int(slot))
    desk.peers[Int(slot)]!.pointee.writer.pointee.round(.invalidated, section.partition, section.epoch, section.round)
  }

  // MARK: At the owner

  /// Why a cached key can't be read here now: whoever is cut off, or gives the partition away, may be out of date.
  func cacheRefusal(_ partition: PartitionID) -> Problem? {
    guard owns(partition) else { return nil }
    guard standing.hasLease else { return .readOnlyRead }
    guard let owner = desk.parts?[part(partition)].owner else { return nil }
    return owner.isActive && owner.successor == nil ? nil : .notConfirmable
  }

  /// A node is sent a value that it may keep a copy of.
  mutating func grant(_ partition: PartitionID, to slot: MemberSlot) {
    let until = monotonic + UInt64(limits.cacheLease) * 1_000_000
    // An operation that waited doesn't say who sent it: any of them may have.
    let slots = slot == .max ? desk.peers.indices.map { MemberSlot($0) } : [slot]
    for slot in slots where desk.peers[Int(slot)] != nil {
      cacheDesk.grants[part(partition), default: [:]][slot] = until
    }
  }

  /// Those that may have copies of a partition's values, and until when an answer waits for them.
  private func readers(of part: Int) -> (slots: [MemberSlot], until: UInt64) {
    var slots: [MemberSlot] = []
    var until = cacheDesk.quietUntil[part] ?? 0
    for (slot, end) in cacheDesk.grants[part] ?? [:] where end > monotonic {
      slots.append(slot)
      until = max(until, end)
    }
    return (slots, until)
  }

  /// Whether the answer to a write of a cached key has to wait for copies.
  func mustInvalidate(_ outcome: Outcome, _ partition: PartitionID) -> Bool {
    outcome.status < 300 && outcome.hasRevision && readers(of: part(partition)).until > monotonic
  }

  /// Has copies of the key dropped, and the answer given then.
  mutating func waitForCopies(
    _ outcome: Outcome, _ operation: UnsafePointer<Operation>, _ target: AnswerTarget
  ) {
    metrics.count(.parked)
    let key = operation.pointee.key
    let part = part(key.partition)
    let readers = readers(of: part)
    let token = waiting.add(
      target, .copies, operation.pointee.kind, key.partition,
      deadline: max(deadline(of: operation), readers.until / 1_000_000 + 1), now: monotonicMilliseconds,
      outcome: outcome)
    cacheDesk.number += 1
    let invalidation = Invalidation(
      part: part, number: cacheDesk.number, hash: key.hash, token: token, slots: readers.slots, until: readers.until)
    cacheDesk.pending.append(invalidation)
    say(invalidation)
    desk.nextTick = min(desk.nextTick, monotonic + ReplicationDesk.tick)
  }

  private mutating func say(_ invalidation: Invalidation) {
    let id = PartitionID(UInt16(invalidation.part + partitions.lowerBound))
    for slot in invalidation.slots {
      guard Int(slot) < desk.peers.count, desk.peers[Int(slot)]?.pointee.isConnected == true else { continue }
      makeRoom(32, Int(slot))
      desk.peers[Int(slot)]!.pointee.writer.pointee.invalidate(
        id, store.epoch(of: id), number: invalidation.number, hash: invalidation.hash)
    }
  }

  /// A node has dropped its copy.
  mutating func invalidated(_ number: UInt64, by slot: MemberSlot) {
    guard let index = cacheDesk.pending.firstIndex(where: { $0.number == number }) else { return }
    cacheDesk.pending[index].slots.removeAll { $0 == slot }
    let pending = cacheDesk.pending[index]
    guard pending.slots.isEmpty, (cacheDesk.quietUntil[pending.part] ?? 0) <= monotonic else { return }
    cacheDesk.pending.remove(at: index)
    concernMet(pending.token)
  }

  /// Answers those whose leases are over, and asks the others again.
  mutating func tickCaches() {
    // A few at a time: each is a pass over a partition's table.
    for part in cacheDesk.leftovers.prefix(4) {
      cacheDesk.leftovers.removeFirst()
      let id = PartitionID(UInt16(part + partitions.lowerBound))
      if !store.forgetCached(id, before: desk.parts![part].entry.epoch) { cacheDesk.leftovers.append(part) }
    }
    guard !cacheDesk.pending.isEmpty || !cacheDesk.grants.isEmpty else { return }
    let all = cacheDesk.pending
    cacheDesk.pending = []
    for invalidation in all {
      let isQuiet = (cacheDesk.quietUntil[invalidation.part] ?? 0) <= monotonic
      if invalidation.until <= monotonic || (invalidation.slots.isEmpty && isQuiet) {
        concernMet(invalidation.token)
      } else if waiting.find(invalidation.token) != nil {
        cacheDesk.pending.append(invalidation)
        say(invalidation)
      }
    }
    for (part, slots) in cacheDesk.grants {
      let left = slots.filter { $0.value > monotonic }
      cacheDesk.grants[part] = left.isEmpty ? nil : left
    }
  }
}

/// What an owner knows of the copies of its cached values.
struct CacheDesk {
  /// By partition of this core, by node: until when it may have good copies (monotonic nanoseconds).
  var grants: [Int: [MemberSlot: UInt64]] = [:]
  /// By partition: until when copies that an earlier owner gave may be good.
  var quietUntil: [Int: UInt64] = [:]
  /// Partitions that had another owner: their cached values are to be forgotten.
  var leftovers: [Int] = []
  /// Writes whose answers wait. Bounded by `limits.waitingAnswers`.
  var pending: [Invalidation] = []
  var number: UInt64 = 0
}

/// A write of a cached key whose answer waits for copies.
struct Invalidation {
  let part: Int
  let number: UInt64
  let hash: UInt64
  let token: WaitToken
  /// Nodes that haven't answered.
  var slots: [MemberSlot]
  /// When all of their leases are over.
  let until: UInt64
}
