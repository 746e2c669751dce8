import Wire

/// What a connection of the binary protocol knows.
struct FrameClient {
  /// Bytes of the longest frame that is taken; longer answers come as long values.
  static var frameLimit: Int { 1 << 20 }
  /// Room in a send buffer besides requests: the head of each frame, and greetings.
  static var overhead: Int { 4096 }

  /// What seeds the checksums of frames sent and received; known from WELCOME on.
  var outgoing = FrameBinding.none
  var incoming = FrameBinding.none
  var isWelcomed = false
  /// The id of the next REQUEST, and for each that is under way, by the low bits of its id, the number of its first
  /// request.
  var nextID: UInt64 = 1
  let firsts: UnsafeMutablePointer<Int>
  /// Requests that ACKs have covered.
  var acknowledged = 0
  /// The number of the first request that has not been handed to the kernel whole.
  var sent = 0
  /// Waits for the PONG that says that everything was executed.
  var isDraining = false
  /// Bytes of a long value still to skip.
  private var skip = 0
  /// The beginning of a frame whose end hasn't come.
  private var held: UnsafeMutablePointer<UInt8>?
  private var heldCount = 0

  private init(firsts: UnsafeMutablePointer<Int>, held: UnsafeMutablePointer<UInt8>?) {
    self.firsts = firsts
    self.held = held
  }

  init(ring: Int) { firsts = .allocate(capacity: ring) }

  func deallocate() {
    firsts.deallocate()
    held?.deallocate()
  }

  /// Starts over: the connection is a new one.
  mutating func reset() {
    self = FrameClient(firsts: firsts, held: held)
  }

  /// The next whole frame in `bytes[offset..<count]`, which `offset` is then behind; nil if the bytes ended first.
  ///
  /// The frame stays where it is until the next call.
  ///
  /// - Throws: `CloseReason` if the bytes are no frame.
  @inline(__always)
  mutating func next(
    _ bytes: UnsafePointer<UInt8>, _ count: Int, _ offset: inout Int
  ) throws(CloseReason) -> FrameView? {
    if skip > 0 {
      let taken = min(skip, count &- offset)
      skip &-= taken
      offset &+= taken
    }
    let left = count &- offset
    guard left > 0 else { return nil }
    if heldCount == 0 {
      switch FrameView.read(bytes + offset, left, limit: FrameClient.frameLimit) {
      case .whole:
        let frame = FrameView(bytes + offset)
        offset &+= frame.length
        return frame
      case .refused(let reason): throw reason
      case .incomplete: break
      }
    }
    return try nextHeld(bytes, count, &offset)
  }

  /// A frame that is cut in two: its bytes are collected.
  private mutating func nextHeld(
    _ bytes: UnsafePointer<UInt8>, _ count: Int, _ offset: inout Int
  ) throws(CloseReason) -> FrameView? {
    let memory = held ?? .allocate(capacity: FrameClient.frameLimit)
    held = memory
    while true {
      // First its first eight bytes, which say how long it is.
      let wanted = heldCount < 8 ? 8 : FrameView(memory).length
      let taken = min(wanted - heldCount, count - offset)
      (memory + heldCount).update(from: bytes + offset, count: taken)
      heldCount += taken
      offset += taken
      switch FrameView.read(memory, heldCount, limit: FrameClient.frameLimit) {
      case .refused(let reason): throw reason
      case .whole:
        heldCount = 0
        return FrameView(memory)
      case .incomplete: if offset == count { return nil }
      }
    }
  }

  /// The last frame was followed by so many bytes that aren't looked at.
  mutating func skipLongValue(_ count: Int) { skip = count }
}
