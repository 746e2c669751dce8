import Wire

extension WriteConcern {
  /// The owner applied it.
  package static var one: WriteConcern { WriteConcern(rawValue: 1) }

  /// Members that a majority of `replicationFactor` copies has (Slot.tla: `Wq`).
  package static func majority(of replicationFactor: UInt8) -> Int { Int(replicationFactor) / 2 + 1 }

  /// How many members it wants where the replication factor in force is this; at least one.
  package func members(of replicationFactor: UInt8) -> Int { max(nodes(copies: Int(replicationFactor)), 1) }
}
