/// Many seeds, and what came of all of them.
///
/// Which seed is next and what is told of it are decided here; who runs them, and how many at once, is the caller's
/// affair. Seeds are handed out in order and may come back in any. Neither the sum nor the order in which violations
/// are told depends on that: one is held back while an earlier seed is under way.
package struct Sweep: Sendable {
  /// A seed that was handed out.
  package struct Turn: Equatable, Sendable {
    /// Which one of the sweep's, from 0 on.
    let position: UInt64
    /// What everything is drawn from.
    package let seed: UInt64
  }

  /// A seed that broke an invariant.
  package struct Failure: Equatable, Sendable {
    /// What everything is drawn from.
    package let seed: UInt64
    /// The hosts of the cluster, those that come late left out.
    package let hosts: Int
    /// The events until then.
    package let events: Int
    /// What was broken.
    package let violation: Violation
  }

  private let first: UInt64
  private let list: [UInt64]
  private let count: UInt64
  private let stopsAtFailure: Bool
  private var handedOut: UInt64 = 0
  private var isOver = false
  /// Positions, in no order; as many as there are threads.
  private var underWay: [UInt64] = []
  /// What broke beyond a seed that is still under way.
  private var heldBack: [(position: UInt64, failure: Failure)] = []

  /// What came of the seeds that have come back.
  package private(set) var sum = SweepSum()
  /// The seeds that broke something, in order; the first of them alone where the sweep stops there.
  package private(set) var failures: [Failure] = []

  /// The seeds from `first` on, `count` of them; without end if that is nil.
  package init(from first: UInt64, count: UInt64?, stopsAtFailure: Bool = false) {
    self.first = first
    self.count = count ?? .max
    self.stopsAtFailure = stopsAtFailure
    list = []
  }

  /// These seeds, until one breaks something.
  package init(of seeds: [UInt64]) {
    first = seeds.first ?? 0
    count = UInt64(seeds.count)
    stopsAtFailure = true
    list = seeds
  }

  /// Whether seeds never run out.
  package var isEndless: Bool { count == .max }

  /// The next seed to run; nil when there is none any more.
  package mutating func next() -> Turn? {
    guard !isOver, handedOut < count else { return nil }
    let seed = list.isEmpty ? first &+ handedOut : list[Int(handedOut)]
    underWay.append(handedOut)
    handedOut += 1
    return Turn(position: handedOut - 1, seed: seed)
  }

  /// Hands out no seed any more.
  package mutating func end() { isOver = true }

  /// Takes what came of a seed.
  ///
  /// - Parameters:
  ///   - turn: what `next` gave; each comes back once.
  ///   - busy: nanoseconds of processor time that it took.
  /// - Returns: the failures that are to be told now: this one and those that waited for it.
  package mutating func finish(
    _ turn: Turn, _ options: SimulationOptions, _ report: SimulationReport, busy: UInt64
  ) -> ArraySlice<Failure> {
    underWay.removeAll { $0 == turn.position }
    sum.add(options, report, busy: busy)
    if let violation = report.violation {
      let failure = Failure(seed: turn.seed, hosts: options.hosts, events: report.events, violation: violation)
      heldBack.append((turn.position, failure))
      heldBack.sort { $0.position < $1.position }
      if stopsAtFailure { isOver = true }
    }
    let told = failures.count
    let oldest = underWay.min() ?? .max
    while let (position, failure) = heldBack.first, position < oldest {
      heldBack.removeFirst()
      if !stopsAtFailure || failures.isEmpty { failures.append(failure) }
    }
    return failures[told...]
  }

  /// What the sweep came to, in lines.
  ///
  /// - Parameter taken: seconds that it took.
  package func summary(taken: Double) -> [String] {
    let names = list.isEmpty ? "seeds from \(first)" : "seeds that once found something"
    let last = failures.isEmpty ? "no violations" : "\(failures.count) violations, seeds \(failures.map(\.seed))"
    return ["\(sum.seeds) \(names): \(sum.pace(taken: taken))"] + sum.lines(taken: taken) + [last]
  }
}
