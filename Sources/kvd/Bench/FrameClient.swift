import Wire

/// What a connection of the binary protocol knows.
struct FrameClient {
  /// Bytes of the longest frame that is taken; longer answers come as long values.
  static var frameLimit: Int { 1 << 20 }
  /// Room in a send buffer besides requests: the head of each frame, and greetings.
  static var overhead: Int { 4096 }

  /// What seeds the checksums of frames sent and received; known from WELCOME on.
  var outgoing = FrameBinding.none
  var incoming = FrameBinding.none
  var isWelcomed = false
  /// Requests that ACKs have covered.
  var acknowledged = 0
  /// The number of the first request that has not been handed to the kernel whole.
  var sent = 0
  /// Waits for the PONG that says that everything was executed.
  var isDraining = false
  /// Bytes of a long value still to skip.
  private var skip = 0
  /// The beginning of a frame whose end hasn't come.
  private var held: UnsafeMutablePointer<UInt8>?
  private var heldCount = 0

  func deallocate() { held?.deallocate() }

  /// Starts over: the connection is a new one.
  mutating func reset() {
    let memory = held
    self = FrameClient()
    held = memory
  }

  /// The next whole frame in `bytes[offset..<count]`, which `offset` is then behind; nil if the bytes ended first.
  ///
  /// The frame stays where it is until the next call.
  ///
  /// - Throws: `CloseReason` if the bytes are no frame.
  @inline(__always)
  mutating func next(
    _ bytes: UnsafePointer<UInt8>, _ count: Int, _ offset: inout Int
  ) throws(CloseReason) -> FrameView? {
    if skip > 0 {
      let taken = min(skip, count &- offset)
      skip &-= taken
      offset &+= taken
    }
    let left = count &- offset
    guard left > 0 else { return nil }
    if heldCount == 0 {
      switch FrameView.read(bytes + offset, left, limit: FrameClient.frameLimit) {
      case .whole:
        let frame = FrameView(bytes + offset)
        offset &+= frame.length
        return frame
      case .refused(let reason): throw reason
      case .incomplete: break
      }
    }
    return try nextHeld(bytes, count, &offset)
  }

  /// A frame that is cut in two: its bytes are collected.
  private mutating func nextHeld(
    _ bytes: UnsafePointer<UInt8>, _ count: Int, _ offset: inout Int
  ) throws(CloseReason) -> FrameView? {
    let memory = held ?? .allocate(capacity: FrameClient.frameLimit)
    held = memory
    while true {
      // First its first eight bytes, which say how long it is.
      let wanted = heldCount < 8 ? 8 : FrameView(memory).length
      let taken = min(wanted - heldCount, count - offset)
      (memory + heldCount).update(from: bytes + offset, count: taken)
      heldCount += taken
      offset += taken
      switch FrameView.read(memory, heldCount, limit: FrameClient.frameLimit) {
      case .refused(let reason): throw reason
      case .whole:
        heldCount = 0
        return FrameView(memory)
      case .incomplete: if offset == count { return nil }
      }
    }
  }

  /// The last frame was followed by so many bytes that aren't looked at.
  mutating func skipLongValue(_ count: Int) { skip = count }
}

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
    case .hello, .welcome, .request, .ping: throw .unknownKind
    }
  }

  /// The id of a REQUEST is the number of its first request, counted from 1.
  @inline(__always)
  private mutating func replied(
    _ client: UnsafeMutablePointer<LoadClient>, _ frame: FrameView, _ run: inout LoadRun
  ) throws(CloseReason) {
    let first = Int(truncatingIfNeeded: frame.id) &- 1
    var cursor = ResultCursor(frame)
    while let result = cursor.next() {
      let number = first &+ result.index
      guard isUnderWay(client, number) else { throw .outOfOrder }
      complete(client, number, Int32(result.status), &run)
      if frame.isLong {
        client.pointee.frames.skipLongValue(result.length &- (frame.length &- FrameLayout.headCount &- ResultLayout.headCount))
      }
    }
    if cursor.isMalformed { throw .malformed }
  }

  @inline(__always)
  private mutating func acknowledged(
    _ client: UnsafeMutablePointer<LoadClient>, _ frame: FrameView, _ run: inout LoadRun
  ) throws(CloseReason) {
    guard let operations = AckFrame.operations(frame), operations <= UInt64(client.pointee.next - client.pointee.queued)
    else { throw .malformed }
    completeWrites(client, from: client.pointee.frames.acknowledged, to: Int(operations), LoadProtocol.acknowledged, &run)
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
        length &+= encoder.encode(isWrite: isWrite, key: nextKey(), to: base + length)
        operations &+= 1
      }
      FrameLayout.seal(
        base, length: length, .request, count: operations, id: UInt64(first &+ 1), client.pointee.frames.outgoing)
      count &+= length
      client.pointee.queued &-= operations
    }
    send(client, count)
  }

  /// Sends a frame with a long value behind it, which isn't copied.
  private mutating func sendLongPut(_ client: UnsafeMutablePointer<LoadClient>, number: Int) {
    let base = UnsafeMutableRawPointer(client.pointee.buffer)
    let operation = client.pointee.buffer + FrameLayout.headCount
    let length = FrameLayout.headCount + encoder.encode(isWrite: true, key: nextKey(), to: operation)
    RecordLayout.seal(
      base + FrameLayout.headCount + encoder.longRecordStart, valueStart: encoder.longValueStart,
      valueHash: encoder.valueHash)
    FrameLayout.seal(
      base, length: length, .request, isLong: true, count: 1, id: UInt64(number + 1), client.pointee.frames.outgoing)
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
      FrameLayout.seal(client.pointee.buffer, length: FrameLayout.headCount, .ping, id: 1, client.pointee.frames.outgoing)
      client.pointee.frames.isDraining = true
      send(client, FrameLayout.headCount)
    }
    while (0..<plan.connections).contains(where: { clients[$0].isConnected && clients[$0].frames.isDraining }) {
      turn(deadline: deadline)
      if let failure { throw failure }
      if now >= deadline { throw LoadFailure(description: "\(plan.target.name) does not answer a PING") }
    }
  }
}
