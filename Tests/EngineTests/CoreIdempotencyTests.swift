import Testing

@testable import Engine

@Suite("Idempotency, conditions, counters and edits over HTTP")
struct CoreIdempotencyTests {
  @Test("a retry with the same key gets the first answer and changes nothing", arguments: [1, 2])
  func retry(cores: Int) {
    let node = TestNode(cores: cores)
    for core in 0..<cores {
      let path = "/" + node.key(on: core)
      let first = node.ask("PUT", path + "?op=incr&by=5", "Idempotency-Key: one")
      #expect(first.text == "5")
      for asker in 0..<cores {
        let again = node.ask("PUT", path + "?op=incr&by=5", "Idempotency-Key: one", core: asker)
        #expect(again.text == "5" && again.etag == first.etag && again.status == first.status)
      }
      #expect(node.ask("PUT", path + "?op=incr&by=6", "Idempotency-Key: one").status == 422)
      #expect(node.ask("PUT", path + "?op=incr&by=5", "Idempotency-Key: two").text == "10")
      #expect(node.ask("DELETE", path, "Idempotency-Key: three").status == 204)
      #expect(node.ask("DELETE", path, "Idempotency-Key: three").status == 204)
      #expect(node.ask("DELETE", path).status == 404)
    }
    node.checkAtRest()
  }

  @Test("a retry of a large value is the same request however its bytes arrive", arguments: [1, 2])
  func largeRetry(cores: Int) {
    let node = TestNode(cores: cores)
    for core in 0..<cores {
      let path = "/" + node.key(on: core)
      for size in [32_768, 40_000] {
        let bytes = request("PUT", path, ["Idempotency-Key: \(size)"], [UInt8](repeating: 7, count: size))
        var etags: [String] = []
        for cut in [bytes.count, 100, 33_000] {
          let client = node.connect(0)
          client.send(bytes.prefix(cut))
          client.send(bytes.dropFirst(cut))
          node.settle()
          let answers = client.takeAnswers()
          #expect(answers.count == 1 && answers[0].status < 300)
          etags += answers.map(\.etag)
        }
        let chunked = node.connect(0)
        chunked.send(request("PUT", path, ["Idempotency-Key: \(size)", "Transfer-Encoding: chunked"]))
        chunked.send(Array("\(String(size, radix: 16))\r\n".utf8) + [UInt8](repeating: 7, count: size))
        chunked.send("\r\n0\r\n\r\n")
        node.settle()
        etags += chunked.takeAnswers().map(\.etag)
        #expect(etags.count == 4 && Set(etags).count == 1)
      }
    }
    node.checkAtRest()
  }

  @Test("idempotency keys are forgotten by age and by number")
  func forgetting() {
    var limits = TestNode.limits
    limits.idempotencyKeys = 3
    limits.idempotencyWindow = 60_000
    let node = TestNode(limits: limits)
    #expect(node.ask("PUT", "/n?op=incr", "Idempotency-Key: a").text == "1")
    node.advance(61_000)
    #expect(node.ask("PUT", "/n?op=incr", "Idempotency-Key: a").text == "2")
    for key in ["b", "c", "d"] { _ = node.ask("PUT", "/n?op=incr", "Idempotency-Key: \(key)") }
    #expect(node.ask("PUT", "/n?op=incr", "Idempotency-Key: d").text == "5")
    #expect(node.ask("PUT", "/n?op=incr", "Idempotency-Key: a").text == "6")
    node.checkAtRest()
  }

  @Test("conditions compare the revision", arguments: [1, 2])
  func conditions(cores: Int) {
    let node = TestNode(cores: cores)
    for core in 0..<cores {
      let path = "/" + node.key(on: core)
      #expect(node.ask("PUT", path, "If-Match: *", body: "0").status == 412)
      let one = node.ask("PUT", path, "If-None-Match: *", body: "1")
      #expect(one.status == 201)
      #expect(node.ask("PUT", path, "If-None-Match: *", body: "2").status == 412)
      let two = node.ask("PUT", path, "If-Match: \"9-9-9\", \(one.etag)", body: "2")
      #expect(two.status == 200)
      #expect(node.ask("PUT", path, "If-Match: \(one.etag)", body: "3").status == 412)
      #expect(node.ask("DELETE", path, "If-Match: \(one.etag)").status == 412)
      let unchanged = node.ask("GET", path, "If-None-Match: \(two.etag)")
      #expect(unchanged.status == 304 && unchanged.etag == two.etag && unchanged.body.isEmpty)
      #expect(node.ask("GET", path, "If-None-Match: W/\(two.etag)").status == 304)
      #expect(node.ask("GET", path, "If-None-Match: \(one.etag)").text == "2")
      #expect(node.ask("GET", path, "If-Match: \(one.etag)").status == 412)
      #expect(node.ask("GET", path, "If-Match: nonsense").status == 400)
      #expect(node.ask("DELETE", path, "If-Match: \(two.etag)").status == 204)
    }
    node.checkAtRest()
  }

  @Test("min-revision waits for nobody: a revision that was written is there, a later one is not", arguments: [1, 2])
  func minRevision(cores: Int) {
    let node = TestNode(cores: cores)
    for core in 0..<cores {
      let path = "/" + node.key(on: core)
      let tag = node.ask("PUT", path, body: "1").etag.filter { $0 != "\"" }
      #expect(node.ask("GET", path + "?min-revision=\(tag)").text == "1")
      #expect(node.ask("GET", path + "?min-revision=\(tag)0").status == 503)
      #expect(node.ask("GET", path + "?min-revision=0-0").status == 400)
    }
    node.checkAtRest()
  }

  @Test("counters and appends keep content type and expiry", arguments: [1, 2])
  func counters(cores: Int) {
    let node = TestNode(cores: cores)
    for core in 0..<cores {
      let path = "/" + node.key(on: core)
      #expect(node.ask("POST", path + "?op=incr&ttl=60s").text == "1")
      #expect(node.ask("GET", path)["content-type"] == "text/plain; charset=utf-8")
      #expect(node.ask("POST", path + "?op=incr&by=-3").text == "-2")
      #expect(node.ask("POST", path + "?op=append", body: "7").status == 200)
      let read = node.ask("GET", path)
      #expect(read.text == "-27" && read["kvd-ttl"] == "60000ms")
      #expect(node.ask("POST", path + "?op=incr&by=9223372036854775807").text == "9223372036854775780")
      #expect(node.ask("POST", path + "?op=incr&by=100").status == 409)
      #expect(node.ask("PUT", path, "Content-Type: a/b", body: "12x").status == 200)
      #expect(node.ask("POST", path + "?op=incr").status == 409)
      #expect(node.ask("POST", path + "?op=append", "Content-Type: c/d", body: "y").status == 200)
      #expect(node.ask("GET", path)["content-type"] == "a/b")
    }
    node.checkAtRest()
  }

  @Test("edits inside JSON values leave the rest as it was written, and failed ones everything", arguments: [1, 2])
  func edits(cores: Int) {
    let node = TestNode(cores: cores)
    let json = "Content-Type: application/json"
    for core in 0..<cores {
      let path = "/" + node.key(on: core)
      #expect(node.ask("PUT", path, json, body: "{ \"a\": [1.0, 2], \"b\": null }").status == 201)
      #expect(node.ask("GET", path + "?at=/a/0").text == "1.0")
      #expect(node.ask("PUT", path + "?at=/a/-", body: "3").status == 200)
      #expect(node.ask("GET", path + "?at=/a/2").text == "3")
      #expect(node.ask("GET", path + "?at=/a/9").status == 404)
      #expect(node.ask("DELETE", path + "?at=/b").status == 200)
      let before = node.ask("GET", path)
      let patch = "[{\"op\":\"add\",\"path\":\"/c\",\"value\":1},{\"op\":\"test\",\"path\":\"/a/0\",\"value\":9}]"
      #expect(node.ask("PATCH", path, "Content-Type: application/json-patch+json", body: patch).status == 409)
      #expect(node.ask("GET", path) == before)
      let merge = "{\"a\":null,\"d\":{\"e\":1}}"
      #expect(node.ask("PATCH", path, "Content-Type: application/merge-patch+json", body: merge).status == 200)
      #expect(node.ask("GET", path + "?at=/d/e").text == "1")
      #expect(node.ask("PATCH", path, json, body: "{}").status == 415)
      #expect(node.ask("PUT", path, body: "not json").status == 200)
      #expect(node.ask("GET", path + "?at=/a").status == 409)
    }
    node.checkAtRest()
  }
}
