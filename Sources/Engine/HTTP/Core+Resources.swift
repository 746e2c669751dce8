import Wire

// Everything that isn't an operation on one key: status, probes, metrics, maps, batches.
extension Core {
  /// Answers a request for any other resource, after the requests before it.
  @inline(never)
  mutating func dispatchOther(
    _ connection: UnsafeMutablePointer<Connection>, _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>,
    _ body: UnsafeRawBufferPointer, _ path: UnsafeRawBufferPointer
  ) {
    var entry = requests[batchCount]
    runBatch()
    let resource = Resource.route(path)
    do {
      if head.pointee.method == .options {
        var outcome = Outcome(status: 204)
        outcome.allow = resource.allow
        return answer(connection, entry, outcome)
      }
      try serve(resource, head, bytes, body, &entry)
    } catch {
      metrics.count(.badRequests)
      var outcome = refused(error)
      if error.status == 405 { outcome.allow = resource.allow }
      answer(connection, entry, outcome)
    }
    scratch.reset()
  }

  private mutating func serve(
    _ resource: Resource, _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>,
    _ body: UnsafeRawBufferPointer,
    _ entry: inout BatchEntry
  ) throws(Problem) {
    let isRead = head.pointee.method == .get || head.pointee.method == .head
    switch resource {
    case .status:
      entry.route = .status
      guard isRead else { throw .methodNotAllowed }
      answer(entry, json: statusText())
    case .live:
      entry.route = .probe
      guard isRead else { throw .methodNotAllowed }
      answer(entry, text: "ok\n")
    case .ready:
      entry.route = .probe
      guard isRead else { throw .methodNotAllowed }
      try serveReady(head, bytes, entry)
    case .health:
      entry.route = .probe
      guard isRead else { throw .methodNotAllowed }
      answerHealth(entry)
    case .cluster:
      entry.route = .status
      guard isRead else { throw .methodNotAllowed }
      try serveCluster(head, bytes, entry)
    case .ring:
      entry.route = .status
      guard isRead else { throw .methodNotAllowed }
      try serveRing(head, bytes, entry)
    case .lost:
      entry.route = .status
      guard isRead else { throw .methodNotAllowed }
      try serveLost(head, bytes, entry)
    case .metrics:
      entry.route = .metrics
      guard isRead else { throw .methodNotAllowed }
      startMetrics(entry)
    case .map(let name):
      try checkMapName(name)
      guard !name.isEmpty else { throw .badMapName }
      if isRead {
        entry.route = .list
        try serveList(name, head, bytes, entry)
      } else if head.pointee.method == .put {
        entry.route = .settings
        try serveSettings(name, body, entry)
      } else {
        throw .methodNotAllowed
      }
    case .batch:
      entry.route = .batch
      guard head.pointee.method == .post else { throw .methodNotAllowed }
      guard body.count <= limits.batchBody else { throw .bodyTooLarge }
      try serveBatch(body, entry)
    case .reserved: throw .notInThisVersion
    case .unknown, .server, .key: throw .noSuchResource
    }
  }

  // MARK: Probes and the ring

  private mutating func serveReady(
    _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>, _ entry: BatchEntry
  ) throws(Problem) {
    var isVerbose = false
    try readQuery(head, bytes) { (core, name, _) throws(Problem) in
      guard name.equals("verbose") else { throw core.unknownWord(name, known: "verbose") }
      isVerbose = true
    }
    try answerReady(entry, isVerbose: isVerbose)
  }

  /// `key` and `map` in the query; all keys without.
  private mutating func serveRing(
    _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>, _ entry: BatchEntry
  ) throws(Problem) {
    var key: [UInt8]?
    var map: [UInt8] = []
    try readQuery(head, bytes) { (core, name, value) throws(Problem) in
      if name.equals("key") {
        guard !value.isEmpty else { throw .keyEmpty }
        guard value.count <= core.limits.key else { throw .keyTooLong }
        key = Array(value)
      } else if name.equals("map") {
        guard !value.isEmpty else { throw .badMapName }
        try core.checkMapName(value)
        map = value.equals("default") ? [] : Array(value)
      } else {
        throw core.unknownWord(name, known: "key, map")
      }
    }
    var whole: KeyRef?
    if let key {
      // The map's name lies in front of the key, as everywhere.
      if maps.hasCaches { map = map.withUnsafeBytes { [UInt8](maps.marked($0)) } }
      let room = scratch.copy(map + key)
      whole = KeyRef(
        map: UnsafeRawBufferPointer(rebasing: room[..<map.count]),
        key: UnsafeRawBufferPointer(rebasing: room[map.count...]))
    } else if !map.isEmpty {
      throw Problem(400, "map goes with key, which is missing.")
    }
    answer(entry, json: try ringText(whole))
  }
}

/// Appends a Swift string as a JSON string.
func appendJSONString(_ string: String, to text: inout [UInt8]) {
  var string = string
  string.withUTF8 { Wire.appendJSONString(UnsafeRawBufferPointer($0), to: &text) }
}

/// Appends sixteen hexadecimal digits.
func appendHex(_ number: UInt64, to text: inout [UInt8]) {
  for shift in stride(from: 60, through: 0, by: -4) {
    let digit = UInt8(truncatingIfNeeded: number >> UInt64(shift)) & 15
    text.append(digit < 10 ? 48 + digit : 87 + digit)
  }
}
