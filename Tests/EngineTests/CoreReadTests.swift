import Testing

@testable import Engine
@testable import Wire

@Suite("How new reads are")
struct CoreReadTests {
  private func cluster(_ count: Int = 3, cores: Int = 1, seed: UInt64? = nil) -> TestCluster {
    let cluster = TestCluster(count, cores: cores, seed: seed, factor: 3)
    cluster.settle()
    cluster.advance(100)
    return cluster
  }

  private func stale(_ answer: Answer?) -> String? { answer?.fields["kvd-stale"] }

  @Test("a local read is answered by any copy, labelled where another node owns the key or this one is cut off")
  func local() {
    let cluster = cluster()
    let key = cluster.key(of: 0)
    #expect(send(cluster, 0, "PUT", "/\(key)", "1").first?.status == 201)
    for (node, label) in [(0, nil), (1, "replica"), (2, "replica")] as [(Int, String?)] {
      for query in ["", "?read=local"] {
        let answer = send(cluster, node, "GET", "/\(key)\(query)").first
        #expect(answer?.text == "1" && stale(answer) == label, "node \(node) \(query)")
      }
      // The second time by the short way of repeated heads.
      let client = cluster.nodes[node].connect()
      client.send(request("GET", "/\(key)"))
      client.send(request("GET", "/\(key)"))
      cluster.settle()
      for answer in client.takeAnswers() { #expect(answer.text == "1" && stale(answer) == label) }
      #expect(stale(send(cluster, node, "GET", "/\(cluster.key(of: 0, 5))").first) == label)
    }
    cluster.nodes[0].lease = 0
    #expect(stale(send(cluster, 0, "GET", "/\(key)").first) == "cut-off")
    let batch = send(cluster, 1, "POST", "/v1/batch", "[{\"op\":\"get\",\"key\":\"\(key)\"}]").first
    #expect(batch?.text.contains("\"stale\":\"replica\"") == true)
    #expect(stale(send(cluster, 1, "GET", "/v1/maps/default").first) == "replica")
  }

  @Test("a linearizable read asks a majority, once per turn for all reads of a partition", arguments: [nil, 1, 2])
  func linearizable(seed: UInt64?) {
    let cluster = cluster(cores: seed == nil ? 1 : 2, seed: seed)
    let key = cluster.key(of: 0)
    #expect(send(cluster, 0, "PUT", "/\(key)", "1").first?.status == 201)
    for node in 0..<3 {
      let answer = send(cluster, node, "GET", "/\(key)?read=linearizable").first
      #expect(answer?.status == 200 && answer?.text == "1" && stale(answer) == nil, "node \(node)")
      #expect(send(cluster, node, "GET", "/\(cluster.key(of: 0, 9))?read=linearizable").first?.status == 404)
    }
    let large = bytes(300_000, 3)
    let client = cluster.nodes[1].connect()
    client.send(request("PUT", "/\(key)", [], large))
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [200])
    for node in 0..<3 {
      #expect(send(cluster, node, "GET", "/\(key)?read=linearizable").first?.body == large)
      #expect(send(cluster, node, "HEAD", "/\(key)?read=linearizable").first?.body.isEmpty == true)
    }
    cluster.checkAtRest()
  }

  @Test("many reads of one turn are one question to each member")
  func batched() {
    let cluster = cluster()
    let key = cluster.key(of: 0)
    #expect(send(cluster, 0, "PUT", "/\(key)", "1").first?.status == 201)
    let client = cluster.nodes[0].connect()
    var sent = 0
    cluster.tap = { node, bytes in if node == 0 { sent += bytes.count } }
    var all: [UInt8] = []
    for _ in 0..<30 { all += request("GET", "/\(key)?read=linearizable") }
    client.send(all)
    cluster.settle()
    #expect(client.takeAnswers().map(\.text) == Array(repeating: "1", count: 30))
    // Two frames with one section each.
    #expect(sent == 2 * (FrameLayout.headCount + 24))
  }

  @Test("an owner that was deposed without knowing it answers no linearizable read")
  func deposed() {
    let cluster = cluster()
    let key = cluster.key(of: 0)
    #expect(send(cluster, 0, "PUT", "/\(key)", "old").first?.status == 201)
    cluster.hold(0, 1)
    cluster.hold(0, 2)
    let client = cluster.nodes[0].connect()
    client.send(request("GET", "/\(key)?read=linearizable&timeout=1500ms"))
    cluster.settle()
    #expect(client.takeAnswers().isEmpty)
    // The others promise a later epoch; it isn't told, and its lease lasts, as far as it knows.
    cluster.apply(.setState(NodeID(high: 1, low: 7), .down))
    cluster.publish(to: [1, 2])
    cluster.hold(0, 1, false)
    cluster.hold(0, 2, false)
    cluster.advance(1000)
    #expect(client.takeAnswers().isEmpty)
    #expect(send(cluster, 0, "GET", "/\(key)").first?.text == "old")
    cluster.advance(1000)
    #expect(client.takeAnswers().map(\.status) == [504])
  }

  @Test("a committed read waits until a majority has what it shows; a linearizable one too")
  func committed() {
    let cluster = cluster()
    let key = cluster.key(of: 0)
    #expect(send(cluster, 0, "PUT", "/\(key)", "1").first?.status == 201)
    cluster.hold(0, 1)
    cluster.hold(0, 2)
    let clients = (0..<3).map { _ in cluster.nodes[0].connect() }
    clients[0].send(request("PUT", "/\(key)?w=1", body: "2"))
    cluster.settle()
    #expect(clients[0].takeAnswers().map(\.status) == [200])
    #expect(send(cluster, 0, "GET", "/\(key)").first?.text == "2")
    clients[1].send(request("GET", "/\(key)?read=committed&timeout=3s"))
    clients[2].send(request("GET", "/\(key)?read=linearizable&timeout=300ms"))
    cluster.settle()
    #expect(clients[1].takeAnswers().isEmpty)
    cluster.advance(400)
    #expect(clients[2].takeAnswers().map(\.status) == [504])
    #expect(clients[1].takeAnswers().isEmpty)
    cluster.hold(0, 1, false)
    cluster.settle()
    #expect(clients[1].takeAnswers().map(\.text) == ["2"])
    #expect(send(cluster, 2, "GET", "/\(cluster.key(of: 2))?read=committed").first?.status == 404)
    #expect(send(cluster, 1, "GET", "/\(key)?read=committed").first?.text == "2")
    cluster.checkAtRest()
  }

  @Test("a copy whose owner can't be asked shows what a majority surely has, and nothing else that must be certain")
  func withoutOwner() {
    let cluster = cluster()
    let key = cluster.key(of: 0)
    #expect(send(cluster, 0, "PUT", "/\(key)", "1").first?.status == 201)
    #expect(send(cluster, 0, "PUT", "/\(key)", "2").first?.status == 200)
    cluster.kill(0)
    cluster.advance(100)
    let client = cluster.nodes[1].connect()
    client.send(request("GET", "/\(key)?read=linearizable&timeout=50ms"))
    cluster.advance(100)
    #expect(client.takeAnswers().map(\.status) == [503])
    #expect(send(cluster, 1, "GET", "/\(key)").first?.text == "2")
    // How far a majority has the last write this copy was never told.
    let committed = send(cluster, 1, "GET", "/\(key)?read=committed").first
    #expect(committed?.status == 503 || committed?.text == "2")
  }

  @Test("min-revision is answered by the owner, or waits for this node's copy", arguments: [nil, 1, 2])
  func minRevision(seed: UInt64?) {
    let cluster = cluster(cores: seed == nil ? 1 : 2, seed: seed)
    let key = cluster.key(of: 0)
    let tag = send(cluster, 0, "PUT", "/\(key)", "1").first?.fields["etag"]?.filter { $0 != "\"" } ?? ""
    for node in 0..<3 {
      #expect(send(cluster, node, "GET", "/\(key)?min-revision=\(tag)").first?.text == "1")
    }
    // One that isn't there yet is waited for.
    let client = cluster.nodes[0].connect()
    let parts = tag.split(separator: "-")
    let next = "\(parts[0])-\(parts[1])-\(Int(parts[2])! + 1)"
    client.send(request("GET", "/\(key)?min-revision=\(next)&timeout=5s"))
    cluster.advance(50)
    #expect(client.takeAnswers().isEmpty)
    #expect(send(cluster, 1, "PUT", "/\(key)", "2").first?.status == 200)
    cluster.advance(10)
    #expect(client.takeAnswers().map(\.text) == ["2"])
    client.send(request("GET", "/\(key)?min-revision=\(next)9&timeout=100ms"))
    cluster.advance(200)
    #expect(client.takeAnswers().map(\.status) == [503])
    cluster.checkAtRest()
  }

  @Test("on a node that is cut off, reads of what it doesn't hold are refused at once")
  func cutOff() {
    let cluster = TestCluster(5, factor: 3)
    cluster.settle()
    cluster.advance(100)
    let key = cluster.key(of: 0)
    #expect(send(cluster, 0, "PUT", "/\(key)", "1").first?.status == 201)
    // The key is on nodes 0 to 2; node 4 asks one of them.
    #expect(send(cluster, 4, "GET", "/\(key)").first?.text == "1")
    for other in 0..<4 { cluster.hold(other, 4) }
    cluster.nodes[4].lease = cluster.nodes[4].monotonic
    cluster.advance(1100)
    let client = cluster.nodes[4].connect()
    for query in ["", "?read=committed", "?read=linearizable"] { client.send(request("GET", "/\(key)\(query)")) }
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [503, 503, 503])
  }

  @Test("batches take read levels")
  func batch() {
    let cluster = cluster()
    let keys = (0..<3).map { cluster.key(of: $0) }
    for key in keys { #expect(send(cluster, 0, "PUT", "/\(key)", "v").first?.status == 201) }
    let items = keys.map { "{\"op\":\"get\",\"key\":\"\($0)\",\"read\":\"linearizable\"}" }
    let text = send(cluster, 1, "POST", "/v1/batch", "[\(items.joined(separator: ","))]").first?.text ?? ""
    #expect(text.filter { $0 == "v" }.count >= 3 && !text.contains("stale"), "\(text)")
    let wrong = send(cluster, 1, "POST", "/v1/batch", "[{\"op\":\"get\",\"key\":\"a\",\"read\":\"x\"}]").first
    #expect(wrong?.status == 400)
  }
}

/// Sends a request to a node of a cluster and lets everything come to rest.
func send(
  _ cluster: TestCluster, _ node: Int, _ method: String, _ target: String, _ body: String? = nil
) -> [Answer] {
  let client = cluster.nodes[node].connect()
  client.send(request(method, target, body: body))
  cluster.settle()
  defer {
    client.end()
    cluster.settle()
  }
  return client.takeAnswers(isHead: method == "HEAD")
}
