import Wire

// Histories as text: one operation per line, each a JSON object with `client`, `key`, `op`, `value`, `by`, `status`,
// `etag`, `if_match`, `if_none_match`, `call`, `return`, `w`, `read` and `id`.
// The article on histories has the members.
extension History {
  /// Why a line isn't an operation.
  package struct LineError: Error, CustomStringConvertible {
    /// From 1 on.
    package let line: Int
    package let reason: String
    package var description: String { "line \(line): \(reason)" }
  }

  /// Reads lines in the format above.
  ///
  /// - Throws: which line isn't an operation, and why.
  package init(lines: UnsafeRawBufferPointer) throws(LineError) {
    var number = 0
    var start = 0
    while start < lines.count {
      let end = lines[start...].firstIndex(of: 0x0A) ?? lines.count
      number += 1
      let line = UnsafeRawBufferPointer(rebasing: lines[start..<end])
      start = end + 1
      guard line.contains(where: { $0 != 0x20 && $0 != 0x0D && $0 != 0x09 }) else { continue }
      do throws(LineFault) { operations.append(try History.operation(line)) } catch {
        throw LineError(line: number, reason: error.reason)
      }
    }
  }

  private struct LineFault: Error { let reason: String }

  /// The members of one line.
  private struct Line {
    var texts: [String: String] = [:]
    var numbers: [String: Int64] = [:]

    /// A member as text, whether it is written as one or as a number.
    func text(_ name: String) -> String? { texts[name] ?? numbers[name].map { "\($0)" } }
    func tag(_ name: String) -> String? { texts[name].map { $0.hasPrefix("W/") ? String($0.dropFirst(2)) : $0 } }
  }

  private static func read(_ bytes: UnsafeRawBufferPointer) throws(LineFault) -> Line {
    let value: JSONValue
    do throws(JSONSyntaxError) { value = try JSONValue(validating: bytes) } catch {
      throw LineFault(reason: "is no JSON")
    }
    guard value.kind == .object else { throw LineFault(reason: "is no JSON object") }
    var line = Line()
    var members = value.members()
    while let member = members.next() {
      var name: [UInt8] = []
      guard member.name.string(into: &name) else { continue }
      let key = String(decoding: name, as: UTF8.self)
      var text: [UInt8] = []
      if member.value.string(into: &text) { line.texts[key] = String(decoding: text, as: UTF8.self) }
      if let number = member.value.integer { line.numbers[key] = number }
    }
    return line
  }

  private static func operation(_ bytes: UnsafeRawBufferPointer) throws(LineFault) -> Operation {
    let line = try read(bytes)
    guard let key = line.text("key") else { throw LineFault(reason: "has no key") }
    guard let call = line.numbers["call"], call >= 0 else { throw LineFault(reason: "has no call") }
    let kind: Operation.Kind
    switch line.texts["op"] {
    case "get": kind = .get
    case "delete": kind = .delete
    case "incr": kind = .increment(line.numbers["by"] ?? 1)
    case "put", "append":
      guard let value = line.text("value") else { throw LineFault(reason: "writes no value") }
      kind = line.texts["op"] == "put" ? .put(value) : .append(value)
    default: throw LineFault(reason: "has an op that isn't get, put, delete, incr or append")
    }
    var condition: Operation.Condition?
    if let tag = line.tag("if_match") { condition = tag == "*" ? .exists : .matches(tag) }
    if let tag = line.tag("if_none_match") {
      guard condition == nil else { throw LineFault(reason: "has two conditions") }
      condition = tag == "*" ? .absent : .differs(tag)
    }
    let status = Int(line.numbers["status"] ?? 0)
    var outcome = Operation.Outcome(status: status, isWrite: kind != .get)
    if case .done = outcome {
      var value: String?
      switch kind {
      case .get, .increment: value = line.text("value")
      default: break
      }
      outcome = .done(value: value, tag: line.tag("etag"))
    }
    let end = line.numbers["return"] ?? .max
    if end < call { throw LineFault(reason: "returns before its call") }
    let isWeak = kind == .get ? (line.texts["read"] ?? "linearizable") != "linearizable" : line.text("w") == "1"
    check(&outcome, condition)
    return Operation(
      client: Int(line.numbers["client"] ?? 0), key: key, kind: kind, condition: condition, outcome: outcome,
      call: UInt64(call), end: outcome == .unknown || end == .max ? .max : UInt64(end), isWeak: isWeak,
      attempt: line.texts["id"])
  }

  /// An answer that speaks of a condition where there was none says nothing.
  private static func check(_ outcome: inout Operation.Outcome, _ condition: Operation.Condition?) {
    if condition == nil, outcome == .conditionFailed || outcome == .notModified { outcome = .refused }
  }
}

extension History.Operation.Outcome {
  /// What an HTTP status says of kvd: 200 to 299 done, 304 and 412 a condition, 404 absent, 503 and every other
  /// refusal "not applied", and 504, 500, 502, 408 or no answer (0) unknown. A read that has no answer is one that saw
  /// nothing.
  package init(status: Int, isWrite: Bool) {
    switch status {
    case 200...299: self = .done(value: nil, tag: nil)
    case 304: self = .notModified
    case 404: self = .absent
    case 412: self = .conditionFailed
    case 400...407, 409...499, 501, 503, 505...599: self = .refused
    default: self = isWrite ? .unknown : .refused
    }
  }
}
