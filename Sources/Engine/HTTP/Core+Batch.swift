import Wire

// `POST /v1/batch`: many operations in one request, each as if it had come alone. Not atomic across keys.
extension Core {
  /// Reads the whole batch first, so that a malformed one does nothing; then executes it.
  mutating func serveBatch(_ body: UnsafeRawBufferPointer, _ entry: BatchEntry) throws(Problem) {
    let document: JSONValue
    do {
      document = try JSONValue(validating: body)
    } catch {
      throw Problem(400, "The batch is not valid JSON (RFC 8259).")
    }
    guard document.kind == .array else { throw Problem(400, "A batch is a JSON array of operations.") }
    var items: [BatchItem] = []
    var elements = document.elements()
    while let element = elements.next() {
      guard items.count < limits.batchOperations else {
        throw Problem(413, "The batch has more operations than this node takes (limits.batchOperations).")
      }
      items.append(try readItem(element))
    }
    let gather = Gather(entry, kind: .batch, expected: items.count)
    gather.parts = [[UInt8]](repeating: [], count: items.count)
    // Asked once: the batch itself is bounded, and half of it refused would help nobody.
    let overloaded = (0..<coreCount).map { isOverloaded($0) }
    for (element, item) in items.enumerated() { run(item, element, gather, overloaded) }
    finishIfDone(gather)
  }

  private mutating func run(_ item: BatchItem, _ element: Int, _ gather: Gather, _ overloaded: [Bool]) {
    if let problem = item.problem {
      gather.parts[element] = batchAnswer(Outcome(problem))
      gather.expected -= 1
      return
    }
    withUnsafePointer(to: item.operation) { operation in
      let core = place(of: operation)
      if waiting.count > 0, core < 0 || mayWait(operation), hasItsShare(gather.entry.connection) {
        gather.parts[element] = batchAnswer(Outcome(.tooManyWaiting))
        gather.expected -= 1
      } else if core < 0 {
        relay(operation, element, gather, Place(rawValue: core))
      } else if core == index {
        if isReplicated && mayWait(operation) { return runReplicated(operation, element, gather) }
        gather.parts[element] = batchAnswer(execute(operation))
        gather.expected -= 1
      } else if overloaded[core] {
        gather.parts[element] = batchAnswer(Outcome(.overloaded))
        gather.expected -= 1
      } else {
        forward(operation, to: core, target(gather, element: element))
      }
    }
  }

  /// A write whose answer may have to wait for other nodes.
  private mutating func runReplicated(_ operation: UnsafePointer<Operation>, _ element: Int, _ gather: Gather) {
    let outcome = executeReplicated(operation)
    if mustPark(outcome, operation) {
      return park(outcome, operation, AnswerTarget(reply: target(gather, element: element), core: index))
    }
    gather.parts[element] = batchAnswer(outcome)
    gather.expected -= 1
  }

  /// An operation of a partition that another node owns.
  private mutating func relay(
    _ operation: UnsafePointer<Operation>, _ element: Int, _ gather: Gather, _ place: Place
  ) {
    guard let outcome = refusal(place, operation) else {
      return relay(operation, over: place.link!, target(gather, element: element))
    }
    if mayHold(outcome, operation) {
      return hold(outcome, operation, AnswerTarget(reply: target(gather, element: element), core: index))
    }
    gather.parts[element] = batchAnswer(outcome)
    gather.expected -= 1
  }

  // MARK: Reading

  /// One operation of a batch; its bytes lie in the body or in scratch memory.
  private struct BatchItem {
    var operation: Operation
    /// Why it can't be executed, although the batch as a whole is well formed.
    var problem: Problem?
  }

  private struct BatchFields {
    var kind: OperationKind?
    var map = UnsafeRawBufferPointer(start: nil, count: 0)
    var key: UnsafeRawBufferPointer?
    var value: JSONValue?
    var isBase64 = false
    var delta = Int64(1)
    var timeToLive = UInt64(0)
    var concern = WriteConcern.majority
    var readLevel = ReadLevel.local
    var problem: Problem?
  }

  private mutating func readItem(_ element: JSONValue) throws(Problem) -> BatchItem {
    guard element.kind == .object else { throw Problem(400, "Each operation of a batch is a JSON object.") }
    var fields = BatchFields()
    var members = element.members()
    while let member = members.next() { try read(member, into: &fields) }
    guard let kind = fields.kind else { throw Problem(400, "An operation's op is put, get, delete or incr.") }
    guard let key = fields.key else { throw Problem(400, "An operation needs a key.") }
    if key.isEmpty { fields.problem = .keyEmpty }
    if key.count > limits.key { fields.problem = .keyTooLong }
    var operation = Operation(kind: kind, key: KeyRef(map: fields.map, key: key))
    if kind == .put {
      guard let value = fields.value else { throw Problem(400, "A put needs a value.") }
      try readValue(value, isBase64: fields.isBase64, into: &operation)
    }
    if kind == .increment || fields.timeToLive > 0 || fields.concern != .majority || fields.readLevel != .local {
      operation.hasOptions = true
      operation.options.delta = fields.delta
      operation.options.timeToLive = fields.timeToLive
      operation.options.concern = fields.concern
      operation.options.readLevel = fields.readLevel
    }
    return BatchItem(operation: operation, problem: fields.problem)
  }

  private mutating func read(_ member: JSONMember, into fields: inout BatchFields) throws(Problem) {
    let value = member.value
    if member.name.isString("op") {
      fields.kind = kind(of: value)
    } else if member.name.isString("map") {
      let name = try string(value)
      try checkMapName(name)
      fields.map = name.equals("default") ? UnsafeRawBufferPointer(start: nil, count: 0) : maps.marked(name)
    } else if member.name.isString("key") {
      fields.key = try string(value)
    } else if member.name.isString("value") {
      fields.value = value
    } else if member.name.isString("base64") {
      guard let flag = value.boolean else { throw Problem(400, "base64 is true or false.") }
      fields.isBase64 = flag
    } else if member.name.isString("by") {
      guard let delta = value.integer else { throw Problem(400, "by is a 64-bit integer.") }
      fields.delta = delta
    } else if member.name.isString("ttl") {
      let text = value.kind == .string ? try string(value) : value.bytes
      guard let milliseconds = Text.parseDuration(text) else {
        throw Problem(400, "ttl is a duration such as 500ms, 30s, 5m, 1h or 2d; a plain number is seconds.")
      }
      fields.timeToLive = milliseconds
    } else if member.name.isString("w") {
      guard let concern = WriteConcern(text: value.kind == .string ? try string(value) : value.bytes) else {
        throw .badConcern
      }
      fields.concern = concern
    } else if member.name.isString("read") {
      guard let level = ReadLevel(text: try string(value)) else { throw .badReadLevel }
      fields.readLevel = level
    } else {
      throw Problem(400, "An operation of a batch has only op, map, key, value, base64, by, ttl, w and read.")
    }
  }

  private func kind(of value: JSONValue) -> OperationKind? {
    if value.isString("put") { return .put }
    if value.isString("get") { return .get }
    if value.isString("delete") { return .delete }
    return value.isString("incr") ? .increment : nil
  }

  /// A JSON string's meaning, in scratch memory.
  private mutating func string(_ value: JSONValue) throws(Problem) -> UnsafeRawBufferPointer {
    guard value.kind == .string else { throw Problem(400, "map and key are strings.") }
    let room = scratch.take(max(1, value.count)).assumingMemoryBound(to: UInt8.self)
    guard let count = value.string(to: room) else { throw .keyNotText }
    return UnsafeRawBufferPointer(start: room, count: count)
  }

  /// A string is stored as its text (or the bytes its base64 stands for), any other value as its JSON.
  private mutating func readValue(
    _ value: JSONValue, isBase64: Bool, into operation: inout Operation
  ) throws(Problem) {
    guard value.kind == .string else {
      operation.body = value.bytes
      operation.contentType = RecordContentType(code: ContentType.json)
      return
    }
    let room = scratch.take(max(1, value.count)).assumingMemoryBound(to: UInt8.self)
    guard var count = value.string(to: room) else { throw Problem(400, "A value has half of a surrogate pair.") }
    if isBase64 {
      guard let decoded = Base64.decode(room, count) else { throw Problem(400, "A value is not base64 (RFC 4648).") }
      count = decoded
    } else {
      operation.contentType = RecordContentType(code: ContentType.plainText)
    }
    operation.body = UnsafeRawBufferPointer(start: room, count: count)
  }

  // MARK: Writing

  /// The answer to one operation.
  func batchAnswer(_ outcome: Outcome) -> [UInt8] {
    var text: [UInt8] = []
    appendJSON("{\"status\":", to: &text)
    appendJSONInteger(Int64(outcome.status), to: &text)
    if outcome.staleness != .none {
      appendJSON(",\"stale\":\"", to: &text)
      appendJSON(outcome.staleness.word, to: &text)
      appendJSON("\"", to: &text)
    }
    if outcome.status >= 400 {
      appendJSON(",\"detail\":", to: &text)
      Wire.appendJSONString(outcome.sentence, to: &text)
    } else {
      if outcome.hasRevision {
        appendJSON(",\"etag\":\"", to: &text)
        appendRevision(outcome.revision, to: &text)
        appendJSON("\"", to: &text)
      }
      if outcome.isInLog || outcome.value.count > 0 { appendValue(outcome.value, to: &text) }
    }
    appendJSON("}", to: &text)
    return text
  }

  private func appendValue(_ value: UnsafeRawBufferPointer, to text: inout [UInt8]) {
    appendJSON(",\"value\":", to: &text)
    if value.isEmpty {
      appendJSON("\"\"", to: &text)
    } else if Text.isUTF8(value.baseAddress!.assumingMemoryBound(to: UInt8.self), value.count) {
      Wire.appendJSONString(value, to: &text)
    } else {
      appendJSON("\"", to: &text)
      Base64.append(value, to: &text)
      appendJSON("\",\"base64\":true", to: &text)
    }
  }

  /// All answers in order.
  func batchText(_ parts: [[UInt8]]) -> [UInt8] {
    #if DEBUG
      let parts = configuration.mutation == .answersBackwards ? parts.reversed() : parts
    #endif
    var text: [UInt8] = [UInt8(ascii: "[")]
    for (index, part) in parts.enumerated() {
      if index > 0 { text.append(UInt8(ascii: ",")) }
      text.append(contentsOf: part)
    }
    appendJSON("]\n", to: &text)
    return text
  }
}

/// Appends a revision as `partition-epoch-offset`.
func appendRevision(_ revision: Revision, to text: inout [UInt8]) {
  withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Text.maximumRevision) { room in
    let count = Text.writeRevision(revision, to: room.baseAddress!)
    text.append(contentsOf: room[..<count])
  }
}
