#if DEBUG
  import Engine
  import Testing

  @testable import Simulator

  /// A checker is worth what it finds: each bug, planted in the engine, is caught by the invariant it breaks.
  @Suite struct PlantedBugTests {
    /// A bug, the options that bring it to light, and the invariants that may catch it first.
    struct Plant: CustomTestStringConvertible, Sendable {
      let mutation: Mutation
      let options: SimulationOptions
      let catchers: Set<Violation.Invariant>
      /// Chance decides when a bug shows: so many seeds are tried.
      var attempts: UInt64 = 16
      var testDescription: String { "\(mutation)" }
    }

    private static func options(_ seed: UInt64, _ change: (inout SimulationOptions) -> Void) -> SimulationOptions {
      var options = SimulationOptions.calm(hosts: 5, seconds: 30, seed: seed)
      change(&options)
      return options
    }

    /// Options under which candidates collide and logs differ.
    private static func rough(_ seed: UInt64) -> SimulationOptions {
      options(seed) {
        $0.loss = 100
        $0.delay = 5_000...60_000
        $0.settings.electionSpread = 10 * ClusterSettings.millisecond
        $0.partitions = 1500
        $0.pauses = 3000
        $0.crashes = 6000
      }
    }

    /// Options under which a leader that nobody else hears can still reach one node.
    private static func stranded(_ seed: UInt64) -> SimulationOptions {
      options(seed) {
        $0.strandings = 5000
        $0.seconds = 40
        // It doubts itself late, and others campaign early all the same.
        $0.settings.electionSpread = 2500 * ClusterSettings.millisecond
      }
    }

    static let plants: [Plant] = [
      Plant(mutation: .grantsBlindly, options: stranded(1), catchers: [.oneOwnerAtATime], attempts: 20),
      Plant(
        mutation: .takesReplays,
        options: options(1) {
          $0.isKeyed = true
          $0.duplication = 50
          $0.seconds = 5
        }, catchers: [.takesOnce]),
      Plant(
        mutation: .forgetsNothing,
        options: options(1) {
          $0.crashes = 3000
        }, catchers: [.boundedQueues]),
      Plant(
        mutation: .losesInSnapshots,
        options: options(1) {
          $0.latecomers = 3
          $0.crashes = 3000
          $0.settings.maximumLog = 24
          $0.settings.logTrail = 4
        }, catchers: [.topologiesAgree]),
      Plant(mutation: .votesTwice, options: rough(2), catchers: [.oneLeaderPerTerm], attempts: 24),
      Plant(
        mutation: .votesForStaleLogs, options: rough(4),
        catchers: [.committedAgrees, .topologiesAgree, .versionsGrow, .converges]),
      Plant(
        mutation: .commitsEarly, options: rough(3),
        catchers: [.committedAgrees, .oneOwnerPerEpoch, .topologiesAgree, .oneOwnerAtATime]),
      Plant(
        mutation: .appendsBlindly, options: rough(4), catchers: [.committedAgrees, .topologiesAgree, .converges],
        attempts: 16),
      Plant(
        mutation: .leasesForever, options: options(1) { $0.partitions = 2000 },
        catchers: [.noLeaseWithoutQuorum, .oneOwnerAtATime]),
      Plant(mutation: .fencesEarly, options: rough(3), catchers: [.oneOwnerAtATime]),
      Plant(mutation: .reusesEpochs, options: options(1) { $0.crashes = 3000 }, catchers: [.oneOwnerPerEpoch]),
      Plant(mutation: .resetsVersions, options: options(1) { $0.crashes = 3000 }, catchers: [.versionsGrow]),
      Plant(mutation: .keepsVersions, options: options(1) { $0.latecomers = 1 }, catchers: [.topologiesAgree]),
      Plant(
        mutation: .pingsEverybody, options: .calm(hosts: 50, seconds: 3), catchers: [.boundedTraffic]),
      Plant(
        mutation: .promisesTwice,
        options: options(16) {
          $0.hosts = 4
          $0.seconds = 3
          $0.startsPartitioned = true
          // Slow enough that a second proposal meets an open promise.
          $0.delay = 60_000...200_000
        }, catchers: [.oneFounding]),
      Plant(
        mutation: .neverResends,
        options: options(1) {
          $0.loss = 100
          $0.seconds = 5
          $0.settings.evictAfter = 1000 * ClusterSettings.millisecond
        }, catchers: [.converges]),
      Plant(
        mutation: .ignoresDestination,
        options: options(1) {
          $0.replay = 20
          $0.crashes = 2000
        }, catchers: [.ignoresStrangers]),
    ]

    /// A rule taken out of whole nodes, and a seed that shows it.
    struct Rule: CustomTestStringConvertible, Sendable {
      let mutation: ReplicationMutation
      let options: SimulationOptions
      /// The invariants that may catch it first.
      let catchers: Set<Violation.Invariant>
      var testDescription: String { "\(mutation)" }
    }

    /// A calm cluster with busy clients.
    private static func busy(_ seed: UInt64, _ change: (inout SimulationOptions) -> Void) -> SimulationOptions {
      var options = SimulationOptions.calmWhole(hosts: 4, seconds: 15, clients: 5, seed: seed)
      options.keys = 3
      options.think = 5
      options.delay = 200...5000
      change(&options)
      return options
    }

    /// Values that expire, and clients that leave them the time.
    private static func lasting(_ seed: UInt64) -> SimulationOptions {
      busy(seed) {
        $0.mortalKeys = 2
        $0.think = 300
      }
    }

    /// Clients that often name what they saw last.
    private static func sticky(_ seed: UInt64) -> SimulationOptions {
      var options = SimulationOptions.harsh(seed)
      options.stickiness = 700
      return options
    }

    /// Those that the protocol marks ★; each is found by the first seeds of these options.
    static let rules: [Rule] = [
      Rule(mutation: .keepsIdentity, options: .harsh(55), catchers: [.keepsAcknowledged]),
      Rule(mutation: .activatesEarly, options: .ambushed(0, 1), catchers: [.keepsAcknowledged]),
      Rule(mutation: .forgetsNewFactor, options: .ambushed(1, 5), catchers: [.keepsAcknowledged]),
      Rule(mutation: .takesOldEpochs, options: .ambushed(2, 2), catchers: [.keepsAcknowledged]),
      Rule(mutation: .choosesEarly, options: .ambushed(3, 2), catchers: [.keepsAcknowledged]),
      Rule(mutation: .shrinksEarly, options: .ambushed(4, 1), catchers: [.keepsAcknowledged]),
    ]

    /// What clients are promised beside.
    static let promises: [Rule] = [
      Rule(mutation: .relaysOn, options: .harsh(2), catchers: [.twoHops]),
      Rule(mutation: .keepsCopies, options: busy(1) { $0.cachedKeys = 2 }, catchers: [.freshCopies]),
      Rule(
        mutation: .answersBackwards, options: busy(1) { $0.batches = 500 },
        catchers: [.linearizable, .answersMakeSense]
      ),
      Rule(mutation: .neverExpires, options: lasting(1), catchers: [.timesToLive]),
      Rule(mutation: .expiresEarly, options: lasting(1), catchers: [.timesToLive]),
      Rule(mutation: .forgetsRevision, options: sticky(3), catchers: [.minimumRevision]),
      Rule(mutation: .comparesOffsets, options: .wholeSwarm(9), catchers: [.equalRecords]),
      Rule(mutation: .sendsTwice, options: busy(1) { _ in }, catchers: [.obeysReactor]),
    ]

    @Test("whole nodes without a rule break a promise", arguments: rules + promises)
    func starred(_ rule: Rule) throws {
      var options = rule.options
      options.replicationMutation = rule.mutation
      let violation = try #require(World.run(options).violation, "not caught")
      #expect(rule.catchers.contains(violation.invariant), "\(violation)")
    }

    @Test("every invariant has a planted bug that it may be the first to catch")
    func everyInvariant() {
      let caught = Self.plants.flatMap(\.catchers) + (Self.rules + Self.promises).flatMap(\.catchers)
      #expect(Set(Violation.Invariant.allCases).subtracting(caught) == [])
    }

    @Test("the planted bug is caught by the invariant it breaks", arguments: plants)
    func caught(_ plant: Plant) throws {
      var found: [Violation] = []
      for attempt in 0..<plant.attempts where found.isEmpty {
        var options = plant.options
        options.seed += attempt
        options.settings.mutation = plant.mutation
        if let violation = World.run(options).violation { found.append(violation) }
      }
      let violation = try #require(found.first, "not caught")
      #expect(plant.catchers.contains(violation.invariant), "\(violation)")
    }
  }
#endif
