import Wire

/// What a connection of the `--peer` port has beside what every connection has.
///
/// A REQUEST's operations are executed here or sent to the cores that own their keys; the answers of those come in any
/// order. `pending` has the requests, oldest first, that wait for other cores, so that it is known up to which id
/// everything has been applied.
struct PeerState {
  /// What the checksums of received and of sent frames are seeded with; `.none` until both sides have greeted.
  var incoming = FrameBinding.none
  var outgoing = FrameBinding.none
  var isGreeted = false
  /// The link that this connection is; -1 for one that was accepted.
  var link = -1
  /// The other side is a node: what it relays is executed here or nowhere.
  var isNode = false
  /// Which node, if it is one.
  var node = NodeID.none
  /// Its slot among the members, where that was looked up.
  var slot = MemberSlot.max
  /// The keyed handshake, until both sides have proved that they know the key.
  var handshake: FrameHandshake?
  /// The last request all of whose operations were taken, and how many operations that makes in all.
  var lastID: UInt64 = 0
  var operations: UInt64 = 0
  /// Of a request that had to stop in the middle because of a bound: where it goes on, in bytes from the frame's start,
  /// and the index of that operation. 0 while no request is unfinished.
  var resumeOffset = 0
  var resumeIndex = 0
  /// Whether the unfinished request has operations that ask for an ACK.
  var hasAck = false
  /// The last request that has such operations, and the id of the last ACK.
  var wantedAck: UInt64 = 0
  var sentAck: UInt64 = 0
  var isAckDue = false
  var pending = PendingRequests()
  /// Why the connection ends, while answers of other cores are still to come.
  var farewell: CloseReason?
  /// The value that is being received behind its frame.
  var long: UnsafeMutablePointer<LongValue>?
  /// The record whose value is being received behind its frame.
  var record: UnsafeMutablePointer<LongRecord>?
  /// The chunk whose tail is a page that results are being added to, that page, and how many bytes it has. Only while
  /// the chunk is the output's last and still has that tail.
  var pageChunk: UnsafeMutablePointer<Chunk>?
  var page: UnsafeMutableRawPointer?
  static var pageCount: Int { 64 << 10 }
  /// Bytes of `input` that are counted in `Core.collectedBytes`.
  var counted = 0

  /// A value is being received behind a frame of the other side's.
  var isInValue: Bool { long != nil || record != nil }

  /// Everything up to this request has been applied, and how many operations that is.
  var applied: (id: UInt64, operations: UInt64) {
    if let first = pending.first { return (first.id - 1, first.operationsBefore) }
    return (lastID, operations)
  }
}

/// A request some of whose operations other cores execute.
struct PendingRequest {
  var id: UInt64
  /// Operations of the requests before it.
  var operationsBefore: UInt64
  /// Operations that have not come back.
  var remaining: Int
  /// Monotonic nanoseconds when the first of them was sent.
  var started: UInt64
}

/// The requests of a connection that wait for other cores, in the order of their ids. Bounded by
/// `Limits.pendingOperations`.
struct PendingRequests {
  private var items: [PendingRequest] = []
  private var head = 0
  /// The number of the item at `head`; numbers go up from 1 and name an item in mail.
  private var firstNumber: UInt64 = 1

  var isEmpty: Bool { head == items.count }
  var first: PendingRequest? { head < items.count ? items[head] : nil }

  /// Notes one more operation of the request, which is the newest, and returns the request's number.
  mutating func add(_ id: UInt64, operationsBefore: UInt64, now: UInt64) -> UInt64 {
    if head < items.count, items[items.count - 1].id == id {
      items[items.count - 1].remaining += 1
    } else {
      items.append(
        PendingRequest(id: id, operationsBefore: operationsBefore, remaining: 1, started: now))
    }
    return firstNumber + UInt64(items.count - 1 - head)
  }

  /// The request of this number, which must wait still.
  subscript(number: UInt64) -> PendingRequest { items[head + Int(number - firstNumber)] }

  /// An operation of the request came back; whether the oldest requests are complete by that.
  mutating func finish(_ number: UInt64) -> Bool {
    let index = head + Int(number - firstNumber)
    precondition(items[index].remaining > 0, "an answer too many")
    items[index].remaining -= 1
    guard index == head, items[head].remaining == 0 else { return false }
    while head < items.count, items[head].remaining == 0 {
      head += 1
      firstNumber += 1
    }
    if head == items.count {
      items.removeAll(keepingCapacity: items.capacity < 1024)
      head = 0
    } else if head > 512 {
      items.removeFirst(head)
      head = 0
    }
    return true
  }
}

/// A put whose value follows its frame: a copy of the frame, and where the value goes.
struct LongValue {
  /// A copy of the frame; it ends where the value starts.
  var frame: UnsafeMutableRawPointer
  /// The extent that the value is received into; nil when it is only skipped, because `problem` says why.
  var staged: StagedValue?
  /// A value that isn't stored as it is waits in a block of its own, `filled` bytes so far.
  var collected: UnsafeMutableRawPointer?
  var filled = 0
  var problem: Problem?
  var remaining: Int
  /// Monotonic nanoseconds when the frame came.
  var started: UInt64
}

/// An operation of a frame in the batch: who asked, and how to answer. The operation lies beside it.
struct FrameEntry {
  var connection: UnsafeMutablePointer<Connection>
  /// The request, and the operation's place in it.
  var id: UInt64
  var index: UInt16
  var answer: AnswerLevel
  /// The core that owns the key's partition.
  var core: Int32
  /// Operations of the requests before this one.
  var operationsBefore: UInt64
}

/// What a core needs for frames: the batch of operations, and the REPLY that is being written.
struct FrameBatch: ~Copyable {
  let operations: UnsafeMutablePointer<Operation>
  let entries: UnsafeMutablePointer<FrameEntry>
  var count = 0
  /// As `Core.fetches`.
  let fetches: UnsafeMutablePointer<Fetch>
  /// The REPLY being written behind the bytes of a connection's last chunk, or behind those of the chunk's tail; it
  /// belongs to the connection only when it is sealed. Nothing else may be written to the connection before.
  var reply: UnsafeMutablePointer<Connection>?
  var replyChunk: UnsafeMutablePointer<Chunk>?
  /// Where it starts, the room there is, and the bytes it has.
  var replyBase: UnsafeMutableRawPointer?
  var replyRoom = 0
  var replyID: UInt64 = 0
  var replyCount = 0
  var replyEnd = 0
  /// Connections that get an ACK when the turn ends.
  var ackDue: [UInt32] = []
  /// Connections greeted so far.
  var greeted: UInt64 = 0
  /// Nonces drawn so far.
  var nonces: UInt64 = 0
  /// Buffers for frames that arrive in parts, each of `blockCount` bytes: a few are kept, since the system would hand
  /// out fresh pages for each frame.
  private var blocks: [UnsafeMutableRawPointer] = []
  let blockCount: Int
  private static var keptBlocks: Int { 16 }
  /// Pages for results that are kept for the same reason, 4 MiB of them.
  private var pages: [UnsafeMutableRawPointer] = []
  private static var keptPages: Int { 64 }

  /// - Parameter frame: bytes of the longest frame.
  init(frame: Int) {
    // What is kept when a connection stops in the middle of a frame may be that and one receive more.
    blockCount = frame + (32 << 10)
    operations = .allocate(capacity: Core.batchCapacity)
    entries = .allocate(capacity: Core.batchCapacity)
    fetches = Fetch.allocate(batch: Core.batchCapacity)
  }

  deinit {
    operations.deallocate()
    entries.deallocate()
    Fetch.deallocate(fetches)
    for block in blocks { block.deallocate() }
    for page in pages { page.deallocate() }
  }

  /// Gives an empty queue a buffer for a whole frame.
  mutating func giveBlock(_ input: inout ByteQueue) {
    let block = blocks.popLast() ?? UnsafeMutableRawPointer.allocate(byteCount: blockCount, alignment: 64)
    input.adopt(block, capacity: blockCount)
  }

  /// Empties a queue and takes its buffer back.
  mutating func takeBlock(_ input: inout ByteQueue) {
    guard let block = input.release(capacity: blockCount) else { return }
    if blocks.count < Self.keptBlocks { blocks.append(block) } else { block.deallocate() }
  }

  /// A page for results.
  mutating func givePage() -> UnsafeMutableRawPointer {
    pages.popLast() ?? UnsafeMutableRawPointer.allocate(byteCount: PeerState.pageCount, alignment: 64)
  }

  /// Takes a page back.
  mutating func takePage(_ page: UnsafeRawPointer?) {
    guard let page = UnsafeMutableRawPointer(mutating: page) else { return }
    if pages.count < Self.keptPages { pages.append(page) } else { page.deallocate() }
  }

  /// Whether there is something to run or to seal.
  @inline(__always) var isBusy: Bool { count > 0 || reply != nil }
}
