import Histogram

/// A run and what it came to, as text and as JSON.
struct LoadReport {
  let plan: LoadPlan
  let result: LoadResult

  private var seconds: Double { Double(result.elapsed) / 1e9 }
  private var rate: Double { Double(result.tally.completed) / seconds }

  /// Requests per second of the server's processor time; nil if that isn't known or too short to be measured.
  private var ratePerServerSecond: Double? {
    guard let server = result.serverSeconds, server > 0 else { return nil }
    return Double(result.tally.completed) / server
  }

  private static let percentiles: [(name: String, value: Double)] = [
    ("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9), ("p99.99", 99.99), ("max", 100),
  ]

  // MARK: Text

  /// A few lines for people; times are in microseconds.
  var text: String {
    let tally = result.tally
    var lines = [plan.title]
    lines.append(
      "  requests     \(grouped(Double(tally.completed))) in \(decimal(seconds, places: 3)) s, "
        + "\(grouped(rate)) a second; "
        + "received \(megabytes(tally.bytesReceived)), sent \(megabytes(tally.bytesSent)) MB/s"
    )
    if tally.reads.totalCount > 0 { lines.append("  read (us)    " + LoadReport.latencyText(tally.reads)) }
    if tally.writes.totalCount > 0 { lines.append("  write (us)   " + LoadReport.latencyText(tally.writes)) }
    let statuses = tally.statusCounts.map {
      "\(plan.wire.name(ofStatus: $0.status)): \(grouped(Double($0.count)))"
    }
    lines.append("  statuses     " + (statuses.isEmpty ? "none" : statuses.joined(separator: ", ")))
    if tally.refused + tally.unanswered + tally.brokenConnections > 0 {
      lines.append(
        "  errors       \(tally.refused) not 2xx, \(tally.unanswered) unanswered, "
          + "\(tally.brokenConnections) broken connections")
    }
    if tally.unsent > 0 {
      lines.append("  too slow     \(tally.unsent) requests were due but not sent: latencies are too good")
    }
    lines.append("  processor    client \(percent(result.clientSeconds))" + serverText)
    return lines.joined(separator: "\n") + "\n"
  }

  private var serverText: String {
    guard let server = result.serverSeconds else { return "" }
    var text = "; server \(percent(server))"
    if let rate = ratePerServerSecond {
      text += ", \(grouped(rate)) requests per processor second, \(decimal(1e6 / rate, places: 3)) us a request"
    }
    return text
  }

  private static func latencyText(_ histogram: Histogram<UInt64>) -> String {
    percentiles.map { "\($0.name) \(microseconds(histogram.valueAtPercentile($0.value)))" }.joined(separator: "  ")
  }

  private func percent(_ busy: Double) -> String { decimal(busy / seconds * 100, places: 0) + " %" }
  private func megabytes(_ bytes: UInt64) -> String { decimal(Double(bytes) / 1e6 / seconds, places: 1) }

  /// The head of `row`s.
  static let tableHead = LoadReport.row(
    ["workload", "value", "keys", "conns", "pipe", "rate", "requests/s", "per CPU-s", "p50 us", "p99 us", "p99.9 us"])

  /// One line of a table of several runs.
  var row: String {
    let latencies = result.tally.latencies
    return LoadReport.row([
      plan.workload.name, "\(plan.valueBytes)", "\(plan.keys)", "\(plan.connections)", "\(plan.pipeline)",
      plan.rate.map { decimal($0, places: 0) } ?? "-", grouped(rate), ratePerServerSecond.map(grouped) ?? "-",
      microseconds(latencies.valueAtPercentile(50)), microseconds(latencies.valueAtPercentile(99)),
      microseconds(latencies.valueAtPercentile(99.9)),
    ])
  }

  private static func row(_ cells: [String]) -> String {
    let widths = [8, 9, 9, 6, 5, 9, 12, 12, 9, 9, 10]
    return zip(cells, widths).map { cell, width in
      String(repeating: " ", count: max(1, width - cell.utf8.count)) + cell
    }.joined(separator: " ") + "\n"
  }

  // MARK: JSON

  /// One line of JSON; latencies are in nanoseconds.
  var json: String {
    let tally = result.tally
    var object = JSONLine()
    object.add("protocol", plan.wire.rawValue)
    object.add("workload", plan.workload.name)
    object.add("reads", UInt64(plan.workload.reads))
    object.add("distribution", plan.distribution.name)
    object.add("keys", UInt64(plan.keys))
    object.add("valueBytes", UInt64(plan.valueBytes))
    object.add("connections", UInt64(plan.connections))
    object.add("pipeline", UInt64(plan.pipeline))
    if plan.wire == .binary {
      object.add("answer", "\(plan.answer)")
      object.add("batch", UInt64(plan.batch))
    }
    if let rate = plan.rate { object.add("rate", rate) }
    object.add("requests", tally.completed)
    object.add("seconds", seconds)
    object.add("requestsPerSecond", rate)
    object.add("bytesReceived", tally.bytesReceived)
    object.add("bytesSent", tally.bytesSent)
    object.add("latency", raw: LoadReport.latencyJSON(tally.latencies))
    object.add("readLatency", raw: LoadReport.latencyJSON(tally.reads))
    object.add("writeLatency", raw: LoadReport.latencyJSON(tally.writes))
    var statuses = JSONLine()
    for entry in tally.statusCounts { statuses.add(plan.wire.name(ofStatus: entry.status), entry.count) }
    object.add("statuses", raw: statuses.text)
    object.add("refused", tally.refused)
    object.add("unanswered", tally.unanswered)
    object.add("unsent", tally.unsent)
    object.add("brokenConnections", tally.brokenConnections)
    object.add("clientSeconds", result.clientSeconds)
    if let server = result.serverSeconds { object.add("serverSeconds", server) }
    if let rate = ratePerServerSecond { object.add("requestsPerServerSecond", rate) }
    return object.text + "\n"
  }

  private static func latencyJSON(_ histogram: Histogram<UInt64>) -> String {
    guard histogram.totalCount > 0 else { return "null" }
    var object = JSONLine()
    object.add("count", histogram.totalCount)
    object.add("mean", histogram.mean)
    for percentile in percentiles { object.add(percentile.name, histogram.valueAtPercentile(percentile.value)) }
    return object.text
  }
}

/// A JSON object under construction; its strings are the program's own and need no escaping.
struct JSONLine {
  private var members: [String] = []

  mutating func add(_ name: String, _ value: String) { members.append("\"\(name)\":\"\(value)\"") }
  mutating func add(_ name: String, _ value: UInt64) { members.append("\"\(name)\":\(value)") }
  mutating func add(_ name: String, _ value: Double) { members.append("\"\(name)\":\(decimal(value, places: 6))") }
  mutating func add(_ name: String, raw value: String) { members.append("\"\(name)\":\(value)") }

  var text: String { "{" + members.joined(separator: ",") + "}" }
}

// MARK: - Numbers for people

/// A number with a fixed count of decimal places, rounded: "12.50".
func decimal(_ value: Double, places: Int) -> String {
  var scale = 1.0
  for _ in 0..<places { scale *= 10 }
  let scaled = Int64((value * scale).rounded().clamped(to: 9e18))
  let digits = String(scaled.magnitude)
  let padded = String(repeating: "0", count: max(0, places + 1 - digits.utf8.count)) + digits
  let whole = padded.dropLast(places)
  return (scaled < 0 ? "-" : "") + whole + (places > 0 ? "." + padded.suffix(places) : "")
}

/// A whole number in groups of three digits: "1,234,567".
func grouped(_ value: Double) -> String {
  let digits = decimal(value, places: 0)
  var text = ""
  for (index, digit) in digits.enumerated() {
    if index > 0 && (digits.utf8.count - index) % 3 == 0 { text += "," }
    text.append(digit)
  }
  return text
}

/// Nanoseconds as microseconds with one decimal place.
func microseconds(_ nanoseconds: UInt64) -> String { decimal(Double(nanoseconds) / 1000, places: 1) }

extension Double {
  fileprivate func clamped(to bound: Double) -> Double { isNaN ? 0 : min(bound, max(-bound, self)) }
}
