import Testing

@testable import Wire

@Suite("Random damage")
struct HTTPMutationTests {
  static let seeds: [[UInt8]] = [
    "GET /key:000000123456 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n",
    "PUT /k%20?ttl=30s HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\nContent-Type: text/plain\r\n\r\n",
    "POST http://h/p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    "\r\nOPTIONS * HTTP/1.0\r\nConnection: keep-alive, close\r\nX-Y_z: \t a\u{E9} \r\n\r\n",
    "DELETE /k HTTP/1.1\r\nHost:[::1]\r\nIf-Match: \"1-1-1\"\r\nIdempotency-Key: x\r\n\r\n",
  ].map { Array($0.utf8) }

  static let spice: [UInt8] =
    Array("\r\n \t:;,/?#%*\"GETHhttp/1.0Content-Length: 5chunked".utf8) + [0, 1, 0x7F, 0x80, 0xFF]

  static func damage(_ bytes: [UInt8], _ random: inout SplitMix) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let at = Int.random(in: 0..<bytes.count, using: &random)
      switch UInt8.random(in: 0..<5, using: &random) {
      case 0: bytes[at] = spice.randomElement(using: &random)!
      case 1: bytes.insert(spice.randomElement(using: &random)!, at: at)
      case 2: if bytes.count > 1 { bytes.remove(at: at) }
      case 3:
        let other = seeds.randomElement(using: &random)!
        let from = Int.random(in: 0..<other.count, using: &random)
        bytes.insert(contentsOf: other[from..<min(from + 12, other.count)], at: at)
      default: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      }
    }
    return bytes
  }

  @Test("damaged heads have one verdict, however they arrive, and sane slices", arguments: [1, 2, 3] as [UInt64])
  func heads(seed: UInt64) {
    var random = SplitMix(seed: seed)
    var complete = 0
    for _ in 0..<400 {
      let bytes = HTTPMutationTests.damage(HTTPMutationTests.seeds.randomElement(using: &random)!, &random)
      let limit = Int.random(in: 0..<4, using: &random) == 0 ? Int.random(in: 1...200, using: &random) : 32 << 10
      let parsed = parseAtEverySplit(bytes, limit: limit)
      if parsed.result == .complete { complete += 1 }
    }
    #expect(complete > 0)
  }

  @Test("damaged chunked bodies have one outcome, however they arrive", arguments: [1, 2, 3] as [UInt64])
  func chunks(seed: UInt64) {
    var random = SplitMix(seed: seed)
    let seed = Array("5\r\nhello\r\n10;a=b\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\n".utf8)
    for _ in 0..<400 {
      let bytes = HTTPMutationTests.damage(seed, &random)
      let whole = Chunks(bytes, pieces: [bytes.count])
      #expect(Chunks(bytes, pieces: Array(repeating: 1, count: bytes.count)) == whole)
      let cut = Int.random(in: 0...bytes.count, using: &random)
      #expect(Chunks(bytes, pieces: [cut, bytes.count - cut]) == whole)
    }
  }
}
