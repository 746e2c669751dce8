import Testing

@testable import Engine

/// What belongs together although it comes in pieces, and stays apart although it comes at once.
@Suite("Turns, pieces and order")
struct CoreOrderTests {
  @Test("a body that ends in a turn whose batch is full joins the next batch")
  func fullBatch() {
    let node = TestNode()
    let slow = node.connect()
    let many = node.connect()
    slow.send(request("PUT", "/slow", body: "0123456789").dropLast())
    node.settle()
    many.send((0..<Core.batchCapacity).flatMap { request("PUT", "/many\($0)", body: "v\($0)") })
    slow.send("9")
    // One turn hands both over; the one that fills the batch comes first in either order of the two.
    for _ in 0..<2 {
      many.send((0..<Core.batchCapacity).flatMap { request("GET", "/many\($0)") })
      node.turn(0)
    }
    node.settle()
    #expect(slow.takeAnswers().map(\.status) == [201])
    #expect(many.takeAnswers().map(\.status).filter { $0 == 201 }.count == Core.batchCapacity)
    #expect(node.ask("GET", "/slow").text == "0123456789")
    node.checkAtRest()
  }

  @Test("a body that ends behind a full batch of another connection is stored once")
  func fullBatchFirst() {
    let node = TestNode()
    let many = node.connect()
    let slow = node.connect()
    slow.send(request("PUT", "/slow", body: "0123456789").dropLast())
    node.settle()
    many.send((0..<Core.batchCapacity).flatMap { request("GET", "/many\($0)") })
    slow.send("9")
    node.turn(0)
    node.settle()
    #expect(slow.takeAnswers().map(\.status) == [201])
    #expect(many.takeAnswers().map(\.status) == [Int](repeating: 404, count: Core.batchCapacity))
    node.checkAtRest()
  }

  @Test("mail that comes in the turn of a request with a decoded key leaves the key alone")
  func mailAndDecodedKey() {
    let node = TestNode(cores: 2)
    let here = node.connect(0)
    let there = node.connect(1)
    node.settle()
    let key = node.key(on: 0)
    let counters = (0..<8).map { node.key(on: 0, $0, prefix: "count") }
    #expect(node.ask("PUT", "/" + key, body: "value").status == 201)
    for round in 0..<4 {
      there.send(counters.flatMap { request("PUT", "/\($0)?op=incr&by=1000000007") })
      node.turn(1)
      // The key is decoded into the core's scratch memory, where the counters are made too.
      here.send(request("GET", "/v1/maps/default/" + key))
      node.turn(0)
      node.settle()
      #expect(here.takeAnswers().map(\.text) == ["value"])
      #expect(there.takeAnswers().map(\.text) == counters.map { _ in "\((round + 1) * 1_000_000_007)" })
    }
    node.checkAtRest()
  }

  @Test("pipelined answers of several cores leave in the order of their requests", arguments: 1...8)
  func pipelining(seed: UInt64) {
    let node = TestNode(cores: 3, seed: seed)
    for n in 0..<40 { #expect(node.ask("PUT", "/k\(n)", body: "v\(n)").status == 201) }
    let clients = (0..<3).map { node.connect($0) }
    for client in clients {
      client.send((0..<40).flatMap { request($0 % 5 == 4 ? "HEAD" : "GET", "/k\($0)", "X-N: \($0)") })
      client.send((0..<40).flatMap { request("GET", "/none\($0)") })
    }
    node.settle()
    for client in clients {
      let answers = client.takeAnswers { $0 < 40 && $0 % 5 == 4 }
      #expect(answers.count == 80)
      #expect(answers.prefix(40).enumerated().allSatisfy { $1.text == ($0 % 5 == 4 ? "" : "v\($0)") })
      #expect(answers.dropFirst(40).allSatisfy { $0.status == 404 })
    }
    node.checkAtRest()
  }

  @Test("everything a client asked for before it stopped sending is answered, also beyond the bounds")
  func halfClose() {
    var limits = TestNode.limits
    limits.pipelinedRequests = 4
    let node = TestNode(cores: 2, limits: limits)
    let key = node.key(on: 1)
    #expect(node.ask("PUT", "/" + key, body: "v").status == 201)
    let client = node.connect(0)
    client.send((0..<200).flatMap { _ in request("GET", "/" + key) })
    client.end()
    node.settle()
    #expect(client.takeAnswers().map(\.status) == [Int](repeating: 200, count: 200))
    #expect(client.isClosing)
    node.checkAtRest()
  }

  @Test("what a client sent and the kernel took together with the end is answered")
  func halfCloseInOneTurn() {
    var limits = TestNode.limits
    limits.pipelinedRequests = 4
    let node = TestNode(cores: 2, limits: limits)
    let key = node.key(on: 1)
    #expect(node.ask("PUT", "/" + key, body: "v").status == 201)
    for pieces in 1...3 {
      let client = node.connect(0)
      let part = (0..<70).flatMap { _ in request("GET", "/" + key) }
      for _ in 0..<pieces { client.send(part) }
      client.send("GET /" + key + " HTTP/1.1\r\nHo")  // never finished: nobody's
      client.end()
      client.ignoresPause = true
      for _ in 0..<6 { node.turn(0) }
      node.settle()
      #expect(client.takeAnswers().map(\.status) == [Int](repeating: 200, count: 70 * pieces))
      #expect(client.isClosing)
    }
    node.checkAtRest()
  }

  @Test("a connection that its client half-closes in the middle of a body is closed and gives everything back")
  func halfCloseInBody() {
    let node = TestNode()
    for size in [100, 100_000] {
      let client = node.connect()
      client.send(request("PUT", "/x", body: String(repeating: "x", count: size)).dropLast(10))
      client.end()
      node.settle()
      #expect(client.text == "")
      #expect(client.isClosing)
    }
    #expect(node.ask("GET", "/x").status == 404)
    node.checkAtRest()
  }

  @Test("Connection: close ends the connection behind the answer, and later requests are nobody's")
  func connectionClose() {
    let node = TestNode(cores: 2)
    for core in 0..<2 {
      let client = node.connect(0)
      client.send(
        request("GET", "/a") + request("GET", "/" + node.key(on: core), "Connection: close")
          + request("PUT", "/later", body: "1"))
      node.settle()
      let answers = client.takeAnswers()
      #expect(answers.map(\.status) == [404, 404])
      #expect(answers.map(\.closes) == [false, true])
      #expect(client.isWriteShut)
      client.send(request("PUT", "/later", body: "1"))
      client.end()
      node.settle()
      #expect(client.isGone)
    }
    #expect(node.ask("GET", "/later").status == 404)
    node.checkAtRest()
  }

  @Test("HTTP/1.0 closes unless asked to keep the connection")
  func http10() {
    let node = TestNode()
    let closing = node.connect()
    closing.send("GET /a HTTP/1.0\r\n\r\n")
    let keeping = node.connect()
    keeping.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    node.settle()
    #expect(closing.isWriteShut)
    #expect(closing.takeAnswers().map(\.closes) == [true])
    #expect(!keeping.isWriteShut)
    #expect(keeping.takeAnswers().map { $0["connection"] } == ["keep-alive"])
    node.checkAtRest()
  }
}
