import Wire

// How often an operation is sent on.

/// Where clients asked for operations, and which nodes sent them on. Operations are told apart by their idempotency
/// keys, else by the values they write; reads, and removals without such a key, aren't followed.
struct HopRecords {
  struct Hop: Hashable {
    let operation: String
    let host: Int
  }

  /// How often clients asked a host for it, and how often that sent it on.
  var asked: [Hop: Int] = [:]
  var sent: [Hop: Int] = [:]
  /// All that were sent on.
  var count = 0
}

extension Checker {
  /// A client asks a host for an operation.
  mutating func asked(_ request: Workload.Request, _ host: Int) {
    for part in request.parts { asked(part, host) }
    guard let name = Checker.name(request) else { return }
    hops.asked[HopRecords.Hop(operation: name, host: host), default: 0] += 1
  }

  private static func name(_ request: Workload.Request) -> String? {
    if let attempt = request.attempt { return attempt }
    switch request.kind {
    case .put(let value): return String(value.prefix { $0 != "~" })
    case .append(let value): return value
    case .get, .delete, .increment: return nil
    }
  }

  private static func name(_ operation: OperationView) -> String? {
    let attempt = operation.idempotencyKey
    if !attempt.isEmpty { return String(decoding: attempt, as: UTF8.self) }
    switch operation.operation {
    case .put: return String(decoding: operation.record.value.prefix { $0 != UInt8(ascii: "~") }, as: UTF8.self)
    case .append: return String(decoding: operation.record.value, as: UTF8.self)
    default: return nil
    }
  }

  /// A host sends an operation on to another: at most twice for each time that it was asked, the second time since the
  /// first one was sent to the wrong node; and nobody sends on what another node sent.
  mutating func sentOn(_ operation: OperationView, by host: Int, _ now: UInt64) {
    guard let name = Checker.name(operation) else { return }
    hops.count += 1
    let hop = HopRecords.Hop(operation: name, host: host)
    guard let asked = hops.asked[hop] else {
      return violate(.twoHops, "n\(host) sends \(name) on, which no client asked it for", now)
    }
    hops.sent[hop, default: 0] += 1
    if hops.sent[hop]! > 2 * asked {
      violate(.twoHops, "n\(host), asked \(asked) times for \(name), sends it on \(hops.sent[hop]!) times", now)
    }
  }
}
