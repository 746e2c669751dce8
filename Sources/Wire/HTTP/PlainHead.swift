/// The two heads that nearly all answers have: the same bytes as `ResponseHead` writes for them, put together from
/// pieces that are the same for many answers in a row.
///
/// A handle to memory that `deallocate` frees.
@frozen public struct PlainHead {
  /// The most bytes that `writeFound` and `writeStored` touch, those behind the head included.
  @inlinable @inline(always) package static var maximumCount: Int { 256 }

  /// The beginning of the head of a value that was found, up to the revision; the end of either head; and the epoch of
  /// a revision with its dash.
  @usableFromInline let beginning: UnsafeMutableRawPointer
  @usableFromInline let end: UnsafeMutableRawPointer
  @usableFromInline let epochText: UnsafeMutableRawPointer
  /// The length and type of content that the beginning tells of, and its bytes.
  @usableFromInline var content = UInt64.max
  @usableFromInline var beginningCount = 0
  /// The epoch that is written out, and its bytes.
  @usableFromInline var epoch: UInt32 = 0
  @usableFromInline var epochCount = 2

  /// Bytes that are copied of each piece, whatever its count, and of a beginning with a long content type.
  @inlinable @inline(always) static var usualBeginning: Int { 96 }
  @inlinable @inline(always) static var longBeginning: Int { 160 }
  @inlinable @inline(always) static var endRoom: Int { 48 }
  @inlinable @inline(always) static var epochRoom: Int { 16 }
  /// Bytes of the end: the quote, Date, the empty line.
  @inlinable @inline(always) static var endCount: Int { 42 }

  /// Makes the pieces; `setDate` has to be called before anything is written.
  package init() {
    beginning = .allocate(byteCount: Self.longBeginning + Self.endRoom + Self.epochRoom, alignment: 64)
    beginning.initializeMemory(as: UInt8.self, repeating: 0, count: Self.longBeginning + Self.endRoom + Self.epochRoom)
    end = beginning + Self.longBeginning
    epochText = end + Self.endRoom
    epochText.storeBytes(of: UInt16(0x2D30).littleEndian, as: UInt16.self)
  }

  /// Frees the pieces; nothing may be written afterwards.
  package func deallocate() { beginning.deallocate() }

  /// Makes the 29 bytes at `date` the date of the heads from now on.
  package func setDate(_ date: UnsafeRawPointer) {
    let bytes = end.assumingMemoryBound(to: UInt8.self)
    let at = Text.write("\"\r\nDate: ", to: bytes)
    (end + at).copyMemory(from: date, byteCount: 29)
    let count = at + 29 + Text.write("\r\n\r\n", to: bytes + at + 29)
    precondition(count == Self.endCount, "the end of a head has another length")
  }

  /// Writes what `ResponseHead.write(into:date:)` writes for a value that was found, of a content type with a code, and
  /// answers how many bytes that are.
  @inlinable @inline(always)
  package mutating func writeFound(
    contentLength: Int, contentType: UInt8, revision: Revision, to room: UnsafeMutableRawPointer
  ) -> Int {
    let wanted = UInt64(truncatingIfNeeded: contentLength) &<< 8 | UInt64(contentType)
    if wanted != content { begin(contentLength, contentType) }
    room.copyMemory(from: beginning, byteCount: Self.usualBeginning)
    if beginningCount > Self.usualBeginning {
      let rest = Self.longBeginning &- Self.usualBeginning
      (room + Self.usualBeginning).copyMemory(from: beginning + Self.usualBeginning, byteCount: rest)
    }
    return beginningCount &+ writeRevisionAndEnd(revision, to: room + beginningCount)
  }

  /// The same for a value that was stored.
  @inlinable @inline(always)
  package mutating func writeStored(
    isNew: Bool, revision: Revision, to room: UnsafeMutableRawPointer
  ) -> Int {
    let bytes = room.assumingMemoryBound(to: UInt8.self)
    let at =
      isNew
      ? Text.write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\nETag: \"", to: bytes)
      : Text.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"", to: bytes)
    return at &+ writeRevisionAndEnd(revision, to: room + at)
  }

  /// The end of both: the revision, as `Text.writeRevision` writes it, and everything behind it.
  @inlinable @inline(always)
  mutating func writeRevisionAndEnd(_ revision: Revision, to room: UnsafeMutableRawPointer) -> Int {
    let bytes = room.assumingMemoryBound(to: UInt8.self)
    var at = writePartition(UInt32(revision.partition.rawValue), to: bytes)
    if revision.epoch.rawValue != epoch { note(revision.epoch) }
    (room + at).copyMemory(from: epochText, byteCount: Self.epochRoom)
    at &+= epochCount
    let offset = revision.offset.rawValue
    at &+=
      offset < 100_000_000
      ? Text.writeShortDecimal(UInt32(truncatingIfNeeded: offset), to: bytes + at)
      : Text.writeLongDecimal(offset, to: bytes + at)
    (room + at).copyMemory(from: end, byteCount: Self.endRoom)
    return at &+ Self.endCount
  }

  /// The partition and its dash: as `Text.writeShortDecimal` does, for three digits.
  @inlinable @inline(always)
  func writePartition(_ partition: UInt32, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    guard partition < 1000 else {
      let count = Text.writeShortDecimal(partition, to: bytes)
      bytes[count] = UInt8(ascii: "-")
      return count &+ 1
    }
    let hundreds = (partition &* 41) &>> 12
    let rest = partition &- hundreds &* 100
    let tens = (rest &* 103) &>> 10
    let digits = hundreds | tens &<< 8 | (rest &- tens &* 10) &<< 16
    let zeros = UInt32(truncatingIfNeeded: (digits | 1 &<< 16).trailingZeroBitCount) & ~7
    let text = (digits | 0x2D30_3030) &>> zeros
    UnsafeMutableRawPointer(bytes).storeBytes(of: text.littleEndian, as: UInt32.self)
    return 4 &- Int(zeros &>> 3)
  }

  @usableFromInline @inline(never)
  mutating func begin(_ contentLength: Int, _ contentType: UInt8) {
    let bytes = beginning.assumingMemoryBound(to: UInt8.self)
    var at = Text.write("HTTP/1.1 200 OK\r\nContent-Length: ", to: bytes)
    at += Text.writeDecimal(UInt64(truncatingIfNeeded: contentLength), to: bytes + at)
    at += Text.write("\r\nContent-Type: ", to: bytes + at)
    let spelling = ContentType.spelling(of: contentType)
    (beginning + at).copyMemory(from: spelling.utf8Start, byteCount: spelling.utf8CodeUnitCount)
    at += spelling.utf8CodeUnitCount
    at += Text.write("\r\nETag: \"", to: bytes + at)
    precondition(at <= Self.longBeginning, "a content type with a code is too long")
    content = UInt64(truncatingIfNeeded: contentLength) << 8 | UInt64(contentType)
    beginningCount = at
  }

  @usableFromInline @inline(never)
  mutating func note(_ wanted: Epoch) {
    let bytes = epochText.assumingMemoryBound(to: UInt8.self)
    let count = Text.writeDecimal(UInt64(wanted.rawValue), to: bytes)
    bytes[count] = UInt8(ascii: "-")
    epoch = wanted.rawValue
    epochCount = count + 1
  }
}
