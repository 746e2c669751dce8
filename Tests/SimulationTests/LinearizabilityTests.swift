import Engine
import Testing

@testable import Simulator

/// The checker of histories: right ones pass, and each kind of wrong one is found.
@Suite struct LinearizabilityTests {
  typealias Operation = History.Operation

  /// One line of a history: client, call, end, what, outcome.
  private func operation(
    _ call: UInt64, _ end: UInt64, _ kind: Operation.Kind, _ outcome: Operation.Outcome = .done(value: nil, tag: nil),
    if condition: Operation.Condition? = nil, isWeak: Bool = false, attempt: String? = nil, key: String = "k"
  ) -> Operation {
    Operation(
      client: 1, key: key, kind: kind, condition: condition, outcome: outcome, call: call, end: end, isWeak: isWeak,
      attempt: attempt)
  }

  private func saw(_ value: String, _ tag: String? = nil) -> Operation.Outcome { .done(value: value, tag: tag) }

  private func verdict(_ operations: [Operation]) -> History.Verdict {
    var history = History()
    history.operations = operations
    return history.verify().verdict
  }

  private func isWrong(_ operations: [Operation]) -> Bool {
    if case .violation = verdict(operations) { true } else { false }
  }

  @Test("overlapping operations may take effect in either order")
  func overlap() {
    #expect(
      verdict([
        operation(1, 10, .put("a")), operation(2, 9, .put("b")), operation(11, 12, .get, saw("a")),
        operation(13, 14, .get, saw("a")),
      ]) == .linearizable)
    #expect(
      verdict([operation(1, 10, .put("a")), operation(2, 3, .get, .absent), operation(4, 5, .get, saw("a"))])
        == .linearizable)
  }

  @Test("a read that goes back in time is found")
  func staleRead() {
    #expect(isWrong([operation(1, 2, .put("a")), operation(3, 4, .put("b")), operation(5, 6, .get, saw("a"))]))
    #expect(
      isWrong([operation(1, 9, .put("a")), operation(2, 3, .get, saw("a")), operation(4, 5, .get, .absent)]))
  }

  @Test("a lost write is found")
  func lostWrite() {
    #expect(isWrong([operation(1, 2, .put("a")), operation(3, 4, .get, .absent)]))
    #expect(isWrong([operation(1, 2, .increment(1), saw("1")), operation(3, 4, .increment(1), saw("1"))]))
  }

  @Test("an unknown write may take effect late, once, or never")
  func unknown() {
    let put = operation(1, .max, .put("a"), .unknown)
    #expect(verdict([put, operation(5, 6, .get, .absent)]) == .linearizable)
    #expect(verdict([put, operation(5, 6, .get, .absent), operation(7, 8, .get, saw("a"))]) == .linearizable)
    #expect(isWrong([put, operation(5, 6, .get, saw("a")), operation(7, 8, .get, .absent)]))
    let count = operation(1, .max, .increment(5), .unknown)
    #expect(verdict([count, operation(2, 3, .increment(1), saw("6"))]) == .linearizable)
    #expect(isWrong([count, operation(2, 3, .increment(1), saw("11"))]))
    #expect(
      isWrong([operation(1, 2, .put("b")), operation(3, 4, .get, saw("a")), operation(5, .max, .put("a"), .unknown)]))
  }

  @Test("what was refused must not have been applied")
  func refused() {
    let put = operation(1, 2, .put("a"), .refused)
    #expect(verdict([put, operation(3, 4, .get, .absent)]) == .linearizable)
    #expect(isWrong([put, operation(3, 4, .get, saw("a"))]))
    #expect(
      isWrong([operation(1, 2, .increment(1), .refused), operation(3, 4, .increment(1), saw("2"))]))
  }

  @Test("conditions are checked against the tags that were seen")
  func conditions() {
    let first = operation(1, 2, .put("a"), .done(value: nil, tag: "t1"))
    let swap = operation(3, 4, .put("b"), .done(value: nil, tag: "t2"), if: .matches("t1"))
    #expect(verdict([first, swap, operation(5, 6, .get, saw("b", "t2"))]) == .linearizable)
    #expect(
      isWrong([first, swap, operation(5, 6, .put("c"), .done(value: nil, tag: "t3"), if: .matches("t1"))]))
    #expect(isWrong([first, operation(3, 4, .put("b"), .conditionFailed, if: .matches("t1"))]))
    #expect(verdict([first, operation(3, 4, .put("b"), .conditionFailed, if: .absent)]) == .linearizable)
    #expect(isWrong([operation(1, 2, .put("b"), .conditionFailed, if: .absent)]))
    #expect(isWrong([first, operation(3, 4, .get, saw("a", "t9"))]))
    #expect(verdict([first, operation(3, 4, .get, .notModified, if: .differs("t1"))]) == .linearizable)
    // The tag of a write without an answer shows when it is read.
    let unknown = operation(3, .max, .put("b"), .unknown)
    let read = operation(5, 6, .get, saw("b", "t5"))
    let last = operation(7, 8, .put("c"), .done(value: nil, tag: "t6"), if: .matches("t5"))
    #expect(verdict([first, unknown, read, last]) == .linearizable)
    #expect(isWrong([first, unknown, read, operation(7, 8, .put("c"), .conditionFailed, if: .matches("t5"))]))
  }

  @Test("attempts under one idempotency key count once")
  func attempts() {
    let first = operation(1, .max, .increment(1), .unknown, attempt: "x")
    let second = operation(5, 6, .increment(1), saw("1"), attempt: "x")
    #expect(verdict([first, second, operation(7, 8, .increment(1), saw("2"))]) == .linearizable)
    #expect(isWrong([first, second, operation(7, 8, .increment(1), saw("3"))]))
  }

  @Test("what appends made is read whole and in order")
  func appends() {
    let writes = [operation(1, 2, .append("a")), operation(3, .max, .append("b"), .unknown)]
    #expect(verdict(writes + [operation(4, 5, .get, saw("a")), operation(6, 7, .get, saw("ab"))]) == .linearizable)
    #expect(isWrong(writes + [operation(4, 5, .get, saw("abb"))]))
    #expect(isWrong(writes + [operation(4, 5, .get, saw("b"))]))
  }

  @Test("a weak read may be stale, but shows nothing that nobody wrote")
  func weak() {
    let writes = [operation(1, 2, .put("a")), operation(3, 4, .put("b"))]
    #expect(verdict(writes + [operation(5, 6, .get, saw("a"), isWeak: true)]) == .linearizable)
    #expect(isWrong(writes + [operation(5, 6, .get, saw("c"), isWeak: true)]))
    // A weak write may be lost.
    let weak = operation(1, 2, .put("a"), isWeak: true)
    #expect(verdict([weak, operation(3, 4, .get, .absent)]) == .linearizable)
  }

  @Test("keys are independent")
  func keys() {
    #expect(
      verdict([operation(1, 2, .put("a")), operation(3, 4, .get, .absent, key: "other")]) == .linearizable)
    #expect(isWrong([operation(1, 2, .put("a")), operation(3, 4, .get, saw("a"), key: "other")]))
  }

  @Test("histories of a linearizable store pass, and one with one answer changed doesn't")
  func random() {
    var chance = Chance(seed: 7)
    var caught = 0
    for _ in 0..<200 {
      var (operations, reads) = history(&chance)
      #expect(verdict(operations) == .linearizable)
      guard let read = reads.randomElement(using: &chance) else { continue }
      operations[read].outcome = .done(value: "never", tag: nil)
      if isWrong(operations) { caught += 1 }
    }
    #expect(caught > 150)
  }

  /// Sixty operations of a store that executes each at one moment between call and return; some answers are lost.
  private func history(_ chance: inout Chance) -> (operations: [Operation], reads: [Int]) {
    var points: [(time: UInt64, operation: Operation)] = []
    for index in 0..<60 {
      let call = chance.below(1000 as UInt64)
      let point = call + chance.below(40 as UInt64)
      let kinds: [Operation.Kind] = [.get, .get, .put("\(index)"), .put("\(index)"), .delete]
      points.append((point, operation(call, point + chance.below(40 as UInt64), kinds[chance.below(5)])))
    }
    points.sort { $0.time < $1.time }
    var value: String?
    var result: [Operation] = []
    for (_, var operation) in points {
      let isLost = chance.permille(150)
      let isDone = !isLost || chance.permille(500)
      switch operation.kind {
      case .get: operation.outcome = value.map { .done(value: $0, tag: nil) } ?? .absent
      case .delete:
        if value == nil { operation.outcome = .absent }
        if isDone { value = nil }
      case .put(let new): if isDone { value = new }
      default: break
      }
      if isLost {
        operation.outcome = .unknown
        operation.end = .max
      }
      result.append(operation)
    }
    return (result, result.indices.filter { result[$0].kind == .get && result[$0].outcome != .unknown })
  }

  @Test("a history is read from lines, and a bad line is named")
  func lines() throws {
    let text = """
      {"client":1,"key":"k","op":"put","value":"a","status":201,"etag":"\\"1-1-1\\"","call":1,"return":2,"w":"majority"}

      {"client":2,"key":"k","op":"put","value":"b","if_match":"\\"1-1-1\\"","status":504,"call":3,"return":4}
      {"client":1,"key":"k","op":"get","value":"b","status":200,"etag":"\\"1-1-2\\"","call":5,"return":6}
      {"client":1,"key":"n","op":"incr","by":2,"value":2,"status":200,"call":7,"return":8,"id":"x"}
      {"client":1,"key":"k","op":"delete","status":503,"call":9,"return":10}
      {"client":1,"key":"k","op":"get","value":null,"status":0,"call":9,"return":null}
      """
    let history = try parse(text)
    #expect(history.operations.count == 6)
    let summary = history.verify()
    #expect(summary.verdict == .linearizable && summary.keys == 2 && summary.refused == 2 && summary.unknown == 1)
    #expect(throws: History.LineError.self) { try parse("\n{\"key\":\"k\"}") }
    #expect(throws: History.LineError.self) { try parse("no JSON") }
    let stale = text + "\n{\"key\":\"k\",\"op\":\"get\",\"value\":\"a\",\"status\":200,\"call\":11,\"return\":12}"
    guard case .violation(let key, _) = try parse(stale).verify().verdict else {
      Issue.record("a stale read isn't found")
      return
    }
    #expect(key == "k")
  }

  private func parse(_ text: String) throws -> History {
    try Array(text.utf8).withUnsafeBytes { try History(lines: $0) }
  }
}
