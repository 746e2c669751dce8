import Wire

// Plans for partitions: who should hold them by the ring, and, as long as no data plane does it, who owns them.
//
// Without data there is nothing to reconcile: a member that has applied a fence has promised (it takes no older epoch
// from then on) and holds all there is. The rules are those of the data plane all the same: a fence needs its promises,
// a new owner comes only after the last one has applied the fence or its lease has surely ended, and the synced set
// changes together with the replication factor.

extension ControlPlane {
  /// Proposes what partitions need; notes when nothing is left to do.
  func planPartitions(_ topology: Topology, _ now: UInt64) {
    var plan = PartitionPlan(topology)
    place(topology, &plan, now)
    let view = View(topology, self, now)
    if !settings.standsInForData {
      planData(topology, view, now, &plan)
    } else {
      if planner.settledBy != view.decisive {
        planner.settledBy = view.decisive
        planner.settled = [UInt32](repeating: 0, count: partitionCount)
        planner.awaits = false
      }
      if planner.awaits { plan.isWaiting = true }
      var settled: [UInt32] = []
      swap(&settled, &planner.settled)
      topology.partitions.withUnsafeBufferPointer { entries in
        for partition in entries.indices
        where entries[partition].version != settled[partition] || settled[partition] == 0 {
          if !entries[partition].isActive {
            settle(partition, entries[partition], view, now, &plan)
          } else if ControlPlane.isInOrder(entries, partition, view)
            || tend(partition, entries[partition], view, &plan)
          {
            settled[partition] = entries[partition].version
          }
        }
      }
      swap(&settled, &planner.settled)
    }
    // As many entries as there is room for the datagrams that take them to everybody.
    let most = max(1, min(ClusterLimits.plannedEntries, parts.raft.bulkRoom(now) / max(1, parts.news.addresses.count)))
    for command in plan.commands().prefix(most) {
      let index = propose(command, now)
      guard let index, case .fence(let partitions) = command else { continue }
      for partition in partitions {
        guard let owner = topology.partitions[Int(partition.rawValue)].owner else { continue }
        parts.raft.withholdLease(topology.members[Int(owner)]!.id, until: index)
      }
    }
    if plan.isEmpty, !plan.isWaiting { planner.idleVersion = topology.version }
  }

  /// Compares the ring with what the topology has. While more and more members come, it waits for a moment, so that
  /// partitions move once and not with each of them.
  private func place(_ topology: Topology, _ plan: inout PartitionPlan, _ now: UInt64) {
    let members = topology.members.compactMap { $0 }
      .filter { $0.state == .active || $0.state == .down }
      .map { RingMember($0.id, weight: $0.weight) }.sorted { $0.id < $1.id }
    guard !members.isEmpty else { return }
    guard mayPlace(members, now) else {
      plan.isWaiting = true
      return
    }
    if planner.ring?.members != members || planner.ring?.copies != topology.copies {
      let ring = HashRing(members)
      let assignment = ring.assignment(copies: Int(topology.copies))
      let slots = ring.members.map { topology.slot(of: $0.id)! }
      let replicas = (0..<partitionCount).map { partition in SlotList(assignment[partition].map { slots[Int($0)] }) }
      planner.ring = (members, topology.copies, replicas)
      planner.placedVersion = 0
    }
    guard planner.placedVersion != topology.version else { return }
    let assignment = planner.ring!.assignment
    topology.partitions.withUnsafeBufferPointer { entries in
      for partition in entries.indices where entries[partition].replicas != assignment[partition] {
        plan.placements.append(.init(partition: PartitionID(UInt16(partition)), replicas: assignment[partition]))
      }
    }
    if plan.placements.isEmpty { planner.placedVersion = topology.version }
  }

  /// Whether the ring may be computed for these members now: not while newcomers keep coming.
  private func mayPlace(_ members: [RingMember], _ now: UInt64) -> Bool {
    guard let ring = planner.ring, ring.members != members, members.contains(where: { !ring.members.contains($0) })
    else {
      planner.newcomersSince = nil
      return true
    }
    var since = planner.newcomersSince ?? (members, first: now, last: now)
    if since.members != members { since = (members, first: since.first, last: now) }
    planner.newcomersSince = since
    guard now >= min(since.last + settings.placementDelay, since.first + 6 * settings.placementDelay) else {
      return false
    }
    planner.newcomersSince = nil
    return true
  }

  /// What a plan asks of members, by slot.
  struct View {
    /// Active as the log has it; and heard just now.
    var isActive: [Bool] = []
    var isHeard: [Bool] = []
    var isDown: [Bool] = []
    var isLeaving: [Bool] = []
    var isGone: [Bool] = []
    var mayHoldLease: [Bool] = []
    var applied: [LogIndex] = []
    /// The replication factor in force: what was asked for, or as many as there are.
    var factor: UInt8 = 1

    /// What an active partition that is where it should be depends on, besides its entry.
    struct Decisive: Equatable {
      let isActive: [Bool]
      let isDown: [Bool]
      let factor: UInt8
    }

    var decisive: Decisive { Decisive(isActive: isActive, isDown: isDown, factor: factor) }

    init(_ topology: Topology, _ control: ControlPlane, _ now: UInt64) {
      var members = 0
      for member in topology.members {
        isActive.append(member?.state == .active)
        isHeard.append(member.map { $0.id == control.id || control.isHeard($0.id, now) } ?? false)
        isDown.append(member?.state == .down)
        isLeaving.append(member?.state == .leaving)
        isGone.append(member.map { control.isGone($0, topology, now) } ?? true)
        mayHoldLease.append(member.map { control.parts.raft.mayHoldLease($0.id, now) } ?? false)
        applied.append(member.flatMap { control.parts.raft.applied(by: $0.id) } ?? LogIndex(0))
        if member?.state == .active { members += 1 }
      }
      factor = UInt8(clamping: max(1, min(Int(topology.copies), members)))
    }
  }

  /// Whether an active partition is where it should be: those that should hold it are active, hold it, and the first of
  /// them owns it. Then `tend` has nothing to do, and this says so without a copy of anything.
  private static func isInOrder(
    _ entries: UnsafeBufferPointer<PartitionEntry>, _ partition: Int, _ view: View
  ) -> Bool {
    let count = entries[partition].replicas.count
    guard count > 0, entries[partition].synced.count == count,
      entries[partition].owner == entries[partition].replicas[0],
      entries[partition].replicationFactor == max(view.factor, UInt8(count))
    else { return false }
    for index in 0..<count {
      let slot = entries[partition].replicas[index]
      guard entries[partition].synced[index] == slot, view.isActive[Int(slot)] else { return false }
    }
    return true
  }

  /// An active partition: its synced set loses those that are down, gains those that should hold it, and ownership
  /// moves to the one that should own it. Returns whether nothing is left to do.
  private func tend(_ partition: Int, _ entry: PartitionEntry, _ view: View, _ plan: inout PartitionPlan) -> Bool {
    let owner = entry.owner!
    let id = PartitionID(UInt16(partition))
    var synced = entry.synced.filter { $0 == owner || !view.isDown[Int($0)] }
    for replica in entry.replicas where view.isActive[Int(replica)] && !synced.contains(replica) {
      if synced.isFull { synced.removeAll { $0 != owner && !entry.replicas.contains($0) } }
      if view.isHeard[Int(replica)], view.applied[Int(replica)] >= entry.fencedAt {
        synced.append(replica)
      } else {
        plan.isWaiting = true
      }
    }
    let wanted = entry.replicas.filter { view.isActive[Int($0)] }
    // Those that should no longer hold it stay until all that should do.
    if wanted.allSatisfy({ synced.contains($0) }), !wanted.isEmpty {
      synced.removeAll { $0 != owner && !wanted.contains($0) }
    }
    // One that is down comes back or goes: either changes what is decisive.
    if entry.replicas.contains(where: { view.isDown[Int($0)] }) {
      plan.isWaiting = true
      planner.awaits = true
    }
    // A factor below the number of holders would make a fence wait for all of them.
    let factor = max(view.factor, UInt8(synced.count))
    if synced != entry.synced || entry.replicationFactor != factor {
      plan.resizes.append(
        .init(partition: id, epoch: entry.epoch, version: entry.version, replicationFactor: factor, synced: synced))
    } else if let first = wanted.first, first != owner, entry.synced.contains(first) {
      if view.isHeard[Int(first)] { plan.fences.append(id) } else { plan.isWaiting = true }
    } else {
      return wanted.allSatisfy { synced.contains($0) }
    }
    return false
  }

  /// A fenced partition: it gets an owner once the last one can't act any more and enough of its holders have promised.
  func settle(
    _ partition: Int, _ entry: PartitionEntry, _ view: View, _ now: UInt64, _ plan: inout PartitionPlan
  ) {
    plan.isWaiting = true
    if let last = entry.owner, view.applied[Int(last)] < entry.fencedAt, view.mayHoldLease[Int(last)] { return }
    func promised(_ slot: MemberSlot) -> Bool {
      (view.isActive[Int(slot)] || view.isLeaving[Int(slot)]) && view.applied[Int(slot)] >= entry.fencedAt
    }
    // Those that are heard will promise in a moment: without them the wanted owner would lose its turn.
    if entry.synced.contains(where: { view.isActive[Int($0)] && view.isHeard[Int($0)] && !promised($0) }) { return }
    var promisers = entry.synced.filter(promised)
    var isLoss = false
    if promisers.count < entry.promisesNeeded || promisers.isEmpty {
      // Before the first write nobody holds anything; and when all that held it are gone for good, nobody does again.
      let isUntouched = parts.topology.isUntouched(entry)
      guard isUntouched || entry.synced.allSatisfy({ view.isGone[Int($0)] }) else { return }
      isLoss = !isUntouched
      if promisers.isEmpty { promisers = entry.replicas.filter(promised) }
      // All that should hold it may be gone too, and stay members as long as it has no other owner.
      if promisers.isEmpty {
        let others = view.isActive.indices.map { MemberSlot($0) }.filter(promised)
        if !others.isEmpty { promisers = [others[partition % others.count]] }
      }
    }
    guard let owner = entry.replicas.first(where: { promisers.contains($0) }) ?? promisers.first else { return }
    plan.activations.append(
      .init(
        partition: PartitionID(UInt16(partition)), epoch: entry.epoch, owner: owner,
        replicationFactor: max(view.factor, UInt8(promisers.count)), isLoss: isLoss, synced: promisers))
  }
}

/// Changes of partitions that wait to become entries, each as large as a datagram permits.
struct PartitionPlan {
  var placements: [TopologyCommand.Placement] = []
  var fences: [PartitionID] = []
  var activations: [TopologyCommand.Activation] = []
  var resizes: [TopologyCommand.Resize] = []
  var choices: [TopologyCommand.Choice] = []
  var handOvers: [TopologyCommand.HandOver] = []
  /// Something can't be done yet: plan again although the topology doesn't change.
  var isWaiting = false

  init(_ topology: Topology) {}

  var isEmpty: Bool {
    placements.isEmpty && fences.isEmpty && activations.isEmpty && resizes.isEmpty && choices.isEmpty
      && handOvers.isEmpty
  }

  /// The entries, those that restore service first.
  func commands() -> [TopologyCommand] {
    var commands: [TopologyCommand] = []
    split(activations, size: { 11 + 2 * $0.synced.count }, emit: { commands.append(.activate($0)) })
    split(choices, size: { _ in 8 }, emit: { commands.append(.choose($0)) })
    split(handOvers, size: { _ in 12 }, emit: { commands.append(.handOver($0)) })
    split(resizes, size: { 12 + 2 * $0.synced.count }, emit: { commands.append(.resize($0)) })
    split(fences, size: { _ in 2 }, emit: { commands.append(.fence($0)) })
    split(placements, size: { 3 + 2 * $0.replicas.count }, emit: { commands.append(.place($0)) })
    return commands
  }

  /// Cuts a list where the next item would make an entry too long.
  private func split<Item>(_ items: [Item], size: (Item) -> Int, emit: ([Item]) -> Void) {
    var part: [Item] = []
    var room = LogEntry.maximumPayload - 3
    for item in items {
      if size(item) > room {
        emit(part)
        part = []
        room = LogEntry.maximumPayload - 3
      }
      part.append(item)
      room -= size(item)
    }
    if !part.isEmpty { emit(part) }
  }
}
