/// What a result carries behind its head. The numbers are on the wire and never change.
@frozen public enum ResultBody: UInt8, Sendable {
  case nothing = 0
  /// The key's record as it lies in the log.
  case record = 1
  /// A value that isn't a record's: what a counter stands at now.
  case value = 2
  /// A sentence that says why the operation was refused.
  case sentence = 3
  /// A value that isn't a record's, behind eight bytes: the milliseconds it has left to live.
  case mortalValue = 4
}

/// A result of a REPLY frame: a head of 24 bytes, then what was asked for. Little-endian.
///
/// ```
///  0  u16  index of the operation in the REQUEST with this frame's id, from 0
///  2  u16  status: the same numbers as HTTP's
///  4  u32  length of the body, without padding; with a long value, the whole record's
///  8  u16  partition  ┐
/// 10  u8   body       │ the revision the key has now; zeros if there is none
/// 11  u8   staleness  │   0 for the newest; what other numbers mean is the node's business, but for 0x80
/// 12  u32  epoch      │
/// 16  u64  offset     ┘
/// 24       the body, zeros up to a multiple of 8
/// ```
///
/// A REQUEST may be answered by several REPLY frames, and replies to different requests come in any order, since keys
/// belong to different cores: id and index tell which operation a result is of.
public enum ResultLayout {
  /// Bytes before the body.
  @inlinable package static var headCount: Int { 24 }
  /// In the place of the staleness, between nodes: the result is good as soon as the node that asked holds the
  /// revision itself, as a follower in its epoch. The result proper comes later.
  @inlinable package static var granted: UInt8 { 0x80 }

  /// Writes a result's head.
  @inlinable @inline(__always)
  package static func write(
    to at: UnsafeMutableRawPointer, index: Int, status: UInt16, _ body: ResultBody, length: Int, revision: Revision,
    staleness: UInt8 = 0
  ) {
    let first =
      UInt64(UInt16(truncatingIfNeeded: index)) | UInt64(status) &<< 16
      | UInt64(UInt32(truncatingIfNeeded: length)) &<< 32
    let second =
      UInt64(revision.partition.rawValue) | UInt64(body.rawValue) &<< 16 | UInt64(staleness) &<< 24
      | UInt64(revision.epoch.rawValue) &<< 32
    at.storeBytes(of: first.littleEndian, as: UInt64.self)
    at.storeBytes(of: second.littleEndian, toByteOffset: 8, as: UInt64.self)
    at.storeBytes(of: revision.offset.rawValue.littleEndian, toByteOffset: 16, as: UInt64.self)
  }
}

/// A result of a REPLY frame that `ResultCursor` has vouched for.
@frozen public struct ResultView {
  /// Where the result starts.
  public let base: UnsafeRawPointer

  @inlinable @inline(__always)
  package init(_ base: UnsafeRawPointer) { self.base = base }

  @inlinable @inline(__always)
  func u16(_ offset: Int) -> UInt16 {
    UInt16(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  /// The operation's place in its request.
  @inlinable package var index: Int { Int(u16(0)) }
  /// As HTTP's.
  @inlinable package var status: Int { Int(u16(2)) }
  /// Bytes of the body, a long value behind the frame included.
  @inlinable package var length: Int {
    Int(UInt32(littleEndian: base.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
  }
  /// Nil for a kind of body that is newer than this side.
  @inlinable package var bodyKind: ResultBody? { ResultBody(rawValue: base.load(fromByteOffset: 10, as: UInt8.self)) }
  /// Whether the answer may be older than what was acknowledged; 0 for no.
  @inlinable package var staleness: UInt8 { base.load(fromByteOffset: 11, as: UInt8.self) }
  /// The key's revision; offset 0 when it has none.
  @inlinable package var revision: Revision {
    Revision(
      partition: PartitionID(u16(8)),
      epoch: Epoch(UInt32(littleEndian: base.loadUnaligned(fromByteOffset: 12, as: UInt32.self))),
      offset: Offset(UInt64(littleEndian: base.loadUnaligned(fromByteOffset: 16, as: UInt64.self))))
  }
  /// The body, of a result without a long value.
  @inlinable package var body: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + ResultLayout.headCount, count: length)
  }
  /// The record, where the body is one. Whoever doubts it checks `RecordView(checking: body)`.
  @inlinable package var record: RecordView { RecordView(base + ResultLayout.headCount) }
}

/// Walks the results of an intact REPLY frame.
package struct ResultCursor {
  private var at: UnsafeRawPointer
  private var room: Int
  private var left: Int
  private let isLong: Bool
  /// Whether the frame's fields contradict each other; `next` then answers nil.
  package private(set) var isMalformed = false

  /// Starts at the frame's first result.
  package init(_ frame: FrameView) {
    at = frame.base + FrameLayout.headCount
    room = frame.length - FrameLayout.headCount
    left = frame.count
    isLong = frame.isLong
    isMalformed = left == 0 || (isLong && left != 1)
  }

  /// The next result, or nil behind the last.
  package mutating func next() -> ResultView? {
    guard left > 0, !isMalformed else { return nil }
    let result = ResultView(at)
    left &-= 1
    guard room >= ResultLayout.headCount else { return fail() }
    if isLong {
      // The frame reaches to the value: what is there of the record must be there as a whole.
      let rest = room &- ResultLayout.headCount
      guard rest >= RecordLayout.headerCount, result.bodyKind == .record, result.record.length == result.length,
        result.length >= rest, result.record.isPrefix(of: rest)
      else { return fail() }
      return result
    }
    let taken = FrameLayout.padded(ResultLayout.headCount &+ result.length)
    guard taken <= room else { return fail() }
    at += taken
    room &-= taken
    if left == 0 && room != 0 { return fail() }
    return result
  }

  private mutating func fail() -> ResultView? {
    isMalformed = true
    return nil
  }
}

extension RecordView {
  /// Whether the bytes before the value are exactly `count`, with every length inside checked on the way.
  func isPrefix(of count: Int) -> Bool {
    guard count >= RecordLayout.headerCount, contentTypeStart <= count else { return false }
    if kindAndFlags & RecordLayout.hasContentType != 0 {
      guard contentTypeStart < count else { return false }
      if u8(contentTypeStart) == RecordLayout.literalContentType, contentTypeStart + 1 >= count { return false }
    }
    return valueStart == count
  }
}
