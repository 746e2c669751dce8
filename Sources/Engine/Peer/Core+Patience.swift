import Wire

// Operations that can't be executed for a moment: their partition is in a failover or is being handed over, or the
// link to its owner isn't up yet. Instead of a refusal that the client would have to repeat, they wait here, surely not
// executed, until there is an owner who takes them or their time is over.
//
// Those of one partition stay in their order: as long as one waits, later ones join it. What waits is bounded by
// `limits.heldOperations` and `limits.linkBytes`; beyond, the refusal is the answer, as before.

/// An operation that waits for an owner who takes it.
struct HeldOperation {
  /// Who waits.
  let token: WaitToken
  let partition: PartitionID
  /// Another node sent it on: it isn't sent on again.
  let isForwarded: Bool
  /// This node sent it on once, to one that isn't the owner: it does so once more at most.
  let isRetry: Bool
  /// The operation as in a REQUEST.
  let bytes: UnsafeMutableRawBufferPointer
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
    guard operation.pointee.staged == nil, operation.pointee.kind != .list else { return false }
    let count = operation.pointee.body.count + operation.pointee.key.keyCount
    return operation.pointee.body.count <= limits.stagedBody && held.all.count < limits.heldOperations
      && held.bytes + count <= limits.linkBytes && waiting.count < limits.waitingAnswers
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
    keep(
      HeldOperation(
        token: token, partition: key.partition, isForwarded: operation.pointee.isForwarded, isRetry: false,
        bytes: bytes))
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
      if !retry(operation) { operation.bytes.deallocate() }
    }
  }

  /// Tries one; whether it is kept.
  private mutating func retry(_ waiter: HeldOperation) -> Bool {
    // Its time was over, or its client is gone.
    guard waiting.find(waiter.token) != nil else { return false }
    let operation = frames.operations
    defer { scratch.reset() }
    do {
      try read(waiter.bytes, into: operation)
    } catch {
      answer(waiter.token, Outcome(error))
      return false
    }
    operation.pointee.isForwarded = waiter.isForwarded
    let place = Place(rawValue: place(of: operation))
    if place.rawValue < 0 {
      guard let refusal = refusal(place, operation) else {
        relay(held: operation, waiter.token, over: place.link!, isRetry: waiter.isRetry)
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

  /// Keeps an operation that still can't be executed, unless it never can.
  private mutating func settle(_ refusal: Outcome, _ waiter: HeldOperation) -> Bool {
    guard refusal.problem.passes, standing.hasLease, !isShuttingDown else {
      answer(waiter.token, refusal)
      return false
    }
    keep(waiter)
    return true
  }
}
