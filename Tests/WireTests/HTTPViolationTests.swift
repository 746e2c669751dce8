import Testing

@testable import Wire

@Suite("Requests that are wrong")
struct HTTPViolationTests {
  /// The violation of a request, the same for every way of splitting it.
  func violation(_ text: String) -> HTTPViolation? { violation(Array(text.utf8)) }

  func violation(_ bytes: [UInt8]) -> HTTPViolation? {
    guard case .failed(let violation) = parseAtEverySplit(bytes).result else { return nil }
    return violation
  }

  @Test(
    "request lines",
    arguments: [
      ("\u{16}\u{3}\u{1}", .tls), ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .http2Preface),
      (" GET / HTTP/1.1\r\n", .badMethod), ("G@T / HTTP/1.1\r\n", .badMethod), ("\u{0}", .badMethod),
      ("GET\t/ HTTP/1.1\r\n", .badMethod), ("GET\r\n", .badMethod), ("\u{E9}", .badMethod), (":", .badMethod),
      ("{\"a\":1}", .badMethod), ("\u{80}", .badMethod),
      ("get / HTTP/1.1\r\n", .methodCase), ("Get / HTTP/1.1\r\n", .methodCase), ("hello\r\n", .methodCase),
      ("TRACE / HTTP/1.1\r\n", .unknownMethod), ("BREW /pot HTTP/1.1\r\n", .unknownMethod),
      ("AVERYLONGMETHODNAMEINDEED / HTTP/1.1\r\n", .unknownMethod), ("GETS / HTTP/1.1\r\n", .unknownMethod),
      ("M-SEARCH * HTTP/1.1\r\n", .unknownMethod), ("CONNECT h:1 HTTP/1.1\r\n", .connect),
      ("GET\n", .bareLineFeed),
      ("GET  / HTTP/1.1\r\n", .badTarget), ("GET key HTTP/1.1\r\n", .badTarget), ("GET h:80 HTTP/1.1\r\n", .badTarget),
      ("GET https://h/ HTTP/1.1\r\n", .badTarget), ("GET http:///p HTTP/1.1\r\n", .badTarget),
      ("GET http://u@h/ HTTP/1.1\r\n", .badTarget), ("GET http:/h HTTP/1.1\r\n", .badTarget),
      ("GET ? HTTP/1.1\r\n", .badTarget), ("GET http://h#f HTTP/1.1\r\n", .badTarget),
      ("OPTIONS *x HTTP/1.1\r\n", .badTarget), ("OPTIONS */ HTTP/1.1\r\n", .badTarget),
      ("GET * HTTP/1.1\r\n", .asteriskTarget),
      ("GET /a#b HTTP/1.1\r\n", .targetCharacter), ("GET /\u{7F} HTTP/1.1\r\n", .targetCharacter),
      ("GET /a\tb HTTP/1.1\r\n", .targetCharacter), ("GET /\u{E9} HTTP/1.1\r\n", .targetCharacter),
      ("GET /\u{0} HTTP/1.1\r\n", .targetCharacter), ("GET /k?\u{1} HTTP/1.1\r\n", .targetCharacter),
      ("GET /a\rb HTTP/1.1\r\n", .missingVersion), ("GET /\r\n\r\n", .missingVersion), ("GET /\n", .bareLineFeed),
      ("GET / \r\n", .badVersion), ("GET /  HTTP/1.1\r\n", .badVersion), ("GET / http/1.1\r\n", .badVersion),
      ("GET / HTTP/1.1 \r\n", .badVersion), ("GET /a b HTTP/1.1\r\n", .badVersion), ("GET / HTTP/11\r\n", .badVersion),
      ("GET / HTTP/1.10\r\n", .badVersion), ("GET / HTTP/x.1\r\n", .badVersion), ("GET / HTTPS/1.1\r\n", .badVersion),
      ("GET / HTTP/1,1\r\n", .badVersion), ("GET / HTTP/1.x\r\n", .badVersion),
      ("GET / HTTP/2.0\r\n", .unsupportedVersion), ("GET / HTTP/1.2\r\n", .unsupportedVersion),
      ("GET / HTTP/0.9\r\n", .unsupportedVersion), ("GET / HTTP/3\r\n", .unsupportedVersion),
      ("GET / HTTP/1.1\n", .bareLineFeed), ("GET / HTTP/1.1\rX", .bareCarriageReturn),
      ("GET / HTTP/1.1\r\r\n", .bareCarriageReturn),
    ] as [(String, HTTPViolation)])
  func requestLines(text: String, expected: HTTPViolation) {
    // As bytes, so that the one-byte escapes above stay one byte.
    #expect(violation(text.unicodeScalars.map { UInt8($0.value) }) == expected)
  }

  @Test(
    "field lines",
    arguments: [
      ("A: b\nHost: h\r\n", .bareLineFeed), ("A: b\rc\r\n", .bareCarriageReturn), ("A: b\r\r\n", .bareCarriageReturn),
      ("\rA: b\r\n", .bareCarriageReturn), ("\n", .bareLineFeed), ("A\n: b\r\n", .bareLineFeed),
      (" A: b\r\n", .foldedField), ("\tA: b\r\n", .foldedField), ("A: b\r\n c\r\n", .foldedField),
      ("A: b\r\n\r c", .bareCarriageReturn), ("A : b\r\n", .spaceBeforeColon), ("A\t: b\r\n", .spaceBeforeColon),
      ("Content Length: 1\r\n", .spaceBeforeColon), (": b\r\n", .badFieldName), ("A(: b\r\n", .badFieldName),
      ("A\u{0}: b\r\n", .badFieldName), ("\u{0}\r\n", .badFieldName), ("A\u{E9}: b\r\n", .badFieldName),
      ("A[]: b\r\n", .badFieldName), ("A@b: c\r\n", .badFieldName), ("A\u{B}: b\r\n", .badFieldName),
      ("content\u{D}length: 5\r\n", .missingColon), ("Abc\r\n", .missingColon), ("A\r\n: b\r\n", .missingColon),
      ("A: b\u{0}\r\n", .controlInField), ("A: \u{1}b\r\n", .controlInField), ("A: \u{7F}\r\n", .controlInField),
      ("A:\u{B}b\r\n", .controlInField), ("A: b\u{8}c\r\n", .controlInField), ("A: \u{80}\u{FF}\r\n\r\n", nil),
      ("A: b\tc\r\n\r\n", nil),
      ("Host: h\r\n", .duplicateHost), ("host:\r\n", .duplicateHost),
      ("Content-Type: a\r\nContent-Type: a\r\n", .duplicateContentType),
      ("If-Match: *\r\nIf-Match: *\r\n", .duplicateIfMatch),
      ("If-None-Match:\r\nIf-None-Match:\r\n", .duplicateIfNoneMatch),
      ("Idempotency-Key: 1\r\nIdempotency-Key: 1\r\n", .duplicateIdempotencyKey),
      ("Authorization: 1\r\nAuthorization: 1\r\n", .duplicateAuthorization),
      ("Accept: a\r\nAccept: b\r\nTraceparent: a\r\nTraceparent: b\r\n\r\n", nil),
      ("Expect: 200-ok\r\n", .unknownExpectation), ("Expect:\r\n", .unknownExpectation),
    ] as [(String, HTTPViolation?)])
  func fieldLines(fields: String, expected: HTTPViolation?) {
    let text = "GET / HTTP/1.1\r\nHost: h\r\n" + fields
    #expect(violation(text.unicodeScalars.map { UInt8($0.value) }) == expected)
  }

  @Test("Host is required once, of legal characters")
  func host() {
    #expect(violation("GET / HTTP/1.1\r\n\r\n") == .missingHost)
    #expect(violation("GET / HTTP/1.1\r\nHosts: h\r\n\r\n") == .missingHost)
    #expect(violation("GET http://h/ HTTP/1.1\r\n\r\n") == .missingHost)
    #expect(violation("GET / HTTP/1.0\r\n\r\n") == nil)
    #expect(violation("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n") == .duplicateHost)
    for host in ["a b", "a/b", "a@b", "a\"", "a\\b", "<a>", "a?b", "a#b", "\u{E9}", "{a}", "a, b"] {
      #expect(violation("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n") == .badHost, "\(host)")
      #expect(violation("GET / HTTP/1.1\r\nhost:\(host)\r\n\r\n") == .badHost, "\(host)")
    }
    for host in ["", "a", "[::1]:80", "a_b.c-d~e", "127.0.0.1:3000", "xn--bcher-kva.example", "a%20b", "a!$&'()*+,;=b"]
    {
      #expect(violation("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n") == nil, "\(host)")
    }
  }

  @Test(
    "what could make two servers disagree about where a request ends is refused",
    arguments: [
      ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", .lengthAndTransferEncoding),
      ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", .lengthAndTransferEncoding),
      ("Transfer-Encoding: chunked\r\nContent-Length: x\r\n", .lengthAndTransferEncoding),
      ("Content-Length: 5\r\nContent-Length: 6\r\n", .duplicateContentLength),
      ("Content-Length: 5\r\nContent-Length: 5\r\n", .duplicateContentLength),
      ("Content-Length: 5\r\nContent-length:5\r\n", .duplicateContentLength),
      ("Content-Length: 5, 5\r\n", .badContentLength), ("Content-Length: 5,6\r\n", .badContentLength),
      ("Content-Length: +5\r\n", .badContentLength), ("Content-Length: -5\r\n", .badContentLength),
      ("Content-Length: 0x5\r\n", .badContentLength), ("Content-Length: 5 6\r\n", .badContentLength),
      ("Content-Length:\r\n", .badContentLength), ("Content-Length: \r\n", .badContentLength),
      ("Content-Length: 5.0\r\n", .badContentLength), ("Content-Length: 1_000\r\n", .badContentLength),
      ("Content-Length: \"5\"\r\n", .badContentLength), ("Content-Length: 5;\r\n", .badContentLength),
      ("Content-Length: \u{B2}\r\n", .badContentLength),
      ("Content-Length: 1000000000000000000\r\n", .contentTooLong),
      ("Content-Length: 99999999999999999999999999999999999\r\n", .contentTooLong),
      ("Content-Length: 9999999999999999999999999999999999x\r\n", .badContentLength),
      ("Content-Length : 5\r\n", .spaceBeforeColon), ("Content-Length\t: 5\r\n", .spaceBeforeColon),
      ("Content-Length: 5\n", .bareLineFeed), ("Content-Length: 5\r", nil),
      ("Content-Length: 5\r\n 6\r\n", .foldedField), ("X: y\r\n Content-Length: 5\r\n", .foldedField),
      ("Transfer-Encoding : chunked\r\n", .spaceBeforeColon),
      ("Transfer-Encoding: xchunked\r\n", .chunkedNotFinal), ("Transfer-Encoding: identity\r\n", .chunkedNotFinal),
      ("Transfer-Encoding: chunked, identity\r\n", .chunkedNotFinal), ("Transfer-Encoding:\r\n", .chunkedNotFinal),
      ("Transfer-Encoding: gzip\r\n", .chunkedNotFinal), ("Transfer-Encoding: chunked;q=1\r\n", .chunkedNotFinal),
      ("Transfer-Encoding: chunked, chunked\r\n", .chunkedNotFinal),
      ("Transfer-Encoding: \"chunked\"\r\n", .chunkedNotFinal),
      ("Transfer-Encoding: ,chunked\r\n", .chunkedNotFinal), ("Transfer-Encoding: chunked,\r\n", .chunkedNotFinal),
      ("Transfer-Encoding: gzip, chunked\r\n", .unsupportedTransferEncoding),
      ("Transfer-Encoding: cow,\tchunked\r\n", .unsupportedTransferEncoding),
      ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", .duplicateTransferEncoding),
      ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", .duplicateTransferEncoding),
      ("Transfer-Encoding: \u{B}chunked\r\n", .controlInField), ("Transfer-Encoding:\nchunked\r\n", .bareLineFeed),
      ("Transfer-Encoding\u{0}: chunked\r\n", .badFieldName), ("Transfer-Encoding: chunked\u{0}\r\n", .controlInField),
      ("X: y\u{0}Transfer-Encoding: chunked\r\n", .controlInField),
      ("X: y\rTransfer-Encoding: chunked\r\n", .bareCarriageReturn),
      ("\u{85}Transfer-Encoding: chunked\r\n", .badFieldName),
      ("Transfer-Encoding: chunked\u{A0}\r\n", .chunkedNotFinal),
    ] as [(String, HTTPViolation?)])
  func smuggling(fields: String, expected: HTTPViolation?) {
    let text = "POST /k HTTP/1.1\r\nHost: h\r\n" + fields
    #expect(violation(text.unicodeScalars.map { UInt8($0.value) }) == expected)
  }

  @Test(
    "control characters that folding the case could blur into '-', ':' and ' ' are seen on the fast paths",
    arguments: [
      ("content\u{D}length: 5\r\n\r\n", .missingColon), ("Content-Length\u{1A} 5\r\n\r\n", .badFieldName),
      ("Content-Length:\u{0}5\r\n\r\n", .controlInField), ("Host\u{1A} localhost:3000\r\n\r\n", .badFieldName),
      ("Host:\u{0}localhost:3000\r\n\r\n", .controlInField), ("Host: localhost\u{1A}3000\r\n\r\n", .controlInField),
      ("if\u{D}match: *\r\n\r\n", .missingColon), ("transfer\u{D}encoding: chunked\r\n\r\n", .missingColon),
    ] as [(String, HTTPViolation)])
  func blurred(fields: String, expected: HTTPViolation) {
    #expect(violation("PUT /k HTTP/1.1\r\n" + fields) == expected)
  }

  @Test("HTTP/1.0 has no Transfer-Encoding")
  func transferEncodingInHTTP10() {
    #expect(violation("POST /k HTTP/1.0\r\nTransfer-Encoding: chunked\r\n") == .transferEncodingInHTTP10)
  }

  @Test("names that only look like Transfer-Encoding or Content-Length are other fields")
  func lookAlikes() {
    let parsed = parseAtEverySplit(
      Array("POST /k HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\nContent_Length: 9\r\n\r\n".utf8))
    #expect(parsed.result == .complete && !parsed.chunked && parsed.contentLength == nil)
  }

  @Test("every violation has a status, and a sentence that ends with a full stop", arguments: HTTPViolation.allCases)
  func sentences(violation: HTTPViolation) {
    #expect(violation.status.rawValue >= 400)
    let sentence = violation.sentence.description
    #expect(sentence.hasSuffix("."))
    #expect(sentence.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F })
  }

  @Test("the statuses of the rarer violations")
  func statuses() {
    #expect(HTTPViolation.connect.status == .notImplemented)
    #expect(HTTPViolation.unknownMethod.status == .notImplemented)
    #expect(HTTPViolation.unsupportedTransferEncoding.status == .notImplemented)
    #expect(HTTPViolation.unsupportedVersion.status == .versionNotSupported)
    #expect(HTTPViolation.http2Preface.status == .versionNotSupported)
    #expect(HTTPViolation.contentTooLong.status == .contentTooLarge)
    #expect(HTTPViolation.unknownExpectation.status == .expectationFailed)
    #expect(HTTPViolation.tls.status == .badRequest)
    #expect(MemoryLayout<ParseResult>.size <= 2)
  }
}
