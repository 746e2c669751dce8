// libFuzzer on the JSON code: any bytes as document, pointer, value and patch. Besides not crashing, an edit must keep
// its promises: its result is valid, reading gives back what was set, and what was removed is gone.

private func withPointer<R>(_ bytes: UnsafeRawBufferPointer, _ body: (JSONPointer) -> R) -> R? {
  guard let pointer = try? JSONPointer(bytes) else { return nil }
  return body(pointer)
}

private func check(_ isRight: Bool, _ promise: StaticString) {
  if !isRight { fatalError("broken promise: \(promise)") }
}

/// The value that `pointer` names in `document`, which must be valid.
private func read(_ pointer: JSONPointer, _ document: [UInt8]) -> [UInt8]? {
  document.withUnsafeBytes { bytes in
    guard let value = try? JSONValue(validating: bytes) else { fatalError("an edit gave invalid JSON") }
    return value.value(at: pointer).map { Array($0.bytes) }
  }
}

private func fuzzPointer(
  _ document: UnsafeRawBufferPointer, _ pointer: JSONPointer, _ value: UnsafeRawBufferPointer
) {
  var output: [UInt8] = []
  if (try? JSONEdit.set(pointer, in: document, to: value, into: &output)) != nil {
    guard let wanted = try? JSONValue(validating: value) else { fatalError("an edit took invalid JSON") }
    let inner = Array(wanted.bytes)
    // Where the pointer has a "-" the value is the last element, which no pointer with "-" can read.
    if !UnsafeBufferPointer(start: pointer.text, count: pointer.count).contains(0x2D) {
      check(read(pointer, output) == inner, "what was set is read")
    }
  } else {
    check(output.isEmpty, "a refused edit leaves its output alone")
  }
  output = []
  if (try? JSONEdit.remove(pointer, from: document, into: &output)) != nil {
    output.withUnsafeBytes { check((try? JSONValue(validating: $0)) != nil, "a removal gives JSON") }
    check(output.count < document.count, "a removal makes the document smaller")
  } else {
    check(output.isEmpty, "a refused removal leaves its output alone")
  }
}

private func fuzzPatches(_ document: UnsafeRawBufferPointer, _ change: UnsafeRawBufferPointer) {
  var limits = JSONLimits()
  limits.result = 1 << 16
  limits.work = 1 << 22
  var output: [UInt8] = []
  if (try? JSONMergePatch.apply(change, to: document, limits: limits, into: &output)) != nil {
    var again: [UInt8] = []
    output.withUnsafeBytes { merged in
      check((try? JSONValue(validating: merged)) != nil, "a merge gives JSON")
      try? JSONMergePatch.apply(change, to: merged, limits: limits, into: &again)
    }
    check(again.isEmpty || again == output, "a second merge changes nothing")
  } else {
    check(output.isEmpty, "a refused merge leaves its output alone")
  }
  output = []
  if (try? JSONPatch.apply(change, to: document, limits: limits, into: &output)) != nil {
    output.withUnsafeBytes { check((try? JSONValue(validating: $0)) != nil, "a patch gives JSON") }
  } else {
    check(output.isEmpty, "a refused patch leaves its output alone")
  }
}

private func fuzzReader(_ bytes: UnsafeRawBufferPointer) {
  guard let value = try? JSONValue(validating: bytes) else { return }
  var work = JSONWork(.max)
  check((try? JSONEquality.equal(value, value, &work)) == true, "a value equals itself")
  _ = (value.integer, value.double, value.boolean)
  var decoded: [UInt8] = []
  if value.string(into: &decoded) {
    var written: [UInt8] = []
    decoded.withUnsafeBytes { appendJSONString($0, to: &written) }
    written.withUnsafeBytes { written in
      guard let again = try? JSONValue(validating: written) else { fatalError("an escaped string isn't JSON") }
      check(JSONValue.compareStrings(value, again) == 0, "an escaped string means the same")
    }
  }
  var members = value.members()
  while let member = members.next() { _ = (member.name.kind, member.value.depth) }
  var elements = value.elements()
  while let element = elements.next() { _ = element.depth }
}

/// One input: document, pointer and value or patch, with 0xFE between them, a byte that no JSON has.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJSON(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeRawBufferPointer(start: data, count: count)
  let parts = input.split(separator: 0xFE, maxSplits: 2, omittingEmptySubsequences: false)
  // Copies of just the right size, so that the address sanitizer sees a step beyond any end.
  let copies = parts.map { [UInt8]($0) }
  copies[0].withUnsafeBytes { document in
    fuzzReader(document)
    guard copies.count == 3 else { return }
    copies[2].withUnsafeBytes { change in
      fuzzPatches(document, change)
      copies[1].withUnsafeBytes { pointer in _ = withPointer(pointer) { fuzzPointer(document, $0, change) } }
    }
  }
  return 0
}
