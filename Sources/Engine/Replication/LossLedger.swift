import Wire

/// What was dropped although a client may have been told that it was written: the keys and revisions of writes that
/// were acknowledged before a majority held them, and were in a tail that a failover cut off.
///
/// Bounded: the oldest entries go, and are counted.
package struct LossLedger {
  /// One lost write.
  package struct Entry: Equatable, Sendable {
    /// The token that the writer got.
    package let revision: Revision
    /// The map's name, empty for "default", and the key.
    package let map: [UInt8]
    package let key: [UInt8]
    /// Whether the write removed the key.
    package let isRemoval: Bool
    /// When it was written, and when it was dropped: milliseconds since 1970.
    package let written: UInt64
    package let dropped: UInt64
    /// The failover by which: the epoch that doesn't have it, and who owns the partition in that.
    package let failover: Epoch
    package let owner: NodeID
  }

  /// Entries at most.
  package static let maximumCount = 4096
  /// Bytes of a key that an entry keeps at most.
  package static let maximumKey = 512

  private var ring: [Entry] = []
  private var start = 0
  /// All that were ever noted, those that are gone included.
  package private(set) var total: UInt64 = 0

  package init() {}

  /// Those that are kept, oldest first.
  package var entries: [Entry] { Array(ring[start...] + ring[..<start]) }

  /// The last `count` of them, oldest first.
  package func newest(_ count: Int) -> [Entry] { Array(entries.suffix(count)) }

  /// Notes a record that is about to be dropped.
  ///
  /// - Parameters:
  ///   - failover: the epoch whose log doesn't have it.
  ///   - owner: of that epoch.
  package mutating func note(
    _ record: RecordView, _ partition: PartitionID, by failover: Epoch, of owner: NodeID, now: UInt64
  ) {
    total += 1
    let entry = Entry(
      revision: record.revision(in: partition), map: [UInt8](record.map),
      key: [UInt8](record.key.prefix(LossLedger.maximumKey)), isRemoval: !record.isPut, written: record.time,
      dropped: now, failover: failover, owner: owner)
    if ring.count < LossLedger.maximumCount {
      ring.append(entry)
    } else {
      ring[start] = entry
      start = (start + 1) % LossLedger.maximumCount
    }
  }
}
