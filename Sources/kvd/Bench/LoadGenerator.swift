import Glibc
import Reactor

/// Why a run ended early, in a sentence.
struct LoadFailure: Error, CustomStringConvertible {
  let description: String
}

/// One connection of the load.
struct LoadClient {
  var socket = SocketID.none
  var isConnected = false
  var isSending = false
  /// Requests without a reply; the last `queued` of them aren't encoded yet.
  var outstanding = 0
  var queued = 0
  /// The ring of outstanding requests: where the oldest is; each entry is its intended start in nanoseconds, doubled,
  /// plus 1 for a write. A power of two has room for every request that may be under way.
  var oldest = 0
  let due: UnsafeMutablePointer<UInt64>
  /// Requests on their way to the kernel.
  let buffer: UnsafeMutablePointer<UInt8>
  var parser: ReplyParser
}

/// Sends the requests of a plan over its connections and measures the replies, from one thread on one loop.
///
/// **Closed loop**: each connection sends `pipeline` requests at once, waits for all their replies, and sends the next.
/// A request's latency starts when its batch is sent.
///
/// **Open loop** (`rate`): request i is due at start + i / rate, whatever the server does, and goes to the next
/// connection that has room. Latency starts when the request was *due*, so that a server that stalls doesn't thereby
/// keep requests from being counted (Gil Tene's "coordinated omission").
///
/// The time is read once a turn: replies that came together carry the same time.
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
  private let loop: UnsafeMutablePointer<Loop>
  private let encoder: RequestEncoder
  private var chooser: KeyChooser
  private var random: LoadRandom
  private var progress: LoadProgress
  private let clients: UnsafeMutablePointer<LoadClient>
  /// The client of a socket, by `SocketID.index`.
  private let owners: UnsafeMutablePointer<Int32>
  /// Of 100 requests.
  private let reads: UInt64
  private let ringMask: Int
  private let bufferRoom: Int

  /// The turn's time.
  private var now: UInt64 = 0
  private var connected = 0
  private var outstanding = 0
  private var failure: LoadFailure?
  /// A signal asked for the end.
  private(set) var isInterrupted = false

  // The phase under way.
  private var tally = LoadTally()
  private var toIssue = 0
  private var depth = 1
  /// While filling: the next key; else -1, and keys are drawn.
  private var nextFill = -1
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
    encoder = RequestEncoder(
      plan.wire, host: plan.target.host, path: plan.target.path, prefix: plan.prefix, valueBytes: plan.valueBytes)
    chooser = KeyChooser(count: plan.keys, plan.distribution)
    random = LoadRandom(seed: plan.seed)
    progress = LoadProgress()
    reads = UInt64(plan.workload.reads)
    let deepest = max(plan.pipeline, plan.fills ? plan.fillPipeline : 1)
    let ring = 1 << (Int.bitWidth - (deepest - 1).leadingZeroBitCount)
    ringMask = ring - 1
    bufferRoom = max(encoder.largestCount, min(LoadGenerator.bufferBytes, deepest * encoder.largestCount))
    owners = .allocate(capacity: options.slots)
    owners.initialize(repeating: -1, count: options.slots)
    clients = .allocate(capacity: plan.connections)
    for index in 0..<plan.connections {
      (clients + index).initialize(
        to: LoadClient(
          due: .allocate(capacity: ring), buffer: .allocate(capacity: bufferRoom), parser: ReplyParser(plan.wire)))
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
        throw LoadFailure(description: "\(plan.target.address) accepted \(count)")
      }
    }
  }

  /// Writes every key once.
  mutating func fill() throws {
    nextFill = 0
    interval = 0
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
    progress.clear()
    var result = LoadResult(
      tally: tally, elapsed: max(1, now - began), clientSeconds: Double(Clock.threadTime() - client) / 1e9)
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

  private mutating func turn(deadline: UInt64) {
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
      pump(index)
    case .connected:
      let index = owner(event)
      clients[index].isConnected = true
      connected += 1
      if interval == 0 { refill(index) }
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
    var offset = 0
    // Requests that were due at the same time are recorded together.
    var due: UInt64 = 0
    var same: UInt64 = 0
    while true {
      let reply = client.pointee.parser.next(bytes, count, &offset)
      if reply.status <= 0 {
        if reply.status < 0 { violated(client.pointee.parser.violation) }
        break
      }
      guard Int(reply.answers) <= client.pointee.outstanding &- client.pointee.queued else {
        violated("a reply to no request")
        break
      }
      for _ in 0..<reply.answers {
        let entry = client.pointee.due[client.pointee.oldest & ringMask]
        client.pointee.oldest &+= 1
        if entry != due {
          if same > 0 { record(due, same) }
          due = entry
          same = 0
        }
        same &+= 1
        tally.count(status: reply.status)
      }
      client.pointee.outstanding &-= Int(reply.answers)
      outstanding &-= Int(reply.answers)
    }
    if same > 0 { record(due, same) }
    if client.pointee.outstanding == 0 && interval == 0 { refill(index) }
  }

  @inline(__always)
  private mutating func record(_ due: UInt64, _ count: UInt64) {
    let start = due >> 1
    tally.record(isWrite: due & 1 != 0, latency: now > start ? now &- start : 0, count: count)
  }

  private mutating func violated(_ what: StaticString) {
    failure = failure ?? LoadFailure(description: "\(plan.target.address) answered with \(what)")
  }

  // MARK: Connections

  private mutating func open(_ index: Int) throws(ReactorError) {
    let socket = try loop.pointee.connect(plan.target.address)
    clients[index].socket = socket
    owners[socket.index] = Int32(index)
  }

  /// The connection ended or failed; what was under way on it is lost.
  private mutating func broke(_ index: Int, _ code: Int32) {
    let client = clients + index
    if !client.pointee.isConnected {
      let why = code == 0 ? "it ended the connection" : describe(errno: code)
      failure = failure ?? LoadFailure(description: "\(plan.target.address) can't be connected to: \(why)")
      return
    }
    connected -= 1
    client.pointee.isConnected = false
    tally.brokenConnections += 1
    tally.unanswered += UInt64(client.pointee.outstanding)
    outstanding -= client.pointee.outstanding
    client.pointee.outstanding = 0
    client.pointee.queued = 0
    client.pointee.parser.reset()
    loop.pointee.close(client.pointee.socket)
    if tally.brokenConnections > LoadGenerator.maximumBroken {
      failure = failure ?? LoadFailure(description: "\(plan.target.address) breaks connections all the time")
    }
  }

  /// The socket is gone, and with it what it had of the send buffer: a new connection takes its place.
  private mutating func closed(_ socket: SocketID) {
    let index = Int(owners[socket.index])
    owners[socket.index] = -1
    clients[index].isSending = false
    do throws(ReactorError) { try open(index) } catch { failure = LoadFailure(description: error.sentence) }
  }

  // MARK: Requests

  /// Closed loop: the connection's next batch, if all of the last was answered.
  @inline(__always)
  private mutating func refill(_ index: Int) {
    guard toIssue > 0, clients[index].outstanding == 0, clients[index].isConnected else { return }
    let count = min(depth, toIssue)
    for _ in 0..<count { issue(index, due: now) }
    pump(index)
  }

  /// Open loop: hands out every request that is due by now, in turn over the connections that have room.
  private mutating func issueDue() {
    while nextDue <= now && toIssue > 0 && outstanding < connected * depth {
      while !clients[nextClient].isConnected || clients[nextClient].outstanding >= depth {
        nextClient = nextClient + 1 == plan.connections ? 0 : nextClient + 1
      }
      issue(nextClient, due: nextDue)
      pump(nextClient)
      nextClient = nextClient + 1 == plan.connections ? 0 : nextClient + 1
      issued += 1
      nextDue = began + UInt64(Double(issued) * interval)
    }
  }

  @inline(__always)
  private mutating func issue(_ index: Int, due: UInt64) {
    let client = clients + index
    let position = (client.pointee.oldest &+ client.pointee.outstanding) & ringMask
    client.pointee.due[position] = due << 1 | (isNextWrite() ? 1 : 0)
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

  @inline(__always)
  private mutating func nextKey() -> UInt64 {
    guard nextFill >= 0 else { return chooser.next(&random) }
    nextFill &+= 1
    return UInt64(nextFill &- 1)
  }

  /// Encodes queued requests, as many as the buffer has room for, and sends them.
  @inline(__always)
  private mutating func pump(_ index: Int) {
    let client = clients + index
    guard client.pointee.queued > 0, !client.pointee.isSending, client.pointee.isConnected else { return }
    var count = 0
    while client.pointee.queued > 0 && bufferRoom &- count >= encoder.largestCount {
      let position = client.pointee.oldest &+ client.pointee.outstanding &- client.pointee.queued
      let isWrite = client.pointee.due[position & ringMask] & 1 != 0
      if isWrite && encoder.hasLargeBody {
        if count > 0 { break }
        return sendLarge(client)
      }
      count &+= encoder.encode(isWrite: isWrite, key: nextKey(), to: client.pointee.buffer + count)
      client.pointee.queued &-= 1
    }
    client.pointee.isSending = true
    tally.bytesSent &+= UInt64(count)
    loop.pointee.send(client.pointee.socket, client.pointee.buffer, count)
  }

  private mutating func sendLarge(_ client: UnsafeMutablePointer<LoadClient>) {
    let head = encoder.encode(isWrite: true, key: nextKey(), to: client.pointee.buffer)
    client.pointee.queued -= 1
    client.pointee.isSending = true
    tally.bytesSent += UInt64(head + encoder.bodyCount)
    loop.pointee.send(client.pointee.socket, head: client.pointee.buffer, head, body: encoder.body, encoder.bodyCount)
  }
}
