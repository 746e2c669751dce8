import Engine
import Wire

/// The configuration file: a JSON object with the command line's names, and `limits` with the names of `Limits`.
enum ConfigurationFile {
  /// Bytes of a configuration file at most.
  private static var maximumCount: Int { 1 << 20 }

  /// Reads settings and limits from a file.
  static func read(
    _ path: String, into values: inout [String: String], _ limits: inout Limits
  ) throws(SettingError) {
    guard let text = readFile(path, limit: maximumCount) else {
      throw SettingError(sentence: "--config: the file \"\(path)\" can't be read.")
    }
    let failure = text.withUnsafeBytes { (bytes) -> SettingError? in
      do throws(SettingError) {
        try parse(bytes, into: &values, &limits)
        return nil
      } catch {
        return error
      }
    }
    if let failure { throw SettingError(sentence: "--config \(path): \(failure.sentence)") }
  }

  private static func parse(
    _ bytes: UnsafeRawBufferPointer, into values: inout [String: String], _ limits: inout Limits
  ) throws(SettingError) {
    let document: JSONValue
    do {
      document = try JSONValue(validating: bytes)
    } catch {
      throw SettingError(sentence: "not JSON at byte \(error.offset): \(error.reason.sentence)")
    }
    guard document.kind == .object else { throw SettingError(sentence: "the file must hold a JSON object.") }
    var members = document.members()
    while let member = members.next() {
      let name = try string(member.name)
      if name == "limits" {
        try parse(limits: member.value, into: &limits)
      } else if ServerSettings.names.contains(name) {
        values[name] = try text(member.value, isList: name == "join")
      } else {
        let known = ServerSettings.names.joined(separator: ", ")
        throw SettingError(sentence: "\"\(name)\" is not known; known are \(known) and limits.")
      }
    }
  }

  private static func parse(limits object: JSONValue, into limits: inout Limits) throws(SettingError) {
    guard object.kind == .object else { throw SettingError(sentence: "limits is an object of names and numbers.") }
    var members = object.members()
    while let member = members.next() {
      let name = try string(member.name)
      guard let limit = Limits.named.first(where: { $0.name == name }) else {
        let known = Limits.named.map(\.name).joined(separator: ", ")
        throw SettingError(sentence: "the limit \"\(name)\" is not known; known are \(known).")
      }
      guard let value = member.value.integer, limit.range.contains(Int(value)) else {
        let range = limit.range
        throw SettingError(
          sentence: "the limit \"\(name)\" is a number from \(range.lowerBound) to \(range.upperBound).")
      }
      limits[keyPath: limit.path] = Int(value)
    }
  }

  /// A setting's value as the command line would have it: where that takes a comma list, an array of texts will do.
  private static func text(_ value: JSONValue, isList: Bool) throws(SettingError) -> String {
    switch value.kind {
    case .string: return try string(value)
    case .array where isList:
      var texts: [String] = []
      var elements = value.elements()
      while let element = elements.next() { texts.append(try string(element)) }
      return texts.joined(separator: ",")
    case .number, .boolean: return String(decoding: value.bytes, as: UTF8.self)
    default: throw SettingError(sentence: "a text or a number is expected, not \(value.kind).")
    }
  }

  private static func string(_ value: JSONValue) throws(SettingError) -> String {
    var bytes: [UInt8] = []
    guard value.string(into: &bytes) else { throw SettingError(sentence: "a text is expected.") }
    return String(decoding: bytes, as: UTF8.self)
  }
}
