import Engine
import Wire

/// Sees everything and believes nothing: holds every step of every node against the invariants.
struct Checker {
  let options: SimulationOptions
  private(set) var violation: Violation?
  private(set) var elections = 0
  /// What each host sent in the last whole second.
  private(set) var traffic: [Traffic]
  private(set) var clusters: [ClusterRecord] = []
  var data = DataRecords()
  var hops = HopRecords()
  /// Partitions that the control plane began anew.
  private(set) var lives = Lives()
  private var views: [NodeView]
  /// When each directed link was open last: answers may go one way now and come the other way later.
  private var lastOpen: [UInt64]
  /// Nodes that ended within `patience`: their last answers may still count.
  private var gone: [(id: NodeID, number: Int, time: UInt64)] = []
  private static let patience: UInt64 = 1_000_000_000
  /// Members that gave up a cluster which to their knowledge was never written.
  private(set) var orphans: [NodeID] = []
  /// Everybody who ever was, for names.
  private var names: [(id: NodeID, name: String)] = []

  /// The one cluster that took writes; nil if there is none, or more than one.
  var writtenCluster: ClusterID? { writtenClusters == 1 ? clusters.first { $0.isWritten }?.id : nil }

  /// What is known of one cluster.
  struct ClusterRecord {
    let id: ClusterID
    var founders: [NodeID] = []
    var foundedAt: UInt64
    /// The leader of each term.
    var leaders: [Term: NodeID] = [:]
    /// What was committed at each index from 2 on.
    var committed: [UInt64] = []
    /// The owner of each partition in each epoch: epoch by epoch, all partitions; `.none` where none was seen.
    var owners: [NodeID] = []
    /// The latest topology, but for its entries. Those are copied as they change: a list that the node shared would be
    /// copied whole at the node's next change.
    var latest: Topology? { didSet { latestIndex = latest?.index ?? LogIndex(0) } }
    /// Its index, to be asked for in place.
    private(set) var latestIndex = LogIndex(0)
    var entries = [PartitionEntry](repeating: PartitionEntry(), count: partitionCount)
    /// Of each partition of the latest topology.
    var versions = [EntryVersion](repeating: EntryVersion(), count: partitionCount)
    /// The voters of the latest topology, and when a host last could reach a majority of them, through a leader.
    var voters: [NodeID] = []
    var isWritten = false
  }

  /// Which state of its entry a partition is in.
  struct EntryVersion: Equatable {
    var version: UInt32 = 0
    var epoch = Epoch(0)

    /// Whether two lists, of all partitions, are equal: a comparison without an exit in between, many at a time.
    static func agree(_ a: [EntryVersion], _ b: [EntryVersion]) -> Bool {
      var difference: UInt32 = 0
      for index in 0..<partitionCount {
        difference |= a[index].version ^ b[index].version
        difference |= a[index].epoch.rawValue ^ b[index].epoch.rawValue
      }
      return difference == 0
    }
  }

  /// What was seen of one host's node last.
  private struct NodeView {
    var id = NodeID.none
    var incarnation = 0
    /// Until when it does nothing, and when it was last seen doing something.
    var pausedUntil: UInt64 = 0
    var lastActive: UInt64 = 0
    var cluster: Int?
    var applied = LogIndex(0)
    var term = Term(0)
    /// Of each partition; a whole topology would have to be copied whenever the node changes its own.
    var versions = [EntryVersion](repeating: EntryVersion(), count: partitionCount)
    /// What it owns by its own topology.
    var owned = PartitionSet()
    var wasLeader = false
    var hadQuorum: UInt64 = 0
    /// Some of the datagrams that it was given.
    var taken: Set<UInt64> = []
    /// Datagrams of this second by their kind.
    var sent = [Int](repeating: 0, count: 64)
    var sentBytes = 0
  }

  init(_ count: Int, _ options: SimulationOptions) {
    self.options = options
    views = [NodeView](repeating: NodeView(), count: count)
    lastOpen = [UInt64](repeating: 0, count: count * count)
    traffic = [Traffic](repeating: Traffic(), count: count)
  }

  mutating func violate(_ invariant: Violation.Invariant, _ detail: String, _ now: UInt64) {
    if violation == nil { violation = Violation(invariant: invariant, detail: detail, time: now) }
  }

  var writtenClusters: Int { clusters.count { $0.isWritten } }

  func name(of id: NodeID) -> String { names.last { $0.id == id }?.name ?? id.short }

  // MARK: Coming and going

  mutating func started(_ number: Int, _ id: NodeID) {
    let incarnation = views[number].incarnation + 1
    views[number] = NodeView(id: id, incarnation: incarnation)
    names.append((id, "n\(number).\(incarnation)"))
  }

  mutating func stopped(_ number: Int, _ now: UInt64) {
    gone.removeAll { $0.time + Checker.patience < now }
    gone.append((views[number].id, number, now))
    views[number] = NodeView(id: .none, incarnation: views[number].incarnation)
  }

  mutating func event(_ event: ClusterEvent, _ number: Int, _ control: ControlPlane, _ now: UInt64) {
    switch event {
    case .founded(let cluster, _):
      let place = record(cluster, now)
      views[number].cluster = place
      views[number].applied = control.raft!.applied
      views[number].hadQuorum = now
      let founders = control.topology!.members.compactMap { $0?.id }
      if clusters[place].founders.isEmpty {
        clusters[place].founders = founders
        checkFounding(place, now)
      }
    case .joined(let cluster):
      views[number].cluster = record(cluster, now)
      views[number].hadQuorum = now
    case .restarting(.orphaned): orphans.append(control.id)
    default: break
    }
  }

  private mutating func record(_ cluster: ClusterID, _ now: UInt64) -> Int {
    if let place = clusters.firstIndex(where: { $0.id == cluster }) { return place }
    clusters.append(ClusterRecord(id: cluster, foundedAt: now))
    return clusters.count - 1
  }

  /// A node's promise binds for longer than a proposal lives: no node can be a founder of two clusters founded within
  /// that time.
  private mutating func checkFounding(_ place: Int, _ now: UInt64) {
    let window = options.settings.promise * 9 / 10 - options.settings.foundingRound
    for other in clusters.indices where other != place && now < clusters[other].foundedAt + window {
      if let both = clusters[place].founders.first(where: { clusters[other].founders.contains($0) }) {
        violate(.oneFounding, "\(name(of: both)) is a founder of two clusters", now)
      }
    }
  }

  // MARK: Each step

  /// A datagram meant for another node must have changed nothing, nor one that was taken before, nor an outsider's.
  mutating func delivered(
    _ datagram: [UInt8], _ number: Int, _ id: NodeID, _ ignored: IgnoredDatagrams, before: IgnoredDatagrams,
    isOutsiders: Bool, _ key: BeaconKey?, _ now: UInt64
  ) {
    // What is as it should be is seen without reading it all: the fields of the head have fixed places.
    let head = datagram.withUnsafeBytes { DatagramHead($0) }
    let isMisdirected = ignored[.misdirected] == before[.misdirected] + 1
    if isOutsiders ? ignored.total == before.total + 1 : head.isHello || (head.destination != id && isMisdirected) {
      return
    }
    let isSampled = key != nil && head.sequence % 4 == 0 && ignored.total == before.total
    if !isOutsiders, head.destination == id, !isSampled { return }
    let beacon = try? Beacon(decoding: datagram, key: key)
    // A node's own word comes back to it without a count.
    guard beacon?.source != id else { return }
    if isOutsiders {
      let words = beacon.map { "\($0.body.kind)" } ?? "datagram"
      return violate(.takesOnce, "\(name(of: id)) took an outsider's \(words)", now)
    }
    guard let beacon else { return }
    if beacon.destination != id {
      violate(.ignoresStrangers, "\(name(of: id)) took a \(beacon.body.kind) for \(name(of: beacon.destination))", now)
    } else if !views[number].taken.insert(beacon.source.low &+ beacon.sequence).inserted {
      // A sample is enough, and small.
      violate(.takesOnce, "\(name(of: id)) took a \(beacon.body.kind) twice", now)
    }
  }

  /// Counts what a node sends.
  mutating func sent(_ datagram: [UInt8], _ number: Int) {
    views[number].sent[Int(datagram[4] & 63)] += 1
    views[number].sentBytes += datagram.count
  }

  /// Looks at a node after something happened to it.
  mutating func look(at number: Int, _ hosts: [Host], hasChanged: Bool, _ now: UInt64) {
    guard let place = views[number].cluster else { return }
    // What a step seldom changes is read in place: a copy of a node costs more than the step.
    let standing = hosts[number].control!.standing
    let isNewLeader = standing.role == .leader && !views[number].wasLeader
    if standing.term != views[number].term || isNewLeader { checkLeader(place, standing, number, now) }
    views[number].wasLeader = standing.role == .leader
    if standing.applied != views[number].applied {
      checkCommitted(place, hosts[number].control!, standing.applied, number, now)
    }
    guard hasChanged, let topology = hosts[number].control!.topology else { return }
    let changed = hosts[number].control!.takeChangedPartitions()
    // Now and then all are looked at, in case one changed behind everybody's back.
    let isSweep = topology.index.rawValue % 16 == 0
    checkTopology(place, topology, isSweep ? topology.allPartitions : changed, number, now)
    if topology.index > clusters[place].latestIndex { adopt(topology, changed, isSweep: isSweep, place, number) }
    if topology.isWritten { clusters[place].isWritten = true }
    if options.cores == 0 { checkOwners(number, hosts, now) }
  }

  private mutating func checkLeader(
    _ place: Int, _ standing: ControlPlane.Standing, _ number: Int, _ now: UInt64
  ) {
    if standing.term < views[number].term { violate(.versionsGrow, "the term of n\(number) fell", now) }
    views[number].term = standing.term
    guard standing.role == .leader else { return }
    let id = views[number].id
    if let leader = clusters[place].leaders[standing.term] {
      if leader != id {
        violate(
          .oneLeaderPerTerm, "\(name(of: leader)) and \(name(of: id)) lead in term \(standing.term.rawValue)", now)
      }
    } else {
      clusters[place].leaders[standing.term] = id
      elections += 1
    }
  }

  private mutating func checkCommitted(
    _ place: Int, _ control: ControlPlane, _ applied: LogIndex, _ number: Int, _ now: UInt64
  ) {
    if applied < views[number].applied { violate(.versionsGrow, "what n\(number) applied fell", now) }
    var index = views[number].applied.next
    views[number].applied = applied
    while index <= applied {
      defer { index = index.next }
      guard let entry = control.entry(at: index), index.rawValue >= 2 else { continue }
      let digest = Checker.digest(entry)
      let position = Int(index.rawValue) - 2
      if position < clusters[place].committed.count {
        if clusters[place].committed[position] != digest {
          violate(.committedAgrees, "\(name(of: control.id)) applied another entry \(index.rawValue)", now)
        }
      } else if position == clusters[place].committed.count {
        clusters[place].committed.append(digest)
      }
    }
  }

  private static func digest(_ entry: LogEntry) -> UInt64 {
    entry.payload.withUnsafeBytes {
      xxh3($0.baseAddress, count: $0.count, seed: entry.term.rawValue << 8 | UInt64(entry.kind.rawValue))
    }
  }

  /// Epochs and versions only grow, an epoch has one owner, and topologies of one index are equal, as are entries of
  /// one version.
  private mutating func checkTopology(
    _ place: Int, _ topology: Topology, _ changed: ChangedPartitions, _ number: Int, _ now: UInt64
  ) {
    let ownSlot = topology.slot(of: views[number].id)
    // Entries that didn't change since they were looked at last are as equal as they were: the others are compared.
    let isLatest = clusters[place].latestIndex == topology.index
    var differs = isLatest && !clusters[place].latest!.agreesBesidesEntries(with: topology)
    // Taken out and put back, and entries read in place: a copy of one costs more than what is asked of it.
    var versions: [EntryVersion] = []
    swap(&versions, &views[number].versions)
    var latest: [PartitionEntry] = []
    swap(&latest, &clusters[place].entries)
    topology.partitions.withUnsafeBufferPointer { entries in
      var changed = changed
      while let partition = changed.popFirst() {
        let old = versions[partition]
        let new = EntryVersion(version: entries[partition].version, epoch: entries[partition].epoch)
        let agrees = latest.withUnsafeBufferPointer {
          PartitionEntry.agree($0.baseAddress! + partition, entries.baseAddress! + partition)
        }
        // Cores take an entry anew when its version is another.
        if !agrees, isLatest || latest[partition].version == new.version { differs = true }
        if old == new { continue }
        views[number].owned.remove(partition)
        versions[partition] = new
        if new.version <= old.version || new.epoch < old.epoch {
          violate(
            .versionsGrow,
            "partition \(partition) at n\(number): version \(old.version) to \(new.version), "
              + "epoch \(old.epoch.rawValue) to \(new.epoch.rawValue)", now)
        }
        if entries[partition].losses > 0 {
          lives.note(partition, of: clusters[place].id, entries[partition].lostBefore.rawValue, now)
        }
        guard entries[partition].isActive, let owner = entries[partition].owner,
          let id = topology.members[Int(owner)]?.id
        else { continue }
        if owner == ownSlot { views[number].owned.insert(partition) }
        noteOwner(place, id, of: partition, new.epoch, now)
      }
    }
    swap(&versions, &views[number].versions)
    swap(&latest, &clusters[place].entries)
    if differs || isLatest && !EntryVersion.agree(clusters[place].versions, views[number].versions) {
      violate(.topologiesAgree, "n\(number) has another topology at \(topology.index.rawValue)", now)
    }
  }

  /// Notes who owns a partition in an epoch: nobody else may.
  private mutating func noteOwner(_ place: Int, _ id: NodeID, of partition: Int, _ epoch: Epoch, _ now: UInt64) {
    let position = Int(epoch.rawValue) * partitionCount + partition
    while clusters[place].owners.count <= position {
      clusters[place].owners.append(contentsOf: repeatElement(.none, count: partitionCount))
    }
    let known = clusters[place].owners[position]
    clusters[place].owners[position] = id
    if known != .none, known != id {
      violate(
        .oneOwnerPerEpoch, "partition \(partition), epoch \(epoch.rawValue): \(name(of: known)) and \(name(of: id))",
        now)
    }
  }

  /// Takes the topology that a node has as the cluster's latest.
  private mutating func adopt(
    _ topology: Topology, _ changed: ChangedPartitions, isSweep: Bool, _ place: Int, _ number: Int
  ) {
    // Whatever changed since the node was looked at last changed since the cluster's latest at most so long ago.
    var changed = changed
    func take(_ partition: Int) {
      clusters[place].entries[partition] = topology.partitions[partition]
      clusters[place].versions[partition] = views[number].versions[partition]
    }
    while let partition = changed.popFirst() { take(partition) }
    if isSweep, !EntryVersion.agree(clusters[place].versions, views[number].versions) {
      for partition in 0..<partitionCount
      where clusters[place].versions[partition] != views[number].versions[partition] {
        take(partition)
      }
    }
    clusters[place].latest = topology.withoutEntries
    clusters[place].voters = topology.voters
  }

  /// No two nodes may write a partition at the same moment, each by its own clock and topology.
  private mutating func checkOwners(_ number: Int, _ hosts: [Host], _ now: UInt64) {
    let own = hosts[number].control!
    guard own.holdsLease(hosts[number].clock(now)) else { return }
    for other in hosts.indices where other != number && views[other].cluster == views[number].cluster {
      guard let partition = views[number].owned.first(sharedWith: views[other].owned) else { continue }
      guard let control = hosts[other].control, control.holdsLease(hosts[other].clock(now)) else { continue }
      let (mine, theirs) = (own.topology!.partitions[partition], control.topology!.partitions[partition])
      return violate(
        .oneOwnerAtATime,
        "partition \(partition): \(name(of: own.id)) in epoch \(mine.epoch.rawValue), "
          + "\(name(of: control.id)) in epoch \(theirs.epoch.rawValue)", now)
    }
  }

  // MARK: Ten times a second

  private var samples = 0

  /// Notes who can reach a majority just before fate changes it.
  mutating func observe(_ hosts: [Host], _ network: Network, _ now: UInt64) {
    for from in hosts.indices {
      for to in hosts.indices where !network.isCut(from, to) { lastOpen[from * hosts.count + to] = now }
    }
    for number in hosts.indices {
      views[number].pausedUntil = hosts[number].pausedUntil
      if views[number].pausedUntil <= now { views[number].lastActive = now }
    }
    let present = hosts.indices.filter { views[$0].cluster != nil && views[$0].lastActive + Checker.patience > now }
    for number in hosts.indices where views[number].cluster != nil { checkQuorum(number, present, hosts, now) }
  }

  mutating func sample(_ hosts: [Host], _ network: Network, _ now: UInt64) {
    samples += 1
    for number in hosts.indices where views[number].cluster != nil {
      hosts[number].control!.checkInvariants()
      if !hosts[number].control!.effects.isEmpty { violate(.boundedQueues, "n\(number) kept effects", now) }
      for queue in hosts[number].control!.queues where queue.count > queue.bound {
        violate(
          .boundedQueues, "n\(number) has \(queue.count) in \(queue.name), which has room for \(queue.bound)", now)
      }
    }
    observe(hosts, network, now)
    if samples % 10 == 0 { checkTraffic(hosts, now) }
  }

  /// Whether a node has been without a majority for longer than any lease lasts.
  func lacksQuorum(_ number: Int, _ now: UInt64) -> Bool {
    let bound = options.settings.lease * 2 + options.settings.electionTimeout + options.tail * 2000 + 500_000_000
    return now > views[number].hadQuorum + bound
  }

  /// A node that for a while couldn't hear, directly and both ways, a node that hears a majority, holds no lease.
  private mutating func checkQuorum(_ number: Int, _ live: [Int], _ hosts: [Host], _ now: UInt64) {
    let place = views[number].cluster!
    let voters = clusters[place].voters
    func areJoined(_ a: Int, _ b: Int) -> Bool {
      let least = min(lastOpen[a * hosts.count + b], lastOpen[b * hosts.count + a])
      return a == b || least + Checker.patience > now
    }
    // Where each voter is, or was a moment ago.
    var seats: [Int] = []
    for voter in voters {
      if let seat = live.first(where: { views[$0].id == voter }) { seats.append(seat) }
      for other in gone where other.id == voter && other.time + Checker.patience > now { seats.append(other.number) }
    }
    let couldReach = live.contains { leader in
      areJoined(number, leader) && seats.count { areJoined(leader, $0) } > voters.count / 2
    }
    // Voters that have just changed count either way.
    if couldReach || voters.isEmpty || views[number].pausedUntil > now { views[number].hadQuorum = now }
    if lacksQuorum(number, now), hosts[number].control!.holdsLease(hosts[number].clock(now)) {
      violate(.noLeaseWithoutQuorum, "\(name(of: views[number].id)) still holds one", now)
    }
  }

  /// What a node may send in a second, whatever the size of its cluster: pings by their number and reason; and in all,
  /// for a node that leads, as much again for each follower as heartbeats and a busy log need.
  private mutating func checkTraffic(_ hosts: [Host], _ now: UInt64) {
    let settings = options.settings
    let pings = settings.observers * 11 * (1 + 2 * settings.indirectProbes)
    let bound = pings * 4 + 400 + 30 * hosts.count + 2 * Int(settings.bulkRate)
    for number in views.indices {
      let sent = views[number].sent
      let total = sent.reduce(0, +)
      if sent[Int(BeaconKind.ping.rawValue)] > pings || total > bound {
        let words = Traffic(datagrams: total, kinds: sent).words
        violate(.boundedTraffic, "n\(number) sent in a second \(words)", now)
      }
      traffic[number] = Traffic(datagrams: total, bytes: views[number].sentBytes, kinds: sent)
      views[number].sentBytes = 0
      for kind in sent.indices { views[number].sent[kind] = 0 }
    }
  }
}
