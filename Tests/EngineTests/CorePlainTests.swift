import Testing

@testable import Engine

@Suite("The short way and the long way")
struct CorePlainTests {
  private static let contentTypes = [
    "", "application/json", "text/plain; charset=utf-8", "application/octet-stream", "Text/Odd; a=\"b\"", "image/png",
  ]

  /// A request that may or may not be plain, with what a client may vary.
  private func randomRequest(_ random: inout TestRandom) -> [UInt8] {
    let isPut = random.chance(2)
    var target = "/key-\(random.below(40))"
    if random.chance(12) { target = "/v1/maps/" + ["default", "m", "short"][random.below(3)] + target }
    if random.chance(20) { target += isPut ? "?ttl=5s" : "?read=local" }
    if random.chance(30) { target += "%41" }
    var fields: [String] = []
    if random.chance(10) { fields.append("If-None-Match: \"1-1-1\"") }
    if random.chance(40) { fields.append("Connection: keep-alive") }
    guard isPut else { return request(random.chance(8) ? "HEAD" : "GET", target, fields, nil) }
    let contentType = CorePlainTests.contentTypes[random.below(CorePlainTests.contentTypes.count)]
    if !contentType.isEmpty { fields.append("Content-Type: \(contentType)") }
    let count = [0, 1, 99, 100, 101, 1000, 4096, 4097, 9000][random.below(9)]
    let body = [UInt8](repeating: UInt8(ascii: "a") + UInt8(random.below(26)), count: count)
    return request(random.chance(4) ? "POST" : "PUT", target, fields, body)
  }

  @Test("they give the same bytes for the same requests", arguments: [1, 2, 3, 4] as [UInt64])
  func twins(seed: UInt64) {
    // A node that logs every request goes the long way with all of them.
    let short = TestNode()
    let long = TestNode(logLevel: .debug)
    var random = TestRandom(seed: seed)
    var clients = [short.connect(), long.connect()]
    for _ in 0..<400 {
      var burst: [UInt8] = []
      for _ in 0...random.below(20) { burst += randomRequest(&random) }
      if random.chance(50) {
        burst += Array("GET /key-1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".utf8)
      }
      for client in clients { client.send(burst) }
      short.settle()
      long.settle()
      let texts = clients.map { $0.takeText() }
      #expect(texts[0] == texts[1])
      #expect(!texts[0].isEmpty)
      if texts[0] != texts[1] { return }
      if random.chance(30) {
        let last = request("GET", "/key-2", ["Connection: close"], nil)
        for client in clients { client.send(last) }
        short.settle()
        long.settle()
        #expect(clients[0].takeText() == clients[1].takeText())
        clients = [short.connect(), long.connect()]
      }
    }
    short.checkAtRest()
    long.checkAtRest()
  }

  /// A node whose writes wait until a test says that other nodes hold them, and what is said of its cores.
  private func replicated(logLevel: LogLevel) -> (TestNode, [ConcernDesk]) {
    let node = TestNode(cores: 2, logLevel: logLevel)
    let desks = [ConcernDesk(), ConcernDesk()]
    for (core, desk) in desks.enumerated() {
      node.cores[core].isReplicated = true
      node.cores[core].concernDesk = desk
    }
    return (node, desks)
  }

  /// Says of all that waits, the last first or the first first, that its concern is met.
  private func meet(_ node: TestNode, _ desks: [ConcernDesk], isBackwards: Bool) {
    for (core, desk) in desks.enumerated() {
      let tokens = desk.watched.keys.sorted { isBackwards == ($0.rawValue > $1.rawValue) }
      node.turn(core) { core in
        for token in tokens where core.concernMet(token) { desk.watched[token] = nil }
      }
    }
    node.settle()
  }

  @Test("they do where answers wait for other nodes, too", arguments: [1, 2, 3, 4] as [UInt64])
  func replicatedTwins(seed: UInt64) {
    let twins = [replicated(logLevel: .info), replicated(logLevel: .debug)]
    var random = TestRandom(seed: seed)
    var clients = twins.map { node, _ in (0..<3).map { _ in node.connect() } }
    var answers = 0
    for round in 0..<300 {
      let isHeld = random.chance(6)
      let refusal: Problem? = random.chance(8) ? .notAllInStep : nil
      let bursts = (0..<3).map { _ in (0...random.below(12)).flatMap { _ in randomRequest(&random) } }
      // Who waits: until others hold it, or until the time is over; some are gone by then.
      let (waits, isBackwards, leaves) = (random.chance(10), random.chance(2), random.chance(9))
      for (place, (node, desks)) in twins.enumerated() {
        for desk in desks { (desk.isHeld, desk.refusal) = (isHeld, refusal) }
        for (client, burst) in zip(clients[place], bursts) { client.send(burst) }
        node.settle()
        if leaves {
          clients[place][0].reset()
          node.settle()
        }
        if waits { node.advance(6_000) } else { meet(node, desks, isBackwards: isBackwards) }
        #expect(desks.allSatisfy { $0.watched.isEmpty })
      }
      let texts = clients.map { $0.dropFirst(leaves ? 1 : 0).map { $0.takeText() } }
      #expect(texts[0] == texts[1], "round \(round)")
      if texts[0] != texts[1] { return }
      answers += texts[0].count { !$0.isEmpty }
      if leaves { for place in twins.indices { clients[place][0] = twins[place].0.connect() } }
    }
    #expect(answers > 700)
    for (node, _) in twins { node.checkAtRest() }
  }
}
