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
  /// What is known of a request besides its slices and counts.
  @frozen public struct Flags: OptionSet, Sendable {
    public let rawValue: UInt16
    @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// The request says HTTP/1.1; otherwise it says HTTP/1.0.
    @inlinable package static var http11: Flags { Flags(rawValue: 1) }
    /// The connection may carry another request after this one (RFC 9112, section 9.3).
    @inlinable package static var keepAlive: Flags { Flags(rawValue: 2) }
    /// The body is chunked: feed what follows the head to a `ChunkedDecoder`.
    @inlinable package static var chunked: Flags { Flags(rawValue: 4) }
    /// The client waits for `100 Continue` before it sends the body. Never set without a body to come.
    @inlinable package static var expectContinue: Flags { Flags(rawValue: 8) }
    /// The path contains '%': decode it with `Text.decodePercent`, which also finds wrong escapes.
    @inlinable package static var pathHasEscapes: Flags { Flags(rawValue: 16) }
    /// There is a '?', possibly with nothing after it.
    @inlinable package static var hasQuery: Flags { Flags(rawValue: 32) }
    /// There is a Content-Length, possibly 0. A body-carrying method without it and without `chunked` has no body.
    @inlinable package static var hasContentLength: Flags { Flags(rawValue: 64) }
    @inlinable package static var hasHost: Flags { Flags(rawValue: 128) }
    @inlinable package static var connectionClose: Flags { Flags(rawValue: 256) }
    @inlinable package static var connectionKeepAlive: Flags { Flags(rawValue: 512) }
  }

  public var method = HTTPMethod.get
  public var flags = Flags(rawValue: 0)
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

  @inlinable package init() {}

  /// Whether the request has this captured field, possibly with an empty value.
  @inlinable @inline(__always)
  package static func isPresent(_ field: Slice) -> Bool { field.offset != 0 }

  @inlinable package var http11: Bool { flags.contains(.http11) }
  @inlinable package var keepAlive: Bool { flags.contains(.keepAlive) }
  @inlinable package var chunked: Bool { flags.contains(.chunked) }
  @inlinable package var expectContinue: Bool { flags.contains(.expectContinue) }
  @inlinable package var pathHasEscapes: Bool { flags.contains(.pathHasEscapes) }
  @inlinable package var hasQuery: Bool { flags.contains(.hasQuery) }
  @inlinable package var hasContentLength: Bool { flags.contains(.hasContentLength) }
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
