import Engine
import Foundation
import Testing

@testable import Simulator

/// Where transcripts are, and whether they are written anew.
private enum Transcripts {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Scenarios")
  static var isRewritten: Bool { ProcessInfo.processInfo.environment["REWRITE"] != nil }
  static var areThere: Bool { isRewritten || FileManager.default.fileExists(atPath: folder.path) }
}

/// Transcripts of a cluster of three at work, compared with those in `Scenarios`. `REWRITE=1` writes them anew; read
/// the difference then.
@Suite(.enabled(if: Transcripts.areThere, "no transcripts: write them with REWRITE=1"))
struct ScenarioTests {
  /// A world that writes down what a script does and what the nodes say, each thing once.
  private struct Script {
    var world: World
    var lines: [String] = []
    private var shown = 0

    init(seed: UInt64) {
      var options = SimulationOptions.calmWhole(hosts: 3, seconds: 1000, clients: 1, seed: seed)
      options.keys = 1
      world = World(options, pool: MemoryPool(), trace: true)
      world.workload.isOver = true
    }

    mutating func wait(_ milliseconds: UInt64) {
      world.advance(milliseconds)
      listen()
    }

    mutating func say(_ line: String) { lines.append("> \(line)") }

    /// What nodes said since, without times and ids; what several say is said once.
    private mutating func listen() {
      var said: [String] = []
      for line in world.trace.lines[shown...] {
        let words = line.split(separator: " ", omittingEmptySubsequences: true).dropFirst().map(String.init)
        guard let who = words.first, who.hasPrefix("n") else { continue }
        var rest = Array(words.dropFirst())
        if rest.contains("starts") || rest.contains("sees") || rest.contains("ignores") { continue }
        if rest.count > 1, rest[1] == "partitions" { rest.removeFirst() }
        if let place = rest.firstIndex(of: "cluster"), place + 1 < rest.count { rest.remove(at: place + 1) }
        if rest.contains("lease") || rest.contains("crashes") { rest.insert(who, at: 0) }
        let text = rest.joined(separator: " ")
        if !said.contains(text) { said.append(text) }
      }
      shown = world.trace.lines.count
      lines += said.map { "    \($0)" }
    }

    mutating func ask(_ host: Int, _ kind: History.Operation.Kind, _ query: String = "") {
      let told = world.ask(host, kind, query)
      listen()
      var word = "\(kind)"
      switch kind {
      case .put(let value): word = "PUT \(value)"
      case .get: word = "GET"
      case .delete: word = "DELETE"
      case .increment(let delta): word = "INCR \(delta)"
      case .append(let value): word = "APPEND \(value)"
      }
      say("n\(host): \(word)\(query.isEmpty ? "" : " ?\(query)") → \(told)")
    }

    mutating func showLogs() { lines += world.logs.map { "  | \($0)" } }

    mutating func kill(_ host: Int) {
      say("kill -9 n\(host)")
      world.crash(host)
    }

    mutating func start(_ host: Int) {
      say("start n\(host)")
      world.start(host)
    }
  }

  private func compare(_ name: String, _ script: Script) throws {
    let file = Transcripts.folder.appending(path: "\(name).txt")
    let text = script.lines.joined(separator: "\n") + "\n"
    #expect(script.world.checker.violation == nil)
    if Transcripts.isRewritten {
      try FileManager.default.createDirectory(at: Transcripts.folder, withIntermediateDirectories: true)
      try text.write(to: file, atomically: true, encoding: .utf8)
      return
    }
    let wanted = try String(contentsOf: file, encoding: .utf8)
    for (number, pair) in zip(text.split(separator: "\n"), wanted.split(separator: "\n")).enumerated()
    where pair.0 != pair.1 {
      Issue.record("\(name).txt, line \(number + 1): \"\(pair.1)\" is \"\(pair.0)\" now; see REWRITE=1")
      return
    }
    #expect(text == wanted, "\(name).txt: see REWRITE=1")
  }

  @Test("a cluster is founded, loses its leader, elects another and takes the old one's host back")
  func election() throws {
    var script = Script(seed: 1)
    script.wait(3000)
    script.kill(try #require(script.world.leader))
    script.wait(4000)
    script.start(try #require(script.world.hosts.firstIndex { $0.machine == nil }))
    script.wait(6000)
    try compare("election", script)
  }

  @Test("a write reaches all copies and is read on every node")
  func replication() throws {
    var script = Script(seed: 1)
    script.wait(3000)
    // The first write of all waits until the cluster has noted that it takes writes.
    script.ask(0, .put("first"))
    let owner = try #require(script.world.owner)
    let other = (owner + 1) % 3
    script.ask(owner, .put("a"))
    script.showLogs()
    script.ask(other, .put("b"), "w=all")
    script.showLogs()
    for host in 0..<3 { script.ask(host, .get) }
    for host in 0..<3 { script.ask(host, .get, "read=linearizable") }
    script.ask(other, .delete, "w=1")
    script.wait(100)
    script.showLogs()
    script.ask(other, .get, "read=linearizable")
    script.ask(other, .put("c"), "w=4")
    try compare("replication", script)
  }

  @Test("after its owner's death a key is written and read as before")
  func failover() throws {
    var script = Script(seed: 1)
    script.wait(3000)
    // The first write of all waits until the cluster has noted that it takes writes.
    script.ask(0, .put("first"))
    let owner = try #require(script.world.owner)
    let other = (owner + 1) % 3
    script.ask(other, .put("a"))
    script.kill(owner)
    script.ask(other, .put("b"), "timeout=500ms")
    script.wait(3000)
    script.ask(other, .get, "read=linearizable")
    script.ask(other, .put("c"))
    script.showLogs()
    script.wait(3000)
    script.ask(other, .put("d"), "w=all")
    script.showLogs()
    try compare("failover", script)
  }

  @Test("a node that comes back with an empty memory catches up")
  func catchUp() throws {
    var script = Script(seed: 1)
    script.wait(3000)
    // The first write of all waits until the cluster has noted that it takes writes.
    script.ask(0, .put("first"))
    let owner = try #require(script.world.owner)
    let other = (owner + 1) % 3
    for value in ["a", "b", "c"] { script.ask(owner, .put(value)) }
    script.kill(other)
    script.wait(2000)
    script.ask(owner, .append("d"))
    script.showLogs()
    script.start(other)
    script.wait(40_000)
    script.showLogs()
    script.ask(other, .get)
    script.ask(other, .append("e"), "w=3")
    script.showLogs()
    try compare("catch-up", script)
  }
}
