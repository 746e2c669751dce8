import Wire

/// A record that is being received: its frame is there, its value follows and goes where it will stay.
struct LongRecord {
  /// The frame, copied; its only section has the record but for the value.
  let frame: UnsafeMutableRawPointer
  let slot: MemberSlot
  /// Where the value goes; nil to let it go by.
  var staged: StagedValue?
  var remaining: Int
  /// Bytes that are counted in `ReplicationDesk.longRecordBytes`.
  var counted = 0

  var section: SectionView { SectionView(checked: frame + FrameLayout.headCount) }
}

/// The front of a long record's mail; its section follows.
struct MailRecord {
  let slot: MemberSlot
  let staged: StagedValue
}

// Records that are too long to be copied: the owner sends the value from its log, where it stays pinned until it is
// sent, and a replica receives it into an extent of its own log, as it does a client's.
extension Core {
  // MARK: Sending

  /// Sends a record in a frame of its own, behind what was written to the member before.
  mutating func sendLong(
    _ record: RecordView, from first: Offset, _ id: PartitionID, _ epoch: Epoch, _ stream: UInt32, committed: Offset,
    to slot: Int
  ) {
    sendFrame(to: slot)
    guard let connection = replicationConnection(slot) else { return }
    let length = FrameLayout.headCount + SectionLayout.appendCount + record.valueStart
    let binding = connection.pointee.peer!.pointee.outgoing
    let isShort = length <= Chunk.capacity / 2
    let chunk = reserve(connection, isShort ? length : FrameLayout.headCount)
    if isShort {
      SectionLayout.writeLong(record, from: first, id, epoch, stream: stream, committed: committed, to: chunk.end)
      FrameLayout.seal(chunk.end, length: length, .replicate, isLong: true, count: 1, id: 0, binding)
      didWriteFrame(connection, chunk, length)
    } else {
      // A long key: what precedes the value fits no page.
      let page = UnsafeMutableRawPointer.allocate(byteCount: length, alignment: 16)
      SectionLayout.writeLong(record, from: first, id, epoch, stream: stream, committed: committed, to: page)
      FrameLayout.seal(page, length: length, .replicate, isLong: true, count: 1, id: 0, binding)
      chunk.end.copyMemory(from: page, byteCount: FrameLayout.headCount)
      didWriteFrame(connection, chunk, FrameLayout.headCount)
      let rest = length - FrameLayout.headCount
      page.copyMemory(from: page + FrameLayout.headCount, byteCount: rest)
      setTail(chunk, UnsafeRawBufferPointer(start: page, count: rest), .heap, connection)
    }
    sendValue(record, chunk, connection)
  }

  private mutating func sendValue(
    _ record: RecordView, _ last: UnsafeMutablePointer<Chunk>, _ connection: UnsafeMutablePointer<Connection>
  ) {
    var value = record.value
    var chunk = last
    if value.count > 0 && chunk.pointee.tail != nil {
      // A send starts with bytes of a page.
      chunk = chunks.take()
      connection.pointee.output.append(chunk)
      let lead = min(8, value.count)
      chunk.end.copyMemory(from: value.baseAddress!, byteCount: lead)
      advance(connection, chunk, lead)
      value = UnsafeRawBufferPointer(rebasing: value[lead...])
    }
    guard value.count > 0 else { return }
    let pin = Pin(kind: .segment, core: UInt16(index), segment: store.pin(record))
    setTail(chunk, value, pin, connection)
  }

  /// Has bytes that lie elsewhere follow those of a chunk.
  mutating func setTail(
    _ chunk: UnsafeMutablePointer<Chunk>, _ bytes: UnsafeRawBufferPointer, _ pin: Pin,
    _ connection: UnsafeMutablePointer<Connection>
  ) {
    chunk.pointee.tail = bytes.baseAddress
    chunk.pointee.tailCount = bytes.count
    chunk.pointee.pin = pin
    connection.pointee.output.unsent += bytes.count
  }

  // MARK: Receiving

  /// Starts to receive the value behind a REPLICATE frame; false if the frame isn't sound. A value that nobody wants,
  /// or for which there is no memory, goes by: the owner hears nothing, and asks again.
  mutating func beginLongRecord(
    _ frame: FrameView, _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) -> Bool {
    guard SectionView(long: frame.payload) != nil else { return false }
    runBatch()
    let copy = UnsafeMutableRawPointer.allocate(byteCount: frame.length, alignment: 16)
    copy.copyMemory(from: frame.base, byteCount: frame.length)
    let section = SectionView(checked: copy + FrameLayout.headCount)
    let record = section.record
    let count = record.length - record.valueStart
    let slot = desk.parts == nil ? nil : desk.peers.firstIndex { $0?.pointee.node == peer.pointee.node }
    var staged: StagedValue?
    let fits = desk.longRecordBytes == 0 || desk.longRecordBytes + count <= limits.longRecordBytes
    if !fits { metrics.count(.overloaded) }
    if fits && slot != nil && isExpected(section) && count <= max(limits.value, limits.editedValue) {
      let key = KeyRef(
        map: record.map.baseAddress!, mapCount: record.mapCount, key: record.key.baseAddress!,
        keyCount: record.keyCount, hash: record.hash)
      staged = try? store.stage(key, valueCapacity: count, contentType: record.contentType, for: .copy, time: wall)
      if staged == nil { metrics.count(.overloaded) }
    }
    let long = UnsafeMutablePointer<LongRecord>.allocate(capacity: 1)
    long.initialize(to: LongRecord(frame: copy, slot: MemberSlot(slot ?? 0), staged: staged, remaining: count))
    if staged != nil {
      long.pointee.counted = count
      desk.longRecordBytes += count
    }
    peer.pointee.record = long
    if count == 0 { finishLongRecord(connection, peer, long) }
    return true
  }

  /// Whether the record is the next one of its partition, as far as this core knows.
  private func isExpected(_ section: SectionView) -> Bool {
    guard core(of: section.partition) == index else { return true }
    let part = part(section.partition)
    return desk.parts![part].replica.isListening(section.epoch, stream: section.stream)
      && section.offset == desk.parts![part].replica.last.next
  }

  /// Takes bytes of the value and returns how many.
  mutating func receiveLongRecord(
    _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>,
    _ bytes: UnsafeRawPointer, _ count: Int
  ) -> Int {
    let long = peer.pointee.record!
    let used = min(count, long.pointee.remaining)
    if long.pointee.staged != nil { long.pointee.staged!.take(bytes, used) }
    long.pointee.remaining -= used
    if long.pointee.remaining == 0 { finishLongRecord(connection, peer, long) }
    return used
  }

  private mutating func finishLongRecord(
    _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>,
    _ long: UnsafeMutablePointer<LongRecord>
  ) {
    enter(connection, .idle)
    guard let staged = long.pointee.staged else { return abandonLongRecord(connection, peer) }
    let section = long.pointee.section
    let record = section.record
    let sum = RecordLayout.checksum(record.base, valueStart: record.valueStart, valueHash: staged.valueHash)
    guard sum == record.checksum else { return refuse(connection, .badChecksum) }
    long.pointee.staged = nil  // the log's now, or another core's
    let core = core(of: section.partition)
    if core == index {
      take(section, staged, from: long.pointee.slot)
    } else {
      store.lend(staged)
      let size = MemoryLayout<MailRecord>.stride
      let payload = outboxes[core].begin(.replicateLong, size + section.length)
      payload.storeBytes(of: MailRecord(slot: long.pointee.slot, staged: staged), as: MailRecord.self)
      (payload + size).copyMemory(from: section.base, byteCount: section.length)
    }
    abandonLongRecord(connection, peer)
  }

  /// Takes a record that another core received.
  mutating func receiveLongRecord(mail payload: UnsafeRawPointer) {
    let mail = payload.load(as: MailRecord.self)
    guard desk.parts != nil else { return discard(mail.staged) }
    take(SectionView(checked: payload + MemoryLayout<MailRecord>.stride), mail.staged, from: mail.slot)
  }

  private mutating func take(_ section: SectionView, _ staged: StagedValue, from slot: MemberSlot) {
    let part = part(section.partition)
    desk.touch(part)
    let message = ReplicationMessage.append(first: section.offset, end: section.end, committed: section.committed)
    guard receive(message, section.epoch, section.stream, slot, part) == .append else { return discard(staged) }
    store.commit(section.partition, upTo: min(section.committed, section.end))
    do {
      try store.append(section.record, value: staged, to: section.partition, time: wall)
    } catch {
      discard(staged)
      fallShort(of: section.end, part)
    }
  }

  /// Gives up a record that isn't whole, or what is left of one that is.
  mutating func abandonLongRecord(
    _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    guard let long = peer.pointee.record else { return }
    peer.pointee.record = nil
    if let staged = long.pointee.staged { discard(staged, of: connection) }
    desk.longRecordBytes -= long.pointee.counted
    long.pointee.frame.deallocate()
    long.deinitialize(count: 1)
    long.deallocate()
  }
}
