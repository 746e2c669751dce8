/// The two heads that nearly all answers have, written in one go for a caller that has the fields at hand: the same
/// bytes as `ResponseHead` writes for them.
public enum PlainHead {
  /// The most bytes that `writeFound` and `writeStored` write.
  @inlinable @inline(always) package static var maximumCount: Int { 256 }

  /// Writes what `write(into:date:)` writes for a value that was found, of a content type with a code: the same bytes
  /// in one go, for a caller that has the fields at hand.
  @inlinable @inline(always)
  package static func writeFound(
    contentLength: Int, contentType: UInt8, revision: Revision, date: UnsafeRawPointer,
    to room: UnsafeMutableRawPointer
  ) -> Int {
    let bytes = room.assumingMemoryBound(to: UInt8.self)
    var at = Text.write("HTTP/1.1 200 OK\r\nContent-Length: ", to: bytes)
    at &+= Text.writeDecimal(UInt64(truncatingIfNeeded: contentLength), to: bytes + at)
    if contentType == ContentType.absent {
      at &+= Text.write("\r\nContent-Type: application/octet-stream\r\nETag: \"", to: bytes + at)
    } else {
      let spelling = ContentType.spelling(of: contentType)
      at &+= Text.write("\r\nContent-Type: ", to: bytes + at)
      (room + at).copyMemory(from: spelling.utf8Start, byteCount: spelling.utf8CodeUnitCount)
      at &+= spelling.utf8CodeUnitCount
      at &+= Text.write("\r\nETag: \"", to: bytes + at)
    }
    return at &+ writeRevisionAndDate(revision, date, to: bytes + at)
  }

  /// The same for a value that was stored.
  @inlinable @inline(always)
  package static func writeStored(
    isNew: Bool, revision: Revision, date: UnsafeRawPointer, to room: UnsafeMutableRawPointer
  ) -> Int {
    let bytes = room.assumingMemoryBound(to: UInt8.self)
    let at =
      isNew
      ? Text.write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\nETag: \"", to: bytes)
      : Text.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"", to: bytes)
    return at &+ writeRevisionAndDate(revision, date, to: bytes + at)
  }

  /// The end of both: the revision, and everything behind it.
  @inlinable @inline(always)
  package static func writeRevisionAndDate(
    _ revision: Revision, _ date: UnsafeRawPointer, to bytes: UnsafeMutablePointer<UInt8>
  ) -> Int {
    var at = Text.writeRevision(revision, to: bytes)
    at &+= Text.write("\"\r\nDate: ", to: bytes + at)
    UnsafeMutableRawPointer(bytes + at).copyMemory(from: date, byteCount: 29)
    at &+= 29
    return at &+ Text.write("\r\n\r\n", to: bytes + at)
  }
}
