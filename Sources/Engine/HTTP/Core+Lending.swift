import Wire

// Large values are received where they stay: the reactor is lent the next bytes of the staged value for what comes next
// (`Effect.receive`), so that nothing copies them but the kernel. A loan ends with the next bytes, which may also have
// come elsewhere because they were on their way already, and then are copied. A value that is given up meanwhile keeps
// its memory until the loan ends. Loans are made when the turn ends: until then more bytes may come.
extension Core {
  /// Bytes of a value from which lending begins: fewer come with those that are on their way.
  private static var lendingMinimum: Int { 64 << 10 }

  /// Notes a connection that is in the middle of a body.
  mutating func askForLoan(_ connection: UnsafeMutablePointer<Connection>) {
    if connection.pointee.isBorrower { return }
    connection.pointee.isBorrower = true
    borrowers.append(connection.pointee.id.index)
  }

  /// Lends each borrower what the value it receives still lacks.
  mutating func lendToBorrowers() {
    for index in borrowers {
      connections[Int(index)].isBorrower = false
      lend(connections + Int(index))
    }
    borrowers.removeAll(keepingCapacity: true)
  }

  /// Values that lack little aren't worth it, unless the reactor is at it already.
  private mutating func lend(_ connection: UnsafeMutablePointer<Connection>) {
    guard connection.pointee.state == .open, !connection.pointee.isLast, !connection.pointee.hasEnded,
      connection.pointee.lent == nil, connection.pointee.input.isEmpty, let (room, remaining) = roomOfValue(connection),
      connection.pointee.wasLent || remaining >= Core.lendingMinimum
    else {
      connection.pointee.wasLent = false
      return
    }
    connection.pointee.wasLent = true
    connection.pointee.lent = room
    effects.append(.receive(connection.pointee.id, into: room, count: remaining))
  }

  /// Where the next bytes of the value being received go, and how many bytes it lacks; nil if that isn't known.
  private func roomOfValue(_ connection: UnsafeMutablePointer<Connection>) -> (UnsafeMutableRawPointer, Int)? {
    if let long = connection.pointee.peer?.pointee.long {
      return long.pointee.staged.map { ($0.writePointer, long.pointee.remaining) }
    }
    if let long = connection.pointee.peer?.pointee.record {
      return long.pointee.staged.map { ($0.writePointer, long.pointee.remaining) }
    }
    guard let body = connection.pointee.body, !body.pointee.head.chunked else { return nil }
    return body.pointee.staged.map { ($0.writePointer, body.pointee.remaining) }
  }

  /// Memory that was lent is the value's again.
  @inline(__always)
  mutating func endLoan(_ connection: UnsafeMutablePointer<Connection>) {
    if connection.pointee.lent == nil { return }
    connection.pointee.lent = nil
    if connection.pointee.orphan != nil { discardOrphan(connection) }
  }

  @inline(never)
  private mutating func discardOrphan(_ connection: UnsafeMutablePointer<Connection>) {
    guard let orphan = connection.pointee.orphan else { return }
    connection.pointee.orphan = nil
    discard(orphan.pointee)
    orphan.deallocate()
  }

  /// Gives up a staged value whose memory may be lent.
  mutating func discard(_ staged: StagedValue, of connection: UnsafeMutablePointer<Connection>) {
    guard connection.pointee.lent != nil else { return discard(staged) }
    precondition(connection.pointee.orphan == nil, "a loan is of one value")
    let orphan = UnsafeMutablePointer<StagedValue>.allocate(capacity: 1)
    orphan.initialize(to: staged)
    connection.pointee.orphan = orphan
  }
}
