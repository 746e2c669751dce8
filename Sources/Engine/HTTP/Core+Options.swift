import Wire

// The query words and header fields that make an operation more than a plain one.
extension Core {
  /// Reads query and conditional fields into the operation, which may change its kind.
  @inline(never)
  mutating func prepareOptions(
    _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>, _ operation: UnsafeMutablePointer<Operation>
  ) throws(Problem) {
    operation.pointee.hasOptions = true
    operation.pointee.options = OperationOptions()
    // A field without a value is most often a client's unset variable: taken as absent it would lift the condition.
    if RequestHead.isPresent(head.pointee.ifMatch) {
      guard !head.pointee.ifMatch.isEmpty else { throw .badEntityTags }
      operation.pointee.options.ifMatch = UnsafeRawBufferPointer(start: bytes, slice: head.pointee.ifMatch)
    }
    if RequestHead.isPresent(head.pointee.ifNoneMatch) {
      guard !head.pointee.ifNoneMatch.isEmpty else { throw .badEntityTags }
      operation.pointee.options.ifNoneMatch = UnsafeRawBufferPointer(start: bytes, slice: head.pointee.ifNoneMatch)
    }
    if RequestHead.isPresent(head.pointee.idempotencyKey) {
      guard !head.pointee.idempotencyKey.isEmpty else {
        throw Problem(400, "Idempotency-Key is empty: give it a value.")
      }
      guard Int(head.pointee.idempotencyKey.count) <= limits.idempotencyKey else { throw .idempotencyKeyTooLong }
      operation.pointee.options.idempotencyKey = UnsafeRawBufferPointer(
        start: bytes, slice: head.pointee.idempotencyKey)
    }
    guard head.pointee.hasQuery else { return }
    var words = KeyWords()
    try readQuery(head, bytes) { (core, name, value) throws(Problem) in
      try core.read(word: name, value, into: &words, operation)
    }
    try settle(words, operation)
  }

  /// Visits the decoded pairs of the query.
  mutating func readQuery(
    _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>,
    _ body: (inout Core, UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(Problem) -> Void
  ) throws(Problem) {
    guard head.pointee.hasQuery else { return }
    let room = scratch.take(Int(head.pointee.query.count) + 1).assumingMemoryBound(to: UInt8.self)
    var query = QueryIterator(head.pointee.query)
    while true {
      switch query.next(bytes, into: room) {
      case .pair(let pair):
        try body(
          &self, UnsafeRawBufferPointer(start: room, slice: pair.name),
          UnsafeRawBufferPointer(start: room, slice: pair.value))
      case .end: return
      case .malformed: throw .badEscape
      }
    }
  }

  /// The refusal of a query word, which names the word and those that are known.
  mutating func unknownWord(_ name: UnsafeRawBufferPointer, known: String) -> Problem {
    let shown = String(decoding: name.prefix(64), as: UTF8.self)
    problemText = Array("The query word \"\(shown)\" is not known here. Known: \(known).".utf8)
    return Problem(400, "")
  }

  /// What the query said that decides only together with the method.
  private struct KeyWords {
    var hasPointer = false
    var isIncrement = false
    var isAppend = false
    var hasDelta = false
    var hasTimeToLive = false
  }

  private mutating func read(
    word name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, into words: inout KeyWords,
    _ operation: UnsafeMutablePointer<Operation>
  ) throws(Problem) {
    if name.equals("ttl") {
      guard let milliseconds = Text.parseDuration(value), milliseconds > 0 else {
        throw Problem(400, "ttl is a duration above zero such as 500ms, 30s, 5m, 1h or 2d; a plain number is seconds.")
      }
      operation.pointee.options.timeToLive = milliseconds
      words.hasTimeToLive = true
    } else if name.equals("at") {
      operation.pointee.options.pointer = value
      words.hasPointer = true
    } else if name.equals("op") {
      words.isIncrement = value.equals("incr")
      words.isAppend = value.equals("append")
      if !words.isIncrement && !words.isAppend { throw Problem(400, "op is incr or append.") }
    } else if name.equals("by") {
      guard let delta = Text.parseSigned(value) else { throw Problem(400, "by is a decimal 64-bit integer.") }
      operation.pointee.options.delta = delta
      words.hasDelta = true
    } else {
      try read(clusterWord: name, value, operation)
    }
  }

  /// The words that matter between nodes: write concern and read level.
  private mutating func read(
    clusterWord name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer,
    _ operation: UnsafeMutablePointer<Operation>
  ) throws(Problem) {
    if name.equals("w") {
      guard let concern = WriteConcern(text: value) else { throw .badConcern }
      operation.pointee.options.concern = concern
    } else if name.equals("timeout") {
      guard let milliseconds = Text.parseDuration(value), milliseconds > 0, milliseconds <= 86_400_000 else {
        throw Problem(400, "timeout is a duration such as 500ms, 2s or 1m, at most a day; a plain number is seconds.")
      }
      operation.pointee.options.timeout = UInt32(milliseconds)
    } else if name.equals("read") {
      guard let level = ReadLevel(text: value) else {
        throw .badReadLevel
      }
      operation.pointee.options.readLevel = level
    } else if name.equals("min-revision") {
      guard let revision = Text.parseRevision(value) else {
        throw Problem(400, "min-revision is a revision as ETag shows it, without quotes: partition-epoch-offset.")
      }
      operation.pointee.options.minRevision = revision
      operation.pointee.options.hasMinRevision = true
    } else if name.equals("redirect") {
      guard value.equals("true") || value.equals("false") else { throw Problem(400, "redirect is true or false.") }
      operation.pointee.options.redirects = value.equals("true")
    } else {
      throw unknownWord(name, known: "at, op, by, ttl, w, timeout, read, min-revision and redirect")
    }
  }

  /// What method and query mean together.
  private func settle(_ words: KeyWords, _ operation: UnsafeMutablePointer<Operation>) throws(Problem) {
    if words.hasPointer {
      if words.isIncrement || words.isAppend { throw Problem(400, "at and op exclude each other.") }
      switch operation.pointee.kind {
      case .get: operation.pointee.kind = .pointerGet
      case .put: operation.pointee.kind = .pointerSet
      case .delete: operation.pointee.kind = .pointerRemove
      default: throw Problem(400, "PATCH takes no at: a patch names its own pointers.")
      }
    } else if words.isIncrement || words.isAppend {
      guard operation.pointee.kind == .put else { throw Problem(400, "op goes with PUT or POST.") }
      operation.pointee.kind = words.isIncrement ? .increment : .append
    }
    if words.hasDelta && !words.isIncrement { throw Problem(400, "by goes with op=incr.") }
    let kind = operation.pointee.kind
    if words.hasTimeToLive && (!kind.isWrite || kind == .delete) {
      throw Problem(400, "ttl goes with a write that stores a value.")
    }
  }

  /// What makes two requests the same, for idempotency keys: everything that decides their effect.
  func fingerprint(_ operation: UnsafeMutablePointer<Operation>) {
    guard operation.pointee.options.idempotencyKey.count > 0 else { return }
    let options = operation.pointee.options
    var hash = operation.pointee.key.hash ^ UInt64(operation.pointee.kind.rawValue)
    // The same for a body that came whole and for one that was staged as it came. The body of an increment is its delta
    // where it comes from another node, and nothing otherwise.
    let isIncrement = operation.pointee.kind == .increment
    let body = isIncrement ? UnsafeRawBufferPointer(start: nil, count: 0) : operation.pointee.body
    hash = hash &* 31 &+ (operation.pointee.staged?.valueHash ?? xxh3(body.baseAddress, count: body.count, seed: 0))
    for part in [options.pointer, options.ifMatch, options.ifNoneMatch] {
      hash = xxh3(part.baseAddress, count: part.count, seed: hash)
    }
    operation.pointee.options.fingerprint = hash &* 31 &+ UInt64(bitPattern: options.delta) &+ options.timeToLive
  }
}

extension WriteConcern {
  /// What `w` says; nil for anything else.
  init?(text: UnsafeRawBufferPointer) {
    if text.equals("majority") {
      self = .majority
    } else if text.equals("all") {
      self = .all
    } else {
      guard let nodes = Text.parseSigned(text) else { return nil }
      self.init(nodes: nodes)
    }
  }
}

extension ReadLevel {
  /// What `read` says; nil for anything else.
  init?(text: UnsafeRawBufferPointer) {
    if text.equals("local") {
      self = .local
    } else if text.equals("committed") {
      self = .committed
    } else {
      guard text.equals("linearizable") else { return nil }
      self = .linearizable
    }
  }
}

extension Text {
  /// `parseDuration` over a buffer.
  static func parseDuration(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
    guard let base = bytes.baseAddress else { return nil }
    return parseDuration(base.assumingMemoryBound(to: UInt8.self), bytes.count)
  }

  /// `parseSigned` over a buffer.
  static func parseSigned(_ bytes: UnsafeRawBufferPointer) -> Int64? {
    guard let base = bytes.baseAddress else { return nil }
    return parseSigned(base.assumingMemoryBound(to: UInt8.self), bytes.count)
  }

  /// `parseRevision` over a buffer.
  static func parseRevision(_ bytes: UnsafeRawBufferPointer) -> Revision? {
    guard let base = bytes.baseAddress else { return nil }
    return parseRevision(base.assumingMemoryBound(to: UInt8.self), bytes.count)
  }
}

extension EntityTagCondition {
  /// `matches` over a buffer.
  static func matches(_ bytes: UnsafeRawBufferPointer, current: Revision?, weak: Bool) -> Bool? {
    guard let base = bytes.baseAddress else { return nil }
    return matches(base.assumingMemoryBound(to: UInt8.self), bytes.count, current: current, weak: weak)
  }
}
