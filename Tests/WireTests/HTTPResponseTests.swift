import Testing

@testable import Wire

@Suite("Answers")
struct HTTPResponseTests {
  func write(_ head: ResponseHead) -> String {
    let date = Array("Sat, 21 Nov 2026 11:07:00 GMT".utf8)
    return written(ResponseHead.maximumCount) { room in
      date.withUnsafeBufferPointer { head.write(into: room, date: $0.baseAddress!) }
    }
  }

  let revision = Revision(partition: PartitionID(17), epoch: Epoch(1), offset: Offset(42))

  @Test("a value's head is these bytes")
  func value() {
    var head = ResponseHead(.ok)
    head.contentLength = 100
    head.contentType = ContentType.json
    head.revision = revision
    #expect(
      write(head)
        == "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\nETag: \"17-1-42\"\r\n"
        + "Date: Sat, 21 Nov 2026 11:07:00 GMT\r\n\r\n")
    head.ttlMilliseconds = 29_873
    head.keepAlive = false
    #expect(write(head).hasSuffix("GMT\r\nKvd-TTL: 29873ms\r\nConnection: close\r\n\r\n"))
  }

  @Test("a stored literal Content-Type comes back byte for byte")
  func literal() {
    let type = Array("Text/Odd; a=\"b\"".utf8)
    type.withUnsafeBufferPointer {
      var head = ResponseHead(.created)
      head.contentLength = 0
      head.contentType = ContentType.literal
      head.contentTypeBytes = $0.baseAddress
      head.contentTypeCount = $0.count
      #expect(
        write(head).hasPrefix("HTTP/1.1 201 Created\r\nContent-Length: 0\r\nContent-Type: Text/Odd; a=\"b\"\r\nDate"))
    }
  }

  @Test("no length, chunks, HTTP/1.0")
  func framing() {
    #expect(write(ResponseHead(.noContent)) == "HTTP/1.1 204 No Content\r\nDate: Sat, 21 Nov 2026 11:07:00 GMT\r\n\r\n")
    var head = ResponseHead(.notModified)
    head.revision = revision
    #expect(write(head).hasPrefix("HTTP/1.1 304 Not Modified\r\nETag: \"17-1-42\"\r\nDate: "))
    var stream = ResponseHead(.ok)
    stream.chunked = true
    stream.contentType = ContentType.eventStream
    #expect(
      write(stream).hasPrefix("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n"))
    var old = ResponseHead(.ok)
    old.contentLength = 1
    old.http10 = true
    #expect(write(old).hasSuffix("\r\nConnection: keep-alive\r\n\r\n"))
    #expect(ResponseHead.continue.description == "HTTP/1.1 100 Continue\r\n\r\n")
  }

  @Test("the rare fields")
  func rare() {
    var head = ResponseHead(.methodNotAllowed)
    head.contentLength = 0
    head.allow = "GET, HEAD"
    head.retryAfter = 3
    head.acceptPatch = true
    head.extra = "Cache-Control: no-store\r\n"
    let location = Array("/v1/logs/a".utf8)
    location.withUnsafeBufferPointer {
      head.location = $0.baseAddress
      head.locationCount = $0.count
      #expect(
        write(head)
          == "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nDate: Sat, 21 Nov 2026 11:07:00 GMT\r\n"
          + "Retry-After: 3\r\nAccept-Patch: application/merge-patch+json, application/json-patch+json\r\n"
          + "Allow: GET, HEAD\r\nLocation: /v1/logs/a\r\nCache-Control: no-store\r\n\r\n")
    }
  }

  @Test("the longest head fits into the stated maximum")
  func maximum() {
    let long = [UInt8](repeating: UInt8(ascii: "x"), count: 256)
    long.withUnsafeBufferPointer {
      var head = ResponseHead(.headerFieldsTooLarge)
      head.contentLength = .max
      head.contentType = ContentType.literal
      head.contentTypeBytes = $0.baseAddress
      head.contentTypeCount = ContentType.maximumCount
      head.revision = Revision(partition: PartitionID(1023), epoch: Epoch(.max), offset: Offset(.max))
      head.ttlMilliseconds = .max
      head.keepAlive = false
      head.retryAfter = .max
      head.acceptPatch = true
      head.location = $0.baseAddress
      head.locationCount = ResponseHead.maximumLocation
      let rest = ResponseHead.maximumAllow + ResponseHead.maximumExtra + "Allow: \r\n".utf8.count
      #expect(write(head).utf8.count + rest <= ResponseHead.maximumCount)
    }
  }

  @Test("every status has a line that parses", arguments: HTTPStatus.allCases)
  func statuses(status: HTTPStatus) {
    let line = status.line.description
    #expect(line.hasPrefix("HTTP/1.1 \(status.rawValue) "))
    #expect(line.hasSuffix("\r\n"))
    let reason = String(
      decoding: UnsafeBufferPointer(start: status.reason.bytes, count: status.reason.count), as: UTF8.self)
    #expect(line == "HTTP/1.1 \(status.rawValue) \(reason)\r\n")
  }

  @Test("a problem is JSON, whatever the detail holds")
  func problems() {
    let detail = Array("say \"hi\" \\ \n\u{1}\u{E9}".utf8) + [0xFF]
    let text = written(Problem.maximumCount(detail: detail.count)) { room in
      detail.withUnsafeBufferPointer { Problem.write(.notFound, detail: $0.baseAddress!, $0.count, into: room) }
    }
    #expect(
      text == #"{"type":"about:blank","title":"Not Found","status":404,"detail":"say \"hi\" \\ \n\u0001é"#
        + "\u{FFFD}\"}\n")
    #expect(
      written { Problem.write(.badRequest, "no", into: $0) }
        == #"{"type":"about:blank","title":"Bad Request","status":400,"detail":"no"}"# + "\n")
  }
}
