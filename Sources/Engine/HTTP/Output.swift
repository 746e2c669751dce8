import Wire

/// What keeps a chunk's tail alive until it is sent.
struct Pin {
  enum Kind: UInt8 {
    case none
    /// A segment of the log of `core`, pinned there.
    case segment
    /// A heap block that is the chunk's own.
    case heap
    /// A page of results of frames, which goes back to `FrameBatch`.
    case page
    /// The same, of which the first bytes, a frame's head, precede the tail.
    case frameRest
    /// A heap block whose bytes are counted in `Core.collectedBytes`.
    case counted
    /// A frame on its way over a link, held by `Chunk.frame`.
    case frame
  }

  var kind: Kind
  var core: UInt16
  var segment: UInt32

  static var none: Pin { Pin(kind: .none, core: 0, segment: 0) }
  static var page: Pin { Pin(kind: .page, core: 0, segment: 0) }
  static var heap: Pin { Pin(kind: .heap, core: 0, segment: 0) }
}

/// One page of a connection's output: a header, then response bytes, then optionally a slice of the log that follows
/// them.
///
/// A *gap* is a chunk whose answer is still being made (by another core, or by several): everything behind it waits, so
/// that pipelined answers leave in the order of their requests (RFC 9112 section 9.3.2).
struct Chunk {
  var next: UnsafeMutablePointer<Chunk>?
  var isGap: Bool
  /// For a gap: how to write the answer once it is there.
  var isHead: Bool
  var keepAlive: Bool
  var isHTTP10: Bool
  var route: Route
  var count: Int32
  var tail: UnsafeRawPointer?
  var tailCount: Int
  /// Bytes of the tail that were handed to the reactor.
  var tailSent: Int
  var pin: Pin
  /// Whose memory the tail is, if its pin says that it is a frame's.
  var frame: UnsafeMutablePointer<LinkFrame>?
  /// Monotonic nanoseconds when the request came, for a gap.
  var started: UInt64

  /// Bytes of a page and of the answers that fit into it; a batch of sixteen pipelined answers with 100-byte values
  /// takes about 4 KiB.
  static var pageCount: Int { 8192 }
  static var headerCount: Int { 96 }
  /// Bytes of a tail that go into one send: small enough that the loop isn't held up while the kernel copies them and
  /// that a client's progress shows, large enough that the send's own cost doesn't.
  static var tailPiece: Int { 512 << 10 }
  static var capacity: Int { pageCount - headerCount }
}

extension UnsafeMutablePointer where Pointee == Chunk {
  /// Where the chunk's bytes start.
  @inline(__always) var bytes: UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(self) + Chunk.headerCount
  }

  /// The room left behind the bytes.
  @inline(__always) var room: Int { Chunk.capacity &- Int(pointee.count) }
}

/// The chunks of one core: a free list over slabs. Its size is bounded by connections times `Limits.unsentBytes`.
struct ChunkPool: ~Copyable {
  private var free: UnsafeMutablePointer<Chunk>?
  private var slabs: [UnsafeMutableRawPointer] = []
  /// Chunks handed out and not yet given back.
  private(set) var used = 0
  private static var slabChunks: Int { 16 }
  /// Bytes from a chunk to the next: were it a power of two, then what is used of all, their first lines, would fall
  /// into a few sets of the processor's caches.
  private static var stride: Int { Chunk.pageCount + 5 * 64 }

  init() {
    precondition(MemoryLayout<Chunk>.size <= Chunk.headerCount)
  }

  deinit {
    for slab in slabs { slab.deallocate() }
  }

  /// An empty chunk that isn't a gap.
  @inline(__always) mutating func take() -> UnsafeMutablePointer<Chunk> {
    if free == nil { addSlab() }
    let chunk = free.unsafelyUnwrapped
    free = chunk.pointee.next
    used &+= 1
    chunk.initialize(
      to: Chunk(
        next: nil, isGap: false, isHead: false, keepAlive: true, isHTTP10: false, route: .other, count: 0, tail: nil,
        tailCount: 0, tailSent: 0, pin: .none, frame: nil, started: 0))
    return chunk
  }

  /// Takes a chunk back; its pin must have been released.
  @inline(__always) mutating func give(_ chunk: UnsafeMutablePointer<Chunk>) {
    chunk.pointee.next = free
    free = chunk
    used &-= 1
  }

  private mutating func addSlab() {
    let slab = UnsafeMutableRawPointer.allocate(byteCount: Self.stride * Self.slabChunks, alignment: 64)
    slabs.append(slab)
    for index in (0..<Self.slabChunks).reversed() {
      let chunk = (slab + index * Self.stride).bindMemory(to: Chunk.self, capacity: 1)
      chunk.pointee.next = free
      free = chunk
    }
  }
}

/// What a connection has yet to send, in order; the first chunk that isn't a gap may be in flight.
struct Output {
  var first: UnsafeMutablePointer<Chunk>?
  var last: UnsafeMutablePointer<Chunk>?
  /// The chunk the reactor is sending, already taken off the list.
  var inFlight: UnsafeMutablePointer<Chunk>?
  /// Answers that are still being made.
  var gaps: Int32 = 0
  /// Bytes that wait, without those in flight.
  var unsent: Int = 0

  var isEmpty: Bool { first == nil && inFlight == nil }

  /// Puts a chunk at the end.
  @inline(__always) mutating func append(_ chunk: UnsafeMutablePointer<Chunk>) {
    if let last { last.pointee.next = chunk } else { first = chunk }
    last = chunk
  }

  /// Takes the first chunk off, which must exist.
  @inline(__always) mutating func removeFirst() -> UnsafeMutablePointer<Chunk> {
    let chunk = first.unsafelyUnwrapped
    first = chunk.pointee.next
    if first == nil { last = nil }
    chunk.pointee.next = nil
    return chunk
  }
}
