import Testing

@testable import Engine
@testable import Wire

/// Nodes that go down on purpose: nobody who asked them, or asked through them, is left without an answer.
@Suite("Nodes that leave")
struct CoreDepartureTests {
  private func put(_ cluster: TestCluster, _ client: TestClient, of node: Int = 1, _ n: Int = 0) {
    client.send(request("PUT", "/" + cluster.key(of: node, n), body: "v\(n)"))
  }

  /// All that a node owned is another's, and the cluster goes on without it: nodes 0 and 2 hear of that.
  private func remove(_ node: Int, of cluster: TestCluster, heir: Int) {
    for partition in 0..<partitionCount where partition % cluster.nodes.count == node {
      cluster.own(partition, heir)
    }
    cluster.remove(node)
    cluster.publish(to: cluster.nodes.indices.filter { $0 != node })
  }

  // MARK: The node is removed

  @Test("what a node answers behind the news that it has left still counts", arguments: [nil, 1, 2, 3])
  func answersBehindNews(seed: UInt64?) {
    let cluster = TestCluster(3, seed: seed)
    cluster.settle()
    let (client, large) = (cluster.nodes[0].connect(), cluster.nodes[0].connect())
    let value = [UInt8](repeating: 7, count: 200_000)
    large.send(request("PUT", "/" + cluster.key(of: 1, 1), [], value))
    cluster.settle()
    #expect(large.takeAnswers().map(\.status) == [201])
    cluster.hold(0, 1)
    put(cluster, client)
    large.send(request("GET", "/" + cluster.key(of: 1, 1)))
    cluster.settle()
    remove(1, of: cluster, heir: 2)
    cluster.settle()
    #expect(client.takeAnswers().isEmpty && large.takeAnswers().isEmpty)
    #expect(cluster.nodes[0].cores[0].linkCount(isUp: true) == 1, "the link counts as a member's")
    cluster.hold(0, 1, false)
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    let answers = large.takeAnswers()
    #expect(answers.map(\.status) == [200])
    #expect(answers.first.map { $0.body == value } == true)
    #expect(cluster.nodes[0].cores[0].links.count { $0.pointee.connection != nil } == 1, "the link stays")
    put(cluster, client, of: 1, 2)
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    cluster.checkAtRest()
  }

  @Test("what it hadn't read goes to the new owner", arguments: [nil, 1, 2, 3])
  func unreadBehindNews(seed: UInt64?) {
    let cluster = TestCluster(3, seed: seed)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    cluster.hold(0, 1)
    put(cluster, client)
    cluster.settle()
    remove(1, of: cluster, heir: 2)
    cluster.nodes[1].turn(0) { $0.beginShutdown() }
    cluster.settle()
    #expect(client.takeAnswers().isEmpty)
    cluster.hold(0, 1, false)
    cluster.advance(100)
    #expect(client.takeAnswers().map(\.status) == [201])
    #expect(cluster.nodes[1].keys == 0 && cluster.nodes[2].keys == 1)
    cluster.checkAtRest()
  }

  @Test("what waited for a link to it goes to the new owner at once; what it never answers is unknown")
  func silentBehindNews() {
    var limits = TestNode.limits
    limits.unsentBytes = 4096
    let cluster = TestCluster(3, limits: limits)
    cluster.settle()
    let (early, late) = (cluster.nodes[0].connect(), cluster.nodes[0].connect())
    let link = cluster.pipes.first { $0.from == 0 && $0.to == 1 }!
    cluster.hold(0, 1)
    link.near.holdsSends = true
    put(cluster, early)
    cluster.settle()
    early.send(request("PUT", "/" + cluster.key(of: 1, 1), [], [UInt8](repeating: 1, count: 2_000)))
    cluster.settle()
    put(cluster, late, of: 1, 2)  // stays with the link, whose connection has enough
    cluster.settle()
    #expect(cluster.nodes[0].cores[0].links.contains { $0.pointee.queue.count == 1 })
    remove(1, of: cluster, heir: 2)
    cluster.advance(50)
    #expect(late.takeAnswers().map(\.status) == [201])
    #expect(early.takeAnswers().isEmpty)
    cluster.advance(limits.linkSilence + 100)
    #expect(early.takeAnswers().map(\.status) == [504, 504])
    #expect(cluster.nodes[0].cores[0].links.count { $0.pointee.connection != nil } == 1, "the link stays")
    cluster.checkAtRest()
  }

  @Test("a removed node that is alive and doesn't answer keeps its link for the time that a shutdown has")
  func deafBehindNews() {
    let cluster = TestCluster(3)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    cluster.nodes[0].turn(0) { core in core.links[0].pointee.operations += 1 }  // as if one were never answered
    remove(1, of: cluster, heir: 2)
    put(cluster, client)
    cluster.advance(cluster.nodes[0].limits.shutdownTimeout - 100)
    #expect(client.takeAnswers().map(\.status) == [201])
    #expect(cluster.nodes[0].cores[0].links.count { $0.pointee.connection != nil } == 2)
    cluster.advance(200)
    #expect(cluster.nodes[0].cores[0].links.count { $0.pointee.connection != nil } == 1)
    cluster.checkAtRest()
  }

  // MARK: The node goes down

  @Test("what is asked through a node that goes down is answered, also if it hadn't left yet", arguments: [1, 2])
  func relayedInShutdown(cores: Int) {
    let cluster = TestCluster(2, cores: cores)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    for pipe in cluster.pipes where pipe.from == 0 { pipe.near.holdsSends = true }
    put(cluster, client)
    cluster.settle()
    for core in 0..<cores { cluster.nodes[0].turn(core) { $0.beginShutdown() } }
    cluster.settle()
    #expect(client.takeAnswers().isEmpty)
    for pipe in cluster.pipes where pipe.from == 0 { pipe.near.holdsSends = false }
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    cluster.checkAtRest()
  }

  @Test("a write that waits for this node's copy waits no longer when there is none any more", arguments: [1, 2])
  func copyGivenUp(cores: Int) {
    for isShutdown in [false, true] {
      let cluster = TestCluster(3, cores: cores, factor: 3)
      cluster.settle()
      let client = cluster.nodes[0].connect()
      cluster.hold(from: 1, to: 0)
      put(cluster, client)
      cluster.advance(100)
      #expect(client.takeAnswers().isEmpty, "the copy has it not yet")
      if isShutdown {
        for core in 0..<cores { cluster.nodes[0].turn(core) { $0.beginShutdown() } }
      } else {
        let partition = cluster.nodes[0].partition(of: cluster.key(of: 1))
        let entry = cluster.topology.partitions[partition]
        cluster.apply(
          .resize([
            .init(
              partition: PartitionID(UInt16(partition)), epoch: entry.epoch, version: entry.version,
              replicationFactor: 2, synced: SlotList(entry.synced.filter { $0 != 0 }))
          ]))
        cluster.publish()
      }
      cluster.advance(10)
      #expect(client.takeAnswers().map(\.status) == [201])
      cluster.checkAtRest()
    }
  }

  @Test("a long value that a node is in the middle of when it goes down is taken, and then it says so")
  func longInShutdown() {
    let node = TestNode()
    let client = FrameClient(node)
    node.settle()
    _ = client.take()
    client.client.holdsSends = true
    client.client.send(client.request([.init(operation: .put, answer: .reply, key: "a", value: [1])]))
    node.settle()
    let bytes = client.long("b", [UInt8](repeating: 7, count: 100_000))
    client.client.send(bytes.prefix(50_000))
    node.settle()
    node.turn(0) { $0.beginShutdown() }
    client.client.holdsSends = false
    node.settle()
    client.client.send(bytes.dropFirst(50_000))
    node.settle()
    let frames = client.take()
    #expect(frames.count == 3, "\(frames)")
    #expect(frames.last == .close(lastID: 2, .goingDown))
    #expect(node.ask("GET", "/b").status == 503, "it takes nobody any more")
    node.checkAtRest()
  }

  @Test("a request that lay in its socket when the shutdown began is answered, and the connection ends with it")
  func unreadInShutdown() {
    let node = TestNode()
    let (early, late, idle) = (node.connect(), node.connect(), node.connect())
    node.settle()
    node.turn(0) { $0.beginShutdown() }
    early.send(request("PUT", "/a", body: "1"))
    node.turn(0)
    late.send(request("GET", "/a"))
    node.turn(0)
    #expect(!idle.isClosing, "the last turn brought something")
    node.settle()
    #expect(idle.isGone)
    #expect(early.takeAnswers().map { [$0.status, $0.closes ? 1 : 0] } == [[201, 1]])
    #expect(late.takeAnswers().map { [$0.status, $0.closes ? 1 : 0] } == [[200, 1]])
    node.checkAtRest()
  }

  @Test("a node that has left its cluster gives idle clients time to ask once more, if there are any")
  func grace() {
    let grace = TestNode.limits.leaveGrace
    for asks in [false, true] {
      let node = TestNode()
      node.cores[0].isLeaving = true
      let client = node.connect()
      node.settle()
      node.turn(0) { $0.beginShutdown() }
      node.advance(grace / 2)
      #expect(!client.isClosing && !node.cores[0].closesIdle)
      if asks {
        client.send(request("GET", "/a"))
        node.settle()
        #expect(client.takeAnswers().map(\.closes) == [true])
        client.end()
        node.advance(10)
        #expect(client.isGone && node.cores[0].closesIdle, "nobody is left to wait for")
      } else {
        node.advance(grace / 2 + 1)
        #expect(client.isGone && node.cores[0].closesIdle)
      }
      node.checkAtRest()
    }
  }

  @Test("a shutdown of which everything was closed at once wants no turn by itself")
  func closedAtOnce() {
    let node = TestNode()
    let client = node.connect()
    node.settle()
    node.turn(0) { $0.closeAll() }
    node.turn(0) { $0.beginShutdown() }
    node.settle()
    #expect(client.isGone)
    #expect(node.cores[0].deadline > node.monotonic)
    node.checkAtRest()
  }

  @Test("turns that bring something don't put the end off for ever")
  func busyShutdown() {
    let node = TestNode()
    let idle = node.connect()
    let busy = node.connect()
    busy.send("GET /")
    node.settle()
    node.turn(0) { $0.beginShutdown() }
    var turns = 0
    while !idle.isClosing && turns < 1000 {
      busy.send("a")
      node.turn(0)
      turns += 1
    }
    #expect(turns < 100)
    node.checkAtRest()
  }
}
