import Testing

@testable import Engine

/// Values that are too large to be copied: where their pages come from and where they go.
@Suite("Large values")
struct CoreMemoryTests {
  private static func value(_ count: Int, _ seed: UInt64 = 1) -> [UInt8] {
    var random = TestRandom(seed: seed)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }

  /// Bytes of pages in use once background work is done; what stays is the tables and the logs' open segments.
  private func used(_ node: TestNode) -> Int {
    node.settle()
    return node.usedBytes
  }

  @Test("a large value received in pieces gives its pages back when it is deleted", arguments: [1, 2, 3])
  func putAndDelete(cores: Int) {
    let node = TestNode(cores: cores)
    let value = Self.value(300_001)
    for core in 0..<cores { _ = node.ask("PUT", "/" + node.key(on: core), body: "small") }
    let before = used(node)
    for core in 0..<cores {
      let client = node.connect(0)
      let bytes = request("PUT", "/" + node.key(on: core), [], value)
      for start in stride(from: 0, to: bytes.count, by: 7_000) {
        client.send(bytes[start..<min(bytes.count, start + 7_000)])
      }
      node.settle()
      #expect(client.takeAnswers().map(\.status) == [200])
    }
    #expect(used(node) >= before + cores * 290_000)
    for core in 0..<cores {
      for reader in 0..<cores { #expect(node.ask("GET", "/" + node.key(on: core), core: reader).body == value) }
      #expect(node.ask("DELETE", "/" + node.key(on: core)).status == 204)
    }
    #expect(used(node) <= before)
    node.checkAtRest()
  }

  @Test("chunked values of unknown length grow in place and give back what they don't fill", arguments: [1, 2])
  func chunked(cores: Int) {
    let node = TestNode(cores: cores)
    for core in 0..<cores { _ = node.ask("PUT", "/" + node.key(on: core), body: "small") }
    let before = used(node)
    for size in [0, 1, 32_767, 32_768, 40_000, 500_000] {
      let value = Self.value(size)
      for core in 0..<cores {
        let client = node.connect(0)
        client.send(request("PUT", "/" + node.key(on: core), ["Transfer-Encoding: chunked"]))
        for start in stride(from: 0, to: size, by: 9_999) {
          let piece = value[start..<min(size, start + 9_999)]
          client.send(Array("\(String(piece.count, radix: 16))\r\n".utf8) + piece + Array("\r\n".utf8))
        }
        client.send("0\r\n\r\n")
        node.settle()
        #expect(client.takeAnswers().map(\.status) == [200])
        #expect(node.ask("GET", "/" + node.key(on: core)).body == value)
      }
      #expect(used(node) <= before + cores * (size + 6 * PageAllocator.pageSize))
    }
    node.checkAtRest()
  }

  @Test("a value that is being sent stays as it was while it is replaced, deleted and cleaned away", arguments: [1, 2])
  func pinned(cores: Int) {
    let node = TestNode(cores: cores, memory: 8 << 20)
    let values = (0..<4).map { Self.value(5_000 + 60_000 * ($0 % 2), UInt64($0)) }
    for core in 0..<cores {
      for n in 0..<4 { #expect(node.ask("PUT", "/" + node.key(on: core, n), [], values[n]).status == 201) }
      let readers = (0..<4).map { n in
        let reader = node.connect(0)
        reader.holdsSends = true
        reader.send(request("GET", "/" + node.key(on: core, n)))
        return reader
      }
      node.settle()
      let other = node.connect(0)
      for round in 0..<400 {
        let n = round % 20
        let bytes = Self.value(4_000 + 100 * n, 99)
        other.send(request(round % 7 == 6 ? "DELETE" : "PUT", "/" + node.key(on: core, n), [], bytes))
        node.settle()
      }
      #expect(Set(other.takeAnswers().map(\.status)).isSubset(of: [200, 201, 204, 404]))
      for reader in readers { reader.holdsSends = false }
      node.settle()
      for (n, reader) in readers.enumerated() { #expect(reader.takeAnswers().map(\.body) == [values[n]]) }
    }
    node.checkAtRest()
  }

  @Test("a client that leaves in the middle of a body gives all pages back", arguments: [1, 2])
  func leaving(cores: Int) {
    let node = TestNode(cores: cores)
    let before = used(node)
    for chunked in [false, true] {
      for core in 0..<cores {
        let client = node.connect(0)
        let field = chunked ? "Transfer-Encoding: chunked" : "Content-Length: 1000000"
        client.send(request("PUT", "/" + node.key(on: core), [field]))
        if chunked { client.send("F4240\r\n") }
        for _ in 0..<5 { client.send([UInt8](repeating: 1, count: 100_000)) }
        node.settle()
        #expect(node.usedBytes >= before + 500_000)
        client.reset()
        node.settle()
        #expect(client.isGone)
        #expect(used(node) == before)
      }
    }
    #expect(node.keys == 0)
    node.checkAtRest()
  }

  @Test("a client that leaves in the middle of a large answer lets go of it", arguments: [1, 2])
  func leavingReader(cores: Int) {
    let node = TestNode(cores: cores)
    let value = Self.value(700_000)
    for core in 0..<cores {
      let before = used(node)
      #expect(node.ask("PUT", "/" + node.key(on: core), [], value).status == 201)
      let reader = node.connect(0)
      reader.holdsSends = true
      reader.holdsClose = true
      reader.send(request("GET", "/" + node.key(on: core)) + request("GET", "/" + node.key(on: core)))
      node.settle()
      #expect(node.ask("DELETE", "/" + node.key(on: core)).status == 204)
      reader.reset()
      node.settle()
      #expect(used(node) >= before + 700_000, "the kernel may still be sending it")
      reader.holdsClose = false
      #expect(used(node) <= before + 8 * PageAllocator.pageSize)
    }
    node.checkAtRest()
  }

  @Test("a staged value whose write is refused gives its pages back", arguments: [1, 2])
  func refused(cores: Int) {
    let node = TestNode(cores: cores)
    let value = Self.value(200_000)
    for core in 0..<cores {
      let path = "/" + node.key(on: core)
      let etag = node.ask("PUT", path, body: "small").etag.filter { $0 != "\"" }
      let before = used(node)
      let foreign = node.ask("PUT", "/" + node.key(on: core, 1), body: "small").etag.filter { $0 != "\"" }
      let cases: [(String, [String], Int)] = [
        (path, ["If-None-Match: *"], 412), (path, ["If-Match: \"1-1-1\""], 412), (path, ["If-Match: x"], 400),
        (path + "?min-revision=\(etag)9", [], 503), (path + "?min-revision=\(foreign)", [], 400),
        (path + "?w=2", [], 503),
        (path + "?nonsense", [], 400), (path + "?ttl=x", [], 400),
      ]
      for (target, fields, status) in cases {
        let client = node.connect(0)
        let bytes = request("PUT", target, fields, value)
        client.send(bytes.prefix(100_000))
        client.send(bytes.dropFirst(100_000))
        node.settle()
        #expect(client.takeAnswers().map(\.status) == [status], "\(target) \(fields)")
        client.reset()
        #expect(used(node) <= before + 4 * PageAllocator.pageSize, "\(target) \(fields)")
      }
      #expect(node.ask("GET", path).text == "small")
    }
    node.checkAtRest()
  }

  @Test("a full node answers 507, stays readable, and takes writes again once keys are deleted", arguments: [1, 2])
  func full(cores: Int) {
    let node = TestNode(cores: cores, memory: 4 << 20)
    let value = Self.value(100_000)
    let stored = (0..<200).filter { node.ask("PUT", "/large\($0)", [], value).status == 201 }
    #expect(stored.count > 20 && stored.count < 100)
    let refused = node.connect(0)
    refused.send(request("PUT", "/more", [], value).dropLast(5_000))
    node.settle()
    #expect(refused.takeAnswers().map(\.status) == [507])
    var read = 0
    for n in 0..<200 where node.ask("GET", "/large\(n)").body == value { read += 1 }
    #expect(read == stored.count)
    for n in 0..<200 { _ = node.ask("DELETE", "/large\(n)") }
    node.settle()
    for n in stored { #expect(node.ask("PUT", "/large\(n)", [], value).status == 201) }
    node.checkAtRest()
  }

  @Test("an edit keeps the content type although the log is cleaned to make room for it")
  func contentTypeUnderPressure() {
    let node = TestNode(memory: 192 << 10)
    // All in one partition, whose log takes all the memory.
    let keys = (0..<40_000).map { "key\($0)" }.filter { node.partition(of: $0) == 5 }
    let (counters, fillers) = (keys.prefix(20), keys.dropFirst(20))
    let type = "application/x-counter; of=\"this test, in some forty bytes\""
    for (n, key) in counters.enumerated() {
      #expect(node.ask("PUT", "/" + key, ["Content-Type: \(type)\(n)"], Array("0".utf8)).status == 201)
    }
    var random = TestRandom(seed: 1)
    var edits = 0
    var refusals = 0
    for round in 0..<2_000 {
      let key = counters[random.below(counters.count)]
      let isAppend = round % 16 == 0
      let edit = node.ask("PUT", "/" + key + (isAppend ? "?op=append" : "?op=incr"), body: "")
      if edit.status == 200 { edits += 1 }
      let filler = fillers[fillers.startIndex + random.below(fillers.count)]
      let bytes = [UInt8](repeating: 1, count: random.chance(3) ? 30_000 : 100 + random.below(1_500))
      if node.ask("PUT", "/" + filler, [], bytes).status == 507 { refusals += 1 }
      if random.chance(4) { _ = node.ask("DELETE", "/" + filler) }
    }
    #expect(edits > 300)
    #expect(refusals > 20, "there was no pressure")
    for (n, key) in counters.enumerated() { #expect(node.ask("GET", "/" + key)["content-type"] == "\(type)\(n)") }
    node.checkAtRest()
  }
}
