import ArgumentParser
import Glibc
import Reactor
import Wire

/// `kvd bench`: the load generator.
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Load a server and measure it.",
    discussion: """
      Options that take a list, as in --connections 1,50, run every permutation.

      Without --rate the loop is closed: each connection sends --pipeline requests and waits for their replies. With \
      --rate requests are due at fixed times whatever the server does, and latency counts from then on, so that pauses \
      of the server are not left out. One thread makes the load.
      """)

  @Option(help: "The server: http://host:port, with a path before the keys if wanted, or redis://host:port.")
  var url = "http://127.0.0.1:3000"
  @Option(name: .customLong("protocol"), help: "http or resp. (default: by the URL)")
  var wire: LoadProtocol?
  @Option(name: [.short, .long], help: "A list of get, put, mixed.") var workload = "get"
  @Option(help: "Percentage of reads when mixed.") var reads = 90
  @Option(name: [.short, .long], help: "A list of sizes of the key space: 1000, 10M.") var keys = "1000"
  @Option(help: "uniform, zipf, or sequential: from the first key on.") var distribution = "uniform"
  @Option(name: .customLong("zipf-exponent"), help: "How uneven zipf is.") var zipfExponent = 0.99
  @Option(name: .customLong("key-prefix"), help: "What keys begin with; 12 digits follow.") var keyPrefix = "key-"
  @Option(name: [.customShort("m"), .customLong("value-size")], help: "A list of value sizes: 100, 4k, 1MiB.")
  var valueSize = "100"
  @Option(name: [.short, .long], help: "A list of counts of connections.") var connections = "50"
  @Option(name: [.short, .long], help: "A list of counts of requests under way on one connection.") var pipeline = "1"
  @Option(help: "A list of request rates per second, over all connections, for an open loop.") var rate: String?
  @Option(name: [.short, .long], help: "A list of counts of requests to send, instead of a duration.")
  var records: String?
  @Option(name: [.short, .long], help: "How long to send: 10s, 500ms. (default: 10s, or until --records)")
  var duration: String?
  @Option(help: "How long to send before it counts.") var warmup = "0s"
  @Flag(help: "Write every key once before each run that has other keys or values than the last.") var fill = false
  @Option(help: "What draws of keys begin with.") var seed: UInt64 = 1
  @Option(name: .customLong("server-pid"), help: "A list of the server's processes, to report their processor time.")
  var serverPID: String?
  @Option(help: "auto, io_uring or epoll.") var io = ReactorProbe.Wish.auto
  @Flag(help: "Print one line of JSON for each run instead of text.") var json = false

  func run() throws {
    let plans: [LoadPlan]
    do throws(ReactorError) { plans = try self.plans(LoadTarget(url), ReactorProbe.choose(io).backend) } catch {
      throw ValidationError(error.sentence)
    }
    do {
      SignalSource.ignoreBrokenPipes()
      _ = DescriptorLimit.raise()
      try run(plans, SignalSource.block([SIGINT, SIGTERM]))
    } catch let code as ExitCode {
      throw code
    } catch {
      writeError("kvd bench: \(error)\n")
      throw ExitCode.failure
    }
  }

  /// Runs one plan after another; prints each report as soon as it is there.
  private func run(_ plans: [LoadPlan], _ signals: consuming SignalSource) throws {
    var rows: [String] = []
    var filled: (keys: Int, valueBytes: Int)?
    for plan in plans {
      var generator = try LoadGenerator(plan, signals)
      try generator.connect()
      if plan.fills && filled ?? (0, 0) != (plan.keys, plan.valueBytes) {
        try generator.fill()
        filled = (plan.keys, plan.valueBytes)
      }
      if plan.duration > 0 && plan.records != 0 {
        if plan.warmup > 0 { try generator.warmUp() }
        let report = LoadReport(plan: plan, result: try generator.measure())
        print(json ? report.json : report.text, terminator: "")
        fflush(nil)
        rows.append(report.row)
      }
      if generator.isInterrupted { throw ExitCode(130) }
    }
    if !json && rows.count > 1 { print("\n" + LoadReport.tableHead + rows.joined(), terminator: "") }
  }

  // MARK: Options

  /// Every permutation of the lists. Sizes and keys change slowest, since each change may need a fill.
  private func plans(_ target: LoadTarget, _ backend: Backend) throws(ReactorError) -> [LoadPlan] {
    let duration = try nanoseconds(self.duration ?? (records == nil ? "10s" : "365d"), "duration")
    let sizes = try list(valueSize, "value-size", Bench.size, 0...(1 << 30))
    let spaces = try list(keys, "keys", Bench.count, 1...1_000_000_000_000)
    let workloads = try workload.split(separator: ",", omittingEmptySubsequences: false).map(workload(named:))
    let counts = try list(connections, "connections", Int.init, 1...60_000)
    let depths = try list(pipeline, "pipeline", Int.init, 1...65_536)
    let rates = try optionals(rate, "rate", 1...100_000_000)
    let numbers = try optionals(records, "records", 0...1_000_000_000_000)
    let pids = try optionals(serverPID, "server-pid", 1...(1 << 30)).compactMap { $0 }
    var plan = LoadPlan(
      target: target, wire: wire ?? (url.hasPrefix("redis://") ? .resp : .http), workload: .get,
      distribution: try keyDistribution(), keys: 1, prefix: try checkedPrefix(), valueBytes: 0, connections: 1,
      pipeline: 1, rate: nil, records: nil, duration: duration, warmup: try nanoseconds(warmup, "warmup"), fills: fill,
      seed: seed, serverPIDs: pids, backend: backend)
    var plans: [LoadPlan] = []
    for size in sizes {
      plan.valueBytes = size
      for space in spaces {
        plan.keys = space
        for workload in workloads {
          plan.workload = workload
          for count in counts {
            plan.connections = count
            for depth in depths {
              plan.pipeline = depth
              for records in numbers {
                plan.records = records
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
    return plans
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

  private func list(
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

extension LoadProtocol: ExpressibleByArgument {}
extension ReactorProbe.Wish: ExpressibleByArgument {}
