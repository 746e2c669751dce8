import Wire

/// Whether what a read showed may be older than what was acknowledged when it was asked. The numbers are in frames.
enum Staleness: UInt8 {
  /// This node owned the partition, or the answer waited until that was certain.
  case none = 0
  /// Another node owns the partition: what is on its way to this one is missing.
  case replica = 1
  /// The node is cut off from a majority of its cluster: others may have gone on without it.
  case cutOff = 2

  /// The field of an HTTP answer.
  var field: StaticString? {
    switch self {
    case .none: nil
    case .replica: "Kvd-Stale: replica\r\n"
    case .cutOff: "Kvd-Stale: cut-off\r\n"
    }
  }

  /// The word for it.
  var word: StaticString { self == .cutOff ? "cut-off" : "replica" }
}

// How new a read is: `read` and `min-revision`.
//
//   local          what this node's copy has, labelled where that may be stale
//   committed      at the owner, what a majority has: an answer with a newer value waits until a majority has that
//   linearizable   the same, and it waits until a majority has said that it knows of no later owner (`Owner+Reads`)
//   min-revision   waits until the copy at hand has that revision
//
// An answer that waits keeps its value by a pin on the log's segment, so nothing is copied.
extension Core {
  /// Whether the answer to an operation may have to wait for other nodes; `isReplicated` holds.
  @inline(__always)
  func mayWait(_ operation: UnsafePointer<Operation>) -> Bool {
    operation.pointee.kind.isWrite || (operation.pointee.hasOptions && isDemanding(operation))
  }

  @inline(never)
  private func isDemanding(_ operation: UnsafePointer<Operation>) -> Bool {
    operation.pointee.options.readLevel != .local || operation.pointee.options.hasMinRevision
  }

  /// How stale a read of this partition may be that this core answers by itself.
  func staleness(of partition: PartitionID) -> Staleness {
    if !standing.hasLease { return .cutOff }
    return routes.table[Int(partition.rawValue)].owner == Routes.own ? .none : .replica
  }

  /// Reads, unless the level can't be had here.
  mutating func executeRead(_ operation: UnsafePointer<Operation>) -> Outcome {
    let options = operation.pointee.options
    if mustWaitForRevision(operation) { return Outcome(.revisionNotReached) }
    guard options.readLevel != .local else { return execute(operation) }
    let partition = operation.pointee.key.partition
    let part = part(partition)
    guard let owner = desk.parts![part].owner, owner.isActive else {
      if operation.pointee.isForwarded { return wrongOwner(partition) }
      guard options.readLevel == .committed else { return Outcome(.notConfirmable) }
      // The owner can't be asked; what this copy knows that a majority has is as good.
      let outcome = execute(operation)
      return seen(outcome, partition) <= desk.parts![part].replica.committed ? outcome : Outcome(.notKnownCommitted)
    }
    if options.readLevel == .linearizable {
      guard standing.hasLease else { return Outcome(.readOnlyRead) }
      guard owner.canConfirm else { return Outcome(.notConfirmable) }
    }
    var outcome = execute(operation)
    outcome.staleness = .none
    return outcome
  }

  /// What a majority must have before an answer may be given: the record that it shows, or if it shows that there is
  /// none, all that the log has.
  private func seen(_ outcome: Outcome, _ partition: PartitionID) -> Offset {
    outcome.hasRevision ? outcome.revision.offset : store.nextOffset(of: partition).previous
  }

  private func mustWaitForRevision(_ operation: UnsafePointer<Operation>) -> Bool {
    let options = operation.pointee.options
    guard options.hasMinRevision, options.minRevision.partition == operation.pointee.key.partition else { return false }
    return !forgetsRevision && !hasReached(options.minRevision)
  }

  /// A planted bug.
  @inline(__always)
  var forgetsRevision: Bool {
    #if DEBUG
      return configuration.mutation == .forgetsRevision
    #else
      return false
    #endif
  }

  /// Whether the outcome of a read has to wait.
  mutating func mustWait(_ outcome: Outcome, _ operation: UnsafePointer<Operation>) -> Bool {
    if mustWaitForRevision(operation) { return outcome.status == 503 }
    return !mayShow(outcome, operation)
  }

  private mutating func mayShow(_ outcome: Outcome, _ operation: UnsafePointer<Operation>) -> Bool {
    let level = operation.pointee.options.readLevel
    // A refusal for its form shows nothing of the key.
    guard level != .local, outcome.status < 400 || outcome.status == 404 else { return true }
    let partition = operation.pointee.key.partition
    let part = part(partition)
    let last = store.nextOffset(of: partition).previous
    desk.parts![part].appended(ifOwner: last)
    guard desk.parts![part].isOwner else { return true }
    let round = level == .linearizable ? desk.parts![part].owner!.beginRound() : 0
    return desk.parts![part].owner!.maySee(seen(outcome, partition), round: round, last: last)
  }

  /// Keeps the outcome of a read until it may be shown, or the operation until it can be executed.
  mutating func wait(_ outcome: Outcome, _ operation: UnsafePointer<Operation>, _ target: AnswerTarget) {
    let partition = operation.pointee.key.partition
    guard !mustWaitForRevision(operation) else { return waitForRevision(operation, target) }
    metrics.count(.readsParked)
    var outcome = outcome
    if target.reply.frame != 0 && operation.pointee.kind == .get { showRecord(&outcome, operation.pointee.key) }
    var pin = Pin.none
    if outcome.isInLog && outcome.value.baseAddress != nil {
      pin = Pin(kind: .segment, core: UInt16(index), segment: store.pin(outcome.value))
    }
    let part = part(partition)
    let isLinearizable = operation.pointee.options.readLevel == .linearizable
    let round = isLinearizable ? desk.parts![part].owner!.beginRound() : 0
    let token = waiting.add(
      target, .read, operation.pointee.kind, partition, deadline: deadline(of: operation), now: monotonicMilliseconds,
      outcome: outcome, pin: pin)
    let reader = Reader(token: token.rawValue, round: round, offset: seen(outcome, partition))
    desk.parts![part].owner!.readers.append(reader)
    desk.touch(part)
  }

  // MARK: min-revision

  private mutating func waitForRevision(_ operation: UnsafePointer<Operation>, _ target: AnswerTarget) {
    metrics.count(.readsParked)
    let token = waiting.add(
      target, .revision, operation.pointee.kind, operation.pointee.key.partition, deadline: deadline(of: operation),
      now: monotonicMilliseconds, outcome: Outcome(.revisionNotReached))
    deferredReads.append(
      DeferredRead(
        token: token, bytes: encoded(operation), revision: operation.pointee.options.minRevision,
        isForwarded: operation.pointee.isForwarded, isRetry: operation.pointee.isRetry))
  }

  /// Executes the reads whose revision is here now; once per turn.
  mutating func runDeferredReads() {
    let all = deferredReads
    deferredReads = []
    for read in all {
      if waiting.find(read.token) == nil {
        read.bytes.deallocate()
      } else if hasReached(read.revision) {
        run(read)
        read.bytes.deallocate()
      } else {
        deferredReads.append(read)
      }
    }
  }

  private mutating func run(_ read: DeferredRead) {
    guard let answer = waiting.remove(read.token) else { return }
    free(answer)
    let operation = frames.operations  // the batch is empty
    do {
      let view = OperationView(read.bytes.baseAddress!)
      try prepare(view, view.record, valueCount: 0, into: operation)
      try prepareTerms(view, view.record, operation)
    } catch {
      return deliver(answer.target, Outcome(error))
    }
    operation.pointee.isForwarded = read.isForwarded
    operation.pointee.isRetry = read.isRetry
    execute(operation, for: answer.target)
    scratch.reset()
  }
}

/// A read that is executed when this core's copy has a revision.
struct DeferredRead {
  var token: WaitToken
  /// The operation as in a REQUEST.
  var bytes: UnsafeMutableRawBufferPointer
  var revision: Revision
  var isForwarded: Bool
  var isRetry: Bool
}

extension Problem {
  static var readNotConfirmed: Problem {
    Problem(
      504, "The read could not be confirmed by a majority in time. Nothing was changed: try again, or use read=local.")
  }
  static var notConfirmable: Problem {
    Problem(
      503,
      """
      The read can't be confirmed now: too few copies of the key's partition can be reached, or it is changing its \
      owner. Try again shortly, or use read=local.
      """
    )
  }
  static var notKnownCommitted: Problem {
    Problem(
      503,
      """
      This copy doesn't know whether a majority has the key's newest value, and its owner can't be reached. Try again \
      shortly, or use read=local.
      """
    )
  }
  static var readOnlyRead: Problem {
    Problem(503, "This node can't reach a majority of its cluster. Ask another node, or use read=local.")
  }
  static var noOwnerRead: Problem {
    Problem(
      503, "The key's partition has no owner that can be reached from here. Try again shortly, or use read=local.",
      passes: true)
  }
  static var ownerUnreachableRead: Problem {
    Problem(
      503, "No node that holds the key can be reached from here. Ask another node, or try again shortly.", passes: true)
  }
  static var noWordRead: Problem {
    Problem(504, "The node that owns the key did not answer in time. Nothing was changed: try again.")
  }
}
