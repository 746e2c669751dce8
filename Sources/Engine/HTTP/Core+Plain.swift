import Wire

// The short way of the plain GET and PUT, which nearly all requests are: from the store to the answer's bytes without
// an `Outcome` and a `ResponseHead` between them. Whatever is rarer goes the long way (`execute`, `answer`), which
// would give the same bytes for these too; a node that logs every request always goes that way.
extension Core {
  /// Executes and answers a request of the batch that is plain.
  @inline(__always)
  mutating func runPlain(
    _ connection: UnsafeMutablePointer<Connection>, _ operation: UnsafeMutablePointer<Operation>,
    _ request: UnsafeMutablePointer<BatchEntry>
  ) {
    if operation.pointee.kind == .get {
      guard let record = store.find(operation.pointee.key, now: wall), answerPlainly(connection, operation, record)
      else { return runAtLength(connection, operation, request) }
    } else {
      putPlainly(connection, operation, request)
    }
  }

  /// The long way of an operation of this core's.
  @inline(never)
  private mutating func runAtLength(
    _ connection: UnsafeMutablePointer<Connection>, _ operation: UnsafeMutablePointer<Operation>,
    _ request: UnsafeMutablePointer<BatchEntry>
  ) {
    answer(connection, request, execute(operation))
  }

  /// Answers with the record's value, unless its answer needs more than the usual fields or is sent from the log.
  @inline(__always)
  private mutating func answerPlainly(
    _ connection: UnsafeMutablePointer<Connection>, _ operation: UnsafePointer<Operation>, _ record: RecordView
  ) -> Bool {
    let value = record.value
    let contentType = record.contentTypeCode
    guard value.count <= limits.copiedValue, !record.hasExpiry, contentType != ContentType.literal else { return false }
    let chunk = reserve(connection, PlainHead.maximumCount &+ value.count)
    let start = chunk.bytes + Int(chunk.pointee.count)
    let written = PlainHead.writeFound(
      contentLength: value.count, contentType: contentType,
      revision: record.revision(in: operation.pointee.key.partition), date: date, to: start)
    (start + written).copyMemory(from: value.baseAddress.unsafelyUnwrapped, byteCount: value.count)
    advance(connection, chunk, written &+ value.count)
    metrics.answered(.get, 200)
    return true
  }

  @inline(__always)
  private mutating func putPlainly(
    _ connection: UnsafeMutablePointer<Connection>, _ operation: UnsafeMutablePointer<Operation>,
    _ request: UnsafeMutablePointer<BatchEntry>
  ) {
    guard mayWrite(operation.pointee.key.partition) else { return runAtLength(connection, operation, request) }
    let expiry = maps.isEmpty ? 0 : maps.expiry(of: operation.pointee.key, now: wall)
    do {
      let stored = try store.put(
        operation.pointee.key, operation.pointee.body, contentType: operation.pointee.contentType, expiry: expiry,
        time: wall)
      let chunk = reserve(connection, PlainHead.maximumCount)
      let written = PlainHead.writeStored(
        isNew: !stored.existed, revision: stored.record.revision(in: operation.pointee.key.partition), date: date,
        to: chunk.bytes + Int(chunk.pointee.count))
      advance(connection, chunk, written)
      metrics.answered(.put, stored.existed ? 200 : 201)
    } catch {
      answer(connection, request, Outcome(Problem(error)))
    }
  }
}
