/// Problem details (RFC 9457): the body of every error, with the Content-Type `ContentType.problem`.
public enum Problem {
  /// The most bytes `write` writes for a detail of `count` bytes.
  package static func maximumCount(detail count: Int) -> Int { 128 + maximumJSONString(count) }

  /// Writes `{"type":"about:blank","title":…,"status":…,"detail":…}` and a line end, for those who read it in a
  /// terminal. The title is the status's reason phrase, as the type about:blank has it.
  ///
  /// - Parameter detail: a sentence that tells the client what to do. What isn't UTF-8 in it becomes U+FFFD.
  /// - Returns: how many bytes were written, at most `maximumCount(detail:)`.
  package static func write(
    _ status: HTTPStatus, detail: UnsafePointer<UInt8>, _ count: Int, into room: UnsafeMutableRawPointer
  ) -> Int {
    let bytes = room.assumingMemoryBound(to: UInt8.self)
    var at = Text.write("{\"type\":\"about:blank\",\"title\":", to: bytes)
    let title = status.reason
    at += writeJSONString(UnsafeRawBufferPointer(start: title.bytes, count: title.count), to: bytes + at)
    at += Text.write(",\"status\":", to: bytes + at)
    at += Text.writeDecimal(UInt64(status.rawValue), to: bytes + at)
    at += Text.write(",\"detail\":", to: bytes + at)
    at += writeJSONString(UnsafeRawBufferPointer(start: detail, count: count), to: bytes + at)
    return at + Text.write("}\n", to: bytes + at)
  }

  /// The same with a literal sentence.
  package static func write(
    _ status: HTTPStatus, _ detail: StaticString, into room: UnsafeMutableRawPointer
  ) -> Int {
    write(status, detail: detail.utf8Start, detail.utf8CodeUnitCount, into: room)
  }
}
