import Wire

// The way down. A client that keeps its connection can't know that the node goes down before an answer tells it
// (`Connection: close`): what it has sent by then is answered. Other nodes and clients of the binary protocol are told
// the last request that was executed, and send what came behind it elsewhere.

/// How far a node that goes down has come.
struct Shutdown {
  /// No new connections, and each answer is its connection's last one.
  var hasBegun = false
  /// Idle connections are closed as well.
  var closesIdle = false
  /// Until when clients of idle connections have time to ask once more (monotonic nanoseconds).
  var graceEnd: UInt64 = 0
  /// Bytes that the core had received when its last turn ended, and how many turns that bring some are waited for.
  var received: UInt64?
  var turns = 64
  /// When the core wants a turn for it, or looks again whether anybody is there (monotonic nanoseconds).
  var deadline = UInt64.max
  static var interval: UInt64 { 5_000_000 }
}

extension Core {
  /// No new requests: the node is going down.
  package var isShuttingDown: Bool { shutdown.hasBegun }
  /// Whether idle connections are closed as well, since what came before the end has been read.
  package var closesIdle: Bool { shutdown.closesIdle }

  /// Stops taking requests: connections are closed after their last answer, idle ones when nothing is left to read.
  /// Where other nodes go on, clients have `limits.leaveGrace` to ask once more and hear that they should go there.
  package mutating func beginShutdown() {
    guard !isShuttingDown else { return }
    runBatch()
    shutdown.hasBegun = true
    shutdown.graceEnd = isLeaving ? monotonic + UInt64(limits.leaveGrace) * 1_000_000 : 0
    if !closesIdle { shutdown.deadline = 0 }  // else everything was closed at once
    endPatience()
    forEachConnection { core, connection in
      guard connection.pointee.state == .open else { return }
      // What comes behind the last request that was executed is sent elsewhere by those who sent it.
      if core.link(of: connection) == nil && connection.pointee.peer != nil { core.leave(connection) }
    }
  }

  /// An idle connection may have a request in its socket that nobody would answer any more. So idle ones are closed
  /// behind a turn that began after the shutdown and brought nothing; once per turn.
  mutating func lookForLast() {
    let received = metrics.value(.receivedBytes)
    defer { shutdown.received = received }
    if monotonic < shutdown.graceEnd {
      guard monotonic >= shutdown.deadline else { return }
      shutdown.deadline = min(shutdown.graceEnd, monotonic + Shutdown.interval)
      if hasClients() { return }
      shutdown.graceEnd = 0
    }
    shutdown.deadline = 0
    shutdown.turns -= 1
    guard received == shutdown.received || shutdown.turns == 0 else { return }
    shutdown.closesIdle = true
    shutdown.deadline = .max
    forEachConnection { core, connection in
      guard connection.pointee.state == .open, connection.pointee.peer == nil else { return }
      let isIdle = connection.pointee.phase == .idle && connection.pointee.input.isEmpty
      if isIdle && connection.pointee.output.isEmpty { core.close(connection) }
    }
  }

  /// Whether somebody has a connection for HTTP that may bring another request.
  private mutating func hasClients() -> Bool {
    var found = false
    forEachConnection { _, connection in
      guard connection.pointee.state == .open, connection.pointee.peer == nil else { return }
      if !connection.pointee.isLast { found = true }
    }
    return found
  }

  /// Closes what is left when a shutdown has waited long enough.
  package mutating func closeAll() {
    shutdown.closesIdle = true
    shutdown.deadline = .max
    forEachConnection { core, connection in
      if connection.pointee.state != .closing { core.close(connection) }
    }
  }
}
