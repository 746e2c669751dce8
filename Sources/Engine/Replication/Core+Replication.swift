import Wire

// Replication at work in a core: what the topology, time and the core's own writes ask of its partitions. What comes
// from other nodes is in `Core+ReplicationIn`, what goes to them in `Core+ReplicationOut`.
extension Core {
  // MARK: The topology

  /// Takes the newest topology, of which the entries of these partitions, or the members, are other than they were. A
  /// node that is and was alone replicates nothing, and pays nothing for it.
  mutating func replicate(by topology: Topology, as slot: MemberSlot?, _ changed: [Int]) {
    guard desk.parts != nil || topology.memberCount > 1 else { return }
    let isNew = desk.parts == nil
    if isNew { beginReplication() }
    desk.slot = slot
    desk.copies = Int(topology.copies)
    let members = topology.members
    desk.around.isUp = members.map { $0 != nil && $0!.state != .down }
    desk.around.isActive = members.map { $0?.state == .active }
    let active = desk.around.isActive.count { $0 }
    desk.around.replicationFactor = UInt8(clamping: max(1, min(Int(topology.copies), active)))
    takePeers(members, own: slot)
    for partition in isNew ? Array(partitions) : changed where partitions.contains(partition) {
      adopt(topology.partitions[partition], partition, slot)
    }
    tellSync()
    desk.hasLinkNews = true
    desk.nextTick = min(desk.nextTick, monotonic + ReplicationDesk.tick)
  }

  private mutating func beginReplication() {
    isReplicated = true
    desk.begin(partitions.count)
    for partition in partitions {
      let last = store.nextOffset(of: PartitionID(UInt16(partition))).previous
      desk.parts![partition - partitions.lowerBound].replica.begin(upTo: last)
      #if DEBUG
        desk.parts![partition - partitions.lowerBound].mutation = configuration.mutation
      #endif
    }
  }

  private mutating func takePeers(_ members: [Member?], own: MemberSlot?) {
    for slot in 0..<max(members.count, desk.peers.count) {
      let member = slot < members.count && slot != own.map(Int.init) ? members[slot] : nil
      if slot == desk.peers.count { desk.peers.append(nil) }
      if let peer = desk.peers[slot], peer.pointee.node != member?.id {
        ReplicationPeer.deallocate(peer)
        desk.peers[slot] = nil
        for part in 0..<partitions.count where desk.parts![part].leads {
          desk.parts![part].owner!.forget(MemberSlot(slot), now: monotonic)
          desk.touch(part)
        }
      }
      if desk.peers[slot] == nil, let member { desk.peers[slot] = ReplicationPeer.allocate(member.id) }
    }
  }

  private mutating func adopt(_ entry: PartitionEntry, _ partition: Int, _ slot: MemberSlot?) {
    let part = partition - partitions.lowerBound
    let id = PartitionID(UInt16(partition))
    var deposed: [UInt64] = []
    desk.around.replicas = entry.replicas
    let epoch = desk.parts![part].entry.epoch
    noteOwnRecords(part)
    noteSync(entry, before: desk.parts![part].entry, partition, own: slot)
    let change = desk.parts![part].adopt(entry, slot: slot, desk.around, now: monotonic) { deposed.append($0) }
    if change.resetsLog {
      store.reset(id)
    }
    if entry.epoch > epoch && maps.hasCaches { cacheDesk.leftovers.append(part) }
    if change.becameOwner { cacheDesk.quietUntil[part] = monotonic + UInt64(limits.cacheLease) * 1_000_000 }
    if change.becameOwner { store.setEpoch(max(store.epoch(of: id), entry.epoch), of: id) }
    updatePassive(part)
    for token in deposed { concernFailed(WaitToken(rawValue: token), .ownerDeposed) }
    if desk.parts![part].leads { connectFollowers(part) }
    desk.touch(part)
    updateWish(part)
  }

  /// An owner that is about to lose the partition has appended records since it spoke last: removals of what expired,
  /// cached values. A log that ends behind what its replica believes would take others at the wrong places.
  @inline(__always)
  mutating func noteOwnRecords(_ part: Int) {
    guard desk.parts![part].leads else { return }
    let id = PartitionID(UInt16(part + partitions.lowerBound))
    desk.parts![part].appended(upTo: store.nextOffset(of: id).previous)
  }

  // MARK: Connections

  /// Tells owners which of their followers can be reached.
  private mutating func connectFollowers(_ part: Int) {
    for follower in desk.parts![part].owner!.followers where follower.phase == .idle {
      guard isConnected(follower.slot) else { continue }
      desk.parts![part].owner!.connected(follower.slot, now: monotonic)
      desk.touch(part)
    }
  }

  private func isConnected(_ slot: MemberSlot) -> Bool {
    Int(slot) < desk.peers.count && desk.peers[Int(slot)]?.pointee.isConnected == true
  }

  /// Whether a member's link is up and its number of connections, if that isn't what owners were told.
  func linkNews(_ slot: Int) -> (isUp: Bool, session: UInt64)? {
    guard let peer = desk.peers[slot] else { return nil }
    let link = slot < routes.linkOfSlot.count ? routes.linkOfSlot[slot] : -1
    let isUp = link >= 0 && links[link].pointee.state == .up && links[link].pointee.node == peer.pointee.node
    let session = isUp ? links[link].pointee.sessions : peer.pointee.session
    return isUp != peer.pointee.isConnected || session != peer.pointee.session ? (isUp, session) : nil
  }

  /// Tells owners which links came up or were lost since they were told.
  @inline(never)
  mutating func noteLinks() {
    desk.hasLinkNews = false
    for slot in desk.peers.indices {
      guard let peer = desk.peers[slot], let (isUp, session) = linkNews(slot) else { continue }
      peer.pointee.pace.reset()
      if peer.pointee.isConnected {
        peer.pointee.writer.pointee.removeAll()
        for part in 0..<partitions.count where desk.parts![part].leads {
          desk.parts![part].owner!.disconnected(MemberSlot(slot), now: monotonic)
          desk.touch(part)
        }
      }
      peer.pointee.isConnected = isUp
      peer.pointee.session = session
      guard isUp else { continue }
      for part in 0..<partitions.count {
        desk.parts![part].owner?.connected(MemberSlot(slot), now: monotonic)
        desk.touch(part)
      }
    }
  }

  // MARK: Writes

  /// The index of a partition of this core.
  @inline(__always) func part(_ partition: PartitionID) -> Int { Int(partition.rawValue) - partitions.lowerBound }

  /// Why a write of this concern isn't applied now; nil if it is.
  mutating func refusal(of concern: WriteConcern, in partition: PartitionID) -> Problem? {
    guard standing.hasLease else { return cutOff }
    let part = part(partition)
    guard let owner = desk.parts![part].owner, owner.isActive else { return isStalled(partition) ? .stalled : .fenced }
    if owner.successor != nil { return .fenced }
    // A majority or all copies that are in force must be there now. A number may be waited for as long as so many are
    // configured.
    let isNumber = concern != .majority && concern != .all
    if isNumber ? concern.nodes(copies: 0) > max(desk.copies, owner.synced.count) : !owner.canReach(concern) {
      return isNumber ? .concernUnreachable : concern == .all ? .notAllInStep : .notInStep
    }
    return store.uncommitted(partition) < limits.uncommitted ? nil : .overloaded
  }

  /// Whether a write of this concern may be answered before a majority holds it.
  func isUnsafe(_ concern: WriteConcern, _ partition: PartitionID) -> Bool {
    guard concern != .majority, let owner = desk.parts?[part(partition)].owner else { return false }
    let copies = Int(owner.replicationFactor)
    return concern.nodes(copies: copies) < WriteConcern.majority.nodes(copies: copies)
  }

  /// Whether a revision is held as the concern says.
  mutating func isHeld(by concern: WriteConcern, _ revision: Revision) -> Bool {
    let part = part(revision.partition)
    guard desk.parts![part].leads, revision.epoch <= desk.parts![part].owner!.epoch else { return false }
    desk.parts![part].appended(upTo: store.nextOffset(of: revision.partition).previous)
    let last = desk.parts![part].replica.last
    return desk.parts![part].owner!.isHeld(revision.offset, concern, last: last)
  }

  /// Has the token answered when the revision is held.
  mutating func notify(_ token: WaitToken, _ revision: Revision, _ concern: WriteConcern) {
    let part = part(revision.partition)
    guard desk.parts![part].leads else {
      concernFailed(token, .ownerDeposed)
      return
    }
    desk.parts![part].owner!.waiters.add(concern, revision.offset, token.rawValue)
    desk.touchWritten(part)
  }

  // MARK: Time

  /// Looks after followers that say nothing, and at what is to be wished for.
  mutating func tickReplication() {
    desk.nextTick = monotonic + ReplicationDesk.tick
    tickCaches()
    tellSync()
    var parts: [Int] = []
    swap(&parts, &desk.spareParts)
    if monotonic >= desk.nextFloor {
      desk.nextFloor = monotonic + ReplicationDesk.floorInterval
      desk.takeChanged(&parts)
      for part in parts { moveFloor(part) }
      parts.removeAll(keepingCapacity: true)
    }
    desk.takeAwake(&parts)
    for part in parts {
      let last = desk.parts![part].replica.last
      let isSettled = desk.parts![part].owner?.isSettled(last: last) != false
      if !isSettled {
        desk.parts![part].owner!.retry(after: ReplicationDesk.patience, last: last, now: monotonic)
        desk.parts![part].owner!.askAgain()
        connectFollowers(part)
        desk.touchWritten(part)
      }
      updateWish(part)
      let wishes = desk.wishes[part] != nil
      let isCalm = desk.parts![part].owner?.isCalm(last: last) ?? !wishes
      desk.looked(at: part, isSettled: isSettled && !wishes, isCalm: isCalm)
    }
    parts.removeAll(keepingCapacity: true)
    swap(&parts, &desk.spareParts)
  }

  /// Removals that every follower has passed need not be kept; nor those that aren't committed be thought about.
  private mutating func moveFloor(_ part: Int) {
    let id = PartitionID(UInt16(part + partitions.lowerBound))
    var floor = desk.parts![part].replica.committed.next
    // What was sent to a member of S may be lost, and it can't be made to begin anew as others are.
    for follower in desk.parts![part].owner?.followers ?? [] {
      let mustKeep = desk.parts![part].owner!.synced.contains(follower.slot)
      floor = min(floor, mustKeep ? follower.acked.next : follower.next)
    }
    store.setTombstoneFloor(floor, of: id)
  }

  /// Asks a partition what it wishes for. Once its owner hands it over, nothing may be appended any more, not even what
  /// the store does by itself: the heir must have all of the log that is handed over ★ (Slot.tla: `StopRule`).
  mutating func updateWish(_ part: Int) {
    noteOwnRecords(part)
    desk.around.replicas = desk.parts![part].entry.replicas
    let wasHandingOver = desk.parts![part].isHandingOver
    let wish = desk.parts![part].wish(desk.around, now: monotonic).map {
      PartitionWish(
        partition: PartitionID(UInt16(part + partitions.lowerBound)), epoch: desk.parts![part].entry.epoch, wish: $0)
    }
    if desk.wishes[part] != wish {
      desk.wishes[part] = wish
      desk.hasNewWishes = true
    }
    if desk.parts![part].isHandingOver != wasHandingOver { updatePassive(part) }
  }

  /// Lets the store remove what expired or may be evicted where this node decides that.
  private mutating func updatePassive(_ part: Int) {
    let decides = desk.parts![part].isOwner && !desk.parts![part].isHandingOver
    store.setReplicated(PartitionID(UInt16(part + partitions.lowerBound)), isPassive: !decides)
  }

  /// What this core's partitions want of the control plane, all of it; nil if that is no news. For
  /// `ControlPlane.setWishes`, together with what the other cores' want.
  package mutating func takeWishes() -> [PartitionWish]? {
    guard desk.hasNewWishes else { return nil }
    desk.hasNewWishes = false
    return desk.wishes.sorted { $0.key < $1.key }.map(\.value)
  }
}

extension Problem {
  static var notInStep: Problem { Problem(503, tooFewCopies, passes: true) }
  /// One of them may be down: that doesn't pass in a moment.
  static var notAllInStep: Problem { Problem(503, tooFewCopies) }
  private static var tooFewCopies: StaticString {
    """
    Not applied: too few copies of this key's partition are in step with its owner. Try again shortly, or ask for w=1.
    """
  }
  static var ownerDeposed: Problem {
    Problem(
      504,
      """
      Unknown: the key's partition changed its owner before enough nodes had confirmed the write. Read the key, or \
      retry with an Idempotency-Key.
      """
    )
  }
}
