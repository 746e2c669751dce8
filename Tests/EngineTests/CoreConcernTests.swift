import Testing

@testable import Engine
@testable import Wire

@Suite("Write concerns")
struct CoreConcernTests {
  /// One for each core.
  private struct Desks {
    var all: [ConcernDesk]
    var concerns: [UInt16] { all.flatMap { $0.watched.values.map { $0.concern.rawValue } }.sorted() }
  }

  /// A node whose writes wait until a test says that other nodes hold them.
  private func node(cores: Int = 2, limits: Limits = TestNode.limits, seed: UInt64? = nil) -> (TestNode, Desks) {
    let node = TestNode(cores: cores, limits: limits, seed: seed)
    let desks = Desks(all: (0..<cores).map { _ in ConcernDesk() })
    for core in 0..<cores {
      node.cores[core].isReplicated = true
      node.cores[core].concernDesk = desks.all[core]
    }
    return (node, desks)
  }

  /// Says of everything that waits that its concern is met.
  private func meet(_ node: TestNode, _ desks: Desks) {
    for (core, desk) in desks.all.enumerated() {
      node.turn(core) { core in
        for token in desk.watched.keys where core.concernMet(token) { desk.watched[token] = nil }
      }
    }
    node.settle()
  }

  @Test("a parked write's answer keeps its place, and others don't wait", arguments: [nil, 1, 2, 3])
  func order(seed: UInt64?) {
    let (node, desks) = node(seed: seed)
    let client = node.connect(0)
    let other = node.connect(0)
    for core in 0..<2 {
      client.send(request("PUT", "/" + node.key(on: core), body: "value"))
      client.send(request("GET", "/" + node.key(on: core)))
    }
    other.send(request("GET", "/nothing"))
    node.settle()
    #expect(client.takeAnswers().isEmpty)
    #expect(other.takeAnswers().map(\.status) == [404])
    #expect(desks.concerns.count == 2)
    meet(node, desks)
    #expect(client.takeAnswers().map(\.status) == [201, 200, 201, 200])
    node.checkAtRest()
  }

  @Test("a write whose concern isn't met in time is unknown, and a late word about it does nothing")
  func timeout() {
    let (node, desks) = node()
    let client = node.connect(0)
    client.send(request("PUT", "/\(node.key(on: 0))?timeout=300ms", body: "1"))
    client.send(request("PUT", "/\(node.key(on: 1))?timeout=2s&w=all", body: "2"))
    node.settle()
    #expect(desks.concerns == [0, 0xFFFF])
    let tokens = desks.all.map { Array($0.watched.keys) }
    node.advance(290)
    #expect(client.takeAnswers().isEmpty)
    node.advance(30)
    let answers = client.takeAnswers()
    #expect(answers.map(\.status) == [504])
    #expect(answers[0].text.contains("Unknown"))
    #expect(desks.concerns.count == 1)
    node.advance(2_000)
    #expect(client.takeAnswers().map(\.status) == [504])
    #expect(desks.concerns.isEmpty)
    for core in 0..<2 {
      var met = 0
      node.turn(core) { core in for token in tokens[core.index] where core.concernMet(token) { met += 1 } }
      #expect(met == 0)
    }
    #expect(node.ask("GET", "/" + node.key(on: 0)).text == "1")
    node.checkAtRest()
  }

  @Test("frames: a parked operation is covered by no ACK until its concern is met", arguments: [nil, 1, 2, 3])
  func frames(seed: UInt64?) {
    let (node, desks) = node(seed: seed)
    let client = FrameClient(node)
    client.send(.put, node.key(on: 0), "here", .ack)
    client.send(.increment, node.key(on: 1))
    client.send(.get, node.key(on: 0))
    node.settle()
    #expect(client.take() == [.reply(id: 3, index: 0, status: 200, body: Array("here".utf8))])
    meet(node, desks)
    let all = client.take()
    #expect(all.contains(.reply(id: 2, index: 0, status: 201, body: [0x31])))
    #expect(all.contains(.ack(id: 3, operations: 3)) || all.contains(.ack(id: 1, operations: 1)))
    node.checkAtRest()
  }

  @Test("elements of a batch wait for their concerns")
  func batch() {
    let (node, desks) = node()
    let client = node.connect(0)
    let body = (0..<4).map { "{\"op\":\"put\",\"key\":\"\(node.key(on: $0 % 2, $0))\",\"value\":\"v\",\"w\":2}" }
    client.send(request("POST", "/v1/batch", body: "[" + body.joined(separator: ",") + "]"))
    node.settle()
    #expect(client.takeAnswers().isEmpty)
    #expect(desks.concerns == [2, 2, 2, 2])
    meet(node, desks)
    let answers = client.takeAnswers()
    #expect(answers.count == 1)
    #expect(answers.first?.text.split(separator: "201").count == 5)
    node.checkAtRest()
  }

  @Test("what isn't admitted isn't applied")
  func refusal() {
    let (node, desks) = node()
    for desk in desks.all { desk.refusal = .concernUnreachable }
    for core in 0..<2 {
      let answer = node.ask("PUT", "/" + node.key(on: core), body: String(repeating: "v", count: 50_000))
      #expect(answer.status == 503)
      #expect(answer["retry-after"] == "1")
      #expect(answer.text.contains("Not applied"))
    }
    #expect(node.keys == 0)
    node.checkAtRest()
  }

  @Test("parked writes are bounded: one too many isn't applied")
  func bound() {
    var limits = TestNode.limits
    limits.waitingAnswers = 3
    let (node, desks) = node(cores: 1, limits: limits)
    let clients = (0..<5).map { _ in node.connect(0) }
    for n in 0..<5 {
      clients[n].send(request("PUT", "/k\(n)", body: "v"))
      node.settle()
    }
    #expect(node.keys == 3)
    meet(node, desks)
    #expect(clients.map { $0.takeAnswers().map(\.status) } == [[201], [201], [201], [503], [503]])
    node.checkAtRest()
  }

  @Test("a client that goes away while its write is parked is forgotten", arguments: [nil, 1, 2, 3])
  func goneClient(seed: UInt64?) {
    let (node, desks) = node(seed: seed)
    for core in 0..<2 {
      let client = node.connect(0)
      client.send(request("PUT", "/" + node.key(on: core), body: "v"))
      node.settle()
      client.reset()
      node.settle()
    }
    meet(node, desks)
    node.checkAtRest()
  }

  @Test("a retry with an idempotency key waits for the first write's concern")
  func idempotency() {
    let (node, desks) = node(cores: 1)
    let clients = (0..<2).map { _ in node.connect(0) }
    for client in clients { client.send(request("PUT", "/k", ["Idempotency-Key: once"], Array("v".utf8))) }
    node.settle()
    #expect(desks.concerns.count == 2)
    #expect(clients[1].takeAnswers().isEmpty)
    meet(node, desks)
    #expect(clients.map { $0.takeAnswers().map(\.status) } == [[201], [201]])
    node.checkAtRest()
  }

  @Test("a lone node parks nothing and knows which concerns it can't reach")
  func alone() {
    let node = TestNode()
    for w in ["1", "majority", "all"] { #expect(node.ask("PUT", "/k?w=\(w)", body: "v").status < 300) }
    #expect(node.ask("PUT", "/k?w=2", body: "v").status == 503)
    for w in ["0", "-1", "1025", "some", ""] { #expect(node.ask("PUT", "/k?w=\(w)", body: "v").status == 400) }
    for timeout in ["0", "x", "2d"] { #expect(node.ask("PUT", "/k?timeout=\(timeout)", body: "v").status == 400) }
    #expect(node.ask("PUT", "/k?timeout=2s", body: "v").status == 200)
    let parked = node.cores[0].waiting.count
    #expect(parked == 0)
  }

  @Test("the wheel of deadlines answers everyone once, at the right tick", arguments: 0..<8)
  func wheel(seed: UInt64) {
    var random = TestRandom(seed: seed)
    var waiting = WaitingAnswers()
    var now: UInt64 = 1_000 + seed
    var open: [WaitToken: UInt64] = [:]
    let nobody = ReplyTarget(connection: ConnectionID(index: 0, generation: 0), gap: nil, gather: 0, element: 0)
    for _ in 0..<2_000 {
      switch random.below(4) {
      case 0, 1:
        let deadline = now + UInt64(random.below(random.chance(4) ? 10_000 : 300))
        let token = waiting.add(
          AnswerTarget(reply: nobody, core: 0), .concern, .put, PartitionID(0), deadline: deadline, now: now,
          outcome: Outcome(status: 200))
        open[token] = deadline
      case 2:
        guard let token = open.keys.min(by: { $0.rawValue < $1.rawValue }), random.chance(3) else { continue }
        open[token] = nil
        waiting.remove(token)?.outcome.value.deallocate()
        let found = waiting.find(token) != nil
        #expect(!found)
      default:
        now += UInt64(random.below(random.chance(10) ? 5_000 : 20))
        for token in waiting.expired(now: now) {
          #expect(open.removeValue(forKey: token).map { $0 <= now } == true)
          waiting.remove(token)?.outcome.value.deallocate()
        }
        // None waits for more than a tick beyond its deadline.
        for deadline in open.values where deadline + 16 < now { Issue.record("late: \(deadline) at \(now)") }
      }
      let count = waiting.count
      #expect(count == open.count)
    }
  }
}
