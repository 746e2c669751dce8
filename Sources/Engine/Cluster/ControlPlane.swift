import Wire

/// A node's control plane: discovery, membership, the replicated topology and its plans in one object, since it is some
/// kilobytes large and lives as long as its node.
///
/// Datagrams, time and chance go in by `receive` and `tick`; what the world should do comes out in `effects`, which the
/// owner carries out and empties after each call. Nothing else is needed: it opens no sockets, reads no clock, and any
/// datagram may be lost, late, doubled, changed or forged by accident.
///
/// All times are nanoseconds of one monotonic clock that counts on while the machine sleeps. Call `tick` when
/// `deadline` has come, or a little later.
package final class ControlPlane {
  /// Who this node is.
  package let identity: NodeIdentity
  /// Times, counts and bounds.
  package let settings: ClusterSettings
  /// What seals its datagrams; nil for a cluster that trusts its network.
  let key: BeaconKey?
  /// How it seeks a cluster; idle once it has one.
  package internal(set) var discovery: Discovery
  /// Where the log, the topology and the view of members are, once they are there; in here they are used in place.
  let parts = ClusterParts()
  /// Its cluster; `.none` while it seeks one.
  package internal(set) var cluster: ClusterID {
    get { parts.news.cluster }
    set { parts.news.cluster = newValue }
  }
  /// Other clusters of the same name that were heard lately.
  package internal(set) var rivals = Rivals()
  /// It must begin anew under a new id: it does and answers nothing any more.
  package internal(set) var restart: RestartReason? {
    get { parts.news.restart }
    set { parts.news.restart = newValue }
  }

  var planner = Planner()
  /// Cleared when there was nothing to ask the leader for, until something changes.
  var mayWantRequest: Bool {
    get { parts.news.mayWantRequest }
    set { parts.news.mayWantRequest = newValue }
  }
  /// Where others reach this node, as one of them said; a node behind an unspecified address doesn't know.
  var ownAddress: PeerAddress?
  var nextHello: UInt64 {
    get { parts.news.nextHello }
    set { parts.news.nextHello = newValue }
  }
  /// What this node asks of the leader until the topology shows it, and when next.
  package internal(set) var isLeaving = false
  var wantsWritten = false
  var pendingCommand: [UInt8]?
  var wishes: [PartitionWish] = []
  var mapRequests: [MapEntry] = []
  var nextRequest: UInt64 {
    get { parts.news.nextRequest }
    set { parts.news.nextRequest = newValue }
  }
  /// A member said that the cluster took a write, which this node's log doesn't have yet.
  var heardOfWrite = false
  /// When a node that seeks a cluster was heard last.
  var seekerHeard: UInt64?
  /// Partitions that wait for members that are down, as was told last.
  var stalled = 0
  /// Since when no leader was heard.
  var leaderlessSince: UInt64? {
    get { parts.news.leaderlessSince }
    set { parts.news.leaderlessSince = newValue }
  }

  /// A node that has just started and seeks a cluster; with a key, among the nodes that have the same one.
  package init(_ identity: NodeIdentity, settings: ClusterSettings, key: BeaconKey? = nil, now: UInt64) {
    self.identity = identity
    self.settings = settings
    self.key = key
    let name = Array(identity.clusterName.utf8)
    let nameHash = name.withUnsafeBytes { xxh3($0.baseAddress, count: $0.count, seed: 0) }
    discovery = Discovery(identity.id, nameHash: nameHash, settings: settings, now: now)
  }

  /// Who it is.
  package var id: NodeID { identity.id }
  /// What this node says of itself to a leader at `receiver`.
  func join(_ receiver: PeerAddress) -> Join {
    Join(http: identity.http, receiver: receiver, weight: identity.weight, name: identity.name)
  }

  // MARK: Reading

  /// Datagrams that were ignored.
  package var ignored: IgnoredDatagrams { parts.news.ignored }
  /// What it sent and received, by kind.
  package var datagrams: DatagramCounts { parts.news.datagrams }

  /// What the world should do, in order; the owner empties it.
  package var effects: [ClusterEffect] {
    get { parts.news.effects }
    _modify { yield &parts.news.effects }
  }
  /// Where the node stands after its last step.
  package var standing: Standing { parts.news.standing }

  /// The node's share of the log, once it has a cluster: a copy, so ask for it seldom.
  package var raft: Raft? { parts.hasRaft ? parts.raft : nil }
  /// What the log says, once this node has the log or a snapshot of it.
  package internal(set) var topology: Topology? {
    get { parts.hasTopology ? parts.topology : nil }
    set { if let newValue { parts.place(newValue) } }
  }
  /// How this node sees the other members, once it has the topology.
  package var membership: Membership? { parts.hasMembership ? parts.membership : nil }
  /// The entry at `index` if the log keeps it.
  package func entry(at index: LogIndex) -> LogEntry? { parts.hasRaft ? parts.raft.entry(at: index) : nil }
  /// Whether this node has found a cluster and knows its leader's word of it.
  package var hasCluster: Bool { parts.hasRaft }
  /// The voters in force as this node knows them; none before it has a cluster.
  package var voters: [NodeID] { parts.hasRaft ? parts.raft.voters : [] }
  /// Whether this leader hands the leadership over.
  package var isTransferring: Bool { parts.hasRaft && parts.raft.isTransferring }
  /// Whether the cluster ever took a write, as far as this node knows; nil without a topology.
  package var isWritten: Bool? { parts.hasTopology ? parts.topology.isWritten : nil }
  /// Checks what must hold after every call.
  package func checkInvariants() { if parts.hasRaft { parts.raft.checkInvariants() } }
  /// Which partitions' entries changed since this was asked last; all of them at first.
  package func takeChangedPartitions() -> ChangedPartitions {
    guard parts.hasTopology else { return ChangedPartitions() }
    defer { parts.topology.changed.removeAll() }
    return parts.topology.changed
  }
  /// The topology's version; nil without one.
  package var topologyVersion: UInt64? { parts.hasTopology ? parts.topology.version : nil }

  /// The leader as this node knows it; nil when it knows none.
  package var leader: NodeID? { parts.hasRaft ? parts.raft.leader : nil }
  /// Whether this node leads and no other can.
  package func leads(_ now: UInt64) -> Bool { parts.hasRaft && parts.raft.leads(now) }
  /// Whether this node may act as the owner of what its topology says it owns; without it, it is read-only.
  package func holdsLease(_ now: UInt64) -> Bool {
    restart == nil && parts.hasTopology && parts.hasRaft && parts.raft.holdsLease(now)
  }
  /// Whether this node may take writes of a partition now.
  package func mayWrite(_ partition: PartitionID, _ now: UInt64) -> Bool {
    holdsLease(now) && parts.topology.owns(partition, id)
  }

  /// Its queues and tables: how much is in each, and how much may be.
  package var queues: [QueueLevel] {
    var queues: [QueueLevel] = [
      QueueLevel("heard", parts.news.heard.count, ClusterLimits.heard),
      QueueLevel("roamers", parts.news.roamers.count, ClusterLimits.heard),
      QueueLevel("senders", parts.news.replayFilter.count, ClusterLimits.senders),
      QueueLevel("rivals", rivals.all.count, ClusterLimits.rivals),
      QueueLevel("newcomers", planner.newcomers.count, ClusterLimits.newcomers),
    ]
    queues += discovery.queues
    if parts.hasMembership { queues += parts.membership.queues }
    if parts.hasRaft { queues += parts.raft.queues }
    return queues
  }

  /// Whether this node has found a cluster and asks to be taken in.
  package var isJoining: Bool { !parts.hasRaft && discovery.target != nil }

  // MARK: Asking

  /// Asks the cluster to move everything away from this node and to remove it; ends with `restart(.left)`.
  package func leave() {
    isLeaving = true
    mayWantRequest = true
  }

  /// Asks the cluster to note that it takes writes, which rules out that it dissolves. Writes wait until
  /// `topology.isWritten`.
  package func markWritten() {
    wantsWritten = true
    mayWantRequest = true
  }

  /// Asks for a command, as an owner that wants to resize does. One at a time: the next one replaces it. It is asked
  /// for again until the topology's version changes, so it must be one that can be applied twice.
  package func request(_ command: TopologyCommand) {
    pendingCommand = command.encoded()
    mayWantRequest = true
  }

  /// What this node's owners, candidates and promisers want: all of it, in place of what they wanted before. It is
  /// asked for at once and then again and again; whoever has nothing to wish any more says so by an empty list.
  package func setWishes(_ wishes: [PartitionWish], now: UInt64) {
    guard wishes != self.wishes else { return }
    self.wishes = wishes
    mayWantRequest = true
    nextRequest = min(nextRequest, now)
  }

  // MARK: Time

  /// When `tick` wants to be called next.
  package var deadline: UInt64 { standing.deadline }

  /// What is asked for after every step, kept so that asking is cheap.
  package struct Standing: Equatable, Sendable {
    /// See `ControlPlane.deadline`; due at once until the first step.
    package fileprivate(set) var deadline: UInt64 = 0
    package fileprivate(set) var term = Term(0)
    package fileprivate(set) var role = Raft.Role.follower
    package fileprivate(set) var leader: NodeID?
    package fileprivate(set) var applied = LogIndex(0)
    /// Whether the node held a lease at its last step; ask `holdsLease` before acting on it.
    package fileprivate(set) var hasLease = false
  }

  /// Notes where the node stands. Calls into the parts are mutating ones, which happen in place.
  private func note(_ now: UInt64) {
    guard restart == nil else {
      parts.news.standing.deadline = .max
      return
    }
    guard parts.hasRaft else {
      parts.news.standing.deadline = discovery.deadline
      return
    }
    let (deadline, hasLease) = parts.raft.outlook(now)
    parts.news.standing.deadline = min(deadline, nextHello)
    parts.news.standing.deadline =
      isAtRest ? nextHello : min(standing.deadline, parts.hasMembership ? parts.membership.outlook() : .max)
    parts.news.standing.hasLease = hasLease && parts.hasTopology
    if parts.raft.term != standing.term { parts.news.standing.term = parts.raft.term }
    if parts.raft.leader != standing.leader { nextRequest = now }
    parts.news.standing.role = parts.raft.role
    parts.news.standing.leader = parts.raft.leader
    parts.news.standing.applied = parts.raft.applied
    if mayWantRequest, wantsRequest { parts.news.standing.deadline = min(standing.deadline, nextRequest) }
  }

  /// Whether this leader is alone and has planned everything: it has nothing to do but to announce itself, so that an
  /// idle node uses no processor time.
  private var isAtRest: Bool {
    guard parts.news.addresses.count < 2, parts.raft.role == .leader, !planner.hasWishes, parts.hasTopology else {
      return false
    }
    return parts.topology.version == planner.idleVersion && parts.topology.memberCount == 1
      && parts.raft.applied == parts.raft.lastIndex
  }

  /// Lets time pass.
  package func tick(_ now: UInt64, _ chance: inout Chance) {
    guard restart == nil else { return }
    if !parts.hasRaft {
      discovery.tick(now, join: join(discovery.target?.address ?? .none), &chance)
    } else {
      parts.raft.tick(now, &chance)
      if parts.hasMembership { parts.membership.tick(now, &chance) }
      if now >= nextHello { announce(now) }
      if mayWantRequest, now >= nextRequest {
        mayWantRequest = wantsRequest
        if mayWantRequest { askLeader(now) }
      }
    }
    finish(now, &chance)
  }

  // MARK: Datagrams

  /// Takes a datagram that came from `address`.
  package func receive(
    _ datagram: UnsafeRawBufferPointer, from address: PeerAddress, _ now: UInt64, _ chance: inout Chance
  ) {
    guard restart == nil else { return }
    let beacon: Beacon
    do throws(BeaconError) { beacon = try Beacon(decoding: datagram, key: key) } catch {
      return ignore(IgnoredReason(error), address, now)
    }
    // What this node broadcast comes back to it.
    guard beacon.source != id else { return }
    parts.news.datagrams.countReceived(beacon.body.kind)
    guard isMeantForThisNode(beacon, address, now), isFresh(beacon, address, now) else { return }
    if !parts.hasRaft { seek(beacon, address, now, &chance) } else { participate(beacon, address, now, &chance) }
    finish(now, &chance)
  }

  /// Takes a datagram from an array.
  package func receive(_ datagram: [UInt8], from address: PeerAddress, _ now: UInt64, _ chance: inout Chance) {
    datagram.withUnsafeBytes { receive($0, from: address, now, &chance) }
  }

  /// Whether a datagram names this node; only beacons may be for whoever hears them, of this cluster's name.
  private func isMeantForThisNode(_ beacon: Beacon, _ address: PeerAddress, _ now: UInt64) -> Bool {
    var isMeant = beacon.destination == id
    // Asked first, since what is bound is copied.
    if beacon.body.kind == .hello, case .hello(let hello) = beacon.body {
      guard hello.nameHash == discovery.nameHash else {
        ignore(.foreign, address, now)
        return false
      }
      if beacon.destination == .none { isMeant = true }
    }
    if settings.has(.ignoresDestination) { isMeant = true }
    if !isMeant { ignore(.misdirected, address, now) }
    return isMeant
  }

  /// Whether a datagram is seen for the first time, and comes from where its sender is.
  private func isFresh(_ beacon: Beacon, _ address: PeerAddress, _ now: UInt64) -> Bool {
    if settings.has(.takesReplays) { return true }
    if parts.hasRaft, beacon.cluster != cluster, beacon.cluster != .none {
      // What concerns another cluster says nothing about its sender's numbers; its beacons are news of a rival.
      if case .hello = beacon.body { return true }
      ignore(.foreign, address, now)
      return false
    }
    let source = beacon.source
    var home: PeerAddress? { self.home(of: source) ?? self.address(of: source) }
    switch parts.news.replayFilter.take(beacon, from: address, home: home, isProven: key != nil, now) {
    case .fresh: return true
    case .repeated: break
    case .replayed: ignore(.replayed, address, now)
    case .forged: ignore(.forged, address, now)
    }
    return false
  }

  /// Counts a datagram that is ignored, and tells of it if its kind is news.
  func ignore(_ reason: IgnoredReason, _ address: PeerAddress, _ now: UInt64) {
    if parts.news.ignored.count(reason, now) {
      parts.news.effects.append(.event(.ignored(reason, address, count: parts.news.ignored[reason])))
    }
  }

  /// A seeker's share: discovery, and the first word of a leader that took this node in.
  private func seek(_ beacon: Beacon, _ address: PeerAddress, _ now: UInt64, _ chance: inout Chance) {
    switch beacon.body {
    case .hello(let hello):
      discovery.receive(hello: hello, from: beacon.source, address, cluster: beacon.cluster, now, &chance)
    case .propose(let founding): discovery.receive(propose: founding, from: beacon.source, address, now, &chance)
    case .promise(let reply): discovery.receive(promise: reply, from: beacon.source, now, &chance)
    case .decline(let reply): discovery.receive(decline: reply, now, &chance)
    case .abandon(let reply): discovery.receive(abandon: reply, from: beacon.source)
    case .founded(let founding): discovery.receive(founded: founding, from: beacon.source)
    case .election(let message):
      discovery.heard(cluster: beacon.cluster)
      takeFounding(now)
      if !parts.hasRaft, discovery.target?.cluster == beacon.cluster, isLeaders(message) {
        cluster = beacon.cluster
        parts.place(Raft(joining: id, settings: settings, now: now))
        parts.news.effects.append(.event(.joined(cluster)))
        nextHello = now
      }
      guard parts.hasRaft, beacon.cluster == cluster else { return ignore(.foreign, address, now) }
      participate(beacon, address, now, &chance)
    default: ignore(.foreign, address, now)
    }
    takeFounding(now)
  }

  /// Whether only a leader that replicates to this node sends it.
  private func isLeaders(_ message: ElectionMessage) -> Bool {
    switch message {
    case .append, .snapshot: true
    default: false
    }
  }

  /// Begins the cluster that discovery found to be founded.
  private func takeFounding(_ now: UInt64) {
    guard !parts.hasRaft, let (founding, isProposer) = discovery.founded else { return }
    let members = founding.founders.map { Member(id: $0.id, peer: $0.address, state: .active) }
    let voters = founding.founders.prefix(Planner.voterCount(members.count)).map(\.id)
    let topology = Topology(
      founding: founding.cluster, copies: founding.copies, members: members, voters: voters, index: LogIndex(1))
    cluster = founding.cluster
    parts.place(Raft(founding: id, topology: topology, isProposer: isProposer, settings: settings, now: now))
    parts.place(topology)
    parts.place(Membership(id, cluster: cluster, settings: settings))
    parts.news.effects.append(.event(.founded(cluster, members: members.count)))
    parts.news.effects.append(.topologyChanged)
    nextHello = now
    adoptMembers(now)
  }

  // MARK: After every step

  /// Applies what was committed, plans if this node leads, and turns what the parts want to send into effects.
  func finish(_ now: UInt64, _ chance: inout Chance) {
    takeFounding(now)
    if parts.hasRaft {
      applyCommitted(now)
      if parts.raft.role == .leader {
        lead(now)
        parts.raft.flush(now)
      }
      sendElection()
      sendMembership()
      checkOrphan(now)
    }
    if !discovery.output.isEmpty {
      for message in discovery.output {
        send(message.body, cluster: message.cluster, to: message.to?.id ?? .none, at: message.to?.address)
      }
      discovery.output = []
    }
    let before = standing
    note(now)
    if standing != before { tellChanges(since: before) }
  }

  /// Sends a body to a node at an address, or to everybody.
  func send(_ body: BeaconBody, cluster: ClusterID, to destination: NodeID, at address: PeerAddress?) {
    // A founder doesn't know its own address, and a node that left has none.
    guard address != PeerAddress.none else { return }
    parts.news.sequence += 1
    parts.news.datagrams.countSent(body.kind)
    let beacon = Beacon(
      cluster: cluster, source: id, destination: destination, sequence: parts.news.sequence, body: body)
    let bytes = beacon.encoded(key: key)
    parts.news.effects.append(address.map { .send($0, bytes) } ?? .broadcast(bytes))
  }

  /// Where a member is reached: where the topology has it, unless it is heard from elsewhere and not from there. Else a
  /// wrong address could never be put right by members that make a majority only with the one that has it.
  func address(of node: NodeID) -> PeerAddress? {
    if !parts.news.roamers.isEmpty, let roamer = parts.news.roamers.first(where: { $0.id == node }) {
      return roamer.address
    }
    return home(of: node) ?? parts.news.heard.last { $0.id == node }?.address
  }

  /// Where the topology has a member, if it knows: a binary search.
  func home(of node: NodeID) -> PeerAddress? {
    var low = 0
    var high = parts.news.addresses.count
    while low < high {
      let middle = (low + high) / 2
      if parts.news.addresses[middle].id < node { low = middle + 1 } else { high = middle }
    }
    guard low < parts.news.addresses.count, parts.news.addresses[low].id == node,
      parts.news.addresses[low].address != .none
    else { return nil }
    return parts.news.addresses[low].address
  }

  private func sendElection() {
    guard !parts.raft.output.isEmpty else { return }
    // The two lists change places, so that each keeps its room; and it is taken from the end, so that none is copied.
    swap(&parts.news.electionOutput, &parts.raft.output)
    if parts.news.electionOutput.count > 1 { parts.news.electionOutput.reverse() }
    while let (to, message) = parts.news.electionOutput.popLast() {
      guard let address = address(of: to) else { continue }
      send(.election(message), cluster: cluster, to: to, at: address)
    }
  }

  private func sendMembership() {
    guard parts.hasMembership else { return }
    if !parts.membership.changes.isEmpty {
      for change in parts.membership.changes { parts.news.effects.append(.event(.health(change.id, change.state))) }
      parts.membership.changes = []
    }
    guard !parts.membership.output.isEmpty else { return }
    swap(&parts.news.membershipOutput, &parts.membership.output)
    if parts.news.membershipOutput.count > 1 { parts.news.membershipOutput.reverse() }
    while let (to, address, body) = parts.news.membershipOutput.popLast() {
      send(body, cluster: cluster, to: to, at: address)
    }
  }
}
