import Engine
import Glibc
import Simulator

/// Runs seeds of the simulator and says what came of them; see `usage`.
@main struct Simulate {
  static let usage = """
    simulate                    runs seeds from a fresh one on, for ever
    simulate SEED               runs one seed and prints what happened
    simulate SEED --seeds N     runs N seeds from SEED on
    simulate --time S           runs fresh seeds for S seconds
    simulate --kept             runs the seeds that once found something
    simulate --harsh …          the same with few keys, busy clients and short lives
    simulate --plain …          the same without batches, caches, times to live, least revisions and ambushes
    simulate --ambush K …       the same with ambushes of one kind, 0 to 4: see `Fate+Ambush`
    simulate --control …        the same with control planes alone instead of whole nodes: faster, and larger clusters
    simulate --traffic          measures what a node sends in clusters of 5 to 200, and fails beyond the bounds
    simulate --verify FILE      checks a recorded history (JSON lines; see the article on histories) for linearizability
    simulate --calm HOSTS S [N] runs S seconds of a calm cluster with N clients and prints its speed; with --trace, all
    """

  /// Whether nodes have cores; see `--control`.
  nonisolated(unsafe) static var isWhole = true
  /// Whether seeds have options made to bring out what is wrong with the data plane, instead of a swarm's.
  nonisolated(unsafe) static var isHarsh = false
  /// Whether clients make the simplest requests only; see `--plain`.
  nonisolated(unsafe) static var isPlain = false
  /// The kind of ambush that seeds have; see `--ambush`.
  nonisolated(unsafe) static var ambush: Int?
  nonisolated(unsafe) static let pool = MemoryPool()

  /// The options of a seed.
  static func options(_ seed: UInt64) -> SimulationOptions {
    if let ambush { return .ambushed(ambush, seed) }
    let options: SimulationOptions = isHarsh ? .harsh(seed) : isWhole ? .wholeSwarm(seed) : .swarm(seed)
    return isPlain ? options.plain : options
  }

  /// What was said about the options of seeds.
  static var flags: String {
    if let ambush { return "--ambush \(ambush) " }
    return (isWhole ? "" : "--control ") + (isPlain ? "--plain " : "") + (isHarsh ? "--harsh " : "")
  }

  static func main() {
    var words = Array(CommandLine.arguments.dropFirst())
    if words.first == "--control" {
      isWhole = false
      words.removeFirst()
    }
    if words.count > 1, words.first == "--ambush" {
      ambush = Int(words[1]).map { min(max($0, 0), SimulationOptions.ambushKinds - 1) }
      words.removeFirst(2)
    }
    if words.first == "--plain" {
      isPlain = true
      words.removeFirst()
    }
    if words.first == "--harsh" {
      isHarsh = true
      words.removeFirst()
    }
    if words.count >= 3, words[0] == "--calm", let hosts = Int(words[1]), let seconds = UInt64(words[2]) {
      let clients = words.count > 3 ? Int(words[3]) ?? 4 : 4
      exit(calm(hosts: hosts, seconds: seconds, clients: clients, isTraced: words.last == "--trace") ? 0 : 1)
    }
    if words.count == 2, words[0] == "--verify" { exit(verify(words[1])) }
    if words == ["--traffic"] { exit(traffic() ? 0 : 1) }
    if words == ["--kept"] {
      isWhole = false
      exit(SimulationOptions.kept.allSatisfy { sweep(from: $0, count: 1, budget: nil) } ? 0 : 1)
    }
    #if DEBUG
      if words.count >= 2, words[0] == "--mutation" {
        exit(hunt(words[1], seeds: words.dropFirst(2).first, isTraced: words.last == "--trace") ? 0 : 1)
      }
    #endif
    let count = take("--seeds", &words)
    let budget = take("--time", &words)
    let first = words.first.flatMap { UInt64($0) }
    if words.count > 1 || (first == nil && !words.isEmpty) {
      print(usage)
      exit(2)
    }
    if let first, count == nil, budget == nil { exit(replay(first) ? 0 : 1) }
    // Fresh seeds: those of this second.
    let start = first ?? UInt64(time(nil)) * 100_000
    exit(sweep(from: start, count: count, budget: budget.map { Double($0) }) ? 0 : 1)
  }

  /// Takes a flag and its number out of the arguments.
  private static func take(_ flag: String, _ words: inout [String]) -> UInt64? {
    guard let place = words.firstIndex(of: flag), place + 1 < words.count else { return nil }
    let value = UInt64(words[place + 1])
    words.removeSubrange(place...place + 1)
    return value
  }

  /// Seconds since some moment.
  private static func seconds() -> Double {
    var reading = timespec()
    clock_gettime(CLOCK_MONOTONIC, &reading)
    return Double(reading.tv_sec) + Double(reading.tv_nsec) / 1e9
  }

  private static func rounded(_ value: Double) -> Int { Int(value.rounded()) }

  private static func calm(hosts: Int, seconds: UInt64, clients: Int, isTraced: Bool) -> Bool {
    let start = Self.seconds()
    let options: SimulationOptions =
      isWhole ? .calmWhole(hosts: hosts, seconds: seconds, clients: clients) : .calm(hosts: hosts, seconds: seconds)
    let report = World.run(options, pool: pool, trace: isTraced)
    let taken = Self.seconds() - start
    let simulated = Double(report.nanoseconds) / 1e9
    print(
      "\(hosts) hosts: \(rounded(simulated)) simulated seconds in \(rounded(taken * 1000)) ms, "
        + "\(rounded(simulated / taken)) times real time, \(report.datagrams) datagrams, "
        + "\(rounded(Double(report.datagrams) / simulated / Double(hosts))) per second and host")
    if isWhole {
      print(
        "  \(report.turns) turns, \(report.segments) pieces of streams, \(report.operations) operations, "
          + "answers \(report.answers)"
      )
    }
    for line in report.trace { print(line) }
    if let violation = report.violation { print(violation) }
    return report.violation == nil
  }

  /// Prints what the leader and the others send in the last second of a calm run, for each size; whether all is within
  /// the bounds.
  private static func traffic() -> Bool {
    print("nodes | others: datagrams, bytes | leader: datagrams, bytes (per second)")
    var isBounded = true
    for hosts in [5, 20, 50, 200] {
      let report = World.run(.calm(hosts: hosts, seconds: hosts > 100 ? 45 : 20))
      if let violation = report.violation {
        print(violation)
        return false
      }
      guard let leader = report.leader else { return false }
      var most = Traffic()
      for (number, sent) in report.traffic.enumerated() where number != leader && sent.datagrams > most.datagrams {
        most = sent
      }
      let lead = report.traffic[leader]
      print("\(hosts) | \(most.datagrams), \(most.bytes) | \(lead.datagrams), \(lead.bytes)")
      print("  others: \(most.words)\n  leader: \(lead.words)")
      // Eight pings and as many answers ten times a second, answers to heartbeats, a beacon; and for a leader five
      // heartbeats to each follower, ten to voters.
      if most.datagrams > 220 || most.bytes > 25_000 || lead.datagrams > 250 + 6 * hosts { isBounded = false }
    }
    print(isBounded ? "within bounds" : "BEYOND BOUNDS")
    return isBounded
  }

  #if DEBUG
    /// Looks for a seed that shows a planted bug, in builds that have some to plant; traced, at the last one only.
    private static func hunt(_ name: String, seeds: String?, isTraced: Bool) -> Bool {
      let control = Mutation.allCases.first { "\($0)" == name }
      let data = ReplicationMutation.allCases.first { "\($0)" == name }
      guard control != nil || data != nil else {
        print("\(Mutation.allCases.map { "\($0)" }) \(ReplicationMutation.allCases.map { "\($0)" })")
        return false
      }
      let last = seeds.flatMap { UInt64($0) } ?? 200
      for seed in (isTraced ? last : 1)...last {
        var options = data == nil ? SimulationOptions.swarm(seed) : Self.options(seed)
        options.settings.mutation = control
        options.replicationMutation = data
        let report = World.run(options, pool: pool, trace: isTraced)
        for line in report.trace { print(line) }
        guard let violation = report.violation else { continue }
        print("\(name): seed \(seed), \(options.hosts) hosts, after \(report.events) events: \(violation)")
        return true
      }
      print("\(name): not found")
      return false
    }
  #endif

  /// Runs one seed and prints its trace.
  private static func replay(_ seed: UInt64) -> Bool {
    let options = Self.options(seed)
    let report = World.run(options, pool: pool, trace: true)
    print("\(options)")
    for line in report.trace { print(line) }
    print(report.violation.map { "seed \(seed): \($0)" } ?? "seed \(seed): all invariants held")
    return report.violation == nil
  }

  /// Runs seeds until `count` or `budget` seconds are used up, and prints the sum.
  private static func sweep(from first: UInt64, count: UInt64?, budget: Double?) -> Bool {
    let start = seconds()
    var seed = first
    var faults = FaultCounts()
    var simulated = 0.0
    var elections = 0
    var slowest = 0.0
    var failed: [UInt64] = []
    var operations = 0
    var undecided = 0
    var answers: [Int: Int] = [:]
    // Of clusters of five, with their faults: simulated and real seconds.
    var five = (simulated: 0.0, taken: 0.0)
    while count.map({ seed < first + $0 }) ?? true, budget.map({ seconds() - start < $0 }) ?? true {
      let options = Self.options(seed)
      let began = seconds()
      let report = World.run(options, pool: pool)
      if options.hosts + options.latecomers == 5 {
        five.simulated += Double(report.nanoseconds) / 1e9
        five.taken += seconds() - began
      }
      simulated += Double(report.nanoseconds) / 1e9
      elections += report.elections
      slowest = max(slowest, Double(report.convergence ?? 0) / 1e9)
      faults += report.faults
      operations += report.operations
      undecided += report.undecided
      answers.merge(report.answers, uniquingKeysWith: +)
      if let violation = report.violation {
        print(
          "seed \(seed): \(violation)\n  replay it: swift run -c release simulate "
            + "\(flags)\(seed)"
        )
        fflush(nil)
        failed.append(seed)
      }
      seed += 1
      if count == nil, budget == nil, (seed - first) % 100 == 0 {
        print("\(seed - first) seeds, \(failed.count) violations")
        fflush(nil)
      }
    }
    let taken = seconds() - start
    print(
      "\(seed - first) seeds from \(first), \(rounded(simulated / 36)) hundredths of simulated hours in "
        + "\(rounded(taken)) s (\(rounded(simulated / taken)) times real time), \(elections) elections, "
        + "slowest convergence \(rounded(slowest)) s")
    if five.taken > 0 { print("  clusters of five: \(rounded(five.simulated / five.taken)) times real time") }
    if operations > 0 {
      let words = answers.sorted { $0.key < $1.key }.map { "\($0.value) × \($0.key)" }.joined(separator: ", ")
      print("  \(operations) operations of clients, answers \(words); \(undecided) histories undecided")
    }
    for (name, path) in FaultCounts.named { print("  \(name): \(faults[keyPath: path])") }
    print(failed.isEmpty ? "no violations" : "\(failed.count) violations, seeds \(failed)")
    return failed.isEmpty
  }
}
