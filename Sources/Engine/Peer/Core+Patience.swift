import Wire

// Operations that can't be executed for a moment: their partition is in a failover or is being handed over, or the
// link to its owner isn't up yet. Instead of a refusal that the client would have to repeat, they wait here, surely not
// executed, until there is an owner who takes them or their time is over.
//
// Those of one partition stay in their order: as long as one waits, later ones join it. What waits is bounded by
// `limits.heldOperations` and `limits.linkBytes`, long values, which stay in the extents that they were received into,
// by `limits.collectedBytes`; beyond, the refusal is the answer, as before.

/// An operation that waits for an owner who takes it.
struct HeldOperation {
  /// Who waits.
  let token: WaitToken
  let partition: PartitionID
  /// Another node sent it on: it isn't sent on again.
  let isForwarded: Bool
  /// This node sent it on once, to one that isn't the owner: it does so once more at most.
  let isRetry: Bool
  /// The operation as in a REQUEST, without its value if that is beside.
  let bytes: UnsafeMutableRawBufferPointer
  var value = Value.inBytes
  /// It isn't tried before the topology has this version.
  var version: UInt64 = 0

  /// Where an operation's value is.
  enum Value {
    case inBytes
    case staged(StagedValue)
    case block(UnsafeMutableRawBufferPointer)
  }

  /// Bytes of a value that is beside.
  var valueCount: Int {
    switch value {
    case .inBytes: 0
    case .staged(let staged): staged.value.count
    case .block(let block): block.count
    }
  }

  /// Frees its memory, but for a staged value's extent.
  func deallocate() {
    bytes.deallocate()
    if case .block(let block) = value { block.deallocate() }
  }
}

/// All operations of a core that wait for owners, oldest first.
struct HeldOperations {
  private(set) var all: [HeldOperation] = []
  /// The partitions of which some wait; each operation that comes meanwhile asks for its own.
  private var partitions: Set<PartitionID> = []
  /// Their bytes.
  private(set) var bytes = 0
  /// When they are tried again even if no topology comes (monotonic nanoseconds).
  var nextTry = UInt64.max

  /// Nanoseconds between two attempts: what a link needs to come up on a local network.
  static var interval: UInt64 { 5_000_000 }

  var isEmpty: Bool { all.isEmpty }

  /// Whether one of this partition waits.
  func has(_ partition: PartitionID) -> Bool { partitions.contains(partition) }

  /// One more, the last of its partition.
  mutating func append(_ operation: HeldOperation) {
    all.append(operation)
    partitions.insert(operation.partition)
    bytes += operation.bytes.count
  }

  /// All of them, which wait no longer.
  mutating func takeAll() -> [HeldOperation] {
    defer { self = HeldOperations() }
    return all
  }
}

extension Core {
  /// Whether an operation of which this would be the outcome waits instead.
  func mayHold(_ outcome: Outcome, _ operation: UnsafePointer<Operation>) -> Bool {
    guard outcome.status == 503, outcome.problem.passes, !isShuttingDown, standing.hasLease else { return false }
    guard operation.pointee.kind != .list, held.all.count < limits.heldOperations,
      waiting.count < limits.waitingAnswers
    else { return false }
    if let staged = operation.pointee.staged {
      return collectedBytes + staged.value.count <= limits.collectedBytes
    }
    return held.bytes + operation.pointee.body.count + operation.pointee.key.keyCount <= limits.linkBytes
  }

  /// Keeps an operation that `mayHold`, until it can be executed or its time is over.
  mutating func hold(_ outcome: Outcome, _ operation: UnsafePointer<Operation>, _ target: AnswerTarget) {
    metrics.count(.held)
    let token = waiting.add(
      target, .owner, operation.pointee.kind, operation.pointee.key.partition, deadline: deadline(of: operation),
      now: monotonicMilliseconds, outcome: outcome)
    let kind = operation.pointee.kind.frameOperation
    let key = operation.pointee.key
    let name = UnsafeRawBufferPointer(start: key.key, count: key.keyCount)
    let map = UnsafeRawBufferPointer(start: key.map, count: key.mapCount)
    let terms = terms(of: operation)
    var delta = operation.pointee.hasOptions ? operation.pointee.options.delta.littleEndian : 1
    let bytes = withUnsafeBytes(of: &delta) { number in
      let body = operation.pointee.kind == .increment ? number : operation.pointee.body
      let room = RequestWriter.room(kind, map: map, key: name, value: body.count, terms: terms)
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 16)
      RequestWriter.write(kind, .reply, map: map, key: name, value: body, terms: terms, to: bytes.baseAddress!)
      return bytes
    }
    var waiter = HeldOperation(
      token: token, partition: key.partition, isForwarded: operation.pointee.isForwarded,
      isRetry: operation.pointee.isRetry, bytes: bytes)
    if let staged = operation.pointee.staged { waiter.value = .staged(staged) }
    collectedBytes += waiter.valueCount
    keep(waiter)
  }

  /// A long value that another node didn't execute is free again: it waits until it can be sent once more. Whether it
  /// does.
  mutating func hold(_ frame: UnsafeMutablePointer<LinkFrame>) -> Bool {
    guard let attempt = frame.pointee.again, let answer = waiting.find(attempt.token) else { return false }
    let count = frame.pointee.valueCount
    guard held.all.count < limits.heldOperations, collectedBytes + count <= limits.collectedBytes else {
      self.answer(attempt.token, Outcome(.ownerMoved))
      return false
    }
    let head = UnsafeRawBufferPointer(
      start: frame.pointee.base + FrameLayout.headCount, count: frame.pointee.end - FrameLayout.headCount)
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: head.count, alignment: 16)
    bytes.copyMemory(from: head)
    var waiter = HeldOperation(
      token: attempt.token, partition: answer.pointee.partition, isForwarded: false, isRetry: true, bytes: bytes)
    waiter.version = attempt.version
    if let staged = frame.pointee.staged {
      waiter.value = .staged(staged)
    } else {
      waiter.value = .block(UnsafeMutableRawBufferPointer(start: frame.pointee.block, count: count))
    }
    frame.pointee.staged = nil
    frame.pointee.block = nil
    metrics.count(.held)
    waiting.change(attempt.token, .owner, Outcome(.ownerMoved))
    collectedBytes += count
    keep(waiter)
    return true
  }

  /// Keeps an operation on, or again; it becomes the last one of its partition.
  mutating func keep(_ operation: HeldOperation) {
    held.append(operation)
    held.nextTry = min(held.nextTry, monotonic + HeldOperations.interval)
  }

  /// Tries those that wait, when a moment has passed; at the end of a turn, when the batch is empty.
  mutating func retryHeld() {
    guard monotonic >= held.nextTry else { return }
    for operation in held.takeAll() {
      collectedBytes -= operation.valueCount
      if retry(operation) {
        collectedBytes += operation.valueCount
      } else {
        operation.deallocate()
      }
    }
  }

  /// Tries one; whether it is kept.
  private mutating func retry(_ waiter: HeldOperation) -> Bool {
    // Its time was over, or its client is gone.
    guard waiting.find(waiter.token) != nil else { return drop(waiter) }
    if routes.version < waiter.version {
      keep(waiter)
      return true
    }
    let operation = frames.operations
    defer { scratch.reset() }
    do {
      try read(waiter.bytes, value: waiter.value, into: operation)
    } catch {
      answer(waiter.token, Outcome(error))
      return drop(waiter)
    }
    operation.pointee.isForwarded = waiter.isForwarded
    operation.pointee.isRetry = waiter.isRetry
    let place = Place(rawValue: place(of: operation))
    if place.rawValue < 0 {
      guard let refusal = refusal(place, operation) else {
        relay(held: operation, waiter.token, over: place.link!)
        return false
      }
      return settle(refusal, waiter)
    }
    if place.rawValue == index, isReplicated, operation.pointee.kind.isWrite,
      let problem = problem(of: operation), problem.passes
    {
      return settle(Outcome(problem), waiter)
    }
    runHere(operation, waiter.token, core: place.rawValue)
    return false
  }

  /// Lets go of the value of one that isn't executed.
  private mutating func drop(_ waiter: HeldOperation) -> Bool {
    if case .staged(let staged) = waiter.value { discard(staged) }
    return false
  }

  /// Keeps an operation that still can't be executed, unless it never can.
  private mutating func settle(_ refusal: Outcome, _ waiter: HeldOperation) -> Bool {
    guard refusal.problem.passes, standing.hasLease, !isShuttingDown else {
      answer(waiter.token, refusal)
      return drop(waiter)
    }
    keep(waiter)
    return true
  }
}
