/// The head of an answer as values, and its writer.
///
/// The fields always come in the same order: status line, Content-Length or Transfer-Encoding, Content-Type, ETag,
/// Date, Kvd-TTL, the rarer ones, Connection, for example
/// ```
/// HTTP/1.1 200 OK
/// Content-Length: 100
/// Content-Type: application/json
/// ETag: "17-1-42"
/// Date: Sat, 21 Nov 2026 11:07:00 GMT
/// Kvd-TTL: 29873ms
/// ```
@frozen public struct ResponseHead {
  /// The most bytes that `write` writes.
  public static var maximumCount: Int { 1_152 }
  /// The most bytes of `location`, `allow` and `extra`.
  public static var maximumLocation: Int { 256 }
  package static var maximumAllow: Int { 64 }
  package static var maximumExtra: Int { 128 }
  /// The whole interim answer to `Expect: 100-continue`.
  public static var `continue`: StaticString { "HTTP/1.1 100 Continue\r\n\r\n" }

  /// The status code to answer with.
  public var status: HTTPStatus
  /// The connection stays open after this answer; otherwise the head says `Connection: close`.
  public var keepAlive = true
  /// The request was HTTP/1.0, whose clients must be told that the connection stays open.
  public var http10 = false
  /// The body is sent in chunks; only to HTTP/1.1, and without a `contentLength`.
  public var chunked = false
  /// Names the patch formats (RFC 5789, section 3.1), with 415 and OPTIONS.
  public var acceptPatch = false
  /// A code of `ContentType`; `ContentType.literal` for the bytes in `contentTypeBytes`, at most 255 of them.
  public var contentType = ContentType.none
  /// Bytes of the body, or -1 for no Content-Length: with 204, with 304, with `chunked`, or if the body lasts until the
  /// connection is closed.
  public var contentLength = -1
  /// The stored value's revision, sent as a strong ETag.
  public var revision: Revision?
  /// What is left of the value's life in milliseconds, or -1. Sent as Kvd-TTL in the grammar of `?ttl=`: `29873ms`.
  public var ttlMilliseconds: Int64 = -1
  public var contentTypeBytes: UnsafePointer<UInt8>?
  public var contentTypeCount = 0
  /// Seconds after which to try again, or 0.
  public var retryAfter: UInt32 = 0
  /// The methods of the resource, with 405 and OPTIONS.
  public var allow: StaticString?
  /// Where a resource was created: bytes legal in a URI.
  public var location: UnsafePointer<UInt8>?
  public var locationCount = 0
  /// More field lines, each with its CRLF.
  public var extra: StaticString?

  @inlinable public init(_ status: HTTPStatus) { self.status = status }

  /// Writes the head, with the empty line that ends it, into room for `maximumCount` bytes.
  ///
  /// - Parameter date: 29 bytes, rendered once a second by `Text.writeHTTPDate`.
  /// - Returns: how many bytes were written.
  package func write(into room: UnsafeMutableRawPointer, date: UnsafePointer<UInt8>) -> Int {
    let bytes = room.assumingMemoryBound(to: UInt8.self)
    var at = writeStatusAndLength(bytes)
    if contentType != ContentType.none { at &+= writeContentType(bytes + at) }
    if let revision {
      at &+= Text.write("ETag: \"", to: bytes + at)
      at &+= Text.writeRevision(revision, to: bytes + at)
      at &+= Text.write("\"\r\n", to: bytes + at)
    }
    at &+= Text.write("Date: ", to: bytes + at)
    UnsafeMutableRawPointer(bytes + at).copyMemory(from: date, byteCount: 29)
    at &+= 29
    if ttlMilliseconds >= 0 {
      at &+= Text.write("\r\nKvd-TTL: ", to: bytes + at)
      at &+= Text.writeDecimal(UInt64(ttlMilliseconds), to: bytes + at)
      at &+= Text.write("ms", to: bytes + at)
    }
    if retryAfter != 0 || acceptPatch || allow != nil || location != nil || extra != nil {
      at &+= Text.write("\r\n", to: bytes + at)
      at &+= writeRareFields(bytes + at) &- 2  // the line end that follows is already there
    }
    if !keepAlive {
      at &+= Text.write("\r\nConnection: close", to: bytes + at)
    } else if http10 {
      at &+= Text.write("\r\nConnection: keep-alive", to: bytes + at)
    }
    return at &+ Text.write("\r\n\r\n", to: bytes + at)
  }

  @inline(__always)
  private func writeStatusAndLength(_ bytes: UnsafeMutablePointer<UInt8>) -> Int {
    var at: Int
    if status == .ok && contentLength >= 0 {
      at = Text.write("HTTP/1.1 200 OK\r\nContent-Length: ", to: bytes)
    } else {
      at = ResponseHead.copy(status.line, to: bytes)
      guard contentLength >= 0 else {
        return chunked ? at &+ Text.write("Transfer-Encoding: chunked\r\n", to: bytes + at) : at
      }
      at &+= Text.write("Content-Length: ", to: bytes + at)
    }
    at &+= Text.writeDecimal(UInt64(contentLength), to: bytes + at)
    return at &+ Text.write("\r\n", to: bytes + at)
  }

  @inline(__always)
  private func writeContentType(_ bytes: UnsafeMutablePointer<UInt8>) -> Int {
    var at = Text.write("Content-Type: ", to: bytes)
    if contentType == ContentType.literal, let literal = contentTypeBytes {
      precondition(contentTypeCount <= ContentType.maximumCount, "a Content-Type of \(contentTypeCount) bytes")
      UnsafeMutableRawPointer(bytes + at).copyMemory(from: literal, byteCount: contentTypeCount)
      at &+= contentTypeCount
    } else {
      at &+= ResponseHead.copy(ContentType.spelling(of: contentType), to: bytes + at)
    }
    return at &+ Text.write("\r\n", to: bytes + at)
  }

  /// Copies a literal whose count isn't a constant here.
  @inline(__always)
  private static func copy(_ literal: StaticString, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    UnsafeMutableRawPointer(bytes).copyMemory(from: literal.utf8Start, byteCount: literal.utf8CodeUnitCount)
    return literal.utf8CodeUnitCount
  }

  private func writeRareFields(_ bytes: UnsafeMutablePointer<UInt8>) -> Int {
    var at = 0
    if retryAfter != 0 {
      at += Text.write("Retry-After: ", to: bytes)
      at += Text.writeDecimal(UInt64(retryAfter), to: bytes + at)
      at += Text.write("\r\n", to: bytes + at)
    }
    if acceptPatch {
      at += Text.write("Accept-Patch: application/merge-patch+json, application/json-patch+json\r\n", to: bytes + at)
    }
    if let allow {
      precondition(allow.utf8CodeUnitCount <= ResponseHead.maximumAllow, "too long an Allow")
      at += Text.write("Allow: ", to: bytes + at)
      at += ResponseHead.copy(allow, to: bytes + at)
      at += Text.write("\r\n", to: bytes + at)
    }
    if let location {
      precondition(locationCount <= ResponseHead.maximumLocation, "a Location of \(locationCount) bytes")
      at += Text.write("Location: ", to: bytes + at)
      UnsafeMutableRawPointer(bytes + at).copyMemory(from: location, byteCount: locationCount)
      at += locationCount
      at += Text.write("\r\n", to: bytes + at)
    }
    if let extra {
      precondition(extra.utf8CodeUnitCount <= ResponseHead.maximumExtra, "too long an extra field")
      at += ResponseHead.copy(extra, to: bytes + at)
    }
    return at
  }
}
