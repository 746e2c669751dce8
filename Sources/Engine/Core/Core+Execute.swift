import Wire

// One operation on one key, executed by the core that owns its partition: the only place where keys are read or
// written.
extension Core {
  /// Executes the operation now. The outcome's value is valid until the next operation or maintenance of this core.
  mutating func execute(_ operation: UnsafePointer<Operation>) -> Outcome {
    if isReplicated && !operation.pointee.kind.isWrite { return executeLabelled(operation) }
    return executeHere(operation)
  }

  /// A read of a node that isn't alone.
  @inline(never)
  private mutating func executeLabelled(_ operation: UnsafePointer<Operation>) -> Outcome {
    let key = operation.pointee.key
    if key.isCached, let problem = cacheRefusal(key.partition) { return Outcome(problem) }
    var outcome = executeHere(operation)
    outcome.staleness = staleness(of: key.partition)
    guard key.isCached else { return outcome }
    // A copy isn't in a log.
    if !owns(key.partition) { outcome.isInLog = false }
    if operation.pointee.isForwarded && operation.pointee.kind == .get && outcome.status == 200 {
      grant(key.partition, to: operation.pointee.source)
    }
    return outcome
  }

  @inline(__always)
  private mutating func executeHere(_ operation: UnsafePointer<Operation>) -> Outcome {
    if operation.pointee.kind.isWrite && !mayWrite(operation.pointee.key.partition) { return refuseWrite(operation) }
    if operation.pointee.hasOptions { return executeWithOptions(operation) }
    switch operation.pointee.kind {
    case .get: return executeGet(operation)
    case .put: return executePut(operation)
    default: return executeRare(operation, expiry: 0)
    }
  }

  @inline(__always)
  private mutating func executeGet(_ operation: UnsafePointer<Operation>) -> Outcome {
    guard let record = lookUp(operation.pointee.key) else { return Outcome(.notFound) }
    return found(record, operation.pointee.key.partition)
  }

  /// The outcome that shows a record's value.
  @inline(__always)
  func found(_ record: RecordView, _ partition: PartitionID) -> Outcome {
    var outcome = Outcome(status: 200)
    outcome.hasRevision = true
    outcome.isInLog = true
    outcome.revision = record.revision(in: partition)
    outcome.contentType = record.contentType
    outcome.value = record.value
    let expiry = record.expiry
    if expiry != 0 { outcome.timeToLive = expiry &- wall }
    return outcome
  }

  @inline(__always)
  private mutating func executePut(_ operation: UnsafePointer<Operation>) -> Outcome {
    let expiry = maps.isEmpty ? 0 : maps.expiry(of: operation.pointee.key, now: wall)
    return put(operation, operation.pointee.body, expiry: expiry)
  }

  /// Stores `value` under the operation's key and content type.
  @inline(__always)
  private mutating func put(
    _ operation: UnsafePointer<Operation>, _ value: UnsafeRawBufferPointer, expiry: UInt64
  ) -> Outcome {
    do {
      if let staged = operation.pointee.staged { return try commit(staged, operation, expiry: expiry) }
      let stored = try store.put(
        operation.pointee.key, value, contentType: operation.pointee.contentType, expiry: expiry, time: wall)
      return written(stored, operation.pointee.key.partition)
    } catch {
      return Outcome(Problem(error))
    }
  }

  /// Stores a value that was received straight into an extent of a log; if that fails the extent is given back.
  @inline(never)
  private mutating func commit(
    _ staged: StagedValue, _ operation: UnsafePointer<Operation>, expiry: UInt64
  ) throws(StoreError) -> Outcome {
    do {
      let stored = try store.commit(staged, expiry: expiry, time: wall)
      return written(stored, operation.pointee.key.partition)
    } catch {
      discard(staged)
      throw error
    }
  }

  @inline(__always)
  private func written(_ stored: PutResult, _ partition: PartitionID) -> Outcome {
    Outcome(stored: stored.existed ? 200 : 201, stored.revision(in: partition))
  }

  // MARK: With options

  @inline(never)
  private mutating func executeWithOptions(_ operation: UnsafePointer<Operation>) -> Outcome {
    let options = operation.pointee.options
    let partition = operation.pointee.key.partition
    if !isReplicated && operation.pointee.kind.isWrite && options.concern.nodes(copies: 1) > 1 {
      return discardStaged(operation, Outcome(.concernUnreachable))
    }
    if options.hasMinRevision, !forgetsRevision, let problem = check(options.minRevision, partition) {
      return discardStaged(operation, Outcome(problem))
    }
    let isRepeatable = options.idempotencyKey.count > 0 && operation.pointee.kind.isWrite
    if isRepeatable,
      let first = dedup.find(options.idempotencyKey, partition, fingerprint: options.fingerprint, now: wall),
      stillHas(first.outcome)
    {
      var outcome = first.outcome
      outcome.value = scratch.copy(first.value)
      return discardStaged(operation, outcome)
    }
    let outcome = executeChecked(operation)
    if isRepeatable && outcome.status < 500 {
      dedup.remember(
        options.idempotencyKey, partition, fingerprint: options.fingerprint, outcome, now: wall, limits: limits)
      if desk.parts != nil { replicate(resultOf: options, partition, outcome) }
    }
    return outcome
  }

  /// Preconditions (RFC 9110 section 13), then the operation.
  private mutating func executeChecked(_ operation: UnsafePointer<Operation>) -> Outcome {
    let options = operation.pointee.options
    let isRead = !operation.pointee.kind.isWrite
    let current: RecordView? = lookUp(operation.pointee.key)
    let revision = current?.revision(in: operation.pointee.key.partition)
    if options.ifMatch.count > 0 {
      guard let matches = EntityTagCondition.matches(options.ifMatch, current: revision, weak: false) else {
        return discardStaged(operation, Outcome(.badEntityTags))
      }
      if !matches { return discardStaged(operation, Outcome(.preconditionFailed)) }
    }
    if options.ifNoneMatch.count > 0 {
      guard let matches = EntityTagCondition.matches(options.ifNoneMatch, current: revision, weak: true) else {
        return discardStaged(operation, Outcome(.badEntityTags))
      }
      if matches && !isRead { return discardStaged(operation, Outcome(.preconditionFailed)) }
      if matches, let current {
        var outcome = found(current, operation.pointee.key.partition)
        outcome.status = 304
        outcome.value = UnsafeRawBufferPointer(start: nil, count: 0)
        return outcome
      }
    }
    var expiry = UInt64(0)
    if options.timeToLive > 0 {
      expiry = wall &+ options.timeToLive
      #if DEBUG
        if configuration.mutation == .neverExpires { expiry = wall &+ 10 * options.timeToLive }
        if configuration.mutation == .expiresEarly { expiry = wall &+ max(options.timeToLive / 10, 1) }
      #endif
    } else if operation.pointee.kind == .put {
      expiry = maps.isEmpty ? 0 : maps.expiry(of: operation.pointee.key, now: wall)
    }
    switch operation.pointee.kind {
    case .get: return executeGet(operation)
    case .put: return put(operation, operation.pointee.body, expiry: expiry)
    default: return executeRare(operation, expiry: expiry)
    }
  }

  private func check(_ wanted: Revision, _ partition: PartitionID) -> Problem? {
    if wanted.partition != partition { return .revisionOfOtherPartition }
    return hasReached(wanted) ? nil : .revisionNotReached
  }

  /// A write that doesn't happen gives its staged value back.
  private mutating func discardStaged(_ operation: UnsafePointer<Operation>, _ outcome: Outcome) -> Outcome {
    if let staged = operation.pointee.staged { discard(staged) }
    return outcome
  }

  // MARK: The other operations

  @inline(never)
  private mutating func executeRare(_ operation: UnsafePointer<Operation>, expiry: UInt64) -> Outcome {
    let key = operation.pointee.key
    switch operation.pointee.kind {
    case .get, .put: preconditionFailure("handled by its own path")
    case .delete:
      if key.isCached, lookUp(key) == nil { return Outcome(.notFound) }
      let revision: Revision?
      do {
        revision = try store.remove(key, time: wall)
      } catch {
        return Outcome(Problem(error))
      }
      guard let revision else { return Outcome(.notFound) }
      var outcome = Outcome(status: 204)
      outcome.hasRevision = true
      outcome.revision = revision
      return outcome
    case .increment: return increment(operation, expiry: expiry)
    case .append: return append(operation, expiry: expiry)
    case .pointerGet: return pointerGet(operation)
    case .list: return list(operation)
    case .lost: return lost(operation)
    case .pointerSet, .pointerRemove, .mergePatch, .jsonPatch: return edit(operation, expiry: expiry)
    }
  }

  /// Adds `delta` to a decimal counter; a missing key counts as 0.
  private mutating func increment(_ operation: UnsafePointer<Operation>, expiry: UInt64) -> Outcome {
    let record = lookUp(operation.pointee.key)
    var number = Int64(0)
    if let record {
      guard let stored = Text.parseSigned(record.value) else { return Outcome(.notANumber) }
      number = stored
    }
    let (sum, overflow) = number.addingReportingOverflow(operation.pointee.options.delta)
    if overflow { return Outcome(.counterOverflow) }
    let text = scratch.take(24).assumingMemoryBound(to: UInt8.self)
    let value = UnsafeRawBufferPointer(start: text, count: Text.writeSigned(sum, to: text))
    var outcome = replace(
      operation, record, value, contentType: RecordContentType(code: ContentType.plainText), expiry: expiry)
    if outcome.status < 300 {
      outcome.value = value
      outcome.contentType = RecordContentType(code: ContentType.plainText)
    }
    return outcome
  }

  /// Puts the body behind the stored value; a missing key counts as empty.
  private mutating func append(_ operation: UnsafePointer<Operation>, expiry: UInt64) -> Outcome {
    let record = lookUp(operation.pointee.key)
    let old = record?.value ?? UnsafeRawBufferPointer(start: nil, count: 0)
    guard old.count + operation.pointee.body.count <= limits.editedValue else { return Outcome(.editTooLarge) }
    do {
      let stored = try store.put(
        operation.pointee.key, old, operation.pointee.body,
        contentType: record?.contentType ?? operation.pointee.contentType,
        expiry: expiry != 0 ? expiry : record?.expiry ?? 0, time: wall)
      return written(stored, operation.pointee.key.partition)
    } catch {
      return Outcome(Problem(error))
    }
  }

  /// Stores a value made from the old one: content type and expiry stay unless the request says otherwise.
  mutating func replace(
    _ operation: UnsafePointer<Operation>, _ record: RecordView?, _ value: UnsafeRawBufferPointer,
    contentType: RecordContentType, expiry: UInt64
  ) -> Outcome {
    do {
      let stored = try store.put(
        operation.pointee.key, value, contentType: record?.contentType ?? contentType,
        expiry: expiry != 0 ? expiry : record?.expiry ?? 0, time: wall)
      return written(stored, operation.pointee.key.partition)
    } catch {
      return Outcome(Problem(error))
    }
  }
}
