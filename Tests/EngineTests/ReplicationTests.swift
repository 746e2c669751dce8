import Testing
import Wire

@testable import Engine

@Suite struct ReplicationTests {
  @Test("no schedule of losses, crashes and fences loses what a majority held", arguments: [3, 4, 5])
  func schedules(members: Int) {
    var counts: [String: Int] = [:]
    var healed = 0
    for seed in 0..<60 {
      var harness = ReplicationHarness(seed: UInt64(seed) << 8 | UInt64(members), members: members)
      if let violation = harness.run(steps: 3000, maximumCrashes: 3) {
        Issue.record("seed \(seed), \(members) members: \(violation)")
        return
      }
      if harness.canRecover {
        if harness.heal() {
          healed += 1
        } else {
          Issue.record(
            "seed \(seed), \(members) members: never whole again: \(harness.violation ?? "\(harness.entry)")")
          return
        }
      }
      counts.merge(harness.counts, uniquingKeysWith: +)
    }
    #expect(healed > 20, "too few schedules can recover: \(healed)")
    for what in ["answered", "granted", "resize", "handOver", "activate", "fence"] {
      #expect(counts[what, default: 0] > 10, "too few of \(what): \(counts)")
    }
  }

  @Test("where partitions begin anew, nothing is lost but what was declared lost", arguments: [3, 4, 5])
  func begunAnew(members: Int) {
    var counts: [String: Int] = [:]
    for seed in 0..<130 {
      var harness = ReplicationHarness(seed: UInt64(seed) << 8 | UInt64(members), members: members)
      harness.anewRandom = TestRandom(seed: UInt64(seed))
      if let violation = harness.run(steps: 3000, maximumCrashes: 2) {
        Issue.record("seed \(seed), \(members) members: \(violation)")
        return
      }
      if harness.canRecover, !harness.heal() {
        Issue.record("seed \(seed), \(members) members: never whole again: \(harness.violation ?? "\(harness.entry)")")
        return
      }
      counts.merge(harness.counts, uniquingKeysWith: +)
    }
    for what in ["answered", "granted", "resize", "handOver", "activate", "fence", "anew"] {
      #expect(counts[what, default: 0] > 10, "too few of \(what): \(counts)")
    }
  }

  /// Those of hand-overs need a leader that grants late what was asked for long ago, that of grants a member which is
  /// removed although it lives: `OwnerHandOverTests` plants them.
  static let found = [ReplicationMutation]([
    .keepsIdentity, .choosesEarly, .activatesEarly, .shrinksEarly, .forgetsNewFactor, .takesOldEpochs,
  ])

  @Test("each rule taken out loses a write within a stated number of seeds", arguments: found)
  func mutations(mutation: ReplicationMutation) {
    let bound = 2000
    for seed in 0..<bound {
      var harness = ReplicationHarness(seed: UInt64(seed), members: 3, mutation: mutation)
      if harness.run(steps: 3000, maximumCrashes: 3) != nil {
        print("\(mutation) is found by seed \(seed): \(harness.violation!)")
        return
      }
    }
    Issue.record("\(mutation) isn't found within \(bound) seeds")
  }
}
