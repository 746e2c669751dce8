import Wire

/// A parsed request in the batch: who asked, and how to write the answer. The operation lies beside it.
struct BatchEntry {
  var connection: UnsafeMutablePointer<Connection>
  var route: Route
  var isHead: Bool
  var keepAlive: Bool
  var isHTTP10: Bool
  /// A GET or PUT of this core's with nothing unusual asked of operation or answer: see `Core.runPlain`.
  var isPlain = false
  var method: HTTPMethod
  /// The core that owns the key's partition.
  var core: Int32
  /// Monotonic nanoseconds when the request's head came.
  var started: UInt64
  /// The path as the client wrote it; good as long as the request's bytes.
  var path: UnsafeRawBufferPointer
}

// From received bytes to the batch.
extension Core {
  /// Bytes came from a client; they stay unchanged until the turn ends.
  package mutating func receive(_ id: ConnectionID, _ bytes: UnsafeRawPointer, _ count: Int) {
    metrics.count(.receivedBytes, count)
    guard let connection = connection(id) else { return }
    endLoan(connection)
    guard connection.pointee.state == .open else { return }
    connection.pointee.activity = monotonicMilliseconds
    guard !connection.pointee.isLast else { return }  // what follows the last request is nobody's
    if connection.pointee.peer != nil {
      receiveFrames(connection, bytes, count)
    } else if connection.pointee.body == nil && connection.pointee.input.isEmpty && !connection.pointee.isBlocked {
      let used = take(connection, bytes.assumingMemoryBound(to: UInt8.self), count)
      if used < count && !connection.pointee.isLast { connection.pointee.input.append(bytes + used, count - used) }
    } else {
      receiveSlowly(connection, bytes, count)
    }
    boundInput(connection)
    if connection.pointee.phase == .body { askForLoan(connection) }
  }

  /// Goes on where an earlier turn stopped: in a body, or with bytes that were kept.
  @inline(never)
  private mutating func receiveSlowly(
    _ connection: UnsafeMutablePointer<Connection>, _ bytes: UnsafeRawPointer, _ count: Int
  ) {
    var used = 0
    if connection.pointee.body != nil && connection.pointee.input.isEmpty {
      used = receiveBody(connection, bytes, count)
      guard connection.pointee.state == .open, !connection.pointee.isLast else { return }
      if connection.pointee.body == nil && used < count && !connection.pointee.isBlocked {
        used += take(connection, bytes.assumingMemoryBound(to: UInt8.self) + used, count - used)
      }
    }
    guard used < count, !connection.pointee.isLast, connection.pointee.state == .open else { return }
    connection.pointee.input.append(bytes + used, count - used)
    takeFromInput(connection)
  }

  /// Parses what was kept, as far as it goes, and answers it at once: its bytes don't outlive this call.
  mutating func takeFromInput(_ connection: UnsafeMutablePointer<Connection>) {
    if connection.pointee.peer != nil { return takeKeptFrames(connection) }
    runBatch()
    while connection.pointee.state == .open, !connection.pointee.isLast, let bytes = connection.pointee.input.bytes {
      let count = connection.pointee.input.count
      let used =
        connection.pointee.body == nil
        ? take(connection, bytes.assumingMemoryBound(to: UInt8.self), count)
        : receiveBody(connection, bytes, count)
      runBatch()
      guard connection.pointee.state == .open else { return }
      connection.pointee.input.removeFirst(used)
      if used == 0 { break }
    }
    if connection.pointee.isLast { connection.pointee.input.removeAll() }
  }

  /// Parses complete requests from `bytes` into the batch and returns how many bytes they took. Stops at an incomplete
  /// head, at a bound, and at a body that isn't all there (which it starts to receive).
  private mutating func take(
    _ connection: UnsafeMutablePointer<Connection>, _ bytes: UnsafePointer<UInt8>, _ count: Int
  ) -> Int {
    var used = 0
    while used < count {
      if mustWait(connection) {
        block(connection)
        break
      }
      if batchCount == Core.batchCapacity { runBatch() }
      let taken = standing.gate == .open ? takePlain(connection, bytes + used, count &- used) : 0
      if taken > 0 {
        connection.pointee.templateMisses = 0
        used = used &+ taken
        continue
      }
      switch RequestParser.parse(bytes + used, count &- used, limit: limits.head, into: &head.pointee) {
      case .incomplete:
        if used > 0 { enter(connection, .idle) }  // another head than the one that was waited for
        enter(connection, .head)
        return used
      case .failed(let violation):
        runBatch()
        metrics.count(.badRequests)
        fail(connection, Problem(violation), route: .other)
        return count
      case .complete:
        break
      }
      if standing.gate != .open && mustWaitForCluster(head, bytes + used) {
        block(connection)
        break
      }
      learn(connection, head, bytes + used)
      let headCount = Int(head.pointee.headCount)
      let bodyCount = head.pointee.contentLength
      let rest = count &- used &- headCount
      if head.pointee.chunked || bodyCount > rest {
        used = used &+ headCount &+ beginBody(connection, head, bytes + used, rest)
        if connection.pointee.isLast { return count }
        if connection.pointee.body != nil { return used }
        continue
      }
      let body = UnsafeRawBufferPointer(start: bytes + (used &+ headCount), count: bodyCount)
      dispatch(connection, head, bytes + used, body, staged: nil, started: monotonic)
      used = used &+ headCount &+ bodyCount
      if connection.pointee.isLast { return count }
    }
    enter(connection, .idle)
    return used
  }

  /// Whether this connection has as many answers waiting as it may.
  @inline(__always)
  func mustWait(_ connection: UnsafeMutablePointer<Connection>) -> Bool {
    if connection.pointee.peer != nil { return mustWaitForCores(connection) }
    return Int(connection.pointee.output.gaps) >= limits.pipelinedRequests
      || connection.pointee.output.unsent >= limits.unsentBytes
  }

  /// Leaves the rest of the input for later, when answers have gone out.
  mutating func block(_ connection: UnsafeMutablePointer<Connection>) {
    guard !connection.pointee.isBlocked else { return }
    connection.pointee.isBlocked = true
    if !connection.pointee.isPaused {
      connection.pointee.isPaused = true
      effects.append(.pause(connection.pointee.id))
    }
  }

  /// An answer of a blocked connection went out or was made: it may go on at the end of this turn.
  @inline(__always)
  mutating func unblock(_ connection: UnsafeMutablePointer<Connection>) {
    if connection.pointee.isBlocked && !mustWait(connection) {
      connection.pointee.isBlocked = false
      blocked.append(connection.pointee.id.index)
    }
  }

  /// Parses on for the connections whose answers have gone out.
  mutating func resumeBlocked() {
    let ready = blocked
    blocked.removeAll(keepingCapacity: true)
    for index in ready {
      let connection = connections + Int(index)
      guard connection.pointee.state == .open, !connection.pointee.isBlocked else { continue }
      takeFromInput(connection)
      runBatch()
      if connection.pointee.hasEnded {
        markDirty(connection)
      } else if connection.pointee.state == .open && connection.pointee.isPaused && !connection.pointee.isBlocked {
        connection.pointee.isPaused = false
        effects.append(.resume(connection.pointee.id))
      }
    }
  }

  /// Input that can't be used yet is bounded: beyond it the client is made to wait.
  @inline(__always)
  private mutating func boundInput(_ connection: UnsafeMutablePointer<Connection>) {
    if connection.pointee.input.count > limits.head + (64 << 10), connection.pointee.isBlocked,
      !connection.pointee.isPaused
    {
      connection.pointee.isPaused = true
      effects.append(.pause(connection.pointee.id))
    }
  }

  /// Notes what the connection waits for and when that began.
  @inline(__always)
  mutating func enter(_ connection: UnsafeMutablePointer<Connection>, _ phase: Connection.Phase) {
    guard connection.pointee.phase != phase else { return }
    connection.pointee.phase = phase
    connection.pointee.phaseStart = monotonicMilliseconds
    switch phase {
    case .idle: schedule(monotonicMilliseconds + UInt64(limits.idleTimeout))
    case .head: schedule(monotonicMilliseconds + UInt64(limits.headTimeout))
    case .body: schedule(monotonicMilliseconds + UInt64(limits.bodyTimeout))
    }
  }
}
