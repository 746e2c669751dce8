/// What an operation of a REQUEST does to its key. The numbers are on the wire and never change.
@frozen public enum FrameOperation: UInt8, Sendable, CaseIterable {
  case get = 1
  case put = 2
  case delete = 3
  /// Adds the value, a little-endian two's complement 64-bit integer or nothing for 1, to the decimal that is stored.
  case increment = 4
  /// Puts the value behind the one that is stored.
  case append = 5
  /// Reads, sets or removes what a JSON Pointer (RFC 6901) names in the value.
  case pointerGet = 6
  case pointerSet = 7
  case pointerRemove = 8
  /// Applies the value to the one that is stored: RFC 7396 and RFC 6902.
  case mergePatch = 9
  case jsonPatch = 10
  /// Lists keys of a map; the key is the prefix behind one byte.
  case list = 11
  /// Lists what the ledger of the core that has a partition says of lost writes; the key is where to go on.
  case lost = 12

  /// Whether it is an increment, whose value is a number.
  @inlinable package var isIncrement: Bool { if case .increment = self { true } else { false } }
  /// Whether its record is one with a value; that of the others is a `remove`, which has none.
  @inlinable package var hasValue: Bool {
    switch self {
    case .get, .delete, .pointerGet, .pointerRemove, .list, .lost: false
    default: true
    }
  }
}

extension FrameOperation {
  /// Whether its answer is the point of it.
  @inlinable var wantsReply: Bool {
    switch self {
    case .get, .pointerGet, .list, .lost: true
    default: false
    }
  }
  /// Whether it names a place inside the value.
  @inlinable package var hasPointer: Bool {
    switch self {
    case .pointerGet, .pointerSet, .pointerRemove: true
    default: false
    }
  }
}

/// What an operation is answered with.
@frozen public enum AnswerLevel: UInt8, Sendable {
  /// Nothing.
  case none = 0
  /// A cumulative ACK some time later; a REPLY only if it failed.
  case ack = 1
  /// A REPLY.
  case reply = 2

  // `==` of an enum with raw values is a generic call from another module.
  /// Whether a success is answered by an ACK alone.
  @inlinable package var isAck: Bool { if case .ack = self { true } else { false } }
  /// Whether an outcome of this status is answered by a result.
  @inlinable package func wantsResult(_ status: UInt16) -> Bool {
    switch self {
    case .none: false
    case .ack: status >= 400
    case .reply: true
    }
  }
}

/// An operation of a REQUEST frame: a head of eight bytes, conditions, then a record as it would lie in the log.
///
/// ```
///  0  u8   operation
///  1  u8   level of answer
///  2  u16  conditions: a bit for each of those below that is there; all others 0
///  4  u32  length: bytes of the operation without the padding that aligns the next one
///  8       the conditions that are there, in this order:
///          0x01  16 bytes: the revision the key must have (`FrameRevision`)
///          0x02  16 bytes: a revision that the node must have reached
///          0x04  u16 length and bytes of the idempotency key, zeros up to a multiple of 8
///          0x08  the same of a list of entity tags, one of which the key must have (If-Match)
///          0x10  the same of such a list, none of which the key may have (If-None-Match)
///          0x20  the same of a JSON Pointer
///          0x40  8 bytes: write concern, read level and time-out (`FrameConcern`)
///          0x80  16 bytes: where a listing goes on (`FrameListing`)
///          the record: see `RecordLayout`
/// ```
///
/// The record's epoch, offset and time are 0, since the owner of the key gives them; its expiry, if any, counts from
/// that time and is thus the milliseconds to live. Its checksum is 0 too, because the frame's covers it, except in
/// front of a long value. Its kind is `put` where there is a value and `remove` where there is none.
public enum OperationLayout {
  /// Bytes before the conditions.
  @inlinable package static var headCount: Int { 8 }
  @inlinable package static var revisionCondition: UInt16 { 0x01 }
  @inlinable package static var minimumCondition: UInt16 { 0x02 }
  @inlinable package static var idempotencyCondition: UInt16 { 0x04 }
  @inlinable package static var matchCondition: UInt16 { 0x08 }
  @inlinable package static var noneMatchCondition: UInt16 { 0x10 }
  @inlinable package static var pointerCondition: UInt16 { 0x20 }
  @inlinable package static var concernCondition: UInt16 { 0x40 }
  @inlinable package static var listingCondition: UInt16 { 0x80 }
  /// The bit behind the last.
  @inlinable static var conditionsEnd: UInt16 { 0x100 }
}

/// A revision as frames carry it: 16 bytes, little-endian.
///
/// ```
/// 0  u16  partition
/// 2  u16  0
/// 4  u32  epoch
/// 8  u64  offset
/// ```
///
/// As a condition, all zeros mean "no value yet" (`absent`), and partition 0xFFFF with zeros "any value" (`present`).
public enum FrameRevision {
  /// Bytes of a revision.
  @inlinable package static var count: Int { 16 }
  /// The condition that the key has no value.
  @inlinable package static var absent: Revision {
    Revision(partition: PartitionID(0), epoch: Epoch(0), offset: Offset(0))
  }
  /// The condition that the key has some value.
  @inlinable package static var present: Revision {
    Revision(partition: PartitionID(0xFFFF), epoch: Epoch(0), offset: Offset(0))
  }

  /// Writes its 16 bytes.
  @inlinable @inline(__always)
  package static func write(_ revision: Revision, to target: UnsafeMutableRawPointer) {
    let first = UInt64(revision.partition.rawValue) | UInt64(revision.epoch.rawValue) &<< 32
    target.storeBytes(of: first.littleEndian, as: UInt64.self)
    target.storeBytes(of: revision.offset.rawValue.littleEndian, toByteOffset: 8, as: UInt64.self)
  }

  /// The revision in the 16 bytes at `bytes`.
  package static func read(_ bytes: UnsafeRawPointer) -> Revision {
    let first = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    let offset = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    return Revision(
      partition: PartitionID(UInt16(truncatingIfNeeded: first)), epoch: Epoch(UInt32(truncatingIfNeeded: first &>> 32)),
      offset: Offset(offset))
  }
}

/// An operation of a frame that `FrameView.checkOperations` has vouched for.
@frozen public struct OperationView {
  /// Where the operation starts.
  public let base: UnsafeRawPointer

  @inlinable @inline(__always)
  package init(_ base: UnsafeRawPointer) { self.base = base }

  /// The number of what it does to its key, 1 to 12.
  @inlinable @inline(always) package var operationByte: UInt8 { base.load(as: UInt8.self) }
  /// What it does to its key.
  @inlinable package var operation: FrameOperation {
    FrameOperation(rawValue: base.load(as: UInt8.self)).unsafelyUnwrapped
  }
  /// What it is answered with.
  @inlinable package var answer: AnswerLevel {
    AnswerLevel(rawValue: base.load(fromByteOffset: 1, as: UInt8.self)).unsafelyUnwrapped
  }
  /// Which conditions are there: see `OperationLayout`.
  @inlinable package var conditions: UInt16 {
    UInt16(littleEndian: base.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
  }
  /// Bytes without padding, a long value behind the frame included.
  @inlinable package var length: Int {
    Int(UInt32(littleEndian: base.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
  }
  /// The record; of a long value only what precedes the value is there.
  @inlinable @inline(__always)
  package var record: RecordView {
    RecordView(base + OperationLayout.headCount + (conditions == 0 ? 0 : conditionCount))
  }

  /// Bytes of the conditions.
  @usableFromInline package var conditionCount: Int {
    start(of: OperationLayout.conditionsEnd) - OperationLayout.headCount
  }

  /// Where the condition of this bit lies, or would lie, in bytes from the operation's start.
  private func start(of wanted: UInt16) -> Int {
    var at = OperationLayout.headCount
    var bit = UInt16(1)
    while bit < wanted {
      if conditions & bit != 0 { at += size(of: bit, at: at) }
      bit <<= 1
    }
    return at
  }

  /// Bytes of the condition of this bit, which lies at `at`.
  private func size(of bit: UInt16, at: Int) -> Int {
    switch bit {
    case OperationLayout.revisionCondition, OperationLayout.minimumCondition: FrameRevision.count
    case OperationLayout.concernCondition: FrameConcern.count
    case OperationLayout.listingCondition: FrameListing.count
    default: FrameLayout.padded(2 + textCount(at))
    }
  }

  private func textCount(_ at: Int) -> Int {
    Int(UInt16(littleEndian: base.loadUnaligned(fromByteOffset: at, as: UInt16.self)))
  }

  /// The text of a condition; nil when it isn't there.
  private func text(_ bit: UInt16) -> UnsafeRawBufferPointer? {
    guard conditions & bit != 0 else { return nil }
    let at = start(of: bit)
    return UnsafeRawBufferPointer(start: base + at + 2, count: textCount(at))
  }

  /// The revision the key must have.
  package var revision: Revision? {
    guard conditions & OperationLayout.revisionCondition != 0 else { return nil }
    return FrameRevision.read(base + start(of: OperationLayout.revisionCondition))
  }

  /// The revision the node must have reached.
  package var minimum: Revision? {
    guard conditions & OperationLayout.minimumCondition != 0 else { return nil }
    return FrameRevision.read(base + start(of: OperationLayout.minimumCondition))
  }

  /// The idempotency key; empty when there is none.
  package var idempotencyKey: UnsafeRawBufferPointer {
    text(OperationLayout.idempotencyCondition) ?? UnsafeRawBufferPointer(start: nil, count: 0)
  }
  /// Entity tags as in If-Match, If-None-Match; nil when there are none.
  package var match: UnsafeRawBufferPointer? { text(OperationLayout.matchCondition) }
  package var noneMatch: UnsafeRawBufferPointer? { text(OperationLayout.noneMatchCondition) }
  /// The JSON Pointer; nil when there is none.
  package var pointer: UnsafeRawBufferPointer? { text(OperationLayout.pointerCondition) }
  /// Write concern, read level and time-out, as far as they are named.
  package var concern: FrameConcern? {
    guard conditions & OperationLayout.concernCondition != 0 else { return nil }
    return FrameConcern(base + start(of: OperationLayout.concernCondition))
  }
  /// Where a listing goes on.
  package var listing: FrameListing? {
    guard conditions & OperationLayout.listingCondition != 0 else { return nil }
    return FrameListing(base + start(of: OperationLayout.listingCondition))
  }

  /// Whether the operation and everything in it lies within `room` bytes and says nothing that no writer writes.
  ///
  /// - Parameter isLong: the value lies behind the frame, which ends where it starts.
  @inline(__always)
  fileprivate func isSound(room: Int, isLong: Bool) -> Bool {
    guard room >= OperationLayout.headCount &+ RecordLayout.headerCount else { return false }
    guard let operation = FrameOperation(rawValue: base.load(as: UInt8.self)),
      let answer = AnswerLevel(rawValue: base.load(fromByteOffset: 1, as: UInt8.self)),
      !operation.wantsReply || answer == .reply,
      operation.rawValue <= FrameOperation.append.rawValue || isRareSound(operation)
    else { return false }
    let length = self.length
    guard isLong || length <= room else { return false }
    guard conditions == 0 || areConditionsSound(room: room) else { return false }
    let record = self.record
    let start = record.base - base
    guard length &- start == record.length else { return false }
    return record.isRequest(operation, room: room &- start, isLong: isLong)
  }

  @inline(never)
  private func areConditionsSound(room: Int) -> Bool {
    guard conditions < OperationLayout.conditionsEnd else { return false }
    var at = OperationLayout.headCount
    var bit = UInt16(1)
    while bit < OperationLayout.conditionsEnd {
      if conditions & bit != 0 {
        guard at + 8 <= room else { return false }
        at += size(of: bit, at: at)
      }
      bit <<= 1
    }
    guard at + RecordLayout.headerCount <= room else { return false }
    return (concern?.isSound ?? true) && (listing?.isSound ?? true)
  }

  /// Whether an operation that names a pointer or a listing has it.
  @inline(never)
  private func isRareSound(_ operation: FrameOperation) -> Bool {
    if operation.hasPointer && conditions & OperationLayout.pointerCondition == 0 { return false }
    return (operation != .list && operation != .lost) || conditions & OperationLayout.listingCondition != 0
  }
}

extension RecordView {
  /// Whether this is the record of an operation: whole within `room` bytes, with nothing in the fields that the owner
  /// of the key fills in.
  @inline(__always)
  fileprivate func isRequest(_ operation: FrameOperation, room: Int, isLong: Bool) -> Bool {
    guard room >= RecordLayout.headerCount, u64(8) == 0, u64(16) == 0, isLong || checksum == 0 else { return false }
    let bits = kindAndFlags
    let kind = operation.hasValue ? RecordKind.put.rawValue : RecordKind.remove.rawValue
    guard bits & (RecordLayout.kindMask | RecordLayout.flagMask) == kind else { return false }
    if bits & (RecordLayout.hasExpiry | RecordLayout.hasContentType) != 0 {
      guard operation.hasValue, areExtrasSound(room: room) else { return false }
    }
    let start = valueStart
    let length = self.length
    if isLong { return start == room && start <= length && operation.hasValue && operation != .increment }
    guard length <= room, start <= length else { return false }
    switch operation {
    case .increment: return start == length || length &- start == 8
    default: return operation.hasValue || start == length
    }
  }

  @inline(never)
  private func areExtrasSound(room: Int) -> Bool {
    var start = contentTypeStart
    guard start <= room else { return false }
    if hasExpiry && u64(RecordLayout.headerCount) == 0 { return false }
    guard kindAndFlags & RecordLayout.hasContentType != 0 else { return true }
    guard start < room else { return false }
    let code = u8(start)
    start += 1
    if code == RecordLayout.literalContentType {
      guard start < room else { return false }
      let count = Int(u8(start))
      guard count > 0, start + 1 + count <= room else { return false }
      for position in start + 1...start + count where u8(position) < 0x20 || u8(position) > 0x7E { return false }
      return true
    }
    return code > 0 && code <= ContentType.last
  }
}

extension FrameView {
  /// Whether the payload of this intact REQUEST is as many sound operations as it says, and nothing else. Afterwards
  /// they can be walked with `OperationView`, each at the padded end of the one before.
  package func checkOperations() -> Bool {
    var left = count
    guard !isLong || left == 1 else { return false }
    var at = base + FrameLayout.headCount
    var room = length &- FrameLayout.headCount
    while left > 0 {
      let operation = OperationView(at)
      guard operation.isSound(room: room, isLong: isLong) else { return false }
      if isLong { return true }
      let taken = FrameLayout.padded(operation.length)
      guard taken <= room else { return false }
      at += taken
      room &-= taken
      left &-= 1
    }
    return room == 0
  }
}
