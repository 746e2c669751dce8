import Wire

// The short way of the plain GET and PUT, which nearly all requests are: from the received bytes to the operation
// without parsing a head that was parsed before, and from the store to the answer's bytes without an `Outcome` and a
// `ResponseHead` between them. Whatever is rarer goes the long way (`dispatch`, `execute`, `answer`), which would give
// the same bytes for these too; a node that logs every request always goes that way.
extension Core {
  // MARK: In

  /// Takes the request at the start of `bytes` into the batch if it is plain, all there, for a key of this core's, and
  /// its head is one of the connection's templates. Answers its bytes; 0 if it has to go the long way.
  @inline(always)
  mutating func takePlain(
    _ connection: UnsafeMutablePointer<Connection>, _ bytes: UnsafePointer<UInt8>, _ count: Int
  ) -> Int {
    guard count >= 5 + HeadTemplates.minimumTail else { return 0 }
    let method = Text.word4(bytes)
    let isPut = method == 0x2054_5550  // "PUT "
    guard isPut || method == 0x2054_4547 else { return 0 }  // "GET "
    let template = templates.template(isPut ? connection.pointee.putTemplate : connection.pointee.getTemplate)
    let pathEnd = Text.findTargetMark(bytes, from: 4, count)
    let keyCount = pathEnd &- 5
    let headCount = pathEnd &+ template.pointee.count
    let whole = headCount &+ template.pointee.bodyCount
    // The bounds: an empty template, whose count is 0, fits nothing. A body is within the limits, or there would be no
    // template.
    guard template.pointee.count > 0, template.pointee.isPut == isPut, whole <= count, keyCount > 0,
      keyCount <= limits.key, headCount <= limits.head, bytes[4] == UInt8(ascii: "/"),
      longBytesEqual(bytes + pathEnd, template.tail, template.pointee.count),
      !Resource.isWordOfAPI(bytes[5]), !isWindingDown
    else { return 0 }
    let key = UnsafeRawPointer(bytes + 5)
    let hash = keyHash(key, count: keyCount, mapCount: 0)
    guard isHere(hash), !(isRouted || isReplicated) || mayTakePlain(hash, isPut) else { return 0 }
    let operation = operations + batchCount
    operation.pointee.setPlain(
      isPut ? .put : .get, KeyRef(map: key, mapCount: 0, key: key, keyCount: keyCount, hash: hash),
      UnsafeRawBufferPointer(start: bytes + headCount, count: template.pointee.bodyCount),
      contentType: template.pointee.contentType)
    let request = requests + batchCount
    request.pointee.connection = connection
    request.pointee.isPlain = true
    joinBatch(hash, isWrite: isPut)
    return whole
  }

  /// Whether a plain request goes the short way although other nodes own or copy partitions: one that reads what this
  /// node has a copy of, or writes what it owns.
  @inline(__always)
  private func mayTakePlain(_ hash: UInt64, _ isPut: Bool) -> Bool {
    guard isRouted else { return true }
    let route = routes.table + Int(PartitionID(hash: hash).rawValue)
    return isPut ? route.pointee.owner == Routes.own && standing.gate == .open : route.pointee.isReadable
  }

  /// Keeps the tail of a head that was parsed, if a template can stand for it. After heads that no template fitted it
  /// is tried more and more rarely, for the sake of clients whose heads differ each time.
  @inline(__always)
  mutating func learn(
    _ connection: UnsafeMutablePointer<Connection>, _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>
  ) {
    let misses = connection.pointee.templateMisses &+ 1
    connection.pointee.templateMisses = misses
    if misses & (misses &- 1) == 0 { learnNow(connection, head, bytes) }
  }

  @inline(never)
  private mutating func learnNow(
    _ connection: UnsafeMutablePointer<Connection>, _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>
  ) {
    // A path that starts elsewhere follows empty lines or an authority.
    guard head.pointee.isPlain, head.pointee.path.offset == 4, !logsRequests else { return }
    let start = 4 + Int(head.pointee.path.count)
    let count = Int(head.pointee.headCount) - start
    let isPut = head.pointee.method == .put
    guard count >= HeadTemplates.minimumTail, count <= HeadTemplates.maximumTail,
      head.pointee.contentLength <= limits.value
    else { return }
    var template = HeadTemplate(count: count, bodyCount: head.pointee.contentLength, isPut: isPut, contentType: 0)
    if isPut && RequestHead.isPresent(head.pointee.contentType) {
      let text = UnsafeRawBufferPointer(start: bytes, slice: head.pointee.contentType)
      guard text.count > 0, text.count <= ContentType.maximumCount else { return }
      template.contentType = ContentType.code(text.baseAddress!.assumingMemoryBound(to: UInt8.self), text.count)
      guard template.contentType != ContentType.literal else { return }
    }
    let place = templates.keep(template, bytes + start)
    if isPut { connection.pointee.putTemplate = place } else { connection.pointee.getTemplate = place }
  }

  // MARK: Out

  /// Executes and answers a request of the batch that is plain, at the place where the batch's answers go.
  @inline(always)
  mutating func runPlain(_ position: Int, _ place: inout AnswerPlace) {
    let operation = operations + position
    let connection = requests[position].connection
    if isReplicated && operation.pointee.kind == .put {
      finish(&place)
      guard connection.pointee.state == .open else { return }
      return putReplicated(connection, operation, requests + position, hint: fetches[position].slot)
    }
    if place.connection != connection {
      finish(&place)
      guard connection.pointee.state == .open else { return }
      start(&place, connection, PlainHead.maximumCount)
    }
    if operation.pointee.kind == .get {
      guard let record = store.find(operation.pointee.key, now: wall, hint: fetches[position].slot),
        answerPlainly(&place, operation, record)
      else {
        finish(&place)
        return runAtLength(connection, operation, requests + position)
      }
    } else {
      putPlainly(&place, operation, requests + position, hint: fetches[position].slot)
    }
  }

  /// The long way of a plain operation.
  @inline(never)
  private mutating func runAtLength(
    _ connection: UnsafeMutablePointer<Connection>, _ operation: UnsafeMutablePointer<Operation>,
    _ request: UnsafeMutablePointer<BatchEntry>
  ) {
    request.initialize(to: BatchEntry(plain: operation.pointee.kind, connection, started: monotonic))
    answer(connection, request, execute(operation))
  }

  /// Answers with the record's value, unless its answer needs more than the usual fields or is sent from the log.
  @inline(__always)
  private mutating func answerPlainly(
    _ place: inout AnswerPlace, _ operation: UnsafePointer<Operation>, _ record: RecordView
  ) -> Bool {
    let value = record.value
    let contentType = record.contentTypeCode
    guard value.count <= limits.copiedValue, !record.hasExpiry, contentType != ContentType.literal else { return false }
    if place.end - place.at < PlainHead.maximumCount &+ value.count {
      let connection = place.connection.unsafelyUnwrapped
      finish(&place)
      start(&place, connection, PlainHead.maximumCount &+ value.count)
    }
    place.at += plainHead.writeFound(
      contentLength: value.count, contentType: contentType,
      revision: record.revision(in: operation.pointee.key.partition), to: place.at)
    if isReplicated { writeStaleness(&place, operation.pointee.key.partition) }
    copyValue(place.at, value.baseAddress.unsafelyUnwrapped, value.count)
    place.at += value.count
    place.found &+= 1
    return true
  }

  /// One more field in front of the empty line that ends the head.
  @inline(never)
  private func writeStaleness(_ place: inout AnswerPlace, _ partition: PartitionID) {
    guard let field = staleness(of: partition).field else { return }
    let at = place.at - 2
    at.copyMemory(from: field.utf8Start, byteCount: field.utf8CodeUnitCount)
    (at + field.utf8CodeUnitCount).storeBytes(of: UInt16(0x0A0D).littleEndian, as: UInt16.self)
    place.at = at + field.utf8CodeUnitCount + 2
  }

  @inline(__always)
  private mutating func putPlainly(
    _ place: inout AnswerPlace, _ operation: UnsafeMutablePointer<Operation>,
    _ request: UnsafeMutablePointer<BatchEntry>, hint: UnsafeMutablePointer<Slot>?
  ) {
    guard mayWrite(operation.pointee.key.partition) else {
      let connection = place.connection.unsafelyUnwrapped
      finish(&place)
      return runAtLength(connection, operation, request)
    }
    let expiry = maps.isEmpty ? 0 : maps.expiry(of: operation.pointee.key, now: wall)
    do {
      let stored = try putPlainly(operation, expiry: expiry, hint: hint)
      if place.end - place.at < PlainHead.maximumCount {
        let connection = place.connection.unsafelyUnwrapped
        finish(&place)
        start(&place, connection, PlainHead.maximumCount)
      }
      place.at += plainHead.writeStored(
        isNew: !stored.existed, revision: stored.revision(in: operation.pointee.key.partition), to: place.at)
      if stored.existed { place.replaced &+= 1 } else { place.created &+= 1 }
    } catch {
      let connection = place.connection.unsafelyUnwrapped
      finish(&place)
      request.initialize(to: BatchEntry(plain: .put, connection, started: monotonic))
      answer(connection, request, Outcome(Problem(error)))
    }
  }

  /// Stores what a plain put brings.
  @inline(always)
  mutating func putPlainly(
    _ operation: UnsafePointer<Operation>, expiry: UInt64, hint: UnsafeMutablePointer<Slot>?
  ) throws(StoreError) -> PutResult {
    if expiry == 0 && operation.pointee.contentType.code == 0,
      let stored = store.replacePlainly(operation.pointee.key, operation.pointee.body, time: wall, hint: hint)
    {
      return stored
    }
    return try store.put(
      operation.pointee.key, operation.pointee.body, UnsafeRawBufferPointer(start: nil, count: 0),
      contentType: operation.pointee.contentType, expiry: expiry, flags: 0, time: wall, hint: hint)
  }

  // MARK: Replicated

  /// Stores what a plain put brings where its answer has to wait for other nodes, as `executeReplicated`, `mustPark`
  /// and `park` do.
  @inline(__always)
  private mutating func putReplicated(
    _ connection: UnsafeMutablePointer<Connection>, _ operation: UnsafeMutablePointer<Operation>,
    _ request: UnsafeMutablePointer<BatchEntry>, hint: UnsafeMutablePointer<Slot>?
  ) {
    request.initialize(to: BatchEntry(plain: .put, connection, started: monotonic))
    request.pointee.core = Int32(truncatingIfNeeded: index)
    guard !hasItsShare(connection), let stored = putReplicated(operation, hint: hint) else {
      return runAtLength(operation, request)
    }
    let status: UInt16 = stored.existed ? 200 : 201
    let revision = stored.revision(in: operation.pointee.key.partition)
    if isHeld(revision, .majority) { return answer(connection, request, Outcome(stored: status, revision)) }
    let gap = openGap(connection, request)
    metrics.count(.parked)
    let token = waiting.addPlain(
      AnswerTarget(
        reply: ReplyTarget(connection: connection.pointee.id, gap: gap, gather: 0, element: 0), core: index),
      status, revision, deadline: monotonicMilliseconds + UInt64(limits.writeTimeout), now: monotonicMilliseconds)
    watch(token, revision, .majority)
  }

  /// Stores what such a put brings. Nil, and nothing changed, for what the long way has: a map's settings, and whatever
  /// is refused or held.
  @inline(__always)
  mutating func putReplicated(
    _ operation: UnsafePointer<Operation>, hint: UnsafeMutablePointer<Slot>?
  ) -> PutResult? {
    guard maps.isEmpty, !operation.pointee.key.isCached, waiting.count < limits.waitingAnswers,
      problem(of: operation) == nil, mayWrite(operation.pointee.key.partition)
    else { return nil }
    return try? store.put(
      operation.pointee.key, operation.pointee.body, UnsafeRawBufferPointer(start: nil, count: 0),
      contentType: operation.pointee.contentType, expiry: 0, flags: 0, time: wall, hint: hint)
  }

  /// Gives the answer to such a put, as `fillGap` does.
  @inline(__always)
  mutating func answerReplicated(_ token: WaitToken) {
    let (target, status, revision) = waiting.removePlain(token)
    guard let connection = connection(target.connection), let gap = target.gap else { return }
    precondition(gap.pointee.isGap, "an answer for a place that is filled")
    gap.pointee.isGap = false
    connection.pointee.output.gaps -= 1
    let count = plainHead.writeStored(
      isNew: status == 201, revision: revision, to: gap.bytes + Int(gap.pointee.count))
    metrics.answered(.put, status, nanoseconds: monotonic &- gap.pointee.started)
    advance(connection, gap, count)
    unblock(connection)
  }

  // MARK: The place of answers

  /// Makes `count` bytes of room at the end of a connection's output.
  @inline(__always)
  private mutating func start(
    _ place: inout AnswerPlace, _ connection: UnsafeMutablePointer<Connection>, _ count: Int
  ) {
    let chunk = reserve(connection, count)
    place.connection = connection
    place.chunk = chunk
    place.at = chunk.bytes + Int(chunk.pointee.count)
    place.from = place.at
    place.end = chunk.bytes + Chunk.capacity
  }

  /// Notes what was written at the place; nothing may be written to the connection otherwise before.
  @inline(__always)
  mutating func finish(_ place: inout AnswerPlace) {
    guard let connection = place.connection else { return }
    place.connection = nil
    let count = place.at - place.from
    if count > 0 { advance(connection, place.chunk.unsafelyUnwrapped, count) }
  }

  /// Notes everything, at the end of a batch.
  @inline(__always)
  mutating func finishAll(_ place: inout AnswerPlace) {
    finish(&place)
    metrics.answered(.get, 200, times: place.found)
    metrics.answered(.put, 200, times: place.replaced)
    metrics.answered(.put, 201, times: place.created)
  }
}

/// Where the answers of a batch are being written, as long as they are of one connection; and how many of each kind
/// there were.
struct AnswerPlace {
  var connection: UnsafeMutablePointer<Connection>?
  var chunk: UnsafeMutablePointer<Chunk>?
  /// What was written begins at `from` and ends at `at`; `end` is the chunk's.
  var from: UnsafeMutableRawPointer
  var at: UnsafeMutableRawPointer
  var end: UnsafeMutableRawPointer
  var found: UInt32 = 0
  var replaced: UInt32 = 0
  var created: UInt32 = 0

  /// No place yet, with any address for it.
  init(_ nowhere: UnsafeMutableRawPointer) {
    from = nowhere
    at = nowhere
    end = nowhere
  }
}

extension BatchEntry {
  /// What a request is that took the short way in.
  init(plain kind: OperationKind, _ connection: UnsafeMutablePointer<Connection>, started: UInt64) {
    self.init(
      connection: connection, route: kind.route, isHead: false, keepAlive: true, isHTTP10: false, isPlain: true,
      method: kind == .put ? .put : .get, core: 0, started: started,
      path: UnsafeRawBufferPointer(start: nil, count: 0))
  }
}
