import CXXHash

/// What a record does to its key.
@frozen public enum RecordKind: UInt8, Sendable {
  /// The key now has this value.
  case put = 1
  /// The key is gone: a client deleted it.
  case remove = 2
  /// The key is gone: its time to live ran out.
  case expire = 3
  /// The key is gone: memory was short and it had not been used.
  case evict = 4
}

/// The one layout of a record, the same bytes on the wire, in the log and in a snapshot. Little-endian.
///
/// ```
///  0  u32  length: bytes of the whole record, without the padding that aligns the next one
///  4  u32  checksum: low half of XXH3 over bytes 8 ..< value start, seeded with XXH3 of the value
///  8  u32  epoch
/// 12  u48  offset
/// 18  u48  time: milliseconds since 1970 when the owner took the write
/// 24  u16  key length
/// 26  u8   map name length, 0 for the map "default"
/// 27  u8   kind (low 3 bits) | flags
/// 28  u64  expiry, milliseconds since 1970                      if flag 0x80
///     u8   content type: a code of ContentType, or 255          if flag 0x40
///     u8+n length and bytes of the content type                 if that code is 255
///     map name, key, value
/// ```
///
/// The fixed part has 28 bytes rather than a rounder 32 or 40, and the expiry is optional, because the bar for memory
/// is 1.5 times the raw bytes at 16-byte keys and 100-byte values. Seeding with the value's hash lets a large value be
/// hashed while it arrives, before its epoch and offset are known. Fields are sliced when asked for, never decoded
/// ahead.
public enum RecordLayout {
  /// Bytes of the fixed header.
  @inlinable public static var headerCount: Int { 28 }
  /// Records start at multiples of this in a log segment.
  @inlinable public static var alignment: Int { 8 }
  @inlinable package static var kindMask: UInt8 { 0x07 }
  /// The bits of byte 27 that are the writer's to use.
  @inlinable package static var flagMask: UInt8 { 0x38 }
  @inlinable package static var hasExpiry: UInt8 { 0x80 }
  @inlinable package static var hasContentType: UInt8 { 0x40 }
  @inlinable package static var literalContentType: UInt8 { 255 }
  /// The most bytes between the fixed header and the map name.
  @inlinable package static var maximumExtras: Int { 8 + 2 + 255 }

  /// The room a record of `length` bytes takes in a segment.
  @inlinable package static func padded(_ length: Int) -> Int { (length &+ 7) & ~7 }
}

/// The one hash of kvd: XXH3_64 of map name and key together, seeded with the map name's length.
///
/// For the map "default" (name length 0) that is the plain XXH3_64 of the key, so a client that holds the ring needs no
/// knowledge of maps. The top ten bits choose the partition, the low bits the place in its table.
@inlinable @inline(__always)
package func keyHash(_ mapAndKey: UnsafeRawPointer, count: Int, mapCount: Int) -> UInt64 {
  kvd_xxh3_key(mapAndKey, count, UInt64(truncatingIfNeeded: mapCount))
}
