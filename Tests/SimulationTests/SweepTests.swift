import Engine
import Testing

@testable import Simulator
@testable import simulate

/// Many seeds at once come to the same as one after the other.
@Suite struct SweepTests {
  /// What a run came to: some simulated time, and a violation or none.
  private func report(_ seed: UInt64, isWrong: Bool) -> SimulationReport {
    var report = SimulationReport(seed: seed)
    report.nanoseconds = seed
    report.answers = [200: Int(seed)]
    if isWrong { report.violation = Violation(invariant: .converges, detail: "\(seed)", time: seed) }
    return report
  }

  /// A swarm's options, cut to a length that a debug build runs in a moment.
  private static func short(_ seed: UInt64) -> SimulationOptions {
    var options = seed % 2 == 0 ? SimulationOptions.swarm(seed) : .wholeSwarm(seed)
    options.hosts = min(options.hosts, 4)
    options.seconds = 2
    options.settings.evictAfter = 2000 * ClusterSettings.millisecond
    return options
  }

  @Test("seeds are handed out in order, and violations told in that order however they come back")
  func order() {
    var chance = Chance(seed: 5)
    for jobs in 1...6 {
      var sweep = Sweep(from: 100, count: 40)
      var expected = SweepSum()
      var underWay: [Sweep.Turn] = []
      var begun: [UInt64] = []
      var told: [UInt64] = []
      while true {
        while underWay.count < jobs, let turn = sweep.next() {
          underWay.append(turn)
          begun.append(turn.seed)
        }
        guard !underWay.isEmpty else { break }
        let turn = underWay.remove(at: chance.below(underWay.count))
        let options = SimulationOptions(seed: turn.seed)
        let report = report(turn.seed, isWrong: turn.seed % 3 == 0)
        expected.add(options, report, busy: 0)
        told += sweep.finish(turn, options, report, busy: 1).map(\.seed)
        // Whatever was told, no seed before it can still turn out to be wrong.
        #expect(told.allSatisfy { told in underWay.allSatisfy { $0.seed > told } })
      }
      #expect(begun == Array(100..<140))
      #expect(told == (100..<140).filter { $0 % 3 == 0 } && sweep.failures.map(\.seed) == told)
      #expect(sweep.sum == expected && sweep.sum.seeds == 40)
      #expect(sweep.summary(taken: 1).last == "\(told.count) violations, seeds \(told)")
    }
  }

  @Test("a sweep that stops at a violation tells the lowest seed's, though a later one was found first")
  func stops() {
    var sweep = Sweep(of: [9, 5, 7, 1])
    let turns = (0..<3).compactMap { _ in sweep.next() }
    #expect(turns.map(\.seed) == [9, 5, 7])
    let options = SimulationOptions(seed: 0)
    #expect(sweep.finish(turns[2], options, report(7, isWrong: true), busy: 1).isEmpty)
    #expect(sweep.next() == nil)
    #expect(sweep.finish(turns[0], options, report(9, isWrong: false), busy: 1).isEmpty)
    #expect(sweep.finish(turns[1], options, report(5, isWrong: true), busy: 1).map(\.seed) == [5])
    #expect(sweep.failures.map(\.seed) == [5] && sweep.sum.seeds == 3)
  }

  @Test("a sweep whose time is up hands out no seed any more")
  func ends() {
    var sweep = Sweep(from: .max, count: nil)
    #expect(sweep.isEndless && sweep.next()?.seed == .max && sweep.next()?.seed == 0)
    sweep.end()
    #expect(sweep.next() == nil)
    #expect(Team.run(Sweep(from: 1, count: nil), jobs: 3, budget: 0, options: Self.short).sum.seeds == 0)
  }

  @Test("seeds come to the same on one thread and on several")
  func threads() {
    let alone = Team.run(Sweep(from: 1, count: 8), jobs: 1, options: Self.short)
    let together = Team.run(Sweep(from: 1, count: 8), jobs: 4, options: Self.short)
    #expect(alone.sum == together.sum && alone.sum.seeds == 8 && alone.sum.operations > 0)
    #expect(alone.failures == [] && together.failures == [])
  }

  @Test("a seed's trace is the same alone and beside others")
  func traces() async {
    let alone = World.run(Self.short(3), trace: true)
    let traces = await withTaskGroup(of: [String].self) { group in
      for seed in [2, 3, 4, 3] as [UInt64] {
        group.addTask { seed == 3 ? World.run(Self.short(3), trace: true).trace : World.run(Self.short(seed)).trace }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    #expect(traces.filter { $0 == alone.trace }.count == 2 && !alone.trace.isEmpty)
  }

  #if DEBUG
    @Test("several threads find a planted bug, and report a seed that replays it")
    func planted() throws {
      let options: @Sendable (UInt64) -> SimulationOptions = { seed in
        var options = SimulationOptions.calm(hosts: 3, seconds: 6, seed: seed)
        options.crashes = 1000
        // Some seeds don't show it.
        options.settings.mutation = seed < 4 ? nil : .reusesEpochs
        return options
      }
      let together = Team.run(Sweep(from: 1, count: 100, stopsAtFailure: true), jobs: 4, options: options)
      let alone = Team.run(Sweep(from: 1, count: 100, stopsAtFailure: true), jobs: 1, options: options)
      let failure = try #require(together.failures.first)
      #expect(together.failures == alone.failures && together.failures.count == 1 && failure.seed >= 4)
      #expect(failure.violation.invariant == .oneOwnerPerEpoch)
      let replayed = World.run(options(failure.seed), trace: true)
      #expect(replayed.violation == failure.violation && replayed.events == failure.events)
      #expect(replayed.trace.last?.contains("\(failure.violation)") == true)
    }
  #endif
}
