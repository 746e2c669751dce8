import Wire

/// A value that arrives in parts, in an extent of its own where it will stay: the start of its record is already there.
/// A trivial handle; exactly one of `commit` and `abandon` ends it, in any core's store.
///
/// ```
/// 0  8 bytes that the record uses if it expires: its start moves by 8
///    rest of the fixed header, content type, map name, key, value
/// ```
package struct StagedValue {
  let base: UnsafeMutableRawPointer
  let pageCount: Int
  let contentTypeCount: Int
  let mapCount: Int
  let keyCount: Int
  let stream: HashStream
  /// The hash of map and key.
  package let hash: UInt64
  /// Bytes of the value so far, and the room there is for it.
  package private(set) var filled = 0
  package let capacity: Int

  /// Bytes of the extent before the content type.
  static var headCount: Int { RecordLayout.headerCount + 8 }
  var valueStart: Int { Self.headCount + contentTypeCount + mapCount + keyCount }

  /// Where the next bytes of the value go: `capacity - filled` of them.
  package var writePointer: UnsafeMutableRawPointer { base + valueStart + filled }

  /// The bytes of the value so far.
  package var value: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base + valueStart, count: filled) }

  /// Takes `count` bytes that were written at `writePointer`.
  package mutating func didWrite(_ count: Int) {
    precondition(count >= 0 && count <= capacity - filled)
    stream.update(writePointer, count: count)
    filled += count
  }

  /// Copies the next bytes of the value; there must be room.
  package mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    precondition(bytes.count <= capacity - filled)
    writePointer.copyMemory(from: start, byteCount: bytes.count)
    didWrite(bytes.count)
  }

  /// Takes the next bytes of the value: copies them, unless they lie in their place already.
  package mutating func take(_ bytes: UnsafeRawPointer, _ count: Int) {
    if bytes == UnsafeRawPointer(writePointer) { return didWrite(count) }
    append(UnsafeRawBufferPointer(start: bytes, count: count))
  }

  init(
    base: UnsafeMutableRawPointer, pageCount: Int, contentTypeCount: Int, mapCount: Int, keyCount: Int,
    stream: HashStream, hash: UInt64, filled: Int
  ) {
    self.base = base
    self.pageCount = pageCount
    self.contentTypeCount = contentTypeCount
    self.mapCount = mapCount
    self.keyCount = keyCount
    self.stream = stream
    self.hash = hash
    self.filled = filled
    capacity = pageCount << PageAllocator.pageShift - Self.headCount - contentTypeCount - mapCount - keyCount
  }
}

extension Store {
  /// Room for a value of up to `valueCapacity` bytes of this key, which may be any core's.
  package mutating func stage(
    _ key: KeyRef, valueCapacity: Int, contentType: RecordContentType = RecordContentType(),
    for claim: Claim = .write, time: UInt64
  ) throws(StoreError) -> StagedValue {
    guard key.keyCount <= Int(UInt16.max), key.mapCount <= Int(UInt8.max), valueCapacity <= Int(UInt32.max) / 4
    else { throw .tooLarge }
    let prefix = StagedValue.headCount + contentType.count
    let count = PageAllocator.pages(prefix + key.mapCount + key.keyCount + valueCapacity)
    let start = address(page: try takeExtent(count, for: claim, time: time))
    contentType.write(to: start + StagedValue.headCount)
    copyBytes(start + prefix, key.map, key.mapCount)
    copyBytes(start + prefix + key.mapCount, key.key, key.keyCount)
    return StagedValue(
      base: start, pageCount: count, contentTypeCount: contentType.count, mapCount: key.mapCount,
      keyCount: key.keyCount, stream: HashStream(), hash: key.hash, filled: 0)
  }

  private mutating func takeExtent(_ count: Int, for claim: Claim, time: UInt64) throws(StoreError) -> Int {
    guard makeRoom(count, for: claim, time: time), let page = pages.allocateExtent(count) else { throw .full }
    stagedPages += count
    return page
  }

  /// Gives a value of unknown length more room, by at least one byte: four times as much by copying up to 1 MiB, beyond
  /// that at once what the largest value takes; committing gives the rest back. On `.full` the staged value stays as it
  /// was.
  package mutating func grow(_ staged: inout StagedValue, time: UInt64) throws(StoreError) {
    guard staged.capacity < maximumValue else { throw .tooLarge }
    let wanted = staged.capacity <= 1 << 20 ? min(4 * staged.capacity, maximumValue) : maximumValue
    let count = PageAllocator.pages(staged.valueStart + max(wanted, staged.capacity + 1))
    let start = address(page: try takeExtent(count, for: .write, time: time))
    start.copyMemory(from: staged.base, byteCount: staged.valueStart + staged.filled)
    giveBack(staged)
    staged = StagedValue(
      base: start, pageCount: count, contentTypeCount: staged.contentTypeCount, mapCount: staged.mapCount,
      keyCount: staged.keyCount, stream: staged.stream, hash: staged.hash, filled: staged.filled)
  }

  /// The staged value goes to another core, which counts its pages from then on.
  package mutating func lend(_ staged: StagedValue) { lentPages += staged.pageCount }

  /// A value that another core staged and lent counts here, from its commit or abandonment on.
  private mutating func borrow(_ staged: StagedValue) {
    if !pages.owns(page: (staged.base - base) >> PageAllocator.pageShift) { borrowedPages += staged.pageCount }
  }

  /// Makes the staged value its key's; this core owns the key. A large one stays where it is, and the pages it did not
  /// fill go back; a small one is copied into the log. On an error it stays staged.
  package mutating func commit(
    _ staged: StagedValue, expiry: UInt64 = 0, flags: UInt8 = 0, time: UInt64
  ) throws(StoreError) -> PutResult {
    let start = staged.base + StagedValue.headCount + staged.contentTypeCount
    let key = KeyRef(
      map: start, mapCount: staged.mapCount, key: start + staged.mapCount, keyCount: staged.keyCount,
      hash: staged.hash)
    let contentType = contentType(of: staged)
    let lead = expiry == 0 ? 8 : 0
    let length = staged.valueStart - lead + staged.filled
    let room = RecordLayout.padded(length)
    if room <= largestShared {
      let result = try put(
        key, staged.value, contentType: contentType, expiry: expiry, flags: flags, time: time)
      abandon(staged)
      return result
    }
    let p = partition(staged.hash)
    let isForeign = !pages.owns(page: (staged.base - base) >> PageAllocator.pageShift)
    if isForeign && !makeRoom(PageAllocator.pages(length), time: time) { throw .full }
    release(try prepare(p, key, room: 0, expires: expiry != 0, time: time, nil, nil))
    let place = try locate(p, key)
    guard let id = newSegment() else { throw .full }
    let head = RecordHead(
      kind: .put, flags: flags | writeFlags, epoch: Epoch(p.pointee.epoch), offset: Offset(p.pointee.nextOffset),
      time: time,
      expiry: expiry, contentType: contentType)
    let target = staged.base + lead
    head.write(to: target, length: length, mapCount: staged.mapCount, keyCount: staged.keyCount)
    RecordLayout.seal(target, valueStart: staged.valueStart - lead, valueHash: staged.stream.finish())
    adopt(p, id, staged, lead: lead)
    startAppending(p, to: id, at: room)
    let existed = publish(p, place, staged.hash, RecordView(target), room: room, expiry: expiry, time: time)
    return PutResult(record: RecordView(target), epoch: head.epoch, offset: head.offset, existed: existed)
  }

  /// Appends a record as another node wrote it, whose value was staged: `start` is what the record has before the
  /// value. As `append(_:to:time:)`; on an error the value stays staged.
  package mutating func append(
    _ start: RecordView, value staged: StagedValue, to id: PartitionID, time: UInt64
  ) throws(StoreError) {
    let lead = start.hasExpiry ? 0 : 8
    let target = staged.base + lead
    precondition(start.valueStart + lead == staged.valueStart)
    precondition(start.length + lead == staged.valueStart + staged.filled)
    target.copyMemory(from: start.base, byteCount: start.valueStart)
    let record = RecordView(target)
    if record.room <= largestShared || !record.isPut {
      try append(record, to: id, time: time)
      return abandon(staged)
    }
    let p = partition(id)
    precondition(record.offset.rawValue >= p.pointee.nextOffset)
    let isForeign = !pages.owns(page: (staged.base - base) >> PageAllocator.pageShift)
    if isForeign && !makeRoom(PageAllocator.pages(record.length), for: .copy, time: time) { throw .full }
    let key = KeyRef(record, hash: staged.hash)
    release(try prepare(p, key, room: 0, expires: record.hasExpiry, time: time, nil, nil, for: .copy))
    let place = try locate(p, key)
    guard let segment = newSegment() else { throw .full }
    _ = staged.stream.finish()
    skip(p, to: record.offset.rawValue)
    adopt(p, segment, staged, lead: lead)
    startAppending(p, to: segment, at: record.room)
    _ = publish(p, place, staged.hash, record, room: record.room, expiry: record.expiry, time: time)
  }

  /// Makes the extent the log's last segment.
  private mutating func adopt(
    _ p: UnsafeMutablePointer<Partition>, _ id: Segment.ID, _ staged: StagedValue, lead: Int
  ) {
    let page = (staged.base - base) >> PageAllocator.pageShift
    let isOwn = pages.owns(page: page)
    if isOwn { stagedPages -= staged.pageCount }
    borrow(staged)
    sealOpen(p)
    link(
      p, id, page: page, pages: staged.pageCount, lead: lead,
      flags: isOwn ? [.busy, .large] : [.busy, .large, .foreign], before: 0)
    segments[Int(id)].firstOffset = p.pointee.nextOffset
    let used = PageAllocator.pages(staged.valueStart + staged.filled)
    if used < staged.pageCount {
      segments[Int(id)].pages = UInt32(used)
      giveBack(page + used, count: staged.pageCount - used)
    }
  }

  private func contentType(of staged: StagedValue) -> RecordContentType {
    guard staged.contentTypeCount > 0 else { return RecordContentType() }
    let start = UnsafeRawPointer(staged.base + StagedValue.headCount)
    let code = start.load(as: UInt8.self)
    guard code == RecordLayout.literalContentType else { return RecordContentType(code: code) }
    return RecordContentType(literal: UnsafeRawBufferPointer(start: start + 2, count: staged.contentTypeCount - 2))
  }

  /// Ends a staged value that is not wanted.
  package mutating func abandon(_ staged: StagedValue) {
    _ = staged.stream.finish()
    borrow(staged)
    giveBack(staged)
  }

  private mutating func giveBack(_ staged: StagedValue) {
    let page = (staged.base - base) >> PageAllocator.pageShift
    if pages.owns(page: page) { stagedPages -= staged.pageCount }
    giveBack(page, count: staged.pageCount)
  }

  /// Extents of other cores that this one no longer needs (bytes from the process-wide base): to be mailed to the cores
  /// whose ranges have them, for `release`. At most two per extent that was lent.
  package mutating func takeForeignFrees() -> [Range<Int>] {
    guard !foreignFrees.isEmpty else { return [] }
    let frees = foreignFrees
    foreignFrees = []
    return frees
  }

  /// Takes back bytes that this core staged and another one adopted.
  package mutating func release(_ range: Range<Int>) {
    let page = range.lowerBound >> PageAllocator.pageShift
    let count = range.count >> PageAllocator.pageShift
    precondition(count <= stagedPages && count <= lentPages, "\(range) was not lent")
    lentPages -= count
    stagedPages -= count
    pages.free(page, count: count)
  }
}
