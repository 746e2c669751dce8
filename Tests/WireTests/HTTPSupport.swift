import Testing

@testable import Wire

/// Gives a closure bytes in an allocation of exactly their size, so that a sanitizer sees any step beyond it.
func withExactBytes<R>(_ bytes: [UInt8], _ body: (UnsafePointer<UInt8>, Int) throws -> R) rethrows -> R {
  let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(bytes.count, 1))
  defer { copy.deallocate() }
  copy.initialize(to: 0)
  for (i, byte) in bytes.enumerated() { copy[i] = byte }
  return try body(copy, bytes.count)
}

/// What a writer wrote into room for `capacity` bytes, as text.
func written(_ capacity: Int = 2048, _ body: (UnsafeMutablePointer<UInt8>) -> Int) -> String {
  let room = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
  defer { room.deallocate() }
  let count = body(room)
  return String(decoding: UnsafeBufferPointer(start: room, count: count), as: UTF8.self)
}

/// A parsed request with its slices taken out, for comparing.
struct Parsed: Equatable {
  var result: ParseResult
  var method = HTTPMethod.get
  var path = ""
  var query: String?
  var keepAlive = false
  var http11 = false
  var chunked = false
  var expectContinue = false
  var pathHasEscapes = false
  var contentLength: Int?
  var headCount = 0
  var fields: [String: String] = [:]

  init(_ bytes: [UInt8], limit: Int = 32 << 10) {
    var head = RequestHead()
    result = withExactBytes(bytes) { RequestParser.parse($0, $1, limit: limit, into: &head) }
    guard result == .complete else { return }
    func text(_ slice: Slice) -> String {
      String(decoding: bytes[Int(slice.offset)..<Int(slice.offset + slice.count)], as: UTF8.self)
    }
    method = head.method
    path = text(head.path)
    query = head.hasQuery ? text(head.query) : nil
    keepAlive = head.keepAlive
    http11 = head.http11
    chunked = head.chunked
    expectContinue = head.expectContinue
    pathHasEscapes = head.pathHasEscapes
    contentLength = head.hasContentLength ? head.contentLength : nil
    headCount = Int(head.headCount)
    let captured = [
      "content-type": head.contentType, "if-match": head.ifMatch, "if-none-match": head.ifNoneMatch,
      "idempotency-key": head.idempotencyKey, "accept": head.accept, "authorization": head.authorization,
      "traceparent": head.traceparent,
    ]
    for (name, slice) in captured where RequestHead.isPresent(slice) { fields[name] = text(slice) }
  }

  init(_ text: String, limit: Int = 32 << 10) { self.init(Array(text.utf8), limit: limit) }
}

/// Parses every prefix and holds it against the whole: it must be incomplete, or have the very same result.
func parseAtEverySplit(
  _ bytes: [UInt8], limit: Int = 32 << 10, sourceLocation: SourceLocation = #_sourceLocation
) -> Parsed {
  let whole = Parsed(bytes, limit: limit)
  for count in 0...bytes.count {
    let prefix = Parsed(Array(bytes.prefix(count)), limit: limit)
    guard prefix.result != .incomplete else { continue }
    #expect(prefix == whole, "at \(count) of \(String(decoding: bytes, as: UTF8.self))", sourceLocation: sourceLocation)
  }
  return whole
}

/// Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators" (SplitMix64), for tests that replay.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
