/// The request methods kvd serves (RFC 9110, section 9; PATCH: RFC 5789). Any other is answered 501.
@frozen public enum HTTPMethod: UInt8, Sendable {
  case get, head, put, post, delete, patch, options
}

/// A parsed request head: numbers, flags, and slices of the bytes it was parsed from; nothing is copied.
///
/// A captured field that the request doesn't have is a slice at offset 0, where no field can be; `isPresent` tells it
/// from an empty value. Values are trimmed of the white space around them and free of control characters other than
/// HTAB; bytes from 0x80 up (obs-text) may occur in them.
@frozen public struct RequestHead: Sendable {
  // One byte each rather than one set of bits: bytes written by the parser can be read back at once, while bits are
  // written as part of a word that the processor can't forward before it has left the store buffer.

  /// The request's method.
  public var method = HTTPMethod.get
  /// The request says HTTP/1.1; otherwise it says HTTP/1.0.
  public var http11 = false
  /// The connection may carry another request after this one (RFC 9112, section 9.3).
  public var keepAlive = false
  /// The body is chunked: feed what follows the head to a `ChunkedDecoder`.
  public var chunked = false
  /// There is a Content-Length, possibly 0. Without it and without `chunked` the request has no body.
  public var hasContentLength = false
  /// The client waits for `100 Continue` before it sends the body. Never true without a body to come.
  public var expectContinue = false
  /// The path contains '%': decode it with `Text.decodePercent`, which also finds wrong escapes.
  public var pathHasEscapes = false
  /// There is a '?', possibly with nothing after it.
  public var hasQuery = false
  /// There is a Host field, as in every HTTP/1.1 request.
  public var hasHost = false
  /// The tokens of Connection, as `keepAlive` needs them.
  var connectionClose = false
  var connectionKeepAlive = false
  /// Bytes of the head: empty lines before it, request line, fields and the empty line after them.
  public var headCount: UInt32 = 0
  /// The value of Content-Length, 0 without one; at most 10^18 - 1.
  public var contentLength = 0
  /// The raw path: starts with '/', or is "*" with OPTIONS. Never empty.
  public var path = Slice()
  /// The raw query after the '?'.
  public var query = Slice()
  public var contentType = Slice()
  public var ifMatch = Slice()
  public var ifNoneMatch = Slice()
  public var idempotencyKey = Slice()
  /// The first Accept field.
  public var accept = Slice()
  public var authorization = Slice()
  /// The first traceparent field.
  public var traceparent = Slice()

  package init() {}

  /// Whether the request has this captured field, possibly with an empty value.
  @inlinable @inline(__always)
  package static func isPresent(_ field: Slice) -> Bool { field.offset != 0 }
}

/// What came of parsing: trivial, two bytes.
@frozen public enum ParseResult: Equatable, Sendable {
  /// The head is whole; `RequestHead.headCount` says where it ends.
  case complete
  /// Nothing is wrong so far and the end isn't there yet: call again with more bytes.
  case incomplete
  /// Answer with the violation's status and sentence, then close: where the next request starts is unknown.
  case failed(HTTPViolation)
}
