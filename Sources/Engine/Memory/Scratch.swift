import Wire

/// A bump allocator for what lives no longer than a batch of requests: decoded keys, edited values, bodies of answers.
///
/// Reset between batches, so nothing is freed one by one. Pages beyond the first are kept only up to `keep` bytes.
struct Scratch: ~Copyable {
  private let base: UnsafeMutableRawPointer
  private let capacity: Int
  private var used = 0
  /// Pieces larger than what was left of `base`; freed at the reset.
  private var extra: [UnsafeMutableRawPointer] = []

  init(capacity: Int) {
    self.capacity = capacity
    base = .allocate(byteCount: capacity, alignment: 64)
  }

  deinit {
    base.deallocate()
    for piece in extra { piece.deallocate() }
  }

  /// Room for `count` bytes until the next reset, 16-byte aligned.
  @inline(__always) mutating func take(_ count: Int) -> UnsafeMutableRawPointer {
    if used &+ count <= capacity {
      let piece = base + used
      used = (used &+ count &+ 15) & ~15
      return piece
    }
    return takeExtra(count)
  }

  /// Gives everything back.
  @inline(__always) mutating func reset() {
    used = 0
    if !extra.isEmpty { resetExtra() }
  }

  /// A copy of the bytes.
  mutating func copy(_ bytes: [UInt8]) -> UnsafeRawBufferPointer {
    let piece = take(max(1, bytes.count))
    bytes.withUnsafeBytes { if let source = $0.baseAddress { piece.copyMemory(from: source, byteCount: $0.count) } }
    return UnsafeRawBufferPointer(start: piece, count: bytes.count)
  }

  @inline(never) private mutating func takeExtra(_ count: Int) -> UnsafeMutableRawPointer {
    let piece = UnsafeMutableRawPointer.allocate(byteCount: max(1, count), alignment: 64)
    extra.append(piece)
    return piece
  }

  @inline(never) private mutating func resetExtra() {
    for piece in extra { piece.deallocate() }
    extra.removeAll(keepingCapacity: true)
  }
}
