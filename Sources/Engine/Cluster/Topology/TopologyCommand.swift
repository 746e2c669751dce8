import Wire

/// One change of the topology as an entry of the log. Lists let one entry change many partitions.
package enum TopologyCommand: Equatable, Sendable {
  /// Adds a member in state joining, or gives a known one its name, addresses and weight.
  case addMember(Member)
  /// Sets a member's state. `down` also fences every partition it owns: a dead node is one entry.
  case setState(NodeID, MemberState)
  /// Removes a member that owns nothing and is in no synced set; frees its slot.
  case removeMember(NodeID)
  /// Sets who should hold partitions.
  case place([Placement])
  /// Raises the epoch of active partitions and takes them from their owners.
  case fence([PartitionID])
  /// Gives fenced partitions an owner.
  case activate([Activation])
  /// Changes the synced set and the replication factor of active partitions.
  case resize([Resize])
  /// Makes members the candidates of fenced partitions.
  case choose([Choice])
  /// Gives active partitions to others that hold their whole logs, as their owners ask.
  case handOver([HandOver])
  /// The cluster is about to take its first write.
  case markWritten
  /// The cluster, never written, dissolves into another.
  case dissolve(ClusterID)
  /// Sets a map's settings.
  case setMap(MapEntry)

  /// Who should hold one partition, the wanted owner first.
  package struct Placement: Equatable, Sendable {
    /// Which partition.
    package let partition: PartitionID
    /// Who should hold it, by slot.
    package let replicas: SlotList

    package init(partition: PartitionID, replicas: SlotList) {
      self.partition = partition
      self.replicas = replicas
    }
  }

  /// A fenced partition's new owner, in the epoch that the fence raised.
  package struct Activation: Equatable, Sendable {
    /// Which partition.
    package let partition: PartitionID
    /// The epoch it is meant for.
    package let epoch: Epoch
    /// The new owner.
    package let owner: MemberSlot
    /// The replication factor in force from then on.
    package let replicationFactor: UInt8
    /// Nobody who held it is left: it begins anew, empty.
    package let isLoss: Bool
    /// Those that hold the owner's whole log, the owner among them.
    package let synced: SlotList

    package init(
      partition: PartitionID, epoch: Epoch, owner: MemberSlot, replicationFactor: UInt8, isLoss: Bool,
      synced: SlotList
    ) {
      self.partition = partition
      self.epoch = epoch
      self.owner = owner
      self.replicationFactor = replicationFactor
      self.isLoss = isLoss
      self.synced = synced
    }
  }

  /// The candidate of a fence: of the members that promised, the one whose log goes furthest.
  package struct Choice: Equatable, Sendable {
    /// Which partition.
    package let partition: PartitionID
    /// The epoch it is meant for.
    package let epoch: Epoch
    /// The candidate, one of the synced set.
    package let candidate: MemberSlot

    package init(partition: PartitionID, epoch: Epoch, candidate: MemberSlot) {
      self.partition = partition
      self.epoch = epoch
      self.candidate = candidate
    }
  }

  /// Another owner in the next epoch. Its owner asks for it when it has stopped taking writes and the other, one of the
  /// synced set, holds its whole log; so fence, promises, choice and activation are this one entry.
  package struct HandOver: Equatable, Sendable {
    /// Which partition.
    package let partition: PartitionID
    /// The epoch and the entry's version it is meant for.
    package let epoch: Epoch
    package let version: UInt32
    /// The next owner.
    package let heir: MemberSlot

    package init(partition: PartitionID, epoch: Epoch, version: UInt32, heir: MemberSlot) {
      self.partition = partition
      self.epoch = epoch
      self.version = version
      self.heir = heir
    }
  }

  /// A new synced set and replication factor, valid only for this epoch and version.
  package struct Resize: Equatable, Sendable {
    /// Which partition.
    package let partition: PartitionID
    /// The epoch it is meant for.
    package let epoch: Epoch
    /// The entry's version it is meant for.
    package let version: UInt32
    /// The replication factor in force from then on.
    package let replicationFactor: UInt8
    /// The new synced set, by slot.
    package let synced: SlotList

    package init(
      partition: PartitionID, epoch: Epoch, version: UInt32, replicationFactor: UInt8, synced: SlotList
    ) {
      self.partition = partition
      self.epoch = epoch
      self.version = version
      self.replicationFactor = replicationFactor
      self.synced = synced
    }
  }
}

extension Topology {
  /// Carries a command out; returns whether it changed anything.
  mutating func change(_ command: TopologyCommand) -> Bool {
    switch command {
    case .addMember(let member): return add(member)
    case .setState(let id, let state): return set(id, state)
    case .removeMember(let id): return remove(id)
    case .place(let placements): return forEach(placements) { $0.place($1) }
    case .fence(let partitions): return forEach(partitions) { $0.fence(Int($1.rawValue)) }
    case .activate(let activations): return forEach(activations) { $0.activate($1) }
    case .resize(let resizes): return forEach(resizes) { $0.resize($1) }
    case .choose(let choices): return forEach(choices) { $0.choose($1) }
    case .handOver(let handOvers): return forEach(handOvers) { $0.handOver($1) }
    case .setMap(let entry): return set(entry)
    case .markWritten:
      guard !isWritten else { return false }
      writtenAt = index
    case .dissolve(let other):
      // The log orders the first write and the dissolution: whichever comes first rules the other out.
      guard !isWritten, other != cluster, other != .none else { return false }
      dissolved = other
    }
    return true
  }

  /// Whether any of the items changed anything; each is tried.
  private mutating func forEach<Item>(_ items: [Item], _ change: (inout Topology, Item) -> Bool) -> Bool {
    var changed = false
    for item in items where change(&self, item) { changed = true }
    return changed
  }

  private mutating func add(_ member: Member) -> Bool {
    if let slot = slot(of: member.id) {
      var known = member
      known.state = members[Int(slot)]!.state
      guard members[Int(slot)] != known else { return false }
      members[Int(slot)] = known
      return true
    }
    var new = member
    new.state = .joining
    if let free = members.firstIndex(where: { $0 == nil }) {
      members[free] = new
    } else {
      guard members.count < Topology.maximumMembers else { return false }
      members.append(new)
    }
    return true
  }

  private mutating func set(_ id: NodeID, _ state: MemberState) -> Bool {
    guard let slot = slot(of: id), members[Int(slot)]!.state != state else { return false }
    members[Int(slot)]!.state = state
    if state == .down {
      for partition in partitions.indices {
        let entry = partitions[partition]
        if entry.isActive ? entry.owner == slot : entry.candidate == slot { _ = fence(partition) }
      }
    }
    return true
  }

  private mutating func remove(_ id: NodeID) -> Bool {
    guard let slot = slot(of: id), !voters.contains(id) else { return false }
    guard !partitions.contains(where: { ($0.isActive && $0.owner == slot) || $0.synced.contains(slot) }) else {
      return false
    }
    for partition in partitions.indices where partitions[partition].names(slot) {
      changed.insert(partition)
      if partitions[partition].owner == slot { partitions[partition].owner = nil }
      if partitions[partition].candidate == slot { partitions[partition].candidate = nil }
      if partitions[partition].replicas.contains(slot) {
        partitions[partition].replicas.removeAll { $0 == slot }
        partitions[partition].version += 1
      }
    }
    members[Int(slot)] = nil
    while let last = members.last, last == nil { members.removeLast() }
    return true
  }

  /// Whether a member may be made an owner or a candidate. Its end may stand in the log before an entry that was
  /// planned without knowing. The entry that says that it is down fences what it owns, once: so it must get no more.
  private func mayLead(_ slot: MemberSlot) -> Bool { members[Int(slot)]?.state != .down }

  private func isMember(_ slot: MemberSlot) -> Bool {
    guard Int(slot) < members.count, case .some = members[Int(slot)] else { return false }
    return true
  }

  /// Whether a list of slots is one that an entry may hold: members, each once.
  private func isSound(_ slots: SlotList) -> Bool {
    for index in slots.indices {
      if !isMember(slots[index]) { return false }
      for earlier in 0..<index where slots[earlier] == slots[index] { return false }
    }
    return true
  }

  private mutating func place(_ placement: TopologyCommand.Placement) -> Bool {
    let index = Int(placement.partition.rawValue)
    guard isSound(placement.replicas), partitions[index].replicas != placement.replicas else { return false }
    partitions[index].replicas = placement.replicas
    partitions[index].version += 1
    changed.insert(index)
    #if DEBUG
      if mutation == .keepsVersions { partitions[index].version -= 1 }
    #endif
    return true
  }

  private mutating func fence(_ partition: Int) -> Bool {
    // One that is fenced is fenced again only to be rid of its candidate.
    guard partitions[partition].isActive || partitions[partition].candidate != nil else { return false }
    partitions[partition].isActive = false
    inactive.insert(partition)
    partitions[partition].candidate = nil
    partitions[partition].epoch = Epoch(partitions[partition].epoch.rawValue + 1)
    partitions[partition].version += 1
    changed.insert(partition)
    partitions[partition].fencedAt = index
    #if DEBUG
      if mutation == .reusesEpochs { partitions[partition].epoch = Epoch(partitions[partition].epoch.rawValue - 1) }
      if mutation == .resetsVersions { partitions[partition].version = 1 }
    #endif
    return true
  }

  private mutating func activate(_ activation: TopologyCommand.Activation) -> Bool {
    let index = Int(activation.partition.rawValue)
    guard !partitions[index].isActive, partitions[index].epoch == activation.epoch else { return false }
    guard isSound(activation.synced), activation.synced.contains(activation.owner), mayLead(activation.owner) else {
      return false
    }
    // Before the first owner there is no fence: its epoch is 1.
    if partitions[index].epoch == Epoch(0) { partitions[index].epoch = Epoch(1) }
    partitions[index].isActive = true
    inactive.remove(index)
    partitions[index].candidate = nil
    partitions[index].owner = activation.owner
    partitions[index].synced = activation.synced
    partitions[index].replicationFactor = max(activation.replicationFactor, 1)
    partitions[index].version += 1
    changed.insert(index)
    if activation.isLoss {
      partitions[index].losses &+= 1
      partitions[index].lostBefore = partitions[index].epoch
    }
    return true
  }

  private mutating func resize(_ resize: TopologyCommand.Resize) -> Bool {
    let index = Int(resize.partition.rawValue)
    let entry = partitions[index]
    guard entry.isActive, entry.epoch == resize.epoch, entry.version == resize.version else { return false }
    guard isSound(resize.synced), let owner = entry.owner, resize.synced.contains(owner) else { return false }
    partitions[index].synced = resize.synced
    partitions[index].replicationFactor = max(resize.replicationFactor, 1)
    partitions[index].version += 1
    changed.insert(index)
    return true
  }

  private mutating func choose(_ choice: TopologyCommand.Choice) -> Bool {
    let index = Int(choice.partition.rawValue)
    let entry = partitions[index]
    guard !entry.isActive, entry.epoch == choice.epoch, entry.candidate == nil else { return false }
    guard entry.synced.contains(choice.candidate), mayLead(choice.candidate) else { return false }
    partitions[index].candidate = choice.candidate
    partitions[index].version += 1
    changed.insert(index)
    return true
  }

  private mutating func handOver(_ handOver: TopologyCommand.HandOver) -> Bool {
    let index = Int(handOver.partition.rawValue)
    let entry = partitions[index]
    guard entry.isActive, entry.epoch == handOver.epoch, entry.version == handOver.version else { return false }
    guard entry.synced.contains(handOver.heir), entry.owner != handOver.heir, mayLead(handOver.heir) else {
      return false
    }
    partitions[index].epoch = Epoch(entry.epoch.rawValue + 1)
    partitions[index].owner = handOver.heir
    partitions[index].version += 1
    changed.insert(index)
    partitions[index].fencedAt = self.index
    return true
  }
}
