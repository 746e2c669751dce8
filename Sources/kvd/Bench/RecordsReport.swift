import Histogram
import Wire

/// What `kvd bench --servers` prints for one permutation: how long it took until the servers were ready, the
/// connections open, and all records handed to the kernel, acknowledged, and replied to.
struct RecordsReport {
  let servers: Int
  let stable: UInt64
  let plan: LoadPlan
  /// In the order in which they ran; each with the nanoseconds that connecting took.
  var runs: [(answer: AnswerLevel, connected: UInt64, result: LoadResult)] = []

  static func name(of answer: AnswerLevel) -> String {
    switch answer {
    case .none: "tacks"
    case .ack: "yacks"
    case .reply: "sacks"
    }
  }

  private static func milliseconds(_ nanoseconds: UInt64) -> String { decimal(Double(nanoseconds) / 1e6, places: 2) }

  private var connected: UInt64 { runs.map(\.connected).max() ?? 0 }

  /// A few lines for people.
  var text: String {
    let batch = plan.wire == .binary ? ", \(plan.batch) a frame" : ""
    var lines = [
      "\(grouped(Double(plan.records ?? 0))) records, \(servers) servers, \(plan.connections) clients, "
        + "\(plan.valueBytes) bytes (\(plan.wire.rawValue), up to \(plan.pipeline) under way on a connection\(batch))",
      "  * stable: \(RecordsReport.milliseconds(stable)) ms",
      "  * connected: \(RecordsReport.milliseconds(connected)) ms",
    ]
    for run in runs {
      let seconds = Double(run.result.elapsed) / 1e9
      let rate = Double(run.result.tally.completed) / seconds
      var line = "  * \(RecordsReport.name(of: run.answer)): \(RecordsReport.milliseconds(run.result.elapsed)) ms"
      line += " | \(grouped(rate)) records/s | \(decimal(rate * Double(plan.valueBytes) / 1e6, places: 2)) MB/s"
      if let server = run.result.serverSeconds {
        line += " | \(decimal(server * 1e6 / Double(max(1, run.result.tally.completed)), places: 3)) us CPU a record"
      }
      let lost = run.result.tally.refused + run.result.tally.unanswered
      if lost > 0 { line += " | \(lost) failed" }
      lines.append(line)
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// One line of JSON; times in nanoseconds.
  var json: String {
    var object = JSONLine()
    object.add("records", UInt64(plan.records ?? 0))
    object.add("servers", UInt64(servers))
    object.add("clients", UInt64(plan.connections))
    object.add("valueBytes", UInt64(plan.valueBytes))
    object.add("protocol", plan.wire.rawValue)
    object.add("pipeline", UInt64(plan.pipeline))
    object.add("batch", UInt64(plan.batch))
    object.add("stable", stable)
    object.add("connected", connected)
    for run in runs {
      let seconds = Double(run.result.elapsed) / 1e9
      let rate = Double(run.result.tally.completed) / seconds
      var figures = JSONLine()
      figures.add("nanoseconds", run.result.elapsed)
      figures.add("recordsPerSecond", rate)
      figures.add("bytesPerSecond", rate * Double(plan.valueBytes))
      figures.add("failed", run.result.tally.refused + run.result.tally.unanswered)
      if let server = run.result.serverSeconds { figures.add("serverSeconds", server) }
      object.add(RecordsReport.name(of: run.answer), raw: figures.text)
    }
    return object.text + "\n"
  }
}
