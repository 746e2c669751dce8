import Glibc
import Reactor
import Simulator
import Synchronization

/// Threads that run the seeds of a sweep, each a whole world at a time. Worlds share nothing, so a seed's history is
/// the same whichever thread runs it and whatever runs beside it.
final class Team: Sendable {
  private let sweep: Mutex<Sweep>
  private let options: @Sendable (UInt64) -> SimulationOptions
  private let deadline: Double
  private let tell: @Sendable (Sweep, ArraySlice<Sweep.Failure>) -> Void

  private init(
    _ sweep: consuming Sweep, deadline: Double, options: @escaping @Sendable (UInt64) -> SimulationOptions,
    tell: @escaping @Sendable (Sweep, ArraySlice<Sweep.Failure>) -> Void
  ) {
    self.sweep = Mutex(sweep)
    self.deadline = deadline
    self.options = options
    self.tell = tell
  }

  /// Runs a sweep to its end.
  ///
  /// - Parameters:
  ///   - jobs: threads, of which the caller's is one. There are fewer if the machine gives no more.
  ///   - budget: seconds after which no seed is begun.
  ///   - options: those of a seed.
  ///   - tell: is called after each seed, by one thread at a time, with the failures that are new.
  static func run(
    _ sweep: Sweep, jobs: Int, budget: Double? = nil, options: @escaping @Sendable (UInt64) -> SimulationOptions,
    tell: @escaping @Sendable (Sweep, ArraySlice<Sweep.Failure>) -> Void = { _, _ in }
  ) -> Sweep {
    let deadline = budget.map { Clock.seconds(CLOCK_MONOTONIC) + $0 } ?? .infinity
    let team = Team(sweep, deadline: deadline, options: options, tell: tell)
    team.work(jobs: jobs)
    return team.sweep.withLock { $0 }
  }

  private func work(job: Int) {
    let pool = MemoryPool()
    while let turn = take() {
      let options = options(turn.seed)
      let began = Clock.seconds(CLOCK_THREAD_CPUTIME_ID)
      Underway.note(turn.seed, job: job)
      let report = World.run(options, pool: pool)
      Underway.note(nil, job: job)
      let busy = Clock.seconds(CLOCK_THREAD_CPUTIME_ID) - began
      sweep.withLock { sweep in
        let failures = sweep.finish(turn, options, report, busy: UInt64(busy * 1e9))
        tell(sweep, failures)
      }
    }
  }

  private func take() -> Sweep.Turn? {
    let isLate = Clock.seconds(CLOCK_MONOTONIC) >= deadline
    return sweep.withLock { sweep in
      if isLate { sweep.end() }
      return sweep.next()
    }
  }

  /// Works with so many threads, of which this one is the last.
  private func work(jobs: Int) {
    guard jobs > 1 else { return work(job: 0) }
    do {
      let thread = try Thread.start(name: "simulate") { self.work(job: jobs - 1) }
      work(jobs: jobs - 1)
      thread.join()
    } catch {
      work(job: 0)
    }
  }
}

/// Clocks of the kernel.
enum Clock {
  /// What one of them says, in seconds.
  static func seconds(_ clock: clockid_t) -> Double {
    var reading = timespec()
    clock_gettime(clock, &reading)
    return Double(reading.tv_sec) + Double(reading.tv_nsec) / 1e9
  }
}
