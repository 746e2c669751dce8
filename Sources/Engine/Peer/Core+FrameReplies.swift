import Wire

// From outcomes to REPLY, ACK and other frames.
extension Core {
  /// Makes the value of a get that found something its whole record.
  @inline(__always)
  func showRecord(_ outcome: inout Outcome, _ key: KeyRef) {
    guard outcome.status == 200, let value = outcome.value.baseAddress else { return }
    let extras = (outcome.timeToLive > 0 ? 8 : 0) &+ outcome.contentType.count
    let start = RecordLayout.headerCount &+ extras &+ key.mapCount &+ key.keyCount
    outcome.value = RecordView(value - start).bytes
  }

  /// `count` bytes of a whole frame were written at the chunk's end.
  @inline(__always)
  mutating func didWriteFrame(
    _ connection: UnsafeMutablePointer<Connection>, _ chunk: UnsafeMutablePointer<Chunk>, _ count: Int
  ) {
    metrics.count(.framesSent)
    advance(connection, chunk, count)
  }

  // MARK: REPLY

  /// Appends a result to the REPLY that is being written, or starts one.
  ///
  /// - Parameter pin: of a value that another core pinned for this answer.
  @inline(__always)
  mutating func write(
    _ outcome: Outcome, isRecord: Bool, pin: Pin, _ connection: UnsafeMutablePointer<Connection>, id: UInt64,
    index position: Int
  ) {
    var body = outcome.value
    var kind = ResultBody.nothing
    if outcome.status >= 400 {
      kind = .sentence
      body = outcome.sentence
    } else if outcome.status == 200 && isRecord {
      kind = .record
    } else if body.count > 0 {
      kind = .value
    }
    if outcome.timeToLive > 0 && (kind == .value || kind == .nothing) {
      kind = .mortalValue
      body = mortal(outcome)
    }
    let revision = outcome.hasRevision ? outcome.revision : FrameRevision.absent
    let room = ResultLayout.headCount &+ FrameLayout.padded(body.count)
    if FrameLayout.headCount &+ room > Chunk.capacity || (kind == .record && isLong(body)) {
      let result = LargeResult(
        id: id, index: position, status: outcome.status, kind: kind, revision: revision, body: body,
        isInLog: outcome.isInLog, pin: pin, staleness: outcome.staleness.rawValue)
      return writeLarge(result, connection)
    }
    let at = reserveResult(connection, id, room)
    ResultLayout.write(
      to: at, index: position, status: outcome.status, kind, length: body.count, revision: revision,
      staleness: outcome.isGrant ? ResultLayout.granted : outcome.staleness.rawValue)
    if body.count > 0 {
      at.storeBytes(of: 0, toByteOffset: room &- 8, as: UInt64.self)
      (at + ResultLayout.headCount).copyMemory(from: body.baseAddress.unsafelyUnwrapped, byteCount: body.count)
    }
    if pin.kind != .none { letGo(pin, outcome) }
  }

  /// The value behind the time it has left.
  @inline(never)
  private mutating func mortal(_ outcome: Outcome) -> UnsafeRawBufferPointer {
    let piece = scratch.take(8 + outcome.value.count)
    piece.storeBytes(of: outcome.timeToLive.littleEndian, as: UInt64.self)
    if let value = outcome.value.baseAddress { (piece + 8).copyMemory(from: value, byteCount: outcome.value.count) }
    return UnsafeRawBufferPointer(start: piece, count: 8 + outcome.value.count)
  }

  /// Whether a record's value is sent from the log instead of being copied.
  @inline(__always)
  private func isLong(_ record: UnsafeRawBufferPointer) -> Bool {
    guard record.count > limits.copiedValue else { return false }
    return record.count &- RecordView(record.baseAddress.unsafelyUnwrapped).valueStart > limits.copiedValue
  }

  /// Appends what a plain get found, its whole record, unless that is rather sent from the log.
  @inline(__always)
  mutating func writeFound(
    _ record: RecordView, _ partition: PartitionID, _ entry: UnsafePointer<FrameEntry>
  ) -> Bool {
    let count = record.length
    let room = ResultLayout.headCount &+ FrameLayout.padded(count)
    // Of the two bounds for what is copied, the first is below the second for all records but those of long keys.
    guard count <= limits.copiedValue, FrameLayout.headCount &+ room <= Chunk.capacity else { return false }
    let at = reserveResult(entry.pointee.connection, entry.pointee.id, room)
    ResultLayout.write(
      to: at, index: Int(entry.pointee.index), status: 200, .record, length: count,
      revision: record.revision(in: partition), staleness: isReplicated ? staleness(of: partition).rawValue : 0)
    at.storeBytes(of: 0, toByteOffset: room &- 8, as: UInt64.self)
    (at + ResultLayout.headCount).copyMemory(from: record.base, byteCount: count)
    return true
  }

  /// Appends what became of a plain put.
  @inline(__always)
  mutating func writeStored(_ stored: PutResult, _ partition: PartitionID, _ entry: UnsafePointer<FrameEntry>) {
    let at = reserveResult(entry.pointee.connection, entry.pointee.id, ResultLayout.headCount)
    ResultLayout.write(
      to: at, index: Int(entry.pointee.index), status: stored.existed ? 200 : 201, .nothing, length: 0,
      revision: stored.revision(in: partition))
  }

  /// Room for a result in a REPLY to this request.
  @inline(__always)
  private mutating func reserveResult(
    _ connection: UnsafeMutablePointer<Connection>, _ id: UInt64, _ room: Int
  ) -> UnsafeMutableRawPointer {
    if frames.reply == connection && frames.replyID == id,
      frames.replyEnd &+ room <= frames.replyRoom, frames.replyCount < Int(UInt16.max)
    {
      let at = frames.replyBase.unsafelyUnwrapped + frames.replyEnd
      frames.replyEnd &+= room
      frames.replyCount &+= 1
      return at
    }
    sealReply()
    startReply(connection, FrameLayout.headCount &+ room)
    frames.reply = connection
    frames.replyID = id
    frames.replyCount = 1
    frames.replyEnd = FrameLayout.headCount &+ room
    return frames.replyBase.unsafelyUnwrapped + FrameLayout.headCount
  }

  /// Finds the place of a REPLY that begins with `count` bytes: the last chunk, the page behind it, a new page behind
  /// it if it is full, or a new chunk. A chunk and its page leave in one send.
  @inline(__always)
  private mutating func startReply(_ connection: UnsafeMutablePointer<Connection>, _ count: Int) {
    if let last = connection.pointee.output.last, last.pointee.tail != nil || last.room < count {
      return startInPage(connection, last, count)
    }
    let chunk = reserve(connection, count)
    frames.replyChunk = chunk
    frames.replyBase = chunk.end
    frames.replyRoom = chunk.room
  }

  @inline(never)
  private mutating func startInPage(
    _ connection: UnsafeMutablePointer<Connection>, _ last: UnsafeMutablePointer<Chunk>, _ count: Int
  ) {
    let peer = connection.pointee.peer.unsafelyUnwrapped
    frames.replyChunk = last
    if last.pointee.tail == nil {
      let page = frames.givePage()
      last.pointee.tail = UnsafeRawPointer(page)
      last.pointee.pin = .page
      peer.pointee.pageChunk = last
      peer.pointee.page = page
    } else if peer.pointee.pageChunk != last || last.pointee.tail != UnsafeRawPointer(peer.pointee.page)
      || PeerState.pageCount - last.pointee.tailCount < count
    {
      frames.replyChunk = reserve(connection, count)
      frames.replyBase = frames.replyChunk!.end
      frames.replyRoom = frames.replyChunk!.room
      return
    }
    frames.replyBase = peer.pointee.page! + last.pointee.tailCount
    frames.replyRoom = PeerState.pageCount - last.pointee.tailCount
  }

  /// Completes the REPLY that is being written.
  @inline(__always)
  mutating func sealReply() {
    guard let connection = frames.reply, let chunk = frames.replyChunk else { return }
    frames.reply = nil
    frames.replyChunk = nil
    let length = frames.replyEnd
    let binding = connection.pointee.peer.unsafelyUnwrapped.pointee.outgoing
    FrameLayout.seal(
      frames.replyBase.unsafelyUnwrapped, length: length, .reply, count: frames.replyCount, id: frames.replyID, binding)
    if chunk.pointee.tail == nil { return didWriteFrame(connection, chunk, length) }
    metrics.count(.framesSent)
    chunk.pointee.tailCount &+= length
    connection.pointee.output.unsent &+= length
    markDirty(connection)
  }

  /// A result that gets a frame of its own, since it doesn't fit a page or isn't copied.
  private struct LargeResult {
    var id: UInt64
    var index: Int
    var status: UInt16
    var kind: ResultBody
    var revision: Revision
    var body: UnsafeRawBufferPointer
    var isInLog: Bool
    var pin: Pin
    var staleness: UInt8
  }

  /// Writes a frame with one result. A long value is sent from the log, behind a copy of what precedes it.
  @inline(never)
  private mutating func writeLarge(_ result: LargeResult, _ connection: UnsafeMutablePointer<Connection>) {
    sealReply()
    let body = result.body
    let valueStart = result.kind == .record ? RecordView(body.baseAddress!).valueStart : body.count
    let isLong = body.count - valueStart > limits.copiedValue  // else it is a whole frame too long for a page
    let copied = isLong ? valueStart : FrameLayout.padded(body.count)
    let count = FrameLayout.headCount + ResultLayout.headCount + copied
    let frame = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
    let at = frame + FrameLayout.headCount
    if !isLong { frame.storeBytes(of: 0, toByteOffset: count - 8, as: UInt64.self) }
    ResultLayout.write(
      to: at, index: result.index, status: result.status, result.kind, length: body.count, revision: result.revision,
      staleness: result.staleness)
    if let start = body.baseAddress {
      (at + ResultLayout.headCount).copyMemory(from: start, byteCount: min(copied, body.count))
    }
    let binding = connection.pointee.peer!.pointee.outgoing
    FrameLayout.seal(frame, length: count, .reply, isLong: isLong, count: 1, id: result.id, binding)
    metrics.count(.framesSent)
    defer { frame.deallocate() }
    guard isLong else {
      send(frame, count, connection)
      var kept = Outcome(status: result.status)
      kept.value = body
      return letGo(result.pin, kept)
    }
    // The frame's end goes into the page in front of the value, since a send starts with bytes of a page.
    let head = min(count, Chunk.capacity)
    if count > head { send(frame, count - head, connection) }
    let chunk = reserve(connection, head)
    chunk.end.copyMemory(from: frame + (count - head), byteCount: head)
    advance(connection, chunk, head)
    let value = UnsafeRawBufferPointer(rebasing: body[valueStart...])
    var pin = result.pin
    if pin.kind != .segment && result.isInLog {
      pin = Pin(kind: .segment, core: UInt16(index), segment: store.pin(value))
    }
    if pin.kind == .segment { return attachTail(connection, chunk, value, pin) }
    // A value that came from another node: its record's block isn't its own.
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: value.count, alignment: 16)
    copy.copyMemory(from: value)
    attachTail(connection, chunk, UnsafeRawBufferPointer(copy), .heap)
    var kept = Outcome(status: result.status)
    kept.value = body
    letGo(pin, kept)
  }

  /// Sends a copy of bytes that are too many for a page: the first eight from a page, the rest from a block.
  private mutating func send(
    _ block: UnsafeMutableRawPointer, _ count: Int, _ connection: UnsafeMutablePointer<Connection>
  ) {
    let chunk = chunks.take()
    connection.pointee.output.append(chunk)
    chunk.end.copyMemory(from: block, byteCount: 8)
    advance(connection, chunk, 8)
    let rest = UnsafeMutableRawPointer.allocate(byteCount: count - 8, alignment: 16)
    rest.copyMemory(from: block + 8, byteCount: count - 8)
    attachTail(connection, chunk, UnsafeRawBufferPointer(start: rest, count: count - 8), .heap)
  }

  /// Makes bytes that aren't copied the end of a chunk.
  private mutating func attachTail(
    _ connection: UnsafeMutablePointer<Connection>, _ chunk: UnsafeMutablePointer<Chunk>,
    _ bytes: UnsafeRawBufferPointer, _ pin: Pin
  ) {
    connection.pointee.peer!.pointee.pageChunk = nil
    chunk.pointee.tail = bytes.baseAddress
    chunk.pointee.tailCount = bytes.count
    chunk.pointee.pin = pin
    connection.pointee.output.unsent += bytes.count
  }

  // MARK: ACK

  /// An ACK may be due when the turn ends.
  @inline(__always)
  mutating func scheduleAck(
    _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    guard !peer.pointee.isAckDue, peer.pointee.wantedAck > peer.pointee.sentAck else { return }
    peer.pointee.isAckDue = true
    frames.ackDue.append(connection.pointee.id.index)
  }

  /// Writes the ACKs of this turn, at most one per connection.
  mutating func writeAcks() {
    runBatch()
    var position = 0
    while position < frames.ackDue.count {
      let connection = connections + Int(frames.ackDue[position])
      position += 1
      guard let peer = connection.pointee.peer, peer.pointee.isAckDue else { continue }
      peer.pointee.isAckDue = false
      if connection.pointee.state == .open { writeAck(connection, peer) }
    }
    frames.ackDue.removeAll(keepingCapacity: true)
  }

  /// Writes an ACK if it covers an operation that wants one and isn't covered yet.
  mutating func writeAck(_ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>) {
    let applied = peer.pointee.applied
    guard peer.pointee.wantedAck > peer.pointee.sentAck, applied.id > peer.pointee.sentAck else { return }
    peer.pointee.sentAck = applied.id
    sealReply()
    let chunk = reserve(connection, AckFrame.frameCount)
    AckFrame.write(id: applied.id, operations: applied.operations, to: chunk.end, peer.pointee.outgoing)
    didWriteFrame(connection, chunk, AckFrame.frameCount)
  }

  // MARK: Logging

  /// One line per operation at level debug; the key of one that another core executed is gone by then.
  @inline(never)
  mutating func log(
    _ kind: OperationKind, _ key: KeyRef?, _ outcome: Outcome, _ id: UInt64, _ position: Int,
    _ connection: UnsafeMutablePointer<Connection>
  ) {
    var line: [UInt8] = []
    appendJSON("\"message\":\"request\",\"type\":\"FRAME\",\"operation\":", to: &line)
    appendJSONString("\(kind)", to: &line)
    if let key {
      appendJSON(",\"key\":", to: &line)
      Wire.appendJSONString(UnsafeRawBufferPointer(start: key.key, count: key.keyCount), to: &line)
    }
    appendJSON(",\"request\":", to: &line)
    appendJSONInteger(id, to: &line)
    appendJSON(",\"index\":", to: &line)
    appendJSONInteger(Int64(position), to: &line)
    logAnswer(kind.route, outcome, connection.pointee.id, &line)
  }
}
