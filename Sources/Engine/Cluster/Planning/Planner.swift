import Wire

/// What the leader wants to change: from the topology, the members' leases and their health to the next commands.
///
/// It plans only on a settled log (everything in it is applied), so that each plan sees the outcome of the last one,
/// and a new leader begins with what its predecessors left. Every command is conditional, so a plan that was overtaken
/// does nothing.
struct Planner: Sendable {
  /// Nodes that asked to be members, or told their name and addresses.
  var newcomers: [Member] = []
  /// The term in which this node began to plan.
  var term = Term(0)
  /// Members that are down, and since when this leader sees them so.
  var downSince: [(id: NodeID, time: UInt64)] = []
  /// The ring's members and what it says, so that it isn't computed without need.
  var ring: (members: [RingMember], copies: UInt8, assignment: [SlotList])?
  /// The topology's version at which everything was placed by that ring.
  var placedVersion: UInt64 = 0
  /// Members with some that the ring doesn't know yet, since when there are some, and since when it is these.
  var newcomersSince: (members: [RingMember], first: UInt64, last: UInt64)?
  /// The version of each partition's entry at which it was where it should be, as long as `settledBy` doesn't change; 0
  /// for those that must be looked at.
  var settled: [UInt32] = []
  /// Some of those wait for members that are down.
  var awaits = false
  /// What decides where partitions should be, at the last plan.
  var settledBy: ControlPlane.View.Decisive?
  /// The topology's version at which nothing was left to do for partitions.
  var idleVersion: UInt64 = 0
  /// The topology's version that was planned for last; what waits is looked at again with the members.
  var plannedVersion: UInt64 = 0
  /// The last entry that was applied when the leader last looked.
  var seenIndex = LogIndex(0)
  /// When the members are looked at again.
  var nextLook: UInt64 = 0
  /// The cluster is over: since when the leader waits for all to know.
  var dissolvedSince: UInt64?

  /// Partitions of whose synced set members are gone: since when, at this version of the entry.
  var stuck: [Int: (version: UInt32, since: UInt64)] = [:]

  /// What the nodes want for their partitions, and whether any of it is new.
  var wishes = WishBook()
  var hasWishes = false

  /// How many members vote: the largest odd number of them, at most 5 (PROTOCOL: two layers).
  static func voterCount(_ members: Int) -> Int { min(5, max(1, members - (1 - members % 2))) }
}

extension ControlPlane {
  /// A leader's share of every step.
  func lead(_ now: UInt64) {
    if planner.term != parts.raft.term {
      let newcomers = planner.newcomers
      planner = Planner()
      planner.newcomers = newcomers
      planner.term = parts.raft.term
      parts.raft.setLearners(parts.news.addresses.map(\.id).filter { $0 != id }, now)
    }
    let isTime = now >= planner.nextLook
    guard isTime || planner.hasWishes || !planner.newcomers.isEmpty || planner.seenIndex != parts.raft.applied else {
      return
    }
    guard parts.raft.isSettled, parts.raft.applied == parts.raft.lastIndex, parts.hasTopology else { return }
    planner.seenIndex = parts.raft.applied
    if let other = parts.topology.dissolved { return conclude(other, now) }
    if !planner.newcomers.isEmpty { admitNewcomers(parts.topology, now) }
    if isTime {
      planner.nextLook = now + settings.heartbeat
      planMembers(parts.topology, now)
      if let successor = rivals.successor(of: cluster), !parts.topology.isWritten { propose(.dissolve(successor), now) }
    }
    let version = parts.topology.version
    let isAnew = version != planner.plannedVersion
    let wants = planner.hasWishes || (version != planner.idleVersion && (isTime || isAnew))
    if wants, parts.raft.bulkRoom(now) >= Int(settings.bulkRate / 4) {
      planner.hasWishes = false
      planner.plannedVersion = version
      planPartitions(parts.topology, now)
    }
    // What was proposed may be committed at once, by a leader that is the only voter.
    applyCommitted(now)
  }

  /// The cluster has dissolved: once every member that can know does, so does the leader.
  private func conclude(_ other: ClusterID, _ now: UInt64) {
    guard let since = planner.dissolvedSince else {
      planner.dissolvedSince = now
      return
    }
    let lagging = parts.topology.members.compactMap { $0 }.contains {
      $0.state != .down && !parts.raft.hasApplied($0.id, parts.topology.index)
    }
    if !lagging || now >= since + settings.joinTimeout { begin(anew: .dissolved(other)) }
  }

  private func admitNewcomers(_ topology: Topology, _ now: UInt64) {
    for var newcomer in planner.newcomers {
      let known = topology.member(newcomer.id)
      newcomer.state = known?.state ?? .joining
      if known != newcomer { propose(.addMember(newcomer), now) }
    }
    planner.newcomers = []
  }

  // MARK: Members

  /// Moves members between joining, active, down and gone, and the votes with them.
  private func planMembers(_ topology: Topology, _ now: UInt64) {
    planner.downSince = planner.downSince.filter { down in
      guard let member = topology.member(down.id) else { return false }
      return member.state == .down || (member.state == .joining && !isHeard(down.id, now))
    }
    // Who leads is there, whatever an earlier leader thought.
    if let own = topology.member(id), own.state == .joining || own.state == .down {
      propose(.setState(id, .active), now)
    }
    for member in topology.members.compactMap({ $0 }) where member.id != id {
      switch member.state {
      case .joining:
        if isInStep(member.id, now) {
          propose(.setState(member.id, .active), now)
        } else if !isHeard(member.id, now) {
          // It never came, or went again before it was active: it holds nothing.
          expire(member, topology, now)
        }
      case .active, .leaving: if isLost(member.id, now) { takeDown(member, topology, now) }
      case .down:
        if isInStep(member.id, now), isBack(member.id, now) {
          propose(.setState(member.id, .active), now)
        } else {
          expire(member, topology, now)
        }
      }
      if member.state == .leaving { release(member, topology, now) }
    }
    planVoters(topology, now)
  }

  /// How this node sees another member by its pings; nil before there is a topology.
  private func health(of node: NodeID) -> HealthState? {
    parts.hasMembership ? parts.membership.health(node)?.state : nil
  }

  func isHeard(_ node: NodeID, _ now: UInt64) -> Bool {
    parts.raft.heard(node).map { now < $0 + 4 * settings.heartbeat } ?? false
  }

  /// Whether a member answers and has applied what the leader has.
  private func isInStep(_ node: NodeID, _ now: UInt64) -> Bool {
    isHeard(node, now) && parts.raft.hasApplied(node, parts.raft.applied)
  }

  /// Whether nothing keeps the leader from taking a member's partitions: it can hold no lease any more, and the others
  /// don't hear it either, or it was so for a while.
  private func isLost(_ node: NodeID, _ now: UInt64) -> Bool {
    if settings.has(.fencesEarly), !isHeard(node, now) { return true }
    guard let end = parts.raft.leaseEnd(of: node), now >= end, !isHeard(node, now) else { return false }
    return health(of: node) == .unhealthy || now >= end + settings.downGrace
  }

  /// Whether a member that was down can be trusted again.
  private func isBack(_ node: NodeID, _ now: UInt64) -> Bool {
    guard health(of: node) == .healthy else { return false }
    return planner.downSince.first { $0.id == node }.map { now >= $0.time + settings.downGrace } ?? true
  }

  private func takeDown(_ member: Member, _ topology: Topology, _ now: UInt64) {
    guard let index = propose(.setState(member.id, .down), now) else { return }
    parts.raft.withholdLease(member.id, until: index)
    planner.downSince.append((member.id, now))
  }

  /// Removes a member that has been down for long, or whose address has another process now, once nothing depends
  /// on it.
  private func expire(_ member: Member, _ topology: Topology, _ now: UInt64) {
    guard let since = planner.downSince.first(where: { $0.id == member.id })?.time else {
      return planner.downSince.append((member.id, now))
    }
    guard now >= since + settings.evictAfter || isReplaced(member, topology) else { return }
    release(member, topology, now)
  }

  /// Whether a member that is down was replaced: another node, which is active, has its address, so its process is gone
  /// for good, and partitions need not wait for it to get their copies back.
  private func isReplaced(_ member: Member, _ topology: Topology) -> Bool {
    member.peer != .none
      && topology.members.contains { $0?.state == .active && $0?.id != member.id && $0?.peer == member.peer }
  }

  /// Whether a member is dead, or counts as that: its process was replaced, or it has been down for so long that the
  /// partitions which it holds wait for it no longer. One that is merely cut off may come back with all it has.
  func isGone(_ member: Member, _ topology: Topology, _ now: UInt64) -> Bool {
    guard member.state == .down else { return false }
    if isReplaced(member, topology) { return true }
    let patience = max(settings.evictAfter, settings.abandonAfter)
    return planner.downSince.first { $0.id == member.id }.map { now >= $0.time + patience } ?? false
  }

  /// Removes a member that owns nothing, is in no synced set and doesn't vote.
  private func release(_ member: Member, _ topology: Topology, _ now: UInt64) {
    guard let slot = topology.slot(of: member.id), !topology.voters.contains(member.id) else { return }
    let isNeeded = topology.partitions.contains { ($0.isActive && $0.owner == slot) || $0.synced.contains(slot) }
    if !isNeeded { propose(.removeMember(member.id), now) }
  }

  /// Whether a member has been down for so long that the cluster does without it, or its process was replaced.
  func isExpired(_ member: Member, _ topology: Topology, _ now: UInt64) -> Bool {
    guard let since = planner.downSince.first(where: { $0.id == member.id })?.time else { return false }
    return now >= since + settings.evictAfter || member.state == .down && isReplaced(member, topology)
  }

  // MARK: Voters

  /// Changes the voters by one where that is called for: replaces those that are down or leaving, and keeps their
  /// number the largest odd one, at most 5.
  private func planVoters(_ topology: Topology, _ now: UInt64) {
    guard parts.raft.mayChangeVoters else { return }
    let voters = parts.raft.voters
    func state(_ node: NodeID) -> MemberState? { topology.member(node)?.state }
    let fit = voters.filter { state($0) == .active && !isSilent($0, now) }
    let members = topology.members.compactMap { $0 }
    let candidates = members.filter {
      $0.state == .active && !voters.contains($0.id) && isInStep($0.id, now)
        && health(of: $0.id) == .healthy
    }
    let expired = members.filter { isExpired($0, topology, now) }.map(\.id)
    let wanted = Planner.voterCount(
      members.count { $0.state == .active || $0.state == .down && !expired.contains($0.id) })

    if state(id) == .leaving, let heir = fit.first(where: { $0 != id }) { return parts.raft.transfer(to: heir, now) }
    let staying = voters.count { state($0) != .leaving }
    if fit.count < wanted, staying < wanted, let candidate = candidates.first {
      return change(voters: voters + [candidate.id], now)
    }
    // The unfit go when there are fit ones enough, or one that can take their place: first they go and then it comes,
    // so that no majority becomes larger. Those that have expired or leave go for good.
    // Those that are silent go before those that still answer.
    let unfit =
      voters.filter { !fit.contains($0) && $0 != id && isSilent($0, now) }
      + voters.filter { !fit.contains($0) && $0 != id && !isSilent($0, now) }
    // One that leaves is still there: it stays a voter until another can take its place, if there is any.
    let hasReserve = members.contains { $0.state == .active && !voters.contains($0.id) }
    // When one that is there goes without a successor, those that are down go before it.
    let shrinks = !hasReserve && voters.contains { state($0) == .leaving }
    if let gone = unfit.first(where: {
      fit.count >= wanted || (state($0) == .leaving && !hasReserve) || state($0) == nil || expired.contains($0)
        || (state($0) == .down && (!candidates.isEmpty || shrinks))
    }) {
      return change(voters: voters.filter { $0 != gone }, now)
    }
    if fit.count > wanted, let surplus = fit.last(where: { $0 != id }) {
      change(voters: voters.filter { $0 != surplus }, now)
    }
  }

  private func isSilent(_ node: NodeID, _ now: UInt64) -> Bool { node != id && !isHeard(node, now) }

  /// Proposes other voters, unless so many of them were silent of late that they might not make a majority.
  private func change(voters: [NodeID], _ now: UInt64) {
    let live = voters.count { voter in
      voter == id || parts.raft.heard(voter).map { now < $0 + settings.heartbeat * 3 / 2 } == true
    }
    guard live > voters.count / 2 else { return }
    do throws(Raft.Refusal) { _ = try parts.raft.propose(voters: voters, now) } catch { return }
  }
}
