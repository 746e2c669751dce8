/// What the seeds of a sweep came to, together: the same in whatever order they are added, but for processor time.
package struct SweepSum: Sendable {
  /// Seeds that were run.
  package private(set) var seeds: UInt64 = 0
  /// How many nanoseconds were simulated.
  package private(set) var nanoseconds: UInt64 = 0
  /// Leaders that were elected, and operations of clients.
  package private(set) var elections = 0
  package private(set) var operations = 0
  /// Histories for which the search took too long.
  package private(set) var undecided = 0
  /// Nanoseconds that the slowest cluster took to be whole again.
  package private(set) var slowest: UInt64 = 0
  /// Answers by their status, and faults by their kind.
  package private(set) var answers: [Int: Int] = [:]
  package private(set) var faults = FaultCounts()
  /// Nanoseconds of processor time.
  private var busy: UInt64 = 0
  /// Of clusters of five, with their faults: what was simulated, and the processor time.
  private var five: (nanoseconds: UInt64, busy: UInt64) = (0, 0)

  mutating func add(_ options: SimulationOptions, _ report: SimulationReport, busy: UInt64) {
    seeds += 1
    nanoseconds += report.nanoseconds
    elections += report.elections
    operations += report.operations
    undecided += report.undecided
    slowest = max(slowest, report.convergence ?? 0)
    answers.merge(report.answers, uniquingKeysWith: +)
    faults += report.faults
    self.busy += busy
    if options.hosts + options.latecomers == 5 {
      five.nanoseconds += report.nanoseconds
      five.busy += busy
    }
  }

  /// How long it took and how fast that was, in a line.
  func pace(taken: Double) -> String {
    let speed = SweepSum.rounded(Double(nanoseconds) / 1e9 / taken)
    return "\(SweepSum.hundredths(Double(nanoseconds) / 3600e9)) simulated hours in "
      + "\(SweepSum.hundredths(taken)) s (\(speed) times real time, "
      + "\(SweepSum.rounded(Double(nanoseconds) / Double(max(busy, 1)))) per core), \(elections) elections, "
      + "slowest convergence \(SweepSum.rounded(Double(slowest) / 1e9)) s"
  }

  /// What else there is to tell, line by line.
  func lines(taken: Double) -> [String] {
    var lines: [String] = []
    if five.busy > 0 {
      let speed = Double(five.nanoseconds) / Double(five.busy)
      // As fast as if there had been nothing but those, with as many cores at work as there were.
      let cores = Double(busy) / 1e9 / taken
      lines.append(
        "  clusters of five: \(SweepSum.rounded(speed * cores)) times real time, \(SweepSum.rounded(speed)) per core")
    }
    if operations > 0 {
      let words = answers.sorted { $0.key < $1.key }.map { "\($0.value) × \($0.key)" }.joined(separator: ", ")
      lines.append("  \(operations) operations of clients, answers \(words); \(undecided) histories undecided")
    }
    return lines + FaultCounts.named.map { "  \($0.name): \(faults[keyPath: $0.path])" }
  }

  private static func rounded(_ value: Double) -> Int { Int(value.rounded()) }

  private static func hundredths(_ value: Double) -> String {
    let count = rounded(value * 100)
    return "\(count / 100).\(count % 100 < 10 ? "0" : "")\(count % 100)"
  }
}

extension SweepSum: Equatable {
  /// Whether two sweeps came to the same, in whatever time.
  package static func == (a: SweepSum, b: SweepSum) -> Bool {
    a.seeds == b.seeds && a.nanoseconds == b.nanoseconds && a.elections == b.elections && a.operations == b.operations
      && a.undecided == b.undecided && a.slowest == b.slowest && a.answers == b.answers && a.faults == b.faults
      && a.five.nanoseconds == b.five.nanoseconds
  }
}
