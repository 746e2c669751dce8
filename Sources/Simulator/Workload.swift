import Engine
import Wire

/// What clients ask for: keys of several kinds, and for each the operations that make sense of it.
struct Workload {
  /// What is done with a key.
  enum Kind: CaseIterable {
    /// Replaced, removed and swapped, always held by a majority when answered.
    case register
    /// Counted up.
    case counter
    /// Appended to.
    case journal
    /// Replaced with `w=1`: a write that may be lost.
    case loose
    /// Of a map in mode `cache`: replaced and removed, read by all.
    case cached
    /// Replaced by values that expire, and removed.
    case mortal
  }

  /// The map in mode `cache`.
  static let cacheMap = "cached"

  struct Key {
    let name: String
    let kind: Kind
    let partition: Int
    /// What it is asked for by.
    var path: String { kind == .cached ? "v1/maps/\(Workload.cacheMap)/\(name)" : name }
    /// Whether its operations make a linearizable history.
    var isStrict: Bool { kind != .loose && kind != .cached && kind != .mortal }
    /// Entity tags that clients saw, the latest last.
    var tags: [String] = []
  }

  /// One operation, and the bytes that ask for it.
  struct Request {
    var key: Int
    var kind: History.Operation.Kind
    var condition: History.Operation.Condition?
    var isWeak = false
    var query = ""
    var attempt: String?
    /// Times that it may be sent.
    var attempts = 1
    var isFinal = false
    /// Milliseconds that its value lives; 0 for ever.
    var life: UInt64 = 0
    /// What it reads must be at least as new as this.
    var minimum: Revision?
    /// The operations of a batch, in order; empty for a request that is none.
    var parts: [Request] = []
    /// It sets the cached map up.
    var setsMap = false
  }

  private(set) var keys: [Key] = []
  private let options: SimulationOptions
  private var serial = 0
  /// Clients begin nothing new.
  var isOver = false
  /// All nodes know that the cached map is one.
  var isCacheReady = false

  init(_ options: SimulationOptions) {
    self.options = options
    for index in 0..<options.keys {
      let kind: Kind = [.register, .counter, .register, .journal, .loose][index % 5]
      let name = "k\(index)"
      keys.append(Key(name: name, kind: kind, partition: Core.partition(of: name)))
    }
    for index in 0..<options.mortalKeys {
      let name = "m\(index)"
      keys.append(Key(name: name, kind: .mortal, partition: Core.partition(of: name)))
    }
    for index in 0..<options.cachedKeys {
      // What is cached is on one node alone: its partition isn't one whose copies are compared.
      var name = "c\(index)"
      func partition() -> Int { Core.partition(of: name, inCache: Workload.cacheMap) }
      while keys.contains(where: { $0.partition == partition() }) { name += "c" }
      keys.append(Key(name: name, kind: .cached, partition: partition()))
    }
  }

  /// The keys of which all copies are equal.
  var replicatedKeys: [Key] { keys.filter { $0.kind != .cached } }

  mutating func saw(_ tag: String, of key: Int) {
    keys[key].tags.append(tag)
    if keys[key].tags.count > 4 { keys[key].tags.removeFirst() }
  }

  // MARK: Drawing

  /// - Parameter seen: the newest committed revision of each key that the client saw.
  mutating func draw(_ chance: inout Chance, seen: [Int: Revision]) -> Request {
    let key = chance.below(keys.count)
    if options.batches > 0, chance.permille(options.batches) { return drawBatch(&chance) }
    return draw(key, &chance, seen: seen)
  }

  private mutating func draw(_ key: Int, _ chance: inout Chance, seen: [Int: Revision]) -> Request {
    var request = Request(key: key, kind: .get)
    serial += 1
    switch keys[key].kind {
    case .cached: return drawCached(request, &chance)
    case .mortal: return drawMortal(request, &chance)
    default: break
    }
    let isRead = chance.permille(keys[key].kind == .counter ? 150 : 400)
    if isRead {
      // Most want the truth; the others what is at hand.
      let level = chance.below(10)
      request.isWeak = level < 3 || !options.strictReads
      request.query = level < 2 ? "read=local" : level < 3 ? "read=committed" : "read=linearizable"
      if let revision = seen[key], options.stickiness > 0, chance.permille(options.stickiness) {
        request.isWeak = true
        request.minimum = revision
        request.query =
          "min-revision=\(revision.partition.rawValue)-\(revision.epoch.rawValue)-\(revision.offset.rawValue)"
      }
      return request
    }
    switch keys[key].kind {
    case .register: drawRegister(&request, &chance)
    case .counter: request.kind = .increment(Int64(1 + chance.below(5)))
    case .journal: request.kind = .append("\(serial),")
    case .loose:
      request.kind = .put(value(&chance))
      request.isWeak = true
    case .cached, .mortal: break
    }
    concern(&request, &chance)
    if chance.permille(300) {
      request.attempt = "id\(serial)"
      request.attempts = 1 + chance.below(4)
    }
    return request
  }

  private mutating func drawCached(_ drawn: Request, _ chance: inout Chance) -> Request {
    var request = drawn
    request.isWeak = true
    guard isCacheReady else {
      request.setsMap = true
      return request
    }
    switch chance.below(20) {
    case 0..<12: break
    case 12..<18: request.kind = .put(value(&chance))
    default: request.kind = .delete
    }
    return request
  }

  private mutating func drawMortal(_ drawn: Request, _ chance: inout Chance) -> Request {
    var request = drawn
    request.isWeak = true
    switch chance.below(10) {
    case 0..<5: request.query = ["read=local", "read=committed", "read=linearizable"][chance.below(3)]
    case 5..<9:
      request.kind = .put(value(&chance))
      request.life = 100 + chance.below(3000 as UInt64)
      request.query = "ttl=\(request.life)ms"
    default: request.kind = .delete
    }
    return request
  }

  /// Some operations that a batch may have, on keys by chance.
  private mutating func drawBatch(_ chance: inout Chance) -> Request {
    var batch = Request(key: 0, kind: .get)
    for _ in 0...chance.below(5) {
      var part = Request(key: chance.below(keys.count), kind: .get)
      serial += 1
      switch keys[part.key].kind {
      case .register:
        if chance.permille(600) { part.kind = chance.permille(150) ? .delete : .put("v\(serial)") }
      case .counter: if chance.permille(700) { part.kind = .increment(Int64(1 + chance.below(5))) }
      case .journal: break
      case .loose, .cached, .mortal: continue
      }
      if part.kind == .get, options.strictReads { part.query = "linearizable" } else { part.isWeak = part.kind == .get }
      batch.parts.append(part)
    }
    if batch.parts.isEmpty { return draw(0, &chance, seen: [:]) }
    batch.key = batch.parts[0].key
    batch.isWeak = true
    return batch
  }

  private mutating func drawRegister(_ request: inout Request, _ chance: inout Chance) {
    let isDelete = chance.permille(150)
    request.kind = isDelete ? .delete : .put(value(&chance))
    let tags = keys[request.key].tags
    switch chance.below(10) {
    case 0: request.condition = .absent
    case 1: request.condition = .exists
    case 2, 3, 4: if let tag = tags.randomElement(using: &chance) { request.condition = .matches(tag) }
    default: break
    }
  }

  /// A value that nobody else writes; sometimes a long one, of which the history has the length alone.
  private func value(_ chance: inout Chance) -> String {
    guard options.longValues > 0, chance.permille(options.longValues) else { return "v\(serial)" }
    return "v\(serial)~\(1 + chance.below(chance.permille(200) ? 200_000 : 9000))"
  }

  private func concern(_ request: inout Request, _ chance: inout Chance) {
    var words: [String] = []
    if request.isWeak {
      words.append("w=1")
    } else {
      switch chance.below(10) {
      case 0, 1: if options.settings.copies <= 3 { words.append("w=2") }
      case 2: words.append("w=3")
      case 3: words.append("w=all")
      case 4: words.append("w=majority")
      default: break
      }
    }
    if chance.permille(400) { words.append("timeout=\(50 + chance.below(2000))ms") }
    request.query = words.joined(separator: "&")
  }

  /// A read of the truth, for the end.
  func finalRead(_ key: Int) -> Request {
    var request = Request(key: key, kind: .get, query: "read=linearizable", isFinal: true)
    // What is cached is read where it is, or it is gone.
    if keys[key].kind == .cached { request.query = "" }
    request.isWeak = !keys[key].isStrict
    return request
  }

  // MARK: Bytes

  func bytes(_ request: Request) -> [UInt8] {
    if request.setsMap {
      return Workload.text("PUT", "v1/maps/\(Workload.cacheMap)", "{\"mode\":\"cache\"}")
    }
    if !request.parts.isEmpty {
      return Workload.text("POST", "v1/batch", "[" + request.parts.map(text).joined(separator: ",") + "]")
    }
    var query = request.query
    var method = "GET"
    var body: [UInt8]?
    switch request.kind {
    case .get: break
    case .put(let value):
      method = "PUT"
      body = Workload.body(value)
    case .delete: method = "DELETE"
    case .increment(let delta):
      method = "POST"
      query = "op=incr&by=\(delta)" + (query.isEmpty ? "" : "&" + query)
    case .append(let value):
      method = "POST"
      query = "op=append" + (query.isEmpty ? "" : "&" + query)
      body = Array(value.utf8)
    }
    var head = "\(method) /\(keys[request.key].path)\(query.isEmpty ? "" : "?" + query) HTTP/1.1\r\nHost: kvd\r\n"
    switch request.condition {
    case nil: break
    case .exists: head += "If-Match: *\r\n"
    case .absent: head += "If-None-Match: *\r\n"
    case .matches(let tag): head += "If-Match: \(tag)\r\n"
    case .differs(let tag): head += "If-None-Match: \(tag)\r\n"
    }
    if let attempt = request.attempt { head += "Idempotency-Key: \(attempt)\r\n" }
    if let body { head += "Content-Length: \(body.count)\r\n" }
    return Array((head + "\r\n").utf8) + (body ?? [])
  }

  private static func text(_ method: String, _ path: String, _ body: String) -> [UInt8] {
    Array("\(method) /\(path) HTTP/1.1\r\nHost: kvd\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8)
  }

  /// An operation of a batch.
  private func text(_ part: Request) -> String {
    let key = "\"key\":\"\(keys[part.key].name)\""
    switch part.kind {
    case .put(let value): return "{\"op\":\"put\",\(key),\"value\":\"\(value)\"}"
    case .delete: return "{\"op\":\"delete\",\(key)}"
    case .increment(let delta): return "{\"op\":\"incr\",\(key),\"by\":\(delta)}"
    case .get, .append:
      return "{\"op\":\"get\",\(key)" + (part.query.isEmpty ? "}" : ",\"read\":\"\(part.query)\"}")
    }
  }

  /// What is stored for a value: itself, and after a tilde so many bytes more.
  private static func body(_ value: String) -> [UInt8] {
    let bytes = Array(value.utf8)
    guard let tilde = value.firstIndex(of: "~"), let count = Int(value[value.index(after: tilde)...]) else {
      return bytes
    }
    return bytes + [0x7E] + [UInt8](repeating: 0x78, count: count)
  }

  /// The value of bytes that were read; nil if they aren't what anybody stored.
  static func value(_ body: [UInt8]) -> String? {
    guard let first = body.firstIndex(of: 0x7E) else { return String(decoding: body, as: UTF8.self) }
    guard let second = body[(first + 1)...].firstIndex(of: 0x7E) else { return nil }
    let count = Int(String(decoding: body[(first + 1)..<second], as: UTF8.self))
    let rest = body[(second + 1)...]
    guard count == rest.count, rest.allSatisfy({ $0 == 0x78 }) else { return nil }
    return String(decoding: body[..<second], as: UTF8.self)
  }
}
