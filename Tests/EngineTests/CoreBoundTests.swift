import Testing

@testable import Engine

@Suite("Bounds")
struct CoreBoundTests {
  @Test("a client with many unfinished requests waits, and nothing is lost", arguments: [nil, 1, 2, 3])
  func pipelinedRequests(seed: UInt64?) {
    var limits = TestNode.limits
    limits.pipelinedRequests = 8
    let node = TestNode(cores: 2, limits: limits, seed: seed)
    let client = node.connect(0)
    node.settle()
    let keys = (0..<300).map { node.key(on: $0 % 2, $0 / 2) }
    node.holdsMail = true
    for key in keys { client.send(request("PUT", "/" + key, body: key)) }
    node.settle()
    #expect(client.pauses == 1 || seed != nil)
    #expect(!client.isRead)
    #expect(node.keys < 2 * (8 + Core.batchCapacity))
    node.holdsMail = false
    node.settle()
    #expect(client.takeAnswers().map(\.status) == [Int](repeating: 201, count: 300))
    #expect(client.isRead)
    client.send(keys.flatMap { request("GET", "/" + $0) })
    node.settle()
    #expect(client.takeAnswers().map(\.text) == keys)
    node.checkAtRest()
  }

  @Test("a client that takes no answers waits, and nothing is lost", arguments: [nil, 1, 2, 3])
  func unsentBytes(seed: UInt64?) {
    var limits = TestNode.limits
    limits.unsentBytes = 20_000
    let node = TestNode(cores: 2, limits: limits, seed: seed)
    let values = (0..<4).map { String(repeating: "\($0)", count: $0 % 2 == 0 ? 3_000 : 30_000) }
    for (n, value) in values.enumerated() { #expect(node.ask("PUT", "/value\(n)", body: value).status == 201) }
    let client = node.connect(0)
    client.holdsSends = true
    for n in 0..<200 { client.send(request("GET", "/value\(n % 4)")) }
    node.settle()
    #expect(client.pauses > 0)
    #expect(!client.isRead)
    #expect(node.cores[0].chunks.used < 80)
    client.holdsSends = false
    node.settle()
    #expect(client.takeAnswers().map(\.text) == (0..<200).map { values[$0 % 4] })
    node.checkAtRest()
  }

  @Test("bodies beyond the memory for them are refused, and the memory comes back")
  func collectedBytes() {
    var limits = TestNode.limits
    limits.collectedBytes = 25_000
    let node = TestNode(limits: limits)
    let bytes = request("PUT", "/a", [], [UInt8](repeating: 1, count: 10_000))
    let clients = (0..<3).map { _ in node.connect() }
    for client in clients { client.send(bytes.dropLast()) }
    node.settle()
    #expect(clients[2].takeAnswers().map(\.status) == [503])
    #expect(clients[2].isWriteShut)
    for client in clients { client.send([1]) }
    node.settle()
    #expect(clients[0].takeAnswers().map(\.status) == [201])
    #expect(clients[1].takeAnswers().map(\.status) == [200])
    #expect(clients[2].text == "")
    #expect(node.cores[0].collectedBytes == 0)
    node.checkAtRest()
  }

  @Test("connections beyond the limit are told so and closed")
  func connections() {
    var limits = TestNode.limits
    limits.connections = 3
    let node = TestNode(limits: limits)
    let welcome = (0..<3).map { _ in node.connect() }
    node.settle()
    let own = node.connect()
    let nodeWide = node.connect(isBeyondLimit: true)
    own.send(request("PUT", "/a", body: "1"))
    node.settle()
    for client in [own, nodeWide] {
      let answers = client.takeAnswers()
      #expect(answers.map(\.status) == [503])
      #expect(answers.map(\.closes) == [true])
      #expect(client.isWriteShut)
      client.end()
    }
    welcome[0].send(request("GET", "/a"))
    node.settle()
    #expect(welcome[0].takeAnswers().map(\.status) == [404])
    #expect(own.isGone && nodeWide.isGone)
    node.checkAtRest()
  }

  @Test("operations for a core that doesn't read its mail are refused and not applied")
  func mailbox() {
    var limits = TestNode.limits
    limits.mailbox = 1 << 16
    let node = TestNode(cores: 2, limits: limits)
    let keys = (0..<500).map { node.key(on: 1, $0) }
    node.settle()
    node.holdsMail = true
    let clients = (0..<10).map { _ in node.connect(0) }
    for (n, client) in clients.enumerated() {
      for key in keys[(n * 50)..<(n * 50 + 50)] {
        client.send(request("PUT", "/" + key, [], [UInt8](repeating: 1, count: 1_000)))
      }
    }
    node.settle()
    node.holdsMail = false
    node.settle()
    let statuses = clients.flatMap { $0.takeAnswers().map(\.status) }
    #expect(statuses.count == 500)
    #expect(Set(statuses) == [201, 503])
    #expect(node.keys == statuses.filter { $0 == 201 }.count)
    for (key, status) in zip(keys, statuses) {
      #expect(node.ask("GET", "/" + key).status == (status == 201 ? 200 : 404))
    }
    node.checkAtRest()
  }

  @Test("a large value for a core that doesn't read its mail is refused and its pages come back")
  func mailboxAndStagedValue() {
    var limits = TestNode.limits
    limits.mailbox = 1 << 14
    let node = TestNode(cores: 2, limits: limits)
    let before = node.usedBytes
    node.holdsMail = true
    let filler = node.connect(0)
    for n in 0..<100 { filler.send(request("PUT", "/" + node.key(on: 1, n), body: String(repeating: "x", count: 900))) }
    node.settle()
    let client = node.connect(0)
    client.send(request("PUT", "/" + node.key(on: 1, 200), [], [UInt8](repeating: 1, count: 500_000)).dropLast())
    node.settle()
    #expect(node.cores[0].store.stagedPages > 200)
    client.send([1])
    node.settle()
    #expect(client.takeAnswers().map(\.status) == [503])
    #expect(node.cores[0].store.stagedPages == 0)
    node.holdsMail = false
    node.settle()
    for n in 0..<100 { _ = node.ask("DELETE", "/" + node.key(on: 1, n)) }
    #expect(node.usedBytes <= before + 300_000)
    node.checkAtRest()
  }

  @Test("a batch as large as it may be is executed whole, whatever cores it is for")
  func largestBatch() {
    let node = TestNode(cores: 3)
    let operations = (0..<10_000).map { "{\"op\":\"put\",\"key\":\"key-number-\($0)-of-a-batch\",\"value\":\($0)}" }
    let text = "[" + operations.joined(separator: ",") + "]"
    let answer = node.ask("POST", "/v1/batch", body: text)
    #expect(answer.status == 200)
    #expect(answer.text.components(of: "{\"status\":201,") == 10_000)
    #expect(node.keys == 10_000)
    node.checkAtRest()
  }

  @Test("the size of a batch is bounded however its bytes arrive")
  func batchBody() {
    var limits = TestNode.limits
    limits.batchBody = 1_000
    let node = TestNode(limits: limits)
    let body = "[" + String(repeating: " ", count: 1_000) + "]"
    #expect(node.ask("POST", "/v1/batch", body: body).status == 413)
    let client = node.connect()
    client.send(request("POST", "/v1/batch", body: body).dropLast())
    node.settle()
    #expect(client.takeAnswers().map(\.status) == [413])
    let chunks = node.connect()
    chunks.send(
      "POST /v1/batch HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3EA\r\n" + body + "\r\n0\r\n\r\n")
    node.settle()
    #expect(chunks.takeAnswers().map(\.status) == [413])
    node.checkAtRest()
  }

  @Test("values have their limit however their bytes arrive")
  func value() {
    var limits = TestNode.limits
    limits.value = 50_000
    let node = TestNode(cores: 2, limits: limits)
    let largest = [UInt8](repeating: 3, count: 50_000)
    for core in 0..<2 {
      let path = "/" + node.key(on: core)
      #expect(node.ask("PUT", path, [], largest).status == 201)
      #expect(node.ask("GET", path).body == largest)
      #expect(node.ask("PUT", path, [], largest + [3]).status == 413)
      let declared = node.connect()
      declared.send(request("PUT", path, ["Expect: 100-continue", "Content-Length: 50001"]))
      let chunked = node.connect()
      chunked.send(request("PUT", path, ["Transfer-Encoding: chunked"]))
      chunked.send(Array("C351\r\n".utf8) + largest + [3])
      node.settle()
      for client in [declared, chunked] {
        let answers = client.takeAnswers()
        #expect(answers.map(\.status) == [413])
        #expect(answers.map(\.closes) == [true])
      }
      #expect(node.ask("GET", path).body == largest)
    }
    node.checkAtRest()
  }
}

extension String {
  /// How often a text occurs.
  func components(of text: String) -> Int {
    let (bytes, wanted) = (Array(utf8), Array(text.utf8))
    var found = 0
    var at = 0
    while at + wanted.count <= bytes.count {
      if bytes[at] == wanted[0] && bytes[at..<at + wanted.count].elementsEqual(wanted) {
        found += 1
        at += wanted.count
      } else {
        at += 1
      }
    }
    return found
  }
}
