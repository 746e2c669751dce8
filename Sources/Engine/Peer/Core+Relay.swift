import Wire

// Sending operations on to the node that owns their partition ("relaying", to tell it from the mail between cores).
//
// An operation is relayed at most twice: by the node that a client asked, and once more by the same node when the first
// one said that it isn't the owner. A node never relays what another one relayed to it.
extension Core {
  /// Why an operation can't be relayed now, as its outcome; nil if it can. It is surely not executed then.
  mutating func refusal(_ place: Place, _ operation: UnsafePointer<Operation>) -> Outcome? {
    if operation.pointee.isForwarded, !relaysOn { return wrongOwner(operation.pointee.key.partition) }
    let isCutOff = operation.pointee.kind.isWrite && !standing.hasLease
    let isRead = !operation.pointee.kind.isWrite
    // Behind one of its partition that waits, since it came later.
    let isLater = !held.isEmpty && held.has(operation.pointee.key.partition)
    guard let index = place.link, !isLater else {
      if isStalled(operation.pointee.key.partition) {
        return Outcome(isRead ? .stalledRead : isCutOff ? cutOff : .stalled)
      }
      return Outcome(isRead ? .noOwnerRead : isCutOff ? cutOff : .noOwner)
    }
    let link = links[index]
    guard isRead ? canAsk(index) : link.isUsable else {
      return Outcome(isRead ? .ownerUnreachableRead : isCutOff ? cutOff : .ownerUnreachable)
    }
    let size = operation.pointee.body.count + (operation.pointee.staged?.filled ?? 0)
    guard link.pointee.bytes == 0 || link.pointee.bytes + size <= limits.linkBytes,
      waiting.count < limits.waitingAnswers
    else {
      metrics.count(.overloaded)
      return Outcome(.ownerBusy)
    }
    return nil
  }

  /// A planted bug.
  private var relaysOn: Bool {
    #if DEBUG
      return configuration.mutation == .relaysOn
    #else
      return false
    #endif
  }

  /// Whether a partition has no owner and waits for nodes that are down.
  func isStalled(_ partition: PartitionID) -> Bool {
    guard standing.hasLease, let topology = standing.view?.topology else { return false }
    return topology.isStalled(topology.partitions[Int(partition.rawValue)])
  }

  /// Whether a node can be asked for a read. One that is cut off asks only those that it heard of lately: what a link
  /// that is about to be given up carries would be answered late, and with nothing.
  func canAsk(_ link: Int) -> Bool {
    guard links[link].isUsable else { return false }
    if standing.hasLease { return true }
    return links[link].pointee.state == .up
      && monotonicMilliseconds < links[link].pointee.heard + 2 * UInt64(limits.linkPing)
  }

  /// What a node says of an operation that another one relayed to it by mistake: the epoch of the partition and the
  /// version of the topology that it knows.
  mutating func wrongOwner(_ partition: PartitionID) -> Outcome {
    metrics.count(.wrongOwner)
    var outcome = Outcome(.wrongOwner)
    outcome.hasRevision = true
    let epoch = routes.entries.isEmpty ? Epoch(0) : routes.entries[Int(partition.rawValue)].epoch
    outcome.revision = Revision(partition: partition, epoch: epoch, offset: Offset(routes.version))
    return outcome
  }

  /// Sends an operation over a link; `refusal` has let it through.
  mutating func relay(_ operation: UnsafePointer<Operation>, over link: Int, _ target: ReplyTarget) {
    relay(operation, over: link, for: AnswerTarget(reply: target, core: index))
  }

  /// The same for whoever asked, on this core or another one.
  mutating func relay(_ operation: UnsafePointer<Operation>, over link: Int, for target: AnswerTarget) {
    metrics.count(.relayed)
    // The owner keeps the time; this node only makes sure that somebody answers.
    let token = waiting.add(
      target, .forward, operation.pointee.kind, operation.pointee.key.partition,
      deadline: deadline(of: operation) + UInt64(limits.linkGrace), now: monotonicMilliseconds,
      outcome: Outcome(status: 504))
    write(operation, token, to: links[link])
  }

  /// Sends an operation that waited for a link; `refusal` has let it through.
  mutating func relay(held operation: UnsafePointer<Operation>, _ token: WaitToken, over link: Int) {
    metrics.count(.relayed)
    waiting.change(token, .forward, Outcome(status: 504))
    write(operation, token, to: links[link])
  }

  /// Writes an operation into the frame that is open, or into one of its own.
  private mutating func write(
    _ operation: UnsafePointer<Operation>, _ token: WaitToken, to link: UnsafeMutablePointer<Link>
  ) {
    let kind = operation.pointee.kind.frameOperation
    let key = operation.pointee.key
    let name = UnsafeRawBufferPointer(start: key.key, count: key.keyCount)
    let map = UnsafeRawBufferPointer(start: key.map, count: key.mapCount)
    let terms = terms(of: operation)
    var delta = operation.pointee.hasOptions ? operation.pointee.options.delta.littleEndian : 1
    withUnsafeBytes(of: &delta) { number in
      let body = operation.pointee.kind == .increment ? number : operation.pointee.body
      if operation.pointee.staged != nil || body.count > limits.stagedBody {
        return writeLong(operation, token, to: link, terms)
      }
      let room = RequestWriter.room(kind, map: map, key: name, value: body.count, terms: terms)
      let frame = frame(of: link, room: room)
      RequestWriter.write(
        kind, .reply, map: map, key: name, value: body, terms: terms, to: frame.pointee.base + frame.pointee.end)
      frame.pointee.add(token, room: room, isRetry: operation.pointee.isRetry)
      link.pointee.bytes += room
    }
    link.pointee.operations += 1
  }

  /// The frame that takes `room` bytes more: the open one while it has room.
  private mutating func frame(of link: UnsafeMutablePointer<Link>, room: Int) -> UnsafeMutablePointer<LinkFrame> {
    let most = link.pointee.frameLimit > 0 ? min(LinkFrame.blockCount, link.pointee.frameLimit) : 4096
    if let open = link.pointee.queue.last, !open.pointee.isLong, open.pointee.end + room <= most,
      open.pointee.end + room <= open.pointee.capacity, open.pointee.count < Int(UInt16.max)
    {
      return open
    }
    let frame = UnsafeMutablePointer<LinkFrame>.allocate(capacity: 1)
    frame.initialize(to: LinkFrame(capacity: max(LinkFrame.blockCount, FrameLayout.headCount + room)))
    link.pointee.queue.append(frame)
    return frame
  }

  /// An operation whose value follows its frame: a staged value is sent from where it is, another is copied once.
  private mutating func writeLong(
    _ operation: UnsafePointer<Operation>, _ token: WaitToken, to link: UnsafeMutablePointer<Link>,
    _ terms: OperationTerms
  ) {
    let key = operation.pointee.key
    let name = UnsafeRawBufferPointer(start: key.key, count: key.keyCount)
    let map = UnsafeRawBufferPointer(start: key.map, count: key.mapCount)
    let body = operation.pointee.staged?.value ?? operation.pointee.body
    let hash = operation.pointee.staged?.valueHash ?? xxh3(body.baseAddress, count: body.count, seed: 0)
    let frame = UnsafeMutablePointer<LinkFrame>.allocate(capacity: 1)
    frame.initialize(
      to: LinkFrame(capacity: RequestWriter.longCount(map: map.count, key: name.count, terms: terms)))
    let count = RequestWriter.writeLong(
      operation.pointee.kind.frameOperation, .reply, map: map, key: name, value: body.count, hash: hash, terms: terms,
      to: frame.pointee.base + FrameLayout.headCount)
    frame.pointee.isLong = true
    frame.pointee.valueCount = body.count
    frame.pointee.staged = operation.pointee.staged
    if operation.pointee.staged == nil {
      frame.pointee.block = .allocate(byteCount: max(1, body.count), alignment: 16)
      frame.pointee.block!.copyMemory(from: body.baseAddress!, byteCount: body.count)
    }
    frame.pointee.add(token, room: count, isRetry: operation.pointee.isRetry)
    link.pointee.queue.append(frame)
    link.pointee.bytes += frame.pointee.end - FrameLayout.headCount + body.count
  }

  /// What the owner must know of an operation beside its key and value.
  func terms(of operation: UnsafePointer<Operation>) -> OperationTerms {
    var terms = OperationTerms()
    terms.contentType = operation.pointee.contentType
    guard operation.pointee.hasOptions else { return terms }
    let options = operation.pointee.options
    terms.timeToLive = options.timeToLive
    if options.hasMinRevision { terms.minimum = options.minRevision }
    terms.idempotencyKey = options.idempotencyKey
    if options.ifMatch.count > 0 { terms.match = options.ifMatch }
    if options.ifNoneMatch.count > 0 { terms.noneMatch = options.ifNoneMatch }
    if operation.pointee.kind.frameOperation.hasPointer { terms.pointer = options.pointer }
    if options.concern != .majority || options.readLevel != .local || options.timeout > 0 {
      terms.concern = FrameConcern(write: options.concern, read: options.readLevel, timeout: options.timeout)
    }
    if operation.pointee.kind == .list || operation.pointee.kind == .lost {
      let listing = options.listing
      terms.listing = FrameListing(
        partition: listing.partition, end: listing.end, tag: listing.tag, keys: listing.keys, slots: listing.slots)
    }
    return terms
  }

  // MARK: Handing over

  /// Hands frames over where the connection has room for more.
  mutating func pumpLinks() {
    for link in links where !link.pointee.queue.isEmpty && link.pointee.state == .up { pump(link) }
  }

  private mutating func pump(_ link: UnsafeMutablePointer<Link>) {
    guard let connection = connection(link.pointee.connection!), connection.pointee.state == .open else { return }
    var handed = 0
    while handed < link.pointee.queue.count, connection.pointee.output.unsent < limits.unsentBytes / 4 {
      let frame = link.pointee.queue[handed]
      handed += 1
      guard frame.pointee.end <= link.pointee.frameLimit else {
        refuseTooLong(frame, link)
        continue
      }
      handOver(frame, link, connection)
    }
    link.pointee.queue.removeFirst(handed)
  }

  private mutating func handOver(
    _ frame: UnsafeMutablePointer<LinkFrame>, _ link: UnsafeMutablePointer<Link>,
    _ connection: UnsafeMutablePointer<Connection>
  ) {
    let base = frame.pointee.base
    let length = frame.pointee.end
    frame.pointee.id = link.pointee.nextID
    link.pointee.nextID += 1
    link.pointee.flight.append(frame)
    FrameLayout.seal(
      base, length: length, .request, isLong: frame.pointee.isLong, isForwarded: true, count: frame.pointee.count,
      id: frame.pointee.id, connection.pointee.peer!.pointee.outgoing)
    metrics.count(.framesSent)
    // Small frames are copied behind each other; of a larger one only the head is, and the rest is sent from its place.
    let copied = length <= limits.copiedValue ? length : FrameLayout.headCount
    let chunk = reserve(connection, copied)
    chunk.end.copyMemory(from: base, byteCount: copied)
    advance(connection, chunk, copied)
    if copied < length {
      lend(frame, UnsafeRawBufferPointer(start: base + copied, count: length - copied), chunk, connection)
    }
    guard frame.pointee.isLong, frame.pointee.valueCount > 0 else { return }
    let start = frame.pointee.staged?.value.baseAddress ?? UnsafeRawPointer(frame.pointee.block!)
    let value = UnsafeRawBufferPointer(start: start, count: frame.pointee.valueCount)
    if chunk.pointee.tail == nil { return lend(frame, value, chunk, connection) }
    // A send starts with bytes of a page.
    let next = chunks.take()
    connection.pointee.output.append(next)
    let lead = min(8, value.count)
    next.end.copyMemory(from: start, byteCount: lead)
    advance(connection, next, lead)
    if lead < value.count { lend(frame, UnsafeRawBufferPointer(rebasing: value[lead...]), next, connection) }
  }

  /// Makes bytes of a frame the tail of a chunk.
  private mutating func lend(
    _ frame: UnsafeMutablePointer<LinkFrame>, _ bytes: UnsafeRawBufferPointer, _ chunk: UnsafeMutablePointer<Chunk>,
    _ connection: UnsafeMutablePointer<Connection>
  ) {
    frame.pointee.holds += 1
    chunk.pointee.tail = bytes.baseAddress
    chunk.pointee.tailCount = bytes.count
    chunk.pointee.pin = Pin(kind: .frame, core: 0, segment: 0)
    chunk.pointee.frame = frame
    connection.pointee.output.unsent += bytes.count
  }

  private mutating func refuseTooLong(
    _ frame: UnsafeMutablePointer<LinkFrame>, _ link: UnsafeMutablePointer<Link>
  ) {
    for position in 0..<frame.pointee.count {
      answer(frame.pointee.entries[position].token, Outcome(.tooLongForOwner))
    }
    link.pointee.bytes -= frame.pointee.end + frame.pointee.valueCount - FrameLayout.headCount
    link.pointee.operations -= frame.pointee.count
    drop(frame)
  }

  // MARK: Once more

  /// What whoever waits is told when a link breaks: a read can simply be repeated.
  func linkLost(_ token: WaitToken) -> Outcome {
    Outcome(waiting.find(token)?.pointee.kind.isWrite == false ? .ownerUnreachableRead : .linkLost)
  }

  /// An operation as in a REQUEST, which is the caller's to free.
  func encoded(_ operation: UnsafePointer<Operation>) -> UnsafeMutableRawBufferPointer {
    let key = operation.pointee.key
    let name = UnsafeRawBufferPointer(start: key.key, count: key.keyCount)
    let map = UnsafeRawBufferPointer(start: key.map, count: key.mapCount)
    let terms = terms(of: operation)
    let kind = operation.pointee.kind.frameOperation
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: RequestWriter.room(kind, map: map, key: name, value: 0, terms: terms), alignment: 16)
    RequestWriter.write(kind, .reply, map: map, key: name, value: none, terms: terms, to: bytes.baseAddress!)
    return bytes
  }

  /// Gives an answer that waits for another node, if anybody still waits for it.
  mutating func answer(_ token: WaitToken, _ outcome: Outcome, pin: Pin = .none) {
    guard let answer = waiting.remove(token) else { return letGo(pin, outcome) }
    give(answer, outcome, pin: pin)
  }

  /// An operation that was surely not executed is kept for one more attempt, unless it had it.
  ///
  /// - Parameter version: of the topology that should be known before; 0 for any newer or after a moment.
  mutating func tryAgain(_ entry: LinkFrame.Entry, of frame: UnsafeMutablePointer<LinkFrame>, version: UInt64) {
    guard let answer = waiting.find(entry.token) else { return }
    guard !entry.isRetry, second.count < limits.waitingAnswers else {
      return self.answer(entry.token, Outcome(answer.pointee.kind.isWrite ? .ownerMoved : .ownerMovedRead))
    }
    metrics.count(.relayRetries)
    if frame.pointee.isLong {
      // Its value may still be lent to the connection: it waits from when that has let go of it.
      frame.pointee.again = (entry.token, version)
      return
    }
    let view = OperationView(frame.pointee.base + Int(entry.offset))
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: FrameLayout.padded(view.length), alignment: 16)
    bytes.copyMemory(from: UnsafeRawBufferPointer(start: view.base, count: bytes.count))
    second.append(
      SecondAttempt(
        token: entry.token, bytes: bytes, version: version, known: routes.version, since: monotonicMilliseconds))
  }

  /// Makes the second attempts that are due: when a newer topology is here, or after a moment if none was announced.
  mutating func makeSecondAttempts() {
    let all = second
    second = []
    for attempt in all {
      let age = monotonicMilliseconds - attempt.since
      let isRefreshed = routes.version > attempt.known && routes.version >= attempt.version
      if waiting.find(attempt.token) == nil {
        attempt.bytes.deallocate()
      } else if isRefreshed || (age >= UInt64(limits.linkRetry) && routes.version >= attempt.version) {
        run(attempt)
        attempt.bytes.deallocate()
      } else if age >= UInt64(limits.linkRefresh) || isShuttingDown {  // then no newer one comes
        answer(attempt.token, Outcome(.ownerMoved))
        attempt.bytes.deallocate()
      } else {
        second.append(attempt)
      }
    }
  }

  private mutating func run(_ attempt: SecondAttempt) {
    runBatch()
    let operation = frames.operations  // the batch is empty
    do { try read(attempt.bytes, into: operation) } catch { return answer(attempt.token, Outcome(error)) }
    operation.pointee.isRetry = true
    let place = Place(rawValue: place(of: operation))
    if place.rawValue < 0 {
      if let refusal = refusal(place, operation) { return refuse(attempt, operation, refusal) }
      write(operation, attempt.token, to: links[place.link!])
    } else {
      runHere(operation, attempt.token, core: place.rawValue)
    }
    scratch.reset()
  }

  /// Reads an operation that was kept as in a REQUEST; what it points to is in those bytes and in scratch memory.
  ///
  /// - Parameter value: where its value is.
  mutating func read(
    _ bytes: UnsafeMutableRawBufferPointer, value: HeldOperation.Value = .inBytes,
    into operation: UnsafeMutablePointer<Operation>
  ) throws(Problem) {
    let view = OperationView(bytes.baseAddress!)
    let record = view.record
    switch value {
    case .inBytes:
      try prepare(view, record, valueCount: record.length - record.valueStart, into: operation)
    case .staged(let staged):
      try prepare(view, record, valueCount: 0, into: operation)
      operation.pointee.staged = staged
    case .block(let block):
      try prepare(view, record, valueCount: 0, into: operation)
      operation.pointee.body = UnsafeRawBufferPointer(block)
    }
    if view.conditions != 0 || record.hasExpiry || view.operation.isIncrement {
      try prepareTerms(view, record, operation)
    }
  }

  /// A second attempt that can't be made now waits like a first one.
  private mutating func refuse(
    _ attempt: SecondAttempt, _ operation: UnsafePointer<Operation>, _ refusal: Outcome
  ) {
    guard mayHold(refusal, operation) else { return answer(attempt.token, refusal) }
    waiting.change(attempt.token, .owner, refusal)
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: attempt.bytes.count, alignment: 16)
    bytes.copyMemory(from: UnsafeRawBufferPointer(attempt.bytes))
    keep(
      HeldOperation(
        token: attempt.token, partition: operation.pointee.key.partition, isForwarded: false, isRetry: true,
        bytes: bytes))
  }

  /// The partition has become this node's in the meantime.
  mutating func runHere(_ operation: UnsafePointer<Operation>, _ token: WaitToken, core: Int) {
    guard let answer = waiting.remove(token) else { preconditionFailure("nobody waits for \(token)") }
    free(answer)
    if core != index { return forward(operation, to: core, answer.target.reply) }
    execute(operation, for: answer.target)
  }
}

/// An operation that a node didn't execute, because it isn't the owner or was lost before it got it, until it is
/// attempted once more.
struct SecondAttempt {
  var token: WaitToken
  /// The operation as in a REQUEST.
  var bytes: UnsafeMutableRawBufferPointer
  /// The version of the topology that the node announced, the one that was known here, and when that was (monotonic
  /// milliseconds).
  var version: UInt64
  var known: UInt64
  var since: UInt64
}

extension Problem {
  static var wrongOwner: Problem {
    Problem(421, "Not applied: this node does not own the key's partition, and the request has been sent on before.")
  }
  static var noOwner: Problem {
    Problem(503, "Not applied: the key's partition has no owner at the moment. Try again shortly.", passes: true)
  }
  static var ownerUnreachable: Problem {
    Problem(
      503, "Not applied: the node that owns the key can't be reached from here. Try again shortly.", passes: true)
  }
  static var ownerBusy: Problem {
    Problem(503, "Not applied: too much waits for the node that owns the key. Try again shortly.")
  }
  static var ownerMoved: Problem {
    Problem(503, "Not applied: the key's partition is moving to another node. Try again shortly.")
  }
  static var ownerMovedRead: Problem {
    Problem(503, "The key's partition is moving to another node. Try again shortly.")
  }
  static var tooLongForOwner: Problem {
    Problem(413, "Not applied: the operation is longer than the node that owns the key takes (limits.frame).")
  }
  static var linkLost: Problem {
    Problem(
      504,
      "Unknown: the connection to the node that owns the key broke. Read the key, or retry with an Idempotency-Key.")
  }
}
