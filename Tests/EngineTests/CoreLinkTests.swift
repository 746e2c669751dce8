import Testing

@testable import Engine
@testable import Wire

/// Links that break, stay silent, lead to the wrong node or to one that can't keep up.
@Suite("Links between nodes")
struct CoreLinkTests {
  private func put(_ cluster: TestCluster, _ client: TestClient, of node: Int = 1, _ n: Int = 0, query: String = "") {
    client.send(request("PUT", "/" + cluster.key(of: node, n) + query, body: "v\(n)"))
  }

  @Test("what was sent over a link that breaks is unknown; what wasn't is sent once more", arguments: [nil, 1, 2, 3])
  func broken(seed: UInt64?) {
    let cluster = TestCluster(2, seed: seed)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    cluster.hold(0, 1)
    put(cluster, client)
    cluster.settle()
    #expect(client.takeAnswers().isEmpty)
    cluster.cut(0, 1)
    cluster.settle()
    let answers = client.takeAnswers()
    #expect(answers.map(\.status) == [504])
    #expect(answers.first?.text.contains("Unknown") == true)
    // The link is dialed again at once, and what is asked meanwhile waits for it.
    put(cluster, client, 1)
    cluster.advance(100)
    #expect(client.takeAnswers().map(\.status) == [201])
    #expect(cluster.nodes[0].cores[0].metrics.value(.linksLost) == 1)
    cluster.checkAtRest()
  }

  @Test("a node that can't be reached costs a 503 with Retry-After after a while, and nobody else waits")
  func unreachable() {
    let cluster = TestCluster(3)
    cluster.settle()
    cluster.refused = [[0, 1]]
    cluster.cut(0, 1)
    cluster.advance(100)
    let (waiting, client) = (cluster.nodes[0].connect(), cluster.nodes[0].connect())
    put(cluster, waiting, of: 1, query: "?timeout=300ms")
    put(cluster, client, of: 2)
    put(cluster, client, of: 0)
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201, 201])
    #expect(waiting.takeAnswers().isEmpty)
    cluster.advance(320)
    let answers = waiting.takeAnswers()
    #expect(answers.map(\.status) == [503])
    #expect(answers.first?["retry-after"] == "1")
    #expect(answers.first?.text.contains("Not applied") == true)
    // It comes back within the longest pause between two attempts.
    cluster.refused = []
    cluster.advance(cluster.nodes[0].limits.linkRetryMost)
    put(cluster, client, of: 1)
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    cluster.checkAtRest()
  }

  @Test("operations that meet a link that isn't up wait for it, in their order", arguments: [nil, 1, 2, 3])
  func linkToCome(seed: UInt64?) {
    let cluster = TestCluster(2, cores: 2, seed: seed)
    cluster.settle()
    cluster.refused = [[0, 1]]
    cluster.cut(0, 1)
    cluster.advance(100)
    let client = cluster.nodes[0].connect()
    let key = cluster.key(of: 1)
    for value in ["1", "2", "3"] { client.send(request("PUT", "/" + key, body: value)) }
    client.send(request("POST", "/" + key + "?op=incr&by=4"))
    client.send(request("GET", "/" + key))
    client.send(request("DELETE", "/" + key, ["If-Match: *"]))
    cluster.settle()
    #expect(client.takeAnswers().isEmpty)
    #expect((0..<2).reduce(0) { $0 + cluster.nodes[0].cores[$1].metrics.value(.held) } == 6)
    cluster.refused = []
    cluster.advance(cluster.nodes[0].limits.linkRetryMost)
    let answers = client.takeAnswers()
    #expect(answers.map(\.status) == [201, 200, 200, 200, 200, 204])
    #expect(answers.count == 6 && answers[4].text == "7")
    #expect(cluster.nodes[1].keys == 0)
    cluster.checkAtRest()
  }

  @Test("what waits for an owner is bounded; more is refused at once")
  func manyWait() {
    var limits = TestNode.limits
    limits.heldOperations = 3
    let cluster = TestCluster(2, limits: limits)
    cluster.settle()
    cluster.refused = [[0, 1]]
    cluster.cut(0, 1)
    cluster.advance(100)
    let clients = (0..<5).map { _ in cluster.nodes[0].connect() }
    for (n, client) in clients.enumerated() { put(cluster, client, n) }
    cluster.settle()
    #expect(clients.map { $0.takeAnswers().map(\.status) } == [[], [], [], [503], [503]])
    cluster.advance(cluster.nodes[0].limits.writeTimeout + 20)
    #expect(clients.map { $0.takeAnswers().map(\.status) } == [[503], [503], [503], [], []])
    cluster.checkAtRest()
  }

  @Test("attempts grow rare up to the cap, and by chance")
  func backoff() {
    let cluster = TestCluster(2)
    cluster.settle()
    cluster.refused = [[0, 1], [1, 0]]
    cluster.cut(0, 1)
    cluster.advance(60_000)
    let failed = cluster.nodes[0].cores[0].metrics.value(.linksFailed)
    #expect(failed > 30 && failed < 75, "\(failed)")
    let other = cluster.nodes[1].cores[0].metrics.value(.linksFailed)
    #expect(
      failed != other
        || cluster.nodes[0].cores[0].links[0].pointee.retryAt
          != cluster.nodes[1].cores[0].links[0].pointee.retryAt
    )
    cluster.checkAtRest()
  }

  @Test("a node that is gone without a word is given up, and what it had is unknown", arguments: [nil, 1, 2])
  func silent(seed: UInt64?) {
    let cluster = TestCluster(2, seed: seed)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    cluster.hold(0, 1)
    put(cluster, client, query: "?timeout=60s")
    cluster.advance(cluster.nodes[0].limits.linkSilence - 100)
    #expect(client.takeAnswers().isEmpty)
    cluster.advance(200)
    #expect(client.takeAnswers().map(\.status) == [504])
    cluster.checkAtRest()
  }

  @Test("a node that takes connections and says nothing is given up in time")
  func silentGreeting() {
    let cluster = TestCluster(2, adopts: false)
    cluster.silent = [1]
    cluster.publish()
    let client = cluster.nodes[0].connect()
    put(cluster, client)
    cluster.settle()
    #expect(client.takeAnswers().isEmpty)
    cluster.advance(cluster.nodes[0].limits.linkGreeting + 100)
    #expect(client.takeAnswers().isEmpty)
    cluster.silent = []
    cluster.advance(3_000)
    #expect(client.takeAnswers().map(\.status) == [201])
    cluster.checkAtRest()
  }

  @Test("an idle link is kept alive for as long as both sides are there")
  func idle() {
    let cluster = TestCluster(2)
    cluster.settle()
    cluster.advance(600_000)
    #expect(cluster.nodes[0].cores[0].metrics.value(.linksLost) == 0)
    #expect(cluster.nodes[0].cores[0].links[0].pointee.state == .up)
    cluster.checkAtRest()
  }

  @Test("a node that isn't the owner says so, and the newer topology is used once", arguments: [nil, 1, 2, 3])
  func wrongOwner(seed: UInt64?) {
    let cluster = TestCluster(3, seed: seed)
    cluster.settle()
    let key = cluster.key(of: 1)
    cluster.own(cluster.nodes[0].partition(of: key), 2)
    cluster.publish(to: [1, 2])
    let client = cluster.nodes[0].connect()
    client.send(request("PUT", "/" + key, body: "moved"))
    cluster.settle()
    #expect(cluster.nodes[1].cores[0].metrics.value(.wrongOwner) == 1)
    #expect(client.takeAnswers().isEmpty)
    cluster.publish(to: [0])
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    #expect(cluster.nodes.map(\.keys) == [0, 0, 1])
    #expect(cluster.nodes[0].cores[0].metrics.value(.relayRetries) == 1)
    cluster.checkAtRest()
  }

  @Test("without a newer topology in time the answer is a retriable 503, and nothing was applied")
  func wrongOwnerForLong() {
    let cluster = TestCluster(3)
    cluster.settle()
    let key = cluster.key(of: 1)
    cluster.own(cluster.nodes[0].partition(of: key), 2)
    cluster.publish(to: [1, 2])
    let client = cluster.nodes[0].connect()
    client.send(request("PUT", "/" + key, body: "moved"))
    cluster.advance(cluster.nodes[0].limits.linkRefresh + 100)
    let answers = client.takeAnswers()
    #expect(answers.map(\.status) == [503])
    #expect(answers.first?.text.contains("Not applied") == true)
    #expect(cluster.nodes.map(\.keys) == [0, 0, 0])
    cluster.checkAtRest()
  }

  @Test("two nodes that each think the other is the owner send an operation on twice, never three times")
  func pingPong() {
    let cluster = TestCluster(2)
    cluster.settle()
    let key = cluster.key(of: 1)
    let partition = cluster.nodes[0].partition(of: key)
    cluster.own(partition, 0)
    cluster.publish(to: [1])
    let client = cluster.nodes[0].connect()
    client.send(request("PUT", "/" + key, body: "v"))
    cluster.advance(5_000)
    #expect(client.takeAnswers().map(\.status) == [503])
    #expect(cluster.nodes[1].cores[0].metrics.value(.framesReceived) < 40)
    #expect(cluster.nodes[1].cores[0].metrics.value(.wrongOwner) <= 2)
    #expect(cluster.nodes[1].cores[0].metrics.value(.relayed) == 0)
    cluster.checkAtRest()
  }

  @Test("an operation that comes home is executed at home", arguments: [nil, 1, 2])
  func cameHome(seed: UInt64?) {
    let cluster = TestCluster(2, cores: 2, seed: seed)
    cluster.settle()
    for n in 0..<6 { cluster.own(cluster.nodes[0].partition(of: cluster.key(of: 1, n)), 0) }
    cluster.publish(to: [1])
    let client = cluster.nodes[0].connect()
    for n in 0..<6 { put(cluster, client, n) }
    cluster.settle()
    cluster.publish(to: [0])
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [Int](repeating: 201, count: 6))
    #expect(cluster.nodes.map(\.keys) == [6, 0])
    cluster.checkAtRest()
  }

  @Test("operations of a partition without an owner wait until it has one, or until their time is over")
  func noOwner() {
    let cluster = TestCluster(2)
    cluster.settle()
    let key = cluster.key(of: 1)
    cluster.own(cluster.nodes[0].partition(of: key), nil)
    cluster.publish()
    let patient = cluster.nodes.map { $0.connect() }
    for (number, client) in patient.enumerated() {
      client.send(request("PUT", "/" + key, body: "\(number)") + request("GET", "/" + key))
    }
    let hasty = cluster.nodes[0].connect()
    hasty.send(request("PUT", "/" + key + "?timeout=50ms", body: "v"))
    cluster.advance(80)
    #expect(hasty.takeAnswers().map(\.status) == [503])
    #expect(patient.allSatisfy { $0.takeAnswers().isEmpty })
    cluster.own(cluster.nodes[0].partition(of: key), 0)
    cluster.publish()
    cluster.advance(20)
    let statuses = patient.map { $0.takeAnswers().map(\.status) }
    #expect(statuses.map { $0.sorted() }.sorted { $0.first! > $1.first! } == [[200, 201], [200, 200]])
    #expect(cluster.nodes.map(\.keys) == [1, 0])
    cluster.checkAtRest()
  }

  @Test("a slow owner bounds what waits for it; the rest is refused", arguments: [nil, 1, 2])
  func slowOwner(seed: UInt64?) {
    var limits = TestNode.limits
    limits.linkBytes = 1 << 16
    let cluster = TestCluster(2, limits: limits, seed: seed)
    cluster.settle()
    cluster.hold(0, 1)
    let clients = (0..<10).map { _ in cluster.nodes[0].connect() }
    let value = String(repeating: "v", count: 2_000)
    for (n, client) in clients.enumerated() {
      for m in 0..<10 { client.send(request("PUT", "/" + cluster.key(of: 1, 10 * n + m), body: value)) }
      client.send(request("PUT", "/" + cluster.key(of: 0, n), body: "here"))
    }
    cluster.settle()
    #expect(cluster.nodes[0].cores[0].links[0].pointee.bytes <= 1 << 16)
    #expect(cluster.nodes[0].keys == 10)
    cluster.hold(0, 1, false)
    cluster.settle()
    let statuses = clients.flatMap { $0.takeAnswers().map(\.status) }
    #expect(statuses.count == 110)
    #expect(Set(statuses) == [201, 503])
    #expect(cluster.nodes[1].keys == statuses.count { $0 == 201 } - 10)
    cluster.checkAtRest()
  }

  @Test("time-outs: the owner answers first, and when it doesn't this node does")
  func timeouts() {
    let cluster = TestCluster(2)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    cluster.hold(0, 1)
    put(cluster, client, query: "?timeout=300ms")
    cluster.advance(400)
    #expect(client.takeAnswers().isEmpty)
    cluster.advance(300)
    #expect(client.takeAnswers().map(\.status) == [504])
    // The late answer does no harm.
    cluster.hold(0, 1, false)
    cluster.settle()
    put(cluster, client, 1)
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    cluster.checkAtRest()
  }

  @Test("a client that goes away leaves nothing behind", arguments: [nil, 1, 2, 3])
  func goneClients(seed: UInt64?) {
    let cluster = TestCluster(2, seed: seed)
    cluster.settle()
    for size in [10, 10_000, 200_000] {
      let client = cluster.nodes[0].connect()
      client.send(request("PUT", "/" + cluster.key(of: 1), [], [UInt8](repeating: 1, count: size)))
      client.send(request("GET", "/" + cluster.key(of: 1)))
      cluster.nodes[0].settle()
      client.reset()
      cluster.settle()
    }
    cluster.checkAtRest()
  }

  @Test("a shutdown answers what was relayed before the links go", arguments: [nil, 1, 2])
  func shutdown(seed: UInt64?) {
    let cluster = TestCluster(2, cores: 2, seed: seed)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    cluster.hold(0, 1)
    put(cluster, client)
    cluster.settle()
    for core in 0..<2 { cluster.nodes[0].turn(core) { $0.beginShutdown() } }
    cluster.settle()
    #expect(client.takeAnswers().isEmpty)
    cluster.hold(0, 1, false)
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    cluster.checkAtRest()
  }

  @Test("an owner that goes down is asked no more; what it didn't execute is answered as not applied")
  func ownerGoesDown() {
    let cluster = TestCluster(2)
    cluster.settle()
    cluster.nodes[1].turn(0) { $0.beginShutdown() }
    let client = cluster.nodes[0].connect()
    put(cluster, client)
    cluster.advance(cluster.nodes[0].limits.writeTimeout + 1_000)
    #expect(client.takeAnswers().map(\.status) == [503])
    #expect(cluster.nodes[1].keys == 0)
    cluster.checkAtRest()
  }

  @Test("a HELLO in the node role names everything, and a client's requests are never taken for relayed ones")
  func roles() {
    let cluster = TestCluster(2)
    cluster.settle()
    let good = FrameID(high: 5, low: 6)
    let cases: [(CloseReason, (inout Greeting) -> Void)] = [
      (.cluster, { $0.cluster = .any }), (.cluster, { $0.cluster = FrameID(high: 5, low: 7) }),
      (.destination, { $0.receiver = .any }), (.destination, { $0.receiver = FrameID(high: 1, low: 7) }),
      (.role, { $0.sender = FrameID(high: 2, low: 7) }), (.unauthenticated, { $0.nonce = good }),
    ]
    for (reason, change) in cases {
      let client = FrameClient(cluster.nodes[1], greets: false)
      client.greet {
        $0.role = .peer
        $0.cluster = good
        $0.receiver = FrameID(high: 2, low: 7)
        change(&$0)
      }
      cluster.settle()
      #expect(client.take() == [.close(lastID: 0, reason)])
    }
    let client = FrameClient(cluster.nodes[1])
    var bytes = client.request([.init(operation: .put, answer: .reply, key: cluster.key(of: 0), value: [1])])
    bytes[5] |= FrameLayout.forwarded
    client.seal(&bytes)
    client.client.send(bytes)
    cluster.settle()
    #expect(client.take() == [.close(lastID: 0, .malformed)])
    cluster.checkAtRest()
  }

  @Test("nodes that share a key prove it to each other; others get no link", arguments: [nil, 1, 2, 3])
  func keys(seed: UInt64?) {
    let cluster = TestCluster(3, seed: seed, keys: [42, 42, 43])
    cluster.settle()
    let client = cluster.nodes[0].connect()
    put(cluster, client, of: 1)
    put(cluster, client, of: 2, query: "?timeout=900ms")
    cluster.advance(1_000)
    #expect(client.takeAnswers().map(\.status) == [201, 503])
    #expect(cluster.nodes[2].cores[0].metrics.value(.linksOpened) == 0)
    #expect(cluster.nodes[2].keys == 0)
    // A client needs no key.
    #expect(FrameClient(cluster.nodes[2]).welcome != nil)
    cluster.checkAtRest()
  }

  @Test("a node without the key doesn't come in, nor one with a key where none is wanted")
  func missingKey() {
    let cluster = TestCluster(2, keys: [42, nil])
    cluster.settle()
    cluster.advance(1_000)
    for node in cluster.nodes { #expect(node.cores[0].metrics.value(.linksOpened) == 0) }
    #expect(cluster.nodes[0].cores[0].metrics.value(.linksFailed) > 1)
    cluster.checkAtRest()
  }

  @Test("a recorded handshake can't be played again")
  func replay() {
    let cluster = TestCluster(2, keys: [42, 42])
    var recorded: [UInt8] = []
    cluster.tap = { from, bytes in if from == 0 { recorded += bytes } }
    cluster.settle()
    let client = cluster.nodes[0].connect()
    put(cluster, client)
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    let thief = cluster.nodes[1].connect(isPeer: true)
    thief.send(recorded)
    cluster.settle()
    #expect(thief.isWriteShut)
    #expect(cluster.nodes[1].cores[0].metrics.value(.badFrames) == 1)
    thief.end()
    cluster.checkAtRest()
  }

  @Test("who writes through a node with a copy reads the write there", arguments: [nil, 1, 2, 3])
  func readsOwnWrites(seed: UInt64?) {
    let cluster = TestCluster(3, cores: seed == nil ? 1 : 2, seed: seed, factor: 3)
    cluster.settle()
    let clients = (0..<4).map { cluster.nodes[0].connect($0 % cluster.nodes[0].count) }
    // The owner's records reach node 2 and thus a majority, but not node 0.
    cluster.hold(from: 1, to: 0)
    for (n, client) in clients.enumerated() { put(cluster, client, n) }
    cluster.settle()
    #expect(cluster.nodes[2].keys == 4)
    for client in clients { #expect(client.takeAnswers().isEmpty) }
    cluster.hold(from: 1, to: 0, false)
    cluster.settle()
    for (n, client) in clients.enumerated() {
      #expect(client.takeAnswers().map(\.status) == [201])
      client.send(request("GET", "/" + cluster.key(of: 1, n)))
    }
    let relayed = (0..<cluster.nodes[0].count).map { cluster.nodes[0].cores[$0].metrics.value(.relayed) }
    cluster.settle()
    for (n, client) in clients.enumerated() { #expect(client.takeAnswers().map(\.text) == ["v\(n)"]) }
    #expect(relayed == (0..<cluster.nodes[0].count).map { cluster.nodes[0].cores[$0].metrics.value(.relayed) })
    // A copy that stays behind holds an answer back for as long as the request may wait, and no longer.
    cluster.hold(from: 1, to: 0)
    put(cluster, clients[0], 9, query: "?timeout=200ms")
    cluster.advance(300)
    #expect(clients[0].takeAnswers().isEmpty)
    cluster.advance(300)
    #expect(clients[0].takeAnswers().map(\.status) == [201])
    // A revision that must be there is asked of the owner.
    let key = "/" + cluster.key(of: 1, 9)
    clients[1].send(request("GET", key))
    let etag = cluster.nodes[1].ask("GET", key).etag.filter { $0 != "\"" }
    clients[1].send(request("GET", key + "?min-revision=" + etag))
    cluster.settle()
    #expect(clients[1].takeAnswers().map(\.status) == [404, 200])
    cluster.hold(from: 1, to: 0, false)
    cluster.checkAtRest()
  }

  @Test("parked writes never keep a node from hearing that they are held", arguments: [nil, 1, 2, 3])
  func parkedBehindEachOther(seed: UInt64?) {
    var limits = TestNode.limits
    limits.pendingOperations = 4
    let cluster = TestCluster(2, cores: seed == nil ? 1 : 2, limits: limits, seed: seed, factor: 2)
    cluster.settle()
    // Node 1 parks what node 0 relays; node 0's acknowledgements come behind its further requests.
    let clients = (0..<8).map { _ in cluster.nodes[0].connect() }
    for (n, client) in clients.enumerated() { for m in 0..<20 { put(cluster, client, of: 1, n * 20 + m) } }
    cluster.settle()
    for client in clients { #expect(client.takeAnswers().map(\.status) == [Int](repeating: 201, count: 20)) }
    cluster.checkAtRest()
  }
}
