import Wire

/// Writes a JSON text member by member and keeps track of the commas. For answers about the node, which are seldom.
struct JSONWriter {
  private(set) var bytes: [UInt8] = []
  private var needsComma = false

  private mutating func begin(_ name: String?) {
    if needsComma { bytes.append(UInt8(ascii: ",")) }
    needsComma = true
    guard let name else { return }
    appendJSONString(name, to: &bytes)
    bytes.append(UInt8(ascii: ":"))
  }

  private mutating func nest(_ open: UInt8, _ close: UInt8, _ body: (inout JSONWriter) -> Void) {
    bytes.append(open)
    needsComma = false
    body(&self)
    bytes.append(close)
    needsComma = true
  }

  /// An object: the whole text, an element (without a name), or a member.
  mutating func object(_ name: String? = nil, _ body: (inout JSONWriter) -> Void) {
    begin(name)
    nest(UInt8(ascii: "{"), UInt8(ascii: "}"), body)
  }

  /// An array.
  mutating func array(_ name: String? = nil, _ body: (inout JSONWriter) -> Void) {
    begin(name)
    nest(UInt8(ascii: "["), UInt8(ascii: "]"), body)
  }

  /// A text, or null.
  mutating func add(_ name: String? = nil, _ value: String?) {
    begin(name)
    if let value { appendJSONString(value, to: &bytes) } else { appendJSON("null", to: &bytes) }
  }

  /// A whole number.
  mutating func add(_ name: String? = nil, _ value: some BinaryInteger) {
    begin(name)
    appendJSONInteger(UInt64(value), to: &bytes)
  }

  /// True or false.
  mutating func add(_ name: String? = nil, _ value: Bool) {
    begin(name)
    appendJSON(value ? "true" : "false", to: &bytes)
  }

  /// The text as a line.
  mutating func finish() -> [UInt8] {
    bytes.append(UInt8(ascii: "\n"))
    return bytes
  }
}
