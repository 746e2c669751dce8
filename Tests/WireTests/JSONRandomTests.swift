import Testing

@testable import Wire

/// Random documents and edits, compared by value with the dumb twin, and by bytes with the document before.
@Suite("Random JSON edits") struct JSONRandomTests {
  /// What the twin calls a refusal.
  private func kind(_ error: any Error) -> JSONModel.Refusal? {
    guard let error = error as? JSONEditError else { return nil }
    switch error.cause {
    case .missing: return .missing
    case .conflict: return .conflict
    case .malformed: return .malformed
    case .testFailed: return .test
    default: return nil
    }
  }

  private func outcome(_ body: () throws -> [UInt8]) -> Result<[UInt8], JSONModel.Refusal> {
    do { return .success(try body()) } catch { return .failure(kind(error) ?? .syntax) }
  }

  private func twin(_ body: () throws(JSONModel.Refusal) -> JSONModel) -> Result<JSONModel, JSONModel.Refusal> {
    do throws(JSONModel.Refusal) { return .success(try body()) } catch { return .failure(error) }
  }

  /// Whether `result` is `document` with one run of bytes taken out or put in.
  private func differsInOneRun(_ document: [UInt8], _ result: [UInt8]) -> Bool {
    let prefix = zip(document, result).prefix { $0 == $1 }.count
    let suffix = zip(document.reversed(), result.reversed()).prefix { $0 == $1 }.count
    return prefix + suffix >= min(document.count, result.count)
  }

  private func expectSame(
    _ result: Result<[UInt8], JSONModel.Refusal>, _ twin: Result<JSONModel, JSONModel.Refusal>, _ context: String,
    isPatch: Bool = false
  ) {
    switch (result, twin) {
    case (.success(let bytes), .success(let model)):
      #expect((try? JSONModel(bytes)) == model, "\(context) gave \(text(bytes))")
      #expect(syntaxError(bytes) == nil, "\(context) gave \(text(bytes))")
    case (.failure(let a), .failure(let b)):
      // A way that ends early is missing to one and in conflict to the other when both steps of it are wrong.
      let isSame = a == b || (isPatch && [a, b].allSatisfy { $0 == .missing || $0 == .conflict })
      #expect(isSame, "\(context)")
    default:
      Issue.record("\(context): \(result.map(text)) but the twin \(twin)")
    }
  }

  @Test("by pointer agree with the twin and change no other byte")
  func byPointer() throws {
    var random = SplitMix(seed: 3)
    var succeeded = 0
    for _ in 0..<5_000 {
      let document = randomDocument(&random, size: 8)
      let value = randomValue(&random, size: 3)
      let model = try JSONModel(document)
      let pointer = randomPointer(&random, in: model)
      let context = "\(pointer) in \(text(document)) to \(text(value))"
      guard let tokens = JSONModel.tokens(pointer).map({ $0[...] }) else {
        #expect(refusal { _ = try set(utf8(pointer), in: document, to: value) }?.cause == .malformed(.pointer))
        continue
      }
      let range = try withJSON(document) { root in
        try utf8(pointer).withUnsafeBytes { root.range(at: try JSONPointer($0)) }
      }
      #expect(try range.map { try JSONModel(Array(document[$0])) } == model.get(tokens), "\(context)")

      let written = outcome { try set(utf8(pointer), in: document, to: value) }
      let newValue = try JSONModel(value)
      expectSame(written, twin { () throws(JSONModel.Refusal) in try JSONModel.set(model, tokens, newValue) }, context)
      if case .success(let result) = written {
        succeeded += 1
        if let range {
          #expect(result == document[..<range.lowerBound] + value + document[range.upperBound...], "\(context)")
        } else {
          #expect(differsInOneRun(document, result), "\(context)")
        }
      }
      let removed = outcome { try remove(utf8(pointer), from: document) }
      expectSame(removed, twin { () throws(JSONModel.Refusal) in try model.removing(tokens) }, context)
    }
    #expect(succeeded > 1_500)
  }

  @Test("by merge patch agree with the twin")
  func byMergePatch() throws {
    var random = SplitMix(seed: 4)
    for _ in 0..<5_000 {
      let document = randomDocument(&random, size: 8)
      let change = randomDocument(&random, size: 8)
      let model = JSONModel.merge(try JSONModel(document), try JSONModel(change))
      let result = try merge(change, into: document)
      #expect(try JSONModel(result) == model, "\(text(change)) into \(text(document)) gave \(text(result))")
      #expect(try merge(change, into: result) == result, "a merge patch applied twice changes nothing more")
      #expect(try JSONModel(merge(change, into: nil)) == JSONModel.merge(nil, try JSONModel(change)))
    }
  }

  @Test("by JSON Patch agree with the twin")
  func byPatch() throws {
    var random = SplitMix(seed: 5)
    var succeeded = 0
    for _ in 0..<10_000 {
      let document = randomDocument(&random, size: 8)
      let model = try JSONModel(document)
      let operations = (0..<Int.random(in: 1...4, using: &random)).map { _ in
        let op = ["add", "remove", "replace", "move", "copy", "test", "add"].randomElement(using: &random)!
        return #"{"op":"\#(op)","path":"#
          + text(randomString(randomPointer(&random, in: model), &random)) + #","from":"#
          + text(randomString(randomPointer(&random, in: model), &random)) + #","value":"#
          + text(randomValue(&random, size: 3)) + "}"
      }
      let change = utf8("[" + operations.joined(separator: ",") + "]")
      let result = outcome { try patch(change, document) }
      if case .failure(.malformed) = result { continue }  // the form is checked first; the twin meets it later or never
      if case .success = result { succeeded += 1 }
      let patchModel = try JSONModel(change)
      let expected = twin { () throws(JSONModel.Refusal) in try model.patched(patchModel) }
      expectSame(result, expected, "\(text(change)) on \(text(document))", isPatch: true)
    }
    #expect(succeeded > 2_000)
  }

  @Test("test equality as the twin does")
  func equality() throws {
    var random = SplitMix(seed: 6)
    var equal = 0
    for _ in 0..<10_000 {
      let a = randomDocument(&random, size: 3)
      let b = randomDocument(&random, size: 3)
      let isEqual = try withJSON(a) { x in
        try withJSON(b) { y in
          var work = JSONWork(.max)
          return try JSONEquality.equal(x, y, &work)
        }
      }
      equal += isEqual ? 1 : 0
      #expect(try isEqual == (JSONModel(a) == JSONModel(b)), "\(text(a)) and \(text(b))")
    }
    #expect(equal > 50)
  }
}
