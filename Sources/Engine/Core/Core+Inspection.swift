import Wire

// What checkers look at from outside: nothing here changes anything, and nothing in the engine calls it.
extension Core {
  /// A core's part in a partition.
  package struct PartitionState: Equatable, Sendable {
    /// The end of its log.
    package var last: Offset
    /// What is known to be held by a majority; all of it while the node replicates nothing.
    package var committed: Offset
    /// The epoch it owns it in, or the one it promised.
    package var epoch: Epoch
    /// Whether it is the owner as the core knows it, lease aside.
    package var isOwner: Bool
    /// The epoch of the last record.
    package var lastEpoch: Epoch
  }

  /// The partition of a key of the map "default".
  package static func partition(of key: String) -> Int {
    Array(key.utf8).withUnsafeBytes { Int(KeyRef($0).partition.rawValue) }
  }

  /// The partition of a key of a map in mode `cache`.
  package static func partition(of key: String, inCache map: String) -> Int {
    let name = [MapTable.cacheMark] + Array(map.utf8)
    return name.withUnsafeBytes { map in
      Array(key.utf8).withUnsafeBytes { Int(KeyRef(map: map, key: $0).partition.rawValue) }
    }
  }

  /// Whether this core has a partition.
  package func executes(_ partition: Int) -> Bool { partitions.contains(partition) }

  /// Whether this core would take a write of one of its partitions, lease aside.
  package func takesWrites(_ partition: Int) -> Bool {
    guard standing.owned[partition] != 0 else { return false }
    guard desk.parts != nil else { return true }
    guard let owner = desk.parts![partition - partitions.lowerBound].owner else { return false }
    return owner.isActive && owner.successor == nil
  }

  /// Where a partition of this core stands.
  package func inspect(_ partition: Int) -> PartitionState {
    let id = PartitionID(UInt16(partition))
    let last = store.nextOffset(of: id).previous
    guard desk.parts != nil else {
      return PartitionState(last: last, committed: last, epoch: Epoch(0), isOwner: false, lastEpoch: Epoch(0))
    }
    let part = partition - partitions.lowerBound
    let owner = desk.parts![part].owner
    return PartitionState(
      last: last, committed: desk.parts![part].replica.committed,
      epoch: owner?.epoch ?? desk.parts![part].replica.promised, isOwner: owner?.isActive == true,
      lastEpoch: desk.parts![part].replica.end.epoch)
  }

  /// What its owner knows of the partition's copies, in words; nil at a node that doesn't own it.
  package func account(of partition: Int) -> String? {
    guard desk.parts != nil, let owner = desk.parts![partition - partitions.lowerBound].owner else { return nil }
    let followers = owner.followers.map { "\($0.slot) \($0.phase) at \($0.acked.rawValue)" }.joined(separator: ", ")
    return "last \(inspect(partition).last.rawValue), committed \(owner.committed.rawValue), acknowledged "
      + "\(owner.acknowledged.rawValue), \(owner.pending == nil ? "" : "asks for another set, ")"
      + "\(owner.successor.map { "hands over to \($0), " } ?? "")copies: \(followers)"
  }

  /// Visits the records of a partition's log that are still there, in order from an offset on, each with a digest of
  /// its bytes.
  package mutating func visitLog(
    of partition: Int, from first: Offset, _ visit: (Epoch, Offset, UInt64) -> Void
  ) {
    var list = RecordList()
    var next: Offset? = first
    while let from = next {
      list.removeAll()
      next = store.scan(PartitionID(UInt16(partition)), from: from, maximumBytes: 1 << 20, into: &list)
      for index in 0..<list.count {
        let record = list[index]
        visit(record.epoch, record.offset, xxh3(record.base, count: record.length, seed: 0))
      }
    }
  }

  /// A digest of what a partition's keys have now, the same for all copies that agree.
  package mutating func liveDigest(of partition: Int) -> UInt64 {
    var list = RecordList()
    let id = PartitionID(UInt16(partition))
    _ = store.scan(id, from: Offset(1), maximumBytes: .max, into: &list)
    var latest: [UInt64: UInt64] = [:]
    for index in 0..<list.count {
      let record = list[index]
      latest[record.hash] = record.isPut ? xxh3(record.base, count: record.length, seed: 0) : nil
    }
    var sum: UInt64 = 0
    for (key, digest) in latest { sum &+= (key ^ digest) &* 0x9E37_79B9_7F4A_7C15 }
    return sum
  }
}
