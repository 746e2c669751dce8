import Wire

// Clients that are too slow. Deadlines are kept lazily: a connection that is active only notes the time, and a sweep,
// at most four times a second and only when the earliest possible deadline has come, looks at all of them.
extension Core {
  /// Makes sure that connections are looked at no later than this (monotonic milliseconds).
  @inline(__always)
  mutating func schedule(_ time: UInt64) {
    if time < nextSweep { nextSweep = time }
  }

  /// Ends what has waited too long and notes the next deadline.
  mutating func sweepConnections() {
    let now = monotonicMilliseconds
    var next = UInt64.max
    forEachConnection { core, connection in
      guard let deadline = core.deadline(connection) else { return }
      if now >= deadline {
        core.timeOut(connection)
        if let later = core.deadline(connection) { next = min(next, max(later, now + 250)) }
      } else {
        next = min(next, deadline)
      }
    }
    nextSweep = next == .max ? .max : max(next, now + 250)
  }

  /// When this connection has waited long enough, in monotonic milliseconds; nil while it waits for us alone.
  private func deadline(_ connection: UnsafeMutablePointer<Connection>) -> UInt64? {
    let state = connection.pointee.state
    if state == .closing || state == .free { return nil }
    if state == .draining { return connection.pointee.phaseStart + UInt64(limits.lingerTimeout) }
    if connection.pointee.output.inFlight != nil { return connection.pointee.sendStart + UInt64(limits.sendTimeout) }
    if connection.pointee.output.gaps > 0 { return nil }
    switch connection.pointee.phase {
    case .idle: return connection.pointee.activity + UInt64(limits.idleTimeout)
    case .head: return connection.pointee.phaseStart + UInt64(limits.headTimeout)
    case .body: return connection.pointee.activity + UInt64(limits.bodyTimeout)
    }
  }

  /// The client had its time: an unfinished request is answered with 408, anything else is closed.
  private mutating func timeOut(_ connection: UnsafeMutablePointer<Connection>) {
    metrics.count(.timeouts)
    if connection.pointee.output.inFlight != nil { return abort(connection) }
    guard connection.pointee.state == .open, connection.pointee.output.isEmpty, !connection.pointee.isLast else {
      return close(connection)
    }
    switch connection.pointee.phase {
    case .idle: connection.pointee.peer == nil ? close(connection) : refuse(connection, .idle)
    case .head: fail(connection, .headTimeout, route: .other)
    case .body: fail(connection, .bodyTimeout, route: .other)
    }
  }
}
