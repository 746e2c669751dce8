import Wire

/// The control plane's consensus: Raft (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm",
/// 2014; Ongaro's dissertation, 2014) over the voters, in memory, as a pure step function.
///
/// Messages and time go in by `receive` and `tick`, messages come out in `output`; the owner sends them, in any order,
/// and any may be lost, doubled or late. What differs from the paper:
///
/// - Nothing is stored. A restarted process is a new node (a new id), which votes only after a leader made it a voter.
/// - PreVote (dissertation, 9.6) keeps a node that was cut off from raising terms. CheckQuorum (6.2) makes a leader
///   that doesn't hear a majority step down. A voter that heard a leader within `electionTimeout` votes for nobody
///   else, by which a majority's answers give the leader a lease (6.4.1): no other leader can be before it ends.
/// - That lease lets the leader grant one to every node: the right to act as an owner. See `Raft+Lease.swift`.
/// - Voters change one at a time (4.1), only after the leader's first entry has been committed (Ongaro's correction of
///   2015), and in force as soon as they are in the log. Learners get the log and don't vote.
/// - Between equal logs, the voter that heard the last leader most recently is preferred: others are asked to wait.
/// - The log is bounded: a snapshot of the topology stands for what was applied (section 7), sent in pieces.
package struct Raft: Sendable {
  private let anchor = Anchor()
  /// What a node is to the log.
  package enum Role: UInt8, Sendable {
    case follower, preCandidate, candidate, leader
  }

  /// Who it is.
  package let id: NodeID
  let settings: ClusterSettings
  /// The term it is of.
  package internal(set) var term = Term(0)
  var vote: NodeID?
  /// What this node is to the log.
  package internal(set) var role = Role.follower
  /// The leader of this term, once it was heard.
  package internal(set) var leader: NodeID?
  var log: RaftLog
  /// The last entry that a majority is known to have.
  package internal(set) var commit: LogIndex
  /// The last entry that the topology has taken.
  package internal(set) var applied: LogIndex
  /// The voters in force: those of the last entry of that kind in the log, committed or not.
  package internal(set) var voters: [NodeID]

  /// When the leader was heard last; nil for never.
  var heardLeader: UInt64?
  /// The leader that was heard last, and its term; see `isUpToDate`.
  var followed: (leader: NodeID, term: Term)?
  /// When to campaign.
  var electionDeadline: UInt64
  var round: UInt32 = 0
  var isForced = false
  var granted: [NodeID] = []

  // What only a leader has.
  var peers: [Peer] = []
  var electedAt: UInt64 = 0
  /// The latest time of sending that a majority has answered; 0 for never. See `quorumAcknowledged`.
  var quorumSend: UInt64 = 0
  var nextHeartbeat: UInt64 = 0
  /// When all bulk that was sent would have been sent at `bulkRate`: a leaky bucket (ITU-T I.371, the virtual
  /// scheduling algorithm).
  var bulkPaid: UInt64 = 0
  /// Followers lack entries that were not yet sent to them.
  var hasBacklog = false
  var heartbeatCount: UInt64 = 0
  /// The commit that all followers were told of at once last.
  var announced = LogIndex(0)
  /// This leader's first entry.
  package internal(set) var firstIndex = LogIndex(0)
  var transferTarget: NodeID?
  var transferDeadline: UInt64 = 0
  /// Another was told to campaign: this leader's lease is void from then on.
  var isAbdicating = false

  /// Until when, by its own clock, this node may act as an owner.
  var leaseEnd: UInt64 = 0
  /// Entries of this term that came before those that precede them, at most a window of them.
  var held: [AppendRequest] = []
  /// The snapshot that is being received.
  var incoming: Incoming?
  /// Whole snapshots that wait for `restore`.
  var received: SnapshotPiece?

  /// Messages to send, oldest first. The owner takes them after every call.
  package var output: [(to: NodeID, message: ElectionMessage)] = []
  /// Messages that no correct node sends, such as a second leader in one term.
  package internal(set) var violations = 0

  /// What the leader knows of a follower.
  struct Peer: Sendable {
    let id: NodeID
    var isVoter: Bool
    /// The log agrees up to here; the next entry to send.
    var match = LogIndex(0)
    var next: LogIndex
    var applied = LogIndex(0)
    /// Looking for where the logs agree, one message at a time.
    var isProbing = true
    var probeSentAt: UInt64 = 0
    /// Since when entries are sent from `next` on: refusals of what was sent before don't count.
    var pipelinedAt: UInt64 = 0
    /// How far it was at the last heartbeat, in entries or in bytes of a snapshot: without progress, what is under way
    /// is taken for lost.
    var progressAtHeartbeat = LogIndex(0)
    /// The bytes of the snapshot that are there and that were sent; nil when no snapshot is needed.
    var snapshot: (index: LogIndex, acknowledged: Int, sent: Int)?
    /// The latest of the leader's own times of sending that were answered, and when it was heard.
    var acknowledgedSend: UInt64 = 0
    var heard: UInt64 = 0
    /// Until when the leader must suppose that it holds a lease.
    var leaseEnd: UInt64
    /// What to grant with the next message: its clock's reading; 0 for nothing.
    var leaseFrom: UInt64 = 0
    /// No lease before it has applied this entry, a fence of its partitions; at first, the one that was the last when
    /// it became a follower: it may have been one before, and not know what it has lost since.
    var leaseAfter: LogIndex
  }

  /// A snapshot of which some pieces are there; they may come in any order.
  struct Incoming: Sendable {
    let from: NodeID
    let index: LogIndex
    let indexTerm: Term
    var bytes: [UInt8]
    /// By piece.
    var isThere: [Bool]
    /// Pieces from the first on without a gap.
    var whole = 0

    init(_ piece: SnapshotPiece, from: NodeID) {
      self.from = from
      index = piece.index
      indexTerm = piece.indexTerm
      bytes = [UInt8](repeating: 0, count: Int(piece.total))
      let pieces = (bytes.count + SnapshotPiece.maximumBytes - 1) / SnapshotPiece.maximumBytes
      isThere = [Bool](repeating: false, count: pieces)
    }

    /// Bytes from the first on without a gap.
    var prefix: Int { min(whole * SnapshotPiece.maximumBytes, bytes.count) }

    /// Takes a piece, which must be cut where the sender cuts them; anything else is no piece of it.
    mutating func take(_ piece: SnapshotPiece) {
      let start = Int(piece.offset)
      let number = start / SnapshotPiece.maximumBytes
      guard start % SnapshotPiece.maximumBytes == 0, number < isThere.count, !isThere[number],
        piece.bytes.count == min(SnapshotPiece.maximumBytes, bytes.count - start)
      else { return }
      bytes.replaceSubrange(start..<start + piece.bytes.count, with: piece.bytes)
      isThere[number] = true
      while whole < isThere.count, isThere[whole] { whole += 1 }
    }
  }

  /// A node that has nothing yet: a learner until a leader's log says otherwise.
  package init(joining id: NodeID, settings: ClusterSettings, now: UInt64) {
    self.id = id
    self.settings = settings
    log = RaftLog()
    commit = LogIndex(0)
    applied = LogIndex(0)
    voters = []
    electionDeadline = now + settings.electionTimeout
  }

  /// A founder: its log begins with the topology that all founders promised.
  package init(founding id: NodeID, topology: Topology, isProposer: Bool, settings: ClusterSettings, now: UInt64) {
    self.init(joining: id, settings: settings, now: now)
    log = RaftLog(snapshot: topology.encoded(), index: topology.index, term: Term(1), voters: topology.voters)
    term = Term(1)
    commit = topology.index
    applied = topology.index
    voters = topology.voters
    // The proposer knows first: let it lead.
    if isProposer { electionDeadline = now }
  }

  /// Whether this node's vote counts.
  package var isVoter: Bool {
    for voter in voters where voter == id { return true }
    return false
  }
  /// The entry that removed this voter while it isn't known to be committed, and is the last of its kind. This node's
  /// copies of it and of all behind it never count: it is none of those who commit them. So in an election it may do as
  /// if they had never reached it, and still be one of the voters before. It must: where the others lack that entry, or
  /// their leader took it back, they can elect nobody without it, and it may know of entries before that they lack.
  private var doubtedRemoval: LogIndex? {
    guard !isVoter || settings.has(.doubtsAnyChange), log.lastIndex > commit else { return nil }
    let index = log.votersIndex
    return index > commit && log.voters(before: index).contains(id) ? index : nil
  }
  /// Who this node would have to be elected by; see `doubtedRemoval`.
  private var electors: [NodeID] { doubtedRemoval.map { log.voters(before: $0) } ?? voters }
  /// The last entry that counts in an election, and its term.
  private var electedBy: (index: LogIndex, term: Term) {
    let last = doubtedRemoval?.previous ?? log.lastIndex
    return (last, log.term(at: last) ?? log.lastTerm)
  }
  /// Whether this node campaigns when it hears no leader.
  private var mayCampaign: Bool { isVoter || doubtedRemoval != nil }
  /// The last entry, committed or not.
  package var lastIndex: LogIndex { log.lastIndex }
  /// The term of the last entry.
  package var lastTerm: Term { log.lastTerm }
  /// Entries that are kept.
  package var logCount: Int { log.count }
  /// The first entry is committed: what earlier terms left is settled, and plans may be made.
  package var isSettled: Bool { role == .leader && commit >= firstIndex }

  mutating func send(_ message: ElectionMessage, to peer: NodeID) { output.append((peer, message)) }

  // MARK: Time

  /// When `tick` wants to be called next.
  package var deadline: UInt64 {
    if role == .leader {
      let next = hasBacklog ? min(nextHeartbeat, bulkDue) : nextHeartbeat
      return transferTarget == nil ? next : min(next, transferDeadline)
    }
    return mayCampaign || leader != nil ? electionDeadline : .max
  }

  /// Lets time pass: heartbeats, campaigns, and a leader's doubt in itself.
  package mutating func tick(_ now: UInt64, _ chance: inout Chance) {
    if role == .leader {
      if now >= nextHeartbeat { heartbeat(now) }
      flush(now)
      if transferTarget != nil, now >= transferDeadline {
        // Told to campaign and didn't win: step down, since this leader's lease is void for good.
        if isAbdicating { return follow(term, leader: nil, now, &chance) }
        transferTarget = nil
      }
      let silence = settings.electionTimeout + settings.electionSpread
      if now > max(quorumAcknowledged(now), electedAt) + silence {
        if mayRetract { retract(now, &chance) } else { follow(term, leader: nil, now, &chance) }
      }
    } else if now >= electionDeadline {
      if mayCampaign {
        campaign(pre: true, now, &chance)
      } else {
        leader = nil
      }
    }
  }

  mutating func resetElection(_ now: UInt64, _ chance: inout Chance) {
    electionDeadline = now + settings.electionTimeout + chance.below(settings.electionSpread)
  }

  // MARK: Roles

  /// Becomes a follower of this term, and of its leader if that is known.
  mutating func follow(_ term: Term, leader: NodeID?, _ now: UInt64, _ chance: inout Chance) {
    if term > self.term {
      self.term = term
      vote = nil
    }
    if role == .leader {
      peers = []
      transferTarget = nil
      isAbdicating = false
    }
    role = .follower
    self.leader = leader
    granted = []
    resetElection(now, &chance)
  }

  func silence(_ now: UInt64) -> UInt32 {
    guard let heardLeader, now >= heardLeader else { return heardLeader == nil ? .max : 0 }
    return UInt32(min((now - heardLeader) / ClusterSettings.millisecond, UInt64(UInt32.max)))
  }

  /// Asks for votes: first whether they would be given, then for them.
  mutating func campaign(pre: Bool, forced: Bool = false, _ now: UInt64, _ chance: inout Chance) {
    resetElection(now, &chance)
    leader = nil
    granted = [id]
    round &+= 1
    isForced = forced
    if pre {
      role = .preCandidate
    } else {
      role = .candidate
      term = term.next
      vote = id
      // Whoever leads this term looks anew for what this node has, so here the entries can go.
      if let removal = doubtedRemoval { dropVoters(from: removal) }
    }
    let (last, electors) = (electedBy, electors)
    if granted.count > electors.count / 2 { return won(now, &chance) }
    let request = VoteRequest(
      isPre: pre, isForced: forced, term: pre ? term.next : term, lastIndex: last.index, lastTerm: last.term,
      silence: silence(now), round: round)
    for voter in electors where voter != id { send(.voteRequest(request), to: voter) }
  }

  /// Drops an uncommitted change of the voters, and all entries behind it.
  mutating func dropVoters(from index: LogIndex) {
    log.truncate(from: index)
    voters = log.voters
  }

  /// A majority said yes.
  private mutating func won(_ now: UInt64, _ chance: inout Chance) {
    if role == .preCandidate { return campaign(pre: false, forced: isForced, now, &chance) }
    role = .leader
    leader = id
    granted = []
    electedAt = now
    nextHeartbeat = now
    heartbeatCount = 0
    hasBacklog = false
    transferTarget = nil
    isAbdicating = false
    peers = []
    firstIndex = log.lastIndex.next
    announced = commit
    update(voters.map { ($0, true) }, now)
    log.append(LogEntry(term: term, kind: .nothing))
    advanceCommit()
    heartbeat(now)
  }

  /// Sets whom the leader replicates to besides the voters: all other members.
  package mutating func setLearners(_ learners: [NodeID], _ now: UInt64) {
    guard role == .leader else { return }
    update(voters.map { ($0, true) } + learners.filter { !voters.contains($0) }.map { ($0, false) }, now)
  }

  /// Makes `peers` these, keeping what is known of each.
  private mutating func update(_ wanted: [(id: NodeID, isVoter: Bool)], _ now: UInt64) {
    var updated: [Peer] = []
    for (id, isVoter) in wanted where id != self.id {
      var peer =
        peers.first { $0.id == id }
        ?? Peer(
          id: id, isVoter: isVoter, next: log.lastIndex.next, leaseEnd: now + leaseHorizon,
          leaseAfter: max(firstIndex, log.lastIndex))
      peer.isVoter = isVoter
      updated.append(peer)
    }
    peers = updated
    countQuorum()
  }

  // MARK: Messages

  /// Takes a message from a node of this cluster.
  package mutating func receive(_ message: ElectionMessage, from: NodeID, _ now: UInt64, _ chance: inout Chance) {
    switch message {
    case .voteRequest(let request): receive(request, from, now, &chance)
    case .voteReply(let reply): receive(reply, from, now, &chance)
    case .append(let append): receive(append, from, now, &chance)
    case .appendReply(let reply): receive(reply, from, now, &chance)
    case .snapshot(let piece): receive(piece, from, now, &chance)
    case .snapshotReply(let reply): receive(reply, from, now, &chance)
    case .timeoutNow(let term):
      if term == self.term, role == .follower, isVoter { campaign(pre: false, forced: true, now, &chance) }
    }
  }

  /// Whether this node supports a leader so recently that it must not help another (dissertation, 6.4.1 and 4.2.3).
  func isLoyal(_ now: UInt64) -> Bool {
    if role == .leader { return now < max(quorumAcknowledged(now), electedAt) + settings.electionTimeout }
    guard let heardLeader else { return false }
    return now < heardLeader + settings.electionTimeout
  }

  /// Whether a candidate has all that may have been committed and that this voter's copies counted for.
  ///
  /// One that led the term of this voter's last entry has, even where its log is shorter, since it took entries back
  /// (`retract`): what was committed before, it had when it was elected; what was committed in its term, it committed
  /// itself, and keeps; and for what was committed later only those count that have an entry of a later term.
  private func isUpToDate(_ candidate: NodeID, _ request: VoteRequest) -> Bool {
    if settings.has(.votesForStaleLogs) { return true }
    let last = electedBy
    if let followed, followed.leader == candidate, followed.term >= last.term || settings.has(.trustsOldLeaders) {
      return true
    }
    return (request.lastTerm, request.lastIndex) >= (last.term, last.index)
  }

  /// Whether this voter should lead rather than a candidate whose log is equal, having heard the last leader later.
  /// Only for a while, since it may be unable to.
  private func isFresher(than request: VoteRequest, _ now: UInt64) -> Bool {
    let last = electedBy
    guard mayCampaign, request.lastTerm == last.term, request.lastIndex == last.index else { return false }
    let silence = UInt64(silence(now)) * ClusterSettings.millisecond
    // The request was under way for a little.
    return silence < 3 * settings.electionTimeout
      && silence + settings.leaseMargin < UInt64(request.silence) * ClusterSettings.millisecond
  }

  private mutating func receive(_ request: VoteRequest, _ from: NodeID, _ now: UInt64, _ chance: inout Chance) {
    var isGranted = false
    if !isLoyal(now) || request.isForced && !request.isPre {
      if request.isPre {
        isGranted = request.term > term && isUpToDate(from, request)
        if isGranted, isFresher(than: request, now) {
          isGranted = false
          electionDeadline = min(electionDeadline, now + chance.below(settings.leaseMargin))
        }
      } else {
        if request.term > term { follow(request.term, leader: nil, now, &chance) }
        let isFree = vote == nil || vote == from || settings.has(.votesTwice)
        isGranted = request.term == term && role == .follower && isFree && isUpToDate(from, request)
        if isGranted {
          vote = from
          resetElection(now, &chance)
        }
      }
    }
    send(
      .voteReply(VoteReply(isPre: request.isPre, isGranted: isGranted, term: term, round: request.round)), to: from)
  }

  private mutating func receive(_ reply: VoteReply, _ from: NodeID, _ now: UInt64, _ chance: inout Chance) {
    guard reply.term <= term else { return follow(reply.term, leader: nil, now, &chance) }
    guard reply.isGranted, reply.round == round, role == (reply.isPre ? .preCandidate : .candidate) else { return }
    // A vote counts only in its own term; a preliminary one was given from any earlier one.
    let electors = electors
    guard reply.isPre || reply.term == term, electors.contains(from), !granted.contains(from) else { return }
    granted.append(from)
    if granted.count > electors.count / 2 { won(now, &chance) }
  }
}
