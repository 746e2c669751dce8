import Wire

// Plans for partitions whose data other nodes hold: the leader decides fences and candidates; owners and candidates ask
// for the rest (`Wish`), since only they know whose logs are in step.
extension ControlPlane {
  /// How long the leader waits for promises that it doesn't need, so that the wanted owner isn't passed over.
  private static let promiseGrace: UInt64 = 100_000_000
  /// How long a candidate may take to bring a majority in step before another is looked for.
  private static let candidateTimeout: UInt64 = 10_000_000_000

  /// How long an owner may take to remove one of several members that are gone.
  private static let shrinkPatience: UInt64 = 2_000_000_000

  func planData(_ topology: Topology, _ view: View, _ now: UInt64, _ plan: inout PartitionPlan) {
    for partition in topology.partitions.indices {
      let entry = topology.partitions[partition]
      if entry.isActive {
        grant(partition, entry, view, &plan)
        relieve(partition, entry, view, now, &plan)
      } else if entry.epoch == Epoch(0) || entry.synced.isEmpty {
        // Nobody holds anything yet.
        settle(partition, entry, view, now, &plan)
      } else {
        reconcile(partition, topology, view, now, &plan)
      }
    }
  }

  /// What an active partition's owner asks for.
  private func grant(_ partition: Int, _ entry: PartitionEntry, _ view: View, _ plan: inout PartitionPlan) {
    let id = PartitionID(UInt16(partition))
    switch planner.wishes.wish(partition, entry.epoch, of: entry.owner!) {
    case .resize(let version, let factor, let synced) where version == entry.version:
      plan.resizes.append(
        .init(partition: id, epoch: entry.epoch, version: version, replicationFactor: factor, synced: synced))
    case .handOver(let version, let heir) where version == entry.version && view.isActive[Int(heir)]:
      plan.handOvers.append(.init(partition: id, epoch: entry.epoch, version: version, heir: heir))
    default: break
    }
  }

  /// An owner can't remove one of two members that are gone if the other lacks something that was acknowledged ★
  /// (Slot.tla: `AskShrink`), and if each lacks something, neither; the same if one is gone and the other is there, but
  /// of no use before it has left the set. A fence can: one of those that promise has everything, and the new set holds
  /// only those that are in step.
  private func relieve(
    _ partition: Int, _ entry: PartitionEntry, _ view: View, _ now: UInt64, _ plan: inout PartitionPlan
  ) {
    let gone = entry.synced.filter { view.isDown[Int($0)] }.count
    guard gone > 0, entry.synced.count - gone >= entry.promisesNeeded else {
      if !planner.stuck.isEmpty { planner.stuck[partition] = nil }
      return
    }
    plan.isWaiting = true
    let since = planner.stuck[partition].flatMap { $0.version == entry.version ? $0.since : nil } ?? now
    planner.stuck[partition] = (entry.version, since)
    let patience = gone > 1 ? ControlPlane.shrinkPatience : 3 * ControlPlane.shrinkPatience
    if now >= since + patience { plan.fences.append(PartitionID(UInt16(partition))) }
  }

  /// Who begins anew with a partition that is lost: one that should hold it, else anyone; those that should may be gone
  /// too, and stay members as long as it names them.
  private func heir(of partition: Int, _ entry: PartitionEntry, _ view: View) -> MemberSlot? {
    func isThere(_ slot: MemberSlot) -> Bool { view.isActive[Int(slot)] && view.isHeard[Int(slot)] }
    if let wanted = entry.replicas.first(where: isThere) { return wanted }
    let others = view.isActive.indices.map { MemberSlot($0) }.filter(isThere)
    return others.isEmpty ? nil : others[partition % others.count]
  }

  /// Whether a fenced partition begins with an empty log: all that held it are dead, or count as that. As long as one
  /// of them may come back with what was acknowledged, the partition waits for it. One that was never written waits
  /// for nobody.
  private func mayBeginAnew(_ entry: PartitionEntry, _ topology: Topology, _ view: View) -> Bool {
    let isUntouched = topology.isUntouched(entry)
    return entry.synced.allSatisfy { view.isGone[Int($0)] || isUntouched && view.isDown[Int($0)] }
  }

  /// A fenced partition: enough of its synced set promise, one of them is chosen, and when it has brought others in
  /// step it is activated.
  private func reconcile(
    _ partition: Int, _ topology: Topology, _ view: View, _ now: UInt64, _ plan: inout PartitionPlan
  ) {
    let entry = topology.partitions[partition]
    plan.isWaiting = true
    let id = PartitionID(UInt16(partition))
    let since = planner.wishes.fencedSince(partition, entry.epoch, now: now)
    if let candidate = entry.candidate {
      guard view.isActive[Int(candidate)] || view.isLeaving[Int(candidate)] else {
        // What it wished for is of the past.
        plan.fences.append(id)
        return
      }
      if case .activate(let factor, let synced) = planner.wishes.wish(partition, entry.epoch, of: candidate),
        synced.allSatisfy({ entry.synced.contains($0) })
      {
        plan.activations.append(
          .init(
            partition: id, epoch: entry.epoch, owner: candidate, replicationFactor: max(factor, 1), isLoss: false,
            synced: synced))
      } else if now >= since + ControlPlane.candidateTimeout {
        plan.fences.append(id)
      }
      return
    }
    // One that is down may have promised before; it can't bring others in step.
    let promises = planner.wishes.promises(partition, entry.epoch).filter {
      view.isActive[Int($0.slot)] || view.isLeaving[Int($0.slot)]
    }
    func hasPromised(_ slot: MemberSlot) -> Bool { promises.contains { $0.slot == slot } }
    if let last = entry.owner, view.mayHoldLease[Int(last)], !hasPromised(last) { return }
    let mayCome = entry.synced.contains {
      (view.isActive[Int($0)] || view.isLeaving[Int($0)]) && view.isHeard[Int($0)] && !hasPromised($0)
    }
    if mayCome, now < since + ControlPlane.promiseGrace { return }
    if let candidate = entry.candidate(of: promises, needed: settings.has(.choosesEarly) ? 1 : nil) {
      plan.choices.append(.init(partition: id, epoch: entry.epoch, candidate: candidate))
    } else if mayBeginAnew(entry, topology, view), let owner = heir(of: partition, entry, view) {
      plan.activations.append(
        .init(
          partition: id, epoch: entry.epoch, owner: owner, replicationFactor: view.factor,
          isLoss: !topology.isUntouched(entry), synced: [owner]))
    }
  }
}
