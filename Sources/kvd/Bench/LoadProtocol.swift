import Glibc
import Wire

/// The protocols that `kvd bench` speaks.
enum LoadProtocol: String, CaseIterable, Sendable {
  /// HTTP/1.1 (RFC 9112): GET and PUT on `/key`, kept alive and pipelined.
  case http
  /// RESP (https://redis.io/docs/latest/develop/reference/protocol-spec/): GET and SET.
  case resp
  /// kvd's frames (Wire.docc, Frames): get and put, up to 65535 of them in one frame.
  case binary

  /// What counts as the status of a request that wants no answer and was handed to the kernel.
  static var sent: Int32 { 298 }
  /// What counts as the status of a request that an ACK covers.
  static var acknowledged: Int32 { 299 }

  /// How a reply's status is called in summaries.
  func name(ofStatus status: Int) -> String {
    switch self {
    case .http: "\(status)"
    case .binary:
      status == LoadProtocol.sent ? "sent" : status == LoadProtocol.acknowledged ? "acknowledged" : "\(status)"
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

  struct Template {
    let bytes: UnsafeMutablePointer<UInt8>
    let count: Int
    /// Where the digits of the key go.
    let digits: Int

    init(_ before: String, _ after: String) {
      let text = Array(before.utf8) + [UInt8](repeating: 48, count: RequestEncoder.keyDigits) + Array(after.utf8)
      self.init(text, digits: before.utf8.count)
    }

    init(_ request: [UInt8], digits: Int) {
      bytes = .allocate(capacity: request.count)
      bytes.initialize(from: request, count: request.count)
      count = request.count
      self.digits = digits
    }
  }

  private let read: Template
  private let write: Template
  /// A key alone.
  private let key: Template
  /// Whether the template of a write has its value in it, unless that is large.
  private let isWhole: Bool
  /// What follows the head of a write: the value, and what the protocol has behind it.
  let body: UnsafeMutablePointer<UInt8>
  let bodyCount: Int

  /// XXH3 of the value, which a frame with a long value wants.
  let valueHash: UInt64

  init(_ plan: LoadPlan) {
    let (path, host, prefix, valueBytes) = (plan.target.path, plan.target.host, plan.prefix, plan.valueBytes)
    key = Template(prefix, "")
    var value = [UInt8](repeating: 0, count: valueBytes)
    // Letters in an order that neither repeats soon nor compresses well.
    var random = LoadRandom(seed: 1)
    for index in value.indices { value[index] = UInt8(ascii: "a") + UInt8(random.below(26)) }
    var trailer: [UInt8] = []
    switch plan.wire {
    case .http:
      read = Template("GET \(path)\(prefix)", " HTTP/1.1\r\nHost: \(host)\r\n\r\n")
      write = Template(
        "PUT \(path)\(prefix)", " HTTP/1.1\r\nHost: \(host)\r\nContent-Length: \(valueBytes)\r\n\r\n")
    case .resp:
      read = Template("*2\r\n$3\r\nGET\r\n$\(key.count)\r\n\(prefix)", "\r\n")
      write = Template("*3\r\n$3\r\nSET\r\n$\(key.count)\r\n\(prefix)", "\r\n$\(valueBytes)\r\n")
      trailer = [13, 10] + RequestEncoder.wait(plan.waits)
    case .binary:
      read = Template(operation: .get, .reply, prefix: prefix, value: [])
      write =
        valueBytes < RequestEncoder.largeBody
        ? Template(operation: .put, plan.answer, prefix: prefix, value: value)
        : Template(longPut: plan.answer, prefix: prefix, value: value)
    }
    isWhole = plan.wire == .binary
    bodyCount = valueBytes + trailer.count
    body = .allocate(capacity: max(1, bodyCount))
    body.initialize(from: value + trailer, count: bodyCount)
    valueHash = xxh3(body, count: valueBytes, seed: 0)
  }

  deinit {
    read.bytes.deallocate()
    write.bytes.deallocate()
    key.bytes.deallocate()
    body.deallocate()
  }

  /// Whether writes are sent as `writeHead` and `body` from two places.
  var hasLargeBody: Bool { bodyCount >= RequestEncoder.largeBody }

  /// Bytes of the largest request that `encode` writes.
  var largestCount: Int { max(read.count, hasLargeBody || isWhole ? write.count : write.count + bodyCount) }

  /// Changes what writes of the binary protocol ask for.
  func setAnswer(_ level: AnswerLevel) {
    if isWhole { write.bytes[1] = level.rawValue }
  }

  /// Of a long value's frame without its head: where the record begins, and where the value would.
  var longRecordStart: Int { OperationLayout.headCount }
  var longValueStart: Int { write.count - OperationLayout.headCount }

  /// Writes a whole request, or the head alone of a write with a large body; returns its bytes. In the binary protocol
  /// that is an operation, without the head of its frame.
  @inline(__always)
  func encode(isWrite: Bool, key: UInt64, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    let template = isWrite ? write : read
    UnsafeMutableRawPointer(bytes).copyMemory(from: template.bytes, byteCount: template.count)
    RequestEncoder.writeDigits(key, to: bytes + template.digits)
    guard isWrite && !hasLargeBody && !isWhole else { return template.count }
    UnsafeMutableRawPointer(bytes + template.count).copyMemory(from: body, byteCount: bodyCount)
    return template.count &+ bodyCount
  }

  /// The hash of a key, which its partition follows from.
  @inline(__always)
  func hash(key number: UInt64) -> UInt64 {
    UnsafeMutableRawPointer(key.bytes + key.digits).initializeMemory(
      as: UInt8.self, repeating: UInt8(ascii: "0"), count: RequestEncoder.keyDigits)
    RequestEncoder.writeDigits(number, to: key.bytes + key.digits)
    return keyHash(key.bytes, count: key.count, mapCount: 0)
  }

  /// What follows a write that waits for replicas, at most a second.
  private static func wait(_ replicas: Int) -> [UInt8] {
    guard replicas > 0 else { return [] }
    let count = "\(replicas)"
    return Array("*3\r\n$4\r\nWAIT\r\n$\(count.utf8.count)\r\n\(count)\r\n$4\r\n1000\r\n".utf8)
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
