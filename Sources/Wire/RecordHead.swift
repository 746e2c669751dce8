import CXXHash

/// A content type as a record stores it.
@frozen public struct RecordContentType {
  /// 0: none is stored. 255: `literal`. Anything else is a code of the content type table.
  public let code: UInt8
  public let literalCount: UInt8
  public let literal: UnsafeRawPointer?

  @inlinable package init(code: UInt8 = 0) {
    self.code = code
    literalCount = 0
    literal = nil
  }

  /// A content type that has no code, at most 255 bytes; the bytes must stay until the record is written.
  @inlinable package init(literal bytes: UnsafeRawBufferPointer) {
    code = RecordLayout.literalContentType
    literalCount = UInt8(bytes.count)
    literal = bytes.baseAddress
  }

  /// Bytes it takes in a record.
  @inlinable package var count: Int {
    code == 0 ? 0 : code == RecordLayout.literalContentType ? 2 &+ Int(literalCount) : 1
  }

  /// Writes it as a record stores it: the code, then length and bytes if it has none.
  @inlinable package func write(to target: UnsafeMutableRawPointer) {
    guard code != 0 else { return }
    target.storeBytes(of: code, as: UInt8.self)
    guard code == RecordLayout.literalContentType else { return }
    target.storeBytes(of: literalCount, toByteOffset: 1, as: UInt8.self)
    if let literal { (target + 2).copyMemory(from: literal, byteCount: Int(literalCount)) }
  }
}

/// The fields of a record before its map name, as a writer gives them.
@frozen public struct RecordHead {
  /// What the record does to its key.
  public var kind: RecordKind
  /// The writer's bits, within `RecordLayout.flagMask`.
  public var flags: UInt8
  public var epoch: Epoch
  public var offset: Offset
  /// Milliseconds since 1970, 48 bits.
  public var time: UInt64
  /// Milliseconds since 1970, or 0 for none.
  public var expiry: UInt64
  public var contentType: RecordContentType

  @inlinable package init(
    kind: RecordKind, flags: UInt8 = 0, epoch: Epoch, offset: Offset, time: UInt64, expiry: UInt64 = 0,
    contentType: RecordContentType = RecordContentType()
  ) {
    self.kind = kind
    self.flags = flags
    self.epoch = epoch
    self.offset = offset
    self.time = time
    self.expiry = expiry
    self.contentType = contentType
  }

  /// Bytes before the map name.
  @inlinable package var prefixCount: Int {
    RecordLayout.headerCount &+ (expiry == 0 ? 0 : 8) &+ contentType.count
  }

  /// Writes everything before the map name except the checksum, which `RecordLayout.seal` adds.
  @inlinable @inline(__always)
  package func write(to base: UnsafeMutableRawPointer, length: Int, mapCount: Int, keyCount: Int) {
    func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
      base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }
    // Whole words: the checksum reads them right after, which narrower stores would stall.
    store(UInt32(truncatingIfNeeded: length), at: 0)
    store(UInt64(epoch.rawValue) | offset.rawValue &<< 32, at: 8)
    store((offset.rawValue &>> 32) & 0xFFFF | time &<< 16, at: 16)
    var bits = kind.rawValue | flags & RecordLayout.flagMask
    var extras = RecordLayout.headerCount
    if expiry != 0 {
      bits |= RecordLayout.hasExpiry
      store(expiry, at: extras)
      extras &+= 8
    }
    if contentType.code != 0 {
      bits |= RecordLayout.hasContentType
      contentType.write(to: base + extras)
    }
    let counts = UInt32(truncatingIfNeeded: keyCount) & 0xFFFF | UInt32(truncatingIfNeeded: mapCount & 0xFF) &<< 16
    store(counts | UInt32(bits) &<< 24, at: 24)
  }
}

extension RecordLayout {
  /// The checksum of the record at `base`: see the layout.
  @inlinable package static func checksum(_ base: UnsafeRawPointer, valueStart: Int, valueHash: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: xxh3(base + 8, count: valueStart &- 8, seed: valueHash))
  }

  /// Completes a record whose bytes from 8 to the value's end are written: stores the checksum.
  @inlinable package static func seal(_ base: UnsafeMutableRawPointer, valueStart: Int, valueHash: UInt64) {
    let sum = checksum(base, valueStart: valueStart, valueHash: valueHash)
    base.storeBytes(of: sum.littleEndian, toByteOffset: 4, as: UInt32.self)
  }

  /// The same, of a value that lies in one piece somewhere.
  @inlinable @inline(__always)
  package static func seal(
    _ base: UnsafeMutableRawPointer, valueStart: Int, value: UnsafeRawPointer?, valueCount: Int
  ) {
    let sum = UInt32(truncatingIfNeeded: kvd_xxh3_pair(base + 8, valueStart &- 8, value, valueCount))
    base.storeBytes(of: sum.littleEndian, toByteOffset: 4, as: UInt32.self)
  }
}
