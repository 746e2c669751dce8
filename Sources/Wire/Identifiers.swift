/// The number of partitions of a cluster, fixed at founding (PROTOCOL: control plane).
public let partitionCount = 1024

/// One of the `partitionCount` partitions: the top ten bits of a key's hash.
@frozen public struct PartitionID: Equatable, Hashable, Comparable, Sendable {
  public let rawValue: UInt16

  @inlinable package init(_ rawValue: UInt16) { self.rawValue = rawValue }

  /// The partition that holds every key of this hash.
  @inlinable package init(hash: UInt64) { rawValue = UInt16(truncatingIfNeeded: hash >> 54) }

  // Written out, since what the compiler derives isn't inlined into other modules.
  @inlinable public static func == (a: PartitionID, b: PartitionID) -> Bool { a.rawValue == b.rawValue }
  @inlinable public static func != (a: PartitionID, b: PartitionID) -> Bool { !(a == b) }
  @inlinable public static func < (a: PartitionID, b: PartitionID) -> Bool { a.rawValue < b.rawValue }
}

/// The term of a partition's owner; raised by each fence, never lowered.
@frozen public struct Epoch: Equatable, Hashable, Comparable, Sendable {
  public let rawValue: UInt32

  @inlinable package init(_ rawValue: UInt32) { self.rawValue = rawValue }

  // As those of `PartitionID`, and the default comparisons too.
  @inlinable public static func == (a: Epoch, b: Epoch) -> Bool { a.rawValue == b.rawValue }
  @inlinable public static func != (a: Epoch, b: Epoch) -> Bool { !(a == b) }
  @inlinable public static func < (a: Epoch, b: Epoch) -> Bool { a.rawValue < b.rawValue }
  @inlinable public static func > (a: Epoch, b: Epoch) -> Bool { a.rawValue > b.rawValue }
  @inlinable public static func <= (a: Epoch, b: Epoch) -> Bool { a.rawValue <= b.rawValue }
  @inlinable public static func >= (a: Epoch, b: Epoch) -> Bool { a.rawValue >= b.rawValue }
}

/// The position of a record in its partition's log, counted in records from 1; 48 bits.
@frozen public struct Offset: Equatable, Hashable, Comparable, Sendable {
  public let rawValue: UInt64

  @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }

  // As those of `Epoch`.
  @inlinable public static func == (a: Offset, b: Offset) -> Bool { a.rawValue == b.rawValue }
  @inlinable public static func != (a: Offset, b: Offset) -> Bool { !(a == b) }
  @inlinable public static func < (a: Offset, b: Offset) -> Bool { a.rawValue < b.rawValue }
  @inlinable public static func > (a: Offset, b: Offset) -> Bool { a.rawValue > b.rawValue }
  @inlinable public static func <= (a: Offset, b: Offset) -> Bool { a.rawValue <= b.rawValue }
  @inlinable public static func >= (a: Offset, b: Offset) -> Bool { a.rawValue >= b.rawValue }
}

/// The token of one write: ETag, watch cursor, read-your-writes token and durability receipt in one.
///
/// Printed as `partition-epoch-offset` in decimal, for example `17-1-42`. Revisions of one partition are totally
/// ordered by (epoch, offset); revisions of different partitions aren't comparable.
@frozen public struct Revision: Equatable, Hashable, Sendable {
  /// The partition whose log the write is in.
  public let partition: PartitionID
  /// The epoch in which the partition's owner wrote it.
  public let epoch: Epoch
  /// Its place in the partition's log.
  public let offset: Offset

  @inlinable package init(partition: PartitionID, epoch: Epoch, offset: Offset) {
    self.partition = partition
    self.epoch = epoch
    self.offset = offset
  }
}

/// A range of bytes inside some buffer that the context names: offsets instead of copies.
@frozen public struct Slice: Equatable, Sendable {
  /// Bytes from the start of the buffer.
  public var offset: UInt32
  /// Bytes of the slice.
  public var count: UInt32

  @inlinable package init(offset: UInt32, count: UInt32) {
    self.offset = offset
    self.count = count
  }

  @inlinable package init() {
    offset = 0
    count = 0
  }

  /// Whether it has no bytes; an absent field is empty too.
  @inlinable package var isEmpty: Bool { count == 0 }
}
