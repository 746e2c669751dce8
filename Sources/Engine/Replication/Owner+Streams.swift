import Wire

// How an owner brings its followers in step: it asks where a follower's log ends, has it drop what isn't in its own,
// and sends what is missing, then every new record. A candidate does the same with what it has.
extension Owner {
  /// There is a connection to this follower now, or a new one.
  package mutating func connected(_ slot: MemberSlot, now: UInt64) {
    guard let index = index(of: slot) else { return }
    reopen(index, now)
  }

  /// The connection is gone; what was acknowledged stays.
  package mutating func disconnected(_ slot: MemberSlot, now: UInt64) {
    guard let index = index(of: slot), followers[index].phase != .idle else { return }
    followers[index].phase = .idle
    followers[index].progressAt = now
  }

  /// Another node has the slot now: nothing is known of it.
  package mutating func forget(_ slot: MemberSlot, now: UInt64) {
    guard let index = index(of: slot) else { return }
    followers[index] = Follower(slot, now: now)
  }

  private mutating func reopen(_ index: Int, _ now: UInt64) {
    followers[index].phase = .opening
    followers[index].stream &+= 1
    followers[index].asked = followers[index].confirmed
    followers[index].isShort = false
    followers[index].progressAt = now
  }

  /// Asks followers again that were asked something and said nothing for so long, or that don't get on.
  package mutating func retry(after patience: UInt64, last: Offset, now: UInt64) {
    for index in followers.indices where now >= followers[index].progressAt + patience {
      switch followers[index].phase {
      case .idle, .opening: break
      case .streaming where followers[index].acked.next == followers[index].next: break
      default: reopen(index, now)
      }
    }
  }

  // MARK: Sending

  /// Whether writes may have to wait for the follower at `index`, so that it goes before those that are being brought
  /// in step.
  package func isUrgent(_ index: Int) -> Bool {
    followers[index].isKeptUp || synced.contains(followers[index].slot) || pending?.added == followers[index].slot
  }

  /// What is to be said to the follower at `index` now; saying it is expected. `append` doesn't change anything until
  /// `didSend`.
  package mutating func instruction(_ index: Int, last: Offset) -> Instruction {
    let follower = followers[index]
    switch follower.phase {
    case .idle, .asked, .stuck: return .nothing
    case .opening:
      followers[index].phase = .asked
      return .open(stream: follower.stream)
    case .truncating:
      followers[index].phase = .asked
      return .truncate(stream: follower.stream, follower.bound)
    case .starting:
      followers[index].phase = .streaming
      followers[index].lacksResults = true
      followers[index].isKeptUp = false
      return .start(stream: follower.stream, resets: follower.resets, next: follower.next)
    case .streaming:
      return follower.next <= last ? .append(stream: follower.stream, from: follower.next) : .nothing
    }
  }

  /// Records up to here were sent to the follower at `index`.
  package mutating func didSend(_ index: Int, upTo offset: Offset, now: UInt64) {
    // Whoever had everything gets its time from now on.
    if followers[index].acked.next == followers[index].next { followers[index].progressAt = now }
    followers[index].next = offset.next
  }

  // MARK: Answers

  /// A follower says whether it is short of memory.
  mutating func note(isShort: Bool, _ slot: MemberSlot, _ epoch: Epoch, stream: UInt32) {
    guard epoch == self.epoch, let index = index(of: slot), followers[index].stream == stream else { return }
    followers[index].isShort = isShort
  }

  /// Whether a member of S is short of memory.
  var hasShortCopy: Bool {
    mutating get {
      for index in followers.indices where followers[index].isShort && synced.contains(followers[index].slot) {
        return true
      }
      return false
    }
  }

  /// A follower told where its log ends. Returns whether something may be answered by that.
  /// - Parameters:
  ///   - history: that of the owner's own log, which ends at `last`.
  ///   - keepsFrom: the store has every removal from this offset on: a follower that ends before it can't be told what
  ///     was removed since, and begins with an empty log.
  package mutating func receive(
    position end: LogEnd, from slot: MemberSlot, stream: UInt32, history: EpochHistory, last: Offset,
    keepsFrom: Offset, now: UInt64
  ) -> Bool {
    guard let index = index(of: slot), followers[index].stream == stream else { return false }
    // One that streams and tells its position has lost something on the way.
    guard followers[index].phase == .asked || followers[index].phase == .streaming else { return false }
    followers[index].progressAt = now
    var relation = history.relation(to: end, last: last)
    #if DEBUG
      if mutation == .comparesOffsets, end.offset <= last { relation = .beginning }
    #endif
    switch relation {
    case .beginning where end.offset == .none || end.offset.next >= keepsFrom:
      followers[index].phase = .starting
      followers[index].resets = false
      followers[index].next = end.offset.next
      return acknowledge(slot, upTo: end.offset, last: last, now: now)
    case .diverges(let bound):
      followers[index].phase = .truncating
      followers[index].bound = bound
    case .beginning, .unknown:
      // Dropping a log that counts would lose what it holds. It has to leave the synced set first.
      if synced.contains(slot) || pending?.added == slot {
        followers[index].phase = .stuck
      } else {
        followers[index].phase = .starting
        followers[index].resets = true
        followers[index].next = Offset.none.next
        followers[index].acked = .none
      }
    }
    return false
  }

  /// A follower holds records up to here. Returns whether something may be answered by that.
  package mutating func receive(
    acknowledgement offset: Offset, from slot: MemberSlot, stream: UInt32, last: Offset, now: UInt64
  ) -> Bool {
    guard let index = index(of: slot), followers[index].stream == stream, followers[index].phase == .streaming else {
      return false
    }
    return acknowledge(slot, upTo: offset, last: last, now: now)
  }
}
