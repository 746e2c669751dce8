/// What an entry of the control plane's log is.
package enum LogEntryKind: UInt8, Sendable {
  /// A leader's first entry: commits what earlier terms left (Raft, section 5.4.2).
  case nothing = 0
  /// A change of the topology.
  case command = 1
  /// The voters from here on.
  case voters = 2
}

/// An entry of the control plane's log.
package struct LogEntry: Equatable, Sendable {
  /// The term of the leader that took it.
  package let term: Term
  package let kind: LogEntryKind
  package let payload: [UInt8]

  package init(term: Term, kind: LogEntryKind, payload: [UInt8] = []) {
    self.term = term
    self.kind = kind
    self.payload = payload
  }

  /// Bytes of payload at most, so that any entry fits a datagram.
  package static let maximumPayload = 1000
  /// Bytes that an entry takes in a datagram besides its payload.
  package static let overhead = 11
}

/// Asks for a vote, or (`isPre`) whether a vote would be given (Ongaro 2014, section 9.6).
package struct VoteRequest: Equatable, Sendable {
  /// Whether only the willingness is asked for.
  package let isPre: Bool
  /// The leader asked for this election: don't protect it.
  package let isForced: Bool
  /// The term that the candidate has, or would have.
  package let term: Term
  package let lastIndex: LogIndex
  package let lastTerm: Term
  /// Milliseconds since the candidate heard the last leader; the most for never.
  package let silence: UInt32
  /// Counts the candidate's campaigns, so that an answer to an earlier one isn't taken for this one's.
  package let round: UInt32

  package init(
    isPre: Bool, isForced: Bool, term: Term, lastIndex: LogIndex, lastTerm: Term, silence: UInt32, round: UInt32
  ) {
    self.isPre = isPre
    self.isForced = isForced
    self.term = term
    self.lastIndex = lastIndex
    self.lastTerm = lastTerm
    self.silence = silence
    self.round = round
  }
}

/// Answers a `VoteRequest` of the same round.
package struct VoteReply: Equatable, Sendable {
  /// Whether only the willingness is asked for.
  package let isPre: Bool
  /// Whether the vote is given.
  package let isGranted: Bool
  /// The voter's term.
  package let term: Term
  package let round: UInt32

  package init(isPre: Bool, isGranted: Bool, term: Term, round: UInt32) {
    self.isPre = isPre
    self.isGranted = isGranted
    self.term = term
    self.round = round
  }
}

/// New entries, and the leader's heartbeat, which has none.
package struct AppendRequest: Equatable, Sendable {
  /// The term it is of.
  package let term: Term
  /// The place and term of the entry before the first one here.
  package let previousIndex: LogIndex
  package let previousTerm: Term
  package let commit: LogIndex
  /// The leader's clock in nanoseconds; the answer carries it back.
  package let sentAt: UInt64
  /// Grants a lease that counts from this reading of the receiver's own clock; 0 grants none.
  package let leaseFrom: UInt64
  package let entries: [LogEntry]

  package init(
    term: Term, previousIndex: LogIndex, previousTerm: Term, commit: LogIndex, sentAt: UInt64, leaseFrom: UInt64,
    entries: [LogEntry]
  ) {
    self.term = term
    self.previousIndex = previousIndex
    self.previousTerm = previousTerm
    self.commit = commit
    self.sentAt = sentAt
    self.leaseFrom = leaseFrom
    self.entries = entries
  }

  /// Bytes of entries in one datagram at most, their overhead included.
  package static let maximumEntries = 1100
}

/// Answers an `AppendRequest`, and asks for a lease.
package struct AppendReply: Equatable, Sendable {
  /// The term it is of.
  package let term: Term
  /// Whether the entry before the new ones was there.
  package let isAccepted: Bool
  /// Accepted: the log agrees with the leader's up to here. Otherwise: it may agree up to here, and not after.
  package let match: LogIndex
  /// The topology has taken all entries up to here.
  package let applied: LogIndex
  /// `AppendRequest.sentAt`.
  package let sentAt: UInt64
  /// This node's clock in nanoseconds: where a lease may count from.
  package let clock: UInt64

  package init(term: Term, isAccepted: Bool, match: LogIndex, applied: LogIndex, sentAt: UInt64, clock: UInt64) {
    self.term = term
    self.isAccepted = isAccepted
    self.match = match
    self.applied = applied
    self.sentAt = sentAt
    self.clock = clock
  }
}

/// A piece of a snapshot, for a follower that needs entries the leader no longer has.
package struct SnapshotPiece: Equatable, Sendable {
  /// The term it is of.
  package let term: Term
  /// The last entry that the snapshot has taken, and that entry's term.
  package let index: LogIndex
  package let indexTerm: Term
  package let sentAt: UInt64
  /// Where in the snapshot's bytes this piece begins, and how many bytes there are in all.
  package let offset: UInt32
  package let total: UInt32
  package let bytes: [UInt8]

  package init(
    term: Term, index: LogIndex, indexTerm: Term, sentAt: UInt64, offset: UInt32, total: UInt32, bytes: [UInt8]
  ) {
    self.term = term
    self.index = index
    self.indexTerm = indexTerm
    self.sentAt = sentAt
    self.offset = offset
    self.total = total
    self.bytes = bytes
  }

  /// Bytes of a snapshot in one datagram.
  package static let maximumBytes = 1024
}

/// How far a follower has a snapshot.
package struct SnapshotReply: Equatable, Sendable {
  /// The term it is of.
  package let term: Term
  /// The entry.
  package let index: LogIndex
  /// The leader's clock when it sent this.
  package let sentAt: UInt64
  /// The bytes before this one are there.
  package let offset: UInt32

  package init(term: Term, index: LogIndex, sentAt: UInt64, offset: UInt32) {
    self.term = term
    self.index = index
    self.sentAt = sentAt
    self.offset = offset
  }
}

/// A message between two members about elections and the log.
package enum ElectionMessage: Equatable, Sendable {
  case voteRequest(VoteRequest)
  case voteReply(VoteReply)
  case append(AppendRequest)
  case appendReply(AppendReply)
  case snapshot(SnapshotPiece)
  case snapshotReply(SnapshotReply)
  /// The leader of this term wants the receiver to lead: campaign at once (Ongaro 2014, section 3.10).
  case timeoutNow(Term)
}

extension BeaconWriter {
  /// Appends the message's fields in the order of their declaration; flags first, in one byte.
  package mutating func election(_ message: ElectionMessage) {
    switch message {
    case .voteRequest(let vote):
      u8((vote.isPre ? 1 : 0) | (vote.isForced ? 2 : 0))
      u64(vote.term.rawValue)
      u64(vote.lastIndex.rawValue)
      u64(vote.lastTerm.rawValue)
      u32(vote.silence)
      u32(vote.round)
    case .voteReply(let vote):
      u8((vote.isPre ? 1 : 0) | (vote.isGranted ? 2 : 0))
      u64(vote.term.rawValue)
      u32(vote.round)
    case .append(let append): self.append(append)
    case .appendReply(let reply):
      u8(reply.isAccepted ? 1 : 0)
      u64(reply.term.rawValue)
      u64(reply.match.rawValue)
      u64(reply.applied.rawValue)
      u64(reply.sentAt)
      u64(reply.clock)
    case .snapshot(let piece):
      u64(piece.term.rawValue)
      u64(piece.index.rawValue)
      u64(piece.indexTerm.rawValue)
      u64(piece.sentAt)
      u32(piece.offset)
      u32(piece.total)
      block(piece.bytes)
    case .snapshotReply(let reply):
      u64(reply.term.rawValue)
      u64(reply.index.rawValue)
      u64(reply.sentAt)
      u32(reply.offset)
    case .timeoutNow(let term): u64(term.rawValue)
    }
  }

  private mutating func append(_ append: AppendRequest) {
    u64(append.term.rawValue)
    u64(append.previousIndex.rawValue)
    u64(append.previousTerm.rawValue)
    u64(append.commit.rawValue)
    u64(append.sentAt)
    u64(append.leaseFrom)
    u8(UInt8(append.entries.count))
    for entry in append.entries {
      u64(entry.term.rawValue)
      u8(entry.kind.rawValue)
      block(entry.payload)
    }
  }
}

extension BeaconReader {
  private mutating func index() throws(BeaconError) -> LogIndex { LogIndex(try u64()) }
  private mutating func term() throws(BeaconError) -> Term { Term(try u64()) }

  private mutating func flags(_ bound: UInt8) throws(BeaconError) -> UInt8 {
    let flags = try u8()
    guard flags <= bound else { throw .malformed }
    return flags
  }

  /// Reads the fields of a message of this kind.
  package mutating func election(_ kind: BeaconKind) throws(BeaconError) -> ElectionMessage {
    switch kind {
    case .voteRequest:
      let flags = try flags(3)
      let (term, lastIndex, lastTerm) = (try term(), try index(), try self.term())
      return .voteRequest(
        VoteRequest(
          isPre: flags & 1 != 0, isForced: flags & 2 != 0, term: term, lastIndex: lastIndex, lastTerm: lastTerm,
          silence: try u32(), round: try u32()))
    case .voteReply:
      let flags = try flags(3)
      let term = try term()
      return .voteReply(VoteReply(isPre: flags & 1 != 0, isGranted: flags & 2 != 0, term: term, round: try u32()))
    case .append: return .append(try append())
    case .appendReply:
      let isAccepted = try flag()
      let (term, match, applied) = (try term(), try index(), try index())
      return .appendReply(
        AppendReply(
          term: term, isAccepted: isAccepted, match: match, applied: applied, sentAt: try u64(), clock: try u64()))
    case .snapshot:
      let (term, index, indexTerm) = (try term(), try index(), try self.term())
      let (sentAt, offset, total) = (try u64(), try u32(), try u32())
      return .snapshot(
        SnapshotPiece(
          term: term, index: index, indexTerm: indexTerm, sentAt: sentAt, offset: offset, total: total,
          bytes: try block()))
    case .snapshotReply:
      let (term, index, sentAt) = (try term(), try index(), try u64())
      return .snapshotReply(SnapshotReply(term: term, index: index, sentAt: sentAt, offset: try u32()))
    case .timeoutNow: return .timeoutNow(try term())
    default: throw .kind
    }
  }

  private mutating func append() throws(BeaconError) -> AppendRequest {
    let (term, previousIndex, previousTerm) = (try term(), try index(), try self.term())
    let (commit, sentAt, leaseFrom) = (try index(), try u64(), try u64())
    var entries: [LogEntry] = []
    for _ in 0..<Int(try u8()) {
      let term = try self.term()
      guard let kind = LogEntryKind(rawValue: try u8()) else { throw .malformed }
      entries.append(LogEntry(term: term, kind: kind, payload: try block()))
    }
    return AppendRequest(
      term: term, previousIndex: previousIndex, previousTerm: previousTerm, commit: commit, sentAt: sentAt,
      leaseFrom: leaseFrom, entries: entries)
  }
}
