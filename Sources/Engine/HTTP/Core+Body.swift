import Wire

// Bodies that aren't all there when their head is.
extension Core {
  /// Starts to receive a body: checks first what can be checked from the head alone, so that a client hears of a fault
  /// before it has sent megabytes (and instead of `100 Continue`). Returns how many of the `count` bytes behind the
  /// head it took.
  mutating func beginBody(
    _ connection: UnsafeMutablePointer<Connection>, _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>,
    _ count: Int
  ) -> Int {
    runBatch()
    let plan: BodyPlan
    do {
      plan = try planBody(head, bytes)
    } catch {
      fail(connection, error, route: .other)
      return count
    }
    let headBytes = UnsafeMutableRawPointer.allocate(byteCount: Int(head.pointee.headCount), alignment: 16)
    headBytes.copyMemory(from: bytes, byteCount: Int(head.pointee.headCount))
    let body = UnsafeMutablePointer<BodyState>.allocate(capacity: 1)
    body.initialize(
      to: BodyState(
        head: head.pointee, headBytes: headBytes, staged: plan.staged, limit: plan.limit,
        remaining: head.pointee.chunked ? 0 : head.pointee.contentLength, started: monotonic))
    connection.pointee.body = body
    enter(connection, .body)
    if head.pointee.expectContinue { writeContinue(connection) }
    return receiveBody(connection, UnsafeRawPointer(bytes + Int(head.pointee.headCount)), count)
  }

  /// Takes body bytes and returns how many; when the body is whole the request joins the batch.
  mutating func receiveBody(
    _ connection: UnsafeMutablePointer<Connection>, _ bytes: UnsafeRawPointer, _ count: Int
  ) -> Int {
    let body = connection.pointee.body!
    let used: Int
    do {
      used =
        body.pointee.head.chunked
        ? try receiveChunks(body, bytes, count) : try receivePlain(body, bytes, count)
    } catch {
      fail(connection, error, route: .other)
      return count
    }
    if body.pointee.isComplete { completeBody(connection, body) }
    return used
  }

  private mutating func receivePlain(
    _ body: UnsafeMutablePointer<BodyState>, _ bytes: UnsafeRawPointer, _ count: Int
  ) throws(Problem) -> Int {
    let used = min(count, body.pointee.remaining)
    try store(body, bytes, used)
    body.pointee.remaining -= used
    body.pointee.isComplete = body.pointee.remaining == 0
    return used
  }

  private mutating func receiveChunks(
    _ body: UnsafeMutablePointer<BodyState>, _ bytes: UnsafeRawPointer, _ count: Int
  ) throws(Problem) -> Int {
    var used = 0
    while used < count {
      let step = body.pointee.decoder.next(
        (bytes + used).assumingMemoryBound(to: UInt8.self), count - used)
      if step.dataCount > 0 { try store(body, bytes + used + step.dataOffset, step.dataCount) }
      used += step.consumed
      switch step.state {
      case .done:
        body.pointee.isComplete = true
        return used
      case .failed(let violation):
        metrics.count(.badRequests)
        throw Problem(violation)
      case .needMore, .data:
        if step.consumed == 0 { return used }
      }
    }
    return used
  }

  /// Puts body bytes where they belong, into the log's extent or into memory of their own, unless the reactor did.
  private mutating func store(
    _ body: UnsafeMutablePointer<BodyState>, _ bytes: UnsafeRawPointer, _ count: Int
  ) throws(Problem) {
    guard count > 0 else { return }
    body.pointee.received += count
    if body.pointee.received > body.pointee.limit {
      throw body.pointee.staged == nil ? .bodyTooLarge : .valueTooLarge
    }
    if body.pointee.staged != nil {
      do {
        while body.pointee.staged!.capacity - body.pointee.staged!.filled < count {
          try store.grow(&body.pointee.staged!, time: wall)
        }
      } catch {
        throw Problem(error)
      }
      body.pointee.staged!.take(bytes, count)
    } else {
      guard collectedBytes + count <= limits.collectedBytes else { throw .overloaded }
      collectedBytes += count
      body.pointee.collected.append(bytes, count)
    }
  }

  private mutating func completeBody(
    _ connection: UnsafeMutablePointer<Connection>, _ body: UnsafeMutablePointer<BodyState>
  ) {
    connection.pointee.body = nil
    runBatch()  // requests of other connections may have filled it
    enter(connection, .idle)
    head.pointee = body.pointee.head
    let bytes = UnsafePointer(body.pointee.headBytes.assumingMemoryBound(to: UInt8.self))
    if let staged = body.pointee.staged, staged.value.count >= limits.stagedBody {
      body.pointee.staged = nil  // the request's now
      let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
      withUnsafePointer(to: staged) {
        dispatch(connection, head, bytes, nothing, staged: $0, started: body.pointee.started)
      }
    } else {
      // A value that turned out to be small is copied into an ordinary segment; an extent of its own would waste a
      // page.
      let collected = UnsafeRawBufferPointer(start: body.pointee.collected.bytes, count: body.pointee.collected.count)
      let value = body.pointee.staged?.value ?? collected
      dispatch(connection, head, bytes, value, staged: nil, started: body.pointee.started)
    }
    runBatch()
    free(body, of: connection)
  }

  /// Gives up a body that will not be completed.
  mutating func abandonBody(_ connection: UnsafeMutablePointer<Connection>) {
    guard let body = connection.pointee.body else { return }
    connection.pointee.body = nil
    free(body, of: connection)
  }

  private mutating func free(
    _ body: UnsafeMutablePointer<BodyState>, of connection: UnsafeMutablePointer<Connection>
  ) {
    collectedBytes -= body.pointee.collected.count
    body.pointee.collected.removeAll()
    if let staged = body.pointee.staged { discard(staged, of: connection) }
    body.pointee.headBytes.deallocate()
    body.deinitialize(count: 1)
    body.deallocate()
  }

  private mutating func writeContinue(_ connection: UnsafeMutablePointer<Connection>) {
    let line: StaticString = "HTTP/1.1 100 Continue\r\n\r\n"
    let chunk = reserve(connection, line.utf8CodeUnitCount)
    (chunk.bytes + Int(chunk.pointee.count)).copyMemory(from: line.utf8Start, byteCount: line.utf8CodeUnitCount)
    advance(connection, chunk, line.utf8CodeUnitCount)
  }

  // MARK: Planning

  /// Where a body goes and how long it may be.
  private struct BodyPlan {
    var staged: StagedValue?
    var limit: Int
  }

  private mutating func planBody(_ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>) throws(Problem)
    -> BodyPlan
  {
    let path = UnsafeRawBufferPointer(start: bytes + Int(head.pointee.path.offset), count: Int(head.pointee.path.count))
    switch Resource.route(path) {
    case .key(let map, let key):
      let operation = operations  // the batch is empty, so its first slot is free to try the request out
      try prepare(head, bytes, map: map, key: key, into: operation)
      let limit = operation.pointee.kind == .put ? limits.value : limits.editedValue
      if head.pointee.contentLength > limit { throw operation.pointee.kind == .put ? .valueTooLarge : .editTooLarge }
      guard operation.pointee.kind == .put, head.pointee.chunked || head.pointee.contentLength >= limits.stagedBody
      else {
        return BodyPlan(staged: nil, limit: limit)
      }
      do {
        let staged = try store.stage(
          operation.pointee.key, valueCapacity: head.pointee.chunked ? limits.stagedBody : head.pointee.contentLength,
          contentType: operation.pointee.contentType, time: wall)
        return BodyPlan(staged: staged, limit: limit)
      } catch {
        throw Problem(error)
      }
    case .batch:
      if head.pointee.contentLength > limits.batchBody { throw .bodyTooLarge }
      return BodyPlan(staged: nil, limit: limits.batchBody)
    default:
      let limit = 64 << 10
      if head.pointee.contentLength > limit { throw .bodyTooLarge }
      return BodyPlan(staged: nil, limit: limit)
    }
  }
}
