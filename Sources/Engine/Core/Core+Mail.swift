import Wire

// Operations whose key belongs to another core, and the answers.
extension Core {
  /// The next messages for another core, as many whole ones as `limit` bytes hold but one at least, or nil; the turn's
  /// owner moves them into its mailbox.
  package func outbox(for core: Int, atMost limit: Int) -> UnsafeRawBufferPointer? {
    outboxes[core].first(atMost: limit)
  }

  /// The next `count` bytes for `core` are in its mailbox.
  package mutating func posted(to core: Int, _ count: Int) { outboxes[core].removeFirst(count) }

  /// Whether mail waits for any core.
  package var hasMail: Bool {
    for outbox in outboxes where !outbox.isEmpty { return true }
    return false
  }

  /// Whole messages from another core's mailbox; they stay unchanged until this returns.
  package mutating func receiveMail(_ bytes: UnsafeRawBufferPointer) {
    runBatch()  // mail uses the scratch memory that decoded keys of the batch lie in
    var offset = 0
    var fetched = 0
    while offset < bytes.count {
      if offset == fetched { fetched = fetch(bytes, from: offset) }
      let message = bytes.baseAddress! + offset
      let header = message.load(as: MailHeader.self)
      receive(mail: MailKind(rawValue: header.kind)!, message + MailHeader.count)
      offset += Int(header.length)
    }
    precondition(offset == bytes.count, "mail is not whole messages")
  }

  /// Fetches ahead what the next messages' operations need, those of a batch; answers where the first one begins that
  /// it didn't look at.
  private func fetch(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
    var offset = start
    var count = 0
    while offset < bytes.count && count < Core.batchCapacity {
      let message = bytes.baseAddress! + offset
      let header = message.load(as: MailHeader.self)
      let fetch = fetches + count
      fetch.pointee.partition = nil
      if header.kind == MailKind.request.rawValue {
        let request = (message + MailHeader.count).assumingMemoryBound(to: MailRequest.self)
        let hash = request.pointee.operation.key.hash
        if isHere(hash) { store.begin(fetch, hash, isWrite: request.pointee.operation.kind != .get) }
      }
      count += 1
      store.goOn(behind: fetch)
      offset += Int(header.length)
    }
    endFetches(fetches + count)
    for ahead in count..<count + Fetch.distance { store.goOn(behind: fetches + ahead) }
    return offset
  }

  private mutating func receive(mail kind: MailKind, _ payload: UnsafeRawPointer) {
    switch kind {
    case .request: receiveRequest(payload)
    case .reply: receiveReply(payload)
    case .unpin: store.unpin(payload.load(as: UInt32.self))
    case .release:
      let range = payload.load(as: MailRange.self)
      store.release(range.offset..<(range.offset + range.count))
    case .awaitCopy: receiveCopyRequest(payload)
    case .copied: receiveCopied(payload)
    case .replicate: receiveReplication(payload)
    case .replicateLong: receiveLongRecord(mail: payload)
    case .gather: receiveGather(payload)
    case .gathered: receiveGathered(payload)
    }
  }

  // MARK: Requests

  /// Whether so much waits for a core that it takes no more operations for now.
  @inline(__always)
  func isOverloaded(_ core: Int) -> Bool { outboxes[core].count > limits.mailbox }

  /// Sends an operation to the core that owns its key.
  mutating func forward(_ operation: UnsafePointer<Operation>, to core: Int, _ target: ReplyTarget) {
    metrics.count(.forwarded)
    if operation.pointee.isPlain && operation.pointee.key.mapCount == 0 && operation.pointee.contentType.literal == nil
      && operation.pointee.body.count <= limits.copiedValue
    {
      return forwardPlain(operation, to: core, target)
    }
    if let staged = operation.pointee.staged { store.lend(staged) }
    var request = MailRequest(
      target: target, sender: UInt32(index), isBoxed: false, operation: operation.pointee)
    if request.operation.body.count > limits.copiedValue * 4 {
      let box = UnsafeMutableRawPointer.allocate(byteCount: request.operation.body.count, alignment: 16)
      box.copyMemory(from: request.operation.body.baseAddress!, byteCount: request.operation.body.count)
      request.operation.body = UnsafeRawBufferPointer(start: box, count: request.operation.body.count)
      request.isBoxed = true
    }
    let count = request.operation.isPlain ? MailRequest.plainCount : MemoryLayout<MailRequest>.stride
    var size = count
    request.forEachBuffer { size += $0.count }
    let payload = outboxes[core].begin(.request, size)
    withUnsafeBytes(of: request) { payload.copyMemory(from: $0.baseAddress!, byteCount: count) }
    var at = payload + count
    request.forEachBuffer { buffer in
      if buffer.count > 0 { at.copyMemory(from: buffer.baseAddress!, byteCount: buffer.count) }
      at += buffer.count
    }
  }

  /// The same for a plain GET or PUT of the default map, of which only the plain part travels.
  private mutating func forwardPlain(
    _ operation: UnsafePointer<Operation>, to core: Int, _ target: ReplyTarget
  ) {
    let (key, body) = (operation.pointee.key, operation.pointee.body)
    let count = MailRequest.plainCount
    let payload = outboxes[core].begin(.request, count + key.keyCount + body.count)
    let request = payload.assumingMemoryBound(to: MailRequest.self)
    request.pointee.target = target
    request.pointee.sender = UInt32(index)
    request.pointee.isBoxed = false
    (payload + (count - Operation.plainCount)).copyMemory(from: operation, byteCount: Operation.plainCount)
    copyBytes(payload + count, key.key, key.keyCount)
    if let bytes = body.baseAddress { copyValue(payload + count + key.keyCount, bytes, body.count) }
  }

  private mutating func receiveRequest(_ payload: UnsafeRawPointer) {
    withUnsafeTemporaryAllocation(of: MailRequest.self, capacity: 1) { room in
      let request = room.baseAddress!
      let count = MailRequest.isPlain(payload) ? MailRequest.plainCount : MemoryLayout<MailRequest>.stride
      UnsafeMutableRawPointer(request).copyMemory(from: payload, byteCount: count)
      var at = payload + count
      request.pointee.forEachBuffer { buffer in
        buffer = UnsafeRawBufferPointer(start: buffer.count > 0 ? at : nil, count: buffer.count)
        at += buffer.count
      }
      let target = AnswerTarget(reply: request.pointee.target, core: Int(request.pointee.sender))
      withUnsafePointer(to: request.pointee.operation) { execute($0, for: target) }
      if request.pointee.isBoxed { request.pointee.operation.body.deallocate() }
      scratch.reset()
    }
  }

  mutating func reply(to core: Int, _ target: ReplyTarget, _ outcome: Outcome) {
    var reply = MailReply(target: target, pin: .none, outcome: outcome)
    if outcome.value.count > limits.copiedValue && outcome.isInLog {
      let segment = store.pin(outcome.value)
      reply.pin = Pin(kind: .segment, core: UInt16(index), segment: segment)
    }
    if outcome.value.count > limits.copiedValue * 4 && !outcome.isInLog {
      // What isn't in the log is too large for a mailbox: a block that the reader frees.
      let block = UnsafeMutableRawBufferPointer.allocate(byteCount: outcome.value.count, alignment: 16)
      block.copyMemory(from: outcome.value)
      reply.outcome.value = UnsafeRawBufferPointer(block)
      reply.pin = .heap
    }
    let value = reply.pin.kind == .none ? outcome.value.count : 0
    let literal = Int(outcome.contentType.literalCount)
    let payload = outboxes[core].begin(.reply, MemoryLayout<MailReply>.stride + value + literal)
    payload.storeBytes(of: reply, as: MailReply.self)
    let at = payload + MemoryLayout<MailReply>.stride
    if literal > 0 { at.copyMemory(from: outcome.contentType.literal!, byteCount: literal) }
    if value > 0 { (at + literal).copyMemory(from: outcome.value.baseAddress!, byteCount: value) }
  }

  private mutating func receiveReply(_ payload: UnsafeRawPointer) {
    let reply = payload.load(as: MailReply.self)
    var outcome = reply.outcome
    let at = payload + MemoryLayout<MailReply>.stride
    let literal = Int(outcome.contentType.literalCount)
    if literal > 0 {
      outcome.contentType = RecordContentType(literal: UnsafeRawBufferPointer(start: at, count: literal))
    }
    if reply.pin.kind == .none {
      let value = at + literal
      outcome.value = UnsafeRawBufferPointer(start: value, count: outcome.value.count)
    }
    finish(reply.target, outcome, pin: reply.pin)
  }

  /// Gives an outcome to whoever waits for it on this core.
  mutating func finish(_ target: ReplyTarget, _ outcome: Outcome, pin: Pin) {
    if target.gather != 0 {
      gathered(target, outcome)
      letGo(pin, outcome)
    } else if target.frame != 0 {
      finishFrame(target, outcome, pin: pin)
    } else {
      fillGap(target, outcome, pin: pin)
    }
  }

  // MARK: Staged values

  /// Gives a staged value's pages back to the core they came from.
  mutating func discard(_ staged: StagedValue) {
    store.abandon(staged)
    releaseForeign()
  }

  /// Returns pages of other cores that this core's store no longer needs.
  mutating func releaseForeign() {
    for range in store.takeForeignFrees() {
      // Extents lie core by core in the reservation; see `CoreConfiguration.extents`.
      let extents = configuration.extents ?? configuration.memoryRange
      let owner = (range.lowerBound - (extents.lowerBound - index * extents.count)) / extents.count
      outboxes[owner].post(.release, MailRange(offset: range.lowerBound, count: range.count))
    }
  }
}

extension MailRequest {
  /// Visits every buffer whose bytes travel with the message, in their order.
  @inline(__always)
  mutating func forEachBuffer(_ body: (inout UnsafeRawBufferPointer) -> Void) {
    var map = UnsafeRawBufferPointer(start: operation.key.map, count: operation.key.mapCount)
    var key = UnsafeRawBufferPointer(start: operation.key.key, count: operation.key.keyCount)
    body(&map)
    body(&key)
    operation.key = KeyRef(
      map: map.baseAddress ?? key.baseAddress!, mapCount: map.count, key: key.baseAddress!, keyCount: key.count,
      hash: operation.key.hash)
    if !isBoxed { body(&operation.body) }
    var literal = UnsafeRawBufferPointer(
      start: operation.contentType.literal, count: Int(operation.contentType.literalCount))
    body(&literal)
    if literal.count > 0 { operation.contentType = RecordContentType(literal: literal) }
    guard operation.hasOptions else { return }
    body(&operation.options.ifMatch)
    body(&operation.options.ifNoneMatch)
    body(&operation.options.pointer)
    body(&operation.options.idempotencyKey)
  }
}
