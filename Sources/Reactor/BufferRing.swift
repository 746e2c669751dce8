import CIOUring
import Glibc

/// The receive buffers the kernel picks from (io_uring_register_buf_ring), each `size` bytes.
///
/// All of them are reserved as address space, but few are handed out at first: the kernel takes them round-robin, so
/// the number handed out, not the number there could be, decides how much memory and cache receiving touches. A turn
/// that ran out doubles it.
struct BufferRing: ~Copyable {
  static var group: UInt16 { 0 }
  static var initiallyProvided: Int { 64 }

  let size: Int
  private let id: UInt16
  private let entries: Int
  private let buffers: MemoryRegion
  private let descriptors: MemoryRegion
  private(set) var provided = 0
  /// Written behind the ring's tail, not yet shown to the kernel.
  private var pending = 0
  /// The number handed out was raised since the last `publish`.
  private var hasGrown = false

  private var ring: UnsafeMutablePointer<io_uring_buf_ring> {
    descriptors.base.assumingMemoryBound(to: io_uring_buf_ring.self)
  }

  /// - Parameters:
  ///   - count: a power of two.
  ///   - group: the ring's number, by which submissions name it.
  init(size: Int, count: Int, group: UInt16 = BufferRing.group) throws(ReactorError) {
    let buffers = try MemoryRegion.reserve(size * count, hugePages: false)
    descriptors = try MemoryRegion.reserve(count * MemoryLayout<io_uring_buf>.stride, hugePages: false)
    self.buffers = buffers
    self.size = size
    entries = count
    id = group
  }

  /// Tells the kernel of the ring and hands out the first buffers; 0 or -errno.
  mutating func register(with kernel: UnsafeMutablePointer<io_uring>) -> Int32 {
    var registration = io_uring_buf_reg()
    registration.ring_addr = UInt64(UInt(bitPattern: descriptors.base))
    registration.ring_entries = UInt32(entries)
    registration.bgid = id
    let result = io_uring_register_buf_ring(kernel, &registration, 0)
    guard result == 0 else { return result }
    io_uring_buf_ring_init(ring)
    provide(min(Self.initiallyProvided, entries))
    publish()
    return 0
  }

  @inline(__always) func buffer(_ id: Int) -> UnsafeMutablePointer<UInt8> {
    (buffers.base + id &* size).assumingMemoryBound(to: UInt8.self)
  }

  /// Puts a buffer the kernel filled behind the ring's tail, for the next `publish`.
  @inline(__always) mutating func give(_ id: Int) {
    io_uring_buf_ring_add(
      ring, buffer(id), UInt32(truncatingIfNeeded: size), UInt16(truncatingIfNeeded: id),
      Int32(truncatingIfNeeded: entries &- 1), Int32(truncatingIfNeeded: pending))
    pending &+= 1
  }

  /// Shows the kernel the buffers given back.
  @inline(__always) mutating func publish() {
    guard pending > 0 else { return }
    io_uring_buf_ring_advance(ring, Int32(truncatingIfNeeded: pending))
    pending = 0
    hasGrown = false
  }

  /// A turn used every buffer: hands out twice as many from now on, up to the bound. Each socket that found none asks,
  /// the first counts.
  mutating func grow() {
    if hasGrown { return }
    hasGrown = true
    provide(min(provided, entries - provided))
  }

  private mutating func provide(_ count: Int) {
    for _ in 0..<count {
      give(provided)
      provided += 1
    }
  }
}
