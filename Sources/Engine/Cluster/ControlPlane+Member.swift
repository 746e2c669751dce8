import Wire

// A member's share: what it does with datagrams, with entries that were committed, and with the news of others.

extension ControlPlane {
  /// Takes a datagram as a member.
  func participate(_ beacon: Beacon, _ address: PeerAddress, _ now: UInt64, _ chance: inout Chance) {
    switch beacon.body {
    case .hello(let hello): return receive(hello, beacon, address, now)
    case .propose(let founding):
      // This node has a cluster: the seekers should join it.
      let reply = FoundingReply(ballot: founding.ballot, cluster: founding.cluster)
      return send(.decline(reply), cluster: .none, to: beacon.source, at: address)
    case .promise, .decline, .abandon, .founded: return
    default: break
    }
    guard beacon.cluster == cluster else {
      return ignore(.foreign, address, now)
    }
    if case .join(let join) = beacon.body { return receive(join, beacon.source, address, now) }
    if case .evicted(let eviction) = beacon.body { return receive(eviction, now) }
    guard admit(beacon, address, now) else { return }
    noteAddress(of: beacon.source, address, now)
    switch beacon.body {
    case .election(let message): parts.raft.receive(message, from: beacon.source, now, &chance)
    case .ping(let probe) where parts.hasMembership:
      parts.membership.receive(ping: probe, from: beacon.source, address)
    case .acknowledgement(let probe) where parts.hasMembership:
      parts.membership.receive(acknowledgement: probe, from: beacon.source)
    case .probeRequest(let probe) where parts.hasMembership:
      parts.membership.receive(request: probe, from: beacon.source, address)
    case .probeReport(let probe) where parts.hasMembership: parts.membership.receive(report: probe)
    case .request(let request): receive(request, beacon.source, address, now)
    default: break
    }
  }

  /// Whether a sender may be a member; one that isn't any more is told so.
  ///
  /// A node whose own log lags behind can't tell a newcomer from one that was removed: it says at which entry it
  /// stands, and the receiver, which stands later, ignores it.
  private func admit(_ beacon: Beacon, _ address: PeerAddress, _ now: UInt64) -> Bool {
    let source = beacon.source
    if isMember(source) { return true }
    if parts.hasTopology, parts.topology.slot(of: source) == nil {
      send(.evicted(EvictionNotice(index: parts.topology.index)), cluster: cluster, to: source, at: address)
      // A lagging node must hear its leader even if it doesn't know it yet.
      // A ping is answered all the same: it may come from a newcomer of whom only the log of this node doesn't know.
      switch beacon.body {
      case .election: break
      case .ping: return true
      default:
        ignore(.stranger, address, now)
        return false
      }
    }
    if self.address(of: source) == nil {
      parts.news.heard.removeAll { $0.id == source }
      if parts.news.heard.count == ClusterLimits.heard { parts.news.heard.removeFirst() }
      parts.news.heard.append((source, address))
    }
    return true
  }

  /// Notes where a member is heard. If that isn't where the topology has it, and nothing comes from there for a while,
  /// a leader corrects the log: somebody else's copy of its JOIN came first, or it moved.
  private func noteAddress(of node: NodeID, _ address: PeerAddress, _ now: UInt64) {
    guard let home = home(of: node) else { return }
    let known = parts.news.roamers.firstIndex { $0.id == node }
    if home == address {
      guard let known else { return }
      parts.news.roamers.remove(at: known)
      return pointPings(at: node)
    }
    guard let place = known else {
      let forgotten = parts.news.roamers.count == ClusterLimits.heard ? parts.news.roamers.removeFirst().id : nil
      parts.news.roamers.append((node, address, now))
      if let forgotten { pointPings(at: forgotten) }
      return pointPings(at: node)
    }
    if parts.news.roamers[place].address != address {
      parts.news.roamers[place].address = address
      pointPings(at: node)
    }
    guard parts.raft.isSettled, now >= parts.news.roamers[place].since + 4 * settings.heartbeat,
      var member = topology?.member(node),
      member.peer == home
    else { return }
    planner.newcomers.removeAll { $0.id == node }
    guard planner.newcomers.count < ClusterLimits.newcomers else { return }
    if member.http.high == home.high, member.http.low == home.low {
      member.http = PeerAddress(high: address.high, low: address.low, port: member.http.port)
    }
    member.peer = address
    planner.newcomers.append(member)
  }

  /// Has a member pinged where it is reached now. Pings that went on to where it was heard once, when it had long been
  /// heard from home again, would keep it unhealthy for good.
  private func pointPings(at node: NodeID) {
    guard parts.hasMembership, let address = address(of: node) else { return }
    parts.membership.setAddress(address, of: node)
  }

  /// Whether the topology has this node, with an address.
  private func isMember(_ node: NodeID) -> Bool { home(of: node) != nil }

  private func receive(_ eviction: EvictionNotice, _ now: UInt64) {
    // Only an entry that this node hasn't applied can have removed it. A newcomer may have a snapshot of the time
    // before it was added, and others too: to it, this says nothing.
    guard let topology, topology.slot(of: id) != nil, eviction.index > topology.index else { return }
    begin(anew: isLeaving ? .left : .evicted)
  }

  /// Stops for good: the owner starts a new node in this one's place.
  func begin(anew reason: RestartReason) {
    guard restart == nil else { return }
    restart = reason
    parts.news.effects.append(.event(.restarting(reason)))
    parts.news.effects.append(.restart(reason))
  }

  // MARK: Beacons

  /// Says that this cluster is there. The larger the cluster, the seldomer each member does.
  func announce(_ now: UInt64) {
    let size = parts.hasTopology ? parts.topology.memberCount : 1
    nextHello = now + settings.memberHello * UInt64(max(1, (size + 9) / 10))
    rivals.forget(now)
    guard let hello = ownHello() else { return }
    send(.hello(hello), cluster: cluster, to: .none, at: nil)
  }

  /// This member's beacon; nil when nobody should join by it.
  private func ownHello() -> Hello? {
    guard let topology, topology.dissolved == nil else { return nil }
    let leader = self.leader ?? .none
    return Hello(
      nameHash: discovery.nameHash, isMember: true, isWritten: topology.isWritten,
      expect: UInt8(clamping: settings.expect), size: UInt16(clamping: topology.memberCount), index: topology.index,
      leader: leader, leaderAddress: leader == id ? .none : address(of: leader) ?? .none, seen: [])
  }

  private func receive(_ hello: Hello, _ beacon: Beacon, _ address: PeerAddress, _ now: UInt64) {
    if !hello.isMember {
      seekerHeard = now
      guard answers(beacon.source), let own = ownHello() else { return }
      return send(.hello(own), cluster: cluster, to: beacon.source, at: address)
    }
    if beacon.cluster == cluster {
      if hello.isWritten { heardOfWrite = true }
      return correct(hello, beacon.source, address)
    }
    guard beacon.cluster != .none else { return }
    if rivals.note(beacon.cluster, isWritten: hello.isWritten, address, now) {
      parts.news.effects.append(.event(.rival(beacon.cluster, address)))
    }
    // The leader may be unable to hear it.
    guard let leader = self.leader, leader != id, let leaderAddress = self.address(of: leader) else { return }
    let request = LeaderRequest.rival(beacon.cluster, isWritten: hello.isWritten)
    send(.request(request), cluster: cluster, to: leader, at: leaderAddress)
  }

  /// A beacon of this cluster from a node that was removed: nobody it knows may be left to tell it.
  private func correct(_ hello: Hello, _ source: NodeID, _ address: PeerAddress) {
    guard let topology, hello.index < topology.index, topology.slot(of: source) == nil, answers(source) else { return }
    send(.evicted(EvictionNotice(index: topology.index)), cluster: cluster, to: source, at: address)
  }

  /// Whether this member answers a beacon. In a large cluster only some do: the leader, and those whose ids end like
  /// the sender's.
  private func answers(_ source: NodeID) -> Bool {
    let share = UInt64(max(1, (parts.hasTopology ? parts.topology.memberCount : 1) / 4))
    return parts.hasRaft && parts.raft.role == .leader || id.low % share == source.low % share
  }

  /// Someone wants to be a member, or tells its name and addresses.
  private func receive(_ join: Join, _ source: NodeID, _ address: PeerAddress, _ now: UInt64) {
    guard parts.raft.isSettled, let topology, topology.dissolved == nil else {
      // Say who leads.
      guard let own = ownHello() else { return }
      return send(.hello(own), cluster: cluster, to: source, at: address)
    }
    if source != id, join.receiver != .none { ownAddress = join.receiver }
    var http = join.http
    if http.high == 0, http.low == 0 || http.v4 == 0 {
      http = PeerAddress(high: address.high, low: address.low, port: http.port)
    }
    let member = Member(id: source, name: join.name, peer: address, http: http, weight: min(max(join.weight, 1), 1000))
    planner.newcomers.removeAll { $0.id == source }
    guard planner.newcomers.count < ClusterLimits.newcomers else { return }
    planner.newcomers.append(member)
  }

  // MARK: Asking the leader

  /// Whether there is something to ask the leader for.
  var wantsRequest: Bool {
    guard parts.hasTopology else { return false }
    if isLeaving || pendingCommand != nil || !wishes.isEmpty || !mapRequests.isEmpty { return true }
    if wantsWritten && !parts.topology.isWritten { return true }
    return needsDetails(parts.topology)
  }

  /// A founder is known by id and address only, until it has told the leader the rest.
  private func needsDetails(_ topology: Topology) -> Bool {
    guard let own = topology.member(id) else { return false }
    if own.peer == .none, !parts.hasRaft || parts.raft.role != .leader || ownAddress != nil { return true }
    return own.name != identity.name || own.weight != identity.weight || own.http.port != identity.http.port
  }

  func askLeader(_ now: UInt64) {
    nextRequest = now + 4 * settings.heartbeat
    guard let topology, let leader = self.leader else { return }
    let leaderAddress = leader == id ? ownAddress ?? .none : address(of: leader) ?? .none
    var requests: [BeaconBody] = []
    if needsDetails(topology) { requests.append(.join(join(leaderAddress))) }
    if isLeaving { requests.append(.request(.leave)) }
    if wantsWritten, !topology.isWritten {
      requests.append(.request(.command(TopologyCommand.markWritten.encoded())))
    }
    if let pendingCommand { requests.append(.request(.command(pendingCommand))) }
    for entry in mapRequests { requests.append(.request(.command(TopologyCommand.setMap(entry).encoded()))) }
    for bytes in PartitionWish.encoded(wishes) { requests.append(.request(.wishes(bytes))) }
    for body in requests {
      if leader == id {
        ask(self: body, now)
      } else {
        send(body, cluster: cluster, to: leader, at: leaderAddress)
      }
    }
  }

  /// The leader asks itself.
  private func ask(self body: BeaconBody, _ now: UInt64) {
    let own = ownAddress ?? topology?.member(id)?.peer ?? .none
    switch body {
    case .join(let join): receive(join, id, own, now)
    case .request(let request): receive(request, id, own, now)
    default: break
    }
  }

  private func receive(_ request: LeaderRequest, _ source: NodeID, _ address: PeerAddress, _ now: UInt64) {
    guard parts.raft.isSettled, let topology, let member = topology.member(source) else { return }
    switch request {
    case .leave:
      if member.state == .active || member.state == .joining { propose(.setState(source, .leaving), now) }
    case .rival(let cluster, let isWritten):
      guard cluster != self.cluster else { return }
      if rivals.note(cluster, isWritten: isWritten, address, now) {
        parts.news.effects.append(.event(.rival(cluster, address)))
      }
    case .wishes(let bytes):
      guard let wishes = try? PartitionWish.decoded(bytes), let slot = topology.slot(of: source) else {
        return ignore(.malformed, address, now)
      }
      planner.wishes.note(wishes, of: slot)
      planner.hasWishes = true
    case .command(let bytes):
      // Owners resize their own partitions; the first write and maps are anyone's. All else is the leader's plan.
      guard let command = try? TopologyCommand(decoding: bytes) else {
        return ignore(.malformed, address, now)
      }
      switch command {
      case .markWritten: if !topology.isWritten { propose(command, now) }
      case .setMap(let entry):
        if topology.settings(of: entry.name).version == entry.settings.version { propose(command, now) }
      case .resize(let items):
        if items.allSatisfy({ topology.owns($0.partition, source) }) { propose(command, now) }
      default: ignore(.malformed, address, now)
      }
    }
  }

  /// Proposes a command; a refusal is no harm, since whoever wants it asks again.
  @discardableResult
  func propose(_ command: TopologyCommand, _ now: UInt64) -> LogIndex? {
    do throws(Raft.Refusal) { return try parts.raft.propose(command.encoded(), now) } catch { return nil }
  }

  // MARK: The log

  /// Applies what was committed.
  func applyCommitted(_ now: UInt64) {
    if let piece = parts.raft.takeSnapshot() { restore(piece, now) }
    guard parts.raft.applied < parts.raft.commit, parts.hasTopology else { return }
    var hasChanged = false
    while let (index, entry) = parts.raft.takeCommitted() {
      switch entry.kind {
      case .nothing: parts.topology.applyNothing(at: index)
      case .voters:
        parts.topology.apply(voters: RaftLog.voters(entry.payload), at: index)
        parts.news.effects.append(.event(.voters(parts.topology.voters)))
        hasChanged = true
      case .command:
        // A command of a later version of kvd changes nothing here.
        guard let command = try? TopologyCommand(decoding: entry.payload) else {
          parts.topology.applyNothing(at: index)
          continue
        }
        guard parts.topology.apply(command, at: index) else { continue }
        hasChanged = true
        tell(command)
        // Whatever follows, this node has been removed, and others have taken over what it had.
        if command == .removeMember(id) { return begin(anew: isLeaving ? .left : .evicted) }
      }
    }
    if parts.raft.wantsSnapshot { parts.raft.compact(parts.topology.encoded()) }
    guard hasChanged else { return }
    parts.news.effects.append(.topologyChanged)
    pendingCommand = nil
    forgetMapRequests()
    mayWantRequest = true
    adoptMembers(now)
    tellStalled()
    if let other = parts.topology.dissolved, parts.raft.role != .leader { begin(anew: .dissolved(other)) }
  }

  private func restore(_ piece: SnapshotPiece, _ now: UInt64) {
    guard let topology = try? Topology(decoding: piece.bytes), topology.index == piece.index,
      topology.cluster == cluster
    else {
      return ignore(.malformed, .none, now)
    }
    // A snapshot without this node is as good a proof as any, if it was a member before.
    guard topology.slot(of: id) != nil || self.topology?.slot(of: id) == nil else {
      return begin(anew: isLeaving ? .left : .evicted)
    }
    parts.raft.restore(topology, from: piece, now)
    parts.place(topology)
    forgetMapRequests()
    if !parts.hasMembership { parts.place(Membership(id, cluster: cluster, settings: settings)) }
    parts.news.effects.append(.topologyChanged)
    mayWantRequest = true
    adoptMembers(now)
    tellStalled()
    if let other = topology.dissolved { begin(anew: .dissolved(other)) }
  }

  /// Tells the parts who the members are.
  func adoptMembers(_ now: UInt64) {
    #if DEBUG
      if parts.hasTopology { parts.topology.mutation = settings.mutation }
    #endif
    guard parts.hasTopology else { return }
    let members = parts.topology.members.compactMap { $0 }
    let updated = members.map { (id: $0.id, address: $0.peer) }.sorted { $0.id < $1.id }
    guard !updated.elementsEqual(parts.news.addresses, by: ==) else { return }
    parts.news.addresses = updated
    parts.news.heard.removeAll { node in members.contains { $0.id == node.id && $0.peer != .none } }
    parts.news.roamers.removeAll { node in home(of: node.id).map { $0 == node.address } ?? true }
    let reachable = updated.map { (id: $0.id, address: address(of: $0.id) ?? .none) }
    if parts.hasMembership { parts.membership.setMembers(reachable, now) }
    parts.raft.setLearners(updated.map(\.id).filter { $0 != id }, now)
  }

  private func tell(_ command: TopologyCommand) {
    switch command {
    case .addMember(let member): parts.news.effects.append(.event(.memberAdded(member.id, name: member.name)))
    case .setState(let id, let state): parts.news.effects.append(.event(.memberState(id, state)))
    case .removeMember(let id): parts.news.effects.append(.event(.memberRemoved(id)))
    case .place(let items): parts.news.effects.append(.event(.partitions(.placed, items.count)))
    case .fence(let items): parts.news.effects.append(.event(.partitions(.fenced, items.count)))
    case .activate(let items):
      parts.news.effects.append(.event(.partitions(.activated, items.count)))
      let losses = items.reduce(0) { $1.isLoss ? $0 + 1 : $0 }
      if losses > 0 { parts.news.effects.append(.event(.lost(losses))) }
    case .resize(let items): parts.news.effects.append(.event(.partitions(.resized, items.count)))
    case .choose(let items): parts.news.effects.append(.event(.partitions(.chosen, items.count)))
    case .handOver(let items): parts.news.effects.append(.event(.partitions(.handedOver, items.count)))
    case .markWritten, .dissolve, .setMap: break
    }
  }

  // MARK: News

  /// Says how many partitions wait for members that are down, when that changes.
  private func tellStalled() {
    guard parts.hasTopology, stalled > 0 || parts.topology.members.contains(where: { $0?.state == .down }) else {
      return
    }
    let count = parts.topology.stalledCount
    if count != stalled { parts.news.effects.append(.event(.stalled(count))) }
    stalled = count
  }

  /// Says who leads and whether this node may act as an owner, when that changes.
  func tellChanges(since before: Standing) {
    if standing.leader != before.leader { parts.news.effects.append(.event(.leader(standing.leader, standing.term))) }
    if standing.hasLease != before.hasLease { parts.news.effects.append(.event(.lease(standing.hasLease))) }
  }

  /// A member of a cluster never written that can't find its leader has nothing to lose: it gives up for another
  /// cluster that it hears, and for nodes that seek one, which its beacons would keep from founding theirs. A newcomer
  /// whose leader went away before it had the topology has nothing at all.
  func checkOrphan(_ now: UInt64) {
    guard restart == nil else { return }
    guard parts.raft.leader == nil else {
      leaderlessSince = nil
      return
    }
    guard let since = leaderlessSince else {
      leaderlessSince = now
      return
    }
    // In place: a copy of the topology costs more than the rest of the step.
    if !parts.hasTopology || parts.topology.slot(of: id) == nil {
      if now >= since + settings.joinTimeout { begin(anew: .orphaned) }
    } else if !parts.topology.isWritten, !heardOfWrite, now >= since + settings.orphanTimeout {
      let isSought = seekerHeard.map { now < $0 + settings.seekerSilence } ?? false
      if isSought || !rivals.all.isEmpty { begin(anew: isLeaving ? .left : .orphaned) }
    }
  }
}
