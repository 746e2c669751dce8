import Wire

// From outcomes to response bytes.
extension Core {
  /// Answers a request at the end of its connection's output.
  @inline(__always)
  mutating func answer(
    _ connection: UnsafeMutablePointer<Connection>, _ request: UnsafePointer<BatchEntry>, _ outcome: Outcome
  ) {
    let chunk = reserve(connection, room(for: outcome))
    let style = AnswerStyle(
      isHead: request.pointee.isHead, keepAlive: request.pointee.keepAlive, isHTTP10: request.pointee.isHTTP10)
    write(connection, chunk, style, outcome, pin: .none)
    metrics.answered(request.pointee.route, outcome.status)
    if logsRequests { log(request, outcome) }
  }

  /// The same for a request that isn't in the batch any more.
  mutating func answer(
    _ connection: UnsafeMutablePointer<Connection>, _ request: BatchEntry, _ outcome: Outcome
  ) {
    withUnsafePointer(to: request) { answer(connection, $0, outcome) }
  }

  /// Answers with a JSON text.
  mutating func answer(_ request: BatchEntry, json text: [UInt8]) {
    answer(request, text, ContentType.json)
  }

  /// Answers with a plain text.
  mutating func answer(_ request: BatchEntry, text: StaticString) {
    let bytes = Array(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    answer(request, bytes, ContentType.plainText)
  }

  /// Answers with a text that shows a state, whatever the status.
  mutating func answer(_ request: BatchEntry, status: UInt16 = 200, _ text: [UInt8], _ contentType: UInt8) {
    var outcome = Outcome(status: status)
    outcome.showsValue = true
    outcome.contentType = RecordContentType(code: contentType)
    text.withUnsafeBytes { bytes in
      outcome.value = bytes
      answer(request.connection, request, outcome)
    }
  }

  // MARK: Gaps

  /// Keeps the place of an answer that another core makes.
  mutating func openGap(
    _ connection: UnsafeMutablePointer<Connection>, _ request: UnsafePointer<BatchEntry>
  ) -> UnsafeMutablePointer<Chunk> {
    let gap = chunks.take()
    gap.pointee.isGap = true
    gap.pointee.isHead = request.pointee.isHead
    gap.pointee.keepAlive = request.pointee.keepAlive
    gap.pointee.isHTTP10 = request.pointee.isHTTP10
    gap.pointee.route = request.pointee.route
    gap.pointee.started = request.pointee.started
    if logsRequests { gapRequests[gap] = LoggedRequest(request.pointee) }
    connection.pointee.output.append(gap)
    connection.pointee.output.gaps += 1
    return gap
  }

  /// Puts an answer into its place, unless the connection is gone.
  mutating func fillGap(_ target: ReplyTarget, _ outcome: Outcome, pin: Pin) {
    guard let connection = connection(target.connection), let gap = target.gap else { return letGo(pin, outcome) }
    precondition(gap.pointee.isGap, "an answer for a place that is filled")
    gap.pointee.isGap = false
    connection.pointee.output.gaps -= 1
    let style = AnswerStyle(
      isHead: gap.pointee.isHead, keepAlive: gap.pointee.keepAlive, isHTTP10: gap.pointee.isHTTP10)
    write(connection, gap, style, outcome, pin: pin)
    metrics.answered(gap.pointee.route, outcome.status, nanoseconds: monotonic &- gap.pointee.started)
    if let request = gapRequests.removeValue(forKey: gap) { log(request, outcome, connection.pointee.id) }
    unblock(connection)
  }

  // MARK: Writing

  /// How to write an answer, from its request.
  private struct AnswerStyle {
    var isHead: Bool
    var keepAlive: Bool
    var isHTTP10: Bool
  }

  /// The bytes of a page that an answer may need.
  @inline(__always)
  private func room(for outcome: Outcome) -> Int {
    let value = outcome.value.count <= limits.copiedValue ? outcome.value.count : 0
    return ResponseHead.maximumCount &+ value
  }

  /// Writes head and value into the chunk; a large value becomes the chunk's tail: a pinned slice of the log, or a heap
  /// block when it isn't in a log.
  @inline(__always)
  private mutating func write(
    _ connection: UnsafeMutablePointer<Connection>, _ chunk: UnsafeMutablePointer<Chunk>, _ style: AnswerStyle,
    _ outcome: Outcome, pin: Pin
  ) {
    if outcome.status >= 400 && !outcome.showsValue {
      writeProblem(connection, chunk, style, outcome)
      return letGo(pin, outcome)
    }
    var head = ResponseHead(HTTPStatus(rawValue: outcome.status).unsafelyUnwrapped)
    head.keepAlive = style.keepAlive
    head.http10 = style.isHTTP10
    if outcome.status == 307 {
      head.location = outcome.value.baseAddress?.assumingMemoryBound(to: UInt8.self)
      head.locationCount = outcome.value.count
      head.contentLength = 0
    } else if outcome.status != 204 && outcome.status != 304 {
      head.contentLength = outcome.value.count
      let hasValue = outcome.isInLog || outcome.value.count > 0
      if outcome.contentType.code != 0 {
        head.contentType = outcome.contentType.code
        head.contentTypeBytes = outcome.contentType.literal?.assumingMemoryBound(to: UInt8.self)
        head.contentTypeCount = Int(outcome.contentType.literalCount)
      } else if hasValue {
        head.contentType = ContentType.octetStream
      }
    }
    head.extra = outcome.staleness.field
    if outcome.hasRevision { head.revision = outcome.revision }
    if outcome.timeToLive > 0 { head.ttlMilliseconds = Int64(outcome.timeToLive) }
    if let allow = outcome.allow {
      head.allow = allow
      head.acceptPatch = true
    }
    let start = chunk.bytes + Int(chunk.pointee.count)
    var written = head.write(into: start, date: UnsafePointer(date.assumingMemoryBound(to: UInt8.self)))
    if !style.isHead && outcome.value.count > 0 && outcome.status != 304 && outcome.status != 307 {
      if outcome.value.count <= limits.copiedValue {
        (start + written).copyMemory(from: outcome.value.baseAddress.unsafelyUnwrapped, byteCount: outcome.value.count)
        written &+= outcome.value.count
        if pin.kind != .none { letGo(pin, outcome) }
      } else {
        attach(connection, chunk, outcome, pin)
      }
    } else {
      letGo(pin, outcome)
    }
    advance(connection, chunk, written)
  }

  /// Makes a large value the tail of a chunk.
  private mutating func attach(
    _ connection: UnsafeMutablePointer<Connection>, _ chunk: UnsafeMutablePointer<Chunk>, _ outcome: Outcome, _ pin: Pin
  ) {
    chunk.pointee.tailCount = outcome.value.count
    connection.pointee.output.unsent += outcome.value.count
    if pin.kind != .none {
      chunk.pointee.pin = pin
      chunk.pointee.tail = outcome.value.baseAddress
    } else if outcome.isInLog {
      let segment = store.pin(outcome.value)
      chunk.pointee.pin = Pin(kind: .segment, core: UInt16(index), segment: segment)
      chunk.pointee.tail = outcome.value.baseAddress
    } else {
      let block = UnsafeMutableRawPointer.allocate(byteCount: outcome.value.count, alignment: 16)
      block.copyMemory(from: outcome.value.baseAddress!, byteCount: outcome.value.count)
      chunk.pointee.pin = .heap
      chunk.pointee.tail = UnsafeRawPointer(block)
    }
  }

  /// What is said for another node that refused something without a sentence.
  private static let noReason = Problem(500, "The node that refused this said no reason.")

  @inline(never)
  private mutating func writeProblem(
    _ connection: UnsafeMutablePointer<Connection>, _ chunk: UnsafeMutablePointer<Chunk>, _ style: AnswerStyle,
    _ outcome: Outcome
  ) {
    let status = HTTPStatus(rawValue: outcome.status) ?? .internalServerError
    let given = outcome.sentence.isEmpty ? Outcome(Core.noReason).sentence : outcome.sentence
    let text = given.baseAddress!.assumingMemoryBound(to: UInt8.self)
    let isFixed = outcome.problem.detail.utf8CodeUnitCount > 0
    let count = isFixed ? given.count : min(given.count, 300)
    // A sentence is short, so that escaped it still fits a page behind the head.
    withUnsafeTemporaryAllocation(byteCount: Wire.Problem.maximumCount(detail: count), alignment: 8) { room in
      let bodyCount = Wire.Problem.write(status, detail: text, count, into: room.baseAddress!)
      var head = ResponseHead(status)
      head.contentLength = bodyCount
      head.contentType = ContentType.problem
      head.keepAlive = style.keepAlive
      head.http10 = style.isHTTP10
      head.allow = outcome.allow
      head.acceptPatch = status == .unsupportedMediaType
      if status == .notFound { head.extra = outcome.staleness.field }
      if status == .serviceUnavailable || status == .tooManyRequests { head.retryAfter = 1 }
      let needed = ResponseHead.maximumCount + bodyCount
      let target = chunk.room >= needed ? chunk : reserve(connection, needed)
      let start = target.bytes + Int(target.pointee.count)
      var written = head.write(into: start, date: UnsafePointer(date.assumingMemoryBound(to: UInt8.self)))
      if !style.isHead {
        (start + written).copyMemory(from: room.baseAddress!, byteCount: bodyCount)
        written += bodyCount
      }
      advance(connection, target, written)
    }
  }

  /// The outcome of a refusal; one without a fixed sentence has its sentence in `problemText`.
  mutating func refused(_ problem: Problem) -> Outcome {
    var outcome = Outcome(problem)
    if problem.detail.utf8CodeUnitCount == 0 { outcome.value = scratch.copy(problemText) }
    return outcome
  }

  /// Answers a request that can't be read any further and ends the connection behind it.
  mutating func fail(_ connection: UnsafeMutablePointer<Connection>, _ problem: Problem, route: Route) {
    if connection.pointee.peer != nil { return refuse(connection, CloseReason(problem)) }
    runBatch()
    guard connection.pointee.state == .open, !connection.pointee.isLast else { return }
    let isHead = connection.pointee.body?.pointee.head.method == .head
    abandonBody(connection)
    connection.pointee.isLast = true
    connection.pointee.activity = monotonicMilliseconds  // the client has its time to take the answer
    let request = BatchEntry(
      connection: connection, route: route, isHead: isHead, keepAlive: false, isHTTP10: false, method: .get, core: 0,
      started: monotonic, path: UnsafeRawBufferPointer(start: nil, count: 0))
    answer(connection, request, refused(problem))
  }
}
