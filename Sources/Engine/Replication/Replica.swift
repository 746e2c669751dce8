import Wire

/// A node's share in one partition's log: how much of it it has, and whom it takes more from.
///
/// Every node that holds a partition has one, its owner too. Pure: the log itself is the store's; this decides what may
/// be done to it. Slot.tla: `prom` is `promised`, `Promise` is `promise`, `Repl` is `accept`, `Sync` is `open`,
/// `truncate`, `start` and `accept` together.
package struct Replica: Sendable {
  // All but the history is in one cache line.

  /// Nothing of an older epoch is taken any more ★.
  package private(set) var promised = Epoch(0)
  /// The stream that records are taken from: numbered by its sender, valid for one epoch.
  package private(set) var streamEpoch = Epoch(0)
  package private(set) var stream: UInt32 = 0
  package private(set) var source: MemberSlot?
  /// Whether the sender knows this log to be the beginning of its own.
  package private(set) var isStarted = false
  /// The last record it has, as far as it has all before; a range that came counts with what cleaning left out of it.
  package private(set) var last = Offset.none
  /// Records up to here are held by a majority, as the owner said: no failover takes them back.
  package private(set) var committed = Offset.none
  /// What to tell the sender when the turn ends.
  package private(set) var reply: Reply?
  /// Whether this node is the partition's owner or candidate, beside what every message needs: whoever only asks that
  /// needn't fetch the owner's lines.
  package internal(set) var leads = false
  #if DEBUG
    /// A planted bug, for tests of the checkers. It lies where nothing else would, here and in the owner, so that tests
    /// have the layout of what is shipped.
    package var mutation: ReplicationMutation?
  #endif
  /// The epochs of its log.
  package private(set) var history = EpochHistory()

  /// What a replica answers, at most once per turn.
  package enum Reply: Equatable, Sendable {
    /// Where the log ends.
    case position(LogEnd)
    /// Everything up to here is held.
    case acknowledge(Offset)
    /// A later epoch was promised.
    case refuse(Epoch)
  }

  /// What became of a range of records.
  package enum Verdict: Equatable, Sendable {
    /// It is the next one: append it.
    case take
    /// It isn't; nothing changed.
    case ignore
  }

  package init() {}

  /// The end of its log.
  package var end: LogEnd { history.end(at: last) }

  /// Whether this stream is the one that records are taken from.
  package func isListening(_ epoch: Epoch, stream: UInt32) -> Bool {
    isStarted && epoch == promised && self.stream == stream
  }

  /// The log of a node that was alone, with records up to here, all of the first epoch.
  package mutating func begin(upTo last: Offset) {
    guard last > .none else { return }
    history.begin(Epoch(1), at: Offset.none.next)
    self.last = last
    committed = last
  }

  // MARK: Epochs

  /// Takes nothing of an epoch before this one from now on ★ (Slot.tla: `Promise`).
  package mutating func promise(_ epoch: Epoch) {
    guard epoch > promised else { return }
    promised = epoch
    #if DEBUG
      if mutation == .takesOldEpochs { return }
    #endif
    stopListening()
  }

  /// Whether a message of this epoch is to be heard; one of a later epoch is a promise.
  private mutating func admit(_ epoch: Epoch) -> Bool {
    #if DEBUG
      if mutation == .takesOldEpochs { return true }
    #endif
    guard epoch >= promised else {
      reply = .refuse(promised)
      return false
    }
    promise(epoch)
    return true
  }

  /// Takes records of nobody until a stream is opened.
  package mutating func stopListening() {
    source = nil
    isStarted = false
    reply = nil
  }

  // MARK: Following

  /// The owner, or the candidate of a fence, wants to stream: where does this log end?
  package mutating func open(_ epoch: Epoch, stream: UInt32, from source: MemberSlot) {
    guard admit(epoch) else { return }
    self.source = source
    self.stream = stream
    streamEpoch = epoch
    isStarted = false
    reply = .position(end)
  }

  /// Drops what the sender's log doesn't have. Returns the offset behind which the store must drop everything; nil when
  /// nothing is to be done.
  package mutating func truncate(_ epoch: Epoch, stream: UInt32, to bound: LogEnd) -> Offset? {
    guard isCurrent(epoch, stream), !isStarted else { return nil }
    var end = history.common(with: bound, last: last)
    // What a majority holds is never taken back; and below it the store no longer has what later records replaced.
    if end < committed { end = .none }
    guard end < last else {
      reply = .position(self.end)
      return nil
    }
    didTruncate(to: end)
    reply = .position(self.end)
    return end
  }

  /// Notes that the log ends at `end` now.
  package mutating func didTruncate(to end: Offset) {
    last = end
    history.truncate(to: end)
    committed = min(committed, end)
  }

  /// Records behind this log's end follow; the sender's history is this one's from now on. Returns false when it isn't
  /// the stream that was opened. `resets`: this log is of no use, begin with an empty one.
  package mutating func start(
    _ epoch: Epoch, stream: UInt32, resets: Bool, history: EpochHistory, at next: Offset
  ) -> Bool {
    guard isCurrent(epoch, stream), !isStarted else { return false }
    guard next == (resets ? Offset.none.next : last.next) else {
      reply = .position(end)
      return false
    }
    if resets {
      last = .none
      committed = .none
    }
    self.history = history
    isStarted = true
    if last > .none { reply = .acknowledge(last) }
    return true
  }

  /// Records from `first` to `end`, or what cleaning left of them, came (Slot.tla: `Repl`). With `.take` they must be
  /// appended to the store, all of them.
  package mutating func accept(
    _ epoch: Epoch, stream: UInt32, first: Offset, end: Offset, committed: Offset
  ) -> Verdict {
    guard isCurrent(epoch, stream), isStarted else { return .ignore }
    guard first == last.next, end >= last else {
      // Sent again, or something before it was lost: the sender learns where it stands.
      reply = .acknowledge(last)
      return .ignore
    }
    last = end
    self.committed = max(self.committed, min(committed, end))
    reply = .acknowledge(end)
    return .take
  }

  /// Whether this node holds the record of this epoch at the offset as the follower of that epoch's owner: what it
  /// acknowledges to it (Slot.tla: `AckAt`).
  package func holds(_ epoch: Epoch, _ offset: Offset) -> Bool {
    isStarted && source != nil && streamEpoch == epoch && promised == epoch && last >= offset
  }

  /// Says again how far this log goes, with what else an acknowledgement says.
  package mutating func acknowledgeAgain() {
    if isStarted && reply == nil { reply = .acknowledge(last) }
  }

  private mutating func isCurrent(_ epoch: Epoch, _ stream: UInt32) -> Bool {
    #if DEBUG
      if mutation == .takesOldEpochs { return streamEpoch == epoch && self.stream == stream && source != nil }
    #endif
    guard epoch >= promised else {
      reply = .refuse(promised)
      return false
    }
    return epoch == promised && self.stream == stream && source != nil
  }

  /// The answer for the stream's sender, which is taken off.
  package mutating func takeReply() -> Reply? {
    defer { reply = nil }
    return reply
  }

  // MARK: Writing

  /// The node writes under this epoch from now on.
  package mutating func lead(_ epoch: Epoch) {
    promise(epoch)
    stopListening()
    history.begin(epoch, at: last.next)
  }

  /// The owner appended records up to here.
  package mutating func appended(upTo offset: Offset) { last = offset }

  /// As the owner, whose own word it is.
  package mutating func commit(upTo offset: Offset) { committed = max(committed, offset) }

  /// All that held the partition is gone, this log too.
  package mutating func reset() {
    last = .none
    committed = .none
    history = EpochHistory()
    stopListening()
  }
}
