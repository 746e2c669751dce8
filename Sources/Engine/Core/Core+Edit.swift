import Wire

// Edits inside JSON values: the edited value is made beside the old one and then stored whole, so a failed edit changes
// nothing.
extension Core {
  /// The value at a JSON Pointer (RFC 6901), as it is written in the stored text.
  mutating func pointerGet(_ operation: UnsafePointer<Operation>) -> Outcome {
    guard let record = lookUp(operation.pointee.key) else { return Outcome(.notFound) }
    guard record.value.count <= limits.editedValue else { return Outcome(.editTooLarge) }
    let value: JSONValue
    do {
      let pointer = try JSONPointer(operation.pointee.options.pointer)
      do {
        let document = try JSONValue(validating: record.value)
        guard let found = document.value(at: pointer) else { return Outcome(.pointerNotFound) }
        value = found
      } catch {
        return failed(409, "The stored value is not JSON, at byte \(error.offset): \(error.reason.sentence)")
      }
    } catch {
      return failed(error, operation.pointee.kind)
    }
    var outcome = found(record, operation.pointee.key.partition)
    outcome.value = value.bytes
    outcome.contentType = RecordContentType(code: ContentType.json)
    return outcome
  }

  /// Sets or removes at a pointer, or applies a patch.
  mutating func edit(_ operation: UnsafePointer<Operation>, expiry: UInt64) -> Outcome {
    let record = lookUp(operation.pointee.key)
    let kind = operation.pointee.kind
    if record == nil && (kind == .jsonPatch || kind == .pointerRemove) { return Outcome(.notFound) }
    if let record, record.value.count > limits.editedValue { return Outcome(.editTooLarge) }
    var edited: [UInt8] = []
    do {
      try apply(operation, to: record?.value, into: &edited)
    } catch {
      return failed(error, kind)
    }
    return replace(
      operation, record, scratch.copy(edited), contentType: RecordContentType(code: ContentType.json), expiry: expiry)
  }

  private func apply(
    _ operation: UnsafePointer<Operation>, to old: UnsafeRawBufferPointer?, into edited: inout [UInt8]
  ) throws(JSONEditError) {
    var bounds = JSONLimits()
    bounds.result = limits.editedValue
    let body = operation.pointee.body
    switch operation.pointee.kind {
    case .pointerSet:
      let pointer = try JSONPointer(operation.pointee.options.pointer)
      try JSONEdit.set(pointer, in: old, to: body, limits: bounds, into: &edited)
    case .pointerRemove:
      let pointer = try JSONPointer(operation.pointee.options.pointer)
      try JSONEdit.remove(pointer, from: old!, limits: bounds, into: &edited)
    case .mergePatch: try JSONMergePatch.apply(body, to: old, limits: bounds, into: &edited)
    default: try JSONPatch.apply(body, to: old!, limits: bounds, into: &edited)
    }
  }

  /// The status of an edit that failed (RFC 5789 section 2.2): whose fault it is decides.
  private mutating func failed(_ error: JSONEditError, _ kind: OperationKind) -> Outcome {
    let status: UInt16 =
      switch error.cause {
      case .request, .malformed: 400
      case .missing: kind == .jsonPatch ? 409 : 404
      case .document, .conflict, .testFailed: 409
      case .limit: 413
      }
    guard let operation = error.operation else { return failed(status, error.sentence) }
    return failed(status, "Operation \(operation) of the patch: \(error.sentence) Nothing was changed.")
  }

  /// An outcome whose sentence isn't a fixed one; it travels as the value.
  mutating func failed(_ status: UInt16, _ sentence: String) -> Outcome {
    var outcome = Outcome(Problem(status, ""))
    outcome.value = scratch.copy([UInt8](sentence.utf8))
    return outcome
  }
}
