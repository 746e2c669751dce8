import Engine
import Wire

// The data plane's invariants.

/// What is known of the logs of the partitions that have keys of the workload.
struct DataRecords {
  struct Place: Hashable {
    /// The low half of the cluster's id: two clusters have two logs.
    let cluster: UInt64
    let partition: Int
    let epoch: UInt32
    let offset: UInt64
  }

  /// Each record that any node ever had, by its place.
  var records: [Place: UInt64] = [:]
  /// The epoch of each record that was committed, by partition, life (in place of the epoch) and offset.
  var committed: [Place: UInt32] = [:]
  /// Who owned a partition in an epoch.
  var owners: [Place: NodeID] = [:]
  /// Of each host and partition, what was looked at last.
  var seen: [Int: (node: NodeID, state: Core.PartitionState)] = [:]
  /// Revisions that clients were told are held by a majority, by the same.
  var acknowledged: [Place: UInt32] = [:]
}

extension Checker {
  /// A client was told that a revision is held by a majority.
  mutating func acknowledged(_ tag: String, _ cluster: ClusterID, _ now: UInt64) {
    let parts = tag.split { $0 == "\"" || $0 == "-" }
    guard parts.count == 3, let partition = Int(parts[0]), let epoch = UInt32(parts[1]), let offset = UInt64(parts[2])
    else { return violate(.answersMakeSense, "the entity tag \(tag)", now) }
    let life = lives.life(of: partition, cluster, in: epoch)
    let place = DataRecords.Place(cluster: cluster.low, partition: partition, epoch: life, offset: offset)
    if let other = data.acknowledged.updateValue(epoch, forKey: place), other != epoch {
      violate(.keepsAcknowledged, "\(tag), and before the same offset in epoch \(other)", now)
    }
    if let other = data.committed[place], other != epoch {
      violate(.keepsAcknowledged, "\(tag) was acknowledged, but the record there is of epoch \(other)", now)
    }
  }

  /// Looks at the logs of the partitions that have keys.
  mutating func lookAtLogs(_ hosts: [Host], _ keys: [Workload.Key], _ now: UInt64) {
    for number in hosts.indices {
      guard let machine = hosts[number].machine else { continue }
      let id = hosts[number].control!.id
      let cluster = hosts[number].control!.cluster
      guard cluster != .none else { continue }
      for key in keys {
        let core = machine.core(of: key.partition)
        let state = machine.cores[core].inspect(key.partition)
        let slot = number * partitionCount + key.partition
        var known = Offset.none
        if let seen = data.seen[slot], seen.node == id {
          if seen.state == state { continue }
          // What is committed stays as it is, in one life.
          known = lives.latest(of: key.partition, cluster) == nil ? seen.state.committed : .none
          // It was written to since the last look, a tenth of a second ago.
          if state.isOwner, seen.state.isOwner, state.last > seen.state.last, now > 200_000_000,
            lacksQuorum(number, now - 200_000_000)
          {
            // What it removes by itself, since it expired, counts too.
            violate(.noLeaseWithoutQuorum, "\(name(of: id)) took a write of partition \(key.partition)", now)
          }
        }
        data.seen[slot] = (id, state)
        if state.isOwner {
          let place = DataRecords.Place(
            cluster: cluster.low, partition: key.partition, epoch: state.epoch.rawValue, offset: 0)
          if let other = data.owners.updateValue(id, forKey: place), other != id {
            violate(
              .oneOwnerPerEpoch,
              "the cores of \(name(of: id)) and \(name(of: other)) own partition \(key.partition) in epoch "
                + "\(place.epoch)",
              now)
          }
        }
        look(at: &machine.cores[core], key.partition, from: min(known, state.last).next, state, id, cluster, now)
      }
    }
  }

  /// Looks at a log from a record on.
  private mutating func look(
    at core: inout Core, _ partition: Int, from first: Offset, _ state: Core.PartitionState, _ id: NodeID,
    _ cluster: ClusterID, _ now: UInt64
  ) {
    var problems: [(Violation.Invariant, String)] = []
    core.visitLog(of: partition, from: first) { epoch, offset, digest in
      let place = DataRecords.Place(
        cluster: cluster.low, partition: partition, epoch: epoch.rawValue, offset: offset.rawValue)
      if let other = data.records.updateValue(digest, forKey: place), other != digest {
        problems.append((.equalRecords, "partition \(partition), epoch \(epoch.rawValue), offset \(offset.rawValue)"))
      }
      guard offset <= state.committed else { return }
      let life = lives.life(of: partition, cluster, in: epoch.rawValue)
      let anyEpoch = DataRecords.Place(
        cluster: cluster.low, partition: partition, epoch: life, offset: offset.rawValue)
      if let other = data.committed.updateValue(epoch.rawValue, forKey: anyEpoch), other != epoch.rawValue {
        problems.append(
          (
            .equalRecords,
            "partition \(partition) has at \(offset.rawValue) records of epochs \(other) and \(epoch.rawValue), "
              + "both committed"
          ))
      }
      if let told = data.acknowledged[anyEpoch], told != epoch.rawValue {
        problems.append(
          (
            .keepsAcknowledged,
            "partition \(partition), offset \(offset.rawValue): epoch \(told) was acknowledged, "
              + "\(epoch.rawValue) is there"
          ))
      }
    }
    if let (invariant, detail) = problems.first { violate(invariant, "\(detail), at \(name(of: id))", now) }
  }

  /// Copies that should be equal and aren't; nil when all are.
  func unequal(_ hosts: [Host], _ keys: [Workload.Key], _ core: [Int]) -> String? {
    let known = clusters.filter { $0.latest != nil }
    guard let record = known.max(by: { $0.latest!.index < $1.latest!.index }), let topology = record.latest else {
      return nil
    }
    for partition in Set(keys.map(\.partition)).sorted() {
      var first: (UInt64, NodeID, Core.PartitionState)?
      for slot in record.entries[partition].synced {
        guard let id = topology.members[Int(slot)]?.id,
          let number = core.first(where: { hosts[$0].control?.id == id }), let machine = hosts[number].machine
        else { continue }
        let seat = machine.core(of: partition)
        let digest = machine.cores[seat].liveDigest(of: partition)
        if let first, first.0 != digest {
          return "the copies of partition \(partition) at \(name(of: first.1)) and \(name(of: id)) differ: "
            + "\(first.2) and \(machine.cores[seat].inspect(partition))"
        }
        first = (digest, id, machine.cores[seat].inspect(partition))
      }
    }
    return nil
  }

  /// No two nodes take writes of a partition at the same moment, each by its own clock and topology.
  mutating func checkCores(_ number: Int, _ hosts: [Host], _ now: UInt64) {
    guard let own = hosts[number].machine else { return }
    let ownCluster = hosts[number].control!.cluster
    for other in hosts.indices where other != number {
      guard let machine = hosts[other].machine, hosts[other].control!.cluster == ownCluster else { continue }
      for partition in own.owned.all(sharedWith: machine.owned) {
        guard own.takesWrites(partition, hosts[number].clock(now)),
          machine.takesWrites(partition, hosts[other].clock(now))
        else { continue }
        let (mine, theirs) = (
          own.cores[own.core(of: partition)].inspect(partition),
          machine.cores[machine.core(of: partition)].inspect(partition)
        )
        return violate(
          .oneOwnerAtATime,
          "partition \(partition): n\(number) in epoch \(mine.epoch.rawValue), n\(other) in epoch "
            + "\(theirs.epoch.rawValue)", now)
      }
    }
  }
}
