/// Why bytes from outside are not a record.
public enum RecordError: Error, Equatable, Sendable {
  /// Fewer bytes than the record's own length says, or than any record has.
  case truncated
  /// A length or kind that no record has.
  case malformed
  /// The bytes changed since they were written.
  case checksum
}

/// A record somewhere in memory: a pointer, with every field read where it lies.
///
/// The bytes must stay in place while the view is used; a view of a store is good until the store's next mutating call
/// unless the record's segment is pinned.
@frozen public struct RecordView {
  /// Where the record starts.
  public let base: UnsafeRawPointer

  /// A view of bytes that are known to be a whole record.
  @inlinable @inline(__always)
  package init(_ base: UnsafeRawPointer) { self.base = base }

  @inlinable @inline(__always)
  func u64(_ offset: Int) -> UInt64 {
    UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
  @inlinable @inline(__always)
  func u32(_ offset: Int) -> UInt32 {
    UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }
  @inlinable @inline(__always)
  func u8(_ offset: Int) -> UInt8 { base.load(fromByteOffset: offset, as: UInt8.self) }

  /// Bytes of the whole record without padding.
  @inlinable @inline(__always) public var length: Int { Int(u32(0)) }
  /// Bytes the record takes in a log segment.
  @inlinable @inline(__always) package var room: Int { RecordLayout.padded(length) }
  @inlinable public var checksum: UInt32 { u32(4) }
  @inlinable @inline(__always) public var epoch: Epoch { Epoch(u32(8)) }
  @inlinable @inline(__always) public var offset: Offset { Offset(u64(12) & 0xFFFF_FFFF_FFFF) }
  /// Milliseconds since 1970 when the owner took the write.
  @inlinable public var time: UInt64 { u64(18) & 0xFFFF_FFFF_FFFF }
  @inlinable @inline(__always) public var keyCount: Int {
    Int(UInt16(littleEndian: base.loadUnaligned(fromByteOffset: 24, as: UInt16.self)))
  }
  /// 0 for the map "default".
  @inlinable @inline(__always) public var mapCount: Int { Int(u8(26)) }
  @inlinable @inline(__always) package var kindAndFlags: UInt8 { u8(27) }
  /// Preconditions a kind that `RecordView(checking:)` or a writer has vouched for.
  @inlinable public var kind: RecordKind {
    switch kindAndFlags & RecordLayout.kindMask {
    case 1: .put
    case 2: .remove
    case 3: .expire
    default: .evict
    }
  }
  /// Whether it gives its key a value.
  @inlinable @inline(__always) package var isPut: Bool { kindAndFlags & RecordLayout.kindMask == 1 }
  /// The three flag bits that are the writer's to use.
  @inlinable package var flags: UInt8 { kindAndFlags & RecordLayout.flagMask }
  @inlinable @inline(__always) package var hasExpiry: Bool { kindAndFlags & RecordLayout.hasExpiry != 0 }

  /// Milliseconds since 1970 from which on the record counts as absent; 0 for never.
  @inlinable @inline(__always) public var expiry: UInt64 { hasExpiry ? u64(RecordLayout.headerCount) : 0 }
  /// Whether the record's time to live has run out at `now`.
  @inlinable @inline(__always)
  package func isExpired(at now: UInt64) -> Bool { hasExpiry && u64(RecordLayout.headerCount) <= now }

  /// Where the content type would start.
  @inlinable @inline(__always) var contentTypeStart: Int { RecordLayout.headerCount &+ (hasExpiry ? 8 : 0) }

  /// The code of the content type; 0 when none is stored, 255 when `contentTypeLiteral` has it.
  @inlinable @inline(__always) public var contentTypeCode: UInt8 {
    kindAndFlags & RecordLayout.hasContentType == 0 ? 0 : u8(contentTypeStart)
  }
  /// The content type as stored, if it has no code.
  @inlinable public var contentTypeLiteral: UnsafeRawBufferPointer? {
    guard contentTypeCode == RecordLayout.literalContentType else { return nil }
    let start = contentTypeStart
    return UnsafeRawBufferPointer(start: base + start + 2, count: Int(u8(start + 1)))
  }

  /// Bytes before the map name.
  @inlinable @inline(__always)
  package var prefixCount: Int {
    let bits = kindAndFlags
    if bits & (RecordLayout.hasExpiry | RecordLayout.hasContentType) == 0 { return RecordLayout.headerCount }
    let start = contentTypeStart
    if bits & RecordLayout.hasContentType == 0 { return start }
    return u8(start) == RecordLayout.literalContentType ? start &+ 2 &+ Int(u8(start &+ 1)) : start &+ 1
  }

  /// The map name; the key's bytes follow it immediately.
  @inlinable public var map: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + prefixCount, count: mapCount)
  }
  /// The key's bytes, without the map's name.
  @inlinable public var key: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + prefixCount + mapCount, count: keyCount)
  }
  /// Bytes of the record before its value.
  /// The value's bytes; empty for a tombstone.
  @inlinable @inline(__always) package var valueStart: Int { prefixCount &+ mapCount &+ keyCount }
  @inlinable @inline(__always) public var value: UnsafeRawBufferPointer {
    let start = valueStart
    return UnsafeRawBufferPointer(start: base + start, count: length &- start)
  }
  /// The whole record, as it is sent to a replica.
  @inlinable public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: length) }
  /// The hash of the record's map and key.
  @inlinable @inline(__always) package var hash: UInt64 {
    keyHash(base + prefixCount, count: mapCount &+ keyCount, mapCount: mapCount)
  }

  /// The token of this write, given the partition whose log holds it.
  @inlinable @inline(__always) package func revision(in partition: PartitionID) -> Revision {
    Revision(partition: partition, epoch: epoch, offset: offset)
  }

  /// Whether this record is of this map and key.
  @inlinable @inline(__always)
  package func matches(
    map: UnsafeRawPointer, mapCount wantedMap: Int, key: UnsafeRawPointer, keyCount wantedKey: Int
  ) -> Bool {
    guard keyCount == wantedKey && mapCount == wantedMap else { return false }
    let start = base + prefixCount
    return bytesEqual(start + wantedMap, key, wantedKey) && (wantedMap == 0 || bytesEqual(start, map, wantedMap))
  }
}

extension RecordView {
  /// A view of bytes from outside (a peer, a snapshot): the record at the start of `buffer`, with every length checked
  /// against the buffer, and its checksum.
  public init(checking buffer: UnsafeRawBufferPointer) throws(RecordError) {
    guard let base = buffer.baseAddress, buffer.count >= RecordLayout.headerCount else { throw .truncated }
    self.init(base)
    let length = self.length
    guard length >= RecordLayout.headerCount, length <= buffer.count else { throw .truncated }
    let start = try checkedValueStart(length)
    guard isPut ? start <= length : start == length else { throw .malformed }
    guard isIntact else { throw .checksum }
  }

  /// A view of the start of a record from outside: the buffer is all that the record has before its value. The checksum
  /// isn't looked at.
  package init(checkingStart buffer: UnsafeRawBufferPointer) throws(RecordError) {
    guard let base = buffer.baseAddress, buffer.count >= RecordLayout.headerCount else { throw .truncated }
    self.init(base)
    let start = try checkedValueStart(buffer.count)
    guard start == buffer.count, isPut ? length >= start : length == start else { throw .malformed }
  }

  /// Where the value starts, if the kind is known and the content type is sound and within the first `limit` bytes.
  private func checkedValueStart(_ limit: Int) throws(RecordError) -> Int {
    guard RecordKind(rawValue: kindAndFlags & RecordLayout.kindMask) != nil else { throw .malformed }
    var start = contentTypeStart
    if kindAndFlags & RecordLayout.hasContentType != 0 {
      guard start < limit else { throw .malformed }
      if u8(start) == RecordLayout.literalContentType {
        guard start + 1 < limit else { throw .malformed }
        start += 1 + Int(u8(start + 1))
      } else if u8(start) == 0 {
        throw .malformed
      }
      start += 1
    }
    return start + mapCount + keyCount
  }

  /// Whether the checksum fits the bytes. The lengths must be known to be sound.
  public var isIntact: Bool {
    let start = valueStart
    let valueHash = xxh3(base + start, count: length - start, seed: 0)
    return checksum == RecordLayout.checksum(base, valueStart: start, valueHash: valueHash)
  }
}
