import Wire

// From the operations of a REQUEST to the store.
extension Core {
  /// Takes the operations of a verified request into the batch, from where it stopped; false if it must stop again.
  mutating func takeOperations(
    _ frame: FrameView, _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) -> Bool {
    var at = frame.base + peer.pointee.resumeOffset
    var position = peer.pointee.resumeIndex
    let count = frame.count
    while position < count {
      if frames.count == 0 && position > peer.pointee.resumeIndex && mustWait(connection) {
        peer.pointee.resumeOffset = at - frame.base
        peer.pointee.resumeIndex = position
        block(connection)
        return false
      }
      let view = OperationView(at)
      take(view, connection, peer, frame, index: position)
      at += FrameLayout.padded(view.length)
      position &+= 1
      if frames.count == Core.batchCapacity { runBatch() }
    }
    finishRequest(frame.id, operations: count, connection, peer)
    return true
  }

  /// All operations of the request are in the batch or beyond.
  mutating func finishRequest(
    _ id: UInt64, operations: Int, _ connection: UnsafeMutablePointer<Connection>,
    _ peer: UnsafeMutablePointer<PeerState>
  ) {
    // Those that still wait in the batch are executed before the turn ends and thus before any ACK is written.
    peer.pointee.resumeOffset = 0
    peer.pointee.lastID = id
    peer.pointee.operations &+= UInt64(operations)
    guard peer.pointee.hasAck else { return }
    peer.pointee.hasAck = false
    peer.pointee.wantedAck = id
    scheduleAck(connection, peer)
  }

  /// Puts an operation into the batch.
  @inline(__always)
  private mutating func take(
    _ view: OperationView, _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>,
    _ frame: FrameView, index position: Int
  ) {
    let answer = view.answer
    if answer.isAck { peer.pointee.hasAck = true }
    let record = view.record
    let isRare = view.conditions != 0 || record.hasExpiry || view.operationByte == OperationKind.increment.rawValue
    if isRare { runBatch() }  // its terms lie in scratch memory, which lasts for a batch
    let operation = frames.operations + frames.count
    let entry = frames.entries + frames.count
    entry.initialize(
      to: FrameEntry(
        connection: connection, id: frame.id, index: UInt16(truncatingIfNeeded: position), answer: answer, core: 0,
        operationsBefore: peer.pointee.operations))
    do {
      try prepare(view, record, valueCount: record.length &- record.valueStart, into: operation)
      operation.pointee.isForwarded = frame.isForwarded
      if frame.isForwarded { operation.pointee.source = slot(of: peer) }
      if operation.pointee.key.isCached { try admitCached(view, frame, peer, operation) }
      if isRare { try prepareTerms(view, record, operation) }
    } catch {
      return refuse(operation: operation, entry.pointee, error)
    }
    let owner = place(of: operation)
    entry.pointee.core = Int32(truncatingIfNeeded: owner)
    let fetch = frames.fetches + frames.count
    if owner == index {
      store.begin(fetch, operation.pointee.key.hash, isWrite: operation.pointee.kind != .get)
    } else {
      fetch.pointee.partition = nil
    }
    frames.count &+= 1
    store.goOn(behind: fetch)
    if isRare { runBatch() }
  }

  /// Fills in everything of an operation but its terms: kind, key, content type and the `valueCount` bytes of its value
  /// that are there.
  @inline(__always)
  func prepare(
    _ view: OperationView, _ record: RecordView, valueCount: Int, into operation: UnsafeMutablePointer<Operation>
  ) throws(Problem) {
    operation.pointee.hasOptions = false
    operation.pointee.isForwarded = false
    operation.pointee.isRetry = false
    operation.pointee.source = .max
    operation.pointee.staged = nil
    operation.pointee.contentType = RecordContentType()
    operation.pointee.kind = OperationKind(view)
    let key = record.key
    if record.mapCount == 0 && key.count > 0 && key.count <= limits.key {
      operation.pointee.key = KeyRef(key)
    } else {
      operation.pointee.key = try checkKey(map: record.map, key: key)
    }
    let text = key.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
    // A prefix may end inside a character.
    guard Text.isShortASCII(text, key.count) || Text.isUTF8(text, key.count) || view.operation == .list else {
      throw .frameKeyNotText
    }
    if record.contentTypeCode != 0 { operation.pointee.contentType = record.contentType }
    operation.pointee.body = UnsafeRawBufferPointer(start: record.base + record.valueStart, count: valueCount)
  }

  @inline(never)
  private func checkKey(map: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer) throws(Problem) -> KeyRef {
    guard key.count > 0 else { throw .frameKeyEmpty }
    guard key.count <= limits.key else { throw .keyTooLong }
    // Nodes write a cache's name with its mark; `admitCached` sees to it that nobody else does.
    try checkMapName(MapTable.isCache(map) ? UnsafeRawBufferPointer(rebasing: map[1...]) : map)
    let isDefault = map.isEmpty || map.equals("default")
    return isDefault ? KeyRef(key) : KeyRef(map: maps.hasCaches ? maps.marked(map) : map, key: key)
  }

  /// A key of a cache, from a node or from a client.
  @inline(never)
  private func admitCached(
    _ view: OperationView, _ frame: FrameView, _ peer: UnsafeMutablePointer<PeerState>,
    _ operation: UnsafeMutablePointer<Operation>
  ) throws(Problem) {
    if !frame.isForwarded {
      if MapTable.isCache(view.record.map) { throw .badMapName }
      return
    }
    guard operation.pointee.source != .max else { throw .noOwnerRead }
  }

  /// The member at the other end of a node's connection; `.max` if it is none that is known.
  @inline(__always)
  func slot(of peer: UnsafeMutablePointer<PeerState>) -> MemberSlot {
    let known = Int(peer.pointee.slot)
    if known < desk.peers.count, let member = desk.peers[known], member.pointee.node == peer.pointee.node {
      return peer.pointee.slot
    }
    return findSlot(of: peer)
  }

  @inline(never)
  private func findSlot(of peer: UnsafeMutablePointer<PeerState>) -> MemberSlot {
    peer.pointee.slot = desk.peers.firstIndex { $0?.pointee.node == peer.pointee.node }.map(MemberSlot.init) ?? .max
    return peer.pointee.slot
  }

  /// Reads what makes an operation more than a plain one; texts go to scratch memory.
  @inline(never)
  mutating func prepareTerms(
    _ view: OperationView, _ record: RecordView, _ operation: UnsafeMutablePointer<Operation>
  ) throws(Problem) {
    operation.pointee.hasOptions = true
    operation.pointee.options = OperationOptions()
    operation.pointee.options.timeToLive = record.expiry
    if view.operation == .increment && record.value.count == 8 {
      let bytes = record.value.baseAddress.unsafelyUnwrapped
      operation.pointee.options.delta = Int64(littleEndian: bytes.loadUnaligned(as: Int64.self))
    }
    if let revision = view.revision {
      if revision == FrameRevision.absent {
        operation.pointee.options.ifNoneMatch = anyTag()
      } else if revision == FrameRevision.present {
        operation.pointee.options.ifMatch = anyTag()
      } else {
        operation.pointee.options.ifMatch = tag(revision)
      }
    }
    if let minimum = view.minimum {
      operation.pointee.options.minRevision = minimum
      operation.pointee.options.hasMinRevision = true
    }
    if view.conditions > OperationLayout.idempotencyCondition { try prepareRareTerms(view, record, operation) }
    operation.pointee.options.idempotencyKey = view.idempotencyKey
    guard view.idempotencyKey.count <= limits.idempotencyKey else { throw .idempotencyKeyTooLong }
    fingerprint(operation)
  }

  /// What nodes ask of each other for their HTTP clients.
  private func prepareRareTerms(
    _ view: OperationView, _ record: RecordView, _ operation: UnsafeMutablePointer<Operation>
  ) throws(Problem) {
    if let tags = view.match { operation.pointee.options.ifMatch = tags }
    if let tags = view.noneMatch { operation.pointee.options.ifNoneMatch = tags }
    if let pointer = view.pointer { operation.pointee.options.pointer = pointer }
    if let concern = view.concern {
      operation.pointee.options.concern = concern.write
      operation.pointee.options.readLevel = concern.read
      operation.pointee.options.timeout = min(concern.timeout, 86_400_000)
    }
    guard view.operation == .list || view.operation == .lost, let listing = view.listing else { return }
    let key = record.key
    operation.pointee.options.listing = ListingQuestion(
      partition: listing.partition, end: listing.end, tag: listing.tag,
      keys: min(listing.keys, UInt32(limits.listingKeys)), slots: min(listing.slots, UInt32(Core.sliceSlots)))
    operation.pointee.key = Core.listingKey(record.map, key, PartitionID(listing.partition))
  }

  /// The key of a `list`: its bytes are a mark and the prefix, its hash names the partition.
  static func listingKey(
    _ map: UnsafeRawBufferPointer, _ key: UnsafeRawBufferPointer, _ partition: PartitionID
  ) -> KeyRef {
    let start = key.baseAddress!
    let isDefault = map.isEmpty || map.equals("default")
    return KeyRef(
      map: map.baseAddress ?? start, mapCount: isDefault ? 0 : map.count, key: start, keyCount: key.count,
      hash: UInt64(partition.rawValue) << 54)
  }

  private mutating func anyTag() -> UnsafeRawBufferPointer { scratch.copy([UInt8(ascii: "*")]) }

  /// The revision as an ETag.
  private mutating func tag(_ revision: Revision) -> UnsafeRawBufferPointer {
    var text: [UInt8] = [UInt8(ascii: "\"")]
    appendRevision(revision, to: &text)
    text.append(UInt8(ascii: "\""))
    return scratch.copy(text)
  }

  // MARK: The batch

  /// Executes the operations of the batch in their order, and completes the REPLY being written.
  @inline(never)
  mutating func runFrameBatch() {
    let count = frames.count
    frames.count = 0
    endFetches(frames.fetches + count)
    if isReplicated { fetchParts(frames.operations, frames.fetches, count) }
    var ahead = count
    if count < Fetch.distance {
      while ahead < count &+ Fetch.distance {
        store.goOn(behind: frames.fetches + ahead)
        ahead &+= 1
      }
    }
    let logs = configuration.logLevel <= .debug
    var gets: UInt32 = 0
    var position = 0
    while position < count {
      if ahead < count &+ Fetch.distance {
        store.goOn(behind: frames.fetches + ahead)
        ahead &+= 1
      }
      let operation = frames.operations + position
      let entry = frames.entries + position
      if !logs, operation.pointee.isPlain, frames.fetches[position].partition != nil,
        entry.pointee.connection.pointee.state == .open
      {
        runPlain(operation, entry, &gets, hint: frames.fetches[position].slot)
      } else {
        run(operation, entry)
      }
      position &+= 1
    }
    metrics.answered(.get, 200, times: gets)
    sealReply()
    scratch.reset()
  }

  /// The short way of a plain get or put, from the store to the result's bytes, as `Core.runPlain`.
  @inline(__always)
  private mutating func runPlain(
    _ operation: UnsafeMutablePointer<Operation>, _ entry: UnsafeMutablePointer<FrameEntry>, _ gets: inout UInt32,
    hint: UnsafeMutablePointer<Slot>?
  ) {
    let partition = operation.pointee.key.partition
    if operation.pointee.kind == .get {
      guard !operation.pointee.key.isCached, let record = store.find(operation.pointee.key, now: wall, hint: hint),
        writeFound(record, partition, entry)
      else {
        return run(operation, entry)
      }
      gets &+= 1
      return
    }
    if isReplicated { return putReplicated(operation, entry, hint: hint) }
    guard mayWrite(partition) else { return run(operation, entry) }
    do {
      let expiry = maps.isEmpty ? 0 : maps.expiry(of: operation.pointee.key, now: wall)
      let stored = try putPlainly(operation, expiry: expiry, hint: hint)
      metrics.answered(.put, stored.existed ? 200 : 201)
      if entry.pointee.answer.wantsResult(200) { writeStored(stored, partition, entry) }
    } catch {
      let outcome = Outcome(Problem(error))
      metrics.answered(.put, outcome.status)
      answer(entry.pointee.connection, entry, operation, outcome)
    }
  }

  /// A plain put whose answer has to wait for other nodes, as `Core.putReplicated` of a request.
  @inline(__always)
  private mutating func putReplicated(
    _ operation: UnsafeMutablePointer<Operation>, _ entry: UnsafeMutablePointer<FrameEntry>,
    hint: UnsafeMutablePointer<Slot>?
  ) {
    let connection = entry.pointee.connection
    guard Int(entry.pointee.core) == index, !hasItsShare(connection), let stored = putReplicated(operation, hint: hint)
    else { return run(operation, entry) }
    let outcome = Outcome(
      stored: stored.existed ? 200 : 201, stored.revision(in: operation.pointee.key.partition))
    if !isHeld(outcome.revision, .majority) {
      return park(outcome, operation, AnswerTarget(reply: wait(operation, entry, connection), core: index))
    }
    metrics.answered(.put, outcome.status)
    answer(connection, entry, operation, outcome)
  }

  @inline(never)
  private mutating func run(
    _ operation: UnsafeMutablePointer<Operation>, _ entry: UnsafeMutablePointer<FrameEntry>
  ) {
    let connection = entry.pointee.connection
    guard connection.pointee.state == .open else {
      if let staged = operation.pointee.staged { discard(staged) }
      return
    }
    let owner = Int(entry.pointee.core)
    if waiting.count > 0, owner < 0 || mayWait(operation), hasItsShare(connection) {
      if let staged = operation.pointee.staged { discard(staged) }
      metrics.answered(operation.pointee.kind.route, 429)
      answer(connection, entry, operation, Outcome(.tooManyWaiting))
    } else if owner == index {
      if isReplicated && mayWait(operation) { return runReplicated(connection, entry, operation) }
      var outcome = execute(operation)
      if operation.pointee.kind == .get { showRecord(&outcome, operation.pointee.key) }
      metrics.answered(operation.pointee.kind.route, outcome.status)
      answer(connection, entry, operation, outcome)
    } else if owner < 0 {
      relay(operation, entry, connection, Place(rawValue: owner))
    } else if isOverloaded(owner) {
      if let staged = operation.pointee.staged { discard(staged) }
      metrics.count(.overloaded)
      metrics.answered(operation.pointee.kind.route, 503)
      answer(connection, entry, operation, Outcome(.overloaded))
    } else {
      forward(operation, entry, connection, to: owner)
    }
  }

  /// A write whose answer may have to wait for other nodes.
  @inline(never)
  private mutating func runReplicated(
    _ connection: UnsafeMutablePointer<Connection>, _ entry: UnsafePointer<FrameEntry>,
    _ operation: UnsafePointer<Operation>
  ) {
    let outcome = executeReplicated(operation)
    if mustPark(outcome, operation) {
      return park(outcome, operation, AnswerTarget(reply: wait(operation, entry, connection), core: index))
    }
    var shown = outcome
    if operation.pointee.kind == .get { showRecord(&shown, operation.pointee.key) }
    metrics.answered(operation.pointee.kind.route, outcome.status)
    answer(connection, entry, operation, shown)
  }

  /// An operation of a partition that another node owns.
  @inline(never)
  private mutating func relay(
    _ operation: UnsafePointer<Operation>, _ entry: UnsafePointer<FrameEntry>,
    _ connection: UnsafeMutablePointer<Connection>, _ place: Place
  ) {
    guard let outcome = refusal(place, operation) else {
      return relay(operation, over: place.link!, wait(operation, entry, connection))
    }
    if mayHold(outcome, operation) {
      return hold(outcome, operation, AnswerTarget(reply: wait(operation, entry, connection), core: index))
    }
    if let staged = operation.pointee.staged { discard(staged) }
    metrics.answered(operation.pointee.kind.route, outcome.status)
    answer(connection, entry, operation, outcome)
  }

  /// Notes that an operation is answered later, and names it.
  private mutating func wait(
    _ operation: UnsafePointer<Operation>, _ entry: UnsafePointer<FrameEntry>,
    _ connection: UnsafeMutablePointer<Connection>
  ) -> ReplyTarget {
    let number = connection.pointee.peer!.pointee.pending.add(
      entry.pointee.id, operationsBefore: entry.pointee.operationsBefore, now: monotonic)
    connection.pointee.output.gaps += 1
    var target = ReplyTarget(connection: connection.pointee.id, gap: nil, gather: 0, element: 0)
    target.frame = number
    target.element =
      FrameTarget(index: entry.pointee.index, answer: entry.pointee.answer, kind: operation.pointee.kind).packed
    return target
  }

  /// Writes the result of an operation if one was asked for, or is due because it failed.
  @inline(__always)
  private mutating func answer(
    _ connection: UnsafeMutablePointer<Connection>, _ entry: UnsafePointer<FrameEntry>,
    _ operation: UnsafePointer<Operation>, _ outcome: Outcome
  ) {
    if entry.pointee.answer.wantsResult(outcome.status) {
      write(
        outcome, isRecord: operation.pointee.kind == .get, pin: .none, connection, id: entry.pointee.id,
        index: Int(entry.pointee.index))
    }
    if configuration.logLevel <= .debug {
      let (id, place) = (entry.pointee.id, Int(entry.pointee.index))
      log(operation.pointee.kind, operation.pointee.key, outcome, id, place, connection)
    }
  }

  /// An operation that isn't executed because of its form.
  @inline(never)
  mutating func refuse(operation: UnsafeMutablePointer<Operation>, _ entry: FrameEntry, _ problem: Problem) {
    runBatch()
    metrics.count(.badRequests)
    metrics.answered(operation.pointee.kind.route, problem.status)
    if entry.answer != .none {
      write(
        refused(problem), isRecord: false, pin: .none, entry.connection, id: entry.id, index: Int(entry.index))
    }
  }

  // MARK: Other cores

  /// Whether a connection of frames has as much under way as it may: answers that its client doesn't take, operations
  /// on other cores, or any of these while much waits for some core. Its own answers from there let it go on.
  func mustWaitForCores(_ connection: UnsafeMutablePointer<Connection>) -> Bool {
    // Between nodes nobody waits: two that both waited for the other to take requests before they took results would
    // wait forever, and so would parked writes whose acknowledgements lie behind requests. What a node sends is bounded
    // at its sender (`limits.linkBytes`, `limits.waitingAnswers`).
    let peer = connection.pointee.peer!
    if peer.pointee.link >= 0 || peer.pointee.isNode { return false }
    let output = connection.pointee.output
    if output.unsent >= limits.unsentBytes || Int(output.gaps) >= limits.pendingOperations { return true }
    guard output.gaps > 0 else { return false }
    for outbox in outboxes where outbox.count > limits.mailbox / 2 { return true }
    return false
  }

  private mutating func forward(
    _ operation: UnsafeMutablePointer<Operation>, _ entry: UnsafePointer<FrameEntry>,
    _ connection: UnsafeMutablePointer<Connection>, to owner: Int
  ) {
    forward(operation, to: owner, wait(operation, entry, connection))
  }

  /// Another core has executed an operation of a frame.
  mutating func finishFrame(_ target: ReplyTarget, _ outcome: Outcome, pin: Pin) {
    guard let connection = connection(target.connection), let peer = connection.pointee.peer else {
      return letGo(pin, outcome)
    }
    let element = FrameTarget(packed: target.element)
    let request = peer.pointee.pending[target.frame]
    if outcome.isGrant {
      if connection.pointee.state == .open {
        write(outcome, isRecord: false, pin: pin, connection, id: request.id, index: Int(element.index))
      }
      return
    }
    metrics.answered(element.kind.route, outcome.status, nanoseconds: monotonic &- request.started)
    if element.answer.wantsResult(outcome.status) && connection.pointee.state == .open {
      write(
        outcome, isRecord: element.kind == .get, pin: pin, connection, id: request.id, index: Int(element.index))
    } else {
      letGo(pin, outcome)
    }
    if configuration.logLevel <= .debug {
      log(element.kind, nil, outcome, request.id, Int(element.index), connection)
    }
    connection.pointee.output.gaps -= 1
    if peer.pointee.pending.finish(target.frame) { scheduleAck(connection, peer) }
    if connection.pointee.output.gaps == 0 {
      sealReply()
      if connection.pointee.state == .open { writeFarewell(connection, peer) }
    }
    unblock(connection)
  }
}

/// How to answer an operation that another core executes: what a mail's 32 bits say beside the request's number.
struct FrameTarget {
  var index: UInt16
  var answer: AnswerLevel
  var kind: OperationKind

  init(index: UInt16, answer: AnswerLevel, kind: OperationKind) {
    self.index = index
    self.answer = answer
    self.kind = kind
  }

  init(packed: UInt32) {
    index = UInt16(truncatingIfNeeded: packed)
    answer = AnswerLevel(rawValue: UInt8(truncatingIfNeeded: packed >> 16))!
    kind = OperationKind(rawValue: UInt8(truncatingIfNeeded: packed >> 24))!
  }

  var packed: UInt32 { UInt32(index) | UInt32(answer.rawValue) << 16 | UInt32(kind.rawValue) << 24 }
}

extension Problem {
  static var frameKeyEmpty: Problem { Problem(400, "The key is empty.") }
  static var frameKeyNotText: Problem { Problem(400, "The key must be valid UTF-8.") }
}
