import Wire

// What goes to other members at the end of a turn: at most one frame to each, unless it would be too long.
extension Core {
  /// Bytes that may wait for a link before followers behind it are left behind.
  private static var congestion: Int { 1 << 20 }
  /// The same for those that are being brought in step: they leave room for what writes wait for.
  private static var catchUpCongestion: Int { 256 << 10 }
  /// Bytes of records that a follower which lags gets in one turn.
  private static var catchUp: Int { 128 << 10 }
  /// The same for one that is being brought in step, and what a turn without answers sends of it at all: as little as
  /// is worth a turn, for a request that comes meanwhile waits until it went.
  private static var catchUpPiece: Int { 16 << 10 }
  /// What it takes to look at a partition, as if so many bytes of it were sent.
  private static var catchUpLook: Int { 1 << 10 }

  /// Says what the partitions have to say, and answers what may be answered.
  mutating func turnReplication() {
    if desk.hasLinkNews { noteLinks() }
    assert(desk.peers.indices.allSatisfy { linkNews($0) == nil }, "a link changed and owners weren't told")
    if monotonic >= desk.nextTick, !mayWait(since: desk.nextTick) { tickReplication() }
    if store.updateShortage(time: wall) { tellShortage() }
    var parts: [Int] = []
    swap(&parts, &desk.spareParts)
    store.takeTouched(&parts)
    if !parts.isEmpty {
      for part in parts { desk.touchWritten(part) }
      parts.removeAll(keepingCapacity: true)
    }
    if !desk.backlog.isEmpty || !desk.stalled.isEmpty { touchUnfinished() }
    desk.takeDirty(&parts)
    for part in parts { say(part) }
    parts.removeAll(keepingCapacity: true)
    swap(&parts, &desk.spareParts)
    if desk.isCatchingUp { catchUp() }
    for slot in desk.peers.indices { sendFrame(to: slot) }
  }

  /// Whether work that no client waits for is left to a turn that has no answers, lest they go out after it: for a
  /// millisecond from when it was due, since a busy core has no such turn.
  private func mayWait(since due: UInt64) -> Bool { metrics.hasTurn && monotonic < due + ReplicationDesk.leave }

  /// What had more to say than the last turn could take.
  @inline(never)
  private mutating func touchUnfinished() {
    for part in desk.backlog { desk.touch(part) }
    for part in desk.stalled { desk.touch(part) }
    desk.backlog.removeAll(keepingCapacity: true)
    desk.stalled.removeAll(keepingCapacity: true)
  }

  /// Tells the owners of all that is copied here that memory is short, or isn't any more.
  private mutating func tellShortage() {
    for part in 0..<partitions.count where !desk.parts![part].leads {
      desk.parts![part].replica.acknowledgeAgain()
      desk.touch(part)
    }
  }

  // MARK: Bringing in step

  /// Sends to followers that are behind, one partition after the other, what links and credit allow. It takes turns, so
  /// that the memory it needs and the time it takes are those of some frames, however much there is to send.
  private mutating func catchUp() {
    reckonCredit()
    var waits = false
    defer { desk.nextCatchUp = waits ? 0 : nextCatchUp() }
    let goesOn = desk.catchUpRound > 0 || desk.hasNewCatchUp
    guard desk.peers.indices.contains(where: { (goesOn || isAwaited($0)) && mayCatchUp($0) }) else { return }
    if desk.catchUpDue == 0 { desk.catchUpDue = monotonic }
    waits = mayWait(since: desk.catchUpDue)
    if waits { return }
    desk.catchUpDue = 0
    // A round ends, so followers that nobody sends anything don't keep it going.
    if desk.catchUpRound == 0 {
      for slot in desk.peers.indices { desk.peers[slot]?.pointee.isAwaited = false }
      desk.catchUpRound = desk.catchingUpCount
      desk.hasNewCatchUp = false
    }
    // Where all turns have answers one takes all there is credit for: the next one that may is a millisecond away.
    desk.catchUpLeft = metrics.hasTurn ? .max : Core.catchUpPiece
    while desk.catchUpRound > 0, desk.catchUpLeft > 0, desk.peers.indices.contains(where: { mayCatchUp($0) }) {
      desk.catchUpRound -= 1
      desk.catchUpLeft -= Core.catchUpLook
      let part = desk.takeCatchingUp()
      if bringInStep(part) { desk.catchUpAgain(part) }
    }
  }

  /// One partition's turn; whether it needs another one.
  private mutating func bringInStep(_ part: Int) -> Bool {
    guard let owner = desk.parts![part].owner else { return false }
    let id = PartitionID(UInt16(part + partitions.lowerBound))
    let last = desk.parts![part].replica.last
    var isBehind = false
    for (place, follower) in owner.followers.enumerated() where !owner.isUrgent(place) {
      let slot = Int(follower.slot)
      guard follower.phase == .streaming, slot < desk.peers.count, desk.peers[slot]?.pointee.isConnected == true,
        case .append(let stream, let from) = desk.parts![part].owner!.instruction(place, last: last)
      else { continue }
      if follower.lacksResults || !mayCatchUp(slot)
        || sendPaced(part, id, owner.epoch, stream, place, slot, from: from, last: last)
      {
        desk.peers[slot]!.pointee.isAwaited = true
        isBehind = true
      }
    }
    return isBehind
  }

  /// Sends records to a follower that is behind; whether some are left.
  private mutating func sendPaced(
    _ part: Int, _ id: PartitionID, _ epoch: Epoch, _ stream: UInt32, _ place: Int, _ slot: Int, from: Offset,
    last: Offset
  ) -> Bool {
    let credit = desk.peers[slot]!.pointee.credit
    let isBehind = sendRecords(part, id, epoch, stream, place, slot, from: from, last: last, isUrgent: false)
    let end = desk.parts![part].owner!.followers[place].next.previous
    let bytes = credit - desk.peers[slot]!.pointee.credit
    desk.peers[slot]!.pointee.pace.sent(part, upTo: end.rawValue, bytes: bytes, now: monotonic)
    desk.catchUpLeft -= bytes
    return isBehind
  }

  /// Gives each member the credit of the time that went by, up to that of some milliseconds.
  private mutating func reckonCredit() {
    for slot in desk.peers.indices {
      guard let peer = desk.peers[slot], monotonic > peer.pointee.creditAt else { continue }
      desk.peers[slot]!.pointee.pace.expire(now: monotonic)
      let microseconds = min(monotonic - peer.pointee.creditAt, 1_000_000_000) / 1000
      let earned = limits.catchUpRate * Int(microseconds) / 1_000_000
      guard earned > 0 else { continue }
      desk.peers[slot]!.pointee.credit = min(peer.pointee.credit + earned, Core.catchUp)
      desk.peers[slot]!.pointee.creditAt = monotonic
    }
  }

  private func isAwaited(_ slot: Int) -> Bool { desk.peers[slot]?.pointee.isAwaited == true }

  private func mayCatchUp(_ slot: Int) -> Bool {
    guard let peer = desk.peers[slot], peer.pointee.credit > 0, peer.pointee.pace.hasRoom,
      let connection = replicationConnection(slot)
    else {
      return false
    }
    return connection.pointee.output.unsent < Core.catchUpCongestion
  }

  /// When followers that are behind get more: as soon as there is credit; a link that gets room makes a turn by itself.
  private func nextCatchUp() -> UInt64 {
    guard desk.isCatchingUp else { return .max }
    var next = UInt64.max
    let goesOn = desk.catchUpRound > 0 || desk.hasNewCatchUp
    for slot in desk.peers.indices where (goesOn || isAwaited(slot)) && replicationConnection(slot) != nil {
      if mayCatchUp(slot) { return 0 }
      let peer = desk.peers[slot]!
      if peer.pointee.credit <= 0 {
        // Rounded up: then there is credit, or this would ask for turns that have nothing to do.
        let microseconds = ((1 - peer.pointee.credit) * 1_000_000 + limits.catchUpRate - 1) / limits.catchUpRate
        next = min(next, peer.pointee.creditAt + UInt64(microseconds) * 1000)
      }
    }
    return next
  }

  // MARK: What partitions say

  private mutating func say(_ part: Int) {
    let id = PartitionID(UInt16(part + partitions.lowerBound))
    guard desk.parts![part].leads else { return answer(part, id) }
    let last = store.nextOffset(of: id).previous
    desk.parts![part].appended(upTo: last)
    settle(part)
    let epoch = desk.parts![part].owner!.epoch
    // Whoever has a record has its result, so results go first.
    if !desk.results.isEmpty { sendResults(part, id, epoch) }
    var isBehind = false
    var isStalled = false
    var place = 0
    while place < desk.parts![part].owner!.followers.count {
      let follower = desk.parts![part].owner!.followers[place]
      let slot = Int(follower.slot)
      defer { place += 1 }
      guard slot < desk.peers.count, let peer = desk.peers[slot], peer.pointee.isConnected else { continue }
      if let round = desk.parts![part].owner!.question(place) {
        makeRoom(24, slot)
        peer.pointee.writer.pointee.round(.confirm, id, epoch, round)
      }
      if follower.lacksResults && follower.phase == .streaming && !sendRemembered(part, id, epoch, place, slot) {
        isStalled = true
        continue
      }
      let instruction = desk.parts![part].owner!.instruction(place, last: last)
      switch instruction {
      case .nothing: continue
      case .open(let stream):
        makeRoom(16, slot)
        peer.pointee.writer.pointee.open(id, epoch, stream: stream)
      case .truncate(let stream, let bound):
        makeRoom(32, slot)
        peer.pointee.writer.pointee.mark(.truncate, id, epoch, stream: stream, at: bound.epoch, bound.offset)
      case .start(let stream, let resets, let next):
        makeRoom(24 + 16 * EpochHistory.maximumCount, slot)
        let epochs = desk.parts![part].replica.history.entries.map { (epoch: $0.epoch, first: $0.first) }
        peer.pointee.writer.pointee.start(id, epoch, stream: stream, resets: resets, next: next, epochs: epochs)
      case .append(let stream, let from):
        guard desk.parts![part].owner!.isUrgent(place) else {
          desk.catchUp(part)
          continue
        }
        if sendRecords(part, id, epoch, stream, place, slot, from: from, last: last, isUrgent: true) {
          if mayTake(slot) { isBehind = true } else { isStalled = true }
        }
        continue
      }
      // What follows it needn't wait for the next turn.
      if case .start = instruction { isBehind = true }
    }
    desk.parts![part].owner!.closeRound()
    store.noteScanned(id)
    if isBehind { desk.backlog.append(part) }
    if isStalled { desk.stalled.append(part) }
  }

  /// Sends records to a follower; whether some are left.
  private mutating func sendRecords(
    _ part: Int, _ id: PartitionID, _ epoch: Epoch, _ stream: UInt32, _ place: Int, _ slot: Int, from: Offset,
    last: Offset, isUrgent: Bool
  ) -> Bool {
    guard mayTake(slot) else { return true }
    let committed = desk.parts![part].replica.committed
    desk.records.removeAll()
    let most = isUrgent || metrics.hasTurn ? Core.catchUp : Core.catchUpPiece
    let next = store.scanNew(id, from: from, maximumBytes: most, into: &desk.records)
    var covered = from
    for index in 0..<desk.records.count {
      let record = desk.records[index]
      guard store.isNeeded(record, of: id) else { continue }
      let length = record.length
      if record.room > min(store.largestShared, ReplicationPeer.copiedRecord) {
        sendLong(record, from: covered, id, epoch, stream, committed: committed, to: slot)
        if !isUrgent { desk.peers[slot]!.pointee.credit -= length }
        covered = record.offset.next
        desk.parts![part].owner!.didSend(place, upTo: record.offset, now: monotonic)
        if record.offset < last, !(isUrgent ? mayTake(slot) : mayCatchUp(slot)) { return true }
        continue
      }
      makeRoom(SectionLayout.appendCount + FrameLayout.padded(length), slot)
      desk.peers[slot]!.pointee.writer.pointee.append(
        record, from: covered, id, epoch, stream: stream, committed: committed)
      covered = record.offset.next
      if !isUrgent { desk.peers[slot]!.pointee.credit -= length }
    }
    let end = next?.previous ?? last
    if covered <= end {
      makeRoom(SectionLayout.appendCount, slot)
      desk.peers[slot]!.pointee.writer.pointee.cover(
        from: covered, to: end, id, epoch, stream: stream, committed: committed)
    }
    desk.parts![part].owner!.didSend(place, upTo: end, now: monotonic)
    if next == nil && !desk.parts![part].owner!.followers[place].isKeptUp {
      desk.parts![part].owner!.followers[place].isKeptUp = true
      desk.wake(part)
    }
    return next != nil
  }

  /// Has followers remember the result of a write that had an idempotency key, so that a retry gets it after a
  /// failover.
  mutating func replicate(resultOf options: OperationOptions, _ partition: PartitionID, _ outcome: Outcome) {
    let part = part(partition)
    guard desk.parts![part].leads, outcome.essence.count <= limits.copiedValue else { return }
    let result = ReplicatedResult(
      key: [UInt8](options.idempotencyKey), fingerprint: options.fingerprint, time: wall, status: outcome.status,
      offset: outcome.hasRevision ? outcome.revision.offset : .none,
      value: [UInt8](outcome.essence))
    desk.results[part, default: []].append(result)
    desk.touchWritten(part)
  }

  /// Sends what was written in this turn; a follower whose link takes nothing now gets all that is remembered later.
  private mutating func sendResults(_ part: Int, _ id: PartitionID, _ epoch: Epoch) {
    guard let results = desk.results.removeValue(forKey: part) else { return }
    for place in desk.parts![part].owner!.followers.indices {
      let follower = desk.parts![part].owner!.followers[place]
      guard follower.phase == .streaming, !follower.lacksResults else { continue }
      if mayTake(Int(follower.slot)) {
        for result in results { send(result, id, epoch, follower.stream, Int(follower.slot)) }
      } else {
        desk.parts![part].owner!.followers[place].lacksResults = true
      }
    }
  }

  /// Sends all remembered results to a follower; false if its link takes nothing now.
  private mutating func sendRemembered(
    _ part: Int, _ id: PartitionID, _ epoch: Epoch, _ place: Int, _ slot: Int
  ) -> Bool {
    let results = dedup.results(of: id, now: wall, limits: limits)
    guard results.isEmpty || mayTake(slot) else { return false }
    let stream = desk.parts![part].owner!.followers[place].stream
    for result in results { send(result, id, epoch, stream, slot) }
    desk.parts![part].owner!.followers[place].lacksResults = false
    return true
  }

  private mutating func send(
    _ result: ReplicatedResult, _ id: PartitionID, _ epoch: Epoch, _ stream: UInt32, _ slot: Int
  ) {
    makeRoom(FrameLayout.padded(SectionLayout.resultCount + result.key.count + result.value.count), slot)
    let writer = desk.peers[slot]!.pointee.writer
    result.key.withUnsafeBytes { key in
      result.value.withUnsafeBytes { value in
        writer.pointee.result(
          id, epoch, stream: stream, offset: result.offset, fingerprint: result.fingerprint, time: result.time,
          status: result.status, key: key, value: value)
      }
    }
  }

  /// A replica's answer to its owner.
  private mutating func answer(_ part: Int, _ id: PartitionID) {
    guard let source = desk.parts![part].replica.source, Int(source) < desk.peers.count,
      let peer = desk.peers[Int(source)], peer.pointee.isConnected
    else { return }
    let (epoch, stream) = (desk.parts![part].replica.streamEpoch, desk.parts![part].replica.stream)
    guard let reply = desk.parts![part].replica.takeReply() else { return }
    makeRoom(32, Int(source))
    switch reply {
    case .position(let end):
      peer.pointee.writer.pointee.mark(.position, id, epoch, stream: stream, at: end.epoch, end.offset)
    case .acknowledge(let offset):
      peer.pointee.writer.pointee.acknowledge(id, epoch, stream: stream, offset, isShort: store.isShort)
    case .refuse(let promised): peer.pointee.writer.pointee.refuse(id, epoch, stream: stream, promised: promised)
    }
  }

  /// Answers those whose writes are held by enough members.
  mutating func settle(_ part: Int) {
    var answered: [UInt64] = []
    swap(&answered, &desk.spareTokens)
    if desk.parts![part].settle({ answered.append($0) }) {
      let id = PartitionID(UInt16(part + partitions.lowerBound))
      store.commit(id, upTo: desk.parts![part].replica.committed)
    }
    if !answered.isEmpty {
      for token in answered { concernMet(WaitToken(rawValue: token)) }
      answered.removeAll(keepingCapacity: true)
    }
    swap(&answered, &desk.spareTokens)
  }

  // MARK: Frames

  /// Whether a member's link has room for more.
  private func mayTake(_ slot: Int) -> Bool {
    guard let connection = replicationConnection(slot) else { return false }
    return connection.pointee.output.unsent < Core.congestion
  }

  func replicationConnection(_ slot: Int) -> UnsafeMutablePointer<Connection>? {
    guard let peer = desk.peers[slot], peer.pointee.isConnected, slot < routes.linkOfSlot.count else { return nil }
    let link = routes.linkOfSlot[slot]
    guard link >= 0, links[link].pointee.state == .up, let id = links[link].pointee.connection,
      let connection = connection(id), connection.pointee.state == .open
    else { return nil }
    return connection
  }

  /// Sees to it that the frame being written has room for a section of `count` bytes.
  mutating func makeRoom(_ count: Int, _ slot: Int) {
    if desk.peers[slot]!.pointee.writer.pointee.room < count { sendFrame(to: slot) }
  }

  /// Ends the frame that is being written to a member, if it has anything, and hands it over.
  mutating func sendFrame(to slot: Int) {
    guard let peer = desk.peers[slot], !peer.pointee.writer.pointee.isEmpty else { return }
    guard let connection = replicationConnection(slot) else { return peer.pointee.writer.pointee.removeAll() }
    let length = peer.pointee.writer.pointee.count
    let base = peer.pointee.writer.pointee.base
    FrameLayout.seal(
      base, length: length, .replicate, count: min(peer.pointee.writer.pointee.sections, Int(UInt16.max)), id: 0,
      connection.pointee.peer!.pointee.outgoing)
    // A small frame is copied behind what is there; of a larger one only the head is, and the rest is sent from where
    // it was written.
    let copied = length <= limits.copiedValue ? length : FrameLayout.headCount
    let chunk = reserve(connection, copied)
    chunk.end.copyMemory(from: base, byteCount: copied)
    didWriteFrame(connection, chunk, copied)
    guard copied < length else { return peer.pointee.writer.pointee.removeAll() }
    let rest = UnsafeRawBufferPointer(start: base + copied, count: length - copied)
    setTail(chunk, rest, Pin(kind: .frameRest, core: 0, segment: 0), connection)
    peer.pointee.writer.pointee.move(to: frames.givePage())
  }
}
