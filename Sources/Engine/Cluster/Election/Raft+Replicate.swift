import Wire

// The leader's log on its way to the followers (Raft, sections 5.3 and 7).

extension Raft {
  /// The term of the entry before `index` where the log keeps it.
  private func request(_ peer: Peer, entries: [LogEntry], _ now: UInt64) -> AppendRequest? {
    let previous = peer.next.previous
    guard let previousTerm = log.term(at: previous) else { return nil }
    return AppendRequest(
      term: term, previousIndex: previous, previousTerm: previousTerm, commit: commit, sentAt: now,
      leaseFrom: peer.leaseFrom, entries: entries)
  }

  /// Sends every follower a heartbeat with what it lacks; learners get every second one.
  mutating func heartbeat(_ now: UInt64) {
    nextHeartbeat = now + settings.heartbeat
    heartbeatCount += 1
    for position in peers.indices where peers[position].isVoter || heartbeatCount % 2 == 1 {
      rewind(position, now)
      replicate(position, now, isHeartbeat: true)
    }
  }

  /// Takes for lost what was sent to a follower that made no progress since the last heartbeat. One that has answered
  /// nothing since it was last sent things again gets no more than heartbeats: it is gone, or its answers take longer.
  private mutating func rewind(_ position: Int, _ now: UInt64) {
    let peer = peers[position]
    let progress = peer.snapshot.map { LogIndex(UInt64($0.acknowledged)) } ?? peer.match
    defer { peers[position].progressAtHeartbeat = progress }
    guard progress == peer.progressAtHeartbeat, !settings.has(.neverResends) else { return }
    guard peer.acknowledgedSend >= peer.pipelinedAt else {
      // A piece is the heartbeat of one that gets a snapshot.
      if let snapshot = peer.snapshot, snapshot.index == log.snapshotIndex {
        sendPiece(peer.id, from: snapshot.acknowledged, now)
      }
      return
    }
    peers[position].pipelinedAt = now
    if let snapshot = peer.snapshot {
      peers[position].snapshot = (snapshot.index, snapshot.acknowledged, snapshot.acknowledged)
    } else if !peer.isProbing {
      peers[position].next = peer.match.next
    }
  }

  // MARK: Bulk

  private static let second = 1000 * ClusterSettings.millisecond

  /// Datagrams of bulk that may be sent now.
  package func bulkRoom(_ now: UInt64) -> Int {
    let free = bulkPaid > now ? Raft.second - min(bulkPaid - now, Raft.second) : Raft.second
    return Int(free * settings.bulkRate / Raft.second)
  }

  /// When there is room for some more.
  var bulkDue: UInt64 { bulkPaid > Raft.second ? bulkPaid - Raft.second + Raft.second / settings.bulkRate : 0 }

  /// Pays for one datagram; false, and a backlog, when there is no room for it.
  private mutating func pay(_ now: UInt64) -> Bool {
    guard bulkRoom(now) > 0 else {
      hasBacklog = true
      return false
    }
    bulkPaid = max(bulkPaid, now) + Raft.second / settings.bulkRate
    return true
  }

  /// Sends what was proposed, several entries in one datagram, as far as there is room; the voters come first.
  package mutating func flush(_ now: UInt64) {
    guard role == .leader, hasBacklog, bulkRoom(now) > 0 else { return }
    hasBacklog = false
    for position in peers.indices where !peers[position].isProbing || peers[position].snapshot != nil {
      replicate(position, now)
    }
  }

  // MARK: To one follower

  /// Sends entries that a follower lacks, as far as the window goes; a heartbeat is sent even without any.
  mutating func replicate(_ position: Int, _ now: UInt64, isHeartbeat: Bool = false) {
    if peers[position].snapshot != nil || log.term(at: peers[position].next.previous) == nil {
      return sendSnapshot(position, now)
    }
    var isFirst = isHeartbeat
    repeat {
      let peer = peers[position]
      let isOpen = !peer.isProbing && peer.next.distance(from: peer.match) <= settings.window
      let entries = isOpen || isHeartbeat && isFirst ? batch(from: peer.next) : []
      guard isFirst || !entries.isEmpty, let request = request(peer, entries: entries, now) else { return }
      if !isFirst, !pay(now) { return }
      send(.append(request), to: peer.id)
      peers[position].leaseFrom = 0
      if peer.isProbing {
        peers[position].probeSentAt = now
        return
      }
      peers[position].next = peer.next.advanced(by: entries.count)
      isFirst = false
    } while peers[position].next <= log.lastIndex
  }

  /// Entries from `index` on that fit a datagram.
  private func batch(from index: LogIndex) -> [LogEntry] {
    var entries: [LogEntry] = []
    var index = index
    var room = AppendRequest.maximumEntries
    while index <= log.lastIndex, entries.count < 200 {
      let entry = log[index]
      room -= entry.payload.count + LogEntry.overhead
      if room < 0 { break }
      entries.append(entry)
      index = index.next
    }
    return entries
  }

  private mutating func sendSnapshot(_ position: Int, _ now: UInt64) {
    let peer = peers[position]
    var progress = peer.snapshot ?? (log.snapshotIndex, 0, 0)
    // The snapshot that was under way is no longer there: begin with the new one.
    if progress.index != log.snapshotIndex { progress = (log.snapshotIndex, 0, 0) }
    let limit = progress.acknowledged + settings.snapshotWindow * SnapshotPiece.maximumBytes
    while progress.sent < min(log.snapshot.count, limit) {
      guard pay(now) else { break }
      progress.sent = sendPiece(peer.id, from: progress.sent, now)
    }
    peers[position].snapshot = progress
  }

  /// Sends a piece of the snapshot; returns where the next one begins.
  @discardableResult
  private mutating func sendPiece(_ peer: NodeID, from start: Int, _ now: UInt64) -> Int {
    let end = min(start + SnapshotPiece.maximumBytes, log.snapshot.count)
    let piece = SnapshotPiece(
      term: term, index: log.snapshotIndex, indexTerm: log.snapshotTerm, sentAt: now, offset: UInt32(start),
      total: UInt32(log.snapshot.count), bytes: Array(log.snapshot[start..<end]))
    send(.snapshot(piece), to: peer)
    return end
  }

  // MARK: The leader's side

  mutating func receive(_ reply: AppendReply, _ from: NodeID, _ now: UInt64, _ chance: inout Chance) {
    guard reply.term <= term else { return follow(reply.term, leader: nil, now, &chance) }
    guard let position = heard(from, reply.term, reply.sentAt, now) else { return }
    peers[position].applied = max(peers[position].applied, min(reply.applied, commit))
    grantLease(position, clock: reply.clock, now)
    let peer = peers[position]
    if reply.isAccepted {
      guard reply.match <= log.lastIndex else {
        violations += 1
        return
      }
      guard reply.match > peer.match || peer.isProbing else { return }
      peers[position].match = max(peer.match, reply.match)
      peers[position].next = max(peer.next, peers[position].match.next)
      if peer.isProbing {
        peers[position].next = peers[position].match.next
        peers[position].pipelinedAt = now
      }
      peers[position].isProbing = false
      peers[position].snapshot = nil
      let before = commit
      advanceCommit()
      // Entries that are still under way bring the rest.
      if commit > before, commit == log.lastIndex || commit.distance(from: announced) >= 4 * settings.window {
        return announce(now)
      }
      if peers[position].next <= log.lastIndex { replicate(position, now) }
      continueTransfer(now)
    } else {
      if settings.has(.neverResends) { return }
      // Only the answer to the last probe says where to look next, so that late ones can't start a storm.
      guard peer.isProbing ? reply.sentAt == peer.probeSentAt : reply.sentAt >= peer.pipelinedAt else { return }
      guard reply.match < peer.next else { return }
      peers[position].isProbing = true
      peers[position].next = max(peer.match.next, min(reply.match.next, max(peer.next.previous, LogIndex(1))))
      guard peers[position].next < peer.next else { return }
      replicate(position, now, isHeartbeat: true)
    }
  }

  mutating func receive(_ reply: SnapshotReply, _ from: NodeID, _ now: UInt64, _ chance: inout Chance) {
    guard reply.term <= term else { return follow(reply.term, leader: nil, now, &chance) }
    guard let position = heard(from, reply.term, reply.sentAt, now), let progress = peers[position].snapshot,
      progress.index == reply.index, Int(reply.offset) <= log.snapshot.count
    else { return }
    // A follower that had to begin again is believed, at the next heartbeat: until then it may be an old answer.
    guard Int(reply.offset) > progress.acknowledged else {
      peers[position].snapshot = (progress.index, Int(reply.offset), progress.sent)
      return
    }
    peers[position].snapshot = (progress.index, Int(reply.offset), max(progress.sent, Int(reply.offset)))
    sendSnapshot(position, now)
  }

  /// Notes an answer of this term from a follower; its place among the peers.
  private mutating func heard(_ from: NodeID, _ term: Term, _ sentAt: UInt64, _ now: UInt64) -> Int? {
    guard role == .leader, term == self.term, sentAt <= now else { return nil }
    guard let position = peers.firstIndex(where: { $0.id == from }) else { return nil }
    peers[position].heard = now
    if sentAt > peers[position].acknowledgedSend {
      peers[position].acknowledgedSend = sentAt
      if peers[position].isVoter { countQuorum() }
    }
    return position
  }

  /// Commits what a majority has, if it is of this term (section 5.4.2).
  mutating func advanceCommit() {
    var matches = [log.lastIndex]
    for peer in peers where peer.isVoter { matches.append(peer.match) }
    matches.sort(by: >)
    var needed = voters.count / 2
    if settings.has(.commitsEarly) { needed = 0 }
    guard needed < matches.count, matches[needed] > commit, log.term(at: matches[needed]) == term else { return }
    commit = matches[needed]
  }

  /// Tells the followers of a new commit, with what they lack.
  private mutating func announce(_ now: UInt64) {
    announced = commit
    for position in peers.indices where !peers[position].isProbing {
      guard pay(now) else { break }
      replicate(position, now, isHeartbeat: true)
    }
    continueTransfer(now)
  }

  // MARK: The follower's side

  /// Whether a leader's message is of its time; follows it if so.
  private mutating func accept(_ term: Term, _ from: NodeID, _ now: UInt64, _ chance: inout Chance) -> Bool {
    guard term >= self.term else { return false }
    if term == self.term, role == .leader || (leader != nil && leader != from) {
      violations += 1
      return false
    }
    if term > self.term || role != .follower || leader != from {
      follow(term, leader: from, now, &chance)
    } else {
      resetElection(now, &chance)
    }
    heardLeader = now
    followed = (from, term)
    return true
  }

  mutating func receive(_ request: AppendRequest, _ from: NodeID, _ now: UInt64, _ chance: inout Chance) {
    var isAccepted = accept(request.term, from, now, &chance)
    var match = LogIndex(0)
    if isAccepted {
      takeLease(from: request.leaseFrom, now)
      (isAccepted, match) = append(request)
    }
    send(
      .appendReply(
        AppendReply(
          term: term, isAccepted: isAccepted, match: match, applied: applied, sentAt: request.sentAt, clock: now)),
      to: from)
  }

  /// Takes entries if the one before them is there; says up to where the logs agree, or may agree.
  private mutating func append(_ request: AppendRequest) -> (isAccepted: Bool, match: LogIndex) {
    let end = request.previousIndex.advanced(by: request.entries.count)
    // Everything up to the commit index is known to agree.
    guard end > commit else { return (true, commit) }
    if let term = log.term(at: request.previousIndex) {
      guard term == request.previousTerm || settings.has(.appendsBlindly) else {
        return (false, max(request.previousIndex.previous, commit))
      }
    } else if request.previousIndex > commit {
      // Something before is missing, or still under way.
      return hold(request)
    }
    var index = request.previousIndex
    for entry in request.entries {
      index = index.next
      if index <= commit { continue }
      if let term = log.term(at: index) {
        if term == entry.term { continue }
        log.truncate(from: index)
      }
      log.append(entry)
    }
    if !request.entries.isEmpty { voters = log.voters }
    commit = max(commit, min(request.commit, end))
    // What was overtaken by these may follow now.
    held.removeAll { $0.term != request.term || $0.previousIndex < commit }
    guard let next = held.firstIndex(where: { $0.previousIndex <= log.lastIndex }) else { return (true, end) }
    let (isAccepted, match) = append(held.remove(at: next))
    return (true, isAccepted ? max(match, end) : end)
  }

  /// Keeps entries that came before those that precede them. All that is known to agree is what was committed.
  private mutating func hold(_ request: AppendRequest) -> (isAccepted: Bool, match: LogIndex) {
    held.removeAll { $0.term != request.term || $0.previousIndex <= commit }
    if !request.entries.isEmpty, held.count < settings.window { held.append(request) }
    return (true, commit)
  }

  mutating func receive(_ piece: SnapshotPiece, _ from: NodeID, _ now: UInt64, _ chance: inout Chance) {
    guard accept(piece.term, from, now, &chance) else {
      let reply = AppendReply(
        term: term, isAccepted: false, match: LogIndex(0), applied: applied, sentAt: piece.sentAt, clock: now)
      return send(.appendReply(reply), to: from)
    }
    guard piece.index > commit else {
      let reply = AppendReply(
        term: term, isAccepted: true, match: commit, applied: applied, sentAt: piece.sentAt, clock: now)
      return send(.appendReply(reply), to: from)
    }
    guard piece.total <= ClusterLimits.snapshot else {
      violations += 1
      return
    }
    // An old piece doesn't disturb a newer snapshot.
    if let incoming, incoming.from == from, piece.index < incoming.index { return }
    if incoming?.index != piece.index || incoming?.from != from || incoming?.bytes.count != Int(piece.total) {
      incoming = Incoming(piece, from: from)
    }
    incoming!.take(piece)
    if incoming!.prefix == incoming!.bytes.count {
      received = SnapshotPiece(
        term: piece.term, index: piece.index, indexTerm: piece.indexTerm, sentAt: piece.sentAt, offset: 0,
        total: piece.total, bytes: incoming!.bytes)
      incoming = nil
      return
    }
    let offset = UInt32(incoming!.prefix)
    send(
      .snapshotReply(SnapshotReply(term: term, index: piece.index, sentAt: piece.sentAt, offset: offset)), to: from)
  }

  /// A snapshot that came whole, to be read and given to `restore`.
  package mutating func takeSnapshot() -> SnapshotPiece? {
    guard let piece = received else { return nil }
    received = nil
    return piece.index > commit ? piece : nil
  }

  /// Begins anew with a snapshot that `takeSnapshot` gave and whose topology was read from its bytes; tells the leader.
  package mutating func restore(_ topology: Topology, from piece: SnapshotPiece, _ now: UInt64) {
    log = RaftLog(snapshot: piece.bytes, index: topology.index, term: piece.indexTerm, voters: topology.voters)
    commit = topology.index
    applied = topology.index
    voters = topology.voters
    guard let leader, role == .follower else { return }
    let reply = AppendReply(
      term: term, isAccepted: true, match: commit, applied: applied, sentAt: piece.sentAt, clock: now)
    send(.appendReply(reply), to: leader)
  }
}
