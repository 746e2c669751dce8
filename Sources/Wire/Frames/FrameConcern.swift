/// How long an operation may take and what it wants of other nodes: 8 bytes, little-endian.
///
/// ```
/// 0  u16  write concern: see `WriteConcern`
/// 2  u8   read level: see `ReadLevel`
/// 3  u8   0
/// 4  u32  milliseconds until the answer is "unknown"; 0 for the node's own
/// ```
@frozen public struct FrameConcern: Equatable, Sendable {
  /// How many nodes must hold a write.
  package var write: WriteConcern
  /// How new a read must be.
  package var read: ReadLevel
  /// Milliseconds that the answer may wait for other nodes; 0 for as long as the node's own limit says.
  package var timeout: UInt32
  /// Whether the fields said nothing that no writer says.
  package let isSound: Bool

  /// Bytes of it.
  package static var count: Int { 8 }

  package init(write: WriteConcern = .majority, read: ReadLevel = .local, timeout: UInt32 = 0) {
    self.write = write
    self.read = read
    self.timeout = timeout
    isSound = true
  }

  init(_ bytes: UnsafeRawPointer) {
    let word = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    write = WriteConcern(rawValue: UInt16(truncatingIfNeeded: word))
    let level = ReadLevel(rawValue: UInt8(truncatingIfNeeded: word >> 16))
    read = level ?? .local
    timeout = UInt32(truncatingIfNeeded: word >> 32)
    isSound =
      level != nil && word >> 24 & 0xFF == 0
      && (write == .all || Int(write.rawValue) <= WriteConcern.maximumNodes)
  }

  func write(to target: UnsafeMutableRawPointer) {
    let word = UInt64(write.rawValue) | UInt64(read.rawValue) << 16 | UInt64(timeout) << 32
    target.storeBytes(of: word.littleEndian, as: UInt64.self)
  }
}

/// Where a listing goes on, and how far: 16 bytes, little-endian. It is also how the answer to a `list` begins.
///
/// ```
///  0  u16  partition that comes next
///  2  u16  partition before which to stop; in an answer 1 if all before it was listed, else 0
///  4  u32  tag in that partition
///  8  u32  keys wanted; in an answer those that are there
/// 12  u32  slots to visit at most; in an answer those that were visited
/// ```
@frozen public struct FrameListing: Equatable, Sendable {
  /// The partition that comes next.
  package var partition: UInt16
  /// The partition before which to stop; in an answer whether all before it was listed.
  package var end: UInt16
  /// The place in the partition, as a listing's cursor has it.
  package var tag: UInt32
  /// Keys wanted, or there.
  package var keys: UInt32
  /// Slots to visit at most, or visited.
  package var slots: UInt32

  /// Bytes of it.
  package static var count: Int { 16 }

  package init(partition: UInt16, end: UInt16, tag: UInt32, keys: UInt32, slots: UInt32) {
    self.partition = partition
    self.end = end
    self.tag = tag
    self.keys = keys
    self.slots = slots
  }

  /// Reads it from 16 bytes.
  package init(_ bytes: UnsafeRawPointer) {
    let first = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    let second = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    partition = UInt16(truncatingIfNeeded: first)
    end = UInt16(truncatingIfNeeded: first >> 16)
    tag = UInt32(truncatingIfNeeded: first >> 32)
    keys = UInt32(truncatingIfNeeded: second)
    slots = UInt32(truncatingIfNeeded: second >> 32)
  }

  /// Whether a request may say so.
  var isSound: Bool { partition < end && Int(end) <= partitionCount && keys > 0 && slots > 0 }

  /// Writes its 16 bytes.
  package func write(to target: UnsafeMutableRawPointer) {
    let first = UInt64(partition) | UInt64(end) << 16 | UInt64(tag) << 32
    target.storeBytes(of: first.littleEndian, as: UInt64.self)
    target.storeBytes(of: (UInt64(keys) | UInt64(slots) << 32).littleEndian, toByteOffset: 8, as: UInt64.self)
  }
}
