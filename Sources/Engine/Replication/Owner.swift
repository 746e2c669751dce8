import Wire

/// The one that orders a partition's writes, or is about to: the candidate of a fence, until it is activated.
///
/// Pure: it decides what is sent to whom and what counts as held; records, time and messages are arguments. The owner's
/// own log is its `Replica`'s. Slot.tla: `role` is this, and its `ep`, `ver`, `S`, `rf`, `rem`, `add`, `nrf` are
/// `epoch`, `version`, `synced`, `replicationFactor` and `pending`; `acks` is `Follower.acked`.
package struct Owner: Sendable {
  // What every write and every acknowledgement needs comes first, so that it is in few cache lines.

  /// In which it orders the writes.
  package let epoch: Epoch
  /// The node itself.
  package let slot: MemberSlot
  /// False while the fence isn't over: others are brought in step, and nothing is written.
  package private(set) var isActive: Bool
  package private(set) var replicationFactor: UInt8
  /// The version of the partition's entry that it has learned; a change it asks for is meant for this one.
  package private(set) var version: UInt32
  /// It gives the partition to this one and takes no writes, until it learns that it did or can't.
  package internal(set) var successor: MemberSlot?
  var isRoundOpen = false
  /// Held by a majority, by the rules below; never goes back.
  package private(set) var committed = Offset.none
  /// The last record that anybody was told, or may be told by a member, is held by two or more.
  package internal(set) var acknowledged = Offset.none
  package internal(set) var waiters = Waiters()
  /// Reads that wait: see `Owner+Reads`. The last round that was begun, and whether it hasn't gone out yet.
  package internal(set) var readers: [Reader] = []
  var round: UInt64 = 0
  /// The change of S that it asked for and of which it doesn't know whether it was made.
  package internal(set) var pending: PendingResize?
  #if DEBUG
    /// A planted bug, for tests of the checkers.
    package var mutation: ReplicationMutation?
  #endif
  /// Everyone who takes its records.
  package internal(set) var followers: [Follower] = []
  /// The synced set S, itself in it.
  package private(set) var synced: SlotList

  // MARK: What is needed less often

  var successorSince: UInt64 = 0
  /// That was asked for: it may be granted any time until the entry has another version, whatever is asked for later.
  var hasAskedForSuccessor = false
  /// Since when a candidate waits for the others; to be activated in time with what there is.
  let since: UInt64

  /// A change of the synced set and the factor that goes with it.
  package struct PendingResize: Equatable, Sendable {
    /// The member that goes, or the one that comes.
    package var removed: MemberSlot?
    package var added: MemberSlot?
    /// The factor from then on.
    package var replicationFactor: UInt8
  }

  /// The candidate of a fence (Slot.tla: `Choose`), or an owner that is active at once.
  /// - Parameters:
  ///   - committed: what it knew, as a replica, to be held by a majority.
  ///   - last: the last record of its log. Whoever is the owner at once got the partition by a hand-over: its
  ///     predecessor may yet answer for all that it handed over, so all of it counts as acknowledged ★ (Slot.tla:
  ///     `LearnHand`).
  package init(
    _ slot: MemberSlot, _ entry: PartitionEntry, committed: Offset, last: Offset = .none, now: UInt64
  ) {
    self.slot = slot
    epoch = entry.epoch
    isActive = entry.isActive
    version = entry.version
    synced = entry.synced
    replicationFactor = entry.replicationFactor
    self.committed = committed
    acknowledged = entry.isActive ? max(committed, last) : committed
    since = now
  }

  // MARK: Learning

  /// The fence is over (Slot.tla: `Activate`), or a change was made, maybe the one that was asked for (`Learn`). The
  /// entry is of this epoch and names this node as its owner.
  package mutating func learn(_ entry: PartitionEntry) {
    guard entry.epoch == epoch, entry.isActive, !isActive || entry.version > version else { return }
    isActive = true
    version = entry.version
    synced = entry.synced
    replicationFactor = entry.replicationFactor
    pending = nil
    successor = nil
    hasAskedForSuccessor = false
  }

  /// Sends records to these nodes and no others.
  package mutating func setFollowers(_ slots: SlotList, now: UInt64) {
    followers.removeAll { !slots.contains($0.slot) }
    for slot in slots where slot != self.slot && !followers.contains(where: { $0.slot == slot }) {
      followers.append(Follower(slot, now: now))
    }
  }

  /// Whether nothing is under way: every follower has everything and knows it, and nobody waits.
  func isSettled(last: Offset) -> Bool {
    isActive && pending == nil && successor == nil && waiters.isEmpty && readers.isEmpty && committed == last
      && followers.allSatisfy { $0.phase == .streaming && $0.acked == last && $0.next == last.next && !$0.lacksResults }
  }

  /// Whether only time, or news of another kind than writes and their acknowledgements, gives the owner more to do than
  /// to send them: all of S follow and stream, no read waits, and what is wished for, if anything, stays that. A
  /// learner that has yet to be sent some of the log can't be ready before it was (`Follower.isKeptUp`).
  func isCalm(last: Offset) -> Bool {
    guard isActive, successor == nil, readers.isEmpty else { return false }
    var members = 1
    for index in followers.indices {
      guard followers[index].phase == .streaming, !followers[index].lacksResults else { return false }
      if synced.contains(followers[index].slot) {
        members += 1
      } else if followers[index].slot != pending?.added {
        guard !followers[index].isKeptUp, followers[index].next <= last else { return false }
      }
    }
    return members == synced.count
  }

  // MARK: What counts

  /// The follower that is this member.
  func index(of slot: MemberSlot) -> Int? { followers.firstIndex { $0.slot == slot } }

  /// How far a member holds this log.
  func held(by slot: MemberSlot, last: Offset) -> Offset {
    slot == self.slot ? last : index(of: slot).map { followers[$0].acked } ?? .none
  }

  /// The members whose word counts: S without the one that goes ★.
  private func counts(_ slot: MemberSlot) -> Bool {
    #if DEBUG
      if mutation == .shrinksEarly { return true }
    #endif
    return pending?.removed != slot
  }

  // What each write and acknowledgement asks is `mutating` though nothing changes: an owner that isn't is copied to the
  // stack for every call.

  /// The last record that `count` of the members that count hold; with `isNew`, of the set that was asked for.
  mutating func held(byAtLeast count: Int, isNew: Bool = false, last: Offset) -> Offset {
    guard count > 1 else { return last }
    if count == 2 && pending == nil { return min(last, furthest) }
    return counted(atLeast: count, isNew: isNew, last: last)
  }

  @inline(never)
  private func counted(atLeast count: Int, isNew: Bool, last: Offset) -> Offset {
    var best = Offset.none
    let added = isNew ? pending?.added : nil
    func holders(of offset: Offset) -> Int {
      var holders = 0
      for slot in synced where counts(slot) && held(by: slot, last: last) >= offset { holders += 1 }
      if let added, !synced.contains(added), held(by: added, last: last) >= offset { holders += 1 }
      return holders
    }
    func consider(_ slot: MemberSlot) {
      let offset = held(by: slot, last: last)
      if offset > best, holders(of: offset) >= count { best = offset }
    }
    for slot in synced where counts(slot) { consider(slot) }
    if let added { consider(added) }
    return best
  }

  /// How far the one of S has got that is closest behind the owner.
  private var furthest: Offset {
    mutating get {
      var best = Offset.none
      for index in followers.indices where followers[index].acked > best && synced.contains(followers[index].slot) {
        best = followers[index].acked
      }
      return best
    }
  }

  /// The last record that may be answered at this concern: held by enough of the old set and of the one that was asked
  /// for ★ (Slot.tla: `AckQ`).
  mutating func held(at concern: WriteConcern, last: Offset) -> Offset {
    let old = held(byAtLeast: concern.nodes(copies: Int(replicationFactor)), last: last)
    guard let pending, concern != .one else { return old }
    #if DEBUG
      if mutation == .forgetsNewFactor { return old }
    #endif
    return min(old, held(byAtLeast: concern.nodes(copies: Int(pending.replicationFactor)), isNew: true, last: last))
  }

  /// Looks how far a majority holds the log; returns whether that is further than before.
  package mutating func updateCommitted(last: Offset) -> Bool {
    guard isActive else { return false }
    let held = held(at: .majority, last: last)
    guard held > committed else { return false }
    committed = held
    acknowledged = max(acknowledged, held)
    return true
  }

  /// Whether a write at this concern could be answered now, if all members are in order. Others are "not applied".
  package func canReach(_ concern: WriteConcern) -> Bool {
    guard isActive, successor == nil else { return false }
    let there = synced.count - (pending?.removed == nil ? 0 : 1)
    return concern.nodes(copies: Int(replicationFactor)) <= there
  }

  // MARK: Acknowledgements

  /// A member holds this log up to here. Returns whether something may be answered by that.
  package mutating func acknowledge(_ slot: MemberSlot, upTo offset: Offset, last: Offset, now: UInt64) -> Bool {
    guard let index = index(of: slot), offset <= last, offset > followers[index].acked else { return false }
    followers[index].acked = offset
    followers[index].progressAt = now
    return true
  }

  /// Those who waited for what is held now are to be answered.
  package mutating func takeAnswered(last: Offset, _ answer: (UInt64) -> Void) {
    guard !waiters.isEmpty else { return }
    let majority = committed
    var highest = acknowledged
    waiters.takeMajority(upTo: majority, answer)
    if waiters.hasOthers {
      var waiting = Waiters()
      swap(&waiting, &waiters)
      waiting.takeOthers(
        { held(at: $0, last: last) },
        { offset, token in
          highest = max(highest, offset)
          answer(token)
        })
      swap(&waiting, &waiters)
    }
    acknowledged = highest
  }

  /// Whether the record is held as the concern says; if so, somebody may be told.
  package mutating func isHeld(_ offset: Offset, _ concern: WriteConcern, last: Offset) -> Bool {
    if concern == .one { return true }
    // A new record is held by nobody else yet.
    if offset == last, !followers.contains(where: { $0.acked >= offset }),
      concern.nodes(copies: Int(replicationFactor)) > 1
    {
      return false
    }
    guard held(at: concern, last: last) >= offset else { return false }
    acknowledged = max(acknowledged, offset)
    return true
  }

  /// Permits a member of S to answer for a record by itself once it holds it, where it and the owner are as many as the
  /// concern asks for (Slot.tla: `Grant`). Nobody will hear when it does, so from now on the record counts as
  /// acknowledged: a change of S waits until the others have it ★.
  package mutating func grant(_ offset: Offset, _ concern: WriteConcern, to slot: MemberSlot) -> Bool {
    guard isActive, pending == nil, successor == nil, concern.nodes(copies: Int(replicationFactor)) == 2,
      slot != self.slot, synced.contains(slot), let index = index(of: slot), followers[index].phase == .streaming
    else { return false }
    #if DEBUG
      if mutation == .forgetsGrants { return true }
    #endif
    acknowledged = max(acknowledged, offset)
    return true
  }

  /// Has `token` answered when the record is held as the concern says; true if it is at once.
  package mutating func wait(_ concern: WriteConcern, for offset: Offset, token: UInt64, last: Offset) -> Bool {
    if isHeld(offset, concern, last: last) { return true }
    waiters.add(concern, offset, token)
    return false
  }
}
