import Testing

@testable import Engine
@testable import Wire

@Suite("Settings of maps in a cluster")
struct CoreMapTests {
  private func cluster(_ map: String, _ body: (inout MapSettings) -> Void, count: Int = 3) -> TestCluster {
    let cluster = TestCluster(count, factor: 3)
    cluster.set(map, body)
    return cluster
  }

  /// A key of a map whose partition this node owns.
  private func key(_ cluster: TestCluster, _ map: String, of node: Int) -> String {
    // A cache's keys are under a name with a mark.
    let isCache = cluster.topology.settings(of: Array(map.utf8)).mode == .cache
    for number in 0... {
      let name = Array("k\(number)".utf8)
      let partition = Array(((isCache ? "\u{1}" : "") + map).utf8).withUnsafeBytes { map in
        name.withUnsafeBytes { Int(KeyRef(map: map, key: $0).partition.rawValue) }
      }
      if partition % cluster.nodes.count == node { return "/v1/maps/\(map)/k\(number)" }
    }
    preconditionFailure("there is a key of every node")
  }

  @Test("fewer replicas: as many nodes fewer are waited for, and a write that one node had is in the ledger")
  func replicas() {
    let cluster = cluster("one", { $0.replicas = 1 })
    cluster.set("two") { $0.replicas = 2 }
    let (one, two) = (key(cluster, "one", of: 0), key(cluster, "two", of: 0))
    cluster.hold(0, 1)
    cluster.hold(0, 2)
    let clients = (0..<3).map { _ in cluster.nodes[0].connect() }
    clients[0].send(request("PUT", one, body: "1"))
    clients[1].send(request("PUT", two + "?timeout=2s", body: "1"))
    clients[2].send(request("PUT", one + "?w=2&timeout=2s", body: "2"))
    cluster.settle()
    #expect(clients[0].takeAnswers().map(\.status) == [201])
    #expect(clients[1].takeAnswers().isEmpty && clients[2].takeAnswers().isEmpty)
    cluster.hold(0, 1, false)
    cluster.settle()
    #expect(clients[1].takeAnswers().map(\.status) == [201])
    #expect(clients[2].takeAnswers().map(\.status) == [200])
    // `all` of two nodes doesn't wait for the third.
    clients[0].send(request("PUT", two + "?w=all", body: "3"))
    cluster.settle()
    #expect(clients[0].takeAnswers().map(\.status) == [200])
    cluster.hold(0, 2, false)
    cluster.settle()
    for node in cluster.nodes { #expect(node.ask("GET", two).text == "3") }
    cluster.checkAtRest()
  }

  @Test("of two settings of a map that cross, one is refused by the topology")
  func conflict() throws {
    var topology = Topology(
      founding: ClusterID(high: 1, low: 2), copies: 3, members: [], voters: [], index: LogIndex(1))
    var settings = MapSettings()
    settings.timeToLive = 5
    let command = TopologyCommand.setMap(MapEntry(name: Array("m".utf8), settings: settings))
    #expect(try TopologyCommand(decoding: command.encoded()) == command)
    var changed = [topology.apply(command, at: LogIndex(2)), topology.apply(command, at: LogIndex(3))]
    #expect(changed == [true, false])
    #expect(topology.settings(of: Array("m".utf8)).timeToLive == 5)
    #expect(topology.settings(of: Array("m".utf8)).version == 1)
    settings.version = 1
    settings.mode = .cache
    changed = [topology.apply(.setMap(MapEntry(name: Array("m".utf8), settings: settings)), at: LogIndex(4))]
    #expect(changed == [true])
    let copy = try Topology(decoding: topology.encoded())
    #expect(copy == topology && copy.maps.count == 1 && copy.maps[0].settings.mode == .cache)
  }

  // MARK: Caches

  private func value(_ cluster: TestCluster, _ node: Int, _ key: String) -> (Int?, String?) {
    let answer = send(cluster, node, "GET", key).first
    return (answer?.status, answer?.text)
  }

  @Test(
    "a cache's value is at its owner and at nodes that read it; a write drops their copies before it is answered",
    arguments: [nil, 1, 2, 3] as [UInt64?])
  func cache(seed: UInt64?) {
    let cluster = TestCluster(4, cores: seed == nil ? 1 : 2, seed: seed, factor: 3)
    cluster.set("c") { $0.mode = .cache }
    cluster.advance(1500)
    let key = key(cluster, "c", of: 0)
    for node in 0..<4 { #expect(value(cluster, node, key).0 == 404) }
    #expect(send(cluster, 1, "PUT", key, "1").first?.status == 201)
    #expect(cluster.nodes.map(\.keys) == [1, 0, 0, 0])
    for node in 0..<4 {
      for _ in 0..<2 { #expect(value(cluster, node, key).1 == "1") }
    }
    let asked = cluster.nodes[3].relayed
    #expect(value(cluster, 3, key).1 == "1")
    #expect(cluster.nodes[3].relayed == asked, "the copy answers")
    #expect(cluster.nodes.map(\.keys) == [1, 0, 0, 0])
    for (number, node) in [2, 0, 3].enumerated() {
      #expect(send(cluster, node, "PUT", key, "new\(number)").first?.status == 200)
      for reader in 0..<4 { #expect(value(cluster, reader, key).1 == "new\(number)", "node \(reader)") }
    }
    let listing = send(cluster, 2, "GET", "/v1/maps/c").first?.text ?? ""
    #expect(listing.contains("\"keys\":[\"\(key.split(separator: "/").last!)\"]"), "\(listing)")
    let large = bytes(200_000, 3)
    let client = cluster.nodes[2].connect()
    client.send(request("PUT", key, [], large))
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [200])
    for reader in 0..<4 {
      for _ in 0..<2 { #expect(send(cluster, reader, "GET", key).first?.body == large) }
    }
    #expect(send(cluster, 3, "DELETE", key).first?.status == 204)
    for reader in 0..<4 { #expect(value(cluster, reader, key).0 == 404) }
    cluster.checkAtRest()
  }

  @Test("a write waits for a node that has a copy and can't be reached, no longer than the copy is good")
  func unreachable() {
    let cluster = cluster("c", { $0.mode = .cache })
    cluster.advance(1500)
    let key = key(cluster, "c", of: 0)
    #expect(send(cluster, 0, "PUT", key, "1").first?.status == 201)
    #expect(value(cluster, 2, key).1 == "1")
    cluster.hold(0, 2)
    let client = cluster.nodes[0].connect()
    client.send(request("PUT", key, body: "2"))
    cluster.settle()
    var elapsed = 0
    while client.receivedCount == 0, elapsed < 3000 {
      cluster.advance(50)
      elapsed += 50
    }
    #expect(client.takeAnswers().map(\.status) == [200] && elapsed >= 800 && elapsed <= 1200, "\(elapsed)")
    let reader = cluster.nodes[2].connect()
    reader.send(request("GET", key + "?timeout=100ms"))
    cluster.advance(400)
    let answer = reader.takeAnswers().first
    #expect(answer?.status != 200)
    // Whoever never read it is not waited for.
    client.send(request("PUT", key, body: "3"))
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [200])
  }

  @Test("copies are found again neither after a failover nor before the leases of the old owner are over")
  func failover() {
    let cluster = cluster("c", { $0.mode = .cache })
    cluster.advance(1500)
    let key = key(cluster, "c", of: 0)
    #expect(send(cluster, 0, "PUT", key, "1").first?.status == 201)
    #expect(value(cluster, 2, key).1 == "1")
    cluster.kill(0)
    cluster.apply(.setState(NodeID(high: 1, low: 7), .down))
    cluster.publish()
    cluster.govern()
    for _ in 0..<4 {
      cluster.advance(50)
      cluster.govern()
    }
    let owner = cluster.topology.partitions[partition(key)].owner.map { Int($0) }!
    let client = cluster.nodes[owner].connect()
    client.send(request("PUT", key, body: "2"))
    cluster.settle()
    #expect(client.takeAnswers().isEmpty, "copies of the old owner's may be good")
    cluster.advance(1200)
    #expect(client.takeAnswers().map(\.status) == [201])
    for node in [1, 2] { #expect(value(cluster, node, key).1 == "2") }
  }

  @Test("when a partition is handed over its cached values are gone, and their memory with them")
  func handOver() {
    let cluster = cluster("c", { $0.mode = .cache })
    cluster.advance(1500)
    let key = key(cluster, "c", of: 0)
    #expect(send(cluster, 0, "PUT", key, "1").first?.status == 201)
    #expect(cluster.nodes.map(\.keys) == [1, 0, 0])
    let number = partition(key)
    let entry = cluster.topology.partitions[number]
    cluster.apply(
      .handOver([
        .init(partition: PartitionID(UInt16(number)), epoch: entry.epoch, version: entry.version, heir: 1)
      ]))
    cluster.publish()
    cluster.settle()
    for node in 0..<3 { #expect(value(cluster, node, key).0 == 404) }
    cluster.advance(2000)
    #expect(cluster.nodes.map(\.keys) == [0, 0, 0])
    #expect(send(cluster, 0, "PUT", key, "2").first?.status == 201)
    for node in 0..<3 { #expect(value(cluster, node, key).1 == "2") }
    cluster.checkAtRest()
  }

  private func partition(_ path: String) -> Int {
    let parts = path.split(separator: "/")
    return Array("\u{1}\(parts[2])".utf8).withUnsafeBytes { map in
      Array(parts[3].utf8).withUnsafeBytes { Int(KeyRef(map: map, key: $0).partition.rawValue) }
    }
  }

  @Test("a value and its copies are apart from what the same map has as a replicated one")
  func modes() {
    let cluster = cluster("m", { $0.replicas = 2 })
    let key = key(cluster, "m", of: 0)
    #expect(send(cluster, 0, "PUT", key, "replicated").first?.status == 201)
    cluster.set("m") { $0.mode = .cache }
    cluster.advance(1500)
    for node in 0..<3 { #expect(value(cluster, node, key).0 == 404) }
    #expect(send(cluster, 0, "PUT", key + "?w=3", "x").first?.status == 400)
    #expect(send(cluster, 0, "PUT", key, "cached").first?.status == 201)
    cluster.set("m") { $0.mode = .replicated }
    for node in 0..<3 { #expect(value(cluster, node, key).1 == "replicated") }
  }

  @Test("the table of copies is bounded, forgets the oldest, and keeps nothing that was written meanwhile")
  func table() {
    var table = CopyTable()
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1024, alignment: 8)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    let text = UnsafeRawBufferPointer(start: memory.baseAddress! + RecordLayout.headerCount, count: 1)
    let key = KeyRef(text)
    let head = RecordHead(kind: .put, epoch: Epoch(1), offset: Offset(1), time: 5)
    head.write(to: memory.baseAddress!, length: RecordLayout.headerCount + 1, mapCount: 0, keyCount: 1)
    let record = UnsafeRawBufferPointer(rebasing: memory[..<(RecordLayout.headerCount + 1)])
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    table.keep(record, none, key.hash, asked: 5, until: 100, limit: 1 << 16, monotonic: 1)
    var isThere = [99, 100].map { table.find(key, monotonic: $0, wall: 0) != nil }
    #expect(isThere == [true, false])
    table.invalidate(key.hash, now: 7)
    let left = table.bytes
    #expect(left == 0)
    table.keep(record, none, key.hash, asked: 7, until: 100, limit: 1 << 16, monotonic: 1)
    var bytes = table.bytes
    #expect(bytes == 0)
    for number in 0..<5000 {
      table.keep(record, none, key.hash &+ UInt64(number), asked: 8, until: 100, limit: 4096, monotonic: 1)
      bytes = table.bytes
      #expect(bytes <= 4096)
    }
    table.keep(UnsafeRawBufferPointer(memory), none, 1, asked: 8, until: 100, limit: 4096, monotonic: 1)
    isThere = [table.find(key, monotonic: 1, wall: 0) != nil]
    #expect(isThere == [false])
    // What is no good any more makes room by itself.
    table.keep(record, none, key.hash, asked: 8, until: 300, limit: 1 << 16, monotonic: 200)
    bytes = table.bytes
    #expect(bytes == record.count)
  }
}

extension TestCluster {
  /// Changes a map's settings in the topology, and tells all nodes.
  func set(_ map: String, _ body: (inout MapSettings) -> Void) {
    var settings = topology.settings(of: Array(map.utf8))
    body(&settings)
    apply(.setMap(MapEntry(name: Array(map.utf8), settings: settings)))
    publish()
    settle()
    advance(100)
  }
}

extension TestNode {
  /// Operations that were sent on to another node so far, over all cores.
  var relayed: UInt64 { (0..<count).reduce(0) { $0 + cores[$1].metrics.value(.relayed) } }
}
