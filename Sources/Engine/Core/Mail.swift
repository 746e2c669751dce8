import Wire

/// What one core tells another.
enum MailKind: UInt32 {
  /// Execute this operation: `MailRequest`, then its bytes.
  case request = 1
  /// What became of it: `MailReply`, then the value's bytes unless it is pinned.
  case reply
  /// A segment that was sent from may be reused: its number.
  case unpin
  /// Pages lent for a staged value are free again: their range.
  case release
  /// A part of a question to all cores: `GatherRequest`, then its bytes.
  case gather
  /// The answer: `GatherReply`, then its bytes.
  case gathered
  /// What another node says of one of the receiver's partitions: the node's slot in 8 bytes, then a section.
  case replicate
  /// A long record whose value was staged: `MailRecord`, then its section.
  case replicateLong
  /// An answer of the sender's waits until the receiver's copy has a revision: `CopyRequest`.
  case awaitCopy
  /// It has: the `WaitToken`.
  case copied
}

/// The front of every message: its whole length in bytes, a multiple of eight, and its kind.
struct MailHeader {
  var length: UInt32
  var kind: UInt32

  static var count: Int { 8 }
}

/// Who waits for an operation's outcome: a gap in a connection's output, or an element of a gather.
struct ReplyTarget {
  var connection: ConnectionID
  var gap: UnsafeMutablePointer<Chunk>?
  var gather: UInt32
  var element: UInt32
  /// The number of the frame that waits, or 0; `element` is then a `FrameTarget`.
  var frame: UInt64 = 0
}

/// An operation for the core that owns its key. The operation's pointers are set anew by the reader; the bytes follow
/// in the order map, key, body, content type, If-Match, If-None-Match, pointer, idempotency key.
struct MailRequest {
  var target: ReplyTarget
  var sender: UInt32
  /// The body is a heap block that the reader frees, because it is too large for a mailbox.
  var isBoxed: Bool
  var operation: Operation

  /// Bytes of it that travel if the operation is plain.
  static let plainCount = MemoryLayout<MailRequest>.offset(of: \.operation)! + Operation.plainCount

  /// Whether no more of it than that has come.
  @inline(__always)
  static func isPlain(_ payload: UnsafeRawPointer) -> Bool {
    let start = payload + MemoryLayout<MailRequest>.offset(of: \.operation)!
    return Operation.isPlain(start.assumingMemoryBound(to: Operation.self))
  }
}

/// An operation's outcome; the value follows, or stays pinned in the sender's log.
struct MailReply {
  var target: ReplyTarget
  var pin: Pin
  var outcome: Outcome
}

/// A range of the process-wide reservation in bytes from its start.
struct MailRange {
  var offset: Int
  var count: Int
}

/// The messages that one core has written for another in this turn: a growable buffer that the turn's owner moves into
/// the mailbox between the two. What doesn't fit there stays; `isFull` then refuses new operations.
package struct Outbox {
  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  private var start = 0
  private var end = 0

  init() {
    capacity = 1 << 14
    base = .allocate(byteCount: capacity, alignment: 16)
  }

  /// Whether messages wait.
  package var isEmpty: Bool { start == end }

  /// The next messages, as many whole ones as `limit` bytes hold but one at least, or nil.
  func first(atMost limit: Int) -> UnsafeRawBufferPointer? {
    guard start < end else { return nil }
    if end - start <= limit { return UnsafeRawBufferPointer(start: base + start, count: end - start) }
    var count = Int(base.load(fromByteOffset: start, as: MailHeader.self).length)
    while start + count < end {
      let next = Int(base.load(fromByteOffset: start + count, as: MailHeader.self).length)
      if count + next > limit { break }
      count += next
    }
    return UnsafeRawBufferPointer(start: base + start, count: count)
  }

  /// Takes the first `count` bytes off, which are whole messages.
  mutating func removeFirst(_ count: Int) {
    precondition(count <= end - start, "removing more mail than there is")
    start += count
    if start == end {
      start = 0
      end = 0
    }
  }

  /// Bytes that wait.
  var count: Int { end - start }

  /// Room for a message with `count` bytes of payload; the payload starts behind the header.
  mutating func begin(_ kind: MailKind, _ count: Int) -> UnsafeMutableRawPointer {
    let length = (MailHeader.count + count + 7) & ~7
    if end + length > capacity { grow(length) }
    let message = base + end
    message.storeBytes(of: MailHeader(length: UInt32(length), kind: kind.rawValue), as: MailHeader.self)
    end += length
    return message + MailHeader.count
  }

  /// Posts one trivial value.
  mutating func post<Payload: BitwiseCopyable>(_ kind: MailKind, _ payload: Payload) {
    begin(kind, MemoryLayout<Payload>.size).storeBytes(of: payload, as: Payload.self)
  }

  private mutating func grow(_ length: Int) {
    let larger = max(capacity, (end - start + length) * 2)
    let fresh = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
    fresh.copyMemory(from: base + start, byteCount: end - start)
    base.deallocate()
    base = fresh
    capacity = larger
    end -= start
    start = 0
  }

  func deallocate() { base.deallocate() }
}
