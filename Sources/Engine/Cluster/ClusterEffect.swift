import Wire

/// What the control plane asks of the world.
package enum ClusterEffect: Equatable, Sendable {
  /// Send a datagram.
  case send(PeerAddress, [UInt8])
  /// Send a datagram by limited and directed broadcast, by multicast, and to every address that an operator named.
  case broadcast([UInt8])
  /// Something worth a log line happened.
  case event(ClusterEvent)
  /// The topology changed: hand the new one to all cores.
  case topologyChanged
  /// Drop all state and begin anew under a new id.
  case restart(RestartReason)
}

/// Why a node must begin anew, or may end.
package enum RestartReason: Equatable, Sendable {
  /// The cluster has removed this node, which was cut off for too long.
  case evicted
  /// The node asked to leave and has left: it may end.
  case left
  /// The cluster, which never took a write, dissolved into this one.
  case dissolved(ClusterID)
  /// A cluster that never took a write lost its leader, and another of its name is there.
  case orphaned
}

/// What happened, for log lines and the simulator's trace.
package enum ClusterEvent: Equatable, Sendable {
  /// This node has a cluster: it helped to found it, or joined it.
  case founded(ClusterID, members: Int)
  case joined(ClusterID)
  /// Another leader, or none.
  case leader(NodeID?, Term)
  /// A member's health as this node sees it; no change of the topology.
  case health(NodeID, HealthState)
  case memberAdded(NodeID, name: String)
  case memberState(NodeID, MemberState)
  case memberRemoved(NodeID)
  case voters([NodeID])
  /// An entry changed so many partitions: they were fenced, given owners, resized or placed.
  case partitions(PartitionChange, Int)
  /// All that held these partitions is gone; they begin anew, empty.
  case lost(Int)
  /// So many partitions wait for members that are down now, since these hold them; 0 when none does any more.
  case stalled(Int)
  /// Another cluster of the same name was heard.
  case rival(ClusterID, PeerAddress)
  /// This node may act as an owner, or no longer.
  case lease(Bool)
  case restarting(RestartReason)
  /// Datagrams are ignored for this reason; the last came from there, and so many did in all. Told the first time, and
  /// then at most every ten minutes.
  case ignored(IgnoredReason, PeerAddress, count: Int)

  /// What an entry did to partitions.
  package enum PartitionChange: UInt8, Sendable {
    case placed, fenced, chosen, activated, resized, handedOver
  }
}

/// What a node is, for its beacons and its entry in the topology.
package struct NodeIdentity: Equatable, Sendable {
  /// Drawn at start.
  package var id: NodeID
  /// A label for people; at most 255 bytes.
  package var name: String
  /// The cluster's name: only nodes of one name concern each other.
  package var clusterName: String
  /// Where it answers HTTP; with an unspecified address, the port at the address its datagrams come from.
  package var http: PeerAddress
  /// Its share of the ring in per cent of a plain member's.
  package var weight: UInt16

  package init(
    id: NodeID, name: String, clusterName: String = "kvd", http: PeerAddress = .none, weight: UInt16 = 100
  ) {
    self.id = id
    self.name = name
    self.clusterName = clusterName
    self.http = http
    self.weight = weight
  }
}
