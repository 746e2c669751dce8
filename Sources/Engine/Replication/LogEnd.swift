import Wire

extension Offset {
  /// Before the first record: the end of an empty log.
  package static var none: Offset { Offset(0) }
  /// The offset of the record after this one.
  package var next: Offset { Offset(rawValue &+ 1) }
  /// The offset of the record before this one; of a log's first record, `none`.
  package var previous: Offset { Offset(rawValue &- 1) }
}

/// Where a log ends: the epoch and offset of its last record. Of two logs of one partition the later end is that of the
/// log that has everything acknowledged at majority, if either has (Slot.tla: `Geq`).
package struct LogEnd: Equatable, Comparable, Sendable {
  /// The epoch in which the last record was written; 0 for an empty log.
  package var epoch: Epoch
  /// The last record's offset.
  package var offset: Offset

  package init(epoch: Epoch, offset: Offset) {
    self.epoch = epoch
    self.offset = offset
  }

  /// The end of a log without records.
  package static let empty = LogEnd(epoch: Epoch(0), offset: .none)

  package static func < (a: LogEnd, b: LogEnd) -> Bool { (a.epoch, a.offset) < (b.epoch, b.offset) }
}

/// Which epochs a log has records of, and where each begins: enough to tell whether another log that ends at some
/// (epoch, offset) is the beginning of this one (Kafka's leader epochs, KIP-101).
///
/// It works because a record's (epoch, offset) says which log it was written to: one owner per epoch writes one log,
/// and a replica takes records of an owner only behind a log that is the beginning of that owner's. Bounded: the oldest
/// epochs are forgotten, and a log that ends in one of those can only begin anew.
package struct EpochHistory: Equatable, Sendable {
  /// An epoch and the offset of its first record, which may still be to come.
  package struct Entry: Equatable, Sendable {
    /// The epoch.
    package let epoch: Epoch
    /// The offset of its first record.
    package let first: Offset

    package init(epoch: Epoch, first: Offset) {
      self.epoch = epoch
      self.first = first
    }
  }

  /// Epochs at most: a fence makes one, and only the last two can tell members of a synced set apart, as a new owner
  /// begins with a set that has its whole log.
  package static let maximumCount = 16

  /// In order of epochs and offsets, both rising.
  package private(set) var entries: [Entry] = []

  package init() {}

  /// The entries of a history that came by frame; nil if no history has these.
  package init?(_ entries: [Entry]) {
    guard entries.count <= EpochHistory.maximumCount else { return nil }
    for (a, b) in zip(entries, entries.dropFirst()) where a.epoch >= b.epoch || a.first >= b.first { return nil }
    if let first = entries.first, first.epoch == Epoch(0) || first.first == .none { return nil }
    self.entries = entries
  }

  /// Records from `first` on are of this epoch, which is the latest. An epoch that turns out to have no records is
  /// forgotten.
  package mutating func begin(_ epoch: Epoch, at first: Offset) {
    while let last = entries.last, last.first >= first { entries.removeLast() }
    if let last = entries.last, last.epoch >= epoch { return }
    entries.append(Entry(epoch: epoch, first: first))
    if entries.count > EpochHistory.maximumCount { entries.removeFirst() }
  }

  /// The log ends before `offset` now.
  package mutating func truncate(to last: Offset) {
    while let entry = entries.last, entry.first > last { entries.removeLast() }
  }

  /// The end of this log if its last record is at `last`.
  package func end(at last: Offset) -> LogEnd {
    guard last > .none else { return .empty }
    for entry in entries.reversed() where entry.first <= last { return LogEnd(epoch: entry.epoch, offset: last) }
    // An epoch that was forgotten: earlier than any known one.
    return LogEnd(epoch: Epoch(0), offset: last)
  }

  /// How a log that ends at `other` relates to this one, whose last record is at `last`.
  package func relation(to other: LogEnd, last: Offset) -> LogRelation {
    if other.offset == .none { return .beginning }
    for (index, entry) in entries.enumerated().reversed() where entry.epoch <= other.epoch {
      let end = index + 1 < entries.count ? entries[index + 1].first.previous : last
      if entry.epoch == other.epoch, other.offset <= end { return .beginning }
      return .diverges(LogEnd(epoch: entry.epoch, offset: end))
    }
    return .unknown
  }

  /// Where a log with this history, whose last record is at `last`, ends once it has nothing beyond `bound`: no record
  /// of a later epoch and none at a greater offset.
  package func common(with bound: LogEnd, last: Offset) -> Offset {
    var end = min(last, bound.offset)
    for entry in entries where entry.epoch > bound.epoch { end = min(end, entry.first.previous) }
    return end
  }
}

/// How another log relates to an owner's.
package enum LogRelation: Equatable, Sendable {
  /// It is the beginning of the owner's, or all of it.
  case beginning
  /// It has records that the owner's has not; the owner's log agrees with it at most up to here.
  case diverges(LogEnd)
  /// It ends in an epoch that was forgotten.
  case unknown
}
