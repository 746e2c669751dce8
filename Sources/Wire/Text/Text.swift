import CXXHash

/// Leaves that read and write text as bytes: decimals, durations, dates, percent-encoding, UTF-8, JSON strings.
///
/// All take a pointer and a count, touch nothing beyond them, allocate nothing, and answer nil (or -1) for junk. The
/// writers state how many bytes they need at most; the caller has that room.
public enum Text {
  /// Eight bytes as one little-endian word.
  @inlinable @inline(always)
  package static func word8(_ bytes: UnsafePointer<UInt8>) -> UInt64 {
    UInt64(littleEndian: UnsafeRawPointer(bytes).loadUnaligned(as: UInt64.self))
  }

  /// Four bytes as one little-endian word.
  @inlinable @inline(always)
  package static func word4(_ bytes: UnsafePointer<UInt8>) -> UInt32 {
    UInt32(littleEndian: UnsafeRawPointer(bytes).loadUnaligned(as: UInt32.self))
  }

  /// Where the first byte at or after `from` is that ends or marks a request target (space, controls, '#', '?', '%',
  /// bytes from 0x7F up), `count` without one.
  @inlinable @inline(always)
  package static func findTargetMark(_ bytes: UnsafePointer<UInt8>, from: Int, _ count: Int) -> Int {
    kvd_find_target_mark(bytes, from, count)
  }

  /// Copies a literal, whose count is a constant once this is inlined, and answers that count.
  @inlinable @inline(always)
  package static func write(_ literal: StaticString, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    let count = literal.utf8CodeUnitCount
    UnsafeMutableRawPointer(bytes).copyMemory(from: literal.utf8Start, byteCount: count)
    return count
  }

  /// Whether the bytes are those of a lower-case literal of letters, digits and '-', whatever their own case.
  ///
  /// Setting bit 0x20 folds letters; the only other byte it could take for one of the literal's is a control
  /// character, so the bytes must be free of controls.
  @inlinable @inline(always)
  package static func matches(_ bytes: UnsafePointer<UInt8>, _ count: Int, folded literal: StaticString) -> Bool {
    guard count == literal.utf8CodeUnitCount else { return false }
    let wanted = literal.utf8Start
    if count >= 8 && count <= 16 {
      let fold: UInt64 = 0x2020_2020_2020_2020
      return word8(bytes) | fold == word8(wanted) && word8(bytes + (count &- 8)) | fold == word8(wanted + (count &- 8))
    }
    if count >= 4 && count < 8 {
      let fold: UInt32 = 0x2020_2020
      return word4(bytes) | fold == word4(wanted) && word4(bytes + (count &- 4)) | fold == word4(wanted + (count &- 4))
    }
    if count > 16 && count <= 24 {
      let fold: UInt64 = 0x2020_2020_2020_2020
      return word8(bytes) | fold == word8(wanted) && word8(bytes + 8) | fold == word8(wanted + 8)
        && word8(bytes + (count &- 8)) | fold == word8(wanted + (count &- 8))
    }
    var i = 0
    while i < count {
      guard bytes[i] | 0x20 == wanted[i] else { return false }
      i &+= 1
    }
    return true
  }

  /// Whether the bytes are exactly a literal's.
  @inlinable @inline(always)
  package static func equals(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ literal: StaticString) -> Bool {
    count == literal.utf8CodeUnitCount && kvd_equal(bytes, literal.utf8Start, count) != 0
  }

  /// Whether a byte may stand in a token (RFC 9110, section 5.6.2).
  @inlinable @inline(always)
  package static func isToken(_ byte: UInt8) -> Bool {
    // Bit maps of !#$%&'*+-.0-9 (code points 0-63) and A-Z^_`a-z|~ (64-127).
    let low: UInt64 = 0x03FF_6CFA_0000_0000
    let high: UInt64 = 0x57FF_FFFF_C7FF_FFFE
    let map = byte < 64 ? low : high
    return byte < 128 && (map >> UInt64(byte & 63)) & 1 != 0
  }
}
