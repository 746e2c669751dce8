import Wire

/// One HTTP connection of a core, in a flat table indexed by `ConnectionID.index`.
///
/// Input is parsed where the reactor received it; only what is incomplete at the end of a turn is copied to `input`.
/// Output goes to chunks. A connection is `open`, then perhaps `draining` (its last answer is sent, the client may
/// still be sending, RFC 9112 section 9.6), then `closing` until the reactor has nothing of it in flight.
struct Connection {
  enum State: UInt8 { case free, open, draining, closing }

  /// What the connection waits for from its client; chooses the time-out.
  enum Phase: UInt8 { case idle, head, body }

  var id: ConnectionID
  var state: State
  var phase: Phase = .idle
  /// No further request is taken: after `Connection: close` or an error.
  var isLast = false
  /// The client sends no more; what it asked for is still answered.
  var hasEnded = false
  var isPaused = false
  /// Has output to flush at the end of this turn.
  var isDirty = false
  /// Where the templates of its last plain GET and PUT are, and how many heads since then fitted none.
  var getTemplate: UInt8 = 0
  var putTemplate: UInt8 = 0
  var templateMisses: UInt8 = 0
  /// Among the core's `borrowers`.
  var isBorrower = false
  /// The value being received, or the one before, was lent for already.
  var wasLent = false
  /// Parsing stopped with complete requests perhaps still in `input`.
  var isBlocked = false
  /// Monotonic milliseconds: the last byte received or taken by the client, and the start of the current phase.
  var activity: UInt64
  /// Operations of its batches that other cores or nodes are to answer.
  var elements: UInt32 = 0
  var phaseStart: UInt64
  /// Monotonic milliseconds: when the send in flight was handed over.
  var sendStart: UInt64 = 0
  var output = Output()
  var input = ByteQueue()
  /// What makes it a connection of the `--peer` port; nil for HTTP.
  var peer: UnsafeMutablePointer<PeerState>?
  /// The request whose body is being received.
  var body: UnsafeMutablePointer<BodyState>?
  /// Where the reactor was asked to put the next bytes: memory of a staged value, lent until bytes came.
  var lent: UnsafeMutableRawPointer?
  /// That staged value, if it was given up meanwhile.
  var orphan: UnsafeMutablePointer<StagedValue>?

  /// A slot without a tenant.
  static var free: Connection {
    var connection = Connection(id: ConnectionID(index: 0, generation: 0), now: 0)
    connection.state = .free
    return connection
  }

  init(id: ConnectionID, now: UInt64) {
    self.id = id
    state = .open
    activity = now
    phaseStart = now
  }
}

/// Received bytes that can't be parsed yet: a growable buffer whose consumed front is given up lazily.
struct ByteQueue {
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  private(set) var count = 0

  /// The bytes, valid until the next append or removal.
  var bytes: UnsafeRawPointer? { UnsafeRawPointer(base) }

  @inline(__always) var isEmpty: Bool { count == 0 }

  mutating func append(_ bytes: UnsafeRawPointer, _ added: Int) {
    if count + added > capacity { reserve(count + added) }
    (base! + count).copyMemory(from: bytes, byteCount: added)
    count += added
  }

  /// Drops the first `removed` bytes and frees the buffer when nothing is left.
  mutating func removeFirst(_ removed: Int) {
    precondition(removed <= count, "removing more than is there")
    count -= removed
    if count == 0 {
      removeAll()
    } else if removed > 0 {
      base!.copyMemory(from: base! + removed, byteCount: count)
    }
  }

  /// Takes over an allocated buffer to grow into; only an empty queue that has none does.
  mutating func adopt(_ buffer: UnsafeMutableRawPointer, capacity wanted: Int) {
    precondition(base == nil && count == 0, "a queue has one buffer")
    base = buffer
    capacity = wanted
  }

  /// Drops all bytes and hands the buffer over if it is one of `wanted` bytes; frees any other.
  mutating func release(capacity wanted: Int) -> UnsafeMutableRawPointer? {
    guard capacity == wanted, let buffer = base else {
      removeAll()
      return nil
    }
    base = nil
    capacity = 0
    count = 0
    return buffer
  }

  mutating func removeAll() {
    base?.deallocate()
    base = nil
    capacity = 0
    count = 0
  }

  private mutating func reserve(_ wanted: Int) {
    let larger = max(2048, wanted + wanted / 2)
    let fresh = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
    if let base {
      fresh.copyMemory(from: base, byteCount: count)
      base.deallocate()
    }
    base = fresh
    capacity = larger
  }
}

/// A request whose head is complete and whose body isn't: a copy of the head, and where the body goes.
struct BodyState {
  var head: RequestHead
  /// A copy of the head's bytes; `head` is relative to it.
  var headBytes: UnsafeMutableRawPointer
  /// The extent of the log that a value is received into.
  var staged: StagedValue?
  /// Other bodies (patches, batches, settings, small values) wait in memory of their own.
  var collected = ByteQueue()
  /// Bytes the body may have in all.
  var limit: Int
  /// Bytes still to come; for chunked bodies the decoder knows.
  var remaining: Int
  var decoder = ChunkedDecoder()
  var received = 0
  var isComplete = false
  /// Monotonic nanoseconds when the head came.
  var started: UInt64

  init(
    head: RequestHead, headBytes: UnsafeMutableRawPointer, staged: StagedValue?, limit: Int, remaining: Int,
    started: UInt64
  ) {
    self.head = head
    self.headBytes = headBytes
    self.staged = staged
    self.limit = limit
    self.remaining = remaining
    self.started = started
  }
}
