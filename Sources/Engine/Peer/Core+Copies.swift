import Wire

// A client that writes through this node and then reads here shall see its write: where this node has a copy of the
// partition, the answer to a write that was relayed waits until the copy has it, too (PROTOCOL: reading).
extension Core {
  /// Whether this core's copy of a partition has this revision and all before it.
  func hasReached(_ wanted: Revision) -> Bool {
    let partition = wanted.partition
    guard desk.parts == nil || desk.parts![part(partition)].leads else {
      return LogEnd(epoch: wanted.epoch, offset: wanted.offset) <= desk.parts![part(partition)].replica.end
    }
    return (wanted.epoch, wanted.offset) < (store.epoch(of: partition), store.nextOffset(of: partition))
  }

  /// Gives the answer to a write that its owner has executed, now or when this node's copy has it.
  mutating func answerWhenCopied(_ token: WaitToken, _ outcome: Outcome) {
    let revision = outcome.revision
    let core = core(of: revision.partition)
    guard isReplicated, routes.table[Int(revision.partition.rawValue)].isReadable,
      core != index || !hasReached(revision)
    else { return answer(token, outcome) }
    waiting.change(token, .copy, outcome)
    ask(
      CopyRequest(
        token: token, revision: revision, isGrant: false, sender: UInt32(index), since: monotonicMilliseconds), core)
  }

  /// Gives the answer to a write that its owner has executed when this node's copy has the very record, as a follower
  /// of that owner: by that enough nodes have it (Slot.tla: `AckAt`). Until then the owner's last word may come, too.
  mutating func answerWhenHeld(_ token: WaitToken, _ outcome: Outcome) {
    let revision = outcome.revision
    let core = core(of: revision.partition)
    guard desk.parts != nil else { return }
    if core == index, holds(revision) {
      metrics.count(.granted)
      return answer(token, outcome)
    }
    waiting.change(token, .granted, outcome)
    ask(
      CopyRequest(
        token: token, revision: revision, isGrant: true, sender: UInt32(index), since: monotonicMilliseconds), core)
  }

  private mutating func ask(_ request: CopyRequest, _ core: Int) {
    if core == index { return copyRequests.append(request) }
    outboxes[core].begin(.awaitCopy, MemoryLayout<CopyRequest>.stride).storeBytes(of: request, as: CopyRequest.self)
  }

  private func holds(_ revision: Revision) -> Bool {
    let part = part(revision.partition)
    return !desk.parts![part].leads && desk.parts![part].replica.holds(revision.epoch, revision.offset)
  }

  /// Another core waits for this core's copy.
  mutating func receiveCopyRequest(_ payload: UnsafeRawPointer) {
    var request = payload.load(as: CopyRequest.self)
    request.since = monotonicMilliseconds
    copyRequests.append(request)
  }

  /// Another core's copy has what an answer waits for.
  mutating func receiveCopied(_ payload: UnsafeRawPointer) { finishCopy(payload.load(as: WaitToken.self)) }

  /// Answers those whose revision this core's copies have reached; once per turn.
  mutating func settleCopies() {
    let now = monotonicMilliseconds
    let patience = UInt64(limits.writeTimeout)
    guard !copyRequests.isEmpty else { return }
    var all: [CopyRequest] = []
    swap(&all, &spareCopyRequests)
    swap(&all, &copyRequests)
    defer {
      all.removeAll(keepingCapacity: true)
      swap(&all, &spareCopyRequests)
    }
    for request in all {
      // Where there is no copy any more, nobody reads here what is older than the write.
      let isNeedless = isShuttingDown || !routes.table[Int(request.revision.partition.rawValue)].isReadable
      if request.isGrant ? holds(request.revision) : isNeedless || hasReached(request.revision) {
        if Int(request.sender) == index {
          finishCopy(request.token)
        } else {
          outboxes[Int(request.sender)].begin(.copied, MemoryLayout<WaitToken>.stride)
            .storeBytes(of: request.token, as: WaitToken.self)
        }
      } else if now - request.since < patience {
        // Beyond that its time is over there, too.
        copyRequests.append(request)
      }
    }
  }

  private mutating func finishCopy(_ token: WaitToken) {
    guard let answer = waiting.remove(token) else { return }
    if answer.reason == .granted { metrics.count(.granted) }
    give(answer, answer.outcome)
  }
}

/// An answer that waits for a copy; travels between cores as it is.
struct CopyRequest {
  var token: WaitToken
  var revision: Revision
  /// The copy must hold the very record.
  var isGrant: Bool
  /// The core that has the answer.
  var sender: UInt32
  /// Monotonic milliseconds.
  var since: UInt64
}
