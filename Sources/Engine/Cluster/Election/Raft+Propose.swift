import Wire

// What the owner of a `Raft` asks of it: entries, voters, the leadership's transfer; and what it takes out of it.

extension Raft {
  /// Why an entry wasn't taken.
  package enum Refusal: Error, Equatable, Sendable {
    /// Only the leader takes entries.
    case notLeader
    /// The leadership is being handed over.
    case transferring
    /// The log is full of entries that no majority has.
    case full
    /// The payload is larger than any datagram.
    case oversized
    /// The leader hasn't committed an entry of its own, or an earlier change of the voters isn't committed.
    case unsettled
    /// More than one voter would change, the leader would be removed, or the new voter isn't in step.
    case unfit
  }

  /// Appends a command to the log; it is applied once a majority has it, unless another leader overwrites it.
  package mutating func propose(_ payload: [UInt8], _ now: UInt64) throws(Refusal) -> LogIndex {
    try propose(LogEntry(term: term, kind: .command, payload: payload), now)
  }

  private mutating func propose(_ entry: LogEntry, _ now: UInt64) throws(Refusal) -> LogIndex {
    guard role == .leader else { throw .notLeader }
    guard transferTarget == nil else { throw .transferring }
    guard log.count < 2 * settings.maximumLog else { throw .full }
    guard entry.payload.count <= LogEntry.maximumPayload else { throw .oversized }
    log.append(entry)
    // New voters count from the moment they are in the log.
    if entry.kind == .voters { voters = log.voters }
    advanceCommit()
    hasBacklog = true
    return log.lastIndex
  }

  /// Whether the voters may be changed now.
  package var mayChangeVoters: Bool { isSettled && log.votersIndex <= commit && transferTarget == nil }

  /// How far a follower's log agrees; nil for a node that is none.
  package func match(_ node: NodeID) -> LogIndex? {
    node == id ? log.lastIndex : peers.first { $0.id == node }?.match
  }

  /// Changes the voters by one (dissertation, 4.1).
  package mutating func propose(voters wanted: [NodeID], _ now: UInt64) throws(Refusal) -> LogIndex {
    guard role == .leader else { throw .notLeader }
    guard mayChangeVoters else { throw .unsettled }
    let added = wanted.filter { !voters.contains($0) }
    let removed = voters.filter { !wanted.contains($0) }
    guard added.count + removed.count == 1, wanted.contains(id) else { throw .unfit }
    // A learner catches up before it votes.
    for id in added where (match(id) ?? LogIndex(0)) < commit { throw .unfit }
    let learners = peers.map(\.id)
    let index = try propose(LogEntry(term: term, kind: .voters, payload: RaftLog.payload(wanted)), now)
    setLearners(learners + removed, now)
    advanceCommit()
    return index
  }

  /// Whether this leader has changed the voters and the change isn't committed: those that it counts on now may be dead
  /// already.
  var mayRetract: Bool {
    let index = log.votersIndex
    return role == .leader && index > commit && log.term(at: index) == term
  }

  /// A leader that has lost its majority takes back an uncommitted change of the voters, and all entries behind it, so
  /// that a change which came too late doesn't stop the rest for good: the first companion of a lone voter died early,
  /// or of three one died while another one was removed. It may: nobody but itself counted on its copy of them, so this
  /// is what a leader does that ends before it has written its own entries down, while they were under way already
  /// (dissertation, 10.2.1); and in its term it never leads again.
  mutating func retract(_ now: UInt64, _ chance: inout Chance) {
    dropVoters(from: log.votersIndex)
    if voters == [id] { campaign(pre: false, now, &chance) } else { follow(term, leader: nil, now, &chance) }
  }

  /// Hands the leadership to a voter, once it has the whole log (dissertation, 3.10). Until then nothing is proposed;
  /// if it doesn't lead within an election's time, this leader goes on, or steps down if it had told it to campaign.
  package mutating func transfer(to target: NodeID, _ now: UInt64) {
    guard role == .leader, target != id, voters.contains(target), transferTarget == nil else { return }
    transferTarget = target
    transferDeadline = now + settings.electionTimeout + settings.electionSpread
    continueTransfer(now)
  }

  /// Whether the leadership is being handed over.
  package var isTransferring: Bool { transferTarget != nil }

  /// Tells the transfer's target to campaign, as soon as it has the whole log.
  mutating func continueTransfer(_ now: UInt64) {
    guard let target = transferTarget, !isAbdicating, match(target) == log.lastIndex else { return }
    isAbdicating = true
    send(.timeoutNow(term), to: target)
  }

  /// The next entry to apply; the caller applies it at once.
  package mutating func takeCommitted() -> (index: LogIndex, entry: LogEntry)? {
    guard applied < commit else { return nil }
    applied = applied.next
    return (applied, log[applied])
  }

  /// Whether the log has grown so long that a snapshot should stand for what was applied.
  package var wantsSnapshot: Bool {
    log.count > settings.maximumLog && applied.distance(from: log.start) > settings.logTrail
  }

  /// Takes a snapshot of the topology, which has applied all up to `applied`.
  package mutating func compact(_ snapshot: [UInt8]) {
    log.compact(to: applied, snapshot: snapshot, trail: settings.logTrail)
  }

  /// The entry at `index` if the log keeps it.
  package func entry(at index: LogIndex) -> LogEntry? {
    index > log.start && index <= log.lastIndex ? log[index] : nil
  }

  /// See `ControlPlane.queues`. The log takes no proposal beyond twice `maximumLog`; a leader's may be longer by what
  /// it had taken when it began to follow.
  var queues: [QueueLevel] {
    [
      QueueLevel("held", held.count, settings.window),
      QueueLevel("log", log.count, 2 * settings.maximumLog + settings.logTrail + 200),
      QueueLevel("incoming", incoming?.bytes.count ?? 0, ClusterLimits.snapshot),
    ]
  }

  /// Checks what must hold after every call.
  package func checkInvariants() {
    precondition(applied <= commit && commit <= log.lastIndex, "applied beyond commit, or commit beyond the log")
    precondition(log.start <= log.snapshotIndex && log.snapshotIndex <= applied, "the snapshot isn't what was applied")
    precondition(log.count <= 2 * settings.maximumLog + settings.logTrail + 200, "the log has \(log.count) entries")
    precondition(role != .leader || leader == id, "a leader follows another")
    precondition(role != .leader || isVoter, "a leader has no vote")
    precondition(peers.isEmpty || role == .leader, "a follower has peers")
  }
}
