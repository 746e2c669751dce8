import Testing

@testable import Wire

@Suite("Request heads")
struct HTTPRequestTests {
  func parse(_ text: String) -> Parsed { parseAtEverySplit(Array(text.utf8)) }

  @Test("a plain GET is taken apart in place")
  func plainGet() {
    let text = "GET /key:000000123456 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n"
    let parsed = parse(text)
    #expect(parsed.result == .complete)
    #expect(parsed.method == .get)
    #expect(parsed.path == "/key:000000123456")
    #expect(parsed.query == nil)
    #expect(parsed.keepAlive && parsed.http11)
    #expect(!parsed.chunked && !parsed.expectContinue && !parsed.pathHasEscapes)
    #expect(parsed.contentLength == nil)
    #expect(parsed.headCount == text.utf8.count)
    #expect(parsed.fields.isEmpty)
  }

  @Test("every captured field is found, trimmed, whatever the case of its name")
  func capturedFields() {
    let parsed = parse(
      "PATCH /a HTTP/1.1\r\nHOST:h\r\ncontent-TYPE: \t application/json \t\r\nIf-Match: \"1-1-1\"\r\n"
        + "if-none-match:*\r\nIDEMPOTENCY-KEY: k 1\r\nAccept: */*\r\nAuthorization: Bearer x\r\n"
        + "Traceparent: 00-a-b-01\r\nX-Odd!#$%&'*+-.^_`|~Name: \u{E9}\r\nContent-Length: 0012\r\n\r\n")
    #expect(parsed.result == .complete)
    #expect(parsed.method == .patch)
    #expect(
      parsed.fields == [
        "content-type": "application/json", "if-match": "\"1-1-1\"", "if-none-match": "*", "idempotency-key": "k 1",
        "accept": "*/*", "authorization": "Bearer x", "traceparent": "00-a-b-01",
      ])
    #expect(parsed.contentLength == 12)
  }

  @Test("a captured field with an empty value is present")
  func emptyValue() {
    #expect(parse("GET / HTTP/1.1\r\nHost:\r\nIf-Match:\r\n\r\n").fields == ["if-match": ""])
    #expect(parse("GET / HTTP/1.1\r\nHost:\r\nIf-Match:  \t \r\n\r\n").fields == ["if-match": ""])
  }

  @Test(
    "every method is known",
    arguments: [
      ("GET", HTTPMethod.get), ("HEAD", .head), ("PUT", .put), ("POST", .post), ("DELETE", .delete),
      ("PATCH", .patch), ("OPTIONS", .options),
    ])
  func methods(name: String, method: HTTPMethod) {
    let parsed = parse("\(name) /x HTTP/1.1\r\nHost: h\r\n\r\n")
    #expect(parsed.result == .complete)
    #expect(parsed.method == method)
    // Also where the head is so short that the fast path can't look at it.
    #expect(Parsed("\(name) /").result == .incomplete)
  }

  @Test(
    "targets",
    arguments: [
      ("/", "/", nil), ("/a/b%2Fc", "/a/b%2Fc", nil), ("/?", "/", ""), ("/k?a=1&b=%20?/", "/k", "a=1&b=%20?/"),
      ("//double", "//double", nil), ("/\"<>\\^`{|}~", "/\"<>\\^`{|}~", nil),
      ("http://h:1/p?q", "/p", "q"), ("HTTP://[::1]:3000/p", "/p", nil), ("http://h", "/", nil),
      ("http://h?q=1", "/", "q=1"), ("http://h/", "/", nil), ("http://a_b/%41", "/%41", nil),
    ] as [(String, String, String?)])
  func targets(target: String, path: String, query: String?) {
    let parsed = parse("GET \(target) HTTP/1.1\r\nHost: h\r\n\r\n")
    #expect(parsed.result == .complete)
    #expect(parsed.path == path)
    #expect(parsed.query == query)
    #expect(parsed.pathHasEscapes == path.contains("%"))
  }

  @Test("OPTIONS may ask about the whole server")
  func asterisk() {
    let parsed = parse("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
    #expect(parsed.result == .complete)
    #expect(parsed.path == "*")
  }

  @Test(
    "who keeps the connection open",
    arguments: [
      ("1.1", "", true), ("1.0", "", false), ("1.1", "close", false), ("1.1", "CLOSE", false),
      ("1.0", "keep-alive", true), ("1.0", "Keep-Alive", true), ("1.1", "keep-alive", true),
      ("1.1", "upgrade, close", false), ("1.0", "keep-alive, close", false), ("1.1", " , keep-alive,\tclose ,", false),
      ("1.1", "closed", true), ("1.0", "TE , keep-alive", true), ("1.1", "", true),
    ])
  func connection(version: String, value: String, keepAlive: Bool) {
    let field = value.isEmpty ? "" : "Connection: \(value)\r\n"
    #expect(parse("GET / HTTP/\(version)\r\nHost: h\r\n\(field)\r\n").keepAlive == keepAlive)
  }

  @Test("several Connection fields are one list")
  func connectionTwice() {
    #expect(!parse("GET / HTTP/1.1\r\nHost: h\r\nConnection: x\r\nConnection: close\r\n\r\n").keepAlive)
  }

  @Test("bodies: length, chunks, and waiting for 100")
  func bodies() {
    let counted = parse("PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\nExpect: 100-Continue\r\n\r\n")
    #expect(counted.contentLength == 100 && counted.expectContinue && !counted.chunked)
    let chunked = parse("PUT /k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n")
    #expect(chunked.contentLength == nil && chunked.expectContinue && chunked.chunked)
    #expect(!parse("PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n").expectContinue)
    #expect(!parse("PUT /k HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n").expectContinue)
    #expect(!parse("PUT /k HTTP/1.0\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n").expectContinue)
  }

  @Test("Content-Length up to 18 digits, in both spellings the parser has a path for")
  func lengths() {
    for value in ["0", "7", "000000000000000000000000000000000012", "999999999999999999"] {
      for field in ["Content-Length: \(value)", "content-length:\(value) ", "CONTENT-LENGTH: \(value)"] {
        #expect(parse("PUT /k HTTP/1.1\r\nHost: h\r\n\(field)\r\n\r\n").contentLength == Int(value))
      }
    }
  }

  @Test("up to two empty lines before the request line are skipped, and counted")
  func emptyLines() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    #expect(parse("\r\n" + request).headCount == request.utf8.count + 2)
    #expect(parse("\r\n\r\n" + request).headCount == request.utf8.count + 4)
    #expect(parse("\r\n\r\n\r\n" + request).result == .failed(.emptyLines))
    #expect(parse("\n" + request).result == .failed(.bareLineFeed))
    #expect(parse("\rG" + request).result == .failed(.bareCarriageReturn))
  }

  @Test("what follows the head is not looked at")
  func pipelined() {
    let request = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
    for rest in ["GET /b HTTP/1.1\r\n", "\u{0}\u{1}", "\n", request] {
      let parsed = parse(request + rest)
      #expect(parsed.result == .complete)
      #expect(parsed.headCount == request.utf8.count)
    }
  }

  @Test("a head of exactly the limit is taken, one byte more is not")
  func limits() {
    let request = Array("GET /abc HTTP/1.1\r\nHost: h\r\nA: bcdef\r\n\r\n".utf8)
    #expect(parseAtEverySplit(request, limit: request.count).result == .complete)
    #expect(parseAtEverySplit(request, limit: request.count - 1).result == .failed(.headTooLarge))
    #expect(parseAtEverySplit(request, limit: 19).result == .failed(.headTooLarge))
    #expect(parseAtEverySplit(request, limit: 18).result == .failed(.requestLineTooLong))
    #expect(HTTPViolation.requestLineTooLong.status == .uriTooLong)
    #expect(HTTPViolation.headTooLarge.status == .headerFieldsTooLarge)
    // Bytes beyond the limit can't change the verdict.
    #expect(parseAtEverySplit(request + [0, 1, 2], limit: 12).result == .failed(.requestLineTooLong))
  }

  @Test("a real browser's and curl's heads")
  func realHeads() {
    let browser =
      "GET /key?x=1 HTTP/1.1\r\nHost: localhost:3000\r\nConnection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"120\"\r\n"
      + "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0\r\n"
      + "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n"
      + "Accept-Language: en-US,en;q=0.9\r\nCookie: a=b; c=\"d\"\r\nIf-None-Match: W/\"17-1-42\"\r\n\r\n"
    let parsed = parse(browser)
    #expect(parsed.result == .complete)
    #expect(parsed.fields["accept"] == "text/html,application/xhtml+xml,*/*;q=0.8")
    #expect(parsed.fields["if-none-match"] == "W/\"17-1-42\"")
    let curl =
      "PUT /key HTTP/1.1\r\nHost: localhost:3000\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nContent-Length: 5\r\n"
      + "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    #expect(parse(curl).contentLength == 5)
    #expect(parse(curl).fields["content-type"] == "application/x-www-form-urlencoded")
  }
}
