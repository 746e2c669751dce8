import CXXHash

/// What a frame is for. The numbers are on the wire and never change; those from 16 on are for traffic between nodes.
@frozen public enum FrameKind: UInt8, Sendable, CaseIterable {
  /// The first frame of a connection, from the side that opened it.
  case hello = 1
  /// The answer to HELLO; from then on both sides know who talks to whom.
  case welcome = 2
  /// Operations on keys.
  case request = 3
  /// Results of operations that asked for a reply, and of those that failed.
  case reply = 4
  /// Everything up to this frame's id has been applied.
  case ack = 5
  /// Asks for a PONG of the same id.
  case ping = 6
  case pong = 7
  /// The sender's last frame: it says why.
  case close = 8
  /// The opener of a connection between nodes knows the cluster's key.
  case proof = 9
  /// Between nodes: what is to be said about partitions.
  case replicate = 16
}

/// The one layout of a frame's head. Little-endian.
///
/// ```
///  0  u32  length: bytes of the frame that its checksum covers, head included
///  4  u8   kind
///  5  u8   flags: 0x01 a long value follows behind the frame, 0x02 forwarded; all others 0
///  6  u16  count: operations of a REQUEST, results of a REPLY, else 0
///  8  u64  checksum: XXH3 over bytes 16 ..< length, seeded with bytes 0 ..< 8 as u64, XOR the connection's binding
/// 16  u64  id
/// 24       payload
/// ```
///
/// The first eight bytes say how far the frame reaches and whether it can be taken at all, so a receiver refuses what
/// it doesn't know before it stores any of it. They go into the checksum as its seed, as a record's value does, so that
/// what is hashed lies in one piece.
///
/// `length` is a multiple of 8, and records inside start at multiples of 8 from the frame's start, as they do in a log
/// segment. Only a frame with a long value ends where that value starts: the value follows, covered by its record's own
/// checksum, so that a value of megabytes need not be in memory, nor hashed a second time, before its frame is trusted.
public enum FrameLayout {
  /// Bytes of the head.
  @inlinable package static var headCount: Int { 24 }
  /// The flag of a frame that ends where the value of its only record starts.
  @inlinable package static var longValue: UInt8 { 0x01 }
  /// The flag of a REQUEST that a node sends on for others: whoever gets it sends nothing of it on again.
  @inlinable package static var forwarded: UInt8 { 0x02 }
  /// The most bytes of a frame that any node sends or takes, whatever its limits.
  @inlinable package static var maximumCount: Int { 1 << 26 }

  /// `count` rounded up to where the next record or operation starts.
  @inlinable @inline(__always)
  package static func padded(_ count: Int) -> Int { (count &+ 7) & ~7 }

  /// Completes a frame whose payload is written: stores its head.
  ///
  /// - Parameter length: bytes of the frame; a multiple of 8 unless a long value follows.
  @inlinable @inline(__always)
  package static func seal(
    _ base: UnsafeMutableRawPointer, length: Int, _ kind: FrameKind, isLong: Bool = false,
    isForwarded: Bool = false, count: Int = 0, id: UInt64, _ binding: FrameBinding
  ) {
    let flags: UInt64 = (isLong ? UInt64(longValue) : 0) | (isForwarded ? UInt64(forwarded) : 0)
    let first =
      UInt64(UInt32(truncatingIfNeeded: length)) | UInt64(kind.rawValue) &<< 32 | flags &<< 40
      | UInt64(UInt16(truncatingIfNeeded: count)) &<< 48
    base.storeBytes(of: first.littleEndian, as: UInt64.self)
    base.storeBytes(of: id.littleEndian, toByteOffset: 16, as: UInt64.self)
    let sum = xxh3(base + 16, count: length &- 16, seed: first ^ binding.seed)
    base.storeBytes(of: sum.littleEndian, toByteOffset: 8, as: UInt64.self)
  }
}

/// What the checksums of one direction of a connection are seeded with, besides the frame: who talks to whom.
///
/// A frame carries neither cluster nor source nor destination: HELLO and WELCOME name them once, and every later
/// checksum depends on them. A frame of another cluster, for another node, from another node, of the other direction
/// or of an earlier connection therefore fails its checksum as a damaged one does. That costs no byte per frame, and
/// can't be forgotten in a comparison.
@frozen public struct FrameBinding: Equatable, Sendable {
  /// The seed.
  public let seed: UInt64

  @inlinable package init(seed: UInt64) { self.seed = seed }

  /// Of HELLO and WELCOME, and of a CLOSE that comes instead of WELCOME.
  package static var none: FrameBinding { FrameBinding(seed: 0) }

  /// XXH3 of cluster, source, destination and session, 56 bytes as a greeting writes them.
  package init(cluster: FrameID, source: FrameID, destination: FrameID, session: UInt64) {
    seed = withUnsafeTemporaryAllocation(byteCount: 56, alignment: 8) { bytes in
      let base = bytes.baseAddress!
      cluster.write(to: base)
      source.write(to: base + 16)
      destination.write(to: base + 32)
      base.storeBytes(of: session.littleEndian, toByteOffset: 48, as: UInt64.self)
      return xxh3(base, count: 56, seed: 0)
    }
  }
}

/// A cluster's or a participant's random 128 bits. On the wire in the order of its hexadecimal digits.
@frozen public struct FrameID: Equatable, Hashable, Sendable {
  /// The first eight bytes, as a big-endian number.
  public let high: UInt64
  public let low: UInt64

  @inlinable package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Nobody in particular.
  @inlinable package static var any: FrameID { FrameID(high: 0, low: 0) }

  /// The id in the 16 bytes at `bytes`.
  package init(_ bytes: UnsafeRawPointer) {
    high = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
    low = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
  }

  /// Writes its 16 bytes.
  package func write(to target: UnsafeMutableRawPointer) {
    target.storeBytes(of: high.bigEndian, as: UInt64.self)
    target.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
  }
}

/// What received bytes begin with.
@frozen public enum FrameRead: Equatable, Sendable {
  /// Not yet a whole frame.
  case incomplete
  /// A whole frame; its checksum has not been looked at.
  case whole
  /// Nothing that can become a frame this side takes.
  case refused(CloseReason)
}

/// A frame somewhere in memory: a pointer, with every field read where it lies. The bytes must stay in place while the
/// view is used.
@frozen public struct FrameView {
  /// Where the frame starts.
  public let base: UnsafeRawPointer

  @inlinable @inline(__always)
  package init(_ base: UnsafeRawPointer) { self.base = base }

  /// Looks at received bytes: refuses as early as their first bytes show that no such frame is taken.
  ///
  /// - Parameter limit: bytes of the longest frame that is taken.
  @inlinable @inline(__always)
  package static func read(_ bytes: UnsafeRawPointer, _ count: Int, limit: Int) -> FrameRead {
    guard count >= 8 else { return readStart(bytes, count, limit: limit) }
    let frame = FrameView(bytes)
    let length = frame.length
    guard length <= limit else { return .refused(.tooLong) }
    guard length >= FrameLayout.headCount else { return .refused(.malformed) }
    guard FrameKind(rawValue: frame.kindByte) != nil else { return .refused(.unknownKind) }
    guard frame.flags <= FrameLayout.longValue | FrameLayout.forwarded, frame.isLong || length & 7 == 0 else {
      return .refused(.malformed)
    }
    return count >= length ? .whole : .incomplete
  }

  @usableFromInline
  static func readStart(_ bytes: UnsafeRawPointer, _ count: Int, limit: Int) -> FrameRead {
    guard count >= 4 else { return .incomplete }
    let length = FrameView(bytes).length
    if length > limit { return .refused(.tooLong) }
    return length < FrameLayout.headCount ? .refused(.malformed) : .incomplete
  }

  @inlinable @inline(__always)
  func u64(_ offset: Int) -> UInt64 {
    UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
  @inlinable @inline(__always)
  func u32(_ offset: Int) -> UInt32 {
    UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }
  @inlinable @inline(__always)
  func u16(_ offset: Int) -> UInt16 {
    UInt16(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  /// Bytes of the frame, without a long value behind it.
  @inlinable package var length: Int { Int(u32(0)) }
  /// The kind as it stands on the wire.
  @inlinable package var kindByte: UInt8 { base.load(fromByteOffset: 4, as: UInt8.self) }
  /// Preconditions a kind that `read` has let through.
  @inlinable package var kind: FrameKind { FrameKind(rawValue: kindByte).unsafelyUnwrapped }
  @inlinable package var flags: UInt8 { base.load(fromByteOffset: 5, as: UInt8.self) }
  /// Whether the frame ends where the value of its only record starts.
  @inlinable package var isLong: Bool { flags & FrameLayout.longValue != 0 }
  /// Whether a node sent it on for others.
  @inlinable package var isForwarded: Bool { flags & FrameLayout.forwarded != 0 }
  /// Operations or results in the payload.
  @inlinable package var count: Int { Int(u16(6)) }
  @inlinable package var checksum: UInt64 { u64(8) }
  @inlinable package var id: UInt64 { u64(16) }
  /// The bytes behind the head.
  @inlinable package var payload: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + FrameLayout.headCount, count: length &- FrameLayout.headCount)
  }

  /// Whether the checksum fits the bytes and the connection.
  @inlinable @inline(__always)
  package func isIntact(_ binding: FrameBinding) -> Bool {
    checksum == xxh3(base + 16, count: length &- 16, seed: u64(0) ^ binding.seed)
  }
}
