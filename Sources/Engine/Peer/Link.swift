import Wire

/// One core's way to another node: a connection that this core opens, over which it sends operations on to their owner
/// and gets the results.
///
/// ```
///            dial           connected        WELCOME
///   waiting ------> dialing ---------> greeting ------> up
///      ^               |                  |             |
///      +---------------+------------------+-------------+   the connection fails, is closed, or stays silent
/// ```
///
/// Operations go to the `open` frame, which is sealed and handed over at the end of the turn, or later while the
/// connection has much to send: then it fills further, so that a slow node gets fewer and larger frames. A frame stays
/// until all its operations are answered, so that one that wasn't executed can be sent elsewhere.
struct Link {
  enum State: UInt8 { case waiting, dialing, greeting, up }

  let node: NodeID
  /// Where it is dialed; `.none` while the topology doesn't know that.
  var address: PeerAddress
  /// Its number among the core's links.
  let index: Int
  var state = State.waiting
  /// The node is still a member; otherwise the link ends with what is under way, and the slot is free then.
  var isWanted = true
  /// The connection, from dialing on.
  var connection: ConnectionID?
  /// Connections that came up so far.
  var sessions: UInt64 = 0
  /// Attempts that failed since the link was up last.
  var failures = 0
  /// When the state was entered, when to dial again, when something was heard last and when a PING was sent; monotonic
  /// milliseconds.
  var since: UInt64 = 0
  var retryAt: UInt64 = 0
  var heard: UInt64 = 0
  var pinged: UInt64 = 0
  /// The other side's limits.
  var frameLimit = 0
  var nextID: UInt64 = 1
  /// Frames that aren't handed over yet, the last one open, and those that are and wait for results, by id.
  var queue: [UnsafeMutablePointer<LinkFrame>] = []
  var flight: [UnsafeMutablePointer<LinkFrame>?] = []
  var flightStart: UInt64 = 1
  /// Bytes of all frames, and operations that wait for results.
  var bytes = 0
  var operations = 0
  /// The value of a result that is being received behind its frame.
  var value: LinkValue?

  init(_ node: NodeID, _ address: PeerAddress, index: Int) {
    self.node = node
    self.address = address
    self.index = index
  }

  /// Whether its slot isn't free: for a member, or for one that has left and still answers.
  var isInUse: Bool { isWanted || connection != nil }

  /// Whether nothing is waited for.
  var isAnswered: Bool { operations == 0 && value == nil }

  /// The frame of this id that still waits for results.
  func frame(_ id: UInt64) -> UnsafeMutablePointer<LinkFrame>? {
    guard id >= flightStart, id - flightStart < UInt64(flight.count) else { return nil }
    return flight[Int(id - flightStart)]
  }

  /// Frees its frames and what is received, when the core ends with operations under way.
  mutating func freeFrames() {
    for case let frame? in queue + flight {
      frame.pointee.deallocate()
      frame.deallocate()
    }
    value?.block?.deallocate()
  }

  /// Forgets answered frames at the front.
  mutating func trim() {
    var done = 0
    while done < flight.count, flight[done] == nil { done += 1 }
    // In pieces, so that a long flight isn't moved for each frame.
    guard done > 0, done == flight.count || done >= 256 else { return }
    flight.removeFirst(done)
    flightStart += UInt64(done)
  }
}

extension UnsafeMutablePointer where Pointee == Link {
  /// Whether operations may go to it: it is up, or there is no sign that it couldn't soon be. Asked of the place, since
  /// each operation that is passed on would copy the link to ask it of that.
  var isUsable: Bool {
    pointee.isWanted && (pointee.state == .up || (pointee.failures == 0 && pointee.address != .none))
  }
}

/// A REQUEST on its way to another node: the frame's memory, and who waits for each of its operations.
struct LinkFrame {
  /// An operation: who waits, and where it starts.
  struct Entry {
    var token: WaitToken
    var offset: UInt32
    /// It was sent before, to a node that didn't execute it.
    var isRetry: Bool
    var isDone: Bool
  }

  var id: UInt64 = 0
  /// The frame's memory and its bytes so far, head included.
  let base: UnsafeMutableRawPointer
  let capacity: Int
  var end = FrameLayout.headCount
  /// Operations, and those that have no result yet.
  var count = 0
  var remaining = 0
  private(set) var entries: UnsafeMutablePointer<Entry>
  private var entryCapacity = 16
  /// The value that follows the frame: staged for a log, or a block of the frame's own.
  var staged: StagedValue?
  var block: UnsafeMutableRawPointer?
  var valueCount = 0
  var isLong = false
  /// Of a long operation that wasn't executed and is to be sent once more: who waits, and the version of the topology
  /// that is to be known before.
  var again: (token: WaitToken, version: UInt64)?
  /// What keeps it: its link, and each chunk of output that points into it.
  var holds = 1

  /// Bytes of an ordinary frame; a larger operation gets a frame of its own.
  static var blockCount: Int { 64 << 10 }

  init(capacity: Int) {
    self.capacity = capacity
    base = .allocate(byteCount: capacity, alignment: 64)
    entries = .allocate(capacity: entryCapacity)
  }

  /// Adds an operation that was written at `end` and takes `room` bytes.
  mutating func add(_ token: WaitToken, room: Int, isRetry: Bool) {
    if count == entryCapacity { growEntries() }
    (entries + count).initialize(
      to: Entry(token: token, offset: UInt32(end), isRetry: isRetry, isDone: false))
    end += room
    count += 1
    remaining += 1
  }

  private mutating func growEntries() {
    let larger = UnsafeMutablePointer<Entry>.allocate(capacity: entryCapacity * 4)
    larger.moveInitialize(from: entries, count: count)
    entries.deallocate()
    entries = larger
    entryCapacity *= 4
  }

  /// Frees its memory but not the staged value.
  func deallocate() {
    base.deallocate()
    entries.deallocate()
    block?.deallocate()
  }
}

/// The value behind a REPLY while it is received.
struct LinkValue {
  var token: WaitToken
  var status: UInt16
  var staleness: Staleness
  var revision: Revision
  /// The record up to its value.
  var prefix: [UInt8]
  /// Where the value goes, behind `lead` bytes for the prefix if whoever waits wants the record; nil to skip it,
  /// because nobody waits any more or memory is short.
  var block: UnsafeMutableRawPointer?
  var lead: Int
  var filled = 0
  var count: Int
  let hash = HashStream()
}
