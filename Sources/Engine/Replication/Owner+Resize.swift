import Wire

/// What an owner or a member of a fenced partition's synced set wants of the control plane, again and again until the
/// partition's entry changes.
package enum Wish: Equatable, Sendable {
  /// The fence was applied: nothing of an older epoch is taken, and this is where the log ends.
  case promise(LogEnd)
  /// Another synced set and factor, for this version of the entry.
  case resize(version: UInt32, replicationFactor: UInt8, synced: SlotList)
  /// The fence is over: these have the candidate's whole log.
  case activate(replicationFactor: UInt8, synced: SlotList)
  /// Another owner, which has the whole log; nothing is written meanwhile.
  case handOver(version: UInt32, to: MemberSlot)
}

/// What an owner needs to know of a partition's surroundings.
package struct Surroundings: Sendable {
  /// Who should hold the partition, the wanted owner first.
  package var replicas: SlotList
  /// The factor that is wanted: as many copies as configured, or as there are active members.
  package var replicationFactor: UInt8
  /// Whether the member of a slot is there and not down.
  package var isUp: [Bool]
  /// Whether it is active: neither newcomer nor about to leave.
  package var isActive: [Bool]

  package init(replicas: SlotList, replicationFactor: UInt8, isUp: [Bool], isActive: [Bool]) {
    self.replicas = replicas
    self.replicationFactor = replicationFactor
    self.isUp = isUp
    self.isActive = isActive
  }

  func isUp(_ slot: MemberSlot) -> Bool { Int(slot) < isUp.count && isUp[Int(slot)] }
  func isActive(_ slot: MemberSlot) -> Bool { Int(slot) < isActive.count && isActive[Int(slot)] }
}

extension Owner {
  /// How long a member of S may have something to take and take nothing, before it is removed (nanoseconds).
  static let stuckAfter: UInt64 = 3_000_000_000
  /// How long a hand-over may keep writes waiting before it is given up.
  static let handOverPatience: UInt64 = 500_000_000
  /// How long a candidate waits for members that aren't needed.
  static let candidatePatience: UInt64 = 200_000_000

  /// What to ask the control plane for; nil for nothing. What was asked for stays asked for until the entry changes.
  package mutating func wish(_ around: Surroundings, last: Offset, now: UInt64) -> Wish? {
    guard isActive else { return activation(around, last: last, now: now) }
    if pending == nil, successor == nil { plan(around, last: last, now: now) }
    if let pending {
      var set = synced.filter { $0 != pending.removed }
      if let added = pending.added { set.append(added) }
      return .resize(version: version, replicationFactor: pending.replicationFactor, synced: set)
    }
    guard let successor else { return nil }
    if held(by: successor, last: last) == last {
      hasAskedForSuccessor = true
      return .handOver(version: version, to: successor)
    }
    guard now >= successorSince + Owner.handOverPatience else { return nil }
    // It has fallen behind: it began its log anew, for instance. Who asked must not go on before it knows that the
    // question is void: it asks for the same entry in a new version ★ (Slot.tla: `AskCancel`).
    if hasAskedForSuccessor, !forgetsQuestion {
      pending = PendingResize(removed: nil, added: nil, replicationFactor: replicationFactor)
      return .resize(version: version, replicationFactor: replicationFactor, synced: synced)
    }
    self.successor = nil
    return nil
  }

  /// A planted bug.
  private var forgetsQuestion: Bool {
    #if DEBUG
      return mutation == .forgetsQuestion
    #else
      return false
    #endif
  }

  /// A candidate asks to be activated once all members of S that are up have its whole log ★, or, after a while, with
  /// those that have.
  private func activation(_ around: Surroundings, last: Offset, now: UInt64) -> Wish? {
    var inStep = synced.filter { held(by: $0, last: last) == last && isInStep($0) }
    let factor = around.replicationFactor
    #if DEBUG
      if mutation == .activatesEarly { inStep = synced.filter { around.isUp($0) } }
    #endif
    if !inStep.contains(slot) { inStep.append(slot) }
    let missing = synced.contains { around.isUp($0) && !inStep.contains($0) }
    let isEnough = inStep.count >= WriteConcern.majority.nodes(copies: Int(factor))
    let isLate = now >= since + (isEnough ? Owner.candidatePatience : 5 * Owner.candidatePatience)
    guard !missing || isLate else { return nil }
    // A factor below the number of members would keep the set from ever growing: see `expand`.
    return .activate(replicationFactor: max(factor, UInt8(inStep.count)), synced: inStep)
  }

  /// Whether a follower's acknowledgement is of this epoch: it answered this owner.
  private func isInStep(_ slot: MemberSlot) -> Bool {
    guard slot != self.slot else { return true }
    guard let index = index(of: slot) else { return false }
    return followers[index].stream > 0 && (followers[index].phase == .streaming || followers[index].phase == .starting)
  }

  private mutating func plan(_ around: Surroundings, last: Offset, now: UInt64) {
    let wanted = around.replicas.filter { around.isActive($0) }
    if let gone = synced.first(where: { $0 != slot && !around.isUp($0) }) { return shrink(gone, around, last: last) }
    if let late = synced.first(where: { isStuck($0, last: last, now: now) }) {
      return shrink(late, around, last: last, keepsFactor: true)
    }
    let surplus = synced.first { $0 != slot && !wanted.contains($0) }
    if let ready = wanted.first(where: { !synced.contains($0) && isReady($0, last: last) }) {
      // The factor must not be less than the members of S.
      if let surplus, synced.count > Int(replicationFactor) { return shrink(surplus, around, last: last) }
      return expand(ready, around)
    }
    let isComplete = wanted.allSatisfy { synced.contains($0) } && !wanted.isEmpty
    if isComplete, let surplus { return shrink(surplus, around, last: last) }
    if replicationFactor > around.replicationFactor, synced.count < Int(replicationFactor) {
      // With the same S a lower factor asks for no more holders, and a fence for no fewer promises.
      pending = PendingResize(removed: nil, added: nil, replicationFactor: replicationFactor - 1)
      return
    }
    if isComplete, let heir = wanted.first, heir != slot, let index = index(of: heir),
      followers[index].phase == .streaming
    {
      successor = heir
      successorSince = now
    }
  }

  /// Whether a learner has everything, just now (Slot.tla: `AskExpand`).
  private func isReady(_ slot: MemberSlot, last: Offset) -> Bool {
    guard let index = index(of: slot) else { return false }
    return followers[index].phase == .streaming && followers[index].acked == last
  }

  private func isStuck(_ slot: MemberSlot, last: Offset, now: UInt64) -> Bool {
    guard let index = index(of: slot), synced.count > 1 else { return false }
    let follower = followers[index]
    if follower.phase == .stuck { return true }
    let isOwing = follower.phase != .streaming || follower.next > follower.acked.next
    return follower.acked < last && isOwing && now >= follower.progressAt + Owner.stuckAfter
  }

  /// Asks to remove `gone` from S if all others hold everything acknowledged ★ (Slot.tla: `AskShrink`); from then on
  /// its word doesn't count.
  private mutating func shrink(_ gone: MemberSlot, _ around: Surroundings, last: Offset, keepsFactor: Bool = false) {
    let mayGo = synced.allSatisfy { $0 == gone || held(by: $0, last: last) >= acknowledged }
    #if DEBUG
      guard mayGo || mutation == .shrinksEarly else { return }
    #else
      guard mayGo else { return }
    #endif
    let lowers = !keepsFactor && replicationFactor > around.replicationFactor && replicationFactor > 1
    pending = PendingResize(
      removed: gone, added: nil, replicationFactor: lowers ? replicationFactor - 1 : replicationFactor)
  }

  /// Asks to add a learner that holds the whole log. It counts when that is committed; until then a write must satisfy
  /// the old pair of set and factor and the new one ★ (Slot.tla: `AskExpand`).
  private mutating func expand(_ ready: MemberSlot, _ around: Surroundings) {
    var factor = replicationFactor
    if Int(factor) <= synced.count || factor < around.replicationFactor { factor += factor < 255 ? 1 : 0 }
    guard Int(factor) > synced.count, !synced.isFull else { return }
    pending = PendingResize(removed: nil, added: ready, replicationFactor: factor)
  }
}
