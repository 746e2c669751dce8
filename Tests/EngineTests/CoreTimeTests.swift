import Testing

@testable import Engine

@Suite("Slow clients and the way down")
struct CoreTimeTests {
  @Test("a core without connections or expiring keys sleeps for ever")
  func sleeps() {
    let node = TestNode()
    node.settle()
    #expect(deadline(node) == .max)
    let client = node.connect()
    client.send(request("PUT", "/a", body: "1"))
    node.settle()
    client.end()
    node.advance(130_000)
    #expect(client.isGone)
    #expect(deadline(node) == .max)
    node.checkAtRest()
  }

  @Test("a core with an expiring key wakes when the key is due and no earlier")
  func expiry() {
    let node = TestNode()
    #expect(node.ask("PUT", "/a?ttl=5m", body: "1").status == 201)
    node.advance(130_000)  // the connection's idle time is over
    let turns = node.turns
    node.advance(150_000)
    #expect(node.keys == 1)
    #expect(node.turns == turns)
    node.advance(30_000)
    #expect(node.keys == 0)
    #expect(deadline(node) == .max)
    node.checkAtRest()
  }

  @Test("an idle connection is closed without a word, one that asks stays")
  func idle() {
    let node = TestNode()
    let idle = node.connect()
    let busy = node.connect()
    for _ in 0..<5 {
      busy.send(request("GET", "/a"))
      node.advance(50_000)
    }
    #expect(idle.isGone)
    #expect(idle.text == "")
    #expect(busy.isOpen)
    #expect(busy.takeAnswers().count == 5)
    node.advance(121_000)
    #expect(busy.isGone)
    node.checkAtRest()
  }

  @Test("a head that takes too long is answered with 408, however steadily it comes")
  func head() {
    let node = TestNode()
    let client = node.connect()
    for byte in Array("GET /a HTTP/1.1\r\nX: ".utf8) {
      client.send([byte])
      node.advance(400)
    }
    #expect(client.text == "")
    for _ in 0..<12 {
      client.send("x")
      node.advance(400)
    }
    #expect(client.takeAnswers().map(\.status) == [408])
    #expect(client.isWriteShut)
    node.advance(2_500)
    #expect(client.isGone)
    node.checkAtRest()
  }

  @Test("pipelined requests that never end with a piece have each their own time")
  func steadyPipelining() {
    let node = TestNode()
    let client = node.connect()
    let one = request("GET", "/a")
    client.send(one.prefix(10))
    for _ in 0..<40 {
      client.send(one.dropFirst(10) + one + one.prefix(10))
      node.advance(1_000)
    }
    #expect(client.takeAnswers().map(\.status) == [Int](repeating: 404, count: 80))
    #expect(client.isOpen)
    node.advance(11_000)
    #expect(client.takeAnswers().map(\.status) == [408])
    node.checkAtRest()
  }

  @Test("a body may take long as long as it comes; one that stops is answered with 408", arguments: [100, 100_000])
  func body(size: Int) {
    let node = TestNode()
    let client = node.connect()
    let bytes = request("PUT", "/a", [], [UInt8](repeating: 7, count: size))
    client.send(bytes.dropLast(10))
    for byte in bytes.suffix(10).dropLast() {
      node.advance(29_000)
      client.send([byte])
    }
    node.advance(29_000)
    #expect(client.text == "")
    client.holdsSends = true
    node.advance(1_100)
    #expect(client.isTaking)
    // The client has its time to take the answer.
    node.advance(20_000)
    #expect(client.isTaking && !client.isClosing)
    client.holdsSends = false
    node.settle()
    #expect(client.takeAnswers().map(\.status) == [408])
    node.checkAtRest()
    #expect(node.keys == 0)
  }

  @Test("a client that takes nothing is reset")
  func send() {
    let node = TestNode()
    let client = node.connect()
    client.holdsSends = true
    client.send(request("GET", "/a"))
    node.advance(29_000)
    #expect(!client.isClosing)
    node.advance(1_500)
    #expect(client.wasAborted && client.isGone)
    #expect(client.text == "")
    node.checkAtRest()
  }

  @Test("a large value may be taken slowly as long as something of it is taken")
  func slowTaker() {
    let node = TestNode()
    let value = [UInt8](repeating: 9, count: 1 << 20)
    #expect(node.ask("PUT", "/a", [], value).status == 201)
    let client = node.connect()
    client.holdsSends = true
    client.send(request("GET", "/a"))
    node.settle()
    for _ in 0..<20 where client.received.count < value.count {
      node.advance(20_000)
      client.takeOnce()
    }
    client.holdsSends = false
    node.settle()
    #expect(client.takeAnswers().map(\.body) == [value])
    #expect(!client.wasAborted)
    node.checkAtRest()
  }

  @Test("a connection lingers behind its last answer until the client ends or the time is over")
  func linger() {
    let node = TestNode()
    let patient = node.connect()
    let quick = node.connect()
    for client in [patient, quick] { client.send(request("GET", "/a", "Connection: close")) }
    node.settle()
    #expect(patient.isWriteShut && quick.isWriteShut)
    quick.end()
    patient.send("more")
    node.settle()
    #expect(quick.isGone && !patient.isClosing)
    node.advance(1_900)
    #expect(!patient.isClosing)
    node.advance(400)
    #expect(patient.isGone && !patient.wasAborted)
    node.checkAtRest()
  }

  // MARK: Shutdown

  @Test("a shutdown closes idle connections and finishes what is in flight")
  func shutdown() {
    let node = TestNode(cores: 2)
    let idle = node.connect()
    let inHead = node.connect()
    let inBody = node.connect()
    let waiting = node.connect()
    inHead.send("GET /a HTTP/1.1\r\n")
    inBody.send(request("PUT", "/b", body: "12345").dropLast())
    node.settle()
    node.holdsMail = true
    waiting.send(request("GET", "/" + node.key(on: 1)))
    node.turn(0)
    for core in 0..<2 { node.turn(core) { $0.beginShutdown() } }
    node.settle()
    #expect(idle.isGone)
    #expect(!inHead.isClosing && !inBody.isClosing && !waiting.isClosing)
    node.holdsMail = false
    inHead.send("Host: h\r\n\r\n")
    inBody.send("5")
    node.settle()
    for client in [inHead, inBody, waiting] {
      #expect(client.takeAnswers().count == 1)
      #expect(client.isWriteShut)
      client.end()
    }
    let late = node.connect()
    late.send(request("GET", "/a"))
    node.settle()
    let answers = late.takeAnswers()
    #expect(answers.map(\.status) == [503])
    #expect(answers.first?.text.contains("going down") == true)
    #expect(answers.map(\.closes) == [true])
    node.advance(2_500)
    for core in 0..<2 { #expect(node.cores[core].openConnections == 0) }
    node.checkAtRest()
  }

  @Test("a request that came in the turn of the shutdown is answered")
  func shutdownInTurn() {
    for core in 0..<2 {
      let node = TestNode(cores: 2)
      let client = node.connect()
      node.settle()
      client.send(request("PUT", "/" + node.key(on: core), body: "1"))
      node.turn(0) { $0.beginShutdown() }
      node.settle()
      #expect(client.takeAnswers().map(\.status) == [201])
    }
  }

  @Test("answers given during a shutdown say Connection: close")
  func shutdownAnswers() {
    let node = TestNode()
    let client = node.connect()
    client.send(request("GET", "/a").dropLast())
    node.settle()
    node.turn(0) { $0.beginShutdown() }
    client.send("\n")
    client.send(request("GET", "/b"))
    node.settle()
    #expect(client.takeAnswers().map(\.closes) == [true])
    node.checkAtRest()
  }

  @Test("closeAll ends even what is in flight")
  func closeAll() {
    let node = TestNode()
    let client = node.connect()
    client.holdsSends = true
    client.send(request("GET", "/a"))
    node.settle()
    node.turn(0) { $0.beginShutdown() }
    #expect(!client.isClosing)
    node.turn(0) { $0.closeAll() }
    node.settle()
    #expect(client.isGone)
    node.checkAtRest()
  }

  private func deadline(_ node: TestNode) -> UInt64 { node.cores[0].deadline }
}
