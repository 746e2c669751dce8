import Wire

/// What a log line says of a request whose bytes are gone when it is answered.
struct LoggedRequest {
  let method: HTTPMethod
  let path: [UInt8]
  let route: Route

  init(_ request: BatchEntry) {
    method = request.method
    path = [UInt8](request.path)
    route = request.route
  }
}

// One line per request at level debug, as a JSON object.
extension Core {
  /// Logs a request that is answered in its turn.
  @inline(never)
  mutating func log(_ request: UnsafePointer<BatchEntry>, _ outcome: Outcome) {
    log(LoggedRequest(request.pointee), outcome, request.pointee.connection.pointee.id)
  }

  /// Logs a request.
  @inline(never)
  mutating func log(_ request: LoggedRequest, _ outcome: Outcome, _ id: ConnectionID) {
    var line: [UInt8] = []
    appendJSON("\"message\":\"request\",\"type\":\"HTTP\",\"method\":\"", to: &line)
    appendJSON(request.method.name, to: &line)
    appendJSON("\",\"path\":", to: &line)
    request.path.withUnsafeBytes { Wire.appendJSONString($0, to: &line) }
    logAnswer(request.route, outcome, id, &line)
    logChange(request, outcome)
  }

  /// Ends a request's line with what was answered on which connection, and logs it.
  mutating func logAnswer(_ route: Route, _ outcome: Outcome, _ id: ConnectionID, _ line: inout [UInt8]) {
    appendJSON(",\"route\":\"", to: &line)
    appendJSON(route.name, to: &line)
    appendJSON("\",\"status\":", to: &line)
    appendJSONInteger(Int64(outcome.status), to: &line)
    appendJSON(",\"bytes\":", to: &line)
    appendJSONInteger(Int64(outcome.value.count), to: &line)
    if outcome.hasRevision {
      appendJSON(",\"revision\":\"", to: &line)
      appendRevision(outcome.revision, to: &line)
      appendJSON("\"", to: &line)
    }
    appendJSON(",\"connection\":", to: &line)
    appendJSONInteger(Int64(id.index), to: &line)
    let text = logScratch.copy(line)
    effects.append(.log(.debug, text.baseAddress!, count: text.count))
  }

  /// What a request has changed, as an event of its own.
  private mutating func logChange(_ request: LoggedRequest, _ outcome: Outcome) {
    guard outcome.status < 300 else { return }
    switch request.route {
    case .put, .patch: logChange(request.path, "\"message\":\"saved\",\"type\":\"SAVE\"")
    case .delete: logChange(request.path, "\"message\":\"deleted\",\"type\":\"DELETE\"")
    default: break
    }
  }

  private mutating func logChange(_ path: [UInt8], _ start: StaticString) {
    var line: [UInt8] = []
    appendJSON(start, to: &line)
    appendJSON(",\"from\":", to: &line)
    appendJSONString(configuration.name, to: &line)
    path.withUnsafeBytes { bytes in
      guard case .key(let map, let key) = Resource.route(bytes) else { return }
      if !map.isEmpty {
        appendJSON(",\"map\":", to: &line)
        Wire.appendJSONString(map, to: &line)
      }
      appendJSON(",\"key\":", to: &line)
      withUnsafeTemporaryAllocation(of: UInt8.self, capacity: max(1, key.count)) { room in
        guard let encoded = key.baseAddress else { return appendJSON("\"\"", to: &line) }
        let text = encoded.assumingMemoryBound(to: UInt8.self)
        let count = Text.decodePercent(text, key.count, into: room.baseAddress!)
        let decoded = UnsafeRawBufferPointer(start: room.baseAddress!, count: max(0, count))
        Wire.appendJSONString(decoded, to: &line)
      }
    }
    let text = logScratch.copy(line)
    effects.append(.log(.debug, text.baseAddress!, count: text.count))
  }
}

extension HTTPMethod {
  /// As it is written in a request.
  var name: StaticString {
    switch self {
    case .get: "GET"
    case .head: "HEAD"
    case .put: "PUT"
    case .post: "POST"
    case .delete: "DELETE"
    case .patch: "PATCH"
    case .options: "OPTIONS"
    }
  }
}
