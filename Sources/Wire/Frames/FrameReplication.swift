/// What a section of a REPLICATE frame says. The numbers are on the wire and never change.
@frozen public enum SectionKind: UInt8, Sendable, CaseIterable {
  /// Where does your log end? From an owner, or the candidate of a fence.
  case open = 1
  /// Drop what is beyond.
  case truncate = 2
  /// Records follow.
  case start = 3
  /// What is left of a range of records.
  case append = 4
  /// The log ends here. To an owner or candidate.
  case position = 6
  /// The log is held up to here.
  case acknowledge = 7
  /// A later epoch was promised.
  case refuse = 8
  /// The result of a write that had an idempotency key.
  case result = 9
  /// Has the receiver promised an epoch later than this one?
  case confirm = 10
  /// It hasn't.
  case confirmed = 11
  /// Drop the copy of a cached value.
  case invalidate = 12
  /// It is dropped.
  case invalidated = 13
}

/// The layout of a section: all that is said about one partition. Little-endian, at multiples of 8 from the frame's
/// start.
///
/// ```
///  0  u16  partition
///  2  u8   kind
///  3  u8   of START: 0x01 it resets; of ACKNOWLEDGE: 0x01 the sender is short of memory; else 0
///  4  u32  length: bytes of the section, this head included; a multiple of 8
///  8  u32  epoch
/// 12  u32  stream: chosen by the owner, repeated in the answers
/// 16       by kind:
///          OPEN         nothing
///          TRUNCATE     u32 epoch, u32 0, u64 offset: nothing of a later epoch or beyond the offset
///          START        u64 next offset, then the owner's epochs, 16 bytes each: u32 epoch, u32 0, u64 first offset
///          APPEND       u64 first offset, u64 last offset, u64 committed, then the records, each padded with zeros
///          POSITION     u32 epoch, u32 0, u64 offset of the last record
///          ACKNOWLEDGE  u64 offset
///          REFUSE       u32 epoch that was promised, u32 0
///          CONFIRM, CONFIRMED  u64 round of questions; the stream is 0
///          RESULT       u64 offset of the write, u64 fingerprint, u64 time, u16 status, u16 key length, u32 value
///                       length, key and value, padded with zeros
/// ```
///
/// In a frame that a long value follows, the only section is an APPEND that ends with the frame, where the value of its
/// only record starts; its length is then no multiple of 8.
public enum SectionLayout {
  /// Bytes before what depends on the kind.
  @inlinable package static var headCount: Int { 16 }
  /// Bytes before the records of an APPEND.
  @inlinable package static var appendCount: Int { 40 }
  /// Bytes before the key of a RESULT.
  @inlinable package static var resultCount: Int { 48 }
  /// Epochs that a START has at most.
  package static var maximumEpochs: Int { 16 }
  /// The flag of a START whose receiver begins with an empty log.
  package static var resets: UInt8 { 0x01 }
  /// The flag of an ACKNOWLEDGE whose sender has no memory for more than is on its way.
  package static var isShort: UInt8 { 0x01 }

  /// Writes a section's head.
  package static func write(
    _ kind: SectionKind, _ partition: PartitionID, _ epoch: Epoch, stream: UInt32, flags: UInt8 = 0, length: Int,
    to base: UnsafeMutableRawPointer
  ) {
    store(partition.rawValue, at: 0, of: base)
    store(kind.rawValue, at: 2, of: base)
    store(flags, at: 3, of: base)
    store(UInt32(truncatingIfNeeded: length), at: 4, of: base)
    store(epoch.rawValue, at: 8, of: base)
    store(stream, at: 12, of: base)
  }

  /// Writes an APPEND of one record, which covers the offsets from `first` to its own, behind a frame's head: all but
  /// the record's value, which follows the frame.
  package static func writeLong(
    _ record: RecordView, from first: Offset, _ partition: PartitionID, _ epoch: Epoch, stream: UInt32,
    committed: Offset, to frame: UnsafeMutableRawPointer
  ) {
    let section = frame + FrameLayout.headCount
    write(.append, partition, epoch, stream: stream, length: appendCount + record.valueStart, to: section)
    store(first.rawValue, at: 16, of: section)
    store(record.offset.rawValue, at: 24, of: section)
    store(committed.rawValue, at: 32, of: section)
    (section + appendCount).copyMemory(from: record.base, byteCount: record.valueStart)
  }

  /// Writes an integer.
  @inline(__always)
  package static func store<T: FixedWidthInteger & BitwiseCopyable>(
    _ value: T, at offset: Int, of base: UnsafeMutableRawPointer
  ) {
    base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }
}

/// A section somewhere in memory, its fields read where they lie. Made by `SectionCursor`, which has checked it.
@frozen public struct SectionView {
  /// Where it starts.
  public let base: UnsafeRawPointer

  @inlinable init(_ base: UnsafeRawPointer) { self.base = base }

  /// A section that a cursor has checked, where it was copied to.
  @inlinable package init(checked base: UnsafeRawPointer) { self.base = base }

  @inlinable @inline(__always)
  func read<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type, _ offset: Int) -> T {
    T(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: T.self))
  }

  /// What it is about.
  @inlinable package var partition: PartitionID { PartitionID(read(UInt16.self, 0)) }
  /// nil for one that isn't known; a cursor gives none of these.
  @inlinable package var kind: SectionKind { SectionKind(rawValue: read(UInt8.self, 2)).unsafelyUnwrapped }
  /// Whether it is an APPEND, which most are.
  @inlinable package var isAppend: Bool { rawKind == SectionKind.append.rawValue }
  /// By kind; see the article.
  @inlinable package var flags: UInt8 { read(UInt8.self, 3) }
  /// Bytes of the section, its head included.
  @inlinable package var length: Int { Int(read(UInt32.self, 4)) }
  /// The epoch under which it was said.
  @inlinable package var epoch: Epoch { Epoch(read(UInt32.self, 8)) }
  /// The stream that it belongs to, as its sender numbers them.
  @inlinable package var stream: UInt32 { read(UInt32.self, 12) }
  @inlinable var rawKind: UInt8 { read(UInt8.self, 2) }

  /// Of TRUNCATE, POSITION and REFUSE: the epoch that it is about.
  @inlinable package var markEpoch: Epoch { Epoch(read(UInt32.self, 16)) }
  /// Of TRUNCATE and POSITION.
  @inlinable package var markOffset: Offset { Offset(read(UInt64.self, 24)) }
  /// Of INVALIDATE: the hash of the key.
  @inlinable package var hash: UInt64 { read(UInt64.self, 24) }
  /// Of CONFIRM, CONFIRMED, INVALIDATE and INVALIDATED: the number of the question.
  @inlinable package var round: UInt64 { read(UInt64.self, 16) }
  /// Of ACKNOWLEDGE, START, APPEND and RESULT: the offset that comes first.
  @inlinable package var offset: Offset { Offset(read(UInt64.self, 16)) }
  /// Of APPEND: the last offset.
  @inlinable package var end: Offset { Offset(read(UInt64.self, 24)) }
  /// Of APPEND: how far a majority holds the log.
  @inlinable package var committed: Offset { Offset(read(UInt64.self, 32)) }
  /// Of START: how many epochs it has.
  @inlinable package var epochCount: Int { (length - 24) / 16 }
  /// Of START: one of its epochs and the first offset of that; `index` is below `epochCount`.
  @inlinable package func epoch(_ index: Int) -> (epoch: Epoch, first: Offset) {
    (Epoch(read(UInt32.self, 24 + 16 * index)), Offset(read(UInt64.self, 32 + 16 * index)))
  }
  /// Of RESULT: what makes two requests the same.
  @inlinable package var fingerprint: UInt64 { read(UInt64.self, 24) }
  /// Of RESULT: when it was answered, in milliseconds since 1970.
  @inlinable package var time: UInt64 { read(UInt64.self, 32) }
  /// Of RESULT: the status that was answered.
  @inlinable package var status: UInt16 { read(UInt16.self, 40) }
  /// Of RESULT: the idempotency key.
  @inlinable package var resultKey: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + SectionLayout.resultCount, count: Int(read(UInt16.self, 42)))
  }
  /// Of RESULT: what was answered beside the status.
  @inlinable package var resultValue: UnsafeRawBufferPointer {
    let start = SectionLayout.resultCount + Int(read(UInt16.self, 42))
    return UnsafeRawBufferPointer(start: base + start, count: Int(read(UInt32.self, 44)))
  }
  /// Of APPEND: the records' bytes.
  @inlinable package var payload: UnsafeRawBufferPointer {
    let start = SectionLayout.appendCount
    return UnsafeRawBufferPointer(start: base + start, count: length - start)
  }
  /// Of APPEND: whether it has any.
  @inlinable package var hasRecords: Bool { length > SectionLayout.appendCount }
  /// Of APPEND: the first record, which it must have; in a frame that a long value follows it lacks its value here.
  @inlinable package var record: RecordView { RecordView(base + SectionLayout.appendCount) }

  /// The only section of a frame that a long value follows, whose checksum fits; nil if it isn't sound. The record's
  /// own checksum can be looked at when the value is there.
  package init?(long payload: UnsafeRawBufferPointer) {
    guard let base = payload.baseAddress, payload.count >= SectionLayout.appendCount + RecordLayout.headerCount
    else { return nil }
    self.init(base)
    guard length == payload.count, rawKind == SectionKind.append.rawValue, flags == 0,
      Int(partition.rawValue) < partitionCount, SectionCursor.isRange(self)
    else { return nil }
    let rest = UnsafeRawBufferPointer(rebasing: payload[SectionLayout.appendCount...])
    guard let record = try? RecordView(checkingStart: rest), record.keyCount > 0, record.offset == end,
      PartitionID(hash: record.hash) == partition
    else { return nil }
  }
}

/// Walks over the sections of a REPLICATE frame's payload. The frame's checksum was found to fit; that its sections and
/// records are whole is checked here, before any of them is used.
@frozen public struct SectionCursor {
  @usableFromInline var next: UnsafeRawPointer
  @usableFromInline let end: UnsafeRawPointer

  /// - Parameter payload: what lies behind the frame's head, at a multiple of 8.
  package init(_ payload: UnsafeRawBufferPointer) throws(CloseReason) {
    guard let base = payload.baseAddress, payload.count > 0 else { throw .malformed }
    next = base
    end = base + payload.count
    var at = base
    while at < end {
      guard end - at >= SectionLayout.headCount else { throw .malformed }
      let section = SectionView(at)
      guard section.length >= SectionLayout.headCount, section.length & 7 == 0, section.length <= end - at,
        SectionCursor.isSound(section)
      else { throw .malformed }
      at += section.length
    }
  }

  /// The next section; nil behind the last.
  @inlinable package mutating func take() -> SectionView? {
    guard next < end else { return nil }
    let section = SectionView(next)
    next += section.length
    return section
  }

  private static func isSound(_ section: SectionView) -> Bool {
    guard let kind = SectionKind(rawValue: section.rawKind), Int(section.partition.rawValue) < partitionCount else {
      return false
    }
    let length = section.length
    let flags = kind == .start ? SectionLayout.resets : kind == .acknowledge ? SectionLayout.isShort : 0
    guard section.flags & ~flags == 0 else { return false }
    switch kind {
    case .open: return length == 16
    case .truncate, .position: return length == 32
    case .invalidate: return length == 32 && PartitionID(hash: section.hash) == section.partition
    case .acknowledge, .refuse, .confirm, .confirmed, .invalidated: return length == 24
    case .start:
      return length >= 24 && length % 16 == 8 && section.epochCount <= SectionLayout.maximumEpochs
        && section.offset.rawValue > 0
    case .append: return length >= SectionLayout.appendCount && isRange(section) && areSound(section)
    case .result:
      guard length >= SectionLayout.resultCount else { return false }
      let used = SectionLayout.resultCount + section.resultKey.count + section.resultValue.count
      return FrameLayout.padded(used) == length
    }
  }

  fileprivate static func isRange(_ section: SectionView) -> Bool {
    section.offset.rawValue > 0 && section.end >= section.offset && section.end.rawValue < 1 << 48
  }

  /// Whether the records of an APPEND are whole, intact, and in order within its range.
  private static func areSound(_ section: SectionView) -> Bool {
    var rest = section.payload
    var least = section.offset
    while rest.count > 0 {
      guard let record = try? RecordView(checking: rest), record.room <= rest.count else { return false }
      guard record.offset >= least, record.offset <= section.end, record.keyCount > 0,
        PartitionID(hash: record.hash) == section.partition
      else { return false }
      least = Offset(record.offset.rawValue + 1)
      rest = UnsafeRawBufferPointer(rebasing: rest[record.room...])
    }
    return true
  }
}

/// Writes sections into a buffer of its own, one frame's payload.
package struct SectionWriter: ~Copyable {
  /// The buffer; the first `FrameLayout.headCount` bytes are left free for the frame's head.
  package private(set) var base: UnsafeMutableRawPointer
  package let capacity: Int
  /// Bytes so far, the head's included.
  package private(set) var count = FrameLayout.headCount
  package private(set) var sections = 0
  /// Where the last section starts, if it is an APPEND that may grow.
  private var open = 0

  /// A buffer for frames of at most `capacity` bytes, a multiple of 8.
  package init(capacity: Int) {
    precondition(capacity & 7 == 0 && capacity > 1024)
    self.capacity = capacity
    base = .allocate(byteCount: capacity, alignment: 64)
  }

  deinit { base.deallocate() }

  /// Nothing was written.
  package var isEmpty: Bool { sections == 0 }
  /// Bytes left.
  package var room: Int { capacity - count }

  /// Begins anew in another buffer of the same capacity; the caller frees the one that it was until now.
  package mutating func move(to buffer: UnsafeMutableRawPointer) {
    base = buffer
    removeAll()
  }

  /// Begins anew.
  package mutating func removeAll() {
    count = FrameLayout.headCount
    sections = 0
    open = 0
  }

  private mutating func begin(
    _ kind: SectionKind, _ partition: PartitionID, _ epoch: Epoch, _ stream: UInt32, flags: UInt8 = 0, length: Int
  ) -> UnsafeMutableRawPointer {
    precondition(length <= room, "a section of \(length) bytes in \(room)")
    let section = base + count
    SectionLayout.write(kind, partition, epoch, stream: stream, flags: flags, length: length, to: section)
    count += length
    sections += 1
    open = 0
    return section
  }

  /// An OPEN.
  package mutating func open(_ partition: PartitionID, _ epoch: Epoch, stream: UInt32) {
    _ = begin(.open, partition, epoch, stream, length: 16)
  }

  /// A TRUNCATE or a POSITION.
  package mutating func mark(
    _ kind: SectionKind, _ partition: PartitionID, _ epoch: Epoch, stream: UInt32, at other: Epoch, _ offset: Offset
  ) {
    let section = begin(kind, partition, epoch, stream, length: 32)
    SectionLayout.store(UInt64(other.rawValue), at: 16, of: section)
    SectionLayout.store(offset.rawValue, at: 24, of: section)
  }

  /// A START.
  package mutating func start(
    _ partition: PartitionID, _ epoch: Epoch, stream: UInt32, resets: Bool, next: Offset,
    epochs: [(epoch: Epoch, first: Offset)]
  ) {
    let section = begin(
      .start, partition, epoch, stream, flags: resets ? SectionLayout.resets : 0, length: 24 + 16 * epochs.count)
    SectionLayout.store(next.rawValue, at: 16, of: section)
    for (index, entry) in epochs.enumerated() {
      SectionLayout.store(UInt64(entry.epoch.rawValue), at: 24 + 16 * index, of: section)
      SectionLayout.store(entry.first.rawValue, at: 32 + 16 * index, of: section)
    }
  }

  /// An ACKNOWLEDGE.
  package mutating func acknowledge(
    _ partition: PartitionID, _ epoch: Epoch, stream: UInt32, _ offset: Offset, isShort: Bool = false
  ) {
    let flags = isShort ? SectionLayout.isShort : 0
    let section = begin(.acknowledge, partition, epoch, stream, flags: flags, length: 24)
    SectionLayout.store(offset.rawValue, at: 16, of: section)
  }

  /// An INVALIDATE.
  package mutating func invalidate(_ partition: PartitionID, _ epoch: Epoch, number: UInt64, hash: UInt64) {
    let section = begin(.invalidate, partition, epoch, 0, length: 32)
    SectionLayout.store(number, at: 16, of: section)
    SectionLayout.store(hash, at: 24, of: section)
  }

  /// A CONFIRM, a CONFIRMED or an INVALIDATED.
  package mutating func round(_ kind: SectionKind, _ partition: PartitionID, _ epoch: Epoch, _ round: UInt64) {
    SectionLayout.store(round, at: 16, of: begin(kind, partition, epoch, 0, length: 24))
  }

  /// A REFUSE.
  package mutating func refuse(_ partition: PartitionID, _ epoch: Epoch, stream: UInt32, promised: Epoch) {
    SectionLayout.store(UInt64(promised.rawValue), at: 16, of: begin(.refuse, partition, epoch, stream, length: 24))
  }

  /// Adds a record, which covers the offsets from `first` to its own, to the APPEND that is being written, or begins
  /// one. The caller has seen that there is room for a head and the record.
  package mutating func append(
    _ record: RecordView, from first: Offset, _ partition: PartitionID, _ epoch: Epoch, stream: UInt32,
    committed: Offset
  ) {
    let room = record.room
    let section = extend(from: first, to: record.offset, by: room, partition, epoch, stream, committed)
    section.copyMemory(from: record.base, byteCount: record.length)
    if room > record.length {
      (section + record.length).initializeMemory(as: UInt8.self, repeating: 0, count: room - record.length)
    }
  }

  /// Extends the range of the APPEND that is being written, or of a new one without records, to `end`.
  package mutating func cover(
    from first: Offset, to end: Offset, _ partition: PartitionID, _ epoch: Epoch, stream: UInt32, committed: Offset
  ) {
    _ = extend(from: first, to: end, by: 0, partition, epoch, stream, committed)
  }

  private mutating func extend(
    from first: Offset, to end: Offset, by room: Int, _ partition: PartitionID, _ epoch: Epoch, _ stream: UInt32,
    _ committed: Offset
  ) -> UnsafeMutableRawPointer {
    if open > 0 {
      let last = SectionView(base + open)
      if last.partition == partition, last.epoch == epoch, last.stream == stream,
        last.end.rawValue + 1 == first.rawValue
      {
        precondition(room <= self.room)
        SectionLayout.store(UInt32(last.length + room), at: 4, of: base + open)
        SectionLayout.store(end.rawValue, at: 24, of: base + open)
        count += room
        return base + count - room
      }
    }
    let start = count
    let section = begin(.append, partition, epoch, stream, length: SectionLayout.appendCount + room)
    open = start
    SectionLayout.store(first.rawValue, at: 16, of: section)
    SectionLayout.store(end.rawValue, at: 24, of: section)
    SectionLayout.store(committed.rawValue, at: 32, of: section)
    return section + SectionLayout.appendCount
  }

  /// A RESULT.
  package mutating func result(
    _ partition: PartitionID, _ epoch: Epoch, stream: UInt32, offset: Offset, fingerprint: UInt64, time: UInt64,
    status: UInt16, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
  ) {
    let used = SectionLayout.resultCount + key.count + value.count
    let length = FrameLayout.padded(used)
    let section = begin(.result, partition, epoch, stream, length: length)
    SectionLayout.store(offset.rawValue, at: 16, of: section)
    SectionLayout.store(fingerprint, at: 24, of: section)
    SectionLayout.store(time, at: 32, of: section)
    SectionLayout.store(status, at: 40, of: section)
    SectionLayout.store(UInt16(key.count), at: 42, of: section)
    SectionLayout.store(UInt32(value.count), at: 44, of: section)
    let bytes = section + SectionLayout.resultCount
    if let start = key.baseAddress { bytes.copyMemory(from: start, byteCount: key.count) }
    if let start = value.baseAddress { (bytes + key.count).copyMemory(from: start, byteCount: value.count) }
    (bytes + key.count + value.count).initializeMemory(as: UInt8.self, repeating: 0, count: length - used)
  }
}
