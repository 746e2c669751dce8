import Engine
import Wire

// The second phase: whether a cluster without faults is whole again.

extension Checker {
  private func words(_ slot: MemberSlot, _ topology: Topology) -> String {
    topology.members[Int(slot)].map { "\(name(of: $0.id)) \($0.state)" } ?? "nobody"
  }

  /// A leader's log and voters in words.
  private func state(of leader: ControlPlane) -> String {
    let raft = leader.raft!
    let voters = raft.voters.map { "\(name(of: $0)) at \(raft.match($0).map { "\($0.rawValue)" } ?? "?")" }
    return "\(name(of: leader.id)) leads, last \(raft.lastIndex.rawValue), committed \(raft.commit.rawValue), applied "
      + "\(raft.applied.rawValue), voters \(voters.joined(separator: " "))\(raft.mayChangeVoters ? "" : ", fixed")"
  }

  /// What a node's vote depends on.
  private func vote(of raft: Raft) -> String {
    " (\(raft.role) in term \(raft.term.rawValue), last \(raft.lastTerm.rawValue).\(raft.lastIndex.rawValue), voters "
      + raft.voters.map(name(of:)).joined(separator: " ") + ")"
  }

  /// What still names a member: why it wasn't removed.
  private func uses(of id: NodeID, _ topology: Topology, _ hosts: [Host]) -> String {
    guard let slot = topology.slot(of: id) else { return "" }
    let using = topology.partitions.indices.filter {
      topology.partitions[$0].owner == slot || topology.partitions[$0].synced.contains(slot)
    }
    guard let first = using.first else { return topology.voters.contains(id) ? ", a voter" : "" }
    return ", slot \(slot), named by \(using.count) partitions: " + story(of: first, topology, hosts)
  }

  /// A partition's entry, and what its owner knows of its copies.
  private func story(of partition: Int, _ topology: Topology, _ hosts: [Host]) -> String {
    let entry = topology.partitions[partition]
    return "\(partition) \(entry.isActive ? "active" : "fenced") "
      + "epoch \(entry.epoch.rawValue) owner \(entry.owner.map { "\($0)" } ?? "none") "
      + "synced \(entry.synced.map { words($0, topology) }) "
      + "replicas \(entry.replicas) factor \(entry.replicationFactor) fenced at \(entry.fencedAt.rawValue) "
      + hosts.compactMap { $0.machine.flatMap { $0.cores[$0.core(of: partition)].account(of: partition) } }.joined()
  }

  /// Whether these are what is left of a cluster that was never written, and lost its majority to nodes that left for
  /// good without a leader to take their votes: they give it up for the next node that seeks a cluster.
  private func waitsForNewcomers(_ nodes: [ControlPlane]) -> Bool {
    guard nodes.allSatisfy({ $0.isWritten == false }) else { return false }
    let newest = nodes.compactMap(\.raft).max { ($0.lastTerm, $0.lastIndex) < ($1.lastTerm, $1.lastIndex) }
    guard let voters = newest?.voters else { return false }
    return voters.count { voter in nodes.contains { $0.id == voter } } <= voters.count / 2
  }

  /// Whether a partition waits for good, since too few of those that held it are left, but would be enough with one
  /// that gave up without knowing that others were about to write: fate couldn't see that coming, and no copy may begin
  /// anew as long as another one is there.
  private func waitsForOrphans(_ entry: PartitionEntry, _ topology: Topology) -> Bool {
    guard !orphans.isEmpty, topology.isStalled(entry) else { return false }
    let hadBeenEnough = entry.synced.count { slot in
      topology.members[Int(slot)].map { $0.state != .down || orphans.contains($0.id) } ?? false
    }
    return hadBeenEnough >= entry.promisesNeeded
  }

  /// What is still missing for the core to be whole; nil when nothing is.
  func missing(_ core: [Int], _ hosts: [Host], _ now: UInt64) -> String? {
    let nodes = core.compactMap { hosts[$0].control }
    guard nodes.count == core.count else { return "a host is down" }
    // Clusters of which more than one took a write can't become one by themselves.
    let clusters = Set(nodes.map(\.cluster))
    if clusters.count > 1 {
      let isSplit = self.clusters.count { $0.isWritten && clusters.contains($0.id) } > 1
      if isSplit, nodes.contains(where: { !$0.rivals.all.isEmpty }) { return nil }
      return "clusters of "
        + zip(core, nodes).map { number, node in
          "n\(number): \(node.cluster.description.prefix(4)) of \(node.topology?.memberCount ?? 0)"
            + "\(node.topology?.isWritten == true ? " written" : "") led by \(node.leader.map(name(of:)) ?? "nobody")"
            + (node.raft.map { vote(of: $0) } ?? "")
        }.joined(separator: ", ")
    }
    if nodes.allSatisfy({ $0.raft == nil }), core.count < options.settings.expect { return nil }
    if hosts.contains(where: \.isRetired), waitsForNewcomers(nodes) { return nil }
    var leader: ControlPlane?
    for (number, node) in zip(core, nodes) {
      guard node.topology != nil, let raft = node.raft else { return "n\(number) has no cluster" }
      if !node.holdsLease(hosts[number].clock(now)) {
        let view = nodes.first { $0.id == raft.leader }?.raft?.match(node.id)
        let led = nodes.compactMap(\.raft).filter { $0.role == .leader }.map {
          "\(name(of: $0.id)) in term \($0.term.rawValue)"
        }
        return "n\(number), \(raft.role) in term \(raft.term.rawValue), holds no lease: applied "
          + "\(raft.applied.rawValue), commit \(raft.commit.rawValue), "
          + "its leader \(raft.leader.map(name(of:)) ?? "nobody") knows of "
          + "\(view.map { "\($0.rawValue)" } ?? "nothing"), "
          + "leaders \(led); "
          + zip(core, nodes).map { "n\($0)" + ($1.raft.map { vote(of: $0) } ?? "") }.joined(separator: ", ")
      }
      if raft.role == .leader {
        if leader != nil { return "two lead" }
        leader = node
      }
    }
    guard let leader, let topology = leader.topology else { return "nobody leads" }
    for (number, node) in zip(core, nodes) {
      // That topologies of one index are equal is checked elsewhere.
      if node.topology?.index != topology.index { return "n\(number) lags behind" }
      guard let state = topology.member(node.id)?.state, state == .active || node.isLeaving else {
        return "n\(number) is \(topology.member(node.id).map { "\($0.state)" } ?? "no member")"
      }
    }
    return misplaced(core, nodes, leader, topology, hosts)
  }

  /// The same of members and partitions, once all nodes agree on them. What holds a partition that waits for good stays
  /// a member, and the ring counts on those that are down.
  private func misplaced(
    _ core: [Int], _ nodes: [ControlPlane], _ leader: ControlPlane, _ topology: Topology, _ hosts: [Host]
  ) -> String? {
    let excused = topology.partitions.filter { waitsForOrphans($0, topology) }
    func isExcused(_ id: NodeID) -> Bool {
      topology.slot(of: id).map { slot in excused.contains { $0.synced.contains(slot) } } ?? false
    }
    // The last one can't leave.
    let leaving = nodes.filter { $0.isLeaving && !isExcused($0.id) }
    if !leaving.isEmpty {
      guard leaving.count < nodes.count else { return nil }
      return "some are leaving: "
        + leaving.map { "\(name(of: $0.id))\(uses(of: $0.id, topology, hosts))" }.joined(separator: ", ") + "; "
        + state(of: leader)
    }
    let members = topology.members.compactMap { $0 }
    let odd = members.filter { member in !nodes.contains { $0.id == member.id } && !isExcused(member.id) }
    if !odd.isEmpty {
      return "n\(core[nodes.firstIndex { $0.id == leader.id }!]) leads with members that are gone: "
        + odd.map { "\(name(of: $0.id)) \($0.state)\(uses(of: $0.id, topology, hosts))" }.joined(separator: ", ")
    }
    let voters = min(5, core.count - (1 - core.count % 2))
    if topology.voters.count != voters { return "\(topology.voters.count) voters" }
    let placed = min(Int(topology.copies), members.count { $0.state == .active || $0.state == .down })
    let copies = min(Int(topology.copies), members.count { $0.state == .active })
    for (partition, entry) in topology.partitions.enumerated() where !waitsForOrphans(entry, topology) {
      if !entry.isActive { return "partition \(partition) has no owner" }
      let holders = entry.replicas.filter { topology.members[Int($0)]?.state == .active }
      if entry.replicas.count != placed || Set(entry.synced) != Set(holders) || entry.owner != holders.first {
        return "it isn't where it should be: " + story(of: partition, topology, hosts)
      }
      if Int(entry.replicationFactor) != copies { return "partition \(partition) has another factor" }
    }
    return nil
  }
}
