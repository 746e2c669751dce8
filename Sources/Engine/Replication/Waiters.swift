import Wire

/// Writes that wait to be held by others, in order of their offsets. Their number is bounded by that of the requests
/// that may be under way.
package struct Waiters: Sendable {
  private struct Waiter: Sendable {
    let offset: Offset
    let concern: WriteConcern
    let token: UInt64
  }

  /// Those at majority are answered in their order. The first one lies in place: most partitions have no other under
  /// way, and a list is a cache line that nothing else needs. Behind it a queue, of which those before `head` are gone.
  private var queue: [Waiter] = []
  private var first: (offset: Offset, token: UInt64)?
  /// How many there are in the queue.
  private var queued: UInt32 = 0
  private var head: UInt32 = 0
  /// The others, each on its own.
  private var others: [Waiter] = []

  /// Whether nobody waits.
  package var isEmpty: Bool { first == nil && others.isEmpty }
  /// Whether anyone waits at another concern than majority.
  package var hasOthers: Bool { !others.isEmpty }
  /// How many wait.
  package var count: Int { (first == nil ? 0 : 1) + Int(queued) + others.count }

  mutating func add(_ concern: WriteConcern, _ offset: Offset, _ token: UInt64) {
    let waiter = Waiter(offset: offset, concern: concern, token: token)
    if concern != .majority {
      others.append(waiter)
    } else if first == nil {
      first = (offset, token)
    } else {
      queue.append(waiter)
      queued += 1
    }
  }

  mutating func takeMajority(upTo offset: Offset, _ answer: (UInt64) -> Void) {
    guard let waiter = first, waiter.offset <= offset else { return }
    answer(waiter.token)
    first = nil
    if queued > 0 { takeQueued(upTo: offset, answer) }
  }

  private mutating func takeQueued(upTo offset: Offset, _ answer: (UInt64) -> Void) {
    while queued > 0 {
      let waiter = queue[Int(head)]
      head += 1
      queued -= 1
      guard waiter.offset <= offset else {
        first = (waiter.offset, waiter.token)
        break
      }
      answer(waiter.token)
    }
    if queued == 0 {
      queue.removeAll(keepingCapacity: queue.capacity <= 1024)
      head = 0
    } else if head > 512, Int(head) * 2 > queue.count {
      queue.removeFirst(Int(head))
      head = 0
    }
  }

  mutating func takeOthers(_ held: (WriteConcern) -> Offset, _ answer: (Offset, UInt64) -> Void) {
    others.removeAll { waiter in
      guard held(waiter.concern) >= waiter.offset else { return false }
      answer(waiter.offset, waiter.token)
      return true
    }
  }

  /// Nobody waits for this token any more. One at majority goes when its turn comes.
  mutating func remove(_ token: UInt64) { others.removeAll { $0.token == token } }

  /// All that wait, whose outcome nobody will know: the owner is deposed.
  mutating func takeAll(_ answer: (UInt64) -> Void) {
    if let first { answer(first.token) }
    for waiter in queue[Int(head)...] { answer(waiter.token) }
    for waiter in others { answer(waiter.token) }
    self = Waiters()
  }
}
