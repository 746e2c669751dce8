/// How many members of the synced set must hold a write before it is answered (PROTOCOL: writing).
///
/// A trivial word: 0 is majority, 255 all, anything else that many.
package struct WriteConcern: Equatable, Sendable {
  /// The word.
  package let rawValue: UInt8

  private init(_ rawValue: UInt8) { self.rawValue = rawValue }

  /// ⌊rf/2⌋ + 1 members hold it: an automatic failover never loses it.
  package static let majority = WriteConcern(0)
  /// As many hold it as the replication factor in force says.
  package static let all = WriteConcern(255)
  /// The owner applied it.
  package static let one = WriteConcern(1)

  /// So many hold it; 1 to 254, others are brought into that range.
  package static func members(_ count: Int) -> WriteConcern { WriteConcern(UInt8(min(max(count, 1), 254))) }

  /// Members that a majority of `replicationFactor` copies has (Slot.tla: `Wq`).
  package static func majority(of replicationFactor: UInt8) -> Int { Int(replicationFactor) / 2 + 1 }

  /// How many members it wants where the replication factor in force is this.
  package func members(of replicationFactor: UInt8) -> Int {
    switch rawValue {
    case 0: WriteConcern.majority(of: replicationFactor)
    case 255: max(Int(replicationFactor), 1)
    default: Int(rawValue)
    }
  }
}
