import Wire

// The life of links: dialing, greeting, staying alive, losing, dialing again.
extension Core {
  // MARK: What the owner of the core tells

  /// The owner has begun to connect, as `Effect.connect` asked: the connection is this one from now on. May be called
  /// between turns.
  package mutating func dialed(_ link: Int, _ id: ConnectionID) {
    let connection = occupy(id)
    let peer = UnsafeMutablePointer<PeerState>.allocate(capacity: 1)
    peer.initialize(to: PeerState())
    peer.pointee.link = link
    connection.pointee.peer = peer
    linkConnections += 1
    links[link].pointee.connection = id
  }

  /// The owner can't even begin to connect.
  package mutating func dialFailed(_ link: Int) {
    guard links[link].pointee.state == .dialing else { return }
    lose(link, .failed)
  }

  /// The connection stands: the node is greeted.
  package mutating func connected(_ id: ConnectionID) {
    guard let connection = connection(id), let link = link(of: connection), connection.pointee.state == .open
    else { return }
    guard links[link].pointee.connection == id, links[link].pointee.state == .dialing else { return close(connection) }
    links[link].pointee.state = .greeting
    links[link].pointee.since = monotonicMilliseconds
    let node = links[link].pointee.node
    var hello = Greeting(
      role: .peer, cluster: clusterID, sender: selfID, receiver: FrameID(high: node.high, low: node.low),
      frameLimit: UInt32(limits.frame), valueLimit: UInt32(limits.value), keyLimit: UInt32(limits.key))
    let chunk = reserve(connection, Greeting.keyedHelloCount)
    if let key = configuration.key {
      hello.nonce = nonce(id, key)
      connection.pointee.peer!.pointee.handshake = hello.writeKeyedHello(to: chunk.end)
      return didWriteFrame(connection, chunk, Greeting.keyedHelloCount)
    }
    hello.write(.hello, to: chunk.end)
    didWriteFrame(connection, chunk, Greeting.frameCount)
  }

  /// A number that was never used before and that nobody without the key could have foreseen: the key's code of what
  /// makes it unique, which is this process, this core, the connection and the time.
  mutating func nonce(_ id: ConnectionID, _ key: BeaconKey) -> FrameID {
    frames.nonces += 1
    let words = [
      selfID.high, selfID.low, UInt64(index), UInt64(id.index) << 32 | UInt64(id.generation), monotonic, wall,
      frames.nonces, linkChance.next(),
    ]
    let code = words.withUnsafeBytes { key.code($0) }
    return FrameID(high: code.first, low: code.last)
  }

  // MARK: Members

  /// Makes a link to a member, to be dialed when this turn ends.
  mutating func addLink(to member: Member) -> Int {
    let free = links.firstIndex { !$0.pointee.isInUse }
    let index = free ?? links.count
    let fresh = Link(NodeID(high: member.id.high, low: member.id.low), member.peer, index: index)
    if free != nil {
      links[index].pointee = fresh
    } else {
      let link = UnsafeMutablePointer<Link>.allocate(capacity: 1)
      link.initialize(to: fresh)
      links.append(link)
    }
    nextLinkTick = 0
    return index
  }

  /// The node is reached elsewhere than was known: a link that stands stays, another is dialed there at once.
  mutating func readdress(_ link: UnsafeMutablePointer<Link>, _ address: PeerAddress) {
    guard link.pointee.address != address else { return }
    link.pointee.address = address
    guard link.pointee.state == .waiting else { return }
    link.pointee.failures = 0
    link.pointee.retryAt = 0
    nextLinkTick = 0
  }

  /// The node isn't a member any more. Nothing else is asked of it, but a node that leaves has perhaps executed what it
  /// was asked before: its answers may be on their way, behind the news.
  mutating func removeLink(_ index: Int) {
    let link = links[index]
    link.pointee.isWanted = false
    for frame in link.pointee.queue {
      link.pointee.bytes -= frame.pointee.end - FrameLayout.headCount + frame.pointee.valueCount
      link.pointee.operations -= frame.pointee.remaining
      end(frame, isUnexecuted: true)
    }
    link.pointee.queue = []
    link.pointee.since = monotonicMilliseconds
    nextLinkTick = min(nextLinkTick, deadline(of: link))
    if link.pointee.state != .up || link.pointee.isAnswered { lose(index, .removed) }
  }

  // MARK: Time

  /// Dials, gives up and asks for signs of life, as the time says; notes when to look again.
  mutating func tickLinks() {
    let now = monotonicMilliseconds
    var next = UInt64.max
    for link in links where link.pointee.isInUse {
      tick(link, now)
      if link.pointee.isInUse { next = min(next, deadline(of: link)) }
    }
    nextLinkTick = next
  }

  private mutating func tick(_ link: UnsafeMutablePointer<Link>, _ now: UInt64) {
    switch link.pointee.state {
    case .waiting:
      guard now >= link.pointee.retryAt, !isShuttingDown, link.pointee.address != .none else { return }
      link.pointee.state = .dialing
      link.pointee.since = now
      effects.append(.connect(link: link.pointee.index, link.pointee.address))
    case .dialing, .greeting:
      if now >= link.pointee.since + UInt64(limits.linkGreeting) { lose(link.pointee.index, .silent) }
    case .up:
      if now >= link.pointee.heard + UInt64(limits.linkSilence) { return lose(link.pointee.index, .silent) }
      if !link.pointee.isWanted, now >= link.pointee.since + UInt64(limits.shutdownTimeout) {
        return lose(link.pointee.index, .removed)
      }
      let last = max(link.pointee.heard, link.pointee.pinged)
      guard now >= last + UInt64(limits.linkPing), let connection = connection(link.pointee.connection!),
        let peer = connection.pointee.peer
      else { return }
      link.pointee.pinged = now
      let chunk = reserve(connection, FrameLayout.headCount)
      FrameLayout.seal(chunk.end, length: FrameLayout.headCount, .ping, id: now, peer.pointee.outgoing)
      didWriteFrame(connection, chunk, FrameLayout.headCount)
    }
  }

  private func deadline(of link: UnsafeMutablePointer<Link>) -> UInt64 {
    switch link.pointee.state {
    case .waiting: isShuttingDown || link.pointee.address == .none ? .max : link.pointee.retryAt
    case .dialing, .greeting: link.pointee.since + UInt64(limits.linkGreeting)
    case .up:
      min(
        link.pointee.heard + UInt64(limits.linkSilence),
        link.pointee.isWanted ? .max : link.pointee.since + UInt64(limits.shutdownTimeout),
        max(link.pointee.heard, link.pointee.pinged) + UInt64(limits.linkPing))
    }
  }

  // MARK: Showing

  /// The state of this core's link to a node, in a word; nil for a node that has none.
  func linkState(of node: NodeID) -> String? {
    links.first { $0.pointee.isWanted && $0.pointee.node == node }.map { "\($0.pointee.state)" }
  }

  /// Links of this core that are up, or that should be.
  func linkCount(isUp: Bool) -> Int {
    links.count { $0.pointee.isWanted && ($0.pointee.state == .up) == isUp }
  }

  // MARK: Losing

  /// Why a link is lost: what its operations are told follows from how far they had come, not from this.
  enum LinkLoss {
    /// The connection failed or was closed.
    case failed
    /// Nothing was heard of the node for too long: it may be gone without a word.
    case silent
    /// The node left the cluster.
    case removed
  }

  /// Ends the link's connection. What was handed over and isn't answered has an unknown outcome; what wasn't handed
  /// over, or has an id above `executed`, was surely not executed and may be sent once more.
  ///
  /// - Parameter executed: the last request that the other side says it executed; nil if it says nothing.
  mutating func lose(_ index: Int, _ loss: LinkLoss, executed: UInt64? = nil) {
    let link = links[index]
    let id = link.pointee.connection
    if !link.pointee.isAnswered && executed == nil { logLost(link, loss) }
    if link.pointee.state == .up {
      metrics.count(.linksLost)
      link.pointee.failures = 0
    } else {
      if link.pointee.state != .waiting { metrics.count(.linksFailed) }
      link.pointee.failures += 1
    }
    link.pointee.connection = nil
    link.pointee.state = .waiting
    desk.hasLinkNews = true
    link.pointee.since = monotonicMilliseconds
    link.pointee.retryAt = monotonicMilliseconds + backoff(link.pointee.failures)
    nextLinkTick = min(nextLinkTick, link.pointee.retryAt)
    if let value = link.pointee.value { abandon(value, link) }
    let flight = link.pointee.flight
    let queue = link.pointee.queue
    link.pointee.flight = []
    link.pointee.flightStart = 1
    link.pointee.nextID = 1
    link.pointee.queue = []
    link.pointee.bytes = 0
    link.pointee.operations = 0
    for case let frame? in flight {
      end(frame, isUnexecuted: executed.map { frame.pointee.id > $0 } ?? false)
    }
    for frame in queue { end(frame, isUnexecuted: true) }
    guard let id, let connection = connection(id), connection.pointee.state != .closing else { return }
    loss == .silent ? abort(connection) : close(connection)
  }

  /// Answers what is open of a frame and lets go of it.
  private mutating func end(_ frame: UnsafeMutablePointer<LinkFrame>, isUnexecuted: Bool) {
    for position in 0..<frame.pointee.count where !frame.pointee.entries[position].isDone {
      let entry = frame.pointee.entries[position]
      if isUnexecuted {
        tryAgain(entry, of: frame, version: 0)
      } else {
        answer(entry.token, linkLost(entry.token))
      }
    }
    drop(frame)
  }

  /// Some that wait will be told that the outcome of what they asked is unknown: the log says why.
  @inline(never)
  private mutating func logLost(_ link: UnsafeMutablePointer<Link>, _ loss: LinkLoss) {
    guard configuration.logLevel <= .notice else { return }
    var line: [UInt8] = []
    appendJSON("\"message\":\"link lost with operations under way\",\"type\":\"LINK\",\"node\":", to: &line)
    appendJSONString("\(link.pointee.node)", to: &line)
    appendJSON(",\"reason\":", to: &line)
    appendJSONString("\(loss)", to: &line)
    appendJSON(",\"operations\":", to: &line)
    appendJSONInteger(Int64(link.pointee.operations), to: &line)
    appendJSON(",\"silent\":", to: &line)
    appendJSONInteger(Int64(monotonicMilliseconds - min(link.pointee.heard, monotonicMilliseconds)), to: &line)
    let text = logScratch.copy(line)
    effects.append(.log(.notice, text.baseAddress!, count: text.count))
  }

  /// Milliseconds before the next attempt: exponential with a cap, half of it by chance, so that nodes that lost each
  /// other together don't dial together.
  private mutating func backoff(_ failures: Int) -> UInt64 {
    let most = min(UInt64(limits.linkRetry) << UInt64(min(failures, 20)), UInt64(limits.linkRetryMost))
    return most / 2 + linkChance.below(most / 2 + 1)
  }

  /// One that holds a frame doesn't any more.
  mutating func drop(_ frame: UnsafeMutablePointer<LinkFrame>) {
    frame.pointee.holds -= 1
    guard frame.pointee.holds == 0 else { return }
    _ = hold(frame)
    if let staged = frame.pointee.staged { discard(staged) }
    frame.pointee.deallocate()
    frame.deinitialize(count: 1)
    frame.deallocate()
  }

  // MARK: Connections

  /// The link that a connection is, if it is one.
  func link(of connection: UnsafeMutablePointer<Connection>) -> Int? {
    guard let peer = connection.pointee.peer, peer.pointee.link >= 0 else { return nil }
    return peer.pointee.link
  }

  /// A connection is about to be closed: if it is a link's, the link is lost.
  mutating func unlink(_ connection: UnsafeMutablePointer<Connection>, executed: UInt64? = nil) {
    guard let link = link(of: connection), links[link].pointee.connection == connection.pointee.id else { return }
    lose(link, .failed, executed: executed)
  }

  /// The same for one that is closed later, behind a last frame.
  mutating func detach(_ connection: UnsafeMutablePointer<Connection>) {
    guard let link = link(of: connection), links[link].pointee.connection == connection.pointee.id else { return }
    links[link].pointee.connection = nil
    lose(link, .failed)
  }

  /// During a shutdown: links go when all connections that may need them have gone.
  mutating func closeLinksAtEnd() {
    guard linkConnections > 0, openConnections == linkConnections else { return }
    for link in links where link.pointee.connection != nil { lose(link.pointee.index, .removed) }
  }
}
