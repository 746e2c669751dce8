import Wire

/// A node's part in the replication of one partition: always a replica, sometimes the owner or a fence's candidate.
///
/// Pure: entries of the topology, messages and time go in; `Owner.instruction`, `Replica.takeReply` and `wish` say what
/// is to go out, when a turn ends. The log is elsewhere: what must be done to it is returned.
package struct PartitionReplication: Sendable {
  /// Bytes of a cache line; parts begin with one. Fields come in the order in which they are needed: the replica is the
  /// first line, the owner begins with the second, and what its writes and acknowledgements need is in `ownerLines`.
  static let line = 64
  static let replicaLines = 2
  static let ownerLines = 3
  /// Where a part has the address of its followers' list, whose first elements are in the list's first three lines.
  static let followersOffset =
    MemoryLayout<PartitionReplication>.offset(of: \.owner)! + MemoryLayout<Owner>.offset(of: \.followers)!
  static let followersLines = 3

  /// This node's share in the log.
  package internal(set) var replica = Replica()
  /// While this node is the partition's owner or candidate.
  package internal(set) var owner: Owner?
  /// The node's own slot; nil while it is no member.
  package private(set) var slot: MemberSlot?
  private var hasEntry = false
  #if DEBUG
    /// A planted bug, for tests of the checkers.
    package var mutation: ReplicationMutation? {
      didSet {
        replica.mutation = mutation
        owner?.mutation = mutation
      }
    }
  #endif
  /// The entry as it was learned last.
  package private(set) var entry = PartitionEntry()
  /// Fills the struct to whole cache lines.
  private var padding = InlineArray<6, UInt64>(repeating: 0)

  package init() {}

  /// What an entry asks of the log and of those who wait.
  package struct Change: Equatable, Sendable {
    /// The log is to be emptied: all that held the partition is gone.
    package var resetsLog = false
    /// The node is the owner no more: those who wait won't learn what becomes of their writes.
    package var isDeposed = false
    /// It is the owner now and may write, in this epoch.
    package var becameOwner = false
  }

  /// Whether `owner` is there: this node is the partition's owner, or the candidate of its fence.
  package var leads: Bool {
    assert(replica.leads == (owner != nil))
    return replica.leads
  }
  /// Whether the entry makes this node the owner, lease aside.
  package var isOwner: Bool { owner?.isActive == true }
  /// Whether it is the owner, and another one is to be that.
  package var isHandingOver: Bool { owner?.successor != nil }

  // MARK: The topology

  /// Takes the partition's entry from a topology that is later than the last one.
  package mutating func adopt(
    _ new: PartitionEntry, slot own: MemberSlot?, _ around: Surroundings, now: UInt64, deposed: (UInt64) -> Void
  ) -> Change {
    var change = Change()
    let old = entry
    entry = new
    slot = own
    guard !hasEntry || new != old || owner != nil else { return change }
    hasEntry = true
    // It began anew: a log of the life before is dropped, and no other ★. What came of the new life before the news of
    // it was acknowledged to its owner, which counts on it (Slot.tla: `Forget`).
    if new.losses != old.losses, replica.last > .none, replica.end.epoch < new.lostBefore {
      stepDown(&change, deposed)
      replica.reset()
      change.resetsLog = true
    }
    // Having applied a fence is a promise ★, whoever held the partition (Slot.tla: `Promise`).
    replica.promise(new.epoch)
    if let owner, owner.epoch < new.epoch { stepDown(&change, deposed) }
    // A later epoch was heard of already: this entry is history.
    guard let own, replica.promised == new.epoch else { return change }
    if new.isActive ? new.owner == own : new.candidate == own {
      let wasActive = isOwner
      if owner == nil { lead(own, new, now) } else { owner!.learn(new) }
      change.becameOwner = isOwner && !wasActive
      follow(around, now)
    } else if owner != nil {
      stepDown(&change, deposed)
    }
    return change
  }

  private mutating func lead(_ own: MemberSlot, _ entry: PartitionEntry, _ now: UInt64) {
    replica.lead(entry.epoch)
    var last = replica.last
    #if DEBUG
      if mutation == .trustsSilence { last = .none }
    #endif
    owner = Owner(own, entry, committed: replica.committed, last: last, now: now)
    replica.leads = true
    #if DEBUG
      owner!.mutation = mutation
    #endif
  }

  /// An owner streams to S, to those that should hold the partition, and to one it asked to add.
  private mutating func follow(_ around: Surroundings, _ now: UInt64) {
    var slots = owner!.synced
    if owner!.isActive {
      for slot in around.replicas where around.isUp(slot) && !slots.contains(slot) && !slots.isFull {
        slots.append(slot)
      }
      if let added = owner!.pending?.added, !slots.contains(added), !slots.isFull { slots.append(added) }
    }
    owner!.setFollowers(slots, now: now)
  }

  private mutating func stepDown(_ change: inout Change, _ deposed: (UInt64) -> Void) {
    guard leads else { return }
    owner!.waiters.takeAll(deposed)
    for reader in owner!.readers { deposed(reader.token) }
    owner = nil
    replica.leads = false
    replica.stopListening()
    change.isDeposed = true
  }

  // MARK: Messages to a replica

  /// What a message asks of the log.
  package enum Action: Equatable, Sendable {
    case nothing
    /// Drop all records behind this one.
    case truncate(Offset)
    /// Drop everything.
    case reset
    /// Append the records that came with the message.
    case append
  }

  /// Takes a message of an owner or a candidate. One of a later epoch deposes this node if it is the owner.
  package mutating func receive(
    _ message: ReplicationMessage, _ epoch: Epoch, stream: UInt32, from source: MemberSlot,
    deposed: (UInt64) -> Void
  ) -> Action {
    if leads, epoch > owner!.epoch {
      var change = Change()
      stepDown(&change, deposed)
    }
    // Two can't own one epoch: only a message that lost its way comes here.
    guard !leads else { return .nothing }
    switch message {
    case .open:
      replica.open(epoch, stream: stream, from: source)
      return .nothing
    case .truncate(let bound):
      return replica.truncate(epoch, stream: stream, to: bound).map { $0 == .none ? .reset : .truncate($0) } ?? .nothing
    case .start(let resets, let next, let history):
      let isStarted = replica.start(epoch, stream: stream, resets: resets, history: history, at: next)
      return isStarted && resets ? .reset : .nothing
    case .append(let first, let end, let committed):
      let verdict = replica.accept(epoch, stream: stream, first: first, end: end, committed: committed)
      return verdict == .take ? .append : .nothing
    case .position, .acknowledge, .refuse: return .nothing
    }
  }

  /// An owner asks whether an epoch later than its own was promised here. Whether it wasn't.
  package mutating func confirms(_ epoch: Epoch, deposed: (UInt64) -> Void) -> Bool {
    if leads, epoch > owner!.epoch {
      var change = Change()
      stepDown(&change, deposed)
    }
    guard epoch >= replica.promised else { return false }
    replica.promise(epoch)
    return true
  }

  // MARK: Answers to an owner

  /// Takes a follower's answer. Returns whether something may be answered by that; call `settle` then.
  package mutating func receive(
    answer message: ReplicationMessage, _ epoch: Epoch, stream: UInt32, from slot: MemberSlot, keepsFrom: Offset,
    now: UInt64
  ) -> Bool {
    guard leads, owner!.epoch == epoch else { return false }
    switch message {
    case .position(let end):
      return owner!.receive(
        position: end, from: slot, stream: stream, history: replica.history, last: replica.last, keepsFrom: keepsFrom,
        now: now)
    case .acknowledge(let offset):
      return owner!.receive(acknowledgement: offset, from: slot, stream: stream, last: replica.last, now: now)
    // The topology will tell.
    case .refuse, .open, .truncate, .start, .append: return false
    }
  }

  /// Answers those whose writes are held by enough now. Returns whether the majority's watermark moved.
  package mutating func settle(_ answer: (UInt64) -> Void) -> Bool {
    guard leads else { return false }
    let moved = owner!.updateCommitted(last: replica.last)
    if moved { replica.commit(upTo: owner!.committed) }
    owner!.takeAnswered(last: replica.last, answer)
    owner!.takeReaders(last: replica.last, answer)
    return moved
  }

  // MARK: Writing

  /// The owner appended records up to this one (Slot.tla: `Write`).
  package mutating func appended(upTo offset: Offset) { replica.appended(upTo: offset) }

  /// The same, if it is the owner.
  package mutating func appended(ifOwner offset: Offset) { if leads { replica.appended(upTo: offset) } }

  // MARK: Wishes

  /// What to ask the control plane for now.
  package mutating func wish(_ around: Surroundings, now: UInt64) -> Wish? {
    if leads { return owner!.wish(around, last: replica.last, now: now) }
    guard let slot, !entry.isActive, entry.epoch > Epoch(0), entry.candidate == nil, entry.synced.contains(slot),
      replica.promised == entry.epoch
    else { return nil }
    return .promise(replica.end)
  }
}
