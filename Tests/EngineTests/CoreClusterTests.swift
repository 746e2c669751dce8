import Testing
import Wire

@testable import Engine

@Suite("A core in its cluster")
struct CoreClusterTests {
  private static let own = NodeID(high: 1, low: 2)
  private static let other = NodeID(high: 3, low: 4)

  private func control() -> ControlPlane {
    ControlPlane(NodeIdentity(id: Self.own, name: "n1"), settings: ClusterSettings(), now: 0)
  }

  /// A view of a cluster of n1 and n2 in which n1 owns the partitions that `owns` says.
  private func view(
    isWritten: Bool = true, isLeaving: Bool = false, _ owns: (Int) -> Bool = { _ in true },
    change: (inout Topology) -> Void = { _ in }
  ) -> ClusterView {
    let control = control()
    let members = [
      Member(id: Self.own, name: "n1", peer: PeerAddress(v4: 0x0A00_0001, port: 3100)),
      Member(
        id: Self.other, name: "n2", peer: PeerAddress(v4: 0x0A00_0002, port: 3100),
        http: PeerAddress(v4: 0x0A00_0002, port: 3000)),
    ]
    let cluster = ClusterID(high: 5, low: 6)
    var topology = Topology(
      founding: cluster, copies: 3, members: members, voters: [Self.own, Self.other], index: LogIndex(1))
    for partition in 0..<partitionCount {
      topology.partitions[partition].owner = owns(partition) ? 0 : 1
      topology.partitions[partition].replicas = [0, 1]
      // As after an activation with one copy in force: what the owner has is what a majority has.
      topology.partitions[partition].epoch = Epoch(1)
      topology.partitions[partition].version = 1
      topology.partitions[partition].replicationFactor = 1
      topology.partitions[partition].synced = [0, 1]
      topology.partitions[partition].isActive = true
    }
    topology.writtenAt = LogIndex(isWritten ? 1 : 0)
    change(&topology)
    control.cluster = cluster
    control.topology = topology
    if isLeaving { control.leave() }
    return ClusterView(control)
  }

  // MARK: Settings of maps

  @Test("settings of a map are asked of the cluster, and answered when the topology shows them or others")
  func settings() throws {
    let node = TestNode(cores: 2)
    node.adopt(view())
    let clients = (0..<2).map { node.connect($0) }
    for (number, client) in clients.enumerated() {
      client.send(request("PUT", "/v1/maps/m", body: "{\"ttl\":\"\(number + 1)s\",\"mode\":\"cache\"}"))
    }
    node.settle()
    #expect(clients.allSatisfy { $0.receivedCount == 0 } && node.mapsAskedFor.count == 2)
    let command = try TopologyCommand(decoding: node.mapsAskedFor[0])
    node.adopt(view(change: { topology in _ = topology.apply(command, at: topology.index.next) }))
    #expect(Set(clients.map { $0.takeAnswers().first?.status }) == [200, 409])
    let shown = (0..<2).map { node.ask("GET", "/v1/maps/m", core: $0).text }
    #expect(Set(shown).count == 1 && shown[0].contains("\"mode\":\"cache\""))
    for (map, body) in [("m", "{\"replicas\":4}"), ("default", "{\"mode\":\"cache\"}"), ("m", "{\"mode\":1}")] {
      #expect(node.ask("PUT", "/v1/maps/\(map)", body: body).status == 400)
    }
    clients[0].send(request("PUT", "/v1/maps/m", body: "{}"))
    node.advance(6_000)
    #expect(clients[0].takeAnswers().map(\.status) == [504])
  }

  // MARK: Waiting

  @Test("requests for keys wait while the node seeks its cluster, the first write until the cluster has noted it")
  func waiting() {
    let node = TestNode(cores: 2)
    node.adopt(ClusterView(control()))
    let writer = node.connect()
    let reader = node.connect(1)
    let lister = node.connect()
    writer.send(request("PUT", "/a", [], Array("1".utf8)) + request("PUT", "/b", [], Array("2".utf8)))
    reader.send(request("GET", "/a", [], nil))
    lister.send(request("GET", "/v1/maps/default", [], nil))
    node.settle()
    #expect(writer.receivedCount == 0 && reader.receivedCount == 0 && lister.receivedCount == 0)
    #expect(node.ask("GET", "/livez").status == 200)
    #expect(node.ask("GET", "/metrics").status == 200)
    #expect(node.ask("GET", "/").text.contains("\"state\":\"seeking\""))
    #expect(node.ask("GET", "/readyz").status == 503)
    node.adopt(view(isWritten: false))
    #expect(reader.takeAnswers().map(\.status) == [404])
    #expect(lister.takeAnswers().map(\.status) == [200])
    #expect(writer.receivedCount == 0)
    #expect(node.writesAskedFor == 1)
    #expect(node.ask("GET", "/a").status == 404, "reads don't wait for the first write")
    node.adopt(view())
    #expect(writer.takeAnswers().map(\.status) == [201, 201])
    #expect(node.ask("PUT", "/c", body: "3").status == 201)
    #expect(node.writesAskedFor == 1)
    for client in [writer, reader, lister] { client.end() }
    node.settle()
    node.checkAtRest()
  }

  @Test("a node that finds no cluster refuses requests after a while, and takes them once it has one")
  func patience() {
    let node = TestNode()
    node.adopt(ClusterView(control()))
    let client = node.connect()
    client.send(request("PUT", "/a", [], Array("1".utf8)))
    node.advance(node.limits.clusterWait - 1)
    #expect(client.receivedCount == 0)
    node.advance(2)
    #expect(client.takeAnswers().map(\.status) == [503])
    #expect(node.ask("GET", "/a").status == 503)
    #expect(node.ask("GET", "/livez").status == 200)
    node.adopt(view())
    #expect(node.ask("PUT", "/a", body: "1").status == 201)
  }

  @Test("a cluster that doesn't agree to take writes has them refused after a while")
  func refusal() {
    let node = TestNode()
    node.adopt(view(isWritten: false))
    let client = node.connect()
    client.send(request("DELETE", "/a", [], nil))
    node.advance(node.limits.clusterWait + 1)
    #expect(client.takeAnswers().map(\.status) == [503])
    #expect(node.writesAskedFor == 1)
    #expect(node.ask("GET", "/a").status == 404)
  }

  @Test("a node that goes down lets nobody wait for a cluster, and says so", arguments: [true, false])
  func goingDown(hasCluster: Bool) {
    let node = TestNode()
    node.adopt(hasCluster ? view(isWritten: false) : ClusterView(control()))
    let (early, late) = (node.connect(), node.connect())
    early.send(request("PUT", "/a", [], Array("1".utf8)))
    late.send(Array(request("PUT", "/a", [], Array("1".utf8)).dropLast()))
    node.settle()
    node.turn(0) { $0.beginShutdown() }
    late.send(Array("1".utf8))
    node.settle()
    for client in [early, late] {
      let answers = client.takeAnswers()
      #expect(answers.map(\.status) == [503])
      #expect(answers.allSatisfy { $0.text.contains("Not applied: this node is going down.") && $0.closes })
    }
    #expect(node.writesAskedFor == (hasCluster ? 1 : 0))
    node.checkAtRest()
  }

  // MARK: Owning

  @Test("a write happens only in a partition that the node owns, on whichever core", arguments: [1, 3])
  func owning(cores: Int) {
    let node = TestNode(cores: cores)
    node.adopt(view { $0 % 2 == 0 })
    for number in 0..<40 {
      let key = "k\(number)"
      let owns = node.partition(of: key) % 2 == 0
      let answer = patiently(node, request("PUT", "/" + key + "?timeout=10ms", body: "x"), core: number % cores)
      #expect(answer?.status == (owns ? 201 : 503))
      if !owns { #expect(answer?["retry-after"] == "1") }
      #expect(node.ask("GET", "/" + key, core: number % cores).status == (owns ? 200 : 404))
      let text = String(repeating: "x", count: 200_000)
      let large = patiently(node, request("PUT", "/" + key + "?timeout=10ms", body: text), core: number % cores)
      #expect(large?.status == (owns ? 200 : 503))
    }
    let operations = (0..<3).map { "{\"op\":\"incr\",\"key\":\"c\($0)\"}" }.joined(separator: ",")
    let batch = request("POST", "/v1/batch", body: "[\(operations)]")
    let text = patiently(node, batch, milliseconds: node.limits.writeTimeout + 20)?.text ?? ""
    let parts = (0..<3).map { node.partition(of: "c\($0)") % 2 == 0 }
    #expect(text.components("\"status\":201") == parts.count { $0 })
    #expect(text.components("\"status\":503") == parts.count { !$0 })
    node.checkAtRest()
  }

  @Test("a partition without an owner that is active takes no writes")
  func fenced() {
    let node = TestNode()
    let partition = node.partition(of: "a")
    node.adopt(view(change: { $0.partitions[partition].isActive = false }))
    let answer = patiently(node, request("PUT", "/a?timeout=10ms", body: "x"))
    #expect(answer?.status == 503)
  }

  @Test("a node without a lease takes no write by the short way either")
  func shortWayWithoutLease() {
    let node = TestNode(cores: 1)
    node.adopt(view { _ in true })
    let desk = ConcernDesk()
    desk.isHeld = true
    node.cores[0].isReplicated = true
    node.cores[0].concernDesk = desk
    let client = node.connect()
    for _ in 0..<3 {
      client.send(request("PUT", "/a", body: "x"))
      node.settle()
      #expect((client.takeAnswers().first?.status ?? 0) / 100 == 2)
    }
    node.lease = 0
    client.send(request("PUT", "/a", body: "y"))
    node.advance(node.limits.writeTimeout + 20)
    #expect(client.takeAnswers().map(\.status) == [503])
    node.lease = .max
    #expect(node.ask("GET", "/a").text == "x")
  }

  /// The answer to a request that may have to wait for an owner.
  private func patiently(
    _ node: TestNode, _ request: [UInt8], core: Int = 0, milliseconds: Int = 30
  ) -> Answer? {
    let client = node.connect(core)
    client.send(request)
    node.advance(milliseconds)
    let answer = client.takeAnswers().first
    client.end()
    node.settle()
    return answer
  }

  @Test("without a lease a node is read-only, from the moment that the lease ends")
  func lease() {
    let node = TestNode()
    node.lease = node.monotonic + 10_000_000
    node.adopt(view())
    #expect(node.ask("PUT", "/a", body: "1").status == 201)
    #expect(node.ask("GET", "/health").status == 200)
    node.advance(10)
    let refused = node.ask("PUT", "/a", body: "2")
    #expect(refused.status == 503)
    #expect(refused.text.contains("majority"))
    #expect(node.ask("GET", "/a").text == "1")
    let health = node.ask("GET", "/health")
    #expect(health.status == 503)
    #expect(health["content-type"] == "application/json")
    #expect(health.text.contains("\"status\":\"read-only\""))
    #expect(node.ask("GET", "/readyz?verbose").status == 503)
    node.lease = node.monotonic + 10_000_000
    #expect(node.ask("PUT", "/a", body: "2").status == 200)
  }

  // MARK: Faces

  @Test("a node that leaves sends its clients to others with each answer")
  func leaving() {
    let node = TestNode()
    node.adopt(view())
    let client = node.connect()
    for isLeaving in [false, true] {
      if isLeaving { node.adopt(view(isLeaving: true)) }
      client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
      node.settle()
      let answers = client.takeAnswers()
      #expect(answers.map(\.status) == [404] && (answers[0]["connection"] == "close") == isLeaving)
    }
  }

  @Test("the ring names a key's owner, and without a key everybody's")
  func ring() {
    let node = TestNode()
    node.adopt(view { $0 % 2 == 0 })
    for key in ["a", "b", "c", "d"] {
      let partition = node.partition(of: key)
      let answer = node.ask("GET", "/v1/ring?key=\(key)")
      #expect(answer.text.contains("\"partition\":\(partition),\"owner\":\"\(partition % 2 == 0 ? "n1" : "n2")\""))
      #expect(answer.text.contains("\"replicas\":[\"n1\",\"n2\"]"))
      #expect(node.ask("GET", "/v1/ring?map=default&key=\(key)").text == answer.text)
    }
    #expect(node.ask("GET", "/v1/ring?key=a&map=m").text != node.ask("GET", "/v1/ring?key=a").text)
    let whole = node.ask("GET", "/v1/ring")
    #expect(whole.text.components("\"owner\":") == partitionCount)
    for target in ["/v1/ring?key=", "/v1/ring?map=m", "/v1/ring?keys=a", "/v1/ring?key=a&map=-"] {
      #expect(node.ask("GET", target).status == 400)
    }
  }

  @Test("the cluster's faces show members, partitions and warnings", arguments: [1, 2])
  func faces(cores: Int) {
    let node = TestNode(cores: cores)
    node.adopt(view { $0 < 24 })
    #expect(node.ask("PUT", "/v1/maps/m/\(Self.key(node, below: 24))", body: "x").status == 201)
    let cluster = node.ask("GET", "/v1/cluster").text
    #expect(cluster.contains("\"commits\":1,\"keys\":1"))
    #expect(cluster.contains("\"partitions\":24") && cluster.contains("\"partitions\":1000"))
    #expect(cluster.contains("two nodes can't fail over"))
    #expect(node.ask("GET", "/readyz?verbose").text.contains("[!]size"))
    #expect(node.ask("GET", "/metrics").text.contains("\nkvd_cluster_partitions_owned 24\n"))
    #expect(node.ask("GET", "/").text.contains("\"status\":\"duck\""))
  }

  /// A key of the map "m" in a partition below a bound.
  private static func key(_ node: TestNode, below bound: Int) -> String {
    for number in 0... {
      let partition = Array("m".utf8).withUnsafeBytes { map in
        Array("k\(number)".utf8).withUnsafeBytes { KeyRef(map: map, key: $0).partition }
      }
      if partition.rawValue < bound { return "k\(number)" }
    }
    preconditionFailure("no such key")
  }
}

extension String {
  /// How many times a piece is in the text.
  fileprivate func components(_ piece: String) -> Int {
    split(separator: piece, omittingEmptySubsequences: false).count - 1
  }
}
