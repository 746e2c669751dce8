import Testing

@testable import Engine
@testable import Wire

@Suite("The binary protocol")
struct CoreFrameTests {
  private typealias Step = FrameClient.Step

  @Test("HELLO is answered with the node's names and limits")
  func greeting() {
    let node = TestNode()
    let client = FrameClient(node)
    let welcome = client.welcome!
    #expect(welcome.sender == FrameID(high: 1, low: 2))
    #expect(welcome.receiver == FrameClient.name)
    #expect(welcome.frameLimit == UInt32(node.limits.frame))
    #expect(welcome.role == .peer)
    let other = FrameClient(node)
    #expect(other.welcome!.session != welcome.session)
    node.checkAtRest()
  }

  @Test("a HELLO that can't be meant for this node is closed with its reason")
  func wrongGreetings() {
    let node = TestNode()
    let cases: [(CloseReason, (inout Greeting) -> Void)] = [
      (.cluster, { $0.cluster = FrameID(high: 9, low: 9) }), (.destination, { $0.receiver = FrameID(high: 9, low: 9) }),
      (.role, { $0.sender = .any }), (.version, { $0.version = 0 }),
    ]
    for (reason, change) in cases {
      let client = FrameClient(node, greets: false)
      client.greet(change)
      node.settle()
      #expect(client.take() == [.close(lastID: 0, reason)])
      #expect(client.client.isWriteShut)
    }
    node.checkAtRest()
  }

  @Test("the three levels of answer", arguments: [nil, 1, 2, 3])
  func levels(seed: UInt64?) {
    let node = TestNode(seed: seed)
    let client = FrameClient(node)
    client.send(
      Step(operation: .put, answer: .none, key: "a", value: [1]),
      Step(operation: .put, answer: .ack, key: "b", value: [2]),
      Step(operation: .put, answer: .reply, key: "c", value: [3]),
      Step(operation: .increment, answer: .ack, key: "a"),  // no number: fails, so it is told
      Step(operation: .get, answer: .reply, key: "b"))
    node.settle()
    let all = client.take()
    #expect(
      all == [
        .reply(id: 1, index: 2, status: 201, body: []), .reply(id: 1, index: 3, status: 409, body: []),
        .reply(id: 1, index: 4, status: 200, body: [2]), .ack(id: 1, operations: 5),
      ])
    node.checkAtRest()
  }

  @Test("every operation, with what it may ask for")
  func operations() {
    let node = TestNode()
    let client = FrameClient(node)
    client.send(.put, "k", "one")
    client.send(.append, "k", " two")
    client.send(.get, "k")
    client.send(.increment, "n")
    client.send(.delete, "k")
    client.send(.get, "k")
    node.settle()
    let bodies: [String] = client.take().map {
      guard case .reply(_, _, let status, let body) = $0 else { return "?" }
      return "\(status) \(String(decoding: body, as: UTF8.self))"
    }
    #expect(bodies == ["201 ", "200 ", "200 one two", "201 1", "204 ", "404 "])
    var create = OperationTerms()
    create.revision = FrameRevision.absent
    client.send(Step(operation: .put, answer: .reply, key: "new", value: [1], terms: create))
    client.send(Step(operation: .put, answer: .reply, key: "new", value: [2], terms: create))
    var present = OperationTerms()
    present.revision = FrameRevision.present
    client.send(Step(operation: .put, answer: .reply, key: "nothing", value: [1], terms: present))
    node.settle()
    #expect(client.statuses() == [201, 412, 412])
    node.checkAtRest()
  }

  @Test("ACKs are cumulative across cores: none covers what a core hasn't applied", arguments: [nil, 1, 2, 3, 4, 5])
  func acksAcrossCores(seed: UInt64?) {
    let node = TestNode(cores: 3, seed: seed)
    let client = FrameClient(node, core: 1)
    node.holdsMail = true
    client.send(.put, node.key(on: 1), "here", .ack)
    client.send(.put, node.key(on: 2), "there", .ack)
    client.send(.put, node.key(on: 1, 1), "here", .ack)
    client.send(.put, node.key(on: 0), "there", .ack)
    node.settle()
    var acks = client.take()
    #expect(acks.last == .ack(id: 1, operations: 1))
    node.holdsMail = false
    node.settle()
    acks += client.take()
    #expect(acks.last == .ack(id: 4, operations: 4))
    var last: UInt64 = 0
    for case .ack(let id, _) in acks {
      #expect(id > last)
      last = id
    }
    #expect(node.keys == 4)
    node.checkAtRest()
  }

  @Test("long values go and come back whole, to any core, in any pieces", arguments: [nil, 1, 2, 3])
  func longValues(seed: UInt64?) {
    let node = TestNode(cores: 2, seed: seed)
    let client = FrameClient(node)
    for core in 0..<2 {
      let key = node.key(on: core)
      for count in [0, 1, 5_000, 700_000] {
        let value = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ count) }
        let bytes = client.long(key, value)
        var at = 0
        while at < bytes.count {
          let piece = min(bytes.count - at, at == 0 ? 30 : 65_536)
          client.client.send(bytes[at..<at + piece])
          at += piece
        }
        node.settle()
        client.send(.get, key)
        node.settle()
        let answers = client.take()
        guard answers.count == 2, case .reply(_, 0, 200, let body) = answers[1] else {
          Issue.record("\(answers.count) answers")
          continue
        }
        #expect(body == value)
      }
    }
    node.checkAtRest()
  }

  @Test("a long value whose record's checksum doesn't fit is not stored")
  func damagedLongValue() {
    let node = TestNode()
    let client = FrameClient(node)
    var bytes = client.long("k", [UInt8](repeating: 7, count: 9_000))
    bytes[bytes.count - 1] ^= 1
    client.client.send(bytes)
    node.settle()
    #expect(client.take() == [.close(lastID: 0, .badChecksum)])
    #expect(node.keys == 0)
    node.checkAtRest()
  }

  @Test("operations under way on other cores are bounded, and nothing is lost", arguments: [nil, 1, 2, 3])
  func pendingOperations(seed: UInt64?) {
    var limits = TestNode.limits
    limits.pendingOperations = 10
    let node = TestNode(cores: 2, limits: limits, seed: seed)
    let client = FrameClient(node)
    node.holdsMail = true
    for round in 0..<20 {
      client.client.send(
        client.request(
          (0..<16).map { Step(operation: .put, answer: .ack, key: node.key(on: $0 % 2, round * 8 + $0 / 2)) }))
    }
    node.settle()
    #expect(!client.client.isRead || client.client.pauses > 0)
    #expect(node.keys < 40 + 2 * Core.batchCapacity)
    node.holdsMail = false
    node.settle()
    #expect(client.take().last == .ack(id: 20, operations: 320))
    #expect(node.keys == 320)
    node.checkAtRest()
  }

  @Test("a client that takes no replies is read from no further", arguments: [nil, 1, 2])
  func unsentReplies(seed: UInt64?) {
    var limits = TestNode.limits
    limits.unsentBytes = 20_000
    let node = TestNode(limits: limits, seed: seed)
    #expect(node.ask("PUT", "/k", body: String(repeating: "v", count: 2_000)).status == 201)
    let client = FrameClient(node)
    client.client.holdsSends = true
    for _ in 0..<100 { client.send(.get, "k") }
    node.settle()
    #expect(client.client.pauses > 0)
    #expect(!client.client.isRead)
    client.client.holdsSends = false
    node.settle()
    #expect(client.statuses() == [Int](repeating: 200, count: 100))
    node.checkAtRest()
  }

  @Test("hostile frames close their connection with the reason and touch nothing")
  func hostileFrames() {
    let node = TestNode()
    func expect(_ reason: CloseReason, lastID: UInt64 = 1, _ spoil: (FrameClient) -> [UInt8]) {
      let client = FrameClient(node)
      client.send(.put, "good", "1")
      client.client.send(spoil(client))
      node.settle()
      let closes = client.take().filter { if case .close = $0 { true } else { false } }
      #expect(closes == [.close(lastID: lastID, reason)])
    }
    func changed(_ bytes: [UInt8], _ change: (inout [UInt8]) -> Void) -> [UInt8] {
      var bytes = bytes
      change(&bytes)
      return bytes
    }
    let put = Step(operation: .put, answer: .reply, key: "bad", value: [1])
    expect(.badChecksum) { changed($0.request([put])) { $0[40] ^= 1 } }
    expect(.tooLong) { _ in [0, 0, 0, 64, 3, 0, 1, 0] }
    expect(.malformed) { _ in [8, 0, 0, 0, 3, 0, 1, 0] }
    expect(.unknownKind) { _ in [24, 0, 0, 0, 99, 0, 0, 0] }
    expect(.unknownKind) { $0.plain(.ack, id: 1) }
    expect(.outOfOrder) {
      _ = $0.request([put])
      return $0.request([put])
    }
    expect(.noGreeting) { $0.plain(.hello, id: 0) }
    // A frame of another connection: the binding differs.
    let other = FrameClient(node)
    other.send(.put, "good", "1")
    expect(.badChecksum) { _ in other.request([put]) }
    #expect(node.keys == 1)
    #expect(node.ask("GET", "/bad").status == 404)
    let cut = FrameClient(node)
    cut.client.send(cut.request([put]).dropLast(3))
    cut.client.end()
    node.settle()
    #expect(cut.take() == [.close(lastID: 0, .truncated)])
    #expect(node.ask("GET", "/metrics").text.contains("kvd_bad_frames_total 9"))
    node.checkAtRest()
  }

  @Test("any damage to any byte of a request closes the connection", arguments: 0..<8)
  func mutations(bit: Int) {
    let node = TestNode()
    let length = FrameClient(node).request([Step(operation: .put, answer: .reply, key: "key", value: [1, 2, 3])]).count
    for position in 0..<length {
      let client = FrameClient(node)
      var bytes = client.request([Step(operation: .put, answer: .reply, key: "key", value: [1, 2, 3])])
      bytes[position] ^= UInt8(1 << bit)
      client.client.send(bytes)
      client.client.end()
      node.settle()
      let all = client.take()
      if case .close = all.last {} else { Issue.record("byte \(position): \(all)") }
      #expect(all.count == 1)
    }
    #expect(node.keys == 0)
    node.checkAtRest()
  }

  @Test("PING is answered, and CLOSE ends the connection behind the last answer")
  func pingAndClose() {
    let node = TestNode(cores: 2)
    let client = FrameClient(node)
    client.client.send(client.plain(.ping, id: 42))
    node.settle()
    #expect(client.take() == [.pong(42)])
    node.advance(node.limits.idleTimeout + 1_000)
    #expect(client.take() == [.close(lastID: 0, .idle)])
    node.checkAtRest()
  }

  @Test("a shutdown answers what it took and says that the node goes down", arguments: [nil, 1, 2, 3])
  func shutdown(seed: UInt64?) {
    let node = TestNode(cores: 2, seed: seed)
    let client = FrameClient(node)
    let idle = FrameClient(node, core: 1)
    node.holdsMail = true
    client.send(.put, node.key(on: 1), "value")
    node.settle()
    for core in 0..<2 { node.turn(core) { $0.beginShutdown() } }
    node.settle()
    #expect(idle.take() == [.close(lastID: 0, .goingDown)])
    #expect(client.take() == [])
    node.holdsMail = false
    node.settle()
    #expect(client.take() == [.reply(id: 1, index: 0, status: 201, body: []), .close(lastID: 1, .goingDown)])
    #expect(client.client.isWriteShut)
    node.checkAtRest()
  }
}
