import Testing

@testable import Engine
@testable import Wire

@Suite("Too much between nodes")
struct CoreOverloadTests {
  @Test("long records are received within a bound, and all of them arrive in the end")
  func assemblies() {
    var limits = TestNode.limits
    limits.longRecordBytes = 1 << 20
    let cluster = TestCluster(3, limits: limits, factor: 3)
    cluster.settle()
    cluster.advance(100)
    let clients = (0..<12).map { _ in cluster.nodes[0].connect() }
    var values: [String: [UInt8]] = [:]
    for (number, client) in clients.enumerated() {
      let key = cluster.key(of: number % 3, number)
      values[key] = bytes(400_000 + number * 1000, number)
      client.send(request("PUT", "/\(key)?timeout=60s", [], values[key]!))
    }
    var most = 0
    for _ in 0..<200 where clients.contains(where: { $0.receivedCount == 0 }) {
      cluster.advance(50)
      most = max(most, cluster.nodes.map { $0.cores[0].desk.longRecordBytes }.max()!)
    }
    for client in clients { #expect(client.takeAnswers().map(\.status) == [201]) }
    #expect(most <= (1 << 20) + 500_000, "\(most)")
    cluster.advance(2000)
    for node in cluster.nodes {
      for (key, value) in values { #expect(node.ask("GET", "/\(key)").body == value) }
      #expect(node.cores[0].desk.longRecordBytes == 0)
    }
    cluster.checkAtRest()
  }

  @Test("a node that sends beginnings of long records for all partitions gets a bounded amount of memory")
  func beginnings() {
    var limits = TestNode.limits
    limits.longRecordBytes = 4 << 20
    let cluster = TestCluster(3, limits: limits, factor: 3)
    cluster.settle()
    cluster.advance(100)
    // Connections to node 1 are held up in the middle of long records, again and again.
    for round in 0..<6 {
      let client = cluster.nodes[0].connect()
      for number in 0..<4 {
        let key = cluster.key(of: 0, round * 4 + number)
        client.send(request("PUT", "/\(key)?w=1", [], bytes(300_000, number)))
      }
      for _ in 0..<5 { cluster.nodes[0].settle() }
      cluster.cut(0, 1)
      cluster.advance(30)
      #expect(cluster.nodes[1].cores[0].desk.longRecordBytes <= (4 << 20) + 1_100_000)
    }
    cluster.advance(5000)
    #expect(cluster.nodes[1].keys == cluster.nodes[0].keys && cluster.nodes[0].keys == 24)
    #expect(cluster.nodes[1].cores[0].desk.longRecordBytes == 0)
  }

  @Test("a follower that takes nothing holds up no write, and gets everything later")
  func slowFollower() {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    cluster.advance(100)
    cluster.hold(0, 2)
    let client = cluster.nodes[0].connect()
    for number in 0..<400 {
      client.send(request("PUT", "/\(cluster.key(of: 0, number % 9))", [], bytes(30_000, number)))
      cluster.settle()
    }
    let answers = client.takeAnswers()
    #expect(answers.count == 400 && answers.allSatisfy { $0.status < 300 })
    cluster.hold(0, 2, false)
    cluster.advance(3000)
    for number in 391..<400 {
      let answer = cluster.nodes[2].ask("GET", "/\(cluster.key(of: 0, number % 9))")
      #expect(answer.body == bytes(30_000, number))
    }
  }

  @Test("in a cluster whose memory is full deletions are done at once, whoever owns the keys", arguments: [1, 8, 40])
  func deletions(burst: Int) {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    cluster.advance(100)
    let clients = cluster.nodes.map { $0.connect() }
    var kept: [String] = []
    var statuses: [Int: Int] = [:]
    var number = 0
    while statuses[507, default: 0] < 100 && number < 3000 {
      var asked: [[String]] = [[], [], []]
      for client in 0..<3 {
        for _ in 0..<burst {
          asked[client].append("f\(number)")
          clients[client].send(request("PUT", "/f\(number)", [], bytes(25_000, number)))
          number += 1
        }
      }
      cluster.settle()
      for client in 0..<3 {
        let answers = clients[client].takeAnswers()
        #expect(answers.count == burst)
        for (key, answer) in zip(asked[client], answers) {
          statuses[answer.status, default: 0] += 1
          if answer.status == 201 { kept.append(key) }
        }
      }
    }
    #expect(Set(statuses.keys) == [201, 507] && kept.count > 100, "\(statuses)")
    for (place, key) in kept.enumerated() {
      clients[place % 3].send(request("DELETE", "/\(key)"))
      cluster.settle()
      #expect(clients[place % 3].takeAnswers().map(\.status) == [204], "\(place)")
    }
    cluster.advance(100)
    clients[0].send(request("PUT", "/after", [], bytes(25_000, 1)))
    cluster.settle()
    #expect(clients[0].takeAnswers().map(\.status) == [201])
  }

  @Test("a connection with more waiting than there is room left hears 429, others go on; so does a batch")
  func shares() {
    var limits = TestNode.limits
    limits.waitingAnswers = 40
    let cluster = TestCluster(3, limits: limits, factor: 3)
    cluster.settle()
    cluster.advance(100)
    cluster.hold(0, 1)
    cluster.hold(0, 2)
    let (greedy, modest) = (cluster.nodes[0].connect(), cluster.nodes[0].connect())
    for number in 0..<30 { greedy.send(request("PUT", "/\(cluster.key(of: 0, number))?timeout=60s", [], bytes(9, 1))) }
    cluster.settle()
    modest.send(request("PUT", "/\(cluster.key(of: 0, 40))?timeout=60s", [], bytes(9, 1)))
    cluster.settle()
    #expect(cluster.nodes[0].cores[0].waiting.count == 22)
    #expect(greedy.takeAnswers().isEmpty && modest.takeAnswers().isEmpty)
    let batch = (0..<30).map { "{\"op\":\"put\",\"key\":\"\(cluster.key(of: 0, $0, prefix: "b"))\",\"value\":1}" }
    let other = cluster.nodes[0].connect()
    other.send(request("POST", "/v1/batch", [], Array("[\(batch.joined(separator: ","))]".utf8)))
    cluster.settle()
    #expect(cluster.nodes[0].cores[0].waiting.count == 31)
    cluster.hold(0, 1, false)
    cluster.settle()
    let answers = greedy.takeAnswers()
    #expect(answers.map(\.status) == Array(repeating: 201, count: 21) + Array(repeating: 429, count: 9))
    #expect(answers.last?.fields["retry-after"] == "1")
    #expect(modest.takeAnswers().map(\.status) == [201])
    let text = other.takeAnswers().first?.text ?? ""
    #expect(text.ranges(of: "\"status\":201").count == 9 && text.ranges(of: "\"status\":429").count == 21)
    #expect(cluster.nodes[0].cores[0].waiting.count == 0)
    greedy.send(request("PUT", "/\(cluster.key(of: 0))", [], bytes(9, 1)))
    cluster.settle()
    #expect(greedy.takeAnswers().map(\.status) == [200])
  }

  @Test("a flood beyond memory is refused with 507 or 503; what was acknowledged stays, on all nodes")
  func flood() {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    cluster.advance(100)
    let client = cluster.nodes[0].connect()
    var kept: [String: Int] = [:]
    var refused = 0
    for number in 0..<1200 {
      let key = "f\(number)"
      client.send(request("PUT", "/\(key)?timeout=300ms", [], bytes(30_000, number)))
      cluster.settle()
      var answer = client.takeAnswers().first
      for _ in 0..<10 where answer == nil {
        cluster.advance(50)
        answer = client.takeAnswers().first
      }
      if answer?.status == 201 {
        kept[key] = number
      } else {
        refused += 1
        #expect(answer.map { [503, 504, 507].contains($0.status) } == true, "\(answer?.status ?? 0)")
        #expect(answer?.status != 503 || answer?.fields["retry-after"] == "1")
      }
    }
    #expect(refused > 0 && kept.count > 100)
    #expect(cluster.nodes[0].ask("GET", "/v1/cluster").status == 200)
    for (key, number) in kept {
      #expect(send(cluster, 0, "GET", "/\(key)?read=linearizable").first?.body == bytes(30_000, number))
    }
  }
}
