import Wire

// `/metrics`: Prometheus text exposition format 0.0.4.
extension Core {
  /// The gauges of a core that are added up over the cores, behind its counters.
  private enum Gauge: Int, CaseIterable {
    case connections, keys, usedBytes, limitBytes, liveBytes, deadBytes, expired, evicted, commits
    case linksUp, linksDown, waiting, relaying
  }

  /// Answers once all cores have told their numbers: with the metrics, or with what `/v1/cluster` makes of them.
  mutating func startMetrics(_ entry: BatchEntry, kind: Gather.Kind = .metrics, showsData: Bool = false) {
    let gather = Gather(entry, kind: kind, expected: coreCount - 1)
    gather.showsData = showsData
    if kind == .metrics { gather.contentType = ContentType.metrics }
    let digests = kind == .cluster ? partitionCount * Core.digestWords : 0
    gather.values = [UInt64](repeating: 0, count: Core.wordCount + digests)
    var own: [UInt8] = []
    appendMetrics(to: &own)
    if kind == .cluster { appendDigests(to: &own) }
    own.withUnsafeBytes { addMetrics($0, to: gather) }
    broadcast(gather, GatherRequest(), map: [])
    finishIfDone(gather)
  }

  /// This core's numbers as bytes.
  mutating func appendMetrics(to text: inout [UInt8]) {
    text.append(contentsOf: UnsafeRawBufferPointer(start: metrics.values, count: Metrics.valueCount * 8))
    let gauges: [Int] = [
      openConnections, store.count, store.usedBytes, configuration.memoryLimit, store.liveBytes, store.deadBytes,
      store.expiredTotal, store.evictedTotal, partitions.reduce(0) { $0 + commits(PartitionID(UInt16($1))) },
      linkCount(isUp: true), linkCount(isUp: false), waiting.count, links.reduce(0) { $0 + $1.pointee.operations },
    ]
    gauges.withUnsafeBytes { text.append(contentsOf: $0) }
    datagrams.append(to: &text)
  }

  /// Words of `appendMetrics`.
  private static var wordCount: Int { Metrics.valueCount + Gauge.allCases.count + DatagramCounts.words }

  /// Writes that a partition's log has had.
  private func commits(_ partition: PartitionID) -> Int { Int(store.nextOffset(of: partition).rawValue) - 1 }

  /// What `/v1/cluster` shows of the sums.
  func numbers(_ values: [UInt64]) -> ClusterNumbers {
    let gauges = values[Metrics.valueCount...]
    func gauge(_ gauge: Gauge) -> UInt64 { gauges[gauges.startIndex + gauge.rawValue] }
    return ClusterNumbers(
      commits: gauge(.commits), keys: gauge(.keys), data: values[Core.wordCount...])
  }

  /// Adds a core's numbers.
  func addMetrics(_ bytes: UnsafeRawBufferPointer, to gather: Gather) {
    precondition(bytes.count == gather.values.count * 8, "metrics of another layout")
    for index in gather.values.indices {
      gather.values[index] &+= bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)
    }
  }

  /// The text of the sums.
  func metricsText(_ values: [UInt64]) -> [UInt8] {
    var text = MetricsText()
    text.describe("kvd_requests_total", "counter", "Requests answered, by route and class of status.")
    for route in Route.allCases {
      for statusClass in 1...5 {
        let count = values[Metrics.requestIndex(route, statusClass)]
        if count > 0 || statusClass == 2 {
          text.add("kvd_requests_total{route=\"\(route.name)\",code=\"\(statusClass)xx\"} \(count)")
        }
      }
    }
    appendLatencies(values, to: &text)
    for (counter, name, help) in Metrics.described {
      text.describe(name, "counter", help)
      text.add("\(name) \(values[Metrics.counterIndex(counter)])")
    }
    let gauges = values[Metrics.valueCount...]
    let described: [(Gauge, String, String, String)] = [
      (.connections, "kvd_connections", "gauge", "Open connections."),
      (.keys, "kvd_keys", "gauge", "Keys stored."),
      (.usedBytes, "kvd_memory_used_bytes", "gauge", "Bytes of memory in use for logs, tables and bodies."),
      (.limitBytes, "kvd_memory_limit_bytes", "gauge", "Bytes of memory that --memory allows."),
      (.liveBytes, "kvd_log_live_bytes", "gauge", "Bytes of records that are some key's."),
      (.deadBytes, "kvd_log_dead_bytes", "gauge", "Bytes of records that compaction will reclaim."),
      (.expired, "kvd_expired_total", "counter", "Keys that were removed because their time to live ran out."),
      (.evicted, "kvd_evicted_total", "counter", "Keys that were evicted to make room."),
      (.linksUp, "kvd_links_up", "gauge", "Links to other nodes that are up, over all cores."),
      (.linksDown, "kvd_links_down", "gauge", "Links to other nodes that are being opened or wait to be."),
      (.relaying, "kvd_relaying", "gauge", "Operations sent on to their owner whose result is not there yet."),
      (.waiting, "kvd_answers_waiting", "gauge", "Answers that wait for other nodes."),
      (.commits, "kvd_commits_total", "counter", "Writes in the logs of this node's partitions."),
    ]
    for (gauge, name, type, help) in described {
      text.describe(name, type, help)
      text.add("\(name) \(gauges[gauges.startIndex + gauge.rawValue])")
    }
    appendClusterMetrics(to: &text)
    if standing.view != nil { text.addDatagrams(gauges[(gauges.startIndex + Gauge.allCases.count)...]) }
    text.describe("kvd_info", "gauge", "Version and name of the node.")
    text.add("kvd_info{version=\"\(configuration.version)\",name=\"\(MetricsText.escape(configuration.name))\"} 1")
    text.describe("kvd_uptime_seconds", "gauge", "Seconds since the node started.")
    text.add("kvd_uptime_seconds \((wall - min(wall, startedAt)) / 1000)")
    return text.bytes
  }

  private func appendLatencies(_ values: [UInt64], to text: inout MetricsText) {
    let name = "kvd_request_duration_seconds"
    text.describe(name, "histogram", "From the receipt of a request to the hand-over of its answer, by route.")
    for route in Route.allCases {
      var count = UInt64(0)
      for bucket in 0..<Metrics.bucketCount {
        count += values[Metrics.bucketIndex(route, bucket)]
        let bound =
          bucket < Metrics.bounds.count ? MetricsText.seconds(Metrics.bounds[bucket]) : "+Inf"
        text.add("\(name)_bucket{route=\"\(route.name)\",le=\"\(bound)\"} \(count)")
      }
      text.add("\(name)_sum{route=\"\(route.name)\"} \(MetricsText.seconds(values[Metrics.sumIndex(route)]))")
      text.add("\(name)_count{route=\"\(route.name)\"} \(count)")
    }
  }
}

/// Lines of the exposition format.
struct MetricsText {
  private(set) var bytes: [UInt8] = []

  /// The two comment lines that go before a metric's samples.
  mutating func describe(_ name: String, _ type: String, _ help: String) {
    add("# HELP \(name) \(help)")
    add("# TYPE \(name) \(type)")
  }

  /// One line.
  mutating func add(_ line: String) {
    bytes.append(contentsOf: line.utf8)
    bytes.append(UInt8(ascii: "\n"))
  }

  /// Nanoseconds as decimal seconds.
  static func seconds(_ nanoseconds: UInt64) -> String {
    let fraction = String(nanoseconds % 1_000_000_000)
    let padded = String(repeating: "0", count: 9 - fraction.count) + fraction
    return "\(nanoseconds / 1_000_000_000).\(padded)"
  }

  /// A label's value with backslash, quote and line feed escaped.
  static func escape(_ text: String) -> String {
    var escaped = ""
    for character in text {
      switch character {
      case "\\": escaped += "\\\\"
      case "\"": escaped += "\\\""
      case "\n": escaped += "\\n"
      default: escaped.append(character)
      }
    }
    return escaped
  }
}
