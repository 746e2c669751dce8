/// Operations on keys that promise less than a linearizable store: those of a cached map, which may forget, and those
/// whose values expire. Each put writes a value of its own.
struct SideHistory {
  struct Operation {
    let key: String
    let kind: History.Operation.Kind
    let outcome: History.Operation.Outcome
    let call: UInt64
    let end: UInt64
    /// Nanoseconds that the value lives.
    let life: UInt64
    /// Whether it is a read of the truth.
    let isLinearizable: Bool

    /// Whether it was applied, and the client knows.
    var isDone: Bool { if case .done = outcome { true } else { false } }
    var isWrite: Bool { kind != .get }
    var words: String {
      History.words(
        History.Operation(client: 0, key: key, kind: kind, condition: nil, outcome: outcome, call: call, end: end))
    }
  }

  /// By key.
  private(set) var operations: [String: [Operation]] = [:]

  mutating func add(_ operation: Operation) { operations[operation.key, default: []].append(operation) }

  /// The write of each value.
  private func writes(of key: String) -> [String: Operation] {
    var writes: [String: Operation] = [:]
    for operation in operations[key] ?? [] {
      if case .put(let value) = operation.kind, operation.outcome != .refused { writes[value] = operation }
    }
    return writes
  }

  /// A read of a cached key that shows a value which had been replaced or removed, and that was acknowledged, before it
  /// was asked for; nil if there is none.
  func staleRead(of key: String) -> String? {
    let writes = writes(of: key)
    let acknowledged = (operations[key] ?? []).filter { $0.isWrite && $0.isDone }
    for read in operations[key] ?? [] where read.kind == .get {
      guard case .done(let value?, _) = read.outcome, let write = writes[value], write.isDone else { continue }
      if let later = acknowledged.first(where: { write.end < $0.call && $0.end < read.call }) {
        return "\(read.words), though \(later.words)"
      }
    }
    return nil
  }

  /// A read of a key whose value had expired by every calendar before it was asked for; nil if there is none.
  /// - Parameter skew: nanoseconds that calendars differ by at most.
  func overdueRead(of key: String, skew: UInt64) -> String? {
    let writes = writes(of: key)
    for read in operations[key] ?? [] where read.kind == .get {
      guard case .done(let value?, _) = read.outcome, let write = writes[value], write.isDone else { continue }
      if read.call > write.end + write.life + skew { return "\(read.words), of \(write.words)" }
    }
    return nil
  }

  /// A read of the truth that doesn't show a value though that can't have expired, and nobody else wrote to the key
  /// meanwhile; nil if there is none.
  func missedRead(of key: String, skew: UInt64) -> String? {
    let all = operations[key] ?? []
    for write in all where write.isWrite && write.isDone && write.life > skew {
      guard case .put = write.kind else { continue }
      for read in all where read.isLinearizable && read.outcome == .absent && read.call > write.end {
        guard read.end < write.call + write.life - skew else { continue }
        let isDisturbed = all.contains {
          $0.isWrite && $0.outcome != .refused && $0.call != write.call && $0.end > write.call && $0.call < read.end
        }
        if !isDisturbed { return "\(read.words), though \(write.words)" }
      }
    }
    return nil
  }
}
