import Histogram
import Reactor

/// What one phase of a run counts.
struct LoadTally {
  /// Statuses that have a counter of their own.
  static let statuses = 1000
  /// Latencies beyond are counted as this, in nanoseconds: two minutes.
  static let longest: UInt64 = 120_000_000_000

  /// Nanoseconds from the intended start of a request to its reply, at three significant digits.
  private(set) var reads = Histogram<UInt64>(highestTrackableValue: longest)
  private(set) var writes = Histogram<UInt64>(highestTrackableValue: longest)
  private var counts = [UInt64](repeating: 0, count: statuses)

  var completed: UInt64 = 0
  var bytesReceived: UInt64 = 0
  var bytesSent: UInt64 = 0
  /// Requests whose reply never came: their connection broke, or the run's patience ended.
  var unanswered: UInt64 = 0
  /// Of an open loop: requests that were due but couldn't be sent before the end, for the server was too slow.
  var unsent: UInt64 = 0
  /// Connections that broke or were ended by the server.
  var brokenConnections: UInt64 = 0

  /// Counts replies that came at the same time to requests that were due at the same time.
  @inline(__always)
  mutating func record(isWrite: Bool, latency: UInt64, count: UInt64) {
    let value = min(latency, LoadTally.longest)
    if isWrite { writes.record(value, count: count) } else { reads.record(value, count: count) }
  }

  @inline(__always)
  mutating func count(status: Int32) {
    completed &+= 1
    counts[min(Int(status), LoadTally.statuses &- 1)] &+= 1
  }

  /// Statuses that came, with how often, in ascending order.
  var statusCounts: [(status: Int, count: UInt64)] {
    counts.enumerated().filter { $0.element > 0 }.map { ($0.offset, $0.element) }
  }

  /// Replies other than 2xx.
  var refused: UInt64 {
    statusCounts.reduce(0) { $0 + ($1.status / 100 == 2 ? 0 : $1.count) }
  }

  /// Latencies of reads and writes together.
  var latencies: Histogram<UInt64> {
    var all = reads
    all.add(writes)
    return all
  }
}

/// What a phase came to.
struct LoadResult {
  var tally: LoadTally
  /// Nanoseconds from the first request to the last reply.
  var elapsed: UInt64
  /// Processor seconds that the load's thread, and the server's processes, used meanwhile.
  var clientSeconds: Double
  var serverSeconds: Double?
}
