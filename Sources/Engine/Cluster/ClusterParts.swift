import Wire

/// The large parts of a node that has a cluster, each at an address of its own for as long as the node lives.
///
/// As members of the control plane's class, of an optional type, they would be copied whole by most reads, and each
/// access would be checked for exclusivity while it runs: together more than a third of the time of a quiet cluster.
/// Each must be put in its place before it is used; `ControlPlane` knows which are.
struct ClusterParts: ~Copyable {
  private let raftPlace = UnsafeMutablePointer<Raft>.allocate(capacity: 1)
  private let topologyPlace = UnsafeMutablePointer<Topology>.allocate(capacity: 1)
  private let membershipPlace = UnsafeMutablePointer<Membership>.allocate(capacity: 1)
  private let newsPlace = UnsafeMutablePointer<News>.allocate(capacity: 1)
  /// Which are there.
  private let present = UnsafeMutablePointer<Present>.allocate(capacity: 1)

  private struct Present {
    var raft = false
    var topology = false
    var membership = false
  }

  /// What every step uses and leaves behind; the control plane's members of these names say what they are.
  struct News {
    var cluster = ClusterID.none
    var restart: RestartReason?
    var mayWantRequest = true
    var nextHello: UInt64 = 0
    var nextRequest: UInt64 = 0
    var leaderlessSince: UInt64?
    var effects: [ClusterEffect] = []
    var standing = ControlPlane.Standing()
    var ignored = IgnoredDatagrams()
    var datagrams = DatagramCounts()
    /// The number of the last datagram that was sent.
    var sequence: UInt64 = 0
    var replayFilter = ReplayFilter()
    var electionOutput: [(to: NodeID, message: ElectionMessage)] = []
    var membershipOutput: [(to: NodeID, address: PeerAddress, body: BeaconBody)] = []
    /// Where the topology has the members, in the order of their ids.
    var addresses: [(id: NodeID, address: PeerAddress)] = []
    /// Where nodes were heard that the topology doesn't have yet, the latest last; at most `ClusterLimits.heard`.
    var heard: [(id: NodeID, address: PeerAddress)] = []
    /// Members that were heard from elsewhere than the topology has them, and since when not from there; at most
    /// `ClusterLimits.heard`.
    var roamers: [(id: NodeID, address: PeerAddress, since: UInt64)] = []
  }

  init() {
    newsPlace.initialize(to: News())
    present.initialize(to: Present())
  }

  deinit {
    if hasRaft { raftPlace.deinitialize(count: 1) }
    if hasTopology { topologyPlace.deinitialize(count: 1) }
    if hasMembership { membershipPlace.deinitialize(count: 1) }
    newsPlace.deinitialize(count: 1)
    raftPlace.deallocate()
    topologyPlace.deallocate()
    membershipPlace.deallocate()
    newsPlace.deallocate()
    present.deallocate()
  }

  var hasRaft: Bool { present.pointee.raft }
  var hasTopology: Bool { present.pointee.topology }
  var hasMembership: Bool { present.pointee.membership }

  /// The node's share of the log.
  var raft: Raft {
    unsafeAddress {
      precondition(hasRaft, "no log yet")
      return UnsafePointer(raftPlace)
    }
    nonmutating unsafeMutableAddress {
      precondition(hasRaft, "no log yet")
      return raftPlace
    }
  }

  /// The state that the log has built.
  var topology: Topology {
    unsafeAddress {
      precondition(hasTopology, "no topology yet")
      return UnsafePointer(topologyPlace)
    }
    nonmutating unsafeMutableAddress {
      precondition(hasTopology, "no topology yet")
      return topologyPlace
    }
  }

  /// Who is alive, as far as pings tell.
  var membership: Membership {
    unsafeAddress {
      precondition(hasMembership, "no members yet")
      return UnsafePointer(membershipPlace)
    }
    nonmutating unsafeMutableAddress {
      precondition(hasMembership, "no members yet")
      return membershipPlace
    }
  }

  /// What the last step left behind.
  var news: News {
    unsafeAddress { UnsafePointer(newsPlace) }
    nonmutating unsafeMutableAddress { newsPlace }
  }

  /// Puts a part in its place; once in the life of a node.
  func place(_ raft: consuming Raft) {
    precondition(!hasRaft, "a node has one log")
    raftPlace.initialize(to: raft)
    present.pointee.raft = true
  }

  /// Puts a part in its place, or another where one was: a snapshot's.
  func place(_ topology: consuming Topology) {
    if hasTopology { topologyPlace.deinitialize(count: 1) }
    topologyPlace.initialize(to: topology)
    present.pointee.topology = true
  }

  /// Puts a part in its place; once in the life of a node.
  func place(_ membership: consuming Membership) {
    precondition(!hasMembership, "a node has one view of its members")
    membershipPlace.initialize(to: membership)
    present.pointee.membership = true
  }
}
