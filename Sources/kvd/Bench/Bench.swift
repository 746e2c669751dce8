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

      With --servers it starts that many nodes on this machine, stores --records (1M) in them once, and then anew \
      three times: without asking for an answer (tacks: all were handed to the kernel), asking for acknowledgements \
      (yacks), and asking for replies (sacks). For example: kvd bench -m 10,100,1000 -r 1000000 -l 1 -c 1

      Without --rate the loop is closed: each connection sends --pipeline requests and waits for their replies. With \
      --rate requests are due at fixed times whatever the server does, and latency counts from then on, so that pauses \
      of the server are not left out. One thread makes the load.
      """)

  @Option(
    help: """
      The server: http://host:port, with a path before the keys if wanted, kvd://host:port for the binary protocol, \
      redis://host:port. (default: http://127.0.0.1:3000, or kvd://127.0.0.1:3100)
      """)
  var url: String?
  @Option(name: .customLong("protocol"), help: "http, binary or resp. (default: by the URL)")
  var wire: LoadProtocol?
  @Flag(
    name: .customLong("to-owners"),
    help: "Spread the connections over the cluster's nodes, and ask each for keys that it owns. HTTP only.")
  var asksOwners = false
  @Option(name: [.short, .long], help: "A list of get, put, mixed.") var workload = "get"
  @Option(help: "Percentage of reads when mixed.") var reads = 90
  @Option(
    name: [.short, .long],
    help: "A list of sizes of the key space: 1000, 10M. (default: 1000; with --servers as many as records)")
  var keys: String?
  @Option(help: "uniform, zipf, or sequential: from the first key on.") var distribution = "uniform"
  @Option(name: .customLong("zipf-exponent"), help: "How uneven zipf is.") var zipfExponent = 0.99
  @Option(name: .customLong("key-prefix"), help: "What keys begin with; 12 digits follow.") var keyPrefix = "key-"
  @Option(name: [.customShort("m"), .customLong("value-size")], help: "A list of value sizes: 100, 4k, 1MiB.")
  var valueSize = "100"
  @Option(
    name: [.customShort("l"), .long], help: "A list of counts of connections. (default: 50; with --servers 1)")
  var connections: String?
  @Option(
    name: [.short, .long],
    help: "A list of counts of requests under way on one connection. (default: 1; with --servers 4096)")
  var pipeline: String?
  @Flag(help: "Send on when half of --pipeline is answered, not all of it, in a closed loop.") var sliding = false
  @Option(help: "Binary: a list of counts of requests in one frame. (default: 1; with --servers 64)")
  var batch: String?
  @Option(help: "Binary: a list of what writes are answered with: none, ack, reply.") var answer = "reply"
  @Option(help: "RESP: send a WAIT for so many replicas behind each write.") var wait = 0
  @Option(
    name: [.customShort("c"), .long],
    help: "A list of counts of nodes to start on this machine, with one core each, and to load instead of --url.")
  var servers: String?
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
    var counts: [Int] = []
    do throws(ReactorError) {
      plans = try self.plans()
      if let servers { counts = try list(servers, "servers", Int.init, 1...64) }
    } catch {
      throw ValidationError(error.sentence)
    }
    do {
      SignalSource.ignoreBrokenPipes()
      _ = DescriptorLimit.raise()
      let signals = try SignalSource.block([SIGINT, SIGTERM])
      if counts.isEmpty { try run(plans, signals) } else { try run(plans, servers: counts, signals) }
    } catch let code as ExitCode {
      throw code
    } catch {
      writeError("kvd bench: \(error)\n")
      throw ExitCode.failure
    }
  }

  /// Runs one plan after another; prints each report as soon as it is there.
  private func run(_ plans: [LoadPlan], _ signals: borrowing SignalSource) throws {
    var rows: [String] = []
    var filled: (keys: Int, valueBytes: Int)?
    let owners = asksOwners ? try KeyOwners(asking: plans[0].target) : nil
    for var plan in plans {
      if let owners {
        plan.target = plan.target.spread(over: owners)
        plan.owners = owners
      }
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

  /// Runs every plan on as many fresh servers as each count says, once for each level of answer that the protocol has.
  private func run(_ plans: [LoadPlan], servers counts: [Int], _ signals: borrowing SignalSource) throws {
    for var plan in plans {
      for count in counts {
        let servers = try LocalServers(count)
        plan.target = LoadTarget(plan.wire == .binary ? servers.peers : servers.clients, plan.wire)
        plan.serverPIDs = servers.pids
        var report = RecordsReport(servers: count, stable: servers.stableAfter, plan: plan)
        for answer in plan.wire == .binary ? [AnswerLevel.none, .ack, .reply] : [.reply] {
          plan.answer = answer
          let began = Clock.monotonic()
          var generator = try LoadGenerator(plan, signals)
          try generator.connect()
          let connected = Clock.monotonic() - began
          // The first to come would pay for memory that the kernel hands out, and the others not.
          if report.runs.isEmpty { try generator.fill() }
          report.runs.append((answer, connected, try generator.measure()))
          if generator.isInterrupted { throw ExitCode(130) }
        }
        print(json ? report.json : report.text, terminator: "")
        fflush(nil)
      }
    }
  }
}

extension LoadProtocol: ExpressibleByArgument {}
extension ReactorProbe.Wish: ExpressibleByArgument {}
