import Glibc

/// The protocols that `kvd bench` speaks. A new one adds a case here, a row in `RequestEncoder` and a branch in
/// `ReplyParser`; the generator knows none of them.
enum LoadProtocol: String, CaseIterable, Sendable {
  /// HTTP/1.1 (RFC 9112): GET and PUT on `/key`, kept alive and pipelined.
  case http
  /// RESP (https://redis.io/docs/latest/develop/reference/protocol-spec/): GET and SET.
  case resp

  /// How a reply's status is called in summaries.
  func name(ofStatus status: Int) -> String {
    switch self {
    case .http: "\(status)"
    case .resp: status == 200 ? "OK" : status == 404 ? "nil" : "error"
    }
  }
}

/// The bytes of requests, made once: what differs between two reads of a run are the 12 digits of the key, and between
/// two writes as well, since all values of a run are the same.
struct RequestEncoder: ~Copyable {
  /// Digits of a key, after its prefix.
  static var keyDigits: Int { 12 }

  /// A write whose body is at least this large is sent from where it lies, others are copied into the send buffer.
  static var largeBody: Int { 32 << 10 }

  private struct Template {
    let bytes: UnsafeMutablePointer<UInt8>
    let count: Int
    /// Where the digits of the key go.
    let digits: Int

    init(_ before: String, _ after: String) {
      let text = Array(before.utf8) + [UInt8](repeating: 48, count: RequestEncoder.keyDigits) + Array(after.utf8)
      bytes = .allocate(capacity: text.count)
      bytes.initialize(from: text, count: text.count)
      count = text.count
      digits = before.utf8.count
    }
  }

  private let read: Template
  private let write: Template
  /// What follows the head of a write: the value, and what the protocol has behind it.
  let body: UnsafeMutablePointer<UInt8>
  let bodyCount: Int

  /// - Parameters:
  ///   - path: what stands before the key in an HTTP target, "/" at least.
  ///   - valueBytes: of each written value.
  init(_ wire: LoadProtocol, host: String, path: String, prefix: String, valueBytes: Int) {
    let trailer: [UInt8]
    switch wire {
    case .http:
      read = Template("GET \(path)\(prefix)", " HTTP/1.1\r\nHost: \(host)\r\n\r\n")
      write = Template(
        "PUT \(path)\(prefix)", " HTTP/1.1\r\nHost: \(host)\r\nContent-Length: \(valueBytes)\r\n\r\n")
      trailer = []
    case .resp:
      let key = prefix.utf8.count + RequestEncoder.keyDigits
      read = Template("*2\r\n$3\r\nGET\r\n$\(key)\r\n\(prefix)", "\r\n")
      write = Template("*3\r\n$3\r\nSET\r\n$\(key)\r\n\(prefix)", "\r\n$\(valueBytes)\r\n")
      trailer = [13, 10]
    }
    bodyCount = valueBytes + trailer.count
    body = .allocate(capacity: max(1, bodyCount))
    // Letters in an order that neither repeats soon nor compresses well.
    var random = LoadRandom(seed: 1)
    for index in 0..<valueBytes { body[index] = UInt8(ascii: "a") + UInt8(random.below(26)) }
    (body + valueBytes).initialize(from: trailer, count: trailer.count)
  }

  deinit {
    read.bytes.deallocate()
    write.bytes.deallocate()
    body.deallocate()
  }

  /// Whether writes are sent as `writeHead` and `body` from two places.
  var hasLargeBody: Bool { bodyCount >= RequestEncoder.largeBody }

  /// Bytes of the largest request that `encode` writes.
  var largestCount: Int { max(read.count, hasLargeBody ? write.count : write.count + bodyCount) }

  /// Writes a whole request, or the head alone of a write with a large body; returns its bytes.
  @inline(__always)
  func encode(isWrite: Bool, key: UInt64, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    let template = isWrite ? write : read
    UnsafeMutableRawPointer(bytes).copyMemory(from: template.bytes, byteCount: template.count)
    RequestEncoder.writeDigits(key, to: bytes + template.digits)
    guard isWrite && !hasLargeBody else { return template.count }
    UnsafeMutableRawPointer(bytes + template.count).copyMemory(from: body, byteCount: bodyCount)
    return template.count &+ bodyCount
  }

  @inline(__always)
  private static func writeDigits(_ key: UInt64, to bytes: UnsafeMutablePointer<UInt8>) {
    var rest = key
    var index = keyDigits &- 1
    while rest > 0 && index >= 0 {
      bytes[index] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
      index &-= 1
    }
  }
}
