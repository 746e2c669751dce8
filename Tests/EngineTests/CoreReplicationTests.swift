import Testing

@testable import Engine
@testable import Wire

@Suite("Writes that several nodes hold")
struct CoreReplicationTests {
  private func put(_ client: TestClient, _ key: String, _ value: String, _ query: String = "") {
    client.send(request("PUT", "/\(key)\(query)", body: value))
  }

  @Test("frames' answers that are due late in a turn leave with it, also while others still wait")
  func lateReplies() {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    let client = FrameClient(cluster.nodes[0])
    cluster.hold(0, 1)
    cluster.hold(0, 2)
    for (n, timeout) in [300, 300, 2_000, 300].enumerated() {
      var step = FrameClient.Step(operation: .put, answer: .reply, key: cluster.key(of: 0, n), value: [1])
      step.terms.concern = FrameConcern(write: .majority, read: .local, timeout: UInt32(timeout))
      client.client.send(client.request([step]))
    }
    cluster.settle()
    #expect(client.take() == [])
    cluster.advance(320)
    #expect(client.statuses() == [504, 504, 504])
    cluster.advance(1_700)
    #expect(client.statuses() == [504])
    cluster.checkAtRest()
  }

  @Test("a write is answered when a majority has it, and all have it soon", arguments: [nil, 1, 2, 3])
  func majority(seed: UInt64?) {
    let cluster = TestCluster(3, cores: seed == nil ? 1 : 2, seed: seed, factor: 3)
    cluster.settle()
    let clients = cluster.nodes.map { $0.connect() }
    for number in 0..<60 { put(clients[number % 3], "k\(number)", "v\(number)") }
    cluster.settle()
    for client in clients { #expect(client.takeAnswers().map(\.status) == Array(repeating: 201, count: 20)) }
    #expect(cluster.nodes.map(\.keys) == [60, 60, 60])
    for number in stride(from: 0, to: 60, by: 2) {
      clients[0].send(request("DELETE", "/k\(number)"))
      put(clients[1], "k\(number + 1)", "w\(number)")
    }
    cluster.settle()
    #expect(clients[0].takeAnswers().map(\.status) == Array(repeating: 204, count: 30))
    #expect(clients[1].takeAnswers().map(\.status) == Array(repeating: 200, count: 30))
    for node in cluster.nodes {
      #expect(node.keys == 30)
      for number in stride(from: 0, to: 60, by: 2) { #expect(node.ask("GET", "/k\(number + 1)").text == "w\(number)") }
    }
    cluster.checkAtRest()
  }

  @Test("a long value is received where it stays")
  func long() {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    let value = bytes(700_000, 5)
    let client = cluster.nodes[0].connect()
    client.send(request("PUT", "/long", [], value))
    cluster.settle()
    cluster.advance(100)
    #expect(client.takeAnswers().map(\.status) == [201])
    for node in cluster.nodes { #expect(node.ask("GET", "/long").body == value) }
    cluster.checkAtRest()
  }

  @Test("w says how many must have it; what isn't so in time is unknown")
  func concerns() {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    let key = cluster.key(of: 0)
    let client = cluster.nodes[0].connect()
    cluster.hold(0, 2)
    put(client, key, "1")
    put(client, key, "2", "?w=all&timeout=300ms")
    put(client, key, "3", "?w=1")
    put(client, key, "4", "?w=9")
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    cluster.advance(400)
    #expect(client.takeAnswers().map(\.status) == [504, 200, 503])
    cluster.hold(0, 1)
    put(client, key, "5", "?timeout=200ms")
    cluster.settle()
    #expect(client.takeAnswers().isEmpty)
    cluster.advance(300)
    #expect(client.takeAnswers().map(\.status) == [504])
    #expect(cluster.nodes[0].ask("GET", "/\(key)").text == "5")
    #expect(cluster.nodes[1].ask("GET", "/\(key)").text == "3")
    cluster.hold(0, 1, false)
    cluster.hold(0, 2, false)
    cluster.settle()
    for node in cluster.nodes { #expect(node.ask("GET", "/\(key)").text == "5") }
  }

  @Test("when an owner dies, another one has what a majority held and goes on", arguments: [nil, 1, 2, 3, 4])
  func failover(seed: UInt64?) {
    let cluster = TestCluster(3, cores: seed == nil ? 1 : 2, seed: seed, factor: 3)
    cluster.settle()
    let clients = cluster.nodes.map { $0.connect() }
    for number in 0..<90 { put(clients[number % 3], "k\(number)", "v\(number)") }
    cluster.settle()
    for client in clients { #expect(client.takeAnswers().map(\.status) == Array(repeating: 201, count: 30)) }
    cluster.kill(0)
    cluster.apply(.setState(NodeID(high: 1, low: 7), .down))
    cluster.publish()
    cluster.govern()
    for _ in 0..<6 {
      cluster.advance(100)
      cluster.govern()
    }
    #expect(cluster.topology.partitions.allSatisfy { $0.isActive && $0.owner != 0 && !$0.synced.contains(0) })
    #expect(cluster.topology.partitions.allSatisfy { $0.replicationFactor == 2 })
    for number in 0..<90 { #expect(cluster.nodes[1].ask("GET", "/k\(number)").text == "v\(number)") }
    for number in 0..<90 { put(clients[1 + number % 2], "k\(number)", "w\(number)") }
    cluster.settle()
    for client in clients[1...] { #expect(client.takeAnswers().map(\.status) == Array(repeating: 200, count: 45)) }
    for node in cluster.nodes[1...] {
      for number in 0..<90 { #expect(node.ask("GET", "/k\(number)").text == "w\(number)") }
    }
  }

  @Test("a node that sent a write on answers once it holds it, if it and the owner are enough", arguments: [1, 2])
  func answersEarly(cores: Int) {
    let cluster = TestCluster(3, cores: cores, factor: 3)
    cluster.settle()
    cluster.advance(100)
    func granted() -> UInt64 { (0..<cores).reduce(0) { $0 + cluster.nodes[1].cores[$1].metrics.value(.granted) } }
    let client = cluster.nodes[1].connect()
    for number in 0..<20 {
      put(client, cluster.key(of: 0, number), "v")
      cluster.settle()
      #expect(client.takeAnswers().map(\.status) == [201])
    }
    #expect(granted() == 20)
    // All three, or the two others.
    put(client, cluster.key(of: 0), "w", "?w=all")
    put(client, cluster.key(of: 0), "w", "?w=1")
    client.send(request("DELETE", "/none", []))
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [200, 200, 404])
    #expect(granted() == 20)
    client.send(request("POST", "/\(cluster.key(of: 0, 90))?op=incr", []))
    cluster.settle()
    #expect(client.takeAnswers().map(\.text) == ["1"] && granted() == 21)
    // With the other copy out of reach, and its own: the owner's word is what counts.
    cluster.hold(0, 2)
    put(client, cluster.key(of: 0, 1), "x")
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [200] && granted() == 22)
    cluster.hold(0, 2, false)
    cluster.hold(from: 0, to: 1)
    put(client, cluster.key(of: 0, 2), "y")
    cluster.settle()
    #expect(granted() == 22)
    cluster.hold(from: 0, to: 1, false)
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [200])
    cluster.advance(100)
    for node in cluster.nodes { #expect(node.ask("GET", "/\(cluster.key(of: 0, 2))").text == "y") }
  }

  @Test("a long value that meets a failover waits for the new owner, wherever it was sent", arguments: [1, 2])
  func longValues(cores: Int) {
    let cluster = TestCluster(3, cores: cores, factor: 3)
    cluster.settle()
    cluster.advance(100)
    func used(_ node: Int) -> Int { (0..<cores).reduce(0) { $0 + cluster.nodes[node].cores[$1].store.usedBytes } }
    let before = (0..<3).map(used)
    cluster.kill(0)
    cluster.apply(.setState(NodeID(high: 1, low: 7), .down))
    // Node 2 doesn't know yet that the partitions are fenced, or whose they are: what it sends on is refused there.
    cluster.publish(to: [1])
    let clients = (0..<4).map { cluster.nodes[1 + $0 % 2].connect() }
    let keys = (0..<4).map { cluster.key(of: 0, $0) }
    for (number, client) in clients.enumerated() {
      // In parts it is received into the log, as a whole it is not.
      let whole = request("PUT", "/\(keys[number])?timeout=20s", [], bytes(100_000, number))
      let cut = number < 2 ? 50_000 : whole.count
      client.send(Array(whole[..<cut]))
      cluster.settle()
      client.send(Array(whole[cut...]))
      cluster.settle()
      client.send(request("POST", "/\(keys[number])?op=append&timeout=20s", [], bytes(40_000, number)))
      cluster.settle()
    }
    for client in clients { #expect(client.takeAnswers().isEmpty) }
    cluster.publish()
    cluster.govern()
    for _ in 0..<6 {
      cluster.advance(100)
      cluster.govern()
    }
    for client in clients { #expect(client.takeAnswers().map(\.status) == [201, 200]) }
    for (number, key) in keys.enumerated() {
      let whole: [UInt8] = bytes(100_000, number) + bytes(40_000, number)
      #expect(cluster.nodes[1].ask("GET", "/\(key)").body == whole)
    }
    for node in 1...2 {
      for core in 0..<cores { #expect(cluster.nodes[node].cores[core].collectedBytes == 0) }
      #expect(used(node) < before[node] + 4_000_000)
    }
  }

  @Test("a long value whose time is over before there is an owner is surely not applied, and its memory is free again")
  func longValuesTooLate() {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    cluster.advance(100)
    cluster.kill(0)
    cluster.apply(.setState(NodeID(high: 1, low: 7), .down))
    cluster.publish()
    let used = cluster.nodes[1].cores[0].store.usedBytes
    let client = cluster.nodes[1].connect()
    let key = cluster.key(of: 0)
    let whole = request("PUT", "/\(key)?timeout=300ms", [], bytes(100_000, 1))
    client.send(Array(whole[..<50_000]))
    cluster.settle()
    client.send(Array(whole[50_000...]))
    cluster.settle()
    #expect(client.takeAnswers().isEmpty && cluster.nodes[1].cores[0].collectedBytes == 100_000)
    cluster.advance(400)
    #expect(client.takeAnswers().map(\.status) == [503])
    #expect(cluster.nodes[1].cores[0].collectedBytes == 0 && cluster.nodes[1].cores[0].store.usedBytes == used)
  }

  @Test("nodes say the same of the same data, and another thing where it differs", arguments: [1, 2])
  func digests(cores: Int) throws {
    let cluster = TestCluster(3, cores: cores, factor: 3)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    for number in 0..<60 { put(client, "k\(number)", "v\(number)") }
    for number in 0..<60 where number % 3 == 0 { put(client, "k\(number)", "w\(number)") }
    client.send(request("DELETE", "/k1"))
    cluster.settle()
    cluster.advance(100)
    func data(_ node: Int) -> [String: String] {
      var data: [String: String] = [:]
      for _ in 0..<20 {
        let text = cluster.nodes[node].ask("GET", "/v1/cluster?data").text
        let (begin, end) = (text.ranges(of: "\"data\":{").first!.upperBound, text.ranges(of: "},\"members\"").first!)
        data = [:]
        for pair in text[begin..<end.lowerBound].split(separator: ",") {
          let words = pair.split(separator: "\"")
          data[String(words[0])] = String(words[2])
        }
        if text.contains("\"checksum\":\"") { return data }
        cluster.settle()
      }
      Issue.record("the data is never known")
      return data
    }
    let first = data(0)
    #expect(first.count > 40)
    #expect(data(1) == first && data(2) == first)
    // A write changes one of them.
    put(client, "k2", "x")
    cluster.settle()
    cluster.advance(100)
    let second = data(1)
    #expect(Set(second.keys).symmetricDifference(first.keys).count == 2 && data(0) == second)
    // A value that was changed behind everybody's back shows.
    let partition = PartitionID(UInt16(cluster.nodes[2].partition(of: "k2")))
    for core in 0..<cores where cluster.nodes[2].cores[core].partitions.contains(Int(partition.rawValue)) {
      let end = cluster.nodes[2].cores[core].store.nextOffset(of: partition).previous
      _ = cluster.nodes[2].cores[core].store.truncate(partition, behind: end) { _ in }
      Array("k2".utf8).withUnsafeBytes { key in
        let record = cluster.nodes[2].cores[core].store.find(KeyRef(key), now: cluster.nodes[2].wall)!
        let bytes = UnsafeMutableRawPointer(mutating: record.base)
        bytes.storeBytes(of: record.checksum ^ 1, toByteOffset: 4, as: UInt32.self)
      }
      cluster.nodes[2].cores[core].digests = DataDigests()
    }
    let third = data(2)
    #expect(third != second && Set(third.keys) == Set(second.keys))
    #expect(third.count { second[$0.key] != $0.value } == 1)
  }

  @Test("the data is looked at to its end, wherever the slices of that work end")
  func digestSlices() {
    let cluster = TestCluster(2, factor: 2)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    // Each number of keys shifts where slices end by one more.
    for number in 0..<150 {
      for key in 0..<20 { put(client, "k\(number)-\(key)", "v") }
      cluster.settle()
      _ = client.takeAnswers()
      _ = cluster.nodes[0].ask("GET", "/v1/cluster?data")
      cluster.settle()
    }
    cluster.advance(100)
    for node in cluster.nodes {
      for _ in 0..<20 where !node.ask("GET", "/v1/cluster?data").text.contains("\"checksum\":\"") { cluster.settle() }
      #expect(node.ask("GET", "/v1/cluster?data").text.contains("\"checksum\":\""))
    }
  }

  @Test("a node that has received its copies says so once for each owner")
  func sync() {
    let cluster = TestCluster(3, factor: 2)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    for number in 0..<200 { put(client, "k\(number)", "v\(number)") }
    cluster.settle()
    let before = cluster.nodes.map(\.logs.count)
    // Everybody shall hold everything.
    cluster.apply(
      .place(
        (0..<partitionCount).map { partition in
          .init(
            partition: PartitionID(UInt16(partition)),
            replicas: SlotList((0..<3).map { MemberSlot((partition + $0) % 3) }))
        }))
    cluster.publish()
    for _ in 0..<6 {
      cluster.govern()
      cluster.advance(100)
    }
    #expect(cluster.topology.partitions.allSatisfy { $0.synced.count == 3 })
    for (index, node) in cluster.nodes.enumerated() {
      let lines = node.logs[before[index]...].filter { $0.contains("\"type\":\"SYNC\"") }
      #expect(lines.count == 1, "node \(index): \(lines)")
      #expect(lines.allSatisfy { $0.contains("\"partitions\":34") && $0.contains("\"missing\":0") }, "\(lines)")
    }
  }

  @Test("a start that comes for a stream that goes on changes nothing: a copied log stays one")
  func startAgain() {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    let node = cluster.nodes[1]
    let part = (0..<partitionCount).first { node.cores[0].desk.parts![$0].replica.isStarted }!
    let replica = node.cores[0].desk.parts![part].replica
    let id = PartitionID(UInt16(part))
    // It was there from the first record on.
    #expect(node.cores[0].store.partition(id).pointee.isCopy)
    for (epoch, stream) in [(replica.streamEpoch, replica.stream), (replica.streamEpoch, replica.stream + 1)] {
      let start = ReplicationMessage.start(resets: false, next: Offset(7), replica.history)
      #expect(node.cores[0].receive(start, epoch, stream, replica.source!, part) == .nothing)
      #expect(node.cores[0].store.partition(id).pointee.isCopy && node.cores[0].desk.parts![part].replica.isStarted)
    }
  }

  @Test("what only a deposed owner had is taken back when it returns, and is in the ledger")
  func deposed() {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    let key = cluster.key(of: 0)
    let client = cluster.nodes[0].connect()
    put(client, key, "old")
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    cluster.hold(0, 1)
    cluster.hold(0, 2)
    put(client, key, "lost", "?w=1")
    put(client, key, "unknown", "?timeout=10s")
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [200])
    // The others go on without it.
    cluster.apply(.setState(NodeID(high: 1, low: 7), .down))
    cluster.publish(to: [1, 2])
    cluster.govern()
    for _ in 0..<4 {
      cluster.advance(100)
      cluster.govern()
    }
    #expect(cluster.nodes[1].ask("GET", "/\(key)").text == "old")
    let other = cluster.nodes[1].connect()
    put(other, key, "new")
    cluster.settle()
    #expect(other.takeAnswers().map(\.status) == [200])
  }

  @Test("a retry after a failover gets the first answer, also from a node that came later")
  func retryAfterFailover() {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    let key = cluster.key(of: 0)
    let client = cluster.nodes[0].connect()
    func increment(_ client: TestClient, _ name: String) {
      client.send(request("POST", "/\(key)?op=incr", ["Idempotency-Key: \(name)"]))
    }
    // What goes to node 2 is lost with its connection; what it lacks it gets with the next one.
    cluster.hold(0, 2)
    for name in ["a", "b", "c"] { increment(client, name) }
    cluster.settle()
    #expect(client.takeAnswers().map(\.text) == ["1", "2", "3"])
    let relayed = cluster.nodes[1].connect()
    for name in ["c", "a"] { increment(relayed, name) }
    cluster.settle()
    #expect(relayed.takeAnswers().map(\.text) == ["3", "1"])
    cluster.cut(0, 2)
    cluster.advance(500)
    increment(client, "d")
    cluster.settle()
    #expect(client.takeAnswers().map(\.text) == ["4"])
    for node in [0, 1] {
      cluster.kill(node)
      cluster.apply(.setState(NodeID(high: UInt64(node + 1), low: 7), .down))
      cluster.publish()
      for _ in 0..<6 {
        cluster.govern()
        cluster.advance(200)
      }
    }
    let other = cluster.nodes[2].connect()
    for name in ["d", "b", "a", "c", "e"] { increment(other, name) }
    cluster.settle()
    #expect(other.takeAnswers().map(\.text) == ["4", "2", "1", "3", "5"])
  }

  @Test("a refusal is remembered with its sentence, and said again after a failover", arguments: [1, 2])
  func refusalAfterFailover(cores: Int) {
    let cluster = TestCluster(3, cores: cores, factor: 3)
    cluster.settle()
    let key = cluster.key(of: 0)
    func ask(_ client: TestClient) {
      client.send(request("PUT", "/\(key)", ["If-None-Match: *", "Idempotency-Key: a"], Array("w".utf8)))
      client.send(request("POST", "/\(key)?op=incr", ["Idempotency-Key: b"]))
      client.send(request("DELETE", "/none-\(key)", ["Idempotency-Key: c"]))
    }
    let client = cluster.nodes[0].connect()
    put(client, key, "v")
    ask(client)
    cluster.settle()
    let first = client.takeAnswers().dropFirst()
    #expect(first.map(\.status) == [412, 409, 404] && first.allSatisfy { $0.text.contains("detail") })
    cluster.kill(0)
    cluster.apply(.setState(NodeID(high: 1, low: 7), .down))
    cluster.publish()
    for _ in 0..<6 {
      cluster.govern()
      cluster.advance(200)
    }
    for node in cluster.nodes[1...] {
      let other = node.connect()
      ask(other)
      cluster.settle()
      let again = other.takeAnswers()
      #expect(again.map(\.status) == first.map(\.status) && again.map(\.text) == first.map(\.text))
    }
  }

  @Test("a write that is refused for what it found waits until that can't be taken back")
  func refusedForUncommitted() {
    let cluster = TestCluster(3, factor: 3)
    cluster.settle()
    let key = cluster.key(of: 0)
    let client = cluster.nodes[0].connect()
    cluster.hold(0, 1)
    cluster.hold(0, 2)
    put(client, key, "first", "?timeout=10s")
    client.send(request("PUT", "/\(key)?timeout=10s", ["If-None-Match: *"], bytes(3, 1)))
    client.send(request("PUT", "/\(key)?timeout=200ms", ["If-None-Match: *"], bytes(3, 1)))
    cluster.advance(300)
    #expect(client.takeAnswers().isEmpty)
    cluster.hold(0, 1, false)
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201, 412, 504])
  }

  @Test("a newcomer gets what it lacks at the permitted rate, and no write waits behind that", arguments: [1, 2])
  func catchUp(cores: Int) {
    var limits = TestNode.limits
    limits.catchUpRate = 200_000
    let cluster = TestCluster(3, cores: cores, limits: limits, factor: 2)
    cluster.settle()
    let client = cluster.nodes[0].connect()
    for number in 0..<90 { put(client, cluster.key(of: 0, number), String(repeating: "x", count: 10_000)) }
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == Array(repeating: 201, count: 90))
    let all: SlotList = [MemberSlot(0), MemberSlot(1), MemberSlot(2)]
    let owned = (0..<partitionCount).filter { $0 % 3 == 0 }
    cluster.apply(.place(owned.map { .init(partition: PartitionID(UInt16($0)), replicas: SlotList(all)) }))
    cluster.publish()
    cluster.settle()
    #expect(cluster.nodes[2].keys < 60)
    for number in 0..<90 { put(client, cluster.key(of: 0, number), "new") }
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == Array(repeating: 200, count: 90))
    // What was replaced meanwhile need not be sent.
    cluster.advance(4_000)
    #expect(cluster.nodes[2].keys == 90)
    cluster.govern()
    for number in 0..<90 { #expect(cluster.nodes[2].ask("GET", "/" + cluster.key(of: 0, number)).text == "new") }
  }
}
