/// The dumb twin of the JSON code: parses a text to a tree, applies edits to the tree, compares trees.
///
/// It shares no line with the code under test: it recurses, copies, holds strings as UTF-16 units and numbers as
/// normalised decimal text. Objects keep the last of several members with the same name.
enum JSONModel: Equatable {
  case null
  case boolean(Bool)
  case number(String)
  case string([UInt16])
  case array([JSONModel])
  case object([[UInt16]: JSONModel])

  enum Refusal: Error, Equatable { case syntax, missing, conflict, malformed, test }

  init(_ text: [UInt8], depth: Int = 128) throws(Refusal) {
    guard String(validating: text, as: UTF8.self) != nil else { throw .syntax }
    var parser = Parser(text: text, depthLimit: depth)
    parser.space()
    self = try parser.value(0)
    parser.space()
    guard parser.i == text.count else { throw .syntax }
  }

  private struct Parser {
    let text: [UInt8]
    let depthLimit: Int
    var i = 0

    var byte: Character? { i < text.count ? Character(UnicodeScalar(text[i])) : nil }

    mutating func space() {
      while let byte, [" ", "\n", "\r", "\t"].contains(byte) || byte == "\r\n" { i += 1 }
    }

    mutating func take(_ wanted: Character) -> Bool {
      guard byte == wanted else { return false }
      i += 1
      return true
    }

    mutating func value(_ depth: Int) throws(Refusal) -> JSONModel {
      if take("{") { return try object(depth + 1) }
      if take("[") { return try array(depth + 1) }
      if byte == "\"" { return .string(try string()) }
      for (word, model) in [("true", JSONModel.boolean(true)), ("false", .boolean(false)), ("null", .null)]
      where text[i...].starts(with: word.utf8) {
        i += word.utf8.count
        return model
      }
      return .number(try number())
    }

    mutating func object(_ depth: Int) throws(Refusal) -> JSONModel {
      guard depth <= depthLimit else { throw .syntax }
      var members: [[UInt16]: JSONModel] = [:]
      space()
      if take("}") { return .object(members) }
      repeat {
        space()
        let name = try string()
        space()
        guard take(":") else { throw .syntax }
        space()
        members[name] = try value(depth)
        space()
      } while take(",")
      guard take("}") else { throw .syntax }
      return .object(members)
    }

    mutating func array(_ depth: Int) throws(Refusal) -> JSONModel {
      guard depth <= depthLimit else { throw .syntax }
      var elements: [JSONModel] = []
      space()
      if take("]") { return .array(elements) }
      repeat {
        space()
        elements.append(try value(depth))
        space()
      } while take(",")
      guard take("]") else { throw .syntax }
      return .array(elements)
    }

    mutating func string() throws(Refusal) -> [UInt16] {
      guard take("\"") else { throw .syntax }
      var units: [UInt16] = []
      var plain: [UInt8] = []
      while i < text.count, text[i] != 0x22 {
        if text[i] < 0x20 { throw .syntax }
        if text[i] != 0x5C {
          plain.append(text[i])
          i += 1
          continue
        }
        units += Array(String(decoding: plain, as: UTF8.self).utf16)
        plain = []
        i += 1
        units.append(try escape())
      }
      guard take("\"") else { throw .syntax }
      return units + Array(String(decoding: plain, as: UTF8.self).utf16)
    }

    mutating func escape() throws(Refusal) -> UInt16 {
      guard let letter = byte else { throw .syntax }
      i += 1
      let simple: [Character: UInt16] = [
        "\"": 34, "\\": 92, "/": 47, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9,
      ]
      if let unit = simple[letter] { return unit }
      guard letter == "u", i + 4 <= text.count else { throw .syntax }
      let digits = String(decoding: text[i..<i + 4], as: UTF8.self)
      guard digits.allSatisfy({ $0.isASCII && $0.isHexDigit }), let unit = UInt16(digits, radix: 16) else {
        throw .syntax
      }
      i += 4
      return unit
    }

    mutating func digits() throws(Refusal) -> String {
      let start = i
      while let byte, ("0"..."9").contains(byte) { i += 1 }
      guard i > start else { throw .syntax }
      return String(decoding: text[start..<i], as: UTF8.self)
    }

    mutating func number() throws(Refusal) -> String {
      let sign = take("-") ? "-" : ""
      let whole = try digits()
      if whole.count > 1, whole.hasPrefix("0") { throw .syntax }
      let fraction = take(".") ? try digits() : ""
      var exponent = 0
      if take("e") || take("E") {
        let isNegative = take("-")
        if !isNegative { _ = take("+") }
        guard let written = Int(try digits()) else { throw .syntax }  // the twin is only asked about small ones
        exponent = isNegative ? -written : written
      }
      return Self.normal(sign, whole, fraction, exponent)
    }

    static func normal(_ sign: String, _ whole: String, _ fraction: String, _ exponent: Int) -> String {
      var digits = Array((whole + fraction).utf8)
      var exponent = exponent - fraction.utf8.count
      while digits.count > 0, digits.last == 0x30 {
        digits.removeLast()
        exponent += 1
      }
      let rest = digits.drop { $0 == 0x30 }
      return rest.isEmpty ? "0" : sign + String(decoding: rest, as: UTF8.self) + "e\(exponent)"
    }
  }
}

// MARK: - Edits

extension JSONModel {
  /// The tokens of a JSON Pointer, or nil when it is malformed.
  static func tokens(_ pointer: String) -> [String]? {
    if pointer.isEmpty { return [] }
    guard pointer.utf8.first == 0x2F else { return nil }
    var tokens: [[UInt8]] = []
    var rest = Array(pointer.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == 0x2F {
        tokens.append([])
      } else if byte == 0x7E {
        guard let escaped = rest.popFirst(), escaped == 0x30 || escaped == 0x31 else { return nil }
        tokens[tokens.count - 1].append(escaped == 0x30 ? 0x7E : 0x2F)
      } else {
        tokens[tokens.count - 1].append(byte)
      }
    }
    return tokens.map { String(decoding: $0, as: UTF8.self) }
  }

  static func index(_ token: String) -> Int? {
    guard let index = Int(token), String(index) == token, index >= 0 else { return nil }
    return index
  }

  func get(_ tokens: ArraySlice<String>) -> JSONModel? {
    guard let token = tokens.first else { return self }
    switch self {
    case .object(let members): return members[Array(token.utf16)]?.get(tokens.dropFirst())
    case .array(let elements):
      guard let index = Self.index(token), index < elements.count else { return nil }
      return elements[index].get(tokens.dropFirst())
    default: return nil
    }
  }

  static func set(_ model: JSONModel?, _ tokens: ArraySlice<String>, _ value: JSONModel) throws(Refusal) -> JSONModel {
    guard let token = tokens.first else { return value }
    let rest = tokens.dropFirst()
    switch model {
    case nil:
      return token == "-"
        ? .array([try set(nil, rest, value)]) : .object([Array(token.utf16): try set(nil, rest, value)])
    case .object(var members):
      members[Array(token.utf16)] = try set(members[Array(token.utf16)], rest, value)
      return .object(members)
    case .array(var elements):
      guard let index = token == "-" ? elements.count : index(token), index <= elements.count else { throw .conflict }
      if index == elements.count {
        elements.append(try set(nil, rest, value))
      } else {
        elements[index] = try set(elements[index], rest, value)
      }
      return .array(elements)
    default: throw .conflict
    }
  }

  /// The tree with the container around what `tokens` name changed by `change`.
  func inParent(
    _ tokens: ArraySlice<String>, _ change: (JSONModel, String) throws(Refusal) -> JSONModel
  ) throws(Refusal) -> JSONModel {
    guard let token = tokens.first else { throw .conflict }
    if tokens.count == 1 { return try change(self, token) }
    let rest = tokens.dropFirst()
    switch self {
    case .object(var members):
      guard let inner = members[Array(token.utf16)] else { throw .missing }
      members[Array(token.utf16)] = try inner.inParent(rest, change)
      return .object(members)
    case .array(var elements):
      guard let index = Self.index(token), index < elements.count else { throw .missing }
      elements[index] = try elements[index].inParent(rest, change)
      return .array(elements)
    default: throw .missing
    }
  }

  func removing(_ tokens: ArraySlice<String>) throws(Refusal) -> JSONModel {
    try inParent(tokens) { (parent, token) throws(Refusal) in
      switch parent {
      case .object(var members):
        guard members.removeValue(forKey: Array(token.utf16)) != nil else { throw .missing }
        return .object(members)
      case .array(var elements):
        guard let index = Self.index(token), index < elements.count else { throw .missing }
        elements.remove(at: index)
        return .array(elements)
      default: throw .missing
      }
    }
  }

  func adding(_ value: JSONModel, _ tokens: ArraySlice<String>) throws(Refusal) -> JSONModel {
    if tokens.isEmpty { return value }
    return try inParent(tokens) { (parent, token) throws(Refusal) in
      switch parent {
      case .object(var members):
        members[Array(token.utf16)] = value
        return .object(members)
      case .array(var elements):
        guard let index = token == "-" ? elements.count : Self.index(token), index <= elements.count else {
          throw .conflict
        }
        elements.insert(value, at: index)
        return .array(elements)
      default: throw .conflict
      }
    }
  }

  static func merge(_ target: JSONModel?, _ patch: JSONModel) -> JSONModel {
    guard case .object(let changes) = patch else { return patch }
    var members: [[UInt16]: JSONModel] = [:]
    if case .object(let old) = target { members = old }
    for (name, change) in changes {
      members[name] = change == .null ? nil : merge(members[name], change)
    }
    return .object(members)
  }

  /// The tree after a JSON Patch of well-formed operations.
  func patched(_ patch: JSONModel) throws(Refusal) -> JSONModel {
    guard case .array(let operations) = patch else { throw .malformed }
    var model = self
    for case .object(let operation) in operations {
      func field(_ name: String) -> JSONModel? { operation[Array(name.utf16)] }
      func text(_ name: String) -> String {
        guard case .string(let units)? = field(name) else { return "" }
        return String(decoding: units, as: UTF16.self)
      }
      let needsFrom = text("op") == "move" || text("op") == "copy"
      guard let path = Self.tokens(text("path")), let from = Self.tokens(needsFrom ? text("from") : "") else {
        throw .malformed
      }
      switch text("op") {
      case "add": model = try model.adding(field("value")!, path[...])
      case "remove": model = try model.removing(path[...])
      case "replace":
        guard model.get(path[...]) != nil else { throw .missing }
        model = try Self.set(model, path[...], field("value")!)
      case "test":
        guard let found = model.get(path[...]) else { throw .missing }
        guard found == field("value")! else { throw .test }
      case "copy":
        guard let found = model.get(from[...]) else { throw .missing }
        model = try model.adding(found, path[...])
      default:
        if path.count > from.count, path.starts(with: from) { throw .malformed }
        guard let found = model.get(from[...]) else { throw .missing }
        if path != from { model = try model.removing(from[...]).adding(found, path[...]) }
      }
    }
    return model
  }
}
