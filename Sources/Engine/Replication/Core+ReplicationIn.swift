import Wire

// What comes from other members: sections for this core's partitions, or for another core's.
extension Core {
  /// Takes a REPLICATE frame whose checksum fits; false if it isn't sound.
  mutating func takeReplication(_ frame: FrameView, from peer: UnsafeMutablePointer<PeerState>) -> Bool {
    guard let cursor = try? SectionCursor(frame.payload) else { return false }
    runBatch()
    let slot = desk.parts == nil ? .max : slot(of: peer)
    guard slot != .max else { return true }
    var rest = cursor
    let sections = desk.sections!
    while true {
      var count = 0
      while count < ReplicationDesk.sectionsTogether, let section = rest.take() {
        let core = core(of: section.partition)
        if core == index {
          (sections + count).initialize(to: section)
          count += 1
        } else if outboxes[core].count > limits.linkBytes {
          // That core doesn't keep up. What is lost on the way is asked for again.
          metrics.count(.overloaded)
        } else {
          let payload = outboxes[core].begin(.replicate, 8 + section.length)
          payload.storeBytes(of: UInt64(slot), as: UInt64.self)
          (payload + 8).copyMemory(from: section.base, byteCount: section.length)
        }
      }
      guard count > 0 else { return true }
      fetch(sections, count)
      for index in 0..<count { take(sections[index], from: slot) }
    }
  }

  /// Fetches what sections will need: each follows some dependent loads, and theirs are independent of each other.
  private func fetch(_ sections: UnsafeMutablePointer<SectionView>, _ count: Int) {
    guard count > 1 else { return }
    for index in 0..<count {
      let id = sections[index].partition
      if sections[index].isAppend { desk.fetchReplica(part(id)) } else { desk.fetchOwner(part(id)) }
      store.prefetchReplicated(id)
    }
    for index in 0..<count {
      let section = sections[index]
      if section.isAppend {
        desk.hashes![index] = store.prefetchAppend(section.partition, section.payload)
      } else {
        desk.fetchFollowers(part(section.partition))
      }
      store.prefetchFirstVictim(section.partition)
    }
    for index in 0..<count {
      let section = sections[index]
      let replaces = section.isAppend && section.hasRecords
      desk.replaced![index] = replaces ? store.prefetchReplaced(section.partition, desk.hashes![index]) : 0
      store.prefetchVictimPage(section.partition)
    }
    for index in 0..<count {
      store.prefetchSegment(desk.replaced![index])
      store.prefetchVictimSegment(sections[index].partition)
    }
  }

  /// Fetches what operations on replicated partitions of this core will need beside the store.
  func fetchParts(_ operations: UnsafePointer<Operation>, _ fetches: UnsafePointer<Fetch>, _ count: Int) {
    guard desk.parts != nil, count > 1 else { return }
    for index in 0..<count where fetches[index].partition != nil && operations[index].kind.isWrite {
      desk.fetchOwner(part(operations[index].key.partition))
    }
    for index in 0..<count where fetches[index].partition != nil && operations[index].kind.isWrite {
      desk.fetchFollowers(part(operations[index].key.partition))
    }
  }

  /// Takes a section that another core received.
  mutating func receiveReplication(_ payload: UnsafeRawPointer) {
    guard desk.parts != nil else { return }
    take(SectionView(checked: payload + 8), from: MemberSlot(payload.load(as: UInt64.self)))
  }

  private mutating func take(_ section: SectionView, from slot: MemberSlot) {
    let part = part(section.partition)
    let kind = section.kind
    switch kind {
    case .acknowledge: desk.touchAcknowledged(part)
    case .append, .result, .invalidate, .invalidated: desk.touchWritten(part)
    case .open, .truncate, .start, .position, .refuse, .confirm, .confirmed: desk.touch(part)
    }
    switch kind {
    case .open: handle(.open, section, slot, part)
    case .truncate:
      handle(.truncate(LogEnd(epoch: section.markEpoch, offset: section.markOffset)), section, slot, part)
    case .start:
      let entries = (0..<section.epochCount).map {
        EpochHistory.Entry(epoch: section.epoch($0).epoch, first: section.epoch($0).first)
      }
      guard let history = EpochHistory(entries) else { return }
      let resets = section.flags & SectionLayout.resets != 0
      handle(.start(resets: resets, next: section.offset, history), section, slot, part)
    case .append:
      handle(
        .append(first: section.offset, end: section.end, committed: section.committed), section, slot, part)
    case .position:
      answered(.position(LogEnd(epoch: section.markEpoch, offset: section.markOffset)), section, slot, part)
    case .acknowledge:
      let isShort = section.flags & SectionLayout.isShort != 0
      desk.parts![part].owner?.note(isShort: isShort, slot, section.epoch, stream: section.stream)
      if desk.peers[Int(slot)]?.pointee.pace.underWay ?? 0 > 0 {
        desk.peers[Int(slot)]!.pointee.pace.acknowledged(part, upTo: section.offset.rawValue, now: monotonic)
      }
      answered(.acknowledge(section.offset), section, slot, part)
    case .refuse: answered(.refuse(section.markEpoch), section, slot, part)
    case .result: remember(section, slot, part)
    case .confirm: confirm(section, slot, part)
    case .invalidate: invalidate(section, slot)
    case .invalidated: invalidated(section.round, by: slot)
    case .confirmed:
      guard desk.parts![part].owner?.epoch == section.epoch else { return }
      if desk.parts![part].owner!.confirmed(section.round, by: slot) { settle(part) }
    }
  }

  // MARK: As a replica

  private mutating func handle(
    _ message: ReplicationMessage, _ section: SectionView, _ slot: MemberSlot, _ part: Int
  ) {
    let action = receive(message, section.epoch, section.stream, slot, part)
    guard action == .append else { return }
    append(section.payload, upTo: section.end, committed: section.committed, part)
  }

  /// What a message of an owner means, and what it asks of the log but for records.
  mutating func receive(
    _ message: ReplicationMessage, _ epoch: Epoch, _ stream: UInt32, _ slot: MemberSlot, _ part: Int
  ) -> PartitionReplication.Action {
    let id = PartitionID(UInt16(part + partitions.lowerBound))
    var deposed: [UInt64] = []
    noteOwnRecords(part)
    let wasStarted = desk.parts![part].replica.isStarted
    let action = desk.parts![part].receive(message, epoch, stream: stream, from: slot) { deposed.append($0) }
    for token in deposed { concernFailed(WaitToken(rawValue: token), .ownerDeposed) }
    if !desk.parts![part].leads { store.setReplicated(id, isPassive: true) }
    switch action {
    case .nothing, .append: break
    case .reset:
      store.reset(id)
    case .truncate(let offset):
      truncate(id, behind: offset, part)
    }
    // Not one that was ignored: a stream that goes on stays what it is.
    if case .start(_, let next, _) = message, !wasStarted, desk.parts![part].replica.isStarted {
      store.beginStream(id, isCopy: next == Offset.none.next)
    }
    return action
  }

  private mutating func truncate(_ id: PartitionID, behind offset: Offset, _ part: Int) {
    let now = wall
    var ledger = LossLedger()
    swap(&ledger, &desk.ledger)
    let before = ledger.total
    let epoch = desk.parts![part].replica.promised
    let owner = desk.parts![part].replica.source.flatMap { desk.peers[Int($0)]?.pointee.node } ?? .none
    let isDone = store.truncate(id, behind: offset) { record in
      if record.flags & Core.unsafelyAnswered != 0 { ledger.note(record, id, by: epoch, of: owner, now: now) }
    }
    swap(&ledger, &desk.ledger)
    for entry in desk.ledger.newest(Int(min(desk.ledger.total - before, 100))) { logLoss(entry) }
    // Without memory even for that: all is fetched again. The owner sees it by the position.
    if !isDone {
      store.reset(id)
      desk.parts![part].replica.reset()
    }
  }

  private mutating func logLoss(_ entry: LossLedger.Entry) {
    var line: [UInt8] = []
    appendJSON("\"message\":\"acknowledged write lost\",\"type\":\"LOST\",\"key\":", to: &line)
    appendJSONString(String(decoding: entry.key, as: UTF8.self), to: &line)
    appendJSON(",\"map\":", to: &line)
    appendJSONString(String(decoding: entry.map, as: UTF8.self), to: &line)
    let revision = entry.revision
    appendJSON(",\"revision\":", to: &line)
    appendJSONString(
      "\(revision.partition.rawValue)-\(revision.epoch.rawValue)-\(revision.offset.rawValue)", to: &line)
    appendJSON(",\"written\":", to: &line)
    appendJSONInteger(entry.written, to: &line)
    let text = logScratch.copy(line)
    effects.append(.log(.warning, text.baseAddress!, count: text.count))
  }

  /// The record flag of a write that was answered before a majority held it.
  static var unsafelyAnswered: UInt8 { 0x08 }

  /// Appends records that were accepted; if there is no memory for all of them, the log ends before.
  private mutating func append(
    _ payload: UnsafeRawBufferPointer, upTo end: Offset, committed: Offset, _ part: Int
  ) {
    let id = PartitionID(UInt16(part + partitions.lowerBound))
    store.commit(id, upTo: min(committed, end))
    var rest = payload
    while rest.count > 0 {
      let record = RecordView(rest.baseAddress!)
      do {
        try store.append(record, to: id, time: wall)
      } catch {
        return fallShort(of: record.offset, part)
      }
      rest = UnsafeRawBufferPointer(rebasing: rest[record.room...])
    }
    store.cover(id, upTo: end)
  }

  /// There is no memory for a record that was accepted: the log ends before it. The owner hears nothing, and asks
  /// again.
  mutating func fallShort(of offset: Offset, _ part: Int) {
    metrics.count(.overloaded)
    desk.parts![part].replica.didTruncate(to: offset.previous)
    desk.parts![part].replica.stopListening()
  }

  /// An owner wants to know whether it still is one, for its readers.
  private mutating func confirm(_ section: SectionView, _ slot: MemberSlot, _ part: Int) {
    var deposed: [UInt64] = []
    noteOwnRecords(part)
    let confirms = desk.parts![part].confirms(section.epoch) { deposed.append($0) }
    for token in deposed { concernFailed(WaitToken(rawValue: token), .ownerDeposed) }
    if !desk.parts![part].leads { store.setReplicated(section.partition, isPassive: true) }
    guard confirms, desk.peers[Int(slot)]?.pointee.isConnected == true else { return }
    makeRoom(24, Int(slot))
    desk.peers[Int(slot)]!.pointee.writer.pointee.round(.confirmed, section.partition, section.epoch, section.round)
  }

  /// Whether this node's log still has the write of a remembered result: one that came here may have been taken back.
  func stillHas(_ outcome: Outcome) -> Bool {
    guard desk.parts != nil, outcome.hasRevision else { return true }
    let revision = outcome.revision
    guard revision.offset < store.nextOffset(of: revision.partition) else { return false }
    let known = desk.parts![part(revision.partition)].replica.history.end(at: revision.offset).epoch
    // Epoch 0 is one so old that it was forgotten, here or where the result came from.
    return known == revision.epoch || known == Epoch(0) || revision.epoch == Epoch(0)
  }

  /// The result of a write with an idempotency key, which comes before its record.
  private mutating func remember(_ section: SectionView, _ slot: MemberSlot, _ part: Int) {
    guard desk.parts![part].replica.isListening(section.epoch, stream: section.stream) else { return }
    var outcome = Outcome(status: section.status)
    if outcome.status >= 400 { outcome.problem = Problem(outcome.status, "") }
    outcome.value = section.resultValue
    if section.offset > .none {
      outcome.hasRevision = true
      // It may be older than the stream's epoch; the history tells, which came when the stream was started.
      let epoch = desk.parts![part].replica.history.end(at: section.offset).epoch
      outcome.revision = Revision(partition: section.partition, epoch: epoch, offset: section.offset)
    }
    dedup.remember(
      section.resultKey, section.partition, fingerprint: section.fingerprint, outcome, now: section.time, limits: limits
    )
  }

  // MARK: As an owner

  private mutating func answered(
    _ message: ReplicationMessage, _ section: SectionView, _ slot: MemberSlot, _ part: Int
  ) {
    let id = section.partition
    desk.parts![part].appended(ifOwner: store.nextOffset(of: id).previous)
    let moves = desk.parts![part].receive(
      answer: message, section.epoch, stream: section.stream, from: slot, keepsFrom: store.removalsKept(from: id),
      now: monotonic)
    if moves { settle(part) }
    guard let owner = desk.parts![part].owner else { return }
    if !owner.isActive || owner.successor != nil { updateWish(part) }
  }
}
