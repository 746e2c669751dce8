import Testing

@testable import Engine

@Suite("Listings, batches and settings over several cores")
struct CoreListTests {
  /// The keys of a page and its next, from the text of a listing.
  private func page(_ text: String) -> (keys: [String], next: String?) {
    guard let end = text.range(of: "],\"next\":") else {
      Issue.record("not a listing: \(text.prefix(200))")
      return ([], nil)
    }
    let list = text[..<end.lowerBound].dropFirst("{\"keys\":[".count)
    let keys = list.split(separator: ",").map { String($0.dropFirst().dropLast()) }
    let rest = text[end.upperBound...]
    guard rest.hasPrefix("\"") else { return (keys, nil) }
    return (keys, String(rest.dropFirst().prefix { $0 != "\"" }))
  }

  @Test("a key that exists throughout a listing comes exactly once, whatever is written meanwhile", arguments: 1...6)
  func exactlyOnce(seed: UInt64) {
    let node = TestNode(cores: Int(seed % 3) + 1, seed: seed)
    var random = TestRandom(seed: seed)
    let writer = node.connect(0)
    for n in 0..<400 { writer.send(request("PUT", "/stays\(n)", body: "1") + request("PUT", "/goes\(n)", body: "1")) }
    node.settle()
    _ = writer.takeText()
    for prefix in ["", "stays"] {
      var seen: [String: Int] = [:]
      var after = ""
      var pages = 0
      while pages < 500 {
        pages += 1
        let target = "/v1/maps/default?limit=\(1 + random.below(60))&prefix=\(prefix)&after=\(after)"
        let (keys, next) = page(node.ask("GET", target, core: random.below(node.count)).text)
        for key in keys { seen[key, default: 0] += 1 }
        for _ in 0..<40 {
          let n = random.below(1_000)
          writer.send(random.chance(2) ? request("DELETE", "/goes\(n)") : request("PUT", "/goes\(n)", body: "22"))
          writer.send(request("PUT", "/stays\(n % 400)", body: "333"))
        }
        guard let next else { break }
        after = next
      }
      #expect(pages < 500)
      for n in 0..<400 { #expect(seen["stays\(n)"] == 1) }
      #expect(seen.keys.allSatisfy { $0.hasPrefix(prefix) })
    }
    node.checkAtRest()
  }

  @Test("the longest keys, written with escapes, come in pages that a mailbox takes")
  func longestKeys() {
    let node = TestNode(cores: 2)
    // A control character takes six bytes in JSON.
    let body = String(repeating: "%01", count: 16_000 / 1)
    for n in 0..<150 {
      let answer = node.ask("PUT", "/v1/maps/m/\(n)" + body.prefix(3 * 10_000), body: "1")
      #expect(answer.status == 201)
    }
    for core in 0..<2 {
      var keys = Set<String>()
      var after = ""
      for _ in 0..<400 {
        let (found, next) = page(node.ask("GET", "/v1/maps/m?after=\(after)", core: core).text)
        for key in found { #expect(keys.insert(key).inserted) }
        guard let next else { break }
        after = next
      }
      #expect(keys.count == 150)
    }
    node.checkAtRest()
  }

  @Test("a page may be empty and still have a next one, with a rare prefix")
  func rarePrefix() {
    var limits = TestNode.limits
    limits.listingSlots = 2048
    let node = TestNode(cores: 2, limits: limits)
    let writer = node.connect(0)
    for n in 0..<3_000 { writer.send(request("PUT", "/k\(n)", body: "")) }
    node.settle()
    #expect(node.ask("PUT", "/rare", body: "").status == 201)
    var pages: [Int] = []
    var after = ""
    for _ in 0..<100 {
      let (keys, next) = page(node.ask("GET", "/v1/maps/default?prefix=rare&after=\(after)").text)
      pages.append(keys.count)
      guard let next else { break }
      after = next
    }
    #expect(pages.reduce(0, +) == 1)
    #expect(pages.count > 3 && pages.count < 20)
    node.checkAtRest()
  }

  @Test("maps have their own keys; default is the map of the plain paths", arguments: [1, 3])
  func maps(cores: Int) {
    let node = TestNode(cores: cores)
    #expect(node.ask("PUT", "/k", body: "default").status == 201)
    #expect(node.ask("PUT", "/v1/maps/a/k", body: "a").status == 201)
    #expect(node.ask("PUT", "/v1/maps/b/k", body: "b").status == 201)
    #expect(node.ask("GET", "/v1/maps/default/k").text == "default")
    #expect(node.ask("GET", "/v1/maps/a/k").text == "a")
    #expect(page(node.ask("GET", "/v1/maps/a").text).keys == ["k"])
    #expect(page(node.ask("GET", "/v1/maps/none").text).keys == [])
    #expect(node.ask("DELETE", "/v1/maps/a/k").status == 204)
    #expect(node.ask("GET", "/k").text == "default")
    node.checkAtRest()
  }

  @Test("a map's time to live is in force on every core once it is answered", arguments: [1, 3])
  func settings(cores: Int) {
    let node = TestNode(cores: cores)
    let set = node.ask("PUT", "/v1/maps/short", body: "{\"ttl\":\"10s\",\"mode\":\"cache\",\"replicas\":2}")
    #expect(set.status == 200)
    for n in 0..<30 {
      let path = "/v1/maps/short/k\(n)"
      #expect(node.ask("PUT", path, body: "1", core: n % cores).status == 201)
      #expect(node.ask("GET", path)["kvd-ttl"] == "10000ms")
    }
    let listing = node.ask("GET", "/v1/maps/short", core: cores - 1).text
    #expect(listing.hasSuffix("\"settings\":{\"replicas\":2,\"mode\":\"cache\",\"ttl\":\"10s\",\"history\":0}}\n"))
    #expect(node.ask("PUT", "/v1/maps/short/own?ttl=1h", body: "1").status == 201)
    node.advance(11_000)
    #expect(node.keys == 1)
    node.checkAtRest()
  }

  @Test("all cores agree on a map's settings whatever core was asked last")
  func settingsAgree() {
    let node = TestNode(cores: 3)
    node.holdsMail = true
    let clients = (0..<3).map { node.connect($0) }
    for (n, client) in clients.enumerated() {
      client.send(request("PUT", "/v1/maps/m", body: "{\"ttl\":\"\(n + 1)s\"}"))
    }
    node.settle()
    node.holdsMail = false
    node.settle()
    for client in clients { #expect(client.takeAnswers().map(\.status) == [200]) }
    let seen = (0..<3).map { node.ask("GET", "/v1/maps/m", core: $0).text }
    #expect(Set(seen).count == 1)
  }

  @Test("a batch answers in order, with mail in any order", arguments: 1...5)
  func batch(seed: UInt64) {
    let node = TestNode(cores: 3, seed: seed)
    let puts = (0..<50).map { "{\"op\":\"put\",\"key\":\"k\($0)\",\"value\":\"v\($0)\"}" }
    #expect(node.ask("POST", "/v1/batch", body: "[\(puts.joined(separator: ","))]").text.components(of: ":201,") == 50)
    let gets = (0..<50).map { "{\"op\":\"get\",\"key\":\"k\($0)\"}" }
    let answer = node.ask("POST", "/v1/batch", body: "[\(gets.joined(separator: ","))]").text
    let values = answer.split(separator: "\"value\":\"").dropFirst().map { String($0.prefix { $0 != "\"" }) }
    #expect(values == (0..<50).map { "v\($0)" })
    node.checkAtRest()
  }

  @Test("a batch whose client leaves is still executed whole, and nothing is left of it")
  func batchOfLeaver() {
    let node = TestNode(cores: 3)
    let client = node.connect(0)
    let puts = (0..<50).map { "{\"op\":\"put\",\"key\":\"k\($0)\",\"value\":\"v\($0)\"}" }
    client.send(request("POST", "/v1/batch", body: "[\(puts.joined(separator: ","))]"))
    node.turn(0)
    client.reset()
    node.turn(0)
    node.settle()
    #expect(client.isGone)
    #expect(node.keys == 50)
    node.checkAtRest()
  }
}

extension String {
  /// Where a text occurs first.
  fileprivate func range(of text: String) -> Range<String.Index>? {
    let (bytes, wanted) = (Array(utf8), Array(text.utf8))
    guard bytes.count >= wanted.count else { return nil }
    for start in 0...bytes.count - wanted.count where bytes[start] == wanted[0] {
      if bytes[start..<start + wanted.count].elementsEqual(wanted) {
        return utf8.index(
          utf8.startIndex, offsetBy: start)..<utf8.index(utf8.startIndex, offsetBy: start + wanted.count)
      }
    }
    return nil
  }
}
