import Testing

@testable import Wire

/// The outcome of decoding bytes that arrive in pieces of the given counts.
struct Chunks: Equatable {
  var data: [UInt8] = []
  var state = ChunkedDecoder.Step.State.needMore
  /// Bytes read up to the end of the body.
  var consumed = 0

  init(_ bytes: [UInt8], pieces: [Int]) {
    var decoder = ChunkedDecoder()
    var start = 0
    for piece in pieces {
      var rest = Array(bytes[start..<start + piece])
      start += piece
      while !rest.isEmpty {
        let step = withExactBytes(rest) { decoder.next($0, $1) }
        precondition(step.consumed <= rest.count && step.dataOffset + step.dataCount <= step.consumed)
        data += rest[step.dataOffset..<step.dataOffset + step.dataCount]
        consumed += step.consumed
        rest.removeFirst(step.consumed)
        state = step.state
        if state == .needMore { precondition(rest.isEmpty, "more is needed, but not all was read") }
        guard state == .needMore || state == .data else { return }
      }
    }
    if state == .data { state = .needMore }
  }
}

@Suite("Chunked bodies")
struct HTTPChunkedTests {
  /// Decodes whole, byte by byte, and cut in two at every index; all must agree.
  func decode(_ text: String, sourceLocation: SourceLocation = #_sourceLocation) -> Chunks {
    let bytes = text.unicodeScalars.map { UInt8($0.value) }
    let whole = Chunks(bytes, pieces: [bytes.count])
    #expect(Chunks(bytes, pieces: Array(repeating: 1, count: bytes.count)) == whole, sourceLocation: sourceLocation)
    for cut in 0...bytes.count {
      #expect(Chunks(bytes, pieces: [cut, bytes.count - cut]) == whole, sourceLocation: sourceLocation)
    }
    return whole
  }

  @Test("data comes out, and what follows the body is left")
  func data() {
    let text = "5\r\nhello\r\n1\r\n \r\n00A\r\n0123456789\r\n0\r\n\r\n"
    let chunks = decode(text + "GET / HTTP/1.1\r\n")
    #expect(chunks.state == .done)
    #expect(String(decoding: chunks.data, as: UTF8.self) == "hello 0123456789")
    #expect(chunks.consumed == text.utf8.count)
    #expect(decode("0\r\n\r\n").state == .done)
    #expect(decode("5\r\nhel").state == .needMore)
  }

  @Test("extensions and trailers are checked and dropped")
  func extras() {
    let chunks = decode("5;a=b;c=\"d e\" \r\nhello\r\n0 \t;x\r\nA-b: c\u{E9}\r\nD:\r\n\r\n")
    #expect(chunks.state == .done)
    #expect(chunks.data.count == 5)
  }

  @Test("a size of 16 digits is read, 17 are not")
  func sizes() {
    #expect(decode("0000000000000005\r\nhello\r\n0\r\n\r\n").state == .done)
    #expect(decode("00000000000000005\r\n").state == .failed(.badChunkSize))
    #expect(decode("ffffffffffffffff\r\n").state == .failed(.chunkTooLong))
    #expect(decode("1000000000000\r\n").state == .needMore)
    #expect(decode("1000000000001\r\n").state == .failed(.chunkTooLong))
    #expect(decode("aB\r\n" + String(repeating: "x", count: 0xAB) + "\r\n0\r\n\r\n").data.count == 0xAB)
  }

  @Test(
    "what is wrong with a chunk",
    arguments: [
      ("\r\n", .badChunkSize), ("x\r\n", .badChunkSize), ("-1\r\n", .badChunkSize), ("+5\r\n", .badChunkSize),
      ("0x5\r\n", .badChunkSize), (" 5\r\n", .badChunkSize), ("5,\r\n", .badChunkSize), (";a\r\n", .badChunkSize),
      ("5 \r\n", .badChunkExtension), ("5\t5\r\n", .badChunkExtension), ("5;a\u{0}\r\n", .badChunkExtension),
      ("5\n", .bareLineFeed), ("5;a\n", .bareLineFeed), ("5\rx", .bareCarriageReturn),
      ("5;a\r\r\n", .bareCarriageReturn),
      ("5\r\nhello5\r\n", .missingChunkEnd), ("5\r\nhello\n", .missingChunkEnd), ("5\r\nhello\rx", .missingChunkEnd),
      ("5\r\nhello!\r\n", .missingChunkEnd), ("0\r\n\n", .bareLineFeed), ("0\r\nA: b\n", .bareLineFeed),
      ("0\r\n\rx", .bareCarriageReturn), ("0\r\nA: b\rx", .bareCarriageReturn), ("0\r\n A: b\r\n", .badTrailer),
      ("0\r\n: b\r\n", .badTrailer), ("0\r\nA : b\r\n", .badTrailer), ("0\r\nA\r\n", .badTrailer),
      ("0\r\nA: \u{0}\r\n", .badTrailer), ("0\r\nGET / HTTP/1.1\r\n", .badTrailer),
    ] as [(String, HTTPViolation)])
  func violations(text: String, expected: HTTPViolation) {
    #expect(decode(text).state == .failed(expected))
  }

  @Test("extensions and trailers of one body are bounded together")
  func overhead() {
    let chunk = "1;" + String(repeating: "e", count: 1_000) + "\r\nx\r\n"
    let bytes = Array(String(repeating: chunk, count: 17).utf8)
    let chunks = Chunks(bytes, pieces: [bytes.count])
    #expect(chunks.state == .failed(.chunkOverheadTooLarge))
    #expect(chunks.data.count == 16)
    let trailer = Array(("0\r\nA: " + String(repeating: "v", count: 17_000) + "\r\n\r\n").utf8)
    #expect(Chunks(trailer, pieces: [trailer.count]).state == .failed(.chunkOverheadTooLarge))
  }
}
