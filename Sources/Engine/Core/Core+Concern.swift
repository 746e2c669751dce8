import Wire

// Write concerns (`w`, `timeout`): who decides, who waits, and who tells whom.
//
// The core that owns a partition executes its writes. What other nodes hold of them is replication's business. The two
// meet in this file and nowhere else:
//
//   the core asks, in this order                                       replication answers
//   1. before a write: `admit`                                         nil, or why it isn't applied (503)
//   2. behind it, for what it answers with success: `isHeld`           whether enough nodes hold that revision already
//   3. if not: the answer is parked, and `watch` names it              it remembers the token beside the revision
//   4. the time is over: `unwatch`                                     it may forget the token
//
//   replication says                                                   the core does
//   `concernMet(token)`                                                gives the parked answer
//   `concernFailed(token, problem)`                                    answers with the problem instead
//
// Every one of these happens within a turn, on the core that owns the partition. A token that was answered names
// nothing any more: to name it again does nothing. A node that replicates nothing has `isReplicated` false, and none
// of this costs it anything but looking at that once per write.
extension Core {
  // MARK: What the core asks of replication

  /// Whether a write of this concern may be applied now: why not, or nil. The one place that may say "not applied".
  ///
  /// Called before anything of the write is done; `isReplicated` holds.
  mutating func admit(_ partition: PartitionID, _ concern: WriteConcern) -> Problem? {
    #if DEBUG
      if let concernDesk { return concernDesk.admit(partition, concern) }
    #endif
    return refusal(of: concern, in: partition)
  }

  /// Whether as many nodes as the concern asks for hold the partition's log up to and with this revision.
  mutating func isHeld(_ revision: Revision, _ concern: WriteConcern) -> Bool {
    #if DEBUG
      if let concernDesk { return concernDesk.isHeld(revision, concern) }
    #endif
    return isHeld(by: concern, revision)
  }

  /// Have `concernMet` called with this token as soon as `isHeld` would be true.
  mutating func watch(_ token: WaitToken, _ revision: Revision, _ concern: WriteConcern) {
    #if DEBUG
      if concernDesk != nil {
        concernDesk!.watched[token] = (revision, concern)
        return
      }
    #endif
    notify(token, revision, concern)
  }

  /// Nobody waits for this token any more.
  mutating func unwatch(_ token: WaitToken, _ partition: PartitionID) {
    #if DEBUG
      concernDesk?.watched[token] = nil
    #endif
    guard desk.parts != nil else { return }
    desk.parts![part(partition)].owner?.waiters.remove(token.rawValue)
    desk.parts![part(partition)].owner?.readers.removeAll { $0.token == token.rawValue }
  }

  // MARK: What replication tells the core

  /// The write's concern is met: its answer is given. Whether there was one still.
  @discardableResult
  mutating func concernMet(_ token: WaitToken) -> Bool {
    if waiting.isPlain(token) {
      answerReplicated(token)
      return true
    }
    guard let answer = waiting.remove(token) else { return false }
    give(answer, answer.outcome)
    return true
  }

  /// The write's concern will not be met: the answer is this problem, 504 with "unknown" unless it is certain that the
  /// write is gone. Whether there was one still.
  @discardableResult
  mutating func concernFailed(_ token: WaitToken, _ problem: Problem) -> Bool {
    guard let answer = waiting.remove(token) else { return false }
    give(answer, Outcome(answer.reason == .read ? .ownerMovedRead : problem))
    return true
  }

  // MARK: What the core does in between

  /// Refuses a write that can't be applied, executes it otherwise. Then, if `mustPark`, its answer is parked.
  mutating func executeReplicated(_ operation: UnsafePointer<Operation>) -> Outcome {
    if let problem = problem(of: operation) { return refuse(operation, problem) }
    if !operation.pointee.kind.isWrite { return executeRead(operation) }
    if !operation.pointee.key.isCached, isUnsafe(concern(of: operation), operation.pointee.key.partition) {
      return executeUnsafely(operation)
    }
    return execute(operation)
  }

  /// A write that may be answered before a majority holds it: its record says so.
  @inline(never)
  private mutating func executeUnsafely(_ operation: UnsafePointer<Operation>) -> Outcome {
    store.writeFlags = Core.unsafelyAnswered
    defer { store.writeFlags = 0 }
    return execute(operation)
  }

  @inline(never)
  private mutating func refuse(_ operation: UnsafePointer<Operation>, _ problem: Problem) -> Outcome {
    let outcome = Outcome(problem)
    if let staged = operation.pointee.staged, !mayHold(outcome, operation) { discard(staged) }
    return outcome
  }

  /// How many nodes must hold a write: as many as the request says, where `majority` and `all` count no more nodes
  /// than the map's settings say. A cached value is on its owner alone.
  func concern(of operation: UnsafePointer<Operation>) -> WriteConcern {
    let asked = operation.pointee.concern
    guard !maps.isEmpty else { return asked }
    let key = operation.pointee.key
    if key.isCached { return .one }
    let wanted = Int(maps.settings(of: UnsafeRawBufferPointer(start: key.map, count: key.mapCount)).replicas)
    guard wanted > 0, asked == .majority || asked == .all, let owner = desk.parts?[part(key.partition)].owner,
      wanted < Int(owner.replicationFactor)
    else { return asked }
    return WriteConcern(rawValue: UInt16(asked.nodes(copies: wanted)))
  }

  /// Why a write isn't applied whose concern its map's settings have changed.
  private func check(_ concern: WriteConcern, in operation: UnsafePointer<Operation>) -> Problem? {
    let asked = operation.pointee.concern
    if operation.pointee.key.isCached { return asked == .majority || asked == .one ? nil : .cacheConcern }
    guard let owner = desk.parts?[part(operation.pointee.key.partition)].owner else { return nil }
    return owner.canReach(concern) ? nil : .notInStep
  }

  /// Why an operation isn't executed now; nil if it is.
  mutating func problem(of operation: UnsafePointer<Operation>) -> Problem? {
    let partition = operation.pointee.key.partition
    if operation.pointee.kind.isWrite {
      // Behind one of its partition that waits, since it came later.
      if !held.isEmpty, held.has(partition) { return .fenced }
      // A copy that had no memory for it would hold up all behind it, removals too.
      if operation.pointee.kind != .delete, !operation.pointee.key.isCached,
        desk.parts?[part(partition)].owner?.hasShortCopy == true
      {
        return .copyFull
      }
      let concern = concern(of: operation)
      if let problem = admit(partition, concern) { return problem }
      if concern != operation.pointee.concern, let problem = check(concern, in: operation) { return problem }
    }
    guard waiting.count >= limits.waitingAnswers else { return nil }
    metrics.count(.overloaded)
    return .overloaded
  }

  /// Whether a client has as many operations under way as there is room left for all: then its next one is refused, and
  /// not somebody else's. So one alone can take half of what may wait, two a third each, and something is always left
  /// (Choudhury and Hahne 1998, "Dynamic queue length thresholds"). Another node's connection carries the operations of
  /// many clients.
  func hasItsShare(_ connection: UnsafeMutablePointer<Connection>) -> Bool {
    let free = limits.waitingAnswers - waiting.count
    guard free < waiting.count, connection.pointee.peer?.pointee.isNode != true else { return false }
    return Int(connection.pointee.output.gaps) + Int(connection.pointee.elements) > free
  }

  /// Whether the answer has to wait: for other nodes to hold the write, or for an owner who executes the operation.
  mutating func mustPark(_ outcome: Outcome, _ operation: UnsafePointer<Operation>) -> Bool {
    if outcome.status == 503, outcome.problem.passes { return mayHold(outcome, operation) }
    guard operation.pointee.kind.isWrite else { return mustWait(outcome, operation) }
    if operation.pointee.key.isCached { return mustInvalidate(outcome, operation.pointee.key.partition) }
    if outcome.status < 300 { return outcome.hasRevision && !isHeld(outcome.revision, concern(of: operation)) }
    guard let found = revisionFound(outcome, operation) else { return false }
    return !isHeld(found, .majority)
  }

  /// The newest revision that a write may have been refused for: what it found must not be taken back once that was
  /// told. Nil if it wasn't refused for anything it found.
  private func revisionFound(_ outcome: Outcome, _ operation: UnsafePointer<Operation>) -> Revision? {
    guard [404, 409, 412].contains(outcome.status), desk.parts != nil, concern(of: operation) != .one else {
      return nil
    }
    let partition = operation.pointee.key.partition
    guard let owner = desk.parts![part(partition)].owner else { return nil }
    return Revision(partition: partition, epoch: owner.epoch, offset: store.nextOffset(of: partition).previous)
  }

  /// Keeps the answer to a write until its concern is met or its time is over; or the write itself, if it couldn't be
  /// executed yet.
  mutating func park(_ outcome: Outcome, _ operation: UnsafePointer<Operation>, _ target: AnswerTarget) {
    if outcome.status == 503, outcome.problem.passes { return hold(outcome, operation, target) }
    guard operation.pointee.kind.isWrite else { return wait(outcome, operation, target) }
    if operation.pointee.key.isCached { return waitForCopies(outcome, operation, target) }
    metrics.count(.parked)
    let token = waiting.add(
      target, .concern, operation.pointee.kind, operation.pointee.key.partition, deadline: deadline(of: operation),
      now: monotonicMilliseconds, outcome: outcome)
    if let found = revisionFound(outcome, operation) { return watch(token, found, .majority) }
    watch(token, outcome.revision, concern(of: operation))
    if operation.pointee.isForwarded { grantAnswer(outcome, operation, target) }
  }

  /// Where the owner and the node that sent a write on are all that its concern asks for, that node may answer as soon
  /// as it holds the record, which saves the client the way of its acknowledgement here and of the result back. The
  /// result is sent nevertheless when the owner knows that enough nodes have the record: it may be others.
  private mutating func grantAnswer(
    _ outcome: Outcome, _ operation: UnsafePointer<Operation>, _ target: AnswerTarget
  ) {
    guard target.reply.frame != 0, operation.pointee.source != .max, outcome.value.count <= limits.copiedValue,
      !outcome.isInLog, desk.parts != nil
    else { return }
    let part = part(operation.pointee.key.partition)
    let concern = concern(of: operation)
    guard desk.parts![part].owner?.grant(outcome.revision.offset, concern, to: operation.pointee.source) == true
    else { return }
    var early = outcome
    early.isGrant = true
    deliver(target, early)
  }

  /// Until when an operation may wait, in monotonic milliseconds.
  func deadline(of operation: UnsafePointer<Operation>) -> UInt64 {
    var patience = UInt64(limits.writeTimeout)
    if operation.pointee.hasOptions && operation.pointee.options.timeout > 0 {
      patience = UInt64(operation.pointee.options.timeout)
    }
    return monotonicMilliseconds + patience
  }

  /// Tells those who have waited long enough that the outcome is unknown.
  mutating func expireWaiting() {
    for token in waiting.expired(now: monotonicMilliseconds) {
      guard let answer = waiting.remove(token) else { continue }
      if answer.reason == .copy {
        // The write is done; only this node's copy lags.
        give(answer, answer.outcome)
        continue
      }
      if answer.reason == .owner {
        give(answer, answer.outcome)
        continue
      }
      if answer.reason == .concern || answer.reason == .read { unwatch(token, answer.partition) }
      if answer.kind.isWrite { metrics.count(.unknown) }
      give(answer, Outcome(problem(of: answer)))
    }
  }

  /// What is said of an answer whose time is over.
  private func problem(of answer: WaitingAnswer) -> Problem {
    switch answer.reason {
    case .concern, .copies: return .concernNotMet
    case .read: return .readNotConfirmed
    case .revision: return .revisionNotReached
    case .forward where answer.kind.isWrite, .granted: return .noWord
    // A node that is cut off knows why.
    case .forward, .copy, .owner: return standing.hasLease ? .noWordRead : .ownerUnreachableRead
    }
  }

  /// Gives an answer that waited, and frees what it kept.
  mutating func give(_ answer: WaitingAnswer, _ outcome: Outcome, pin: Pin = .none) {
    deliver(answer.target, outcome, pin: pin)
    free(answer)
  }

  /// Frees what an answer kept that doesn't wait any more.
  mutating func free(_ answer: WaitingAnswer) {
    answer.pin.kind == .none ? answer.outcome.value.deallocate() : unpin(answer.pin)
  }

  /// Executes an operation and gives its outcome to whoever asked, at once or when enough nodes have it.
  mutating func execute(_ operation: UnsafePointer<Operation>, for target: AnswerTarget) {
    if relayCached(operation, for: target) { return }
    if isReplicated && mayWait(operation) {
      var outcome = executeReplicated(operation)
      if mustPark(outcome, operation) { return park(outcome, operation, target) }
      if target.reply.frame != 0 && operation.pointee.kind == .get { showRecord(&outcome, operation.pointee.key) }
      return deliver(target, outcome)
    }
    var outcome = execute(operation)
    if target.reply.frame != 0 && operation.pointee.kind == .get { showRecord(&outcome, operation.pointee.key) }
    deliver(target, outcome)
  }

  /// Gives an outcome to whoever asked: a connection of this core's, or the core that mailed the operation.
  mutating func deliver(_ target: AnswerTarget, _ outcome: Outcome, pin: Pin = .none) {
    if target.core == index {
      finish(target.reply, outcome, pin: pin)
    } else {
      reply(to: target.core, target.reply, outcome)
      letGo(pin, outcome)
    }
  }
}

extension Operation {
  /// How many nodes must hold the write.
  var concern: WriteConcern { hasOptions ? options.concern : .majority }
}

extension Problem {
  static var cacheConcern: Problem {
    Problem(400, "A cache's values are on one node: w is 1, or left out.")
  }
  static var tooManyWaiting: Problem {
    Problem(
      429,
      """
      Not applied: of all operations that wait for other nodes too many are this connection's (limits.waitingAnswers). \
      Take their answers first.
      """
    )
  }
  static var copyFull: Problem {
    Problem(
      507,
      "Not applied: the memory of a node that holds a copy of this key is full. Delete keys, or raise its --memory.")
  }
  static var concernNotMet: Problem {
    Problem(
      504,
      """
      Unknown: the write is applied at its owner, but not enough nodes have confirmed it in time. Read the key, or \
      retry with an Idempotency-Key.
      """
    )
  }
  static var noWord: Problem {
    Problem(
      504,
      "Unknown: the node that owns the key did not answer in time. Read the key, or retry with an Idempotency-Key.")
  }
}

#if DEBUG
  /// Replication as tests play it.
  final class ConcernDesk {
    var refusal: Problem?
    var isHeld = false
    var watched: [WaitToken: (revision: Revision, concern: WriteConcern)] = [:]

    func admit(_ partition: PartitionID, _ concern: WriteConcern) -> Problem? { refusal }

    func isHeld(_ revision: Revision, _ concern: WriteConcern) -> Bool { isHeld }
  }
#endif
