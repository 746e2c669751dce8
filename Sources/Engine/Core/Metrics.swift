import Wire

/// The counters of one core: plain integers that only its own thread writes. Another core that serves `/metrics` asks
/// for them by mail and adds them up.
struct Metrics: ~Copyable {
  /// Upper bounds of the latency buckets in nanoseconds, a 1-2.5-5 ladder from 10 us to 10 s.
  static let bounds: [UInt64] = [
    10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000,
    50_000_000, 100_000_000, 250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000, 5_000_000_000, 10_000_000_000,
  ]
  static let bucketCount = bounds.count + 1
  static let statusClasses = 6

  /// Counters beside those per route, in the order of the values' layout.
  enum Counter: Int, CaseIterable {
    case connectionsOpened, connectionsClosed, receivedBytes, sentBytes, badRequests, timeouts
    case forwarded, overloaded, turns, framesReceived, framesSent, badFrames
    case parked, readsParked, held, unknown, relayed, granted, relayRetries, wrongOwner
    case linksOpened, linksLost, linksFailed
  }

  /// Per route: `statusClasses` request counts, the buckets, and the sum of the latencies in nanoseconds.
  private static var routeStride: Int { statusClasses + bucketCount + 1 }
  static var valueCount: Int { Route.allCases.count * routeStride + Counter.allCases.count }

  /// All values in one flat piece of memory, so that it can be mailed and added up as it is.
  let values: UnsafeMutablePointer<UInt64>
  /// Requests answered in this turn, per route, whose latency is taken when the turn ends.
  private let turn: UnsafeMutablePointer<UInt32>
  private var turnTotal: UInt32 = 0

  init() {
    values = .allocate(capacity: Self.valueCount)
    values.initialize(repeating: 0, count: Self.valueCount)
    turn = .allocate(capacity: Route.allCases.count)
    turn.initialize(repeating: 0, count: Route.allCases.count)
  }

  deinit {
    values.deallocate()
    turn.deallocate()
  }

  /// Adds to a plain counter.
  @inline(__always) mutating func count(_ counter: Counter, _ amount: Int = 1) {
    values[Route.allCasesCount &* Self.stride &+ counter.rawValue] &+= UInt64(truncatingIfNeeded: amount)
  }

  /// What a plain counter stands at.
  func value(_ counter: Counter) -> UInt64 { values[Route.allCasesCount * Self.stride + counter.rawValue] }

  /// Counts an answer that is given within the turn its request came in.
  @inline(__always) mutating func answered(_ route: Route, _ status: UInt16) {
    values[Int(route.rawValue) &* Self.stride &+ Self.statusClass(status)] &+= 1
    turn[Int(route.rawValue)] &+= 1
    turnTotal &+= 1
  }

  /// Counts so many of them.
  @inline(__always) mutating func answered(_ route: Route, _ status: UInt16, times: UInt32) {
    values[Int(route.rawValue) &* Self.stride &+ Self.statusClass(status)] &+= UInt64(times)
    turn[Int(route.rawValue)] &+= times
    turnTotal &+= times
  }

  /// Counts an answer that took longer than a turn.
  mutating func answered(_ route: Route, _ status: UInt16, nanoseconds: UInt64) {
    values[Int(route.rawValue) * Self.stride + Self.statusClass(status)] += 1
    observe(route, nanoseconds, times: 1)
  }

  /// Whether answers wait for their latency.
  var hasTurn: Bool { turnTotal > 0 }

  /// Gives the answers of this turn their latency: from the turn's start, when the bytes were picked up, to its end.
  mutating func endTurn(nanoseconds: UInt64) {
    guard turnTotal > 0 else { return }
    turnTotal = 0
    for route in Route.allCases where turn[Int(route.rawValue)] > 0 {
      observe(route, nanoseconds, times: UInt64(turn[Int(route.rawValue)]))
      turn[Int(route.rawValue)] = 0
    }
  }

  private mutating func observe(_ route: Route, _ nanoseconds: UInt64, times: UInt64) {
    let base = Int(route.rawValue) * Self.stride + Self.statusClasses
    var bucket = 0
    while bucket < Self.bounds.count && nanoseconds > Self.bounds[bucket] { bucket += 1 }
    values[base + bucket] += times
    values[base + Self.bucketCount] &+= nanoseconds &* times
  }

  @inline(__always) private static func statusClass(_ status: UInt16) -> Int {
    status < 200 ? 1 : status < 300 ? 2 : status < 400 ? 3 : status < 500 ? 4 : 5
  }

  // Constants of the hot path, folded by the compiler where the computed forms above aren't.
  @inline(__always) private static var stride: Int { 6 + 20 + 1 }

  /// The constants agree with what they were derived from.
  static func checkInvariants() {
    precondition(stride == routeStride && Route.allCasesCount == Route.allCases.count, "metrics layout")
  }

  /// Where a route's requests of a status class (2 for 2xx) lie in the values.
  static func requestIndex(_ route: Route, _ statusClass: Int) -> Int { Int(route.rawValue) * stride + statusClass }

  /// Where a route's answers in a bucket lie.
  static func bucketIndex(_ route: Route, _ bucket: Int) -> Int {
    Int(route.rawValue) * stride + statusClasses + bucket
  }

  /// Where the sum of a route's latencies in nanoseconds lies.
  static func sumIndex(_ route: Route) -> Int { Int(route.rawValue) * stride + statusClasses + bucketCount }

  /// Where a plain counter lies.
  static func counterIndex(_ counter: Counter) -> Int { Route.allCasesCount * stride + counter.rawValue }

  /// The plain counters as `/metrics` names them.
  static let described: [(Counter, String, String)] = [
    (.connectionsOpened, "kvd_connections_opened_total", "Connections accepted."),
    (.connectionsClosed, "kvd_connections_closed_total", "Connections closed."),
    (.receivedBytes, "kvd_received_bytes_total", "Bytes received from clients."),
    (.sentBytes, "kvd_sent_bytes_total", "Bytes sent to clients."),
    (.badRequests, "kvd_bad_requests_total", "Requests refused because of their form."),
    (.timeouts, "kvd_timeouts_total", "Connections ended because the client was too slow."),
    (.forwarded, "kvd_forwarded_total", "Operations executed by another core than the connection's."),
    (.overloaded, "kvd_overloaded_total", "Operations refused because too much was waiting."),
    (.framesReceived, "kvd_frames_received_total", "Frames of the binary protocol received."),
    (.framesSent, "kvd_frames_sent_total", "Frames of the binary protocol sent."),
    (.badFrames, "kvd_bad_frames_total", "Connections of the binary protocol ended because of what they sent."),
    (.parked, "kvd_writes_parked_total", "Writes whose answer waited for other nodes."),
    (.readsParked, "kvd_reads_parked_total", "Reads whose answer waited for other nodes."),
    (
      .held, "kvd_operations_held_total",
      "Operations that waited for their partition to have an owner, or for the way to it."
    ),
    (.unknown, "kvd_unknown_total", "Operations answered with 504, since their outcome was not known in time."),
    (.relayed, "kvd_relayed_total", "Operations sent on to the node that owns their partition."),
    (
      .granted, "kvd_relayed_answered_early_total",
      "Writes sent on that this node answered as soon as its own copy had them."
    ),
    (
      .relayRetries, "kvd_relay_retries_total",
      "Operations that another node did not execute and that were kept for one more attempt."
    ),
    (
      .wrongOwner, "kvd_wrong_owner_total",
      "Operations of other nodes refused because this node does not own the partition."
    ),
    (.linksOpened, "kvd_links_opened_total", "Links to other nodes that came up."),
    (.linksLost, "kvd_links_lost_total", "Links to other nodes that broke."),
    (.linksFailed, "kvd_links_failed_total", "Attempts to link to another node that failed."),
    (.turns, "kvd_turns_total", "Turns of the cores' loops."),
  ]
}

extension Route {
  @inline(__always) static var allCasesCount: Int { 11 }
}
