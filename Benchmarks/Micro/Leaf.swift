import Glibc

/// A leaf of a hot path, how much it may cost, and how to run it.
struct Leaf {
  let name: String
  /// What its cost is divided by. Machines differ, and what they are good at: a leaf that mostly copies is held to a
  /// copy, all others to a hash.
  let baseline: Baseline
  /// The most it should cost, as a multiple of the baseline's cost in the same run.
  let budget: Double
  /// Executes it so many times and returns something that depends on every one of them.
  let run: (Int) -> UInt64
}

/// What is fast for everyone and never changes.
enum Baseline: String, CaseIterable {
  /// XXH3 of 256 bytes.
  case hash
  /// Copying 4 KiB.
  case copy
}

/// What a leaf came to.
struct Measured {
  let leaf: Leaf
  /// Nanoseconds for each execution, in the fastest of the rounds.
  let nanoseconds: Double
  /// The same divided by the baseline's.
  let ratio: Double

  func exceeds(_ factor: Double) -> Bool { ratio > leaf.budget * factor }
}

/// Measures leaves in rounds, each of which runs the baselines and then every leaf for a moment; the fastest moment of
/// each counts, since whatever disturbs a run can only make it slower.
struct Stopwatch {
  let rounds: Int
  /// Nanoseconds of one moment.
  let moment: UInt64

  func measure(_ leaves: [Leaf]) -> [Measured] {
    let baselines = Baseline.allCases.map(baseline)
    var fastest = [Double](repeating: .infinity, count: leaves.count)
    var yardsticks = [Double](repeating: .infinity, count: baselines.count)
    for _ in 0..<rounds {
      for (index, run) in baselines.enumerated() { yardsticks[index] = min(yardsticks[index], cost(run)) }
      for (index, leaf) in leaves.enumerated() { fastest[index] = min(fastest[index], cost(leaf.run)) }
    }
    return zip(leaves, fastest).map { leaf, nanoseconds in
      let yardstick = yardsticks[Baseline.allCases.firstIndex(of: leaf.baseline)!]
      return Measured(leaf: leaf, nanoseconds: nanoseconds, ratio: nanoseconds / yardstick)
    }
  }

  /// Nanoseconds for each execution over one moment.
  private func cost(_ run: (Int) -> UInt64) -> Double {
    var count = 256
    var elapsed: UInt64 = 0
    while true {
      let began = now()
      sink(run(count))
      elapsed = now() - began
      if elapsed >= moment { break }
      count *= elapsed < moment / 8 ? 4 : 2
    }
    return Double(elapsed) / Double(count)
  }
}

/// Nanoseconds of the monotonic clock.
func now() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Takes a result so that what computes it can't be left out.
@inline(never)
@_optimize(none)
func sink(_ value: UInt64) {}
