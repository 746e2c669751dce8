import Reactor
import Wire

extension Bench {
  /// Every permutation of the lists. Sizes and keys change slowest, since each change may need a fill.
  func plans() throws(ReactorError) -> [LoadPlan] {
    let sizes = try list(valueSize, "value-size", Bench.size, 0...(1 << 30))
    let numbers = try optionals(records ?? (servers == nil ? nil : "1M"), "records", 0...1_000_000_000_000)
    let spaces = try optionals(keys ?? (servers == nil ? "1000" : nil), "keys", 1...1_000_000_000_000)
    let workloads = try names(servers == nil ? workload : "put").map(workload(named:))
    let counts = try list(connections ?? (servers == nil ? "50" : "1"), "connections", Int.init, 1...60_000)
    let depths = try list(pipeline ?? (servers == nil ? "1" : "4096"), "pipeline", Int.init, 1...65_536)
    let rates = try optionals(rate, "rate", 1...100_000_000)
    let frame = try base()
    let batches = try list(batch ?? (servers == nil ? "1" : "64"), "batch", Int.init, 1...65_535)
    let answers = try names(answer).map(answerLevel(named:))
    guard frame.wire == .binary || answers == [.reply] && (batches == [1] || servers != nil) else {
      throw wrong("protocol", "binary together with --answer and --batch", frame.wire.rawValue)
    }
    guard answers == [.reply] || servers == nil else {
      throw wrong("answer", "nothing together with --servers", answer)
    }
    var plan = frame
    var plans: [LoadPlan] = []
    for size in sizes {
      plan.valueBytes = size
      for space in spaces {
        for workload in workloads {
          plan.workload = workload
          for count in counts {
            plan.connections = count
            for depth in depths {
              plan.pipeline = depth
              for records in numbers {
                plan.records = records
                plan.keys = space ?? max(1, records ?? 1)
                for rate in rates {
                  plan.rate = rate.map(Double.init)
                  plans.append(plan)
                }
              }
            }
          }
        }
      }
    }
    return plans.flatMap { plan in
      batches.flatMap { batch in
        answers.map { answer in
          var plan = plan
          plan.batch = plan.wire == .binary ? min(batch, plan.pipeline) : 1
          plan.answer = answer
          return plan
        }
      }
    }
  }

  /// What all plans have in common.
  private func base() throws(ReactorError) -> LoadPlan {
    let standard = wire == .binary ? "kvd://127.0.0.1:3100" : "http://127.0.0.1:3000"
    let target = try LoadTarget(url ?? standard)
    let wire = self.wire ?? (servers == nil ? target.wire : .binary)
    guard wire != .binary || target.path == "/" else { throw wrong("url", "no path in the binary protocol", url ?? "") }
    let duration = try nanoseconds(self.duration ?? (records == nil && servers == nil ? "10s" : "365d"), "duration")
    let pids = try optionals(serverPID, "server-pid", 1...(1 << 30)).compactMap { $0 }
    var plan = LoadPlan(
      target: target, wire: wire, workload: .get, distribution: try keyDistribution(), keys: 1,
      prefix: try checkedPrefix(), valueBytes: 0, connections: 1, pipeline: 1, rate: nil, records: nil,
      duration: duration, warmup: try nanoseconds(warmup, "warmup"), fills: fill, seed: seed, serverPIDs: pids,
      backend: try ReactorProbe.choose(io).backend)
    plan.slides = sliding || servers != nil
    guard wait == 0 || wire == .resp && workload == "put" && (1...100).contains(wait) else {
      throw wrong("wait", "a number of replicas from 1 to 100, with --protocol resp and --workload put", "\(wait)")
    }
    plan.waits = wait
    let canAskOwners = wire == .http && target.path == "/" && servers == nil && distribution != "sequential"
    guard !asksOwners || canAskOwners else {
      throw ReactorError(
        .badAddress, "--to-owners takes http://host:port without a path, and uniform keys or those of zipf.")
    }
    return plan
  }

  private func names(_ text: String) -> [Substring] { text.split(separator: ",", omittingEmptySubsequences: false) }

  private func answerLevel(named name: Substring) throws(ReactorError) -> AnswerLevel {
    switch name {
    case "none": return .none
    case "ack": return .ack
    case "reply": return .reply
    default: throw wrong("answer", "a list of none, ack and reply", String(name))
    }
  }

  private func workload(named name: Substring) throws(ReactorError) -> LoadWorkload {
    switch name {
    case "get": return .get
    case "put": return .put
    case "mixed":
      guard (0...100).contains(reads) else { throw wrong("reads", "a percentage from 0 to 100", "\(reads)") }
      return .mixed(reads: reads)
    default: throw wrong("workload", "a list of get, put and mixed", String(name))
    }
  }

  private func keyDistribution() throws(ReactorError) -> KeyDistribution {
    switch distribution {
    case "uniform": return .uniform
    case "sequential": return .sequential
    case "zipf":
      guard zipfExponent > 0 && zipfExponent <= 10 else {
        throw wrong("zipf-exponent", "a number above 0 and up to 10", "\(zipfExponent)")
      }
      return .zipf(exponent: zipfExponent)
    default: throw wrong("distribution", "uniform, zipf or sequential", distribution)
    }
  }

  private func checkedPrefix() throws(ReactorError) -> String {
    let plain = keyPrefix.utf8.allSatisfy {
      UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 | 0x20 || UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0
        || "-._~:".utf8.contains($0)
    }
    guard plain && keyPrefix.utf8.count <= 200 else {
      throw wrong("key-prefix", "up to 200 letters, digits and -._~:", keyPrefix)
    }
    return keyPrefix
  }

  func list(
    _ text: String, _ name: String, _ parse: (String) -> Int?, _ range: ClosedRange<Int>
  ) throws(ReactorError) -> [Int] {
    var values: [Int] = []
    for item in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let value = parse(String(item)), range.contains(value) else {
        throw wrong(name, "numbers from \(range.lowerBound) to \(range.upperBound), with commas between them", text)
      }
      values.append(value)
    }
    return values
  }

  /// The same for an option that may be left out: one run without it.
  private func optionals(
    _ text: String?, _ name: String, _ range: ClosedRange<Int>
  ) throws(ReactorError) -> [Int?] {
    guard let text else { return [nil] }
    return try list(text, name, Bench.count, range)
  }

  /// A number of things: 1000, 1k, 10M.
  private static func count(_ text: String) -> Int? {
    let factor = text.hasSuffix("k") ? 1_000 : text.hasSuffix("M") ? 1_000_000 : 1
    let (count, overflow) = (Int(factor == 1 ? text : String(text.dropLast())) ?? -1).multipliedReportingOverflow(
      by: factor)
    return overflow || count < 0 ? nil : count
  }

  /// Bytes: 100, 4k, 1MiB.
  private static func size(_ text: String) -> Int? {
    var text = text
    return text.withUTF8 { bytes in
      bytes.baseAddress.flatMap { Text.parseSize($0, bytes.count) }.map(Int.init)
    }
  }

  private func nanoseconds(_ text: String, _ name: String) throws(ReactorError) -> UInt64 {
    var copy = text
    let milliseconds = copy.withUTF8 { bytes in bytes.baseAddress.flatMap { Text.parseDuration($0, bytes.count) } }
    guard let milliseconds, milliseconds <= 365 * 86_400_000 else {
      throw wrong(name, "a duration such as 500ms or 10s", text)
    }
    return milliseconds * 1_000_000
  }

  private func wrong(_ name: String, _ wanted: String, _ text: String) -> ReactorError {
    ReactorError(.badAddress, "--\(name) takes \(wanted), not \"\(text)\".")
  }
}
