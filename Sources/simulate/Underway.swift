import Glibc

/// The seeds that run now, so that a process that ends by a trap, as one of a node's preconditions makes it, says which
/// ones to replay.
enum Underway {
  /// Threads that are told apart; the seeds of further ones aren't named.
  private static let most = 64

  /// By thread: its seed, or `UInt64.max`. A signal handler may only read what is there already.
  nonisolated(unsafe) private static let seeds: UnsafeMutablePointer<UInt64> = {
    let seeds = UnsafeMutablePointer<UInt64>.allocate(capacity: most)
    seeds.initialize(repeating: .max, count: most)
    return seeds
  }()

  /// A thread runs a seed, or none any more.
  static func note(_ seed: UInt64?, job: Int) {
    if job < most { seeds[job] = seed ?? .max }
  }

  /// Has signals that end the process name the seeds first.
  static func tellAtTheEnd() {
    note(nil, job: 0)
    for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT] {
      signal(number) { number in
        for job in 0..<Underway.most where Underway.seeds[job] != .max { Underway.say(Underway.seeds[job]) }
        signal(number, SIG_DFL)
        raise(number)
      }
    }
  }

  /// Writes the line for one seed with nothing that a signal handler may not use.
  private static func say(_ seed: UInt64) {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { line in
      var at = line.count
      func put(_ byte: UInt8) {
        at -= 1
        line[at] = byte
      }
      put(UInt8(ascii: "\n"))
      var left = seed
      repeat {
        put(UInt8(ascii: "0") + UInt8(left % 10))
        left /= 10
      } while left > 0
      let words: StaticString = "the process ends while it runs seed "
      for place in (0..<words.utf8CodeUnitCount).reversed() { put(words.utf8Start[place]) }
      _ = write(2, line.baseAddress! + at, line.count - at)
    }
  }
}
