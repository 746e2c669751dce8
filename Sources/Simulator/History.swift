/// What clients asked of a key-value store and what they were told, as far as it matters for linearizability.
///
/// A history comes from the simulator or from a file that was recorded with real nodes (`History.init(lines:)`).
/// `verify` says whether some order of the operations explains all answers.
package struct History: Sendable {
  /// One operation of one client.
  package struct Operation: Sendable, Equatable {
    /// What was asked for.
    package enum Kind: Sendable, Equatable {
      /// The value that is there.
      case get
      /// Replace the value, or create the key.
      case put(String)
      case delete
      /// Add to a decimal integer; an absent key is 0.
      case increment(Int64)
      /// Put behind the value; an absent key is empty.
      case append(String)
    }

    /// What the client knows about the effect.
    package enum Outcome: Sendable, Equatable {
      /// Done. For a read or an increment `value` is the one that was answered.
      case done(value: String?, tag: String?)
      /// There was no such key.
      case absent
      /// A condition (If-Match, If-None-Match) didn't hold: nothing was changed, and that it didn't hold was seen.
      case conditionFailed
      /// If-None-Match of a read named what is there.
      case notModified
      /// Surely not applied, neither now nor later.
      case refused
      /// May take effect at any time after the call, or never: no answer, or one that says so.
      case unknown
    }

    /// A condition on the entity tag that the key has.
    package enum Condition: Sendable, Equatable {
      /// `If-Match: *` and `If-None-Match: *`.
      case exists, absent
      /// `If-Match: "tag"`.
      case matches(String)
      /// `If-None-Match: "tag"`.
      case differs(String)
    }

    /// Who sent it.
    package var client: Int
    /// Of which key.
    package var key: String
    /// What was asked.
    package var kind: Kind
    /// On what condition, if any.
    package var condition: Condition?
    /// What came back.
    package var outcome: Outcome
    /// When it was sent, and when the answer had come; `.max` if none came. Any unit, one clock for all clients.
    package var call: UInt64
    package var end: UInt64
    /// Whether the answer promises less than a linearizable store: a read of any copy, a write that fewer than a
    /// majority held when it was answered.
    package var isWeak = false
    /// The idempotency key of its attempts; nil if it was sent once.
    package var attempt: String?

    package init(
      client: Int, key: String, kind: Kind, condition: Condition? = nil, outcome: Outcome, call: UInt64, end: UInt64,
      isWeak: Bool = false, attempt: String? = nil
    ) {
      self.client = client
      self.key = key
      self.kind = kind
      self.condition = condition
      self.outcome = outcome
      self.call = call
      self.end = end
      self.isWeak = isWeak
      self.attempt = attempt
    }

    /// Whether it would change the key.
    package var isWrite: Bool { kind != .get }
  }

  /// All operations, in any order.
  package var operations: [Operation] = []

  package init() {}

  /// What `verify` finds out.
  package enum Verdict: Sendable, Equatable {
    /// Some order explains all answers.
    case linearizable
    /// No order does: the key, and why in words.
    case violation(key: String, String)
    /// The search took too many steps for this key.
    case undecided(key: String)
  }

  /// What was looked at.
  package struct Summary: Sendable, Equatable {
    /// The worst that was found.
    package var verdict = Verdict.linearizable
    /// Operations that were sent.
    package var operations = 0
    /// Keys that they named.
    package var keys = 0
    /// Keys with a write that may be lost though it was answered: of those only what was read is checked, against what
    /// was ever written.
    package var weakKeys = 0
    package var unknown = 0
    package var refused = 0
  }

  /// Whether the history is linearizable, key by key: since every operation is of one key, the whole is if each key's
  /// part is (Herlihy and Wing, "Linearizability", 1990, theorem 1).
  ///
  /// - Parameter maximumSteps: of the search, for each key.
  package func verify(maximumSteps: Int = 5_000_000) -> Summary {
    var summary = Summary()
    summary.operations = operations.count
    summary.unknown = operations.count { $0.outcome == .unknown }
    summary.refused = operations.count { $0.outcome == .refused }
    var byKey: [String: [Operation]] = [:]
    for operation in operations { byKey[operation.key, default: []].append(operation) }
    summary.keys = byKey.count
    for key in byKey.keys.sorted() {
      let all = History.merged(byKey[key]!)
      if let sentence = History.outOfThinAir(all) {
        summary.verdict = .violation(key: key, sentence)
        return summary
      }
      if all.contains(where: { $0.isWeak && $0.isWrite }) {
        summary.weakKeys += 1
        continue
      }
      var search = LinearizabilitySearch(all.filter { !$0.isWeak }, maximumSteps: maximumSteps)
      switch search.run() {
      case .found: break
      case .impossible(let sentence):
        summary.verdict = .violation(key: key, sentence)
        return summary
      case .exhausted: if summary.verdict == .linearizable { summary.verdict = .undecided(key: key) }
      }
    }
    return summary
  }

  /// Attempts under one idempotency key are one operation: it was called when the first was, and the first answer that
  /// says what became of it is its answer.
  static func merged(_ operations: [Operation]) -> [Operation] {
    var result: [Operation] = []
    var places: [String: Int] = [:]
    for operation in operations.sorted(by: { ($0.call, $0.end) < ($1.call, $1.end) }) {
      guard let attempt = operation.attempt, operation.isWrite else {
        result.append(operation)
        continue
      }
      guard let place = places[attempt] else {
        places[attempt] = result.count
        result.append(operation)
        continue
      }
      let known = result[place].outcome
      if known == .refused || (known == .unknown && operation.outcome != .refused) {
        result[place].outcome = operation.outcome
        result[place].end = operation.end
        result[place].isWeak = operation.isWeak
      } else if known != .unknown, operation.outcome != .unknown, operation.outcome != .refused {
        result[place].end = min(result[place].end, operation.end)
      }
    }
    return result
  }

  /// What any read, however weak, mustn't show: a value that nobody asked to write before the read's answer, or whose
  /// write was refused. Keys that are counted or appended to are left to the search.
  static func outOfThinAir(_ operations: [Operation]) -> String? {
    var written: [String: UInt64] = [:]
    for operation in operations where operation.outcome != .refused && operation.outcome != .conditionFailed {
      switch operation.kind {
      case .put(let value): written[value] = min(written[value] ?? .max, operation.call)
      case .increment, .append: return nil
      case .get, .delete: break
      }
    }
    for read in operations where read.kind == .get {
      guard case .done(let value?, _) = read.outcome else { continue }
      if written[value] ?? .max > read.end {
        return "\(words(read)): no write that was applied, or may have been, wrote that before"
      }
    }
    return nil
  }

  /// An operation in words.
  static func words(_ operation: Operation) -> String {
    var text = "client \(operation.client) [\(operation.call), \(operation.end == .max ? "…" : "\(operation.end)")] "
    switch operation.kind {
    case .get: text += "get"
    case .put(let value): text += "put \"\(value)\""
    case .delete: text += "delete"
    case .increment(let delta): text += "incr \(delta)"
    case .append(let value): text += "append \"\(value)\""
    }
    switch operation.condition {
    case nil: break
    case .exists: text += " if it exists"
    case .absent: text += " if it is absent"
    case .matches(let tag): text += " if it is \(tag)"
    case .differs(let tag): text += " unless it is \(tag)"
    }
    switch operation.outcome {
    case .done(let value, let tag):
      text += " → " + (value.map { "\"\($0)\"" } ?? "done") + (tag.map { " as \($0)" } ?? "")
    case .absent: text += " → absent"
    case .conditionFailed: text += " → condition failed"
    case .notModified: text += " → not modified"
    case .refused: text += " → refused"
    case .unknown: text += " → unknown"
    }
    return text
  }
}
