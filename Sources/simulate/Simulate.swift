import Engine
import Glibc
import Reactor
import Simulator

/// Runs seeds of the simulator and says what came of them; see `usage`.
@main struct Simulate {
  static let usage = """
    simulate                    runs seeds from a fresh one on, for ever
    simulate SEED               runs one seed and prints what happened
    simulate SEED --seeds N     runs N seeds from SEED on
    simulate --time S           runs fresh seeds for S seconds
    simulate --kept             runs the seeds of all kinds that once found something, until one finds it again
    simulate --harsh …          the same with few keys, busy clients and short lives
    simulate --plain …          the same without batches, caches, times to live, least revisions and ambushes
    simulate --ambush K …       the same with ambushes of one kind, 0 to 4: see `Fate+Ambush`
    simulate --control …        the same with control planes alone instead of whole nodes: faster, and larger clusters
    simulate --traffic          measures what a node sends in clusters of 5 to 200, and fails beyond the bounds
    simulate --verify FILE      checks a recorded history (JSON lines; see the article on histories) for linearizability
    simulate --jobs N …         any of these on N threads; without it on as many as there are processors
    simulate --calm HOSTS S [N] runs S seconds of a calm cluster with N clients and prints its speed; with --trace, all
    """

  static func main() {
    var words = Array(CommandLine.arguments.dropFirst())
    let jobs = take("--jobs", &words).map { Int(clamping: $0) } ?? Processors.current().usable
    let form = Form(&words)
    Underway.tellAtTheEnd()
    if words.count >= 3, words[0] == "--calm", let hosts = Int(words[1]), let seconds = UInt64(words[2]) {
      let clients = words.count > 3 ? Int(words[3]) ?? 4 : 4
      let isTraced = words.last == "--trace"
      exit(calm(form, hosts: hosts, seconds: seconds, clients: clients, isTraced: isTraced) ? 0 : 1)
    }
    if words.count == 2, words[0] == "--verify" { exit(verify(words[1])) }
    if words == ["--traffic"] { exit(traffic() ? 0 : 1) }
    if words == ["--kept"] {
      exit(runKept(form, jobs: jobs) ? 0 : 1)
    }
    #if DEBUG
      if words.count >= 2, words[0] == "--mutation" {
        let isTraced = words.last == "--trace"
        let seeds = words.dropFirst(2).compactMap { UInt64($0) }
        guard words.count == 2 + seeds.count + (isTraced ? 1 : 0), seeds.count < 2 || seeds[1] <= seeds[0] else {
          print(usage)
          exit(2)
        }
        exit(hunt(words[1], form, seeds: seeds, jobs: jobs, isTraced: isTraced) ? 0 : 1)
      }
    #endif
    let count = take("--seeds", &words)
    let budget = take("--time", &words)
    let first = words.first.flatMap { UInt64($0) }
    if words.count > 1 || (first == nil && !words.isEmpty) || jobs < 1 {
      print(usage)
      exit(2)
    }
    if let first, count == nil, budget == nil { exit(replay(first, form) ? 0 : 1) }
    // Fresh seeds: those of this second.
    let start = first ?? UInt64(time(nil)) * 100_000
    let sweep = Sweep(from: start, count: count)
    exit(run(sweep, form, jobs: jobs, budget: budget.map { Double($0) }) ? 0 : 1)
  }

  /// Runs what once found something: whether nothing does any more.
  private static func runKept(_ form: Form, jobs: Int) -> Bool {
    var (control, whole, plain) = (form, form, form)
    control.isWhole = false
    plain.isPlain = true
    whole.isPlain = false
    return run(Sweep(of: SimulationOptions.kept), control, jobs: jobs, budget: nil)
      && run(Sweep(of: SimulationOptions.keptWhole), whole, jobs: jobs, budget: nil)
      && run(Sweep(of: SimulationOptions.keptPlain), plain, jobs: jobs, budget: nil)
  }

  /// Takes a flag and its number out of the arguments.
  private static func take(_ flag: String, _ words: inout [String]) -> UInt64? {
    guard let place = words.firstIndex(of: flag), place + 1 < words.count else { return nil }
    let value = UInt64(words[place + 1])
    words.removeSubrange(place...place + 1)
    return value
  }

  private static func rounded(_ value: Double) -> Int { Int(value.rounded()) }

  private static func calm(_ form: Form, hosts: Int, seconds: UInt64, clients: Int, isTraced: Bool) -> Bool {
    let start = Clock.seconds(CLOCK_MONOTONIC)
    let options: SimulationOptions =
      form.isWhole
      ? .calmWhole(hosts: hosts, seconds: seconds, clients: clients) : .calm(hosts: hosts, seconds: seconds)
    let report = World.run(options, trace: isTraced)
    let taken = Clock.seconds(CLOCK_MONOTONIC) - start
    let simulated = Double(report.nanoseconds) / 1e9
    print(
      "\(hosts) hosts: \(rounded(simulated)) simulated seconds in \(rounded(taken * 1000)) ms, "
        + "\(rounded(simulated / taken)) times real time, \(report.datagrams) datagrams, "
        + "\(rounded(Double(report.datagrams) / simulated / Double(hosts))) per second and host")
    if form.isWhole {
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
    /// Looks for a seed that shows a planted bug, in builds that have some to plant, up to the first of two numbers and
    /// from the second one on; traced, at the last one only.
    private static func hunt(_ name: String, _ form: Form, seeds: [UInt64], jobs: Int, isTraced: Bool) -> Bool {
      let control = Mutation.allCases.first { "\($0)" == name }
      let data = ReplicationMutation.allCases.first { "\($0)" == name }
      guard control != nil || data != nil else {
        print("\(Mutation.allCases.map { "\($0)" }) \(ReplicationMutation.allCases.map { "\($0)" })")
        return false
      }
      let options: @Sendable (UInt64) -> SimulationOptions = { seed in
        var options = data == nil ? SimulationOptions.swarm(seed) : form.options(seed)
        options.settings.mutation = control
        options.replicationMutation = data
        return options
      }
      let last = seeds.first ?? 200
      if isTraced { for line in World.run(options(last), trace: true).trace { print(line) } }
      let first = isTraced ? last : seeds.dropFirst().first ?? 1
      let sweep = Team.run(
        Sweep(from: first, count: last - first + 1, stopsAtFailure: true), jobs: jobs, options: options)
      guard let failure = sweep.failures.first else {
        print("\(name): not found")
        return false
      }
      print(
        "\(name): seed \(failure.seed), \(failure.hosts) hosts, after \(failure.events) events: "
          + "\(failure.violation)")
      return true
    }
  #endif

  /// Runs one seed and prints its trace.
  private static func replay(_ seed: UInt64, _ form: Form) -> Bool {
    let options = form.options(seed)
    let report = World.run(options, trace: true)
    print("\(options)")
    for line in report.trace { print(line) }
    print(report.violation.map { "seed \(seed): \($0)" } ?? "seed \(seed): all invariants held")
    return report.violation == nil
  }

  /// Runs a sweep, prints each violation with the command that replays it, and at the end the sum.
  private static func run(_ sweep: Sweep, _ form: Form, jobs: Int, budget: Double?) -> Bool {
    let start = Clock.seconds(CLOCK_MONOTONIC)
    let isEndless = sweep.isEndless && budget == nil
    let done = Team.run(sweep, jobs: jobs, budget: budget, options: form.options) { sweep, failures in
      for failure in failures {
        print(
          "seed \(failure.seed): \(failure.violation)\n  replay it: swift run -c release simulate "
            + "\(form.flags)\(failure.seed)")
      }
      let isMilestone = isEndless && sweep.sum.seeds % 100 == 0
      if isMilestone { print("\(sweep.sum.seeds) seeds, \(sweep.failures.count) violations") }
      if isMilestone || !failures.isEmpty { fflush(nil) }
    }
    for line in done.summary(taken: Clock.seconds(CLOCK_MONOTONIC) - start) { print(line) }
    return done.failures.isEmpty
  }
}
