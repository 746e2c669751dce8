import Glibc
import Reactor
import Wire

/// Why a run ended early, in a sentence.
struct LoadFailure: Error, CustomStringConvertible {
  let description: String
}

/// Sends the requests of a plan over its connections and measures the replies, from one thread on one loop.
///
/// **Closed loop**: each connection sends `pipeline` requests at once, waits for all their replies, and sends the next.
/// A request's latency starts when its batch is sent. With `slides` it sends on as soon as half of them are answered.
///
/// **Open loop** (`rate`): request i is due at start + i / rate, whatever the server does, and goes to the next
/// connection that has room. Latency starts when the request was *due*, so that a server that stalls doesn't thereby
/// keep requests from being counted (Gil Tene's "coordinated omission").
///
/// The time is read once a turn: replies that came together carry the same time.
///
/// What the binary protocol does differently is in `LoadGenerator+Frames.swift`, which keys are asked for in
/// `LoadGenerator+Keys.swift`.
struct LoadGenerator: ~Copyable {
  /// Bytes that one send of copied requests may have.
  private static let bufferBytes = 64 << 10
  /// How long replies are waited for after the last request, and connections at the beginning.
  private static let patience: UInt64 = 10_000_000_000
  /// Broken connections after which a run is given up.
  private static let maximumBroken: UInt64 = 10_000
  /// The loop doesn't sleep when the next request is due this soon: the kernel's timers are coarser.
  private static let spin: UInt64 = 100_000

  let plan: LoadPlan
  /// Behind a pointer so that its end has a fixed place in this type's end.
  let loop: UnsafeMutablePointer<Loop>
  let encoder: RequestEncoder
  var chooser: KeyChooser
  var random: LoadRandom
  private var progress: LoadProgress
  let clients: UnsafeMutablePointer<LoadClient>
  /// The client of a socket, by `SocketID.index`.
  private let owners: UnsafeMutablePointer<Int32>
  /// Of 100 requests.
  private let reads: UInt64
  /// Servers between which the connections are divided.
  let targetCount: Int
  let ringMask: Int
  let bufferRoom: Int

  /// The turn's time.
  private(set) var now: UInt64 = 0
  var connected = 0
  var outstanding = 0
  var failure: LoadFailure?
  /// A signal asked for the end.
  private(set) var isInterrupted = false

  // The phase under way.
  var tally = LoadTally()
  private var toIssue = 0
  private var depth = 1
  /// While filling: the next key; else -1, and keys are drawn.
  var nextFill = -1
  /// What writes of the binary protocol are answered with.
  private(set) var answer: AnswerLevel
  /// Of an open loop: nanoseconds between requests, 0 for a closed loop; when it began; requests that were due.
  private var interval = 0.0
  private var began: UInt64 = 0
  private var issued: UInt64 = 0
  private var nextDue = UInt64.max
  private var nextClient = 0

  /// - Throws: `ReactorError` if memory or descriptors are short.
  init(_ plan: LoadPlan, _ signals: borrowing SignalSource) throws(ReactorError) {
    self.plan = plan
    var options = LoopOptions(backend: plan.backend)
    options.connections = plan.connections + 8
    options.overflow = 0
    var loop = try Loop(options, waker: try Waker())
    loop.add(signals)
    self.loop = .allocate(capacity: 1)
    self.loop.initialize(to: loop)
    encoder = RequestEncoder(plan)
    answer = plan.answer
    chooser = KeyChooser(count: plan.keys, plan.distribution)
    random = LoadRandom(seed: plan.seed)
    progress = LoadProgress()
    reads = UInt64(plan.workload.reads)
    targetCount = plan.target.addresses.count
    let deepest = max(plan.pipeline, plan.fills ? plan.fillPipeline : 1)
    let ring = 1 << (Int.bitWidth - (deepest - 1).leadingZeroBitCount)
    ringMask = ring - 1
    let largest = encoder.largestCount
    bufferRoom = max(largest * plan.batch, min(LoadGenerator.bufferBytes, deepest * largest)) + FrameClient.overhead
    owners = .allocate(capacity: options.slots)
    owners.initialize(repeating: -1, count: options.slots)
    clients = .allocate(capacity: plan.connections)
    for index in 0..<plan.connections {
      (clients + index).initialize(
        to: LoadClient(
          due: .allocate(capacity: ring), buffer: .allocate(capacity: bufferRoom),
          parser: ReplyParser(plan.wire, waits: plan.waits),
          frames: FrameClient(ring: ring)))
      clients[index].due.initialize(repeating: LoadClient.answered, count: ring)
    }
  }

  deinit {
    // The kernel may still read from the buffers: the loop goes first.
    loop.deinitialize(count: 1)
    loop.deallocate()
    for index in 0..<plan.connections {
      clients[index].due.deallocate()
      clients[index].buffer.deallocate()
      clients[index].parser.deallocate()
      clients[index].frames.deallocate()
    }
    clients.deallocate()
    owners.deallocate()
  }

  // MARK: Phases

  /// Opens every connection.
  mutating func connect() throws {
    for index in 0..<plan.connections { try open(index) }
    let deadline = Clock.monotonic() + LoadGenerator.patience
    while connected < plan.connections {
      turn(deadline: deadline)
      if let failure { throw failure }
      if isInterrupted { throw LoadFailure(description: "interrupted while connecting") }
      if now >= deadline {
        let count = "\(connected) of \(plan.connections) connections"
        throw LoadFailure(description: "\(plan.target.name) accepted \(count)")
      }
    }
  }

  /// Writes every key once.
  mutating func fill() throws {
    nextFill = 0
    interval = 0
    // Whatever the run will ask for: a key that wasn't written must be known.
    setAnswer(.reply)
    defer { setAnswer(plan.answer) }
    let result = try run("fill", count: plan.keys, duration: .max / 4, depth: plan.fillPipeline)
    nextFill = -1
    if isInterrupted { return }
    let lost = result.tally.unanswered + result.tally.refused
    guard lost == 0 else {
      let statuses = result.tally.statusCounts.map { "\(plan.wire.name(ofStatus: $0.status)): \($0.count)" }
      throw LoadFailure(
        description: "\(lost) of \(plan.keys) keys could not be written (\(statuses.joined(separator: ", ")))")
    }
  }

  /// The load, without counting.
  mutating func warmUp() throws {
    pace()
    let result = try run("warm-up", count: .max, duration: plan.warmup, depth: plan.pipeline)
    if result.tally.unanswered > 0 && !isInterrupted {
      throw LoadFailure(description: "\(result.tally.unanswered) requests of the warm-up were not answered")
    }
  }

  /// The load that counts.
  mutating func measure() throws -> LoadResult {
    pace()
    return try run("", count: plan.records ?? .max, duration: plan.duration, depth: plan.pipeline)
  }

  private mutating func setAnswer(_ level: AnswerLevel) {
    answer = level
    encoder.setAnswer(level)
  }

  private mutating func pace() { interval = plan.rate.map { 1e9 / $0 } ?? 0 }

  /// Sends up to `count` requests for up to `duration` nanoseconds, then waits for the replies that are missing.
  private mutating func run(_ name: String, count: Int, duration: UInt64, depth: Int) throws -> LoadResult {
    tally = LoadTally()
    self.depth = depth
    let server = ProcessUsage.cpuSeconds(plan.serverPIDs)
    let client = Clock.threadTime()
    began = Clock.monotonic()
    now = began
    issued = 0
    nextDue = interval > 0 ? began : .max
    let end = began + duration
    toIssue = isInterrupted ? 0 : count
    progress.start(name, at: began)
    if interval == 0 { for index in 0..<plan.connections { refill(index) } }
    while toIssue > 0 {
      if now >= end || isInterrupted {
        countUnsent(until: min(now, end))
        toIssue = 0
        break
      }
      if interval > 0 { issueDue() }
      turn(deadline: wakeUp(end))
      if let failure { throw failure }
      progress.show(tally, at: now)
    }
    let deadline = now + LoadGenerator.patience
    while outstanding > 0 && now < deadline {
      turn(deadline: deadline)
      if let failure { throw failure }
    }
    tally.unanswered += UInt64(outstanding)
    outstanding = 0
    let elapsed = max(1, now - began)
    // What is sent without any answer is still to be executed, and belongs to this run.
    if plan.wire == .binary && answer == .none { try drain(until: now + LoadGenerator.patience) }
    progress.clear()
    var result = LoadResult(
      tally: tally, elapsed: elapsed, clientSeconds: Double(Clock.threadTime() - client) / 1e9)
    if !plan.serverPIDs.isEmpty, let server, let after = ProcessUsage.cpuSeconds(plan.serverPIDs) {
      result.serverSeconds = after - server
    }
    return result
  }

  /// Open loop: what was due and found no connection with room. Its latency would have been the worst of all, and can't
  /// be known.
  private mutating func countUnsent(until end: UInt64) {
    guard interval > 0, nextDue < end else { return }
    tally.unsent = min(UInt64(toIssue), UInt64(Double(end - nextDue) / interval) + 1)
  }

  /// When the loop has to turn though no reply came; 0 for at once.
  private func wakeUp(_ end: UInt64) -> UInt64 {
    var deadline = min(end, progress.nextAt)
    // Nothing is sent before a reply comes if every connection has all it may have.
    if interval > 0 && outstanding < connected * depth {
      deadline = min(deadline, nextDue > now + LoadGenerator.spin ? nextDue - LoadGenerator.spin / 2 : 0)
    }
    return deadline
  }

  mutating func turn(deadline: UInt64) {
    let count = loop.pointee.poll(deadline: deadline)
    now = Clock.monotonic()
    for position in 0..<count { take(loop.pointee.events + position) }
  }

  // MARK: Events

  @inline(__always)
  private mutating func take(_ event: UnsafePointer<Event>) {
    switch event.pointee.kind {
    case .received: received(owner(event), event.pointee.bytes, event.pointee.count)
    case .sent:
      let index = owner(event)
      clients[index].isSending = false
      if plan.wire == .binary { framesSent(index) }
      pump(index)
    case .connected: if plan.wire == .binary { greet(owner(event)) } else { ready(owner(event)) }
    case .ended: broke(owner(event), 0)
    case .failed: broke(owner(event), event.pointee.code)
    case .closed: closed(event.pointee.socket)
    case .signal:
      // The first ends the run and shows what it came to, the second doesn't wait for that.
      if isInterrupted { exit(130) }
      isInterrupted = true
    case .stale, .accepted, .woken, .readable, .datagram: break
    }
  }

  @inline(__always)
  private func owner(_ event: UnsafePointer<Event>) -> Int {
    Int(owners[event.pointee.socket.index])
  }

  @inline(__always)
  private mutating func received(_ index: Int, _ bytes: UnsafePointer<UInt8>, _ count: Int) {
    let client = clients + index
    tally.bytesReceived &+= UInt64(count)
    var run = LoadRun()
    if plan.wire == .binary {
      receivedFrames(index, bytes, count, &run)
    } else {
      receivedReplies(client, bytes, count, &run)
    }
    if run.count > 0 { record(run) }
    refill(index)
  }

  /// Replies come in the order of the requests.
  @inline(__always)
  private mutating func receivedReplies(
    _ client: UnsafeMutablePointer<LoadClient>, _ bytes: UnsafePointer<UInt8>, _ count: Int, _ run: inout LoadRun
  ) {
    var offset = 0
    while true {
      let status = client.pointee.parser.next(bytes, count, &offset)
      if status <= 0 {
        if status < 0 { violated(client.pointee.parser.violation) }
        break
      }
      guard client.pointee.outstanding > client.pointee.queued else {
        violated("a reply to no request")
        break
      }
      complete(client, client.pointee.next &- client.pointee.outstanding, status, &run)
    }
  }

  /// Counts the reply to the request of that number.
  @inline(__always)
  mutating func complete(
    _ client: UnsafeMutablePointer<LoadClient>, _ number: Int, _ status: Int32, _ run: inout LoadRun
  ) {
    let entry = client.pointee.due[number & ringMask]
    client.pointee.due[number & ringMask] = LoadClient.answered
    client.pointee.outstanding &-= 1
    outstanding &-= 1
    tally.count(status: status)
    if entry != run.due {
      if run.count > 0 { record(run) }
      run = LoadRun(due: entry)
    }
    run.count &+= 1
  }

  @inline(__always)
  mutating func record(_ run: LoadRun) {
    let start = run.due >> 1
    tally.record(isWrite: run.due & 1 != 0, latency: now > start ? now &- start : 0, count: run.count)
  }

  mutating func violated(_ what: StaticString) {
    failure = failure ?? LoadFailure(description: "\(plan.target.name) answered with \(what)")
  }

  // MARK: Connections

  private mutating func open(_ index: Int) throws(ReactorError) {
    let socket = try loop.pointee.connect(plan.target.addresses[index % targetCount])
    clients[index].socket = socket
    owners[socket.index] = Int32(index)
  }

  /// The connection can take requests.
  mutating func ready(_ index: Int) {
    clients[index].isConnected = true
    connected += 1
    refill(index)
  }

  /// The connection ended or failed; what was under way on it is lost.
  private mutating func broke(_ index: Int, _ code: Int32) {
    let client = clients + index
    if !client.pointee.isConnected {
      let why = code == 0 ? "it ended the connection" : describe(errno: code)
      failure = failure ?? LoadFailure(description: "\(plan.target.name) can't be connected to: \(why)")
      return
    }
    connected -= 1
    client.pointee.isConnected = false
    tally.brokenConnections += 1
    tally.unanswered += UInt64(client.pointee.outstanding)
    outstanding -= client.pointee.outstanding
    client.pointee.outstanding = 0
    client.pointee.queued = 0
    client.pointee.due.update(repeating: LoadClient.answered, count: ringMask + 1)
    client.pointee.parser.reset()
    client.pointee.frames.reset()
    client.pointee.next = 0
    loop.pointee.close(client.pointee.socket)
    if tally.brokenConnections > LoadGenerator.maximumBroken {
      failure = failure ?? LoadFailure(description: "\(plan.target.name) breaks connections all the time")
    }
  }

  /// The socket is gone, and with it what it had of the send buffer: a new connection takes its place.
  private mutating func closed(_ socket: SocketID) {
    // Of several that are gone at once, the first one's successor may have got another's slot: only the id is its own.
    guard let index = (0..<plan.connections).first(where: { clients[$0].socket == socket }) else { return }
    clients[index].isSending = false
    do throws(ReactorError) { try open(index) } catch { failure = LoadFailure(description: error.sentence) }
  }

  // MARK: Requests

  /// Closed loop: the connection's next requests, if all of the last were answered, or half if it slides.
  @inline(__always)
  mutating func refill(_ index: Int) {
    let left = clients[index].outstanding
    guard interval == 0, toIssue > 0, left == 0 || plan.slides && left <= depth / 2, clients[index].isConnected
    else { return }
    let count = min(depth &- left, toIssue)
    for _ in 0..<count where hasRoom(index) { issue(index, due: now) }
    pump(index)
  }

  /// Open loop: hands out every request that is due by now, in turn over the connections that have room.
  private mutating func issueDue() {
    while nextDue <= now && toIssue > 0 && outstanding < connected * depth {
      var tried = 0
      while !hasRoom(nextClient) {
        tried += 1
        if tried > plan.connections { return }
        nextClient = nextClient + 1 == plan.connections ? 0 : nextClient + 1
      }
      issue(nextClient, due: nextDue)
      pump(nextClient)
      nextClient = nextClient + 1 == plan.connections ? 0 : nextClient + 1
      issued += 1
      nextDue = began + UInt64(Double(issued) * interval)
    }
  }

  /// Replies of the binary protocol come in any order, so that the place of the next request may still be taken though
  /// later ones were answered.
  @inline(__always)
  private func hasRoom(_ index: Int) -> Bool {
    let client = clients + index
    return client.pointee.isConnected && client.pointee.outstanding < depth
      && client.pointee.due[client.pointee.next & ringMask] == LoadClient.answered
  }

  @inline(__always)
  private mutating func issue(_ index: Int, due: UInt64) {
    let client = clients + index
    client.pointee.due[client.pointee.next & ringMask] = due << 1 | (isNextWrite() ? 1 : 0)
    client.pointee.next &+= 1
    client.pointee.outstanding &+= 1
    client.pointee.queued &+= 1
    outstanding &+= 1
    toIssue &-= 1
  }

  @inline(__always)
  private mutating func isNextWrite() -> Bool {
    if nextFill >= 0 { return true }
    return reads == 0 || (reads < 100 && random.below(100) >= reads)
  }

  /// Encodes queued requests, as many as the buffer has room for, and sends them.
  @inline(__always)
  mutating func pump(_ index: Int) {
    let client = clients + index
    guard client.pointee.queued > 0, !client.pointee.isSending, client.pointee.isConnected else { return }
    if plan.wire == .binary { return pumpFrames(client) }
    var count = 0
    while client.pointee.queued > 0 && bufferRoom &- count >= encoder.largestCount {
      let isWrite = isWrite(client.pointee.next &- client.pointee.queued, of: client)
      if isWrite && encoder.hasLargeBody {
        if count > 0 { break }
        return sendLarge(client)
      }
      count &+= encoder.encode(isWrite: isWrite, key: nextKey(client), to: client.pointee.buffer + count)
      client.pointee.queued &-= 1
    }
    send(client, count)
  }

  @inline(__always)
  func isWrite(_ number: Int, of client: UnsafeMutablePointer<LoadClient>) -> Bool {
    client.pointee.due[number & ringMask] & 1 != 0
  }

  /// Sends what the client's buffer begins with.
  @inline(__always)
  mutating func send(_ client: UnsafeMutablePointer<LoadClient>, _ count: Int) {
    client.pointee.isSending = true
    tally.bytesSent &+= UInt64(count)
    loop.pointee.send(client.pointee.socket, client.pointee.buffer, count)
  }

  /// Sends a write whose body isn't copied.
  private mutating func sendLarge(_ client: UnsafeMutablePointer<LoadClient>) {
    sendLarge(client, head: encoder.encode(isWrite: true, key: nextKey(client), to: client.pointee.buffer))
  }

  mutating func sendLarge(_ client: UnsafeMutablePointer<LoadClient>, head: Int) {
    client.pointee.queued -= 1
    client.pointee.isSending = true
    tally.bytesSent += UInt64(head + encoder.bodyCount)
    loop.pointee.send(client.pointee.socket, head: client.pointee.buffer, head, body: encoder.body, encoder.bodyCount)
  }
}
