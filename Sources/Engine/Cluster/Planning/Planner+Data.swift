import Wire

// Plans for partitions whose data other nodes hold: the leader decides fences and candidates; owners and candidates ask
// for the rest (`Wish`), since only they know whose logs are in step.
extension ControlPlane {
  /// How long the leader waits for promises that it doesn't need, so that the wanted owner isn't passed over.
  private static let promiseGrace: UInt64 = 100_000_000
  /// How long a candidate may take to bring a majority in step before another is looked for.
  private static let candidateTimeout: UInt64 = 10_000_000_000

  func planData(_ topology: Topology, _ view: View, _ now: UInt64, _ plan: inout PartitionPlan) {
    for partition in topology.partitions.indices {
      let entry = topology.partitions[partition]
      if entry.isActive {
        grant(partition, entry, &plan)
      } else if entry.epoch == Epoch(0) || entry.synced.isEmpty {
        // Nobody holds anything yet.
        settle(partition, entry, view, now, &plan)
      } else {
        reconcile(partition, entry, view, now, &plan)
      }
    }
  }

  /// What an active partition's owner asks for.
  private func grant(_ partition: Int, _ entry: PartitionEntry, _ plan: inout PartitionPlan) {
    let id = PartitionID(UInt16(partition))
    switch planner.wishes.wish(partition, entry.epoch, of: entry.owner!) {
    case .resize(let version, let factor, let synced) where version == entry.version:
      plan.resizes.append(
        .init(partition: id, epoch: entry.epoch, version: version, replicationFactor: factor, synced: synced))
    case .handOver(let version, let heir) where version == entry.version:
      plan.handOvers.append(.init(partition: id, epoch: entry.epoch, version: version, heir: heir))
    default: break
    }
  }

  /// A fenced partition: enough of its synced set promise, one of them is chosen, and when it has brought others in
  /// step it is activated.
  private func reconcile(
    _ partition: Int, _ entry: PartitionEntry, _ view: View, _ now: UInt64, _ plan: inout PartitionPlan
  ) {
    plan.isWaiting = true
    let id = PartitionID(UInt16(partition))
    let since = planner.wishes.fencedSince(partition, entry.epoch, now: now)
    if let candidate = entry.candidate {
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
    let promises = planner.wishes.promises(partition, entry.epoch)
    func hasPromised(_ slot: MemberSlot) -> Bool { promises.contains { $0.slot == slot } }
    if let last = entry.owner, view.mayHoldLease[Int(last)], !hasPromised(last) { return }
    let mayCome = entry.synced.contains {
      (view.isActive[Int($0)] || view.isLeaving[Int($0)]) && view.isHeard[Int($0)] && !hasPromised($0)
    }
    if mayCome, now < since + ControlPlane.promiseGrace { return }
    if let candidate = entry.candidate(of: promises, needed: settings.has(.choosesEarly) ? 1 : nil) {
      plan.choices.append(.init(partition: id, epoch: entry.epoch, candidate: candidate))
    } else if entry.synced.allSatisfy({ view.isExpired[Int($0)] }),
      let owner = entry.replicas.first(where: { view.isActive[Int($0)] && view.isHeard[Int($0)] })
    {
      // All that held it are gone for good.
      plan.activations.append(
        .init(
          partition: id, epoch: entry.epoch, owner: owner, replicationFactor: view.factor, isLoss: true,
          synced: [owner]))
    }
  }
}
