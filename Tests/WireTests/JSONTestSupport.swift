@testable import Wire

func utf8(_ text: String) -> [UInt8] { Array(text.utf8) }

func text(_ bytes: some Sequence<UInt8>) -> String { String(decoding: Array(bytes), as: UTF8.self) }

/// What the scanner says against a text, or nil.
func syntaxError(_ bytes: [UInt8], maximumDepth: Int = 128) -> JSONSyntaxError? {
  bytes.withUnsafeBytes { bytes in
    do throws(JSONSyntaxError) {
      _ = try JSONValue(validating: bytes, maximumDepth: maximumDepth)
      return nil
    } catch { return error }
  }
}

/// Runs `body` with the value of a text that is known to be valid.
func withJSON<R>(_ bytes: [UInt8], _ body: (JSONValue) throws -> R) throws -> R {
  try bytes.withUnsafeBytes { try body(try JSONValue(validating: $0)) }
}

/// The bytes that a pointer names in a document.
func get(_ pointer: String, in document: String) throws -> String? {
  try withJSON(utf8(document)) { value in
    try utf8(pointer).withUnsafeBytes { pointer in
      let range = value.range(at: try JSONPointer(pointer))
      return range.map { text(utf8(document)[$0]) }
    }
  }
}

/// The document after an edit that sets a value.
func set(
  _ pointer: [UInt8], in document: [UInt8]?, to value: [UInt8], limits: JSONLimits = JSONLimits()
) throws -> [UInt8] {
  try pointer.withUnsafeBytes { pointer in
    let pointer = try JSONPointer(pointer)
    return try value.withUnsafeBytes { value in
      try appended { output in
        guard let document else { return try JSONEdit.set(pointer, in: nil, to: value, limits: limits, into: &output) }
        try document.withUnsafeBytes { document in
          try JSONEdit.set(pointer, in: document, to: value, limits: limits, into: &output)
        }
      }
    }
  }
}

func set(_ pointer: String, in document: String?, to value: String) throws -> String {
  text(try set(utf8(pointer), in: document.map(utf8), to: utf8(value)))
}

/// The document after an edit that removes a value.
func remove(_ pointer: [UInt8], from document: [UInt8], limits: JSONLimits = JSONLimits()) throws -> [UInt8] {
  try pointer.withUnsafeBytes { pointer in
    let pointer = try JSONPointer(pointer)
    return try document.withUnsafeBytes { document in
      try appended { try JSONEdit.remove(pointer, from: document, limits: limits, into: &$0) }
    }
  }
}

func remove(_ pointer: String, from document: String) throws -> String {
  text(try remove(utf8(pointer), from: utf8(document)))
}

/// The document after a merge patch.
func merge(_ patch: [UInt8], into document: [UInt8]?, limits: JSONLimits = JSONLimits()) throws -> [UInt8] {
  try patch.withUnsafeBytes { patch in
    try appended { output in
      guard let document else { return try JSONMergePatch.apply(patch, to: nil, limits: limits, into: &output) }
      try document.withUnsafeBytes { document in
        try JSONMergePatch.apply(patch, to: document, limits: limits, into: &output)
      }
    }
  }
}

func merge(_ patch: String, into document: String?) throws -> String {
  text(try merge(utf8(patch), into: document.map(utf8)))
}

/// The document after a JSON Patch.
func patch(_ patch: [UInt8], _ document: [UInt8], limits: JSONLimits = JSONLimits()) throws -> [UInt8] {
  try patch.withUnsafeBytes { patch in
    try document.withUnsafeBytes { document in
      try appended { try JSONPatch.apply(patch, to: document, limits: limits, into: &$0) }
    }
  }
}

func patch(_ operations: String, _ document: String) throws -> String {
  text(try patch(utf8(operations), utf8(document)))
}

/// What `body` appends to its output. Output that was there must stay, and a throw must leave nothing behind.
private func appended(_ body: (inout [UInt8]) throws -> Void) throws -> [UInt8] {
  let before = utf8("before")
  var output = before
  do { try body(&output) } catch {
    precondition(output == before, "a refused edit must leave its output alone")
    throw error
  }
  precondition(output.starts(with: before), "an edit must append to its output")
  return Array(output.dropFirst(before.count))
}

/// The reason for which `body` was refused, or nil.
func refusal(_ body: () throws -> Void) -> JSONEditError? {
  do { try body() } catch { return error as? JSONEditError }
  return nil
}
