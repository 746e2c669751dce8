import Wire

/// What an owner knows of one node that takes its records: a member of the synced set, or a learner.
package struct Follower: Equatable, Sendable {
  /// Where a stream of records to a follower stands.
  package enum Phase: UInt8, Sendable {
    /// There is no connection.
    case idle
    /// It is to be asked where its log ends.
    case opening
    /// It was asked.
    case asked
    /// It has what the owner has not, and is to drop it.
    case truncating
    /// It is to be told that records follow.
    case starting
    /// Records follow.
    case streaming
    /// Its log is of no use, but it may not be dropped while it is in the synced set.
    case stuck
  }

  // What every acknowledgement and every send needs comes first.

  /// Which member.
  package let slot: MemberSlot
  package internal(set) var phase = Phase.idle
  /// Whether it was sent everything at some time since the stream began: from then on it is kept up with like a member
  /// of the synced set. Before, it gets its records as `limits.catchUpRate` permits.
  package internal(set) var isKeptUp = false
  /// Numbers the stream; answers to an earlier one are ignored.
  package internal(set) var stream: UInt32 = 0
  /// The next record to send.
  package internal(set) var next = Offset.none.next
  /// It holds the owner's log up to here.
  package internal(set) var acked = Offset.none
  /// When it last got on, by the owner's clock in nanoseconds.
  package internal(set) var progressAt: UInt64 = 0
  /// Whether it may lack results of writes with an idempotency key: all that are remembered go before further records.
  package internal(set) var lacksResults = false
  /// Whether it says that it is short of memory: what makes a log longer for good is refused meanwhile.
  package internal(set) var isShort = false
  /// Whether it is to begin with an empty log.
  package internal(set) var resets = false
  /// What it must drop.
  package internal(set) var bound = LogEnd.empty
  /// The last round of reads that it was asked about, and that it has answered.
  package internal(set) var asked: UInt64 = 0
  package internal(set) var confirmed: UInt64 = 0

  init(_ slot: MemberSlot, now: UInt64) {
    self.slot = slot
    progressAt = now
  }
}

/// What an owner has to say to a follower now.
package enum Instruction: Equatable, Sendable {
  case nothing
  /// Where does your log end?
  case open(stream: UInt32)
  /// Drop what is beyond.
  case truncate(stream: UInt32, LogEnd)
  /// Records from `next` on follow, behind an empty log if it resets.
  case start(stream: UInt32, resets: Bool, next: Offset)
  /// Records from here to the log's end, or fewer: call `Owner.didSend`.
  case append(stream: UInt32, from: Offset)
}
