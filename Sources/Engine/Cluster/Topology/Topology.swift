import Wire

/// A member's place in the topology: what partitions' entries name it by. Reused once nothing names it any more.
package typealias MemberSlot = UInt16

/// What a member may do, as the log has it. Suspicion is not here: it changes no ownership.
package enum MemberState: UInt8, Sendable {
  /// Follows the log; holds no partitions yet.
  case joining = 1
  case active
  /// Its lease ran out and what it owned was fenced; it may come back.
  case down
  /// Its partitions are being moved away so that it can leave.
  case leaving
}

/// A node that belongs to the cluster.
package struct Member: Equatable, Sendable {
  /// Who it is.
  package var id: NodeID
  /// A label; the node's host or pod name. At most 255 bytes.
  package var name: String
  /// Where its datagrams and peer connections go, and where it answers HTTP.
  package var peer: PeerAddress
  package var http: PeerAddress
  /// Its share of the ring in per cent of a plain member's.
  package var weight: UInt16
  package var state: MemberState

  package init(
    id: NodeID, name: String = "", peer: PeerAddress, http: PeerAddress = .none, weight: UInt16 = 100,
    state: MemberState = .joining
  ) {
    self.id = id
    self.name = name
    self.peer = peer
    self.http = http
    self.weight = weight
    self.state = state
  }
}

/// One partition's entry: who holds it, who orders its writes, and how far that is settled (PROTOCOL: two layers). Of
/// one size and without references, since there are 1024 of them in every copy of the topology.
package struct PartitionEntry: Equatable, Sendable {
  /// Raised by every fence.
  package var epoch = Epoch(0)
  /// Raised by every change of this entry.
  package var version: UInt32 = 0
  /// Whether its owner may take writes; otherwise it is fenced.
  package var isActive = false
  /// The replication factor in force, which changes only together with `synced`.
  package var replicationFactor: UInt8 = 0
  /// Who orders the writes; while fenced, who did so last. nil before the first activation.
  package var owner: MemberSlot?
  /// Who should hold it by the ring, the wanted owner first.
  package var replicas = SlotList()
  /// The synced set S: those that hold all that was acknowledged.
  package var synced = SlotList()
  /// The log entry that raised the epoch last: a member that applied it takes no older epoch.
  package var fencedAt = LogIndex(0)
  /// While fenced: who brings the others in step to be the next owner; at most one in an epoch.
  package var candidate: MemberSlot?
  /// How many times all that held it were gone and it began anew, empty.
  package var losses: UInt16 = 0
  /// The epoch in which it did so last: whatever was written in an earlier one is lost. 0 for never.
  package var lostBefore = Epoch(0)

  package init() {}

  /// Members of `synced` that must answer a fence before a new owner may be chosen: one more than those a write at
  /// majority can have missed, max(1, |S| - Wq + 1) with Wq = rf/2 + 1.
  package var promisesNeeded: Int { max(1, synced.count - Int(replicationFactor) / 2) }

  /// Whether two entries are equal, asked for in place: copies of them would cost more than the comparison.
  package static func agree(_ a: UnsafePointer<PartitionEntry>, _ b: UnsafePointer<PartitionEntry>) -> Bool {
    a.pointee.version == b.pointee.version && a.pointee.epoch == b.pointee.epoch
      && a.pointee.isActive == b.pointee.isActive && a.pointee.replicationFactor == b.pointee.replicationFactor
      && a.pointee.owner == b.pointee.owner && a.pointee.candidate == b.pointee.candidate
      && a.pointee.fencedAt == b.pointee.fencedAt && a.pointee.losses == b.pointee.losses
      && a.pointee.lostBefore == b.pointee.lostBefore && a.pointee.replicas == b.pointee.replicas
      && a.pointee.synced == b.pointee.synced
  }

  /// Whether it names this slot.
  func names(_ slot: MemberSlot) -> Bool {
    owner == slot || candidate == slot || replicas.contains(slot) || synced.contains(slot)
  }
}

/// The state that the control plane's log builds: members, voters and partitions. The same on every node at the same
/// index, since it changes by `apply` alone.
package struct Topology: Equatable, Sendable {
  /// Members at most: their slots must fit two bytes with room to spare, and a listing must stay readable.
  package static let maximumMembers = 1024
  /// Copies of a partition at most: half of what a list of slots has room for, since those that held a partition stay
  /// in its synced set until the others have it. More copies would only make every write dearer.
  package static let maximumCopies = SlotList.capacity / 2

  /// Which cluster.
  package let cluster: ClusterID
  /// The replication factor that users asked for.
  package let copies: UInt8
  /// The last entry that was applied.
  package private(set) var index: LogIndex
  /// Counts the entries that changed anything: `epoch` in answers to users.
  package private(set) var version: UInt64 = 1
  /// Who votes; changed by entries of the log's own kind.
  package internal(set) var voters: [NodeID]
  /// The entry by which the cluster was about to take its first write; 0 before it.
  package internal(set) var writtenAt = LogIndex(0)
  /// The cluster that this one, never written, dissolves into.
  package internal(set) var dissolved: ClusterID?
  /// By slot; nil where nobody is.
  package internal(set) var members: [Member?]
  /// The maps that have settings.
  package internal(set) var maps: [MapEntry] = []
  /// By partition.
  package internal(set) var partitions: [PartitionEntry]
  /// Those that aren't active: few as a rule, so that whoever seeks them need not look at all entries.
  var inactive = PartitionSet.all
  /// Of which partitions; see `ControlPlane.takeChangedPartitions`.
  var changed = ChangedPartitions()

  #if DEBUG
    /// A planted bug, for tests of the simulator's checkers.
    var mutation: Mutation?
  #endif

  /// The state in which a founded cluster starts: all founders are active members, and no partition was ever owned.
  package init(founding cluster: ClusterID, copies: UInt8, members: [Member], voters: [NodeID], index: LogIndex) {
    self.cluster = cluster
    self.copies = min(max(copies, 1), UInt8(Topology.maximumCopies))
    self.index = index
    self.voters = voters
    self.members = members.map {
      var member = $0
      member.state = .active
      return member
    }
    partitions = [PartitionEntry](repeating: PartitionEntry(), count: partitionCount)
  }

  init(
    decoded cluster: ClusterID, copies: UInt8, index: LogIndex, version: UInt64, voters: [NodeID], members: [Member?],
    partitions: [PartitionEntry]
  ) {
    self.cluster = cluster
    self.copies = copies
    self.index = index
    self.version = version
    self.voters = voters
    self.members = members
    self.partitions = partitions
    for partition in partitions.indices where partitions[partition].isActive { inactive.remove(partition) }
  }

  // MARK: Reading

  /// Whether the cluster ever took a write, or is about to: it then never dissolves.
  package var isWritten: Bool { writtenAt > LogIndex(0) }

  /// Whether a partition was never written: it had no owner since the first write of all.
  package func isUntouched(_ entry: PartitionEntry) -> Bool {
    !isWritten || (!entry.isActive && entry.fencedAt < writtenAt)
  }

  /// Whether a partition waits, without an owner, for members that are down: too few of those that hold it are there to
  /// tell who has all that was acknowledged.
  package func isStalled(_ entry: PartitionEntry) -> Bool {
    guard !entry.isActive, !entry.synced.isEmpty, !isUntouched(entry) else { return false }
    var present = 0
    for slot in entry.synced where members[Int(slot)].map({ $0.state != .down }) ?? false { present += 1 }
    return present < entry.promisesNeeded
  }

  /// How many partitions are stalled; see `isStalled`.
  package var stalledCount: Int {
    partitions.withUnsafeBufferPointer { entries in inactive.count { isStalled(entries[$0]) } }
  }

  /// The slot of a member; nil when it isn't one. Members are few: a scan.
  package func slot(of id: NodeID) -> MemberSlot? {
    for (slot, member) in members.enumerated() where member?.id == id { return MemberSlot(slot) }
    return nil
  }

  /// The member of this id.
  package func member(_ id: NodeID) -> Member? { slot(of: id).flatMap { members[Int($0)] } }

  /// How many members there are, whatever their state.
  package var memberCount: Int { members.reduce(0) { $1 == nil ? $0 : $0 + 1 } }

  /// Whether this node owns the partition and may order its writes while its lease lasts.
  package func owns(_ partition: PartitionID, _ id: NodeID) -> Bool {
    let entry = partitions[Int(partition.rawValue)]
    guard entry.isActive, let owner = entry.owner else { return false }
    return members[Int(owner)]?.id == id
  }

  /// Whether any partition's entry names this slot as owner, replica or synced.
  package func isNamed(_ slot: MemberSlot) -> Bool {
    partitions.contains { $0.names(slot) }
  }

  /// All partitions, as if each had changed.
  package var allPartitions: ChangedPartitions { ChangedPartitions() }

  /// This topology without its partitions' entries: to keep it without keeping those.
  package var withoutEntries: Topology {
    var copy = self
    copy.partitions = []
    return copy
  }

  /// Whether another topology is equal to this one but for its partitions' entries.
  package func agreesBesidesEntries(with other: Topology) -> Bool {
    cluster == other.cluster && copies == other.copies && index == other.index && version == other.version
      && voters == other.voters && writtenAt == other.writtenAt && dissolved == other.dissolved
      && members == other.members && maps == other.maps
  }

  // MARK: Changing

  /// Takes the voters of a configuration entry.
  package mutating func apply(voters: [NodeID], at index: LogIndex) {
    advance(to: index)
    self.voters = voters
    version += 1
  }

  /// Takes an entry that changes nothing, as a leader's first one.
  package mutating func applyNothing(at index: LogIndex) { advance(to: index) }

  /// Applies a command. One that no longer fits (an older epoch or version, a member that is gone) changes nothing, so
  /// that a command may be sent again. Returns whether it changed anything.
  @discardableResult
  package mutating func apply(_ command: TopologyCommand, at index: LogIndex) -> Bool {
    advance(to: index)
    // A cluster that has dissolved is over.
    guard dissolved == nil else { return false }
    let changed = change(command)
    if changed { version += 1 }
    return changed
  }

  private mutating func advance(to index: LogIndex) {
    precondition(index == self.index.next, "entry \(index.rawValue) applied after \(self.index.rawValue)")
    self.index = index
  }
}
