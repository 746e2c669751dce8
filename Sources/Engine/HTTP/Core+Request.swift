import Wire

// From a parsed head to an operation in the batch.
extension Core {
  /// Takes a whole request: operations on keys join the batch, everything else is answered now (in order).
  ///
  /// `bytes` is where the head starts; head, body and staged value stay unchanged until the batch has run.
  @inline(__always)
  mutating func dispatch(
    _ connection: UnsafeMutablePointer<Connection>, _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>,
    _ body: UnsafeRawBufferPointer, staged: UnsafePointer<StagedValue>?, started: UInt64
  ) {
    let path = UnsafeRawBufferPointer(start: bytes + Int(head.pointee.path.offset), count: Int(head.pointee.path.count))
    let request = requests + batchCount
    request.initialize(
      to: BatchEntry(
        connection: connection, route: .other, isHead: head.pointee.method == .head, keepAlive: head.pointee.keepAlive,
        isHTTP10: !head.pointee.http11, method: head.pointee.method, core: 0, started: started, path: path))
    if !head.pointee.keepAlive || isWindingDown {
      request.pointee.keepAlive = false
      connection.pointee.isLast = true
    }
    guard case .key(let map, let key) = Resource.route(path), head.pointee.method != .options else {
      return dispatchOther(connection, head, bytes, body, path)
    }
    if standing.gate == .refusesAll {
      if let staged { discard(staged.pointee) }
      return dispatchFailed(seeking, head.pointee.method)
    }
    let operation = operations + batchCount
    do {
      try prepare(head, bytes, map: map, key: key, into: operation)
    } catch {
      if let staged { discard(staged.pointee) }
      return dispatchFailed(error, head.pointee.method)
    }
    let limit = operation.pointee.kind == .put ? limits.value : limits.editedValue
    if body.count > limit {
      return dispatchFailed(operation.pointee.kind == .put ? .valueTooLarge : .editTooLarge, head.pointee.method)
    }
    operation.pointee.body = body
    if let staged { operation.pointee.staged = staged.pointee }
    if operation.pointee.hasOptions { fingerprint(operation) }
    request.pointee.route = operation.pointee.kind.route
    let core = place(of: operation)
    request.pointee.core = Int32(truncatingIfNeeded: core)
    if core == index {
      request.pointee.isPlain =
        operation.pointee.isPlain && request.pointee.keepAlive && head.pointee.http11 && head.pointee.method != .head
        && !logsRequests && !(isReplicated && operation.pointee.kind == .put) && !operation.pointee.key.isCached
    }
    joinBatch(core == index ? operation.pointee.key.hash : nil, isWrite: operation.pointee.kind != .get)
  }

  /// Counts the operation that was written behind the batch's last, and fetches ahead: what leads to its own record if
  /// this core executes it (then the key's hash is given), and what those before it need next.
  @inline(always)
  mutating func joinBatch(_ hash: UInt64?, isWrite: Bool) {
    let fetch = fetches + batchCount
    if let hash {
      store.begin(fetch, hash, isWrite: isWrite)
    } else {
      fetch.pointee.partition = nil
    }
    batchCount &+= 1
    store.goOn(behind: fetch)
  }

  /// Answers the requests of the batch in their order.
  @inline(__always)
  mutating func runBatch() {
    if batchCount > 0 { runFullBatch() }
    if frames.isBusy { runFrameBatch() }
  }

  @inline(never)
  private mutating func runFullBatch() {
    let count = batchCount
    batchCount = 0
    endFetches(fetches + count)
    if isReplicated { fetchParts(operations, fetches, count) }
    var ahead = count
    // The last requests' fetches go on while the first are executed, if there are enough of them.
    if count < Fetch.distance {
      while ahead < count &+ Fetch.distance {
        store.goOn(behind: fetches + ahead)
        ahead &+= 1
      }
    }
    var place = AnswerPlace(date)
    var position = 0
    while position < count {
      if ahead < count &+ Fetch.distance {
        store.goOn(behind: fetches + ahead)
        ahead &+= 1
      }
      if requests[position].isPlain {
        runPlain(position, &place)
      } else {
        finish(&place)
        run(operations + position, requests + position)
      }
      position &+= 1
    }
    finishAll(&place)
    scratch.reset()
  }

  /// Lets nothing follow the last request's fetch.
  @inline(always)
  func endFetches(_ fetches: UnsafeMutablePointer<Fetch>) {
    for position in 0..<Fetch.distance { fetches[position].partition = nil }
  }

  @inline(__always)
  private mutating func run(_ operation: UnsafeMutablePointer<Operation>, _ request: UnsafeMutablePointer<BatchEntry>) {
    let connection = request.pointee.connection
    guard connection.pointee.state == .open else {
      if let staged = operation.pointee.staged { discard(staged) }
      return
    }
    let core = Int(request.pointee.core)
    if waiting.count > 0, core < 0 || mayWait(operation), hasItsShare(connection) {
      if let staged = operation.pointee.staged { discard(staged) }
      answer(connection, request, Outcome(.tooManyWaiting))
    } else if core == index {
      if isReplicated && mayWait(operation) { return runReplicated(connection, operation, request) }
      answer(connection, request, execute(operation))
    } else if core < 0 {
      relay(connection, operation, request, Place(rawValue: core))
    } else if isOverloaded(core) {
      if let staged = operation.pointee.staged { discard(staged) }
      metrics.count(.overloaded)
      answer(connection, request, Outcome(.overloaded))
    } else {
      let gap = openGap(connection, request)
      let target = ReplyTarget(connection: connection.pointee.id, gap: gap, gather: 0, element: 0)
      forward(operation, to: core, target)
    }
  }

  /// What took the short way in, and can't go on so: as if it had come the long way.
  @inline(never)
  mutating func runAtLength(
    _ operation: UnsafeMutablePointer<Operation>, _ request: UnsafeMutablePointer<BatchEntry>
  ) { run(operation, request) }

  /// A write whose answer may have to wait for other nodes: then it leaves a gap.
  @inline(never)
  private mutating func runReplicated(
    _ connection: UnsafeMutablePointer<Connection>, _ operation: UnsafeMutablePointer<Operation>,
    _ request: UnsafeMutablePointer<BatchEntry>
  ) {
    let outcome = executeReplicated(operation)
    guard mustPark(outcome, operation) else { return answer(connection, request, outcome) }
    let gap = openGap(connection, request)
    let target = ReplyTarget(connection: connection.pointee.id, gap: gap, gather: 0, element: 0)
    park(outcome, operation, AnswerTarget(reply: target, core: index))
  }

  /// An operation of a partition that another node owns.
  @inline(never)
  private mutating func relay(
    _ connection: UnsafeMutablePointer<Connection>, _ operation: UnsafeMutablePointer<Operation>,
    _ request: UnsafeMutablePointer<BatchEntry>, _ place: Place
  ) {
    if let outcome = redirection(operation, request, place) { return answer(connection, request, outcome) }
    let outcome = refusal(place, operation)
    if let outcome, !mayHold(outcome, operation) {
      if let staged = operation.pointee.staged { discard(staged) }
      return answer(connection, request, outcome)
    }
    let gap = openGap(connection, request)
    let target = ReplyTarget(connection: connection.pointee.id, gap: gap, gather: 0, element: 0)
    if let outcome { return hold(outcome, operation, AnswerTarget(reply: target, core: index)) }
    relay(operation, over: place.link!, target)
  }

  /// Where a client is sent that asked for it rather than for a value that is passed on (RFC 9110, section 15.4.8).
  private mutating func redirection(
    _ operation: UnsafePointer<Operation>, _ request: UnsafePointer<BatchEntry>, _ place: Place
  ) -> Outcome? {
    guard operation.pointee.hasOptions, operation.pointee.options.redirects, operation.pointee.kind == .get,
      operation.pointee.options.readLevel == .local, let link = place.link,
      let member = standing.view?.topology?.member(links[link].pointee.node), member.http != .none
    else { return nil }
    let location = Array("http://\(member.http)".utf8) + request.pointee.path
    guard location.count <= ResponseHead.maximumLocation else { return nil }
    var outcome = Outcome(status: 307)
    outcome.value = scratch.copy(location)
    return outcome
  }

  /// A request that failed before it became an operation is answered in its turn.
  @inline(never)
  mutating func dispatchFailed(_ problem: Problem, _ method: HTTPMethod) {
    let request = requests[batchCount]
    runBatch()
    metrics.count(.badRequests)
    answer(request.connection, request, refused(problem))
    scratch.reset()
  }

  // MARK: Preparing

  /// Fills in everything of an operation but its body: method, key, content type, options.
  @inline(__always)
  mutating func prepare(
    _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>, map: UnsafeRawBufferPointer,
    key: UnsafeRawBufferPointer,
    into operation: UnsafeMutablePointer<Operation>
  ) throws(Problem) {
    operation.pointee.hasOptions = false
    operation.pointee.isForwarded = false
    operation.pointee.isRetry = false
    operation.pointee.staged = nil
    operation.pointee.contentType = RecordContentType()
    switch head.pointee.method {
    case .get, .head: operation.pointee.kind = .get
    case .put, .post:
      operation.pointee.kind = .put
      if RequestHead.isPresent(head.pointee.contentType) {
        operation.pointee.contentType = try contentType(
          UnsafeRawBufferPointer(start: bytes, slice: head.pointee.contentType))
      }
    case .delete: operation.pointee.kind = .delete
    default: operation.pointee.kind = .mergePatch
    }
    // The parser lets only visible ASCII through, so a key without escapes is valid UTF-8 as it stands.
    if map.isEmpty && !head.pointee.pathHasEscapes && key.count > 0 && key.count <= limits.key {
      operation.pointee.key = KeyRef(key)
    } else {
      operation.pointee.key = try decodeKey(map: map, key: key, head)
    }
    if head.pointee.hasQuery || RequestHead.isPresent(head.pointee.ifMatch)
      || RequestHead.isPresent(head.pointee.ifNoneMatch)
      || RequestHead.isPresent(head.pointee.idempotencyKey)
    {
      try prepareOptions(head, bytes, operation)
    }
    if operation.pointee.kind == .mergePatch { try preparePatch(head, bytes, operation) }
  }

  /// The key, decoded into scratch memory behind its map's name.
  @inline(never)
  private mutating func decodeKey(
    map: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, _ head: UnsafePointer<RequestHead>
  ) throws(Problem) -> KeyRef {
    try checkMapName(map)
    let isDefault = map.isEmpty || map.equals("default")
    let mapCount = isDefault ? 0 : map.count
    guard key.count > 0 else { throw .keyEmpty }
    guard key.count <= limits.key * 3 else { throw .keyTooLong }
    let room = scratch.take(mapCount + key.count)
    if mapCount > 0 { room.copyMemory(from: map.baseAddress!, byteCount: mapCount) }
    let text = (room + mapCount).assumingMemoryBound(to: UInt8.self)
    let count = Text.decodePercent(key.baseAddress!.assumingMemoryBound(to: UInt8.self), key.count, into: text)
    guard count >= 0 else { throw .badEscape }
    guard count <= limits.key else { throw .keyTooLong }
    guard Text.isUTF8(text, count) else { throw .keyNotText }
    let decoded = UnsafeRawBufferPointer(start: text, count: count)
    let name = UnsafeRawBufferPointer(start: room, count: mapCount)
    return KeyRef(map: maps.hasCaches ? maps.marked(name) : name, key: decoded)
  }

  /// A map's name stands in paths, metrics and records, so it is kept to a plain alphabet.
  func checkMapName(_ map: UnsafeRawBufferPointer) throws(Problem) {
    guard !map.isEmpty else { return }
    guard map.count <= min(200, limits.mapName) else { throw .badMapName }
    for (position, byte) in map.enumerated() {
      let isLetter = (byte | 0x20) >= UInt8(ascii: "a") && (byte | 0x20) <= UInt8(ascii: "z")
      let isDigit = byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
      let isMark = byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".")
      guard isLetter || isDigit || (isMark && position > 0) else { throw .badMapName }
    }
  }

  private func contentType(_ text: UnsafeRawBufferPointer) throws(Problem) -> RecordContentType {
    guard text.count <= ContentType.maximumCount else { throw .contentTypeTooLong }
    guard let base = text.baseAddress, text.count > 0 else { return RecordContentType() }
    let code = ContentType.code(base.assumingMemoryBound(to: UInt8.self), text.count)
    return code == ContentType.literal ? RecordContentType(literal: text) : RecordContentType(code: code)
  }

  private func preparePatch(
    _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>, _ operation: UnsafeMutablePointer<Operation>
  ) throws(Problem) {
    let type = bytes + Int(head.pointee.contentType.offset)
    let count = Int(head.pointee.contentType.count)
    if ContentType.isType(type, count, "application/merge-patch+json") {
      operation.pointee.kind = .mergePatch
    } else if ContentType.isType(type, count, "application/json-patch+json") {
      operation.pointee.kind = .jsonPatch
    } else {
      throw .unknownPatch
    }
  }
}

extension UnsafeRawBufferPointer {
  /// The bytes of a slice of some buffer.
  @inline(__always)
  init(start: UnsafePointer<UInt8>, slice: Slice) {
    self.init(start: start + Int(slice.offset), count: Int(slice.count))
  }
}

extension OperationKind {
  /// What it is counted under.
  @inline(__always) var route: Route {
    switch self {
    case .get, .pointerGet: .get
    case .put, .increment, .append, .pointerSet: .put
    case .delete, .pointerRemove: .delete
    case .mergePatch, .jsonPatch: .patch
    case .list: .list
    case .lost: .status
    }
  }
}
