import Wire

// What comes back over a link: WELCOME, results, and the other side's CLOSE.
extension Core {
  /// Takes an intact frame that came over a link. A WELCOME is bound to nothing and was not checked yet.
  mutating func takeLinkFrame(
    _ frame: FrameView, _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    let link = links[peer.pointee.link]
    guard link.pointee.connection == connection.pointee.id else { return }
    link.pointee.heard = monotonicMilliseconds
    switch frame.kind {
    case .reply:
      takeReply(frame, connection, link)
      link.pointee.trim()
      endIfRemoved(link)
    case .close:
      guard CloseFrame.read(frame) != nil else { return refuse(connection, .malformed) }
      logClosed(frame, link)
      unlink(connection, executed: frame.id)
    case .ack: refuse(connection, .unknownKind)  // nothing asks for one
    default: refuse(connection, .malformed)
    }
  }

  /// The other side's first frame.
  mutating func takeWelcome(
    _ frame: FrameView, _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    let link = links[peer.pointee.link]
    guard link.pointee.connection == connection.pointee.id, link.pointee.state == .greeting else { return }
    if frame.kind == .close, frame.isIntact(.none) {
      logClosed(frame, link)
      return unlink(connection, executed: 0)
    }
    guard frame.kind == .welcome else { return refuse(connection, .noGreeting) }
    let welcome: Greeting
    do {
      welcome = try Greeting(frame)
    } catch {
      return refuse(connection, error)
    }
    let node = FrameID(high: link.pointee.node.high, low: link.pointee.node.low)
    guard welcome.version == Greeting.currentVersion else { return refuse(connection, .version) }
    guard welcome.role == .peer else { return refuse(connection, .role) }
    guard welcome.cluster == clusterID else { return refuse(connection, .cluster) }
    guard welcome.sender == node, welcome.receiver == selfID else { return refuse(connection, .destination) }
    guard welcome.frameLimit >= UInt32(4 << 10) else { return refuse(connection, .malformed) }
    peer.pointee.incoming = welcome.outgoing
    peer.pointee.outgoing = welcome.incoming
    guard configuration.key == nil && welcome.nonce == nil || prove(frame, welcome, connection, peer) else {
      return refuse(connection, .unauthenticated)
    }
    peer.pointee.isGreeted = true
    enter(connection, .idle)
    link.pointee.state = .up
    desk.hasLinkNews = true
    if !held.isEmpty { held.nextTry = 0 }
    link.pointee.sessions += 1
    link.pointee.failures = 0
    link.pointee.since = monotonicMilliseconds
    link.pointee.heard = monotonicMilliseconds
    link.pointee.pinged = 0
    link.pointee.frameLimit = Int(welcome.frameLimit)
    metrics.count(.linksOpened)
    nextLinkTick = min(nextLinkTick, monotonicMilliseconds + UInt64(limits.linkPing))
  }

  /// Checks that the other side knows the key, and shows that this one does.
  private mutating func prove(
    _ frame: FrameView, _ welcome: Greeting, _ connection: UnsafeMutablePointer<Connection>,
    _ peer: UnsafeMutablePointer<PeerState>
  ) -> Bool {
    guard let key = configuration.key, welcome.nonce != nil, var handshake = peer.pointee.handshake else {
      return false
    }
    peer.pointee.handshake = nil
    handshake.add(welcome: frame.base)
    guard handshake.code(.welcome, key).isEqual(to: Greeting.code(frame)) else { return false }
    let bindings = handshake.bindings(welcome, key)
    peer.pointee.incoming = bindings.back
    peer.pointee.outgoing = bindings.toNode
    let chunk = reserve(connection, ProofFrame.frameCount)
    ProofFrame.write(handshake.code(.proof, key), to: chunk.end, bindings.toNode)
    didWriteFrame(connection, chunk, ProofFrame.frameCount)
    return true
  }

  /// A link to a node that isn't a member any more ends with the last answer.
  @inline(__always)
  private mutating func endIfRemoved(_ link: UnsafeMutablePointer<Link>) {
    if !link.pointee.isWanted && link.pointee.isAnswered { lose(link.pointee.index, .removed) }
  }

  // MARK: Results

  private mutating func takeReply(
    _ frame: FrameView, _ connection: UnsafeMutablePointer<Connection>, _ link: UnsafeMutablePointer<Link>
  ) {
    guard let request = link.pointee.frame(frame.id) else { return refuse(connection, .malformed) }
    var cursor = ResultCursor(frame)
    while let result = cursor.next() {
      guard result.index < request.pointee.count, !request.pointee.entries[result.index].isDone else {
        return refuse(connection, .malformed)
      }
      if frame.isLong {
        guard result.length - result.record.valueStart <= limits.value else { return refuse(connection, .tooLong) }
        beginValue(result, request.pointee.entries[result.index].token, link)
      } else {
        guard take(result, request, link) else { return refuse(connection, .malformed) }
        if result.staleness == ResultLayout.granted { continue }
      }
      request.pointee.entries[result.index].isDone = true
      request.pointee.remaining -= 1
      link.pointee.operations -= 1
    }
    if cursor.isMalformed { return refuse(connection, .malformed) }
    guard request.pointee.remaining == 0 else { return }
    link.pointee.flight[Int(frame.id - link.pointee.flightStart)] = nil
    link.pointee.bytes -= request.pointee.end - FrameLayout.headCount + request.pointee.valueCount
    drop(request)
  }

  /// Gives a result to whoever waits for it; false if it contradicts itself.
  private mutating func take(
    _ result: ResultView, _ request: UnsafeMutablePointer<LinkFrame>, _ link: UnsafeMutablePointer<Link>
  ) -> Bool {
    let entry = request.pointee.entries[result.index]
    guard let body = result.bodyKind, result.status >= 200, HTTPStatus(rawValue: UInt16(result.status)) != nil
    else { return false }
    if result.status == 421 {
      tryAgain(entry, of: request, version: result.revision.offset.rawValue)
      return true
    }
    guard let answer = waiting.find(entry.token) else { return true }
    var outcome = Outcome(status: UInt16(result.status))
    if result.status >= 400 { outcome.problem = Problem(outcome.status, "") }
    if result.revision != FrameRevision.absent {
      outcome.hasRevision = true
      outcome.revision = result.revision
    }
    outcome.value = result.body
    outcome.staleness = answer.pointee.kind.isWrite ? .none : Staleness(rawValue: result.staleness) ?? .replica
    switch body {
    case .nothing, .sentence: break
    case .record:
      guard let record = try? RecordView(checking: result.body), record.length == result.length else { return false }
      show(record, &outcome)
      if maps.hasCaches {
        keepCopy(record.bytes, UnsafeRawBufferPointer(start: nil, count: 0), answer)
      }
      outcome.value = answer.pointee.target.reply.frame != 0 ? record.bytes : record.value
    case .mortalValue:
      guard result.length >= 8 else { return false }
      outcome.timeToLive = UInt64(littleEndian: result.body.baseAddress!.loadUnaligned(as: UInt64.self))
      outcome.value = UnsafeRawBufferPointer(rebasing: result.body[8...])
      fallthrough
    case .value:
      let isNumber = answer.pointee.kind == .increment
      outcome.contentType = RecordContentType(code: isNumber ? ContentType.plainText : ContentType.json)
    }
    if result.staleness == ResultLayout.granted {
      guard answer.pointee.kind.isWrite, outcome.status < 300, outcome.hasRevision,
        outcome.revision.partition == answer.pointee.partition
      else { return false }
      answerWhenHeld(entry.token, outcome)
    } else if answer.pointee.kind.isWrite && outcome.status < 300 && outcome.hasRevision {
      guard outcome.revision.partition == answer.pointee.partition else { return false }
      answerWhenCopied(entry.token, outcome)
    } else {
      self.answer(entry.token, outcome)
    }
    return true
  }

  /// What an HTTP answer says of a record beside its value.
  private func show(_ record: RecordView, _ outcome: inout Outcome) {
    outcome.contentType = record.contentType
    if record.expiry != 0 { outcome.timeToLive = max(1, record.expiry &- min(record.expiry, wall)) }
  }

  // MARK: Long values

  /// Starts to receive the value behind a REPLY. It is kept whole before it is passed on, so that a node that breaks
  /// off leaves no half answer behind; where memory for that is short it is skipped, and whoever waits is told.
  private mutating func beginValue(_ result: ResultView, _ token: WaitToken, _ link: UnsafeMutablePointer<Link>) {
    let record = result.record
    let start = record.valueStart
    let count = record.length - start
    let prefix = [UInt8](UnsafeRawBufferPointer(start: record.base, count: start))
    var value = LinkValue(
      token: token, status: UInt16(result.status), staleness: Staleness(rawValue: result.staleness) ?? .replica,
      revision: result.revision, prefix: prefix, block: nil, lead: 0, count: count)
    if let answer = waiting.find(token), collectedBytes + start + count <= limits.collectedBytes {
      value.lead = answer.pointee.target.reply.frame != 0 ? start : 0
      value.block = .allocate(byteCount: max(1, value.lead + count), alignment: 16)
      if value.lead > 0 {
        prefix.withUnsafeBytes { value.block!.copyMemory(from: $0.baseAddress!, byteCount: start) }
      }
      collectedBytes += value.lead + count
    }
    link.pointee.value = value
  }

  /// Takes bytes of the value and returns how many.
  mutating func receiveLinkValue(
    _ connection: UnsafeMutablePointer<Connection>, _ link: UnsafeMutablePointer<Link>, _ bytes: UnsafeRawPointer,
    _ count: Int
  ) -> Int {
    link.pointee.heard = monotonicMilliseconds
    var value = link.pointee.value!
    let used = min(count, value.count - value.filled)
    if let block = value.block {
      (block + value.lead + value.filled).copyMemory(from: bytes, byteCount: used)
      value.hash.update(bytes, count: used)
    }
    value.filled += used
    link.pointee.value = value
    if value.filled == value.count {
      finishValue(value, connection, link)
      endIfRemoved(link)
    }
    return used
  }

  private mutating func finishValue(
    _ value: LinkValue, _ connection: UnsafeMutablePointer<Connection>, _ link: UnsafeMutablePointer<Link>
  ) {
    link.pointee.value = nil
    let hash = value.hash.finish()
    guard let block = value.block else { return answer(value.token, Outcome(.overloaded)) }
    let total = value.lead + value.count
    value.prefix.withUnsafeBytes { prefix in
      let record = RecordView(prefix.baseAddress!)
      guard record.checksum == RecordLayout.checksum(record.base, valueStart: prefix.count, valueHash: hash) else {
        collectedBytes -= total
        block.deallocate()
        return refuse(connection, .badChecksum)
      }
      var outcome = Outcome(status: value.status)
      outcome.hasRevision = true
      outcome.staleness = value.staleness
      outcome.revision = value.revision
      outcome.value = UnsafeRawBufferPointer(start: block, count: total)
      if let answer = waiting.find(value.token) {
        show(record, &outcome)
        let whole = UnsafeRawBufferPointer(start: block + value.lead, count: value.count)
        if maps.hasCaches { keepCopy(prefix, whole, answer) }
      }
      answer(value.token, outcome, pin: Pin(kind: .counted, core: 0, segment: 0))
    }
  }

  /// The rest of a value will not come.
  mutating func abandon(_ value: LinkValue, _ link: UnsafeMutablePointer<Link>) {
    link.pointee.value = nil
    _ = value.hash.finish()
    if let block = value.block {
      collectedBytes -= value.lead + value.count
      block.deallocate()
    }
    answer(value.token, linkLost(value.token))
  }

  @inline(never)
  private mutating func logClosed(_ frame: FrameView, _ link: UnsafeMutablePointer<Link>) {
    guard configuration.logLevel <= .info, let close = CloseFrame.read(frame) else { return }
    var line: [UInt8] = []
    appendJSON("\"message\":\"link closed by its node\",\"type\":\"LINK\",\"node\":", to: &line)
    appendJSONString("\(link.pointee.node)", to: &line)
    appendJSON(",\"reason\":", to: &line)
    appendJSONInteger(Int64(close.reason), to: &line)
    appendJSON(",\"detail\":", to: &line)
    Wire.appendJSONString(close.sentence, to: &line)
    let text = logScratch.copy(line)
    effects.append(.log(.info, text.baseAddress!, count: text.count))
  }
}
