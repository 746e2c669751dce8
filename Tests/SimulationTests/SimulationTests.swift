import Engine
import Testing

@testable import Simulator

@Suite struct SimulationTests {
  /// A swarm's options, cut to a length that a debug build runs in a second or two.
  private func short(_ seed: UInt64) -> SimulationOptions {
    var options = SimulationOptions.swarm(seed)
    options.seconds = 6
    options.settings.evictAfter = 2000 * ClusterSettings.millisecond
    return options
  }

  @Test("all invariants hold, and the cluster converges after the faults", arguments: 1...3 as ClosedRange<UInt64>)
  func seeds(_ seed: UInt64) {
    let report = World.run(short(seed))
    #expect(report.violation == nil, "replay it: make simulate ARGS=\(seed)")
  }

  /// A swarm's options with whole nodes, cut to a length that a debug build runs in some seconds.
  private func shortWhole(_ seed: UInt64) -> SimulationOptions {
    var options = SimulationOptions.wholeSwarm(seed)
    options.seconds = 4
    options.settings.evictAfter = 2000 * ClusterSettings.millisecond
    return options
  }

  @Test("whole nodes keep all promises under faults", arguments: 1...3 as ClosedRange<UInt64>)
  func wholeNodes(_ seed: UInt64) {
    let report = World.run(shortWhole(seed))
    #expect(report.violation == nil, "seed \(seed)")
    #expect(report.operations > 0)
  }

  @Test("whole nodes without faults serve every client")
  func calmNodes() {
    let report = World.run(.calmWhole(hosts: 3, seconds: 4))
    #expect(report.violation == nil)
    #expect(report.operations > 100)
    #expect(report.answers.keys.allSatisfy { [200, 201, 204, 404, 412].contains($0) }, "\(report.answers)")
  }

  @Test("one seed of whole nodes is one history, event for event")
  func wholeDeterminism() {
    let first = World.run(shortWhole(5), trace: true)
    let second = World.run(shortWhole(5), trace: true)
    #expect(first.trace == second.trace && first.events == second.events && !first.trace.isEmpty)
  }

  @Test("one seed is one history, event for event")
  func determinism() {
    var options = short(3)
    options.seconds = 5
    let first = World.run(options, trace: true)
    let second = World.run(options, trace: true)
    #expect(first.trace == second.trace && first.events == second.events && !first.trace.isEmpty)
    options.seed += 1
    #expect(World.run(options, trace: true).trace != first.trace)
  }

  @Test("nodes that start at the same instant on a working network become one cluster, each time")
  func founding() {
    for seed in 0..<4 as Range<UInt64> {
      let report = World.run(.calm(hosts: 2 + Int(seed % 4), seconds: 3, seed: seed), trace: true)
      #expect(report.violation == nil)
      #expect(Set(report.trace.filter { $0.contains("founded") }.map { $0.suffix(14) }).count == 1, "seed \(seed)")
    }
  }

  @Test("a dead member whose address another node has is removed long before it would be forgotten")
  func replaced() {
    var removed = 0
    for seed in 0..<3 as Range<UInt64> {
      var options = SimulationOptions.calm(hosts: 3, seconds: 12, seed: seed)
      options.crashes = 4000
      options.settings.evictAfter = 3_600_000 * ClusterSettings.millisecond
      let report = World.run(options, trace: true)
      #expect(report.violation == nil)
      removed += report.trace.count { $0.hasSuffix(" removed") }
    }
    #expect(removed > 0)
  }

  @Test("after the leader's crash another leads within two seconds")
  func failover() {
    var crashes = 0
    // As many seeds as it takes until a crash has met a leader.
    for seed in 0..<20 as Range<UInt64> where crashes == 0 {
      var options = SimulationOptions.calm(hosts: 5, seconds: 9, seed: seed)
      options.crashes = 4000
      var leader: Substring = ""
      var lost: Double?
      for line in World.run(options, trace: true).trace {
        let words = line.split(separator: " ")
        guard words.count > 2, let time = Double(words[0]) else { continue }
        if words[2] == "leader" {
          leader = words[3].dropLast()
          // The dead one's last words may still come in.
          if let since = lost, leader != "" { #expect(time - since < 2, "seed \(seed)") }
          lost = nil
        } else if words[2] == "crashes", words[1] == leader {
          lost = time
          crashes += 1
        }
      }
    }
    #expect(crashes > 0)
  }
}
