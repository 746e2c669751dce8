import Reactor
import Wire

/// Which requests are sent.
enum LoadWorkload: Equatable, Sendable {
  case get
  case put
  /// Reads with a probability of `reads` percent, else writes.
  case mixed(reads: Int)

  /// Reads among 100 requests.
  var reads: Int {
    switch self {
    case .get: 100
    case .put: 0
    case .mixed(let reads): reads
    }
  }

  /// As on the command line.
  var name: String {
    switch self {
    case .get: "get"
    case .put: "put"
    case .mixed: "mixed"
    }
  }
}

/// Where the load goes: one server, or several between which the connections are divided.
struct LoadTarget: Equatable, Sendable {
  /// As on the command line, for messages.
  let name: String
  private(set) var addresses: [SocketAddress]
  /// What the URL's scheme says.
  let wire: LoadProtocol
  /// The authority, for HTTP's Host.
  let host: String
  /// What stands before keys in an HTTP target: "/", "/v1/maps/m/".
  let path: String

  private static let schemes: [(name: String, wire: LoadProtocol, port: String)] = [
    ("http://", .http, "80"), ("redis://", .resp, "6379"), ("kvd://", .binary, "3100"),
  ]

  /// Reads `http://host:port/path`, `redis://host:port`, `kvd://host:port` or `host:port`.
  ///
  /// - Throws: `ReactorError` if the address is none or its host isn't known.
  init(_ url: String) throws(ReactorError) {
    var rest = url[...]
    var port = "3000"
    var wire = LoadProtocol.http
    for scheme in LoadTarget.schemes where rest.hasPrefix(scheme.name) {
      rest = rest.dropFirst(scheme.name.count)
      port = scheme.port
      wire = scheme.wire
    }
    guard !rest.contains("://") else {
      throw ReactorError(.badAddress, "\"\(url)\" is none of http://host:port, kvd://host:port and redis://host:port")
    }
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    let authority = String(rest[..<slash])
    let hasPort = authority.last != "]" && authority.contains(":")
    let address = try SocketAddress.parse(hasPort ? authority : authority + ":" + port)
    name = "\(address)"
    addresses = [address]
    host = authority
    self.wire = wire
    let path = rest[slash...]
    self.path = path.isEmpty ? "/" : path.hasSuffix("/") ? String(path) : path + "/"
  }

  /// The same for the owners of keys.
  func spread(over owners: KeyOwners) -> LoadTarget {
    var target = self
    target.addresses = owners.addresses
    return target
  }

  /// Servers on this machine.
  init(_ addresses: [SocketAddress], _ wire: LoadProtocol) {
    self.addresses = addresses
    self.wire = wire
    name = addresses.map { "\($0)" }.joined(separator: ", ")
    host = "localhost"
    path = "/"
  }
}

/// One run: a load with all its parameters. `kvd bench` makes one for every permutation of its comma lists.
struct LoadPlan: Sendable {
  var target: LoadTarget
  var wire: LoadProtocol
  var workload: LoadWorkload
  var distribution: KeyDistribution
  /// The key space: keys are `prefix` and 12 digits, from 0.
  var keys: Int
  var prefix: String
  var valueBytes: Int
  var connections: Int
  /// Requests under way on one connection at most.
  var pipeline: Int
  /// Whether a closed loop sends on when half of `pipeline` is answered, not all of it.
  var slides = false
  /// What writes of the binary protocol are answered with, and how many requests a frame has.
  var answer = AnswerLevel.reply
  var batch = 1
  /// Replicas whose confirmation each write of RESP waits for, by a WAIT of its own.
  var waits = 0
  /// Requests a second over all connections of an open loop; nil for a closed loop.
  var rate: Double?
  /// Requests to send, nil for as many as the duration has room for.
  var records: Int?
  /// Nanoseconds during which requests are sent; their replies are waited for.
  var duration: UInt64
  /// Nanoseconds of the same load, not counted, before.
  var warmup: UInt64
  /// Whether every key is written once before.
  var fills: Bool
  var seed: UInt64
  /// Processes of the server on this machine, whose processor time is reported.
  var serverPIDs: [Int]
  var backend: Backend
  /// Who is asked for which key, where all connections of the target's addresses aren't asked for any.
  var owners: KeyOwners?

  /// Requests under way on one connection at most, while filling.
  var fillPipeline: Int { valueBytes < RequestEncoder.largeBody ? max(pipeline, 64) : min(pipeline, 2) }

  /// One line that names the run.
  var title: String {
    var text = "\(wire.rawValue) \(workload.name)"
    if case .mixed(let reads) = workload { text += " (\(reads) % reads)" }
    text += ", \(keys) keys \(distribution.name), \(valueBytes) B values, \(connections) connections"
    text += ", pipeline \(pipeline)" + (slides ? " sliding" : "")
    if owners != nil { text += " to the keys' owners" }
    if waits > 0 { text += ", each waits for \(waits) replicas" }
    if wire == .binary { text += ", \(batch) a frame, answer \(answer)" }
    return text + (rate.map { ", \(decimal($0, places: 0)) requests/s" } ?? ", closed loop")
  }
}
