import Testing

@testable import Engine
@testable import Wire

/// A node of one to three cores in this thread, with a clock, clients and mailboxes of its own: what `CoreThread` and
/// the kernel are to the engine, but in an order that the test or a seed decides.
///
/// It also checks what the engine owes its owner: one send at a time, nothing after `close`, no bytes after
/// `shutdownWrite`, memory lent to a send unchanged until `sent` or `closed`, and no message longer than a mailbox
/// takes. Memory lent to the engine is overwritten as soon as the engine has promised not to look at it any more.
final class TestNode {
  let cores: UnsafeMutablePointer<Core>
  let count: Int
  let limits: Limits
  /// Decides everything that may come in any order; nil for everything at once and in order.
  var random: TestRandom?
  /// Until when the node may act as an owner (monotonic nanoseconds).
  var lease = UInt64.max
  /// Times that a core asked the cluster to note that it takes writes.
  private(set) var writesAskedFor = 0
  /// Commands by which a core asked the cluster for a map's settings.
  private(set) var mapsAskedFor: [[UInt8]] = []
  /// What a network does with a connection that the node opens; without one, none can be opened.
  var dial: ((TestClient, PeerAddress) -> Void)?
  /// No core reads its mail.
  var holdsMail = false
  private(set) var clients: [TestClient] = []
  /// The fields of the log lines so far.
  private(set) var logs: [String] = []
  /// Milliseconds since 1970 and monotonic nanoseconds.
  private(set) var wall: UInt64 = 1_800_000_000_000
  private(set) var monotonic: UInt64 = 5_000_000_000
  /// Times that bytes went straight to where the engine wants them.
  private(set) var loansTaken = 0
  /// Turns so far, over all cores.
  private(set) var turns = 0

  private let memory: UnsafeMutableRawPointer
  private let memoryCount: Int
  /// Bytes of each core's zone for records; behind all of these, each core has a zone of the same size for large
  /// values.
  private let share: Int
  private var mail: [[[[UInt8]]]]
  private var mailBytes: [[Int]]
  private var freeIndices: [[UInt32]]
  private var nextIndex: [UInt32]
  private var generation: UInt32 = 0
  private var desk: TestClient?

  /// The limits of a test node: the defaults, with fewer connections so that nodes are cheap to make.
  static var limits: Limits {
    var limits = Limits()
    limits.connections = 200
    return limits
  }

  init(
    cores count: Int = 1, limits: Limits = TestNode.limits, memory bytes: Int = 64 << 20, eviction: Eviction = .none,
    logLevel: LogLevel = .info, seed: UInt64? = nil, id: (UInt64, UInt64) = (1, 2),
    key: BeaconKey? = nil
  ) {
    self.count = count
    self.limits = limits
    random = seed.map { TestRandom(seed: $0) }
    share = 2 * bytes
    memoryCount = 4 * bytes * count
    memory = .allocate(byteCount: memoryCount, alignment: 4096)
    cores = .allocate(capacity: count)
    mail = Array(repeating: Array(repeating: [], count: count), count: count)
    mailBytes = Array(repeating: Array(repeating: 0, count: count), count: count)
    freeIndices = Array(repeating: [], count: count)
    nextIndex = Array(repeating: 0, count: count)
    for core in 0..<count {
      (cores + core).initialize(
        to: Core(
          CoreConfiguration(
            index: core, count: count, limits: limits, name: "n1", version: "0.0.0", logLevel: logLevel,
            eviction: eviction, memory: memory, memoryCount: memoryCount,
            memoryRange: core * share..<(core + 1) * share,
            extents: (count + core) * share..<(count + core + 1) * share, memoryLimit: bytes, nodeID: id, key: key),
          wall: wall))
    }
  }

  deinit {
    cores.deinitialize(count: count)
    cores.deallocate()
    memory.deallocate()
  }

  // MARK: Clients

  /// A connection to a core, of HTTP or of frames.
  func connect(_ core: Int = 0, isPeer: Bool = false, isBeyondLimit: Bool = false) -> TestClient {
    let index: UInt32
    if let free = freeIndices[core].popLast() {
      index = free
    } else {
      index = nextIndex[core]
      nextIndex[core] += 1
    }
    generation += 1
    let client = TestClient(
      core: core, id: ConnectionID(index: index, generation: generation), isPeer: isPeer, isBeyondLimit: isBeyondLimit)
    clients.append(client)
    return client
  }

  /// Sends a request on a connection of the node's own and answers its answer once everything is at rest.
  func ask(_ method: String, _ target: String, _ fields: String..., body: String? = nil, core: Int = 0) -> Answer {
    ask(method, target, fields, Array((body ?? "").utf8), hasBody: body != nil, core: core)
  }

  /// The same with bytes.
  func ask(
    _ method: String, _ target: String, _ fields: [String] = [], _ body: [UInt8], hasBody: Bool = true, core: Int = 0
  ) -> Answer {
    if desk?.core != core || desk?.isOpen != true {
      desk?.end()
      desk = connect(core)
    }
    let desk = desk!
    desk.send(request(method, target, fields, hasBody ? body : nil))
    settle()
    let answers = desk.takeAnswers(isHead: method == "HEAD")
    guard answers.count == 1 else {
      Issue.record("\(answers.count) answers to \(method) \(target)")
      return Answer(status: 0)
    }
    return answers[0]
  }

  /// The n-th key, with this prefix, that a core owns.
  func key(on core: Int, _ n: Int = 0, prefix: String = "k") -> String {
    var left = n
    var number = 0
    while true {
      let name = "\(prefix)\(number)"
      if owner(of: name) == core {
        if left == 0 { return name }
        left -= 1
      }
      number += 1
    }
  }

  /// The core that owns a key of the map "default".
  func owner(of key: String) -> Int {
    Array(key.utf8).withUnsafeBytes { cores[0].core(of: KeyRef($0).partition) }
  }

  /// The partition of a key of the map "default".
  func partition(of key: String) -> Int {
    Array(key.utf8).withUnsafeBytes { Int(KeyRef($0).partition.rawValue) }
  }

  // MARK: Turns

  /// One turn of one core; `action` comes between the events and the turn's end.
  func turn(_ core: Int, _ action: (inout Core) -> Void = { _ in }) {
    turns += 1
    var lent: [UnsafeMutableRawBufferPointer] = []
    cores[core].beginTurn(wall: wall, monotonic: monotonic, lease: lease)
    for client in (random?.shuffled(clients) ?? clients) where client.core == core { deliver(client, &lent) }
    if !holdsMail { readMail(core) }
    action(&cores[core])
    cores[core].endTurn()
    for block in lent {
      TestNode.spoil(block)
      block.deallocate()
    }
    for position in 0..<cores[core].effects.count { carryOut(cores[core].effects[position], core) }
    cores[core].effects.removeAll()
    sendMail(core)
    if cores[core].wantsTurnEnd { cores[core].turnEnded(monotonic: monotonic + 20_000) }
  }

  /// Has all cores take a view of the cluster.
  func adopt(_ view: ClusterView) {
    // The owner of a core has it take the view before it takes mail that was sent by it.
    let held = holdsMail
    holdsMail = true
    for core in 0..<count { turn(core) { $0.adopt(view) } }
    holdsMail = held
    settle()
  }

  /// Turns of all cores until nothing is left to do at this time.
  func settle() {
    for _ in 0..<200_000 {
      var isBusy = false
      for core in random?.shuffled(Array(0..<count)) ?? Array(0..<count) where hasWork(core) {
        isBusy = true
        turn(core)
      }
      if !isBusy { return }
    }
    Issue.record("the node does not come to rest")
  }

  /// Lets time pass, waking each core no earlier than its deadline says.
  func advance(_ milliseconds: Int) {
    let end = monotonic + UInt64(milliseconds) * 1_000_000
    settle()
    for _ in 0..<100_000 {
      let next = (0..<count).map { cores[$0].deadline }.min()!
      guard next <= end else {
        setClock(end)
        return settle()
      }
      setClock(max(next, monotonic))
      for core in 0..<count where cores[core].deadline <= monotonic { turn(core) }
      settle()
    }
    Issue.record("a deadline in the past keeps a core awake")
  }

  /// The same for nodes that keep the same time: what their cores want next, and the time.
  var deadline: UInt64 { (0..<count).map { cores[$0].deadline }.min()! }

  /// Sets the clock and gives all cores that want it a turn.
  func wake(at time: UInt64) {
    setClock(max(time, monotonic))
    for core in 0..<count where cores[core].deadline <= monotonic { turn(core) }
  }

  func setClock(_ time: UInt64) {
    wall += time / 1_000_000 - monotonic / 1_000_000
    monotonic = time
  }

  private func hasWork(_ core: Int) -> Bool {
    if cores[core].deadline == 0 { return true }
    if !holdsMail && (0..<count).contains(where: { !mail[$0][core].isEmpty }) { return true }
    if !holdsMail && cores[core].hasMail { return true }
    return clients.contains { $0.core == core && $0.hasNews }
  }

  // MARK: In

  private func deliver(_ client: TestClient, _ lent: inout [UnsafeMutableRawBufferPointer]) {
    if !client.isOpened && !(client.isOutbound && client.isClosing) {
      if client.isOutbound {
        guard client.isAnswered || client.hasFailed else { return }
        client.isOpened = true
        if client.isAnswered { cores[client.core].connected(client.id) }
        return
      }
      client.isOpened = true
      cores[client.core].opened(client.id, isPeer: client.isPeer, isBeyondLimit: client.isBeyondLimit)
      if random?.chance(2) == true { return }
    }
    if client.canTake && random?.chance(3) != true {
      client.take()
      cores[client.core].sent(client.id)
    }
    var pieces = random?.below(4) ?? 1
    while pieces > 0, let input = client.nextInput() {
      pieces -= 1
      switch input {
      case .bytes(let bytes):
        receive(bytes, client, &lent)
      case .end:
        client.loan = nil
        cores[client.core].ended(client.id)
      case .failure: cores[client.core].failed(client.id)
      }
    }
    if client.isClosing && !client.holdsClose && random?.chance(2) != true {
      client.checkPending()
      if let loan = client.loan { TestNode.spoil(loan) }
      cores[client.core].closed(client.id)
      client.isGone = true
      clients.removeAll { $0 === client }
      freeIndices[client.core].append(client.id.index)
    }
  }

  /// Bytes came: where the engine wants them, or elsewhere because they were on their way already.
  private func receive(_ bytes: [UInt8], _ client: TestClient, _ lent: inout [UnsafeMutableRawBufferPointer]) {
    if let loan = client.loan, random?.chance(4) != true {
      client.loan = nil
      var piece = min(loan.count, bytes.count)
      if piece > 1, let chance = random?.below(piece) { piece = 1 + chance }
      let room = UnsafeMutableRawBufferPointer(rebasing: loan[..<piece])
      room.copyBytes(from: bytes[..<piece])
      loansTaken += 1
      if piece < bytes.count { client.putBack(bytes[piece...]) }
      return cores[client.core].receive(client.id, room.baseAddress!, piece)
    }
    // Memory that was lent is the reactor's to write to until now.
    if let loan = client.loan { TestNode.spoil(loan) }
    client.loan = nil
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    block.copyBytes(from: bytes)
    lent.append(block)
    cores[client.core].receive(client.id, block.baseAddress!, bytes.count)
  }

  private func readMail(_ core: Int) {
    for other in 0..<count where other != core {
      let all = mail[other][core].count
      let taken = random.map { _ in random!.below(all + 1) } ?? all
      for message in mail[other][core].prefix(taken) {
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: message.count, alignment: 16)
        block.copyBytes(from: message)
        cores[core].receiveMail(UnsafeRawBufferPointer(block))
        mailBytes[other][core] -= message.count + 8
        TestNode.spoil(block)
        block.deallocate()
      }
      mail[other][core].removeFirst(taken)
    }
  }

  /// Overwrites memory that nobody may look at any more.
  private static func spoil(_ block: UnsafeMutableRawBufferPointer) {
    block.initializeMemory(as: UInt8.self, repeating: 0xDD)
  }

  // MARK: Out

  private func carryOut(_ effect: Effect, _ core: Int) {
    switch effect {
    case .send(let id, let bytes, let count):
      #expect(count > 0, "the reactor refuses a send of nothing")
      client(id, core)?.hand([UnsafeRawBufferPointer(start: bytes, count: count)])
    case .sendPair(let id, let head, let count, let tail, let tailCount):
      #expect(count > 0, "the reactor refuses a send of nothing")
      client(id, core)?.hand([
        UnsafeRawBufferPointer(start: head, count: count), UnsafeRawBufferPointer(start: tail, count: tailCount),
      ])
    case .shutdownWrite(let id): client(id, core)?.shutWrite()
    case .abort(let id): client(id, core)?.wasAborted = true
    case .close(let id): client(id, core)?.close()
    case .pause(let id): client(id, core)?.pause(true)
    case .resume(let id): client(id, core)?.pause(false)
    case .receive(let id, let memory, let count):
      guard let client = client(id, core) else { return }
      if client.loan != nil { Issue.record("a loan while another is under way") }
      client.loan = UnsafeMutableRawBufferPointer(start: memory, count: count)
    case .populate: break
    case .askForWrites: writesAskedFor += 1
    case .setMap(let bytes, let count): mapsAskedFor.append(Array(UnsafeRawBufferPointer(start: bytes, count: count)))
    case .connect(let link, let address):
      guard let dial else { return cores[core].dialFailed(link) }
      let client = connect(core)
      client.isOutbound = true
      cores[core].dialed(link, client.id)
      dial(client, address)
    case .discard(let range):
      TestNode.spoil(UnsafeMutableRawBufferPointer(start: memory + range.lowerBound, count: range.count))
    case .log(_, let bytes, let count):
      logs.append(String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self))
    }
  }

  private func client(_ id: ConnectionID, _ core: Int) -> TestClient? {
    let client = clients.first { $0.core == core && $0.id == id }
    if client == nil { Issue.record("an effect for \(id), which is not open") }
    return client
  }

  private func sendMail(_ core: Int) {
    for other in 0..<count where other != core {
      while let message = cores[core].outbox(for: other, atMost: 4096) {
        // What the node's mailboxes take: half of their bytes, without a header.
        if message.count > limits.mailbox - 8 { Issue.record("a message of \(message.count) bytes") }
        guard mailBytes[core][other] + message.count + 8 <= 2 * limits.mailbox else { break }
        mailBytes[core][other] += message.count + 8
        mail[core][other].append([UInt8](message))
        cores[core].posted(to: other, message.count)
      }
    }
  }

  // MARK: The end

  /// Closes all connections and checks that nothing is left of them, and the stores.
  func checkAtRest() {
    holdsMail = false
    for core in 0..<count { turn(core) { core in for link in core.links { core.removeLink(link.pointee.index) } } }
    for client in clients {
      client.holdsSends = false
      client.holdsClose = false
      client.reset()
    }
    settle()
    var lent = [Int](repeating: 0, count: count)
    for core in 0..<count {
      #expect(cores[core].openConnections == 0)
      #expect(cores[core].chunks.used == 0)
      #expect(cores[core].gathers.count == 0)
      #expect(cores[core].collectedBytes == 0)
      #expect(cores[core].gapRequests.count == 0)
      #expect(cores[core].hasMail == false)
      #expect(cores[core].waiting.count == 0)
      for id in 1..<Int(max(1, cores[core].store.segmentCount)) {
        let segment = cores[core].store.segments[id]
        guard segment.flags.contains(.exists) else { continue }
        #expect(segment.pins == 0, "segment \(id) of core \(core) is pinned")
        if segment.flags.contains(.foreign) {
          lent[(segment.page << PageAllocator.pageShift) / share % count] += Int(segment.pages)
        }
      }
      let wrong = cores[core].store.checkInvariants()
      #expect(wrong == nil)
    }
    // A page that another core adopted stays lent until its value dies; no other page is.
    for core in 0..<count { #expect(cores[core].store.stagedPages == lent[core]) }
  }

  /// Bytes of pages in use on all cores.
  var usedBytes: Int { (0..<count).reduce(0) { $0 + cores[$1].store.usedBytes } }

  /// Keys on all cores.
  var keys: Int { (0..<count).reduce(0) { $0 + cores[$1].store.count } }
}

/// A request as its bytes; with a body it says its length.
func request(_ method: String, _ target: String, _ fields: [String] = [], _ body: [UInt8]? = nil) -> [UInt8] {
  var head = "\(method) \(target) HTTP/1.1\r\nHost: kvd\r\n"
  for field in fields { head += field + "\r\n" }
  if let body { head += "Content-Length: \(body.count)\r\n" }
  return Array((head + "\r\n").utf8) + (body ?? [])
}

/// The same with text.
func request(_ method: String, _ target: String, _ fields: String..., body: String? = nil) -> [UInt8] {
  request(method, target, fields, body.map { Array($0.utf8) })
}
