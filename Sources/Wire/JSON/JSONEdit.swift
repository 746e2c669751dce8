/// Edits of a JSON document by JSON Pointer (RFC 6901): bytes in, bytes out.
///
/// An edit changes the bytes at the place the pointer names and keeps every other byte, digit and order as it was. It
/// is atomic: it appends the whole edited document to its output, or throws and leaves the output as it was. Reading is
/// `JSONValue(validating:)` and then `value(at:)`.
package enum JSONEdit {
  /// Sets the value that `pointer` names.
  ///
  /// A member or element that is there is replaced. A member that isn't is added as the last one, the element `-` or
  /// the one with the array's length as index too. Containers that are missing on the way are created: an array with
  /// one element for the token `-`, an object for every other token, `0` included.
  ///
  /// - Parameters:
  ///   - pointer: where; the empty pointer names the whole document.
  ///   - document: the text to edit; nil where there is none yet, which creates one.
  ///   - value: a JSON text; its white space at both ends is dropped, the rest goes in as it is.
  ///   - output: gets the edited document appended.
  /// - Throws: `.document`, `.request`, `.conflict`, `.limit(.depth)` or `.limit(.result)`.
  package static func set(
    _ pointer: JSONPointer, in document: UnsafeRawBufferPointer?, to value: UnsafeRawBufferPointer,
    limits: JSONLimits = JSONLimits(), into output: inout [UInt8]
  ) throws(JSONEditError) {
    let value = try requestValue(value, limits)
    guard let document else {
      let splice = try JSONSplice(creating: value, at: pointer, maximumDepth: limits.depth)
      return try append(splice, UnsafeRawBufferPointer(start: nil, count: 0), limits, to: &output)
    }
    let root = try documentValue(document, limits)
    let splice = try JSONSplice(put: value, at: pointer, in: root, .set, maximumDepth: limits.depth)
    try append(splice, document, limits, to: &output)
  }

  /// Removes the value that `pointer` names, with one comma: the one after it, or for a last entry the one before it.
  ///
  /// Where an object has several members of that name all are removed, so that nothing is there afterwards.
  ///
  /// - Throws: `.document`, `.missing`, `.conflict(.wholeDocument)` for the empty pointer, or `.limit(.work)`.
  package static func remove(
    _ pointer: JSONPointer, from document: UnsafeRawBufferPointer,
    limits: JSONLimits = JSONLimits(), into output: inout [UInt8]
  ) throws(JSONEditError) {
    let root = try documentValue(document, limits)
    var matches = 0
    let splice = try JSONSplice(remove: pointer, from: root, matches: &matches)
    if matches == 1 { return try append(splice, document, limits, to: &output) }
    var copy = JSONWorkingCopy(document, limits)
    try copy.remove(pointer)
    output.append(contentsOf: copy.bytes)
  }

  /// The document's value, or the error that names the document.
  static func documentValue(
    _ bytes: UnsafeRawBufferPointer, _ limits: JSONLimits
  ) throws(JSONEditError) -> JSONValue {
    do { return try JSONValue(validating: bytes, maximumDepth: limits.depth) } catch {
      throw JSONEditError(.document(error))
    }
  }

  /// The value of a new value or patch, or the error that names the request.
  static func requestValue(
    _ bytes: UnsafeRawBufferPointer, _ limits: JSONLimits
  ) throws(JSONEditError) -> JSONValue {
    do { return try JSONValue(validating: bytes, maximumDepth: limits.depth) } catch {
      throw JSONEditError(.request(error))
    }
  }

  private static func append(
    _ splice: JSONSplice, _ document: UnsafeRawBufferPointer, _ limits: JSONLimits, to output: inout [UInt8]
  ) throws(JSONEditError) {
    let count = document.count &- splice.cut.count &+ splice.insertion.count
    guard count <= limits.result || count < document.count else { throw JSONEditError(.limit(.result)) }
    output.reserveCapacity(output.count + count)
    output.append(contentsOf: document[..<splice.cut.lowerBound])
    output.append(contentsOf: splice.insertion)
    output.append(contentsOf: document[splice.cut.upperBound...])
  }
}
