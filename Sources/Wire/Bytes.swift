import CXXHash

/// Asks the processor to fetch the cache line at `address`; never faults, whatever the address.
@inlinable @inline(__always)
package func prefetch(_ address: UnsafeRawPointer?) { kvd_prefetch(address) }

/// Whether two ranges of `count` bytes are equal. Up to 32 bytes, which most keys have, it is two or four overlapping
/// word compares without a call.
@inlinable @inline(__always)
package func bytesEqual(_ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ count: Int) -> Bool {
  if count >= 8 && count <= 16 {
    let tail = count &- 8
    return word(a, 0) == word(b, 0) && word(a, tail) == word(b, tail)
  }
  if count > 16 && count <= 32 {
    let tail = count &- 16
    return word(a, 0) == word(b, 0) && word(a, 8) == word(b, 8)
      && word(a, tail) == word(b, tail) && word(a, tail &+ 8) == word(b, tail &+ 8)
  }
  return count == 0 || kvd_equal(a, b, count) != 0
}

/// Whether two ranges of `count` bytes, at least 16, are equal.
@inlinable @inline(__always)
package func longBytesEqual(_ a: UnsafePointer<UInt8>, _ b: UnsafePointer<UInt8>, _ count: Int) -> Bool {
  kvd_equal_long(a, b, count) != 0
}

/// Copies `count` bytes between ranges that may overlap only if `count` is over 32. Short copies are overlapping words.
@inlinable @inline(__always)
package func copyBytes(_ target: UnsafeMutableRawPointer, _ source: UnsafeRawPointer, _ count: Int) {
  if count >= 8 && count <= 16 {
    let tail = count &- 8
    let (first, last) = (word(source, 0), word(source, tail))
    target.storeBytes(of: first, as: UInt64.self)
    target.storeBytes(of: last, toByteOffset: tail, as: UInt64.self)
  } else if count > 16 && count <= 32 {
    let tail = count &- 16
    let (first, second) = (word(source, 0), word(source, 8))
    let (third, last) = (word(source, tail), word(source, tail &+ 8))
    target.storeBytes(of: first, as: UInt64.self)
    target.storeBytes(of: second, toByteOffset: 8, as: UInt64.self)
    target.storeBytes(of: third, toByteOffset: tail, as: UInt64.self)
    target.storeBytes(of: last, toByteOffset: tail &+ 8, as: UInt64.self)
  } else if count > 0 {
    target.copyMemory(from: source, byteCount: count)
  }
}

/// Copies `count` bytes between ranges that don't overlap; up to 128 of them without a call.
@inlinable @inline(always)
package func copyValue(_ target: UnsafeMutableRawPointer, _ source: UnsafeRawPointer, _ count: Int) {
  kvd_copy(target, source, count)
}

/// The eight bytes at `bytes + offset`, whatever their alignment, as a little-endian integer.
@inlinable @inline(__always)
package func word(_ bytes: UnsafeRawPointer, _ offset: Int) -> UInt64 {
  bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
}

/// XXH3_64 of `count` bytes with a seed, out of line: one copy of XXH3's branches instead of one per caller.
@usableFromInline @inline(never)
package func xxh3(_ bytes: UnsafeRawPointer?, count: Int, seed: UInt64) -> UInt64 { kvd_xxh3(bytes, count, seed) }

/// XXH3_64, seed 0, of bytes that arrive in parts. A trivial handle: `finish` must be called exactly once.
@frozen public struct HashStream {
  @usableFromInline let state: OpaquePointer

  package init() { state = kvd_xxh3_stream_create(0) }

  /// Takes the next bytes.
  package func update(_ bytes: UnsafeRawPointer, count: Int) { kvd_xxh3_stream_update(state, bytes, count) }

  /// The hash of what was taken so far; more may follow.
  package func digest() -> UInt64 { kvd_xxh3_stream_digest(state) }

  /// The hash of everything taken; frees the state.
  package func finish() -> UInt64 { kvd_xxh3_stream_finish(state) }
}
