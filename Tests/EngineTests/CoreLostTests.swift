import Testing

@testable import Engine
@testable import Wire

@Suite("The ledger of lost writes")
struct CoreLostTests {
  /// A cluster in which the owner of a key was cut off, took writes at w=1 and w=majority, was deposed, and came back.
  private func lossy(cores: Int, seed: UInt64?, writes: Int = 1) -> (TestCluster, String) {
    let cluster = TestCluster(3, cores: cores, seed: seed, factor: 3)
    cluster.settle()
    let key = cluster.key(of: 0)
    let client = cluster.nodes[0].connect(cluster.nodes[0].owner(of: key))
    client.send(request("PUT", "/\(key)", body: "old"))
    cluster.settle()
    #expect(client.takeAnswers().map(\.status) == [201])
    cluster.hold(0, 1)
    cluster.hold(0, 2)
    for number in 0..<writes {
      client.send(request("PUT", "/\(key)?w=1", body: "lost\(number)"))
      cluster.settle()
      #expect(client.takeAnswers().map(\.status) == [200])
      cluster.advance(2)
    }
    client.send(request("PUT", "/\(key)?timeout=10s", body: "unknown"))
    cluster.settle()
    cluster.apply(.setState(NodeID(high: 1, low: 7), .down))
    cluster.publish(to: [1, 2])
    cluster.govern()
    for _ in 0..<4 {
      cluster.advance(100)
      cluster.govern()
    }
    cluster.hold(0, 1, false)
    cluster.hold(0, 2, false)
    cluster.apply(.setState(NodeID(high: 1, low: 7), .active))
    cluster.publish()
    for _ in 0..<20 {
      cluster.advance(200)
      cluster.govern()
    }
    #expect(client.takeAnswers().map(\.status) == [504])
    return (cluster, key)
  }

  @Test("it has exactly the write that a failover dropped, on every node", arguments: [nil, 1, 2])
  func exact(seed: UInt64?) {
    let (cluster, key) = lossy(cores: seed == nil ? 1 : 2, seed: seed)
    for node in cluster.nodes {
      #expect(node.ask("GET", "/\(key)").text == "old")
      let client = node.connect()
      client.send(request("GET", "/v1/lost"))
      cluster.settle()
      let text = client.takeAnswers().first?.text ?? ""
      #expect(text.contains("\"key\":\"\(key)\""))
      #expect(text.components("\"revision\"") == 1, "\(text)")
      #expect(text.contains("\"map\":\"default\"") && text.contains("\"operation\":\"put\""))
      #expect(text.contains("\"next\":null,\"total\":1,") && text.contains("\"missing\":[]"), "\(text)")
      #expect(text.contains("\"failover\":{\"epoch\":2,"), "\(text)")
    }
    #expect(cluster.nodes[0].logs.filter { $0.contains("\"type\":\"LOST\"") }.count == 1)
  }

  @Test("pages go on where the one before ended; a node that can't be asked is named")
  func pages() {
    let (cluster, _) = lossy(cores: 1, seed: nil, writes: 5)
    let client = cluster.nodes[1].connect()
    var seen: [String] = []
    var after = ""
    for _ in 0..<6 {
      client.send(request("GET", "/v1/lost?limit=2\(after)"))
      cluster.settle()
      let text = client.takeAnswers().first?.text ?? ""
      seen += text.values(of: "offset")
      guard let next = text.values(of: "next").first, next != "null" else { break }
      after = "&after=" + next
    }
    #expect(seen.count == 5 && seen == seen.sorted { Int($0)! > Int($1)! }, "\(seen)")
    for query in ["limit=0", "limit=x", "after=1", "after=a-1-1-1", "x=1"] {
      #expect(cluster.nodes[1].ask("GET", "/v1/lost?\(query)").status == 400)
    }
    #expect(cluster.nodes[1].ask("POST", "/v1/lost", body: "").status == 405)
    cluster.kill(0)
    cluster.settle()
    client.send(request("GET", "/v1/lost"))
    cluster.settle()
    let text = client.takeAnswers().first?.text ?? ""
    #expect(text.contains("\"missing\":[\"") && text.contains("\"lost\":[]"), "\(text)")
  }

  @Test("a partition whose copies are all gone is named, with the epoch before which everything is lost")
  func partitions() {
    let cluster = TestCluster(3, factor: 2)
    let key = cluster.key(of: 0)
    let partition = PartitionID(UInt16(cluster.nodes[0].partition(of: key)))
    cluster.settle()
    let writer = cluster.nodes[0].connect()
    writer.send(request("PUT", "/\(key)", body: "x"))
    cluster.settle()
    #expect(writer.takeAnswers().map(\.status) == [201])
    cluster.apply(.fence([partition]))
    cluster.apply(
      .activate([
        .init(partition: partition, epoch: Epoch(2), owner: 2, replicationFactor: 1, isLoss: true, synced: [2])
      ]))
    cluster.publish()
    cluster.govern()
    for node in cluster.nodes {
      let client = node.connect()
      client.send(request("GET", "/v1/lost"))
      cluster.settle()
      let text = client.takeAnswers().first?.text ?? ""
      #expect(
        text.contains("\"partitions\":[{\"partition\":\(partition.rawValue),\"before\":2,\"times\":1}]"), "\(text)")
    }
  }

  @Test("a node that lost nothing says so")
  func none() {
    for cores in [1, 3] {
      let text = TestNode(cores: cores).ask("GET", "/v1/lost").text
      #expect(text == "{\"lost\":[],\"next\":null,\"total\":0,\"nodes\":[\"n1\"],\"missing\":[],\"partitions\":[]}\n")
    }
  }

  @Test("the ledger is bounded: the oldest go, and are counted")
  func bounded() {
    var ledger = LossLedger()
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 8)
    defer { bytes.deallocate() }
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    for number in 1...LossLedger.maximumCount + 10 {
      let head = RecordHead(kind: .put, epoch: Epoch(1), offset: Offset(UInt64(number)), time: 5)
      head.write(to: bytes.baseAddress!, length: RecordLayout.headerCount + 1, mapCount: 0, keyCount: 1)
      ledger.note(
        RecordView(bytes.baseAddress!), PartitionID(1), by: Epoch(2), of: NodeID(high: 1, low: 1),
        now: UInt64(number))
    }
    #expect(ledger.total == UInt64(LossLedger.maximumCount + 10))
    #expect(ledger.entries.count == LossLedger.maximumCount && ledger.entries[0].revision.offset == Offset(11))
  }
}

extension String {
  /// How often a text is in this one.
  fileprivate func components(_ part: String) -> Int {
    var count = 0
    var rest = self[...]
    while let range = rest.firstRange(of: part) {
      count += 1
      rest = rest[range.upperBound...]
    }
    return count
  }

  /// The values of a name in a JSON text, without quotes.
  fileprivate func values(of name: String) -> [String] {
    var values: [String] = []
    var rest = self[...]
    while let range = rest.firstRange(of: "\"\(name)\":") {
      rest = rest[range.upperBound...]
      values.append(String(rest.prefix { $0 != "," && $0 != "}" }).filter { $0 != "\"" })
    }
    return values
  }
}
