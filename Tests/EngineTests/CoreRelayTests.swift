import Testing

@testable import Engine
@testable import Wire

@Suite("Operations on keys of other nodes")
struct CoreRelayTests {
  @Test("a key can be written and read on any node", arguments: [nil, 1, 2, 3])
  func anyNode(seed: UInt64?) {
    let cluster = TestCluster(3, cores: seed == nil ? 1 : 2, seed: seed)
    cluster.settle()
    let clients = cluster.nodes.map { $0.connect() }
    for owner in 0..<3 {
      for (entry, client) in clients.enumerated() {
        client.send(request("PUT", "/" + cluster.key(of: owner, entry), body: "\(owner) by \(entry)"))
      }
    }
    cluster.settle()
    for client in clients { #expect(client.takeAnswers().map(\.status) == [201, 201, 201]) }
    #expect(cluster.nodes.map(\.keys) == [3, 3, 3])
    for owner in 0..<3 {
      for client in clients {
        for entry in 0..<3 { client.send(request("GET", "/" + cluster.key(of: owner, entry))) }
      }
    }
    cluster.settle()
    let wanted = (0..<3).flatMap { owner in (0..<3).map { "\(owner) by \($0)" } }
    for client in clients { #expect(client.takeAnswers().map(\.text) == wanted) }
    cluster.checkAtRest()
  }

  @Test("every operation and option gives the same answer as at the owner", arguments: [nil, 1, 2])
  func everything(seed: UInt64?) {
    let cluster = TestCluster(2, seed: seed)
    cluster.settle()
    var answers: [[Answer]] = []
    for entry in 0..<2 {
      let client = cluster.nodes[entry].connect()
      // Another prefix for each entry node, but both keys belong to node 1.
      let key = "/" + cluster.key(of: 1, prefix: "\(entry)x")
      let json = "Content-Type: application/json"
      let steps = [
        request("GET", key), request("PUT", key + "?ttl=60s", json, body: "{\"a\":[1,2]}"), request("GET", key),
        request("HEAD", key), request("GET", key + "?at=/a/1"), request("GET", key + "?at=/b"),
        request("PUT", key + "?at=/b", body: "{\"c\":1}"), request("POST", key + "?at=/a/-", body: "3"),
        request("DELETE", key + "?at=/b", "X: y"), request("PUT", key + "?at=", body: "{\"a\":[1,2,3]}"),
        request("PATCH", key, "Content-Type: application/merge-patch+json", body: "{\"d\":null,\"e\":5}"),
        request(
          "PATCH", key, "Content-Type: application/json-patch+json",
          body: "[{\"op\":\"add\",\"path\":\"/a/0\",\"value\":0}]"),
        request("PATCH", key, "Content-Type: application/json-patch+json", body: "nonsense"),
        request("PUT", key, "If-None-Match: *", body: "no"), request("GET", key, "If-None-Match: *"),
        request("PUT", key, "If-Match: \"1-1-1\"", body: "no"), request("DELETE", key, "If-Match: *"),
        request("POST", key + "?op=incr&by=-7", body: ""), request("POST", key + "?op=incr", body: ""),
        request("PUT", key, "Idempotency-Key: k", body: "once"),
        request("PUT", key, "Idempotency-Key: k", body: "once"),
        request("PUT", key, "Idempotency-Key: k", body: "twice"),
        request("PUT", key + "?op=append", body: " more"), request("POST", key + "?op=incr", body: ""),
        request("PUT", key, "Content-Type: my/type; of=mine", body: "typed"), request("GET", key),
        request("PUT", key + "?w=2", body: "no"), request("PUT", key + "?w=all&timeout=1s", body: "yes"),
        request("GET", key + "?read=linearizable"), request("GET", key + "?min-revision=9-9-9"),
        request("DELETE", key), request("DELETE", key), request("GET", key),
      ]
      for step in steps { client.send(step) }
      cluster.settle()
      answers.append(client.takeAnswers { $0 == 3 })
      #expect(answers[entry].count == steps.count)
    }
    for (position, (far, near)) in zip(answers[0], answers[1]).enumerated() {
      #expect(far.status == near.status, "step \(position): \(far.text) \(near.text)")
      #expect(far.text == near.text || far.status == 400, "step \(position)")
      // Revisions differ, since the keys do; but where there is one there is the other.
      for field in ["content-type", "content-length", "kvd-ttl", "retry-after"] {
        #expect(far[field] == near[field], "step \(position): \(field)")
      }
      #expect((far["etag"] == nil) == (near["etag"] == nil), "step \(position)")
    }
    cluster.checkAtRest()
  }

  @Test("values of any size pass, and memory for them comes back", arguments: [nil, 1, 2, 3])
  func sizes(seed: UInt64?) {
    let cluster = TestCluster(2, cores: seed == 1 ? 2 : 1, seed: seed)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    let key = cluster.key(of: 1)
    let frames = FrameClient(cluster.nodes[0])
    for count in [0, 1, 4_095, 4_097, 32_767, 32_768, 40_000, 70_000, 300_000, 1_500_000] {
      let value = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ count) }
      client.send(request("PUT", "/" + key, [], value))
      client.send(request("GET", "/" + key))
      cluster.settle()
      let answers = client.takeAnswers()
      #expect(answers.map(\.status) == [count == 0 ? 201 : 200, 200], "\(count)")
      #expect(answers.last?.body == value, "\(count)")
      frames.send(.get, key)
      cluster.settle()
      #expect(frames.take() == [.reply(id: frames.nextID - 1, index: 0, status: 200, body: value)], "\(count)")
    }
    // Edits with bodies that are too long for a frame.
    let long = String(repeating: "v", count: 200_000)
    client.send(request("PUT", "/" + key, body: "{}"))
    client.send(request("PUT", "/" + key + "?at=/long", body: "\"\(long)\""))
    client.send(request("GET", "/" + key + "?at=/long"))
    client.send(request("PUT", "/" + key + "?op=append", body: long))
    cluster.settle()
    let answers = client.takeAnswers()
    #expect(answers.map(\.status) == [200, 200, 200, 200])
    #expect(answers[2].text == "\"\(long)\"")
    cluster.checkAtRest()
  }

  @Test("answers keep the order of their requests, whoever makes them", arguments: [nil, 1, 2, 3, 4, 5])
  func order(seed: UInt64?) {
    let cluster = TestCluster(3, cores: 2, seed: seed)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    let keys = (0..<200).map { cluster.key(of: $0 % 3, $0 / 3) }
    for key in keys { client.send(request("PUT", "/" + key, body: key)) }
    for key in keys { client.send(request("GET", "/" + key)) }
    cluster.settle()
    let answers = client.takeAnswers()
    #expect(answers.prefix(200).map(\.status) == [Int](repeating: 201, count: 200))
    #expect(answers.dropFirst(200).map(\.text) == keys)
    cluster.checkAtRest()
  }

  @Test("an operation that has come home and must wait there is sent on once more at most", arguments: [nil, 1, 2])
  func waitedAtHome(seed: UInt64?) {
    let cluster = TestCluster(3, cores: seed == nil ? 1 : 2, seed: seed, factor: 3)
    cluster.settle()
    let key = cluster.key(of: 1)
    let partition = PartitionID(UInt16(cluster.nodes[0].partition(of: key)))
    /// Fences the partition and gives it an owner who has nobody in step, so that it can't take a write.
    func move(to owner: MemberSlot) {
      cluster.apply(.fence([partition]))
      let epoch = cluster.topology.partitions[Int(partition.rawValue)].epoch
      cluster.apply(.choose([.init(partition: partition, epoch: epoch, candidate: owner)]))
      cluster.apply(
        .activate([
          .init(partition: partition, epoch: epoch, owner: owner, replicationFactor: 3, isLoss: false, synced: [owner])
        ]))
      #expect(cluster.topology.partitions[Int(partition.rawValue)].owner == owner)
    }
    func refusals(_ node: Int) -> UInt64 {
      (0..<cluster.nodes[node].count).reduce(0) { $0 + cluster.nodes[node].cores[$1].metrics.value(.wrongOwner) }
    }
    move(to: 0)
    cluster.publish(to: [1, 2])
    let client = cluster.nodes[0].connect()
    client.send(request("PUT", "/" + key, body: "v"))
    cluster.settle()
    #expect(refusals(1) == 1)
    cluster.publish(to: [0])
    cluster.settle()
    #expect(client.takeAnswers().isEmpty)
    // Only this node knows of the next owner, who therefore refuses.
    move(to: 2)
    cluster.publish(to: [0])
    cluster.advance(1_000)
    #expect(client.takeAnswers().map(\.status) == [503])
    #expect(refusals(2) == 1)
    cluster.checkAtRest()
  }

  @Test("one frame per link and turn carries what a turn's clients ask")
  func batching() {
    let cluster = TestCluster(2)
    cluster.settle()
    let before = cluster.nodes[0].cores[0].metrics.value(.framesSent)
    let clients = (0..<10).map { _ in cluster.nodes[0].connect() }
    for (n, client) in clients.enumerated() {
      client.send((0..<10).flatMap { request("PUT", "/" + cluster.key(of: 1, 10 * n + $0), body: "v") })
    }
    cluster.settle()
    #expect(cluster.nodes[0].cores[0].metrics.value(.framesSent) == before + 1)
    for client in clients { #expect(client.takeAnswers().map(\.status) == [Int](repeating: 201, count: 10)) }
    cluster.checkAtRest()
  }

  @Test("the binary protocol reaches keys of other nodes too, and its ACKs wait for them", arguments: [nil, 1, 2, 3])
  func frames(seed: UInt64?) {
    let cluster = TestCluster(2, cores: 2, seed: seed)
    cluster.settle()
    let client = FrameClient(cluster.nodes[0])
    cluster.hold(0, 1)
    client.send(.put, cluster.key(of: 0), "here", .ack)
    client.send(.put, cluster.key(of: 1), "there", .ack)
    client.send(.put, cluster.key(of: 0, 1), "here", .ack)
    cluster.settle()
    #expect(client.take().last == .ack(id: 1, operations: 1))
    cluster.hold(0, 1, false)
    cluster.settle()
    #expect(client.take().last == .ack(id: 3, operations: 3))
    client.send(.get, cluster.key(of: 1))
    client.send(.increment, cluster.key(of: 1, 5))
    client.send(.increment, cluster.key(of: 1))
    cluster.settle()
    #expect(client.statuses() == [200, 201, 409])
    cluster.checkAtRest()
  }

  @Test("a batch's elements go to their owners and come back in order")
  func batch() {
    let cluster = TestCluster(3)
    cluster.settle()
    let keys = (0..<9).map { cluster.key(of: $0 % 3, $0) }
    let puts = keys.map { "{\"op\":\"put\",\"key\":\"\($0)\",\"value\":\"\($0)\"}" }
    let gets = keys.map { "{\"op\":\"get\",\"key\":\"\($0)\"}" }
    let client = cluster.nodes[1].connect()
    client.send(request("POST", "/v1/batch", body: "[" + (puts + gets).joined(separator: ",") + "]"))
    cluster.settle()
    let text = client.takeAnswers().first?.text ?? ""
    #expect(text.components(of: "\"status\":201") >= 9)
    let values = keys.map { "\"value\":\"\($0)\"" }
    var at = text.startIndex
    for value in values {
      guard let range = text.range(of: value, from: at) else {
        Issue.record("no \(value) behind those before it")
        continue
      }
      at = range
    }
    cluster.checkAtRest()
  }

  @Test("a listing gathers the keys of all nodes, each once", arguments: [nil, 1, 2])
  func listing(seed: UInt64?) {
    let cluster = TestCluster(3, cores: seed == 2 ? 2 : 1, seed: seed)
    cluster.settle()
    let keys = Set((0..<300).map { "key\($0)" } + (0..<50).map { "other\($0)" })
    let client = cluster.nodes[0].connect()
    for key in keys { client.send(request("PUT", "/v1/maps/m/" + key, body: "v")) }
    cluster.settle()
    #expect(client.takeAnswers().allSatisfy { $0.status == 201 })
    for (prefix, limit) in [("", 1000), ("key", 7), ("key1", 100)] {
      var found: [String] = []
      var next = ""
      for _ in 0..<1_000 {
        client.send(request("GET", "/v1/maps/m?prefix=\(prefix)&limit=\(limit)&after=\(next)"))
        cluster.settle()
        guard let text = client.takeAnswers().first?.text, text.hasPrefix("{\"keys\":[") else {
          Issue.record("no page")
          break
        }
        let end = text.firstIndex(of: "]")!
        found += text[text.index(text.startIndex, offsetBy: 9)..<end].split(separator: ",").map {
          String($0.dropFirst().dropLast())
        }
        guard let start = text.range(of: "\"next\":\"", from: end) else { break }
        next = String(text[start...].prefix { $0 != "\"" })
      }
      #expect(found.count == Set(found).count)
      #expect(Set(found) == keys.filter { $0.hasPrefix(prefix) })
    }
    cluster.checkAtRest()
  }

  @Test("a copy answers reads that are content with any; its writes and stricter reads go to the owner")
  func copies() {
    let cluster = TestCluster(2)
    cluster.settle()
    let key = cluster.key(of: 1)
    cluster.own(cluster.nodes[0].partition(of: key), 1, copies: [0])
    cluster.publish()
    cluster.settle()
    let client = cluster.nodes[0].connect()
    client.send(request("PUT", "/" + key, body: "value"))
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    client.send(request("GET", "/" + key))
    client.send(request("GET", "/" + key + "?read=committed"))
    cluster.settle()
    #expect(client.takeAnswers().map(\.text) == ["value", "value"])
    #expect(cluster.nodes[0].cores[0].metrics.value(.relayed) == 2)
    cluster.checkAtRest()
  }
}

extension String {
  /// The place behind the next occurrence of a text.
  func range(of text: String, from start: Index) -> Index? {
    var at = start
    while at < endIndex {
      if self[at...].hasPrefix(text) { return index(at, offsetBy: text.count) }
      at = index(after: at)
    }
    return nil
  }
}
