import Wire

/// Whom an operation's outcome goes to: a gap, an element of a gather or a frame's operation, on this core or on the
/// one that mailed the operation here.
struct AnswerTarget {
  var reply: ReplyTarget
  var core: Int
}

/// An answer that waits. It names nothing any more once the answer was given, so a late word about it does no harm.
package struct WaitToken: Equatable, Hashable, Sendable {
  /// The slot plus one, and the slot's generation above it; 0 for none.
  package let rawValue: UInt64

  init(rawValue: UInt64) { self.rawValue = rawValue }

  init(slot: Int, generation: UInt32) { rawValue = UInt64(generation) << 32 | UInt64(slot + 1) }

  var slot: Int { Int(truncatingIfNeeded: rawValue & 0xFFFF_FFFF) - 1 }
  var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) }
}

/// What an answer waits for.
enum WaitReason: UInt8 {
  /// The write was executed here; its concern isn't met yet.
  case concern
  /// The operation was sent to the node that owns its partition.
  case forward
  /// The owner has executed the write; this node's own copy doesn't have it yet.
  case copy
  /// The owner has executed the write; it is held by enough nodes as soon as this node's own copy has it, or when the
  /// owner says so.
  case granted
  /// The operation isn't executed: its partition has no owner who takes it now.
  case owner
  /// The value was read here; it isn't certain yet that no newer one was acknowledged elsewhere, or that a majority has
  /// it.
  case read
  /// The read isn't executed yet: this node's copy doesn't have the revision that it asks for.
  case revision
  /// The write of a cached value was executed here; other nodes may have copies of the one before.
  case copies
}

/// An answer that can't be given yet.
struct WaitingAnswer {
  var target: AnswerTarget
  var reason: WaitReason
  var kind: OperationKind
  var partition: PartitionID
  /// Monotonic milliseconds when whoever asked is told that the outcome is unknown.
  var deadline: UInt64
  /// When it began to wait, in monotonic milliseconds.
  var since: UInt64
  /// What is answered once the concern is met; its value is a copy of its own, freed with the slot.
  var outcome: Outcome
  /// What keeps the outcome's value, if that isn't a copy.
  var pin = Pin.none
  /// Of a plain put to this core: its outcome is a status and a revision, nothing else, and so is all of its answer.
  fileprivate(set) var isPlain = false
  fileprivate var generation: UInt32
  /// Neighbours in the wheel's bucket, or the next free slot; -1 for none.
  fileprivate var next: Int32
  fileprivate var previous: Int32
  fileprivate var isUsed: Bool
}

/// All answers of a core that wait, and a hashed timing wheel (Varghese and Lauck, 1987, scheme 6) over their
/// deadlines: adding and removing take constant time, since nearly all are removed long before.
struct WaitingAnswers: ~Copyable {
  private var slots: UnsafeMutablePointer<WaitingAnswer>
  private var capacity = 64
  private var used = 0
  private var free: Int32 = -1
  /// How many wait.
  private(set) var count = 0
  private var buckets: [Int32]
  /// The last tick of the wheel that was looked at.
  private var tick: UInt64 = 0

  /// Buckets, and milliseconds each stands for: a turn of the wheel takes two seconds.
  private static var bucketCount: Int { 256 }
  private static var tickMilliseconds: UInt64 { 8 }

  init() {
    slots = .allocate(capacity: capacity)
    buckets = [Int32](repeating: -1, count: Self.bucketCount)
  }

  deinit {
    for slot in 0..<used where slots[slot].isUsed && slots[slot].pin.kind == .none {
      slots[slot].outcome.value.deallocate()
    }
    slots.deallocate()
  }

  /// Adds an answer; `outcome`'s value is copied, unless it is pinned.
  mutating func add(
    _ target: AnswerTarget, _ reason: WaitReason, _ operation: OperationKind, _ partition: PartitionID,
    deadline: UInt64, now: UInt64, outcome: Outcome, pin: Pin = .none
  ) -> WaitToken {
    if count == 0 { tick = now / Self.tickMilliseconds }
    let slot = takeSlot()
    let generation = slots[slot].generation &+ 1
    slots[slot] = WaitingAnswer(
      target: target, reason: reason, kind: operation, partition: partition, deadline: max(deadline, now + 1),
      since: now, outcome: pin.kind == .none ? Self.copy(outcome) : outcome, pin: pin, generation: generation, next: -1,
      previous: -1, isUsed: true)
    link(slot)
    count += 1
    return WaitToken(slot: slot, generation: generation)
  }

  /// Adds the answer to a plain put, whose concern is met as soon as a majority has the revision.
  @inline(__always)
  mutating func addPlain(
    _ target: AnswerTarget, _ status: UInt16, _ revision: Revision, deadline: UInt64, now: UInt64
  ) -> WaitToken {
    if count == 0 { tick = now / Self.tickMilliseconds }
    let slot = takeSlot()
    let answer = slots + slot
    let generation = answer.pointee.generation &+ 1
    answer.pointee.target = target
    answer.pointee.reason = .concern
    answer.pointee.kind = .put
    answer.pointee.partition = revision.partition
    answer.pointee.deadline = max(deadline, now + 1)
    answer.pointee.since = now
    answer.pointee.outcome = Outcome(stored: status, revision)
    answer.pointee.pin = .none
    answer.pointee.isPlain = true
    answer.pointee.generation = generation
    answer.pointee.isUsed = true
    link(slot)
    count += 1
    return WaitToken(slot: slot, generation: generation)
  }

  /// Whether the answer to a plain put still waits: then it is for `removePlain`.
  @inline(__always)
  func isPlain(_ token: WaitToken) -> Bool { find(token)?.pointee.isPlain == true }

  /// Ends its waiting: whom it is for, its status and its revision.
  @inline(__always)
  mutating func removePlain(_ token: WaitToken) -> (ReplyTarget, UInt16, Revision) {
    let answer = slots + token.slot
    let outcome = (answer.pointee.target.reply, answer.pointee.outcome.status, answer.pointee.outcome.revision)
    end(token.slot)
    return outcome
  }

  /// The answer, while it waits: there until the next one is added or this one removed.
  @inline(__always)
  func find(_ token: WaitToken) -> UnsafePointer<WaitingAnswer>? {
    guard token.slot >= 0, token.slot < used else { return nil }
    let answer = UnsafePointer(slots + token.slot)
    return answer.pointee.isUsed && answer.pointee.generation == token.generation ? answer : nil
  }

  /// Makes it wait for something else.
  mutating func change(_ token: WaitToken, _ reason: WaitReason, _ outcome: Outcome) {
    guard find(token) != nil else { return }
    slots[token.slot].outcome.value.deallocate()
    slots[token.slot].outcome = Self.copy(outcome)
    slots[token.slot].reason = reason
  }

  /// Ends the waiting. The caller frees the outcome's value, or lets go of its pin.
  mutating func remove(_ token: WaitToken) -> WaitingAnswer? {
    guard let answer = find(token)?.pointee else { return nil }
    end(token.slot)
    return answer
  }

  @inline(__always)
  private mutating func end(_ slot: Int) {
    unlink(slot)
    slots[slot].isUsed = false
    slots[slot].next = free
    free = Int32(slot)
    count -= 1
  }

  /// When the wheel must be turned next, in monotonic milliseconds; nil while nothing waits.
  var deadline: UInt64? { count == 0 ? nil : (tick + 1) * Self.tickMilliseconds }

  /// Turns the wheel and answers who has waited too long.
  mutating func expired(now: UInt64) -> [WaitToken] {
    guard count > 0 else { return [] }
    let last = now / Self.tickMilliseconds
    guard last > tick else { return [] }
    var late: [WaitToken] = []
    var left = min(last - tick, UInt64(Self.bucketCount))
    tick = last - left
    while left > 0 {
      tick += 1
      left -= 1
      var slot = buckets[Int(tick % UInt64(Self.bucketCount))]
      while slot >= 0 {
        let answer = slots + Int(slot)
        if answer.pointee.deadline <= now {
          late.append(WaitToken(slot: Int(slot), generation: answer.pointee.generation))
        }
        slot = answer.pointee.next
      }
    }
    return late
  }

  private static func copy(_ outcome: Outcome) -> Outcome {
    var kept = outcome
    kept.isInLog = false
    if kept.contentType.literalCount > 0 { kept.contentType = RecordContentType() }
    guard outcome.value.count > 0 else {
      kept.value = UnsafeRawBufferPointer(start: nil, count: 0)
      return kept
    }
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: outcome.value.count, alignment: 8)
    block.copyMemory(from: outcome.value)
    kept.value = UnsafeRawBufferPointer(block)
    return kept
  }

  private mutating func takeSlot() -> Int {
    if free >= 0 {
      let slot = Int(free)
      free = slots[slot].next
      return slot
    }
    if used == capacity {
      let larger = UnsafeMutablePointer<WaitingAnswer>.allocate(capacity: capacity * 2)
      larger.moveInitialize(from: slots, count: used)
      slots.deallocate()
      slots = larger
      capacity *= 2
    }
    used += 1
    let nobody = ReplyTarget(connection: ConnectionID(index: 0, generation: 0), gap: nil, gather: 0, element: 0)
    (slots + used - 1).initialize(
      to: WaitingAnswer(
        target: AnswerTarget(reply: nobody, core: 0), reason: .concern, kind: .get, partition: PartitionID(0),
        deadline: 0, since: 0, outcome: Outcome(status: 500), generation: 0, next: -1, previous: -1, isUsed: false))
    return used - 1
  }

  // MARK: The wheel

  private func bucket(_ slot: Int) -> Int {
    // The tick at whose end the deadline has passed.
    let due = (slots[slot].deadline + Self.tickMilliseconds - 1) / Self.tickMilliseconds
    return Int(max(due, tick + 1) % UInt64(Self.bucketCount))
  }

  private mutating func link(_ slot: Int) {
    let bucket = bucket(slot)
    slots[slot].next = buckets[bucket]
    slots[slot].previous = -1 - Int32(bucket) - 1  // the bucket itself, below -1
    if buckets[bucket] >= 0 { slots[Int(buckets[bucket])].previous = Int32(slot) }
    buckets[bucket] = Int32(slot)
  }

  private mutating func unlink(_ slot: Int) {
    let (next, previous) = (slots[slot].next, slots[slot].previous)
    if next >= 0 { slots[Int(next)].previous = previous }
    if previous >= 0 {
      slots[Int(previous)].next = next
    } else {
      buckets[Int(-2 - previous)] = next
    }
  }
}
