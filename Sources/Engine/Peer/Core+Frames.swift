import Wire

// From received bytes to frames, and what is done with each.
extension Core {
  /// Makes an accepted connection one that speaks frames.
  mutating func becomePeer(_ connection: UnsafeMutablePointer<Connection>) {
    let peer = UnsafeMutablePointer<PeerState>.allocate(capacity: 1)
    peer.initialize(to: PeerState())
    connection.pointee.peer = peer
    enter(connection, .head)
  }

  /// The connection is gone.
  mutating func freePeer(_ connection: UnsafeMutablePointer<Connection>) {
    guard let peer = connection.pointee.peer else { return }
    abandonLongValue(connection, peer)
    abandonLongRecord(connection, peer)
    collectedBytes -= peer.pointee.counted
    connection.pointee.peer = nil
    peer.deinitialize(count: 1)
    peer.deallocate()
  }

  /// Bytes came; they stay unchanged until the turn ends. Whole frames are taken where they lie; only what is
  /// incomplete is copied, and of what comes then no more than completes it.
  mutating func receiveFrames(
    _ connection: UnsafeMutablePointer<Connection>, _ bytes: UnsafeRawPointer, _ count: Int
  ) {
    let peer = connection.pointee.peer!
    var used = 0
    while used < count && isTaking(connection) {
      if connection.pointee.isBlocked {
        connection.pointee.input.append(bytes + used, count - used)
        used = count
      } else if !connection.pointee.input.isEmpty {
        let piece = min(count - used, missing(connection.pointee.input))
        connection.pointee.input.append(bytes + used, piece)
        used += piece
        takeKeptFrames(connection)
      } else {
        used += takeFrames(connection, bytes + used, count - used)
        if used < count && isTaking(connection) {
          if count - used > 4096 { frames.giveBlock(&connection.pointee.input) }
          connection.pointee.input.append(bytes + used, count - used)
          used = count
        }
      }
    }
    boundKept(connection, peer)
  }

  /// Takes the frames that were kept, as far as it goes, and answers them at once: their bytes don't outlive this call.
  mutating func takeKeptFrames(_ connection: UnsafeMutablePointer<Connection>) {
    runBatch()
    while isTaking(connection), let bytes = connection.pointee.input.bytes {
      let used = takeFrames(connection, bytes, connection.pointee.input.count)
      runBatch()
      guard connection.pointee.state == .open else { return }
      if used == connection.pointee.input.count {
        frames.takeBlock(&connection.pointee.input)
      } else {
        connection.pointee.input.removeFirst(used)
      }
      if used == 0 { break }
    }
    if connection.pointee.isLast { connection.pointee.input.removeAll() }
    if connection.pointee.hasEnded { endFrames(connection) }
    if connection.pointee.state == .open { boundKept(connection, connection.pointee.peer!) }
  }

  /// The client sends no more: a frame that isn't whole will never be.
  mutating func endFrames(_ connection: UnsafeMutablePointer<Connection>) {
    guard isTaking(connection), !connection.pointee.isBlocked else { return }
    if !connection.pointee.input.isEmpty || connection.pointee.peer!.pointee.isInValue {
      refuse(connection, .truncated)
    }
  }

  @inline(__always)
  private func isTaking(_ connection: UnsafeMutablePointer<Connection>) -> Bool {
    connection.pointee.state == .open && !connection.pointee.isLast
  }

  /// How many bytes the frame that was kept lacks: first those that say its length.
  private func missing(_ input: ByteQueue) -> Int {
    guard input.count >= 8, let bytes = input.bytes else { return 8 - input.count }
    return max(1, FrameView(bytes).length - input.count)
  }

  /// Bytes of incomplete frames are bounded over all connections.
  private mutating func boundKept(
    _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    guard connection.pointee.input.count != peer.pointee.counted else { return }
    collectedBytes += connection.pointee.input.count - peer.pointee.counted
    peer.pointee.counted = connection.pointee.input.count
    if collectedBytes > limits.collectedBytes && isTaking(connection) && !connection.pointee.isBlocked {
      refuse(connection, .overloaded)
    }
  }

  /// Takes whole frames, and values behind them, and returns how many bytes that were. Stops before an incomplete
  /// frame, at a bound (perhaps in the middle of a request, which then stays), and behind the last frame.
  private mutating func takeFrames(
    _ connection: UnsafeMutablePointer<Connection>, _ bytes: UnsafeRawPointer, _ count: Int
  ) -> Int {
    let peer = connection.pointee.peer!
    var used = 0
    while used < count {
      if peer.pointee.long != nil {
        used &+= receiveLongValue(connection, peer, bytes + used, count &- used)
        if !isTaking(connection) { return count }
        continue
      }
      if peer.pointee.record != nil {
        used &+= receiveLongRecord(connection, peer, bytes + used, count &- used)
        if !isTaking(connection) { return count }
        continue
      }
      if peer.pointee.link >= 0, links[peer.pointee.link].pointee.value != nil {
        used &+= receiveLinkValue(connection, links[peer.pointee.link], bytes + used, count &- used)
        if !isTaking(connection) { return count }
        continue
      }
      if isShuttingDown && peer.pointee.resumeOffset == 0 && peer.pointee.link < 0 {
        refuse(connection, .goingDown)
        return count
      }
      if mustWait(connection) || (standing.gate != .open && mustWaitForCluster(peer, bytes + used, count &- used)) {
        block(connection)
        break
      }
      let limit = frameLimit(peer)
      switch FrameView.read(bytes + used, count &- used, limit: limit) {
      case .incomplete:
        if used > 0 { enter(connection, .idle) }  // another frame than the one that was waited for
        enter(connection, .head)
        return used
      case .refused(let reason):
        refuse(connection, peer.pointee.isGreeted ? reason : .noGreeting)
        return count
      case .whole: break
      }
      let frame = FrameView(bytes + used)
      if standing.gate == .refusesAll && frame.kind == .request && peer.pointee.isGreeted {
        refuse(connection, .overloaded)
        return count
      }
      let isDone = take(frame, connection, peer)
      if !isTaking(connection) { return count }
      guard isDone else { break }
      used &+= frame.length
    }
    enter(connection, peer.pointee.isInValue ? .body : .idle)
    return used
  }

  /// Whether the frame has requests that wait for the cluster; what nodes say among themselves never does.
  private mutating func mustWaitForCluster(
    _ peer: UnsafeMutablePointer<PeerState>, _ bytes: UnsafeRawPointer, _ count: Int
  ) -> Bool {
    // A node that relays knows the cluster; it is told what this one can't do yet, and tries once more.
    guard peer.pointee.isGreeted, !peer.pointee.isNode, count >= 8 else { return false }
    return FrameView(bytes).kind == .request && mustFramesWaitForCluster()
  }

  /// Bytes of the longest frame that is taken now.
  @inline(__always)
  private func frameLimit(_ peer: UnsafeMutablePointer<PeerState>) -> Int {
    if peer.pointee.link < 0 { return peer.pointee.isGreeted ? limits.frame : Greeting.keyedHelloCount }
    // A result may be as long as the longest value that an edit makes, whatever the other node's limit for that is.
    return peer.pointee.isGreeted ? max(limits.frame, 17 << 20) : CloseFrame.maximumCount
  }

  /// Takes one whole frame; false when a request stopped in the middle.
  @inline(__always)
  private mutating func take(
    _ frame: FrameView, _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) -> Bool {
    if peer.pointee.resumeOffset > 0 { return takeOperations(frame, connection, peer) }
    metrics.count(.framesReceived)
    guard peer.pointee.isGreeted else {
      peer.pointee.link < 0 ? greet(frame, connection, peer) : takeWelcome(frame, connection, peer)
      return true
    }
    guard frame.isIntact(peer.pointee.incoming) else {
      refuse(connection, .badChecksum)
      return true
    }
    guard frame.kind == .request && peer.pointee.link < 0 else {
      takeOther(frame, connection, peer)
      return true
    }
    guard frame.id == peer.pointee.lastID &+ 1 else {
      refuse(connection, .outOfOrder)
      return true
    }
    guard frame.checkOperations(), !frame.isForwarded || peer.pointee.isNode else {
      refuse(connection, .malformed)
      return true
    }
    if frame.isLong {
      beginLongValue(frame, connection, peer)
      return true
    }
    peer.pointee.resumeOffset = FrameLayout.headCount
    peer.pointee.resumeIndex = 0
    return takeOperations(frame, connection, peer)
  }

  /// Everything that isn't a request.
  @inline(never)
  private mutating func takeOther(
    _ frame: FrameView, _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    if frame.isForwarded { return refuse(connection, .malformed) }
    let isLinks = peer.pointee.link >= 0
    if isLinks && (frame.kind == .reply || frame.kind == .close) { return takeLinkFrame(frame, connection, peer) }
    if frame.kind == .replicate && peer.pointee.isNode {
      let isSound =
        frame.isLong
        ? beginLongRecord(frame, connection, peer) : takeReplication(frame, from: peer)
      if !isSound { refuse(connection, .malformed) }
      return
    }
    if frame.isLong || frame.count > 0 { return refuse(connection, .malformed) }
    if isLinks && links[peer.pointee.link].pointee.connection == connection.pointee.id {
      links[peer.pointee.link].pointee.heard = monotonicMilliseconds
    }
    switch frame.kind {
    case .ping:
      guard frame.length == FrameLayout.headCount else { return refuse(connection, .malformed) }
      runBatch()
      let chunk = reserve(connection, FrameLayout.headCount)
      FrameLayout.seal(
        chunk.end, length: FrameLayout.headCount, .pong, id: frame.id, peer.pointee.outgoing)
      didWriteFrame(connection, chunk, FrameLayout.headCount)
    case .pong:
      guard frame.length == FrameLayout.headCount else { return refuse(connection, .malformed) }
    case .close:
      guard CloseFrame.read(frame) != nil else { return refuse(connection, .malformed) }
      runBatch()
      connection.pointee.isLast = true
      markDirty(connection)
    case .hello: refuse(connection, .noGreeting)
    case .request, .welcome, .reply, .ack, .proof, .replicate: refuse(connection, .unknownKind)
    }
  }

  // MARK: Greeting

  /// Answers HELLO.
  @inline(never)
  private mutating func greet(
    _ frame: FrameView, _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    if peer.pointee.handshake != nil { return takeProof(frame, connection, peer) }
    guard frame.kind == .hello else { return refuse(connection, .noGreeting) }
    let hello: Greeting
    do {
      hello = try Greeting(frame)
    } catch {
      return refuse(connection, error)
    }
    guard hello.sender != .any, hello.sender != selfID else { return refuse(connection, .role) }
    let isNode = hello.role == .peer
    guard hello.cluster == clusterID || (hello.cluster == .any && !isNode) else { return refuse(connection, .cluster) }
    guard hello.receiver == selfID || (hello.receiver == .any && !isNode) else {
      return refuse(connection, .destination)
    }
    // Clients prove nothing; a node proves that it knows the key, if there is one.
    guard (hello.nonce != nil) == (isNode && configuration.key != nil) else {
      return refuse(connection, .unauthenticated)
    }
    if isNode { peer.pointee.node = NodeID(high: hello.sender.high, low: hello.sender.low) }
    frames.greeted += 1
    var welcome = Greeting(
      role: .peer, cluster: clusterID, sender: selfID, receiver: hello.sender,
      session: frames.greeted * UInt64(coreCount) + UInt64(index),
      frameLimit: UInt32(limits.frame), valueLimit: UInt32(limits.value), keyLimit: UInt32(limits.key))
    let chunk = reserve(connection, Greeting.keyedWelcomeCount)
    if hello.nonce != nil, let key = configuration.key {
      welcome.nonce = nonce(connection.pointee.id, key)
      var handshake = FrameHandshake(hello: frame.base)
      welcome.writeKeyedWelcome(to: chunk.end, &handshake, key)
      peer.pointee.handshake = handshake
      let bindings = handshake.bindings(welcome, key)
      peer.pointee.incoming = bindings.toNode
      peer.pointee.outgoing = bindings.back
      return didWriteFrame(connection, chunk, Greeting.keyedWelcomeCount)  // and the PROOF is waited for
    }
    welcome.write(.welcome, to: chunk.end)
    didWriteFrame(connection, chunk, Greeting.frameCount)
    peer.pointee.isGreeted = true
    peer.pointee.isNode = isNode
    if isNode { peer.pointee.node = NodeID(high: hello.sender.high, low: hello.sender.low) }
    peer.pointee.incoming = welcome.incoming
    peer.pointee.outgoing = welcome.outgoing
    enter(connection, .idle)
  }

  /// The opener of a keyed connection answers the challenge.
  private mutating func takeProof(
    _ frame: FrameView, _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    guard let key = configuration.key, let handshake = peer.pointee.handshake, frame.kind == .proof,
      frame.isIntact(peer.pointee.incoming), let code = ProofFrame.code(frame),
      code.isEqual(to: handshake.code(.proof, key))
    else { return refuse(connection, .unauthenticated) }
    peer.pointee.handshake = nil
    peer.pointee.isGreeted = true
    peer.pointee.isNode = true
    enter(connection, .idle)
  }

  // MARK: Closing

  /// Ends a connection with a reason: what was executed is answered first, nothing more is taken.
  @inline(never)
  mutating func refuse(_ connection: UnsafeMutablePointer<Connection>, _ reason: CloseReason) {
    runBatch()
    guard isTaking(connection), let peer = connection.pointee.peer else { return }
    if reason.rawValue <= CloseReason.role.rawValue || reason == .unauthenticated { metrics.count(.badFrames) }
    abandonLongValue(connection, peer)
    abandonLongRecord(connection, peer)
    connection.pointee.isLast = true
    detach(connection)
    connection.pointee.activity = monotonicMilliseconds  // the client has its time to take the reason
    logClose(connection, peer.pointee.lastID, reason)
    peer.pointee.farewell = reason
    if connection.pointee.output.gaps == 0 { writeFarewell(connection, peer) }
  }

  /// Writes the last frame, once nothing else is to come.
  mutating func writeFarewell(
    _ connection: UnsafeMutablePointer<Connection>, _ peer: UnsafeMutablePointer<PeerState>
  ) {
    guard let reason = peer.pointee.farewell else { return }
    peer.pointee.farewell = nil
    writeAck(connection, peer)
    let chunk = reserve(connection, CloseFrame.maximumCount)
    let count = CloseFrame.write(reason, lastID: peer.pointee.lastID, to: chunk.end, peer.pointee.outgoing)
    didWriteFrame(connection, chunk, count)
  }

  /// A connection of frames is told that the node goes down, unless it is in the middle of something.
  mutating func leave(_ connection: UnsafeMutablePointer<Connection>) {
    guard let peer = connection.pointee.peer else { return }
    if peer.pointee.long == nil && !connection.pointee.isBlocked { refuse(connection, .goingDown) }
  }

  @inline(never)
  private mutating func logClose(_ connection: UnsafeMutablePointer<Connection>, _ id: UInt64, _ reason: CloseReason) {
    guard configuration.logLevel <= .debug else { return }
    var line: [UInt8] = []
    appendJSON("\"message\":\"connection refused\",\"type\":\"FRAME\",\"reason\":", to: &line)
    appendJSONString("\(reason)", to: &line)
    appendJSON(",\"detail\":", to: &line)
    appendJSONString("\(reason.sentence)", to: &line)
    appendJSON(",\"request\":", to: &line)
    appendJSONInteger(id, to: &line)
    appendJSON(",\"connection\":", to: &line)
    appendJSONInteger(Int64(connection.pointee.id.index), to: &line)
    let text = logScratch.copy(line)
    effects.append(.log(.debug, text.baseAddress!, count: text.count))
  }
}

extension CloseReason {
  /// What a connection that ends for an HTTP reason is told.
  init(_ problem: Problem) { self = problem.status == 408 ? .timeout : .overloaded }
}

extension UnsafeMutablePointer where Pointee == Chunk {
  /// Where the next bytes go.
  @inline(__always) var end: UnsafeMutableRawPointer { bytes + Int(pointee.count) }
}
