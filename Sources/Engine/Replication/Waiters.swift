import Wire

/// Writes that wait to be held by others, in order of their offsets. Their number is bounded by that of the requests
/// that may be under way.
package struct Waiters: Sendable {
  private struct Waiter: Sendable {
    let offset: Offset
    let concern: WriteConcern
    let token: UInt64
  }

  /// Those at majority are answered in their order: a queue, of which those before `head` are gone.
  private var majority: [Waiter] = []
  private var head = 0
  /// The others, each on its own.
  private var others: [Waiter] = []

  /// Whether nobody waits.
  package var isEmpty: Bool { head == majority.count && others.isEmpty }
  /// Whether anyone waits at another concern than majority.
  package var hasOthers: Bool { !others.isEmpty }
  /// How many wait.
  package var count: Int { majority.count - head + others.count }

  mutating func add(_ concern: WriteConcern, _ offset: Offset, _ token: UInt64) {
    let waiter = Waiter(offset: offset, concern: concern, token: token)
    if concern == .majority { majority.append(waiter) } else { others.append(waiter) }
  }

  mutating func takeMajority(upTo offset: Offset, _ answer: (UInt64) -> Void) {
    while head < majority.count, majority[head].offset <= offset {
      answer(majority[head].token)
      head += 1
    }
    if head == majority.count {
      majority.removeAll(keepingCapacity: majority.capacity <= 1024)
      head = 0
    } else if head > 512, head * 2 > majority.count {
      majority.removeFirst(head)
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
    for waiter in majority[head...] { answer(waiter.token) }
    for waiter in others { answer(waiter.token) }
    self = Waiters()
  }
}
