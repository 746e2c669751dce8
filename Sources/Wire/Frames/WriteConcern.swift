/// How many nodes must hold a write before it is acknowledged: `w` of a request, two bytes on the wire.
@frozen public struct WriteConcern: Equatable, Sendable {
  /// 0 for a majority, 0xFFFF for all, else a number of nodes.
  public let rawValue: UInt16

  @inlinable package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// More than half of the copies in force; what a request gets that names none.
  @inlinable package static var majority: WriteConcern { WriteConcern(rawValue: 0) }
  /// The owner applied it.
  @inlinable package static var one: WriteConcern { WriteConcern(rawValue: 1) }
  /// Every copy in force.
  @inlinable package static var all: WriteConcern { WriteConcern(rawValue: 0xFFFF) }
  /// The most nodes that can be asked for by number.
  @inlinable package static var maximumNodes: Int { 1024 }

  /// This many nodes, from 1 to `maximumNodes`; nil beyond.
  @inlinable package init?(nodes: Int64) {
    guard nodes >= 1, nodes <= Int64(Self.maximumNodes) else { return nil }
    rawValue = UInt16(nodes)
  }

  /// The nodes that must hold a write where `copies` are in force: for a majority half of them, rounded down, and one
  /// (Slot.tla: `Wq`); at least one.
  @inlinable package func nodes(copies: Int) -> Int {
    if rawValue == 0 { return copies / 2 + 1 }
    return rawValue == 0xFFFF ? max(copies, 1) : Int(rawValue)
  }
}

/// Which state of a key a read may show. The numbers are on the wire and never change.
@frozen public enum ReadLevel: UInt8, Sendable {
  /// Whatever the copy at hand has.
  case local = 0
  /// Nothing that a failover could take back.
  case committed = 1
  /// The newest state at the moment of asking.
  case linearizable = 2
}
