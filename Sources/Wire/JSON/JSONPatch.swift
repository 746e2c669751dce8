/// JSON Patch (RFC 6902): operations one after the other on a working copy, all or none.
///
/// All operations are checked for their form before the first is applied, so a malformed patch is told from one that
/// doesn't fit the document. Members that RFC 6902 doesn't define are ignored; a member it defines must not come twice.
/// Bytes that no operation touches stay as they are; new members go to the end of their object; a value goes in as it
/// is written in the patch. Moving a value to where it is changes nothing.
package struct JSONPatch {
  private var operations: [Operation] = []
  /// The unescaped pointers of all operations, one after the other.
  private var pointers: [UInt8] = []

  /// Appends `document` as changed by `patch`.
  ///
  /// - Parameters:
  ///   - patch: a JSON text: an array of operations.
  ///   - document: the text to change.
  ///   - output: gets the changed document appended, or stays as it was when this throws.
  /// - Throws: any `JSONEditError`; its `operation` is the index of the operation that failed.
  package static func apply(
    _ patch: UnsafeRawBufferPointer, to document: UnsafeRawBufferPointer,
    limits: JSONLimits = JSONLimits(), into output: inout [UInt8]
  ) throws(JSONEditError) {
    let patch = try JSONPatch(JSONEdit.requestValue(patch, limits), limits)
    _ = try JSONEdit.documentValue(document, limits)
    var copy = JSONWorkingCopy(document, limits)
    try patch.apply(to: &copy)
    output.append(contentsOf: copy.bytes)
  }

  /// One operation as it is written.
  private struct Operation {
    var kind = Kind.test
    /// Where in `pointers` the unescaped pointers are.
    var path = 0..<0
    var from = 0..<0
    var value: JSONValue?
  }

  private enum Kind {
    case add, remove, replace, move, copy, test

    init?(_ name: JSONValue) {
      if name.isString("add") {
        self = .add
      } else if name.isString("remove") {
        self = .remove
      } else if name.isString("replace") {
        self = .replace
      } else if name.isString("move") {
        self = .move
      } else if name.isString("copy") {
        self = .copy
      } else if name.isString("test") {
        self = .test
      } else {
        return nil
      }
    }

    var needsFrom: Bool { self == .move || self == .copy }
    var needsValue: Bool { self == .add || self == .replace || self == .test }
  }

  // MARK: Form

  /// The operations of a patch.
  private init(_ patch: JSONValue, _ limits: JSONLimits) throws(JSONEditError) {
    guard patch.kind == .array else { throw JSONEditError(.malformed(.notAnArray)) }
    var elements = patch.elements()
    while let element = elements.next() {
      guard operations.count < limits.operations else { throw JSONEditError(.limit(.operations)) }
      do throws(JSONEditError) { operations.append(try operation(element)) } catch {
        throw JSONEditError(error.cause, operation: operations.count)
      }
    }
  }

  private mutating func operation(_ element: JSONValue) throws(JSONEditError) -> Operation {
    guard element.kind == .object else { throw JSONEditError(.malformed(.notAnObject)) }
    let fields = try Fields(element)
    guard let name = fields.operation, name.kind == .string else {
      throw JSONEditError(.malformed(.missingOperation))
    }
    guard let kind = Kind(name) else { throw JSONEditError(.malformed(.unknownOperation)) }
    var operation = Operation(kind: kind)
    guard let path = fields.path, path.kind == .string else { throw JSONEditError(.malformed(.missingPath)) }
    operation.path = try appendPointer(path)
    if kind.needsFrom {
      guard let from = fields.from, from.kind == .string else { throw JSONEditError(.malformed(.missingFrom)) }
      operation.from = try appendPointer(from)
      if kind == .move, try isInside(operation.path, operation.from) {
        throw JSONEditError(.malformed(.moveIntoItself))
      }
    }
    if kind.needsValue {
      guard let value = fields.value else { throw JSONEditError(.malformed(.missingValue)) }
      operation.value = value
    }
    return operation
  }

  /// The members of an operation that RFC 6902 defines.
  private struct Fields {
    private(set) var operation: JSONValue?
    private(set) var path: JSONValue?
    private(set) var from: JSONValue?
    private(set) var value: JSONValue?

    init(_ element: JSONValue) throws(JSONEditError) {
      var members = element.members()
      while let member = members.next() {
        if member.name.isString("op") {
          try Self.fill(&operation, member)
        } else if member.name.isString("path") {
          try Self.fill(&path, member)
        } else if member.name.isString("from") {
          try Self.fill(&from, member)
        } else if member.name.isString("value") {
          try Self.fill(&value, member)
        }
      }
    }

    private static func fill(_ field: inout JSONValue?, _ member: JSONMember) throws(JSONEditError) {
      guard field == nil else { throw JSONEditError(.malformed(.duplicateMember)) }
      field = member.value
    }
  }

  /// Unescapes a pointer into `pointers`, after checking its form.
  private mutating func appendPointer(_ string: JSONValue) throws(JSONEditError) -> Range<Int> {
    let start = pointers.count
    guard string.string(into: &pointers) else { throw JSONEditError(.malformed(.pointer)) }
    let range = start..<pointers.count
    try pointers.withUnsafeBufferPointer { (buffer) throws(JSONEditError) in _ = try Self.pointer(buffer, range) }
    return range
  }

  /// Whether the pointer `path` leads through what the pointer `from` names.
  private func isInside(_ path: Range<Int>, _ from: Range<Int>) throws(JSONEditError) -> Bool {
    try pointers.withUnsafeBufferPointer { (buffer) throws(JSONEditError) in
      try Self.pointer(buffer, from).isProperPrefix(of: Self.pointer(buffer, path))
    }
  }

  private static func pointer(
    _ pointers: UnsafeBufferPointer<UInt8>, _ range: Range<Int>
  ) throws(JSONEditError) -> JSONPointer {
    try JSONPointer(UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: pointers[range])))
  }

  // MARK: Application

  private func apply(to copy: inout JSONWorkingCopy) throws(JSONEditError) {
    try pointers.withUnsafeBufferPointer { (pointers) throws(JSONEditError) in
      for index in operations.indices {
        do throws(JSONEditError) { try Self.apply(operations[index], pointers, to: &copy) } catch {
          throw JSONEditError(error.cause, operation: index)
        }
      }
    }
  }

  private static func apply(
    _ operation: Operation, _ pointers: UnsafeBufferPointer<UInt8>, to copy: inout JSONWorkingCopy
  ) throws(JSONEditError) {
    let path = try pointer(pointers, operation.path)
    switch (operation.kind, operation.value) {
    case (.add, let value?): try copy.put(value, at: path, .add)
    case (.replace, let value?): try copy.put(value, at: path, .replace)
    case (.test, let value?):
      guard try copy.test(value, at: path) else { throw JSONEditError(.testFailed) }
    case (.remove, _): try copy.remove(path)
    case (.copy, _):
      let value = try copy.value(at: pointer(pointers, operation.from))
      try copy.put(value, at: path, .add)
    case (.move, _): try move(pointer(pointers, operation.from), path, in: &copy)
    default: preconditionFailure("JSONPatch: an operation that needs a value was taken without one")
    }
  }

  private static func move(
    _ from: JSONPointer, _ path: JSONPointer, in copy: inout JSONWorkingCopy
  ) throws(JSONEditError) {
    let value = try copy.value(at: from)
    if from == path { return }
    // Removing moves the value's bytes away, so it is kept aside.
    let bytes = [UInt8](value.bytes)
    try copy.remove(from)
    try bytes.withUnsafeBufferPointer { (buffer) throws(JSONEditError) in
      try copy.put(JSONValue(buffer.baseAddress!, 0, buffer.count), at: path, .add)  // a value isn't empty
    }
  }
}
