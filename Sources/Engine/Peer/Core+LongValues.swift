import Wire

// Values that follow their frame: received straight into an extent of a log, committed when their record's checksum
// fits.
extension Core {
  /// Starts to receive the value behind a verified frame. A put that can't succeed is answered when its value has gone
  /// by, since the connection's other requests shall not suffer for it.
  mutating func beginLongValue(
    _ frame: FrameView, _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    runBatch()
    let record = OperationView(frame.base + FrameLayout.headCount).record
    let count = record.length - record.valueStart
    guard count <= limits.value else { return refuse(connection, .tooLong) }
    let copy = UnsafeMutableRawPointer.allocate(byteCount: frame.length, alignment: 16)
    copy.copyMemory(from: frame.base, byteCount: frame.length)
    let long = UnsafeMutablePointer<LongValue>.allocate(capacity: 1)
    long.initialize(to: LongValue(frame: copy, staged: nil, problem: nil, remaining: count, started: monotonic))
    do {
      let view = OperationView(copy + FrameLayout.headCount)
      if view.operation == .put {
        long.pointee.staged = try stage(view, count)
      } else {
        long.pointee.collected = try collect(view, count)
      }
    } catch {
      long.pointee.problem = error
    }
    peer.pointee.long = long
    if count == 0 { finishLongValue(connection, peer, long) }
  }

  private mutating func stage(_ view: OperationView, _ count: Int) throws(Problem) -> StagedValue {
    let operation = frames.operations  // the batch is empty, so its first slot is free to try the operation out
    try prepare(view, view.record, valueCount: 0, into: operation)
    guard view.idempotencyKey.count <= limits.idempotencyKey else { throw .idempotencyKeyTooLong }
    do {
      return try store.stage(
        operation.pointee.key, valueCapacity: count, contentType: operation.pointee.contentType, time: wall)
    } catch {
      throw Problem(error)
    }
  }

  /// Memory for a value that an edit reads.
  private mutating func collect(_ view: OperationView, _ count: Int) throws(Problem) -> UnsafeMutableRawPointer {
    try prepare(view, view.record, valueCount: 0, into: frames.operations)
    guard count <= limits.editedValue else { throw .editTooLarge }
    guard collectedBytes + count <= limits.collectedBytes else { throw .overloaded }
    collectedBytes += count
    return .allocate(byteCount: count, alignment: 16)
  }

  /// Takes bytes of the value and returns how many.
  mutating func receiveLongValue(
    _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>,
    _ bytes: UnsafeRawPointer, _ count: Int
  ) -> Int {
    let long = peer.pointee.long!
    let used = min(count, long.pointee.remaining)
    if long.pointee.staged != nil {
      long.pointee.staged!.take(bytes, used)
    } else if let collected = long.pointee.collected {
      (collected + long.pointee.filled).copyMemory(from: bytes, byteCount: used)
      long.pointee.filled += used
    }
    long.pointee.remaining -= used
    if long.pointee.remaining == 0 { finishLongValue(connection, peer, long) }
    return used
  }

  /// The value is whole: executes the put if the record's checksum fits.
  private mutating func finishLongValue(
    _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>,
    _ long: UnsafeMutablePointer<LongValue>
  ) {
    runBatch()  // operations of other connections may have filled it
    enter(connection, .idle)
    let frame = FrameView(long.pointee.frame)
    let view = OperationView(frame.base + FrameLayout.headCount)
    let record = view.record
    let collected = UnsafeRawBufferPointer(start: long.pointee.collected, count: long.pointee.filled)
    if long.pointee.problem == nil {
      let hash = long.pointee.staged?.valueHash ?? xxh3(collected.baseAddress, count: collected.count, seed: 0)
      guard record.checksum == RecordLayout.checksum(record.base, valueStart: record.valueStart, valueHash: hash)
      else { return refuse(connection, .badChecksum) }
    }
    let staged = long.pointee.staged
    long.pointee.staged = nil  // the operation's now
    let entry = FrameEntry(
      connection: connection, id: frame.id, index: 0, answer: view.answer, core: 0,
      operationsBefore: peer.pointee.operations)
    if long.pointee.problem == nil {
      add(staged, collected, view, entry, isForwarded: frame.isForwarded)
    } else {
      frames.operations.pointee.kind = OperationKind(view.operation)
      refuse(operation: frames.operations, entry, long.pointee.problem!)
    }
    runBatch()
    peer.pointee.hasAck = view.answer == .ack
    finishRequest(frame.id, operations: 1, connection, peer)
    abandonLongValue(connection, peer)
  }

  private mutating func add(
    _ staged: StagedValue?, _ collected: UnsafeRawBufferPointer, _ view: OperationView, _ entry: FrameEntry,
    isForwarded: Bool
  ) {
    let operation = frames.operations
    do {
      try prepare(view, view.record, valueCount: 0, into: operation)
      operation.pointee.isForwarded = isForwarded
      if isForwarded { operation.pointee.source = slot(of: entry.connection.pointee.peer!) }
      operation.pointee.staged = staged
      if staged == nil { operation.pointee.body = collected }
      if view.conditions != 0 || view.record.hasExpiry { try prepareTerms(view, view.record, operation) }
    } catch {
      if let staged { discard(staged) }
      return refuse(operation: operation, entry, error)
    }
    frames.entries.initialize(to: entry)
    frames.entries.pointee.core = Int32(truncatingIfNeeded: place(of: operation))
    frames.count = 1
  }

  /// Gives up a value that will not be stored, or the rest of one that was.
  mutating func abandonLongValue(
    _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    guard let long = peer.pointee.long else { return }
    peer.pointee.long = nil
    if let staged = long.pointee.staged { discard(staged, of: connection) }
    if let collected = long.pointee.collected {
      let record = OperationView(long.pointee.frame + FrameLayout.headCount).record
      collectedBytes -= record.length - record.valueStart
      collected.deallocate()
    }
    long.pointee.frame.deallocate()
    long.deinitialize(count: 1)
    long.deallocate()
  }
}
