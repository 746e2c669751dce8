import Glibc

/// The line that says how a phase is going, once a second, on standard error if that is a terminal.
struct LoadProgress {
  private static let interval: UInt64 = 1_000_000_000

  private let isShown = isatty(2) == 1
  private var name = ""
  private var began: UInt64 = 0
  private var shownAt: UInt64 = 0
  private var shownCount: UInt64 = 0
  /// When `show` has something to do, `.max` if never.
  private(set) var nextAt = UInt64.max

  /// A phase begins.
  mutating func start(_ name: String, at now: UInt64) {
    self.name = name.isEmpty ? "" : name + " "
    began = now
    shownAt = now
    shownCount = 0
    nextAt = isShown ? now + LoadProgress.interval : .max
  }

  /// Shows where the phase is, if it is time to.
  @inline(__always)
  mutating func show(_ tally: borrowing LoadTally, at now: UInt64) {
    if now >= nextAt { show(tally.completed, refused: tally.refused, p99: tally.latencies.valueAtPercentile(99), now) }
  }

  @inline(never)
  private mutating func show(_ count: UInt64, refused: UInt64, p99: UInt64, _ now: UInt64) {
    let rate = Double(count - shownCount) * 1e9 / Double(now - shownAt)
    var line = "\r\u{1B}[K\(name)\((now - began) / 1_000_000_000) s  \(grouped(rate)) requests/s"
    line += "  p99 \(microseconds(p99)) us"
    if refused > 0 { line += "  \(grouped(Double(refused))) not 2xx" }
    writeError(line)
    shownAt = now
    shownCount = count
    nextAt = now + LoadProgress.interval
  }

  /// Takes the line away.
  func clear() { if isShown { writeError("\r\u{1B}[K") } }
}
