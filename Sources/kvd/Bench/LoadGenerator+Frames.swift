import Wire

extension LoadGenerator {
  // MARK: Greeting

  /// The connection is there: HELLO goes out. Nothing else may before WELCOME comes.
  mutating func greet(_ index: Int) {
    let client = clients + index
    let hello = Greeting(
      role: .client, cluster: .any, sender: FrameID(high: random.next() | 1, low: random.next()), receiver: .any)
    hello.write(.hello, to: client.pointee.buffer)
    send(client, Greeting.frameCount)
  }

  private mutating func welcomed(_ index: Int, _ frame: FrameView) throws(CloseReason) {
    let welcome = try Greeting(frame)
    clients[index].frames.outgoing = welcome.incoming
    clients[index].frames.incoming = welcome.outgoing
    clients[index].frames.isWelcomed = true
    ready(index)
  }

  // MARK: Replies

  /// Takes what came on a connection.
  @inline(__always)
  mutating func receivedFrames(
    _ index: Int, _ bytes: UnsafePointer<UInt8>, _ count: Int, _ run: inout LoadRun
  ) {
    var offset = 0
    do throws(CloseReason) {
      while let frame = try clients[index].frames.next(bytes, count, &offset) { try take(frame, index, &run) }
    } catch {
      violated(error.sentence)
    }
  }

  @inline(__always)
  private mutating func take(_ frame: FrameView, _ index: Int, _ run: inout LoadRun) throws(CloseReason) {
    let client = clients + index
    guard client.pointee.frames.isWelcomed else {
      if frame.kind == .welcome { return try welcomed(index, frame) }
      guard frame.kind == .close, frame.isIntact(.none) else { throw .noGreeting }
      return ended(frame)
    }
    guard frame.isIntact(client.pointee.frames.incoming) else { throw .badChecksum }
    switch frame.kind {
    case .reply: try replied(client, frame, &run)
    case .ack: try acknowledged(client, frame, &run)
    case .pong: client.pointee.frames.isDraining = false
    case .close: ended(frame)
    default: throw .unknownKind
    }
  }

  @inline(__always)
  private mutating func replied(
    _ client: UnsafeMutablePointer<LoadClient>, _ frame: FrameView, _ run: inout LoadRun
  ) throws(CloseReason) {
    guard frame.id > 0 && frame.id < client.pointee.frames.nextID else { throw .outOfOrder }
    let first = client.pointee.frames.firsts[Int(truncatingIfNeeded: frame.id) & ringMask]
    var cursor = ResultCursor(frame)
    while let result = cursor.next() {
      let number = first &+ result.index
      guard isUnderWay(client, number) else { throw .outOfOrder }
      complete(client, number, Int32(result.status), &run)
      if frame.isLong {
        let before = frame.length &- FrameLayout.headCount &- ResultLayout.headCount
        client.pointee.frames.skipLongValue(result.length &- before)
      }
    }
    if cursor.isMalformed { throw .malformed }
  }

  @inline(__always)
  private mutating func acknowledged(
    _ client: UnsafeMutablePointer<LoadClient>, _ frame: FrameView, _ run: inout LoadRun
  ) throws(CloseReason) {
    let all = client.pointee.next &- client.pointee.queued
    guard let operations = AckFrame.operations(frame), operations <= UInt64(all)
    else { throw .malformed }
    let first = client.pointee.frames.acknowledged
    completeWrites(client, from: first, to: Int(operations), LoadProtocol.acknowledged, &run)
    client.pointee.frames.acknowledged = Int(operations)
  }

  /// Completes the writes among these requests that nothing has answered yet.
  @inline(__always)
  private mutating func completeWrites(
    _ client: UnsafeMutablePointer<LoadClient>, from first: Int, to end: Int, _ status: Int32, _ run: inout LoadRun
  ) {
    // What is further back than the ring is long has been answered.
    var number = max(first, end &- ringMask &- 1)
    while number < end {
      if isUnderWay(client, number) && isWrite(number, of: client) { complete(client, number, status, &run) }
      number &+= 1
    }
  }

  @inline(__always)
  private func isUnderWay(_ client: UnsafeMutablePointer<LoadClient>, _ number: Int) -> Bool {
    number >= 0 && number < client.pointee.next &- client.pointee.queued
      && number >= client.pointee.next &- ringMask &- 1
      && client.pointee.due[number & ringMask] != LoadClient.answered
  }

  private mutating func ended(_ frame: FrameView) {
    let why = CloseFrame.read(frame).map { String(decoding: $0.sentence, as: UTF8.self) } ?? "without a reason"
    failure = failure ?? LoadFailure(description: "\(plan.target.name) ended a connection: \(why)")
  }

  // MARK: Requests

  /// Encodes queued requests into frames, as many as the buffer has room for, and sends them.
  mutating func pumpFrames(_ client: UnsafeMutablePointer<LoadClient>) {
    var count = 0
    while client.pointee.queued > 0 {
      let most = min(client.pointee.queued, plan.batch)
      guard bufferRoom &- count >= FrameLayout.headCount &+ most &* encoder.largestCount else { break }
      let first = client.pointee.next &- client.pointee.queued
      if encoder.hasLargeBody && isWrite(first, of: client) {
        if count > 0 { break }
        return sendLongPut(client, number: first)
      }
      let base = client.pointee.buffer + count
      var length = FrameLayout.headCount
      var operations = 0
      while operations < most {
        let isWrite = isWrite(first &+ operations, of: client)
        if isWrite && encoder.hasLargeBody { break }
        length &+= encoder.encode(isWrite: isWrite, key: nextKey(client), to: base + length)
        operations &+= 1
      }
      let id = nextFrame(client, first: first)
      FrameLayout.seal(base, length: length, .request, count: operations, id: id, client.pointee.frames.outgoing)
      count &+= length
      client.pointee.queued &-= operations
    }
    send(client, count)
  }

  /// The id of the next REQUEST, whose first request has this number.
  @inline(__always)
  private func nextFrame(_ client: UnsafeMutablePointer<LoadClient>, first: Int) -> UInt64 {
    let id = client.pointee.frames.nextID
    client.pointee.frames.firsts[Int(truncatingIfNeeded: id) & ringMask] = first
    client.pointee.frames.nextID = id &+ 1
    return id
  }

  /// Sends a frame with a long value behind it, which isn't copied.
  private mutating func sendLongPut(_ client: UnsafeMutablePointer<LoadClient>, number: Int) {
    let base = UnsafeMutableRawPointer(client.pointee.buffer)
    let operation = client.pointee.buffer + FrameLayout.headCount
    let length = FrameLayout.headCount + encoder.encode(isWrite: true, key: nextKey(client), to: operation)
    RecordLayout.seal(
      base + FrameLayout.headCount + encoder.longRecordStart, valueStart: encoder.longValueStart,
      valueHash: encoder.valueHash)
    let id = nextFrame(client, first: number)
    FrameLayout.seal(base, length: length, .request, isLong: true, count: 1, id: id, client.pointee.frames.outgoing)
    sendLarge(client, head: length)
  }

  /// The client's send has ended: writes that want no answer are done.
  @inline(__always)
  mutating func framesSent(_ index: Int) {
    let client = clients + index
    guard answer == .none else { return }
    let end = client.pointee.next &- client.pointee.queued
    var run = LoadRun()
    completeWrites(client, from: client.pointee.frames.sent, to: end, LoadProtocol.sent, &run)
    client.pointee.frames.sent = end
    if run.count > 0 { record(run) }
    refill(index)
  }

  /// Waits until every connection has answered a PING: what was sent before it is executed then.
  mutating func drain(until deadline: UInt64) throws {
    for index in 0..<plan.connections where clients[index].isConnected && !clients[index].isSending {
      let client = clients + index
      let count = FrameLayout.headCount
      FrameLayout.seal(client.pointee.buffer, length: count, .ping, id: 1, client.pointee.frames.outgoing)
      client.pointee.frames.isDraining = true
      send(client, count)
    }
    while (0..<plan.connections).contains(where: { clients[$0].isConnected && clients[$0].frames.isDraining }) {
      turn(deadline: deadline)
      if let failure { throw failure }
      if now >= deadline { throw LoadFailure(description: "\(plan.target.name) does not answer a PING") }
    }
  }
}
