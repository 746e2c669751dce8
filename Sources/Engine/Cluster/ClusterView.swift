import Wire

/// What the control plane knows at one moment, for all cores to read: immutable, so that they share it without a lock.
///
/// The core that runs the control plane makes a new one whenever something of it changed; every core adopts it at the
/// start of a turn (`Core.adopt`). How long the node's lease lasts isn't in it, since that changes all the time: it is
/// an argument of `Core.beginTurn`.
package final class ClusterView: Sendable {
  /// Another member, as this node sees it.
  package struct Health: Equatable, Sendable {
    /// Whose.
    package let id: NodeID
    /// As this node sees it.
    package let state: HealthState
    /// Pings in a row without an answer.
    package let failedAttempts: Int
  }

  /// This node.
  package let identity: NodeIdentity
  /// Its cluster; `.none` while it seeks one.
  package let cluster: ClusterID
  /// As far as this node has applied the control plane's log; nil until it has the log or a snapshot.
  package let topology: Topology?
  package let term: Term
  package let role: Raft.Role
  /// The leader; nil when this node knows none.
  package let leader: NodeID?
  /// All other members, in the order of their ids.
  package let health: [Health]
  /// Other clusters of the same name that were heard lately.
  package let rivals: [Rivals.Rival]
  /// Datagrams that were ignored since the start, by reason.
  package let ignored: IgnoredDatagrams
  /// The node has asked to leave its cluster.
  package let isLeaving: Bool
  /// The node has no part in a cluster's work yet: it seeks, or follows the log without being active, or the cluster
  /// hasn't given its partitions owners.
  package let isForming: Bool

  /// What the control plane knows now.
  ///
  /// - Parameter earlier: what it knew before, of which everything is taken over that follows from a topology which is
  ///   the same still: this is asked for ten times a second, and there are 1024 partitions to look at.
  package init(_ control: borrowing ControlPlane, after earlier: ClusterView? = nil) {
    identity = control.identity
    cluster = control.cluster
    topology = control.topology
    term = control.standing.term
    role = control.standing.role
    leader = control.standing.leader
    health = (control.membership?.all ?? []).map {
      Health(id: $0.id, state: $0.state, failedAttempts: $0.failedAttempts)
    }
    rivals = control.rivals.all
    ignored = control.ignored
    isLeaving = control.isLeaving
    if let earlier, let topology, earlier.identity.id == control.id, earlier.cluster == cluster,
      earlier.topology?.version == topology.version
    {
      isForming = earlier.isForming
    } else if let topology, let own = topology.member(control.id) {
      isForming = own.state == .joining || topology.partitions.contains { $0.owner == nil }
    } else {
      isForming = true
    }
  }

  /// Whether other members exist.
  package var isAlone: Bool { (topology?.memberCount ?? 1) < 2 }

  /// Whether something changed since `earlier` that decides what a node may do; the rest is news that can wait.
  package func isDecisive(since earlier: ClusterView) -> Bool {
    cluster != earlier.cluster || topology?.version != earlier.topology?.version || term != earlier.term
      || role != earlier.role || leader != earlier.leader || isLeaving != earlier.isLeaving
      || (topology == nil) != (earlier.topology == nil)
  }

  /// Whether anything changed since `earlier`.
  package func differs(from earlier: ClusterView) -> Bool {
    isDecisive(since: earlier) || health != earlier.health || rivals != earlier.rivals || ignored != earlier.ignored
  }
}

extension ControlPlane {
  /// Until when this node may act as an owner, by the clock of `receive` and `tick`: 0 for not at all, `.max` as long
  /// as nobody else votes. Whoever acts by it asks its own clock. See `holdsLease`, which is the same as a question.
  package func leaseEnd(_ now: UInt64) -> UInt64 {
    guard restart == nil, parts.hasTopology, parts.hasRaft else { return 0 }
    return parts.raft.leaseBound(now)
  }
}
