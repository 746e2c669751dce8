import Wire

/// Where an operation is executed: on a core of this node, over a link, or nowhere for now. One integer, so that the
/// batch keeps it where it keeps the core.
struct Place: Equatable {
  /// A core from 0 on; -1 - n for link n; `nowhere` for a partition that has no owner that takes operations.
  let rawValue: Int

  init(rawValue: Int) { self.rawValue = rawValue }

  static func link(_ link: Int) -> Place { Place(rawValue: -1 - link) }
  static var nowhere: Place { Place(rawValue: Int(Int32.min)) }

  /// The link, if it is one.
  var link: Int? { rawValue < 0 && self != .nowhere ? -1 - rawValue : nil }
}

/// For each partition, where its operations go: what a core keeps of the topology.
///
/// The same for all kinds of operations as long as this node owns everything, as a lone one does: then `isRouted` of
/// the core is false and nobody looks here.
struct Routes: ~Copyable {
  struct Route {
    /// The owner: a link, or `own`, or `nobody`.
    var owner: Int16 = Routes.own
    /// Whether this node's copy may answer reads that are content with any.
    var isReadable = true
  }

  static var own: Int16 { -1 }
  static var nobody: Int16 { -2 }

  let table: UnsafeMutablePointer<Route>
  /// The topology they were made of: its version, its members and partitions' entries, and which link leads to which
  /// member.
  var version: UInt64 = 0
  var members: [Member?] = []
  var entries: [PartitionEntry] = []
  var linkOfSlot: [Int] = []

  init() {
    table = .allocate(capacity: partitionCount)
    table.initialize(repeating: Route(), count: partitionCount)
  }

  deinit { table.deallocate() }
}

extension Core {
  /// Where an operation is executed, as `Place.rawValue`.
  @inline(__always)
  func place(of operation: UnsafePointer<Operation>) -> Int {
    isRouted ? routedPlace(operation) : core(of: operation.pointee.key.partition)
  }

  @inline(never)
  private func routedPlace(_ operation: UnsafePointer<Operation>) -> Int {
    let partition = operation.pointee.key.partition
    // A node's ledgers are its own, whoever owns the partitions.
    if operation.pointee.kind == .lost { return core(of: partition) }
    let route = routes.table[Int(partition.rawValue)]
    if route.owner == Routes.own { return core(of: partition) }
    if operation.pointee.kind.isWrite {
      // A node without a majority refuses writes at once instead of waiting for an owner that it can't reach either.
      return standing.hasLease ? Place(owner: route.owner).rawValue : core(of: partition)
    }
    if operation.pointee.key.isCached && operation.pointee.kind != .list {
      return cachedPlace(operation, owner: route.owner)
    }
    let isLocal = !operation.pointee.hasOptions || operation.pointee.options.readLevel == .local
    let isPatient = operation.pointee.hasOptions && operation.pointee.options.hasMinRevision
    // The owner has every revision there is; a copy may not have it yet.
    let ownerAnswers = route.owner >= 0 && canAsk(Int(route.owner))
    if isLocal && route.isReadable && !(isPatient && ownerAnswers) { return core(of: partition) }
    if ownerAnswers { return Place(owner: route.owner).rawValue }
    if isLocal { return anyCopy(partition) }
    // A copy may know enough of what a majority has.
    let isCommitted = operation.pointee.options.readLevel == .committed
    return isCommitted && route.isReadable ? core(of: partition) : Place(owner: route.owner).rawValue
  }

  /// Another node that has all of the partition, for a read while its owner can't be asked.
  private func anyCopy(_ partition: PartitionID) -> Int {
    for slot in routes.entries[Int(partition.rawValue)].synced where Int(slot) < routes.linkOfSlot.count {
      let link = routes.linkOfSlot[Int(slot)]
      if link >= 0 && canAsk(link) { return Place.link(link).rawValue }
    }
    return Place.nowhere.rawValue
  }

  // MARK: Topology

  /// Takes the cluster's newest topology: opens links to members it names, closes those to nodes it doesn't, and sends
  /// operations by it from now on. Within a turn, or before the first.
  package mutating func adopt(topology: Topology, me: NodeID) {
    let cluster = FrameID(high: topology.cluster.high, low: topology.cluster.low)
    guard topology.version != routes.version || cluster != clusterID || selfID != me.frameID else { return }
    runBatch()
    // Whoever waits for an owner may have one now.
    if !held.isEmpty { held.nextTry = 0 }
    let isSame =
      !routes.entries.isEmpty && cluster == clusterID && selfID == me.frameID && topology.members == routes.members
    selfID = me.frameID
    clusterID = cluster
    linkMembers(topology, me)
    maps.take(topology.maps)
    let own = topology.slot(of: me)
    let changed = changes(topology, all: !isSame)
    topology.partitions.withUnsafeBufferPointer { entries in
      for partition in changed { routes.table[partition] = route(entries.baseAddress! + partition, own: own) }
    }
    isRouted = (0..<partitionCount).contains { routes.table[$0].owner != Routes.own }
    routes.version = topology.version
    routes.members = topology.members
    routes.entries = topology.partitions
    replicate(by: topology, as: own, changed)
  }

  /// The partitions whose entries aren't what they were in the topology before: while partitions move, each topology
  /// changes a few. If members changed all count, since what is done for a partition depends on them.
  private func changes(_ topology: Topology, all: Bool) -> [Int] {
    topology.partitions.withUnsafeBufferPointer { new in
      routes.entries.withUnsafeBufferPointer { old in
        (0..<partitionCount).filter { all || new[$0].version != old[$0].version }
      }
    }
  }

  private func route(_ entry: UnsafePointer<PartitionEntry>, own: MemberSlot?) -> Routes.Route {
    var route = Routes.Route(owner: Routes.nobody, isReadable: false)
    if let owner = entry.pointee.owner, entry.pointee.isActive {
      let link = Int(owner) < routes.linkOfSlot.count ? routes.linkOfSlot[Int(owner)] : -1
      route.owner = owner == own ? Routes.own : link >= 0 ? Int16(link) : Routes.nobody
    }
    if let own { route.isReadable = entry.pointee.synced.contains(own) || route.owner == Routes.own }
    return route
  }

  /// Makes the links fit the members.
  private mutating func linkMembers(_ topology: Topology, _ me: NodeID) {
    var linkOfSlot = [Int](repeating: -1, count: topology.members.count)
    for (slot, member) in topology.members.enumerated() {
      guard let member, member.id != me else { continue }
      let known = links.firstIndex { $0.pointee.isWanted && $0.pointee.node == member.id }
      linkOfSlot[slot] = known ?? addLink(to: member)
      readdress(links[linkOfSlot[slot]], member.peer)
    }
    for link in links.indices where links[link].pointee.isWanted && !linkOfSlot.contains(link) { removeLink(link) }
    routes.linkOfSlot = linkOfSlot
  }
}

extension NodeID {
  /// The node's name in frames.
  var frameID: FrameID { FrameID(high: high, low: low) }
}

extension Place {
  init(owner: Int16) { self = owner == Routes.nobody ? .nowhere : .link(Int(owner)) }
}
