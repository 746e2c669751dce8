import Wire

// Reads that must see everything that was acknowledged before them. The value is looked up when the request comes; then
// the owner asks the members of S, once per turn for all reads of the partition, whether they have promised a later
// epoch, and answers when so many have denied it that no fence can have ended before (the read index of Ongaro 2014,
// section 6.4, with promises in the place of votes), and when the value is held by a majority.
extension Owner {
  /// The members that must deny a later epoch, of a set of so many with this factor: one more than may be missing from
  /// a fence's promises, so that every fence that ended has one of them.
  private static func needed(_ members: Int, _ replicationFactor: UInt8) -> Int {
    min(members, WriteConcern.majority.nodes(copies: Int(replicationFactor)))
  }

  /// Begins a round, or joins the one that goes out at the end of this turn.
  package mutating func beginRound() -> UInt64 {
    if !isRoundOpen {
      round += 1
      isRoundOpen = true
    }
    return round
  }

  /// The round that a follower is to be asked about now; nil if it has answered the last one or was asked already.
  package mutating func question(_ index: Int) -> UInt64? {
    guard isActive, round > 0, followers[index].asked < round, followers[index].confirmed < round,
      !readers.isEmpty, synced.contains(followers[index].slot) || pending?.added == followers[index].slot
    else { return nil }
    followers[index].asked = round
    return round
  }

  /// All that follow have been asked: the next read begins another round.
  package mutating func closeRound() { isRoundOpen = false }

  /// Nobody has answered for a while: all that haven't are asked again.
  package mutating func askAgain() {
    guard !readers.isEmpty else { return }
    for index in followers.indices { followers[index].asked = followers[index].confirmed }
  }

  /// A follower, asked in this round, has promised no later epoch. Returns whether something may be answered by that.
  package mutating func confirmed(_ asked: UInt64, by slot: MemberSlot) -> Bool {
    guard let index = index(of: slot), asked <= round, asked > followers[index].confirmed else { return false }
    followers[index].confirmed = asked
    return true
  }

  /// Whether a round could be answered by enough members, as far as the owner knows; itself, if it is alone.
  package var canConfirm: Bool {
    guard isActive, successor == nil else { return false }
    func isThere(_ slot: MemberSlot) -> Bool {
      slot == self.slot || index(of: slot).map { followers[$0].phase != .idle } ?? false
    }
    let there = synced.count { $0 != pending?.removed && isThere($0) }
    guard there >= Owner.needed(synced.count, replicationFactor) else { return false }
    guard let pending else { return true }
    let added = pending.added.map { isThere($0) ? 1 : 0 } ?? 0
    return there + added >= Owner.needed(newCount(pending), pending.replicationFactor)
  }

  private func newCount(_ pending: PendingResize) -> Int {
    synced.count - (pending.removed == nil ? 0 : 1) + (pending.added == nil ? 0 : 1)
  }

  /// The last round that enough members have answered, by the old set and by the one that was asked for.
  var confirmedRound: UInt64 {
    func rounds(_ added: MemberSlot?) -> [UInt64] {
      var rounds: [UInt64] = []
      for slot in synced where slot != pending?.removed { rounds.append(answered(slot)) }
      if let added, !synced.contains(added) { rounds.append(answered(added)) }
      return rounds.sorted(by: >)
    }
    func reached(_ rounds: [UInt64], _ needed: Int) -> UInt64 { rounds.count < needed ? 0 : rounds[needed - 1] }
    let old = reached(rounds(nil), Owner.needed(synced.count, replicationFactor))
    guard let pending else { return old }
    return min(old, reached(rounds(pending.added), Owner.needed(newCount(pending), pending.replicationFactor)))
  }

  private func answered(_ slot: MemberSlot) -> UInt64 {
    slot == self.slot ? round : index(of: slot).map { followers[$0].confirmed } ?? 0
  }

  /// Whether a read may be answered: its round (0 for none) has ended, and a majority holds the log up to `offset`.
  package mutating func maySee(_ offset: Offset, round: UInt64, last: Offset) -> Bool {
    (round == 0 || confirmedRound >= round) && isHeld(offset, .majority, last: last)
  }

  /// Those whose reads may be answered now.
  package mutating func takeReaders(last: Offset, _ answer: (UInt64) -> Void) {
    guard !readers.isEmpty else { return }
    let confirmed = confirmedRound
    let shown = max(held(at: .majority, last: last), committed)
    var highest = acknowledged
    readers.removeAll { reader in
      guard reader.round <= confirmed, reader.offset <= shown else { return false }
      highest = max(highest, reader.offset)
      answer(reader.token)
      return true
    }
    acknowledged = highest
  }
}

/// A read that waits at an owner.
package struct Reader: Equatable, Sendable {
  /// Whose answer it is.
  package let token: UInt64
  /// The round that must have ended; 0 for none.
  package let round: UInt64
  /// What a majority must hold.
  package let offset: Offset

  package init(token: UInt64, round: UInt64, offset: Offset) {
    self.token = token
    self.round = round
    self.offset = offset
  }
}
