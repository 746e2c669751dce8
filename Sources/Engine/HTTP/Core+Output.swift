import Wire

// From answers to sends.
extension Core {
  /// The connection has something to flush when the turn ends.
  @inline(__always)
  mutating func markDirty(_ connection: UnsafeMutablePointer<Connection>) {
    if !connection.pointee.isDirty {
      connection.pointee.isDirty = true
      dirty.append(connection.pointee.id.index)
    }
  }

  /// Room for `count` bytes of an answer at the end of the output; `count` must fit a chunk.
  @inline(__always)
  mutating func reserve(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) -> UnsafeMutablePointer<Chunk> {
    if let last = connection.pointee.output.last, !last.pointee.isGap, last.pointee.tail == nil, last.room >= count {
      return last
    }
    let chunk = chunks.take()
    connection.pointee.output.append(chunk)
    return chunk
  }

  /// Notes `count` bytes written behind the chunk's bytes.
  @inline(__always)
  mutating func advance(
    _ connection: UnsafeMutablePointer<Connection>, _ chunk: UnsafeMutablePointer<Chunk>, _ count: Int
  ) {
    chunk.pointee.count &+= Int32(truncatingIfNeeded: count)
    connection.pointee.output.unsent &+= count
    markDirty(connection)
  }

  /// Flushes every connection that has something new, once per turn.
  mutating func flushDirty() {
    assert(frames.reply == nil, "a REPLY isn't sealed")
    var position = 0
    while position < dirty.count {
      let connection = connections + Int(dirty[position])
      connection.pointee.isDirty = false
      if connection.pointee.state == .open { flush(connection) }
      position += 1
    }
    dirty.removeAll(keepingCapacity: true)
  }

  /// Hands the next chunk to the reactor, if none is in flight and the first isn't a gap; after the last answer, ends.
  mutating func flush(_ connection: UnsafeMutablePointer<Connection>) {
    guard connection.pointee.output.inFlight == nil else { return }
    guard let first = connection.pointee.output.first else { return finishIfLast(connection) }
    guard !first.pointee.isGap else { return }
    mergeChunks(connection, first)
    let chunk = connection.pointee.output.removeFirst()
    connection.pointee.output.inFlight = chunk
    let count = Int(chunk.pointee.count)
    connection.pointee.output.unsent &-= count &+ chunk.pointee.tailCount
    metrics.count(.sentBytes, count &+ chunk.pointee.tailCount)
    schedule(monotonicMilliseconds + UInt64(limits.sendTimeout))
    connection.pointee.sendStart = monotonicMilliseconds
    if let tail = chunk.pointee.tail {
      let piece = min(chunk.pointee.tailCount, Chunk.tailPiece)
      chunk.pointee.tailSent = piece
      effects.append(
        .sendPair(connection.pointee.id, UnsafeRawPointer(chunk.bytes), count: count, tail, tailCount: piece))
    } else {
      effects.append(.send(connection.pointee.id, UnsafeRawPointer(chunk.bytes), count: count))
      #if DEBUG
        if configuration.mutation == .sendsTwice { effects.append(effects[effects.count - 1]) }
      #endif
    }
  }

  /// Answers that were made one by one (behind gaps) leave in one send where they fit one page.
  @inline(__always)
  private mutating func mergeChunks(
    _ connection: UnsafeMutablePointer<Connection>, _ first: UnsafeMutablePointer<Chunk>
  ) {
    while first.pointee.tail == nil, let next = first.pointee.next, !next.pointee.isGap,
      first.room >= Int(next.pointee.count)
    {
      (first.bytes + Int(first.pointee.count)).copyMemory(from: next.bytes, byteCount: Int(next.pointee.count))
      first.pointee.count &+= next.pointee.count
      first.pointee.tail = next.pointee.tail
      first.pointee.tailCount = next.pointee.tailCount
      first.pointee.pin = next.pointee.pin
      first.pointee.frame = next.pointee.frame
      first.pointee.next = next.pointee.next
      if connection.pointee.output.last == next { connection.pointee.output.last = first }
      chunks.give(next)
    }
  }

  /// The reactor has delivered the connection's send to the kernel, whole.
  package mutating func sent(_ id: ConnectionID) {
    guard let connection = connection(id), let chunk = connection.pointee.output.inFlight else { return }
    connection.pointee.activity = monotonicMilliseconds
    if chunk.pointee.tailSent < chunk.pointee.tailCount && connection.pointee.state == .open {
      return sendTail(connection, chunk)
    }
    connection.pointee.output.inFlight = nil
    release(chunk)
    guard connection.pointee.state == .open else { return }
    unblock(connection)
    let isEnding = connection.pointee.isLast || connection.pointee.hasEnded || isShuttingDown
    if connection.pointee.output.first != nil || isEnding {
      markDirty(connection)
    }
  }

  /// Hands the next piece of a large value to the reactor.
  private mutating func sendTail(
    _ connection: UnsafeMutablePointer<Connection>, _ chunk: UnsafeMutablePointer<Chunk>
  ) {
    let piece = min(chunk.pointee.tailCount - chunk.pointee.tailSent, Chunk.tailPiece)
    connection.pointee.sendStart = monotonicMilliseconds
    schedule(monotonicMilliseconds + UInt64(limits.sendTimeout))
    effects.append(.send(connection.pointee.id, chunk.pointee.tail! + chunk.pointee.tailSent, count: piece))
    chunk.pointee.tailSent += piece
  }

  /// Frees a chunk and what it pins.
  mutating func release(_ chunk: UnsafeMutablePointer<Chunk>) {
    switch chunk.pointee.pin.kind {
    case .none: break
    case .segment: unpin(chunk.pointee.pin)
    case .heap: chunk.pointee.tail?.deallocate()
    case .page: frames.takePage(chunk.pointee.tail)
    case .frameRest: frames.takePage(chunk.pointee.tail.map { $0 - FrameLayout.headCount })
    case .counted:
      collectedBytes -= chunk.pointee.tailCount
      chunk.pointee.tail?.deallocate()
    case .frame: drop(chunk.pointee.frame!)
    }
    chunks.give(chunk)
  }

  /// Lets go of a slice of a log, here or on the core that owns it.
  mutating func unpin(_ pin: Pin) {
    if Int(pin.core) == index {
      store.unpin(pin.segment)
    } else {
      outboxes[Int(pin.core)].post(.unpin, pin.segment)
    }
  }

  /// Lets go of a value that isn't sent.
  @inline(__always)
  mutating func letGo(_ pin: Pin, _ outcome: Outcome) {
    switch pin.kind {
    case .none: break
    case .segment: unpin(pin)
    case .heap: outcome.value.baseAddress?.deallocate()
    case .counted:
      collectedBytes -= outcome.value.count
      outcome.value.baseAddress?.deallocate()
    case .page, .frame, .frameRest: preconditionFailure("pages and frames are no outcome's value")
    }
  }

  /// Frees all output of a connection that is gone.
  mutating func releaseOutput(_ connection: UnsafeMutablePointer<Connection>) {
    if let chunk = connection.pointee.output.inFlight { release(chunk) }
    while let chunk = connection.pointee.output.first {
      if chunk.pointee.isGap && !gapRequests.isEmpty { gapRequests[chunk] = nil }
      release(connection.pointee.output.removeFirst())
    }
    connection.pointee.output = Output()
  }

  /// Behind the last answer: tells the client that nothing more comes, and drains what it still sends for a while,
  /// since closing with unread input would reset the connection and could destroy the answer (RFC 9112 section 9.6).
  private mutating func finishIfLast(_ connection: UnsafeMutablePointer<Connection>) {
    let isIdle = connection.pointee.body == nil && connection.pointee.input.isEmpty
    if let peer = connection.pointee.peer, !connection.pointee.isLast, !connection.pointee.hasEnded {
      // Answers may still come over a link; others are told the last request that was executed.
      if isShuttingDown && peer.pointee.link < 0 { leave(connection) }
      return
    }
    let isLast =
      connection.pointee.isLast
      || (!connection.pointee.isBlocked && (connection.pointee.hasEnded || (closesIdle && isIdle)))
    guard isLast, connection.pointee.output.gaps == 0 else { return }
    if connection.pointee.hasEnded { return close(connection) }
    abandonBody(connection)
    connection.pointee.state = .draining
    connection.pointee.phaseStart = monotonicMilliseconds
    connection.pointee.input.removeAll()
    if connection.pointee.isPaused {
      connection.pointee.isPaused = false
      effects.append(.resume(connection.pointee.id))
    }
    effects.append(.shutdownWrite(connection.pointee.id))
    schedule(monotonicMilliseconds + UInt64(limits.lingerTimeout))
  }
}
