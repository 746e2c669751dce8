/// Where another node may be found, as an operator says it: a host, and the ports to try there.
package struct JoinTarget: Equatable, Sendable {
  /// A host by its address or by its name.
  package enum Host: Equatable, Hashable, Sendable {
    /// An IPv4 address, first byte most significant.
    case v4(UInt32)
    /// An IPv6 address, its first eight bytes and its last eight, first byte most significant.
    case v6(high: UInt64, low: UInt64)
    /// A name to be resolved, in lower case; it may have several addresses, and others later.
    case name(String)
  }

  /// The host.
  package let host: Host
  /// At most `JoinTargets.maximumPorts`, none of them 0.
  package let ports: ClosedRange<UInt16>

  package init(host: Host, ports: ClosedRange<UInt16>) {
    self.host = host
    self.ports = ports
  }
}

/// A list of places that can't be used, with a sentence that quotes the place.
package struct JoinError: Error, Equatable {
  /// What is wrong and what is expected, without the name of the option.
  package let sentence: String
}

/// The places of `--join`, in order, each once: a comma list of `host`, `host:port` and `host:first-last`.
///
/// A host is an IPv4 address, an IPv6 address in brackets (`[fd00::1]`, `[fd00::1]:3100`; without a zone), or a name of
/// letters, digits, hyphens and, since container engines name services so, underscores (RFC 1123, section 2.1).
package struct JoinTargets: Equatable, Sendable {
  /// In the order given.
  package private(set) var targets: [JoinTarget] = []

  /// Places at most: each gets a datagram per port and beacon.
  package static var maximumCount: Int { 64 }
  /// Ports of one place at most.
  package static var maximumPorts: Int { 64 }

  package init() {}

  /// Reads a comma list; an empty text is an empty list. Blanks around a place don't matter.
  ///
  /// - Parameter defaultPort: of a place without one; not 0.
  /// - Throws: `JoinError`.
  package init(parsing text: String, defaultPort: UInt16) throws(JoinError) {
    guard text.utf8.contains(where: { $0 != 32 }) else { return }
    for part in text.utf8.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
      let trimmed = JoinTargets.trimmed(part)
      guard !trimmed.isEmpty else {
        throw JoinError(sentence: "\"\(text)\" has an empty place; \(JoinTargets.expected).")
      }
      let target = try JoinTarget(parsing: trimmed, defaultPort: defaultPort)
      if targets.contains(target) { continue }
      guard targets.count < JoinTargets.maximumCount else {
        throw JoinError(sentence: "there are more than \(JoinTargets.maximumCount) places; name a few that are known.")
      }
      targets.append(target)
    }
  }

  /// The names among the hosts, each once, in order: what a resolver is to be asked for.
  package var names: [String] {
    var names: [String] = []
    for case .name(let name) in targets.map(\.host) where !names.contains(name) { names.append(name) }
    return names
  }

  static var expected: String {
    "expected are places such as 10.0.0.7, node-1:3100, 10.0.0.7:3100-3110 or [fd00::1]:3100, separated by commas"
  }

  private static func trimmed(_ part: Substring.UTF8View) -> Substring.UTF8View {
    var part = part.drop { $0 == 32 }
    while part.last == 32 { part.removeLast() }
    return part
  }
}

extension JoinTarget {
  fileprivate init(parsing text: Substring.UTF8View, defaultPort: UInt16) throws(JoinError) {
    func refusal(_ why: String) -> JoinError { JoinError(sentence: "\"\(Substring(text))\" \(why)") }
    let host: Substring.UTF8View
    var ports: Substring.UTF8View?
    let isBracketed = text.first == UInt8(ascii: "[")
    if isBracketed {
      guard let end = text.firstIndex(of: UInt8(ascii: "]")) else { throw refusal("lacks the closing bracket.") }
      host = text[text.index(after: text.startIndex)..<end]
      let rest = text[text.index(after: end)...]
      if let first = rest.first {
        guard first == UInt8(ascii: ":") else { throw refusal("has something else than a port behind the bracket.") }
        ports = rest.dropFirst()
      }
    } else {
      let pieces = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
      guard pieces.count <= 2 else {
        throw refusal("is no host: an IPv6 address needs brackets, as in [fd00::1]:3100.")
      }
      host = pieces[0]
      if pieces.count == 2 { ports = pieces[1] }
    }
    guard let found = isBracketed ? Host(v6: host) : Host(v4OrName: host) else {
      throw refusal(
        isBracketed
          ? "has no IPv6 address in its brackets (zones are not supported)."
          : "has no valid host; \(JoinTargets.expected).")
    }
    if found == .v4(0) || found == .v6(high: 0, low: 0) {
      throw refusal("stands for every address of this machine; name one that other nodes have.")
    }
    self.host = found
    guard let ports else {
      self.ports = defaultPort...defaultPort
      return
    }
    guard let range = JoinTarget.range(ports) else {
      throw refusal("has no port from 1 to 65535, or a range of ports such as 3100-3110, behind the colon.")
    }
    guard range.count <= JoinTargets.maximumPorts else {
      throw refusal("has \(range.count) ports; a range may have \(JoinTargets.maximumPorts).")
    }
    self.ports = range
  }

  private static func range(_ text: Substring.UTF8View) -> ClosedRange<UInt16>? {
    let ends = text.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false).map(port)
    guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1], first <= last else { return nil }
    return first...last
  }

  private static func port(_ text: Substring.UTF8View) -> UInt16? {
    guard let value = number(text, base: 10, maximumDigits: 5), value <= UInt16.max, value > 0 else { return nil }
    return UInt16(value)
  }

  /// A number of 1 to so many digits and nothing else.
  fileprivate static func number(_ text: some Collection<UInt8>, base: UInt32, maximumDigits: Int) -> UInt32? {
    guard !text.isEmpty, text.count <= maximumDigits else { return nil }
    var value: UInt32 = 0
    for byte in text {
      let digit: UInt32
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = UInt32(byte - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = UInt32(byte - UInt8(ascii: "a")) + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = UInt32(byte - UInt8(ascii: "A")) + 10
      default: return nil
      }
      guard digit < base else { return nil }
      value = value * base + digit
    }
    return value
  }
}

extension JoinTarget.Host {
  /// A name, or an IPv4 address: what has only digits and dots must be one.
  fileprivate init?(v4OrName text: Substring.UTF8View) {
    if text.allSatisfy({ $0 == UInt8(ascii: ".") || ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9")) }) {
      guard let address = JoinTarget.Host.v4(text) else { return nil }
      self = .v4(address)
      return
    }
    // A final dot says that the name is complete.
    let labels = (text.last == UInt8(ascii: ".") ? text.dropLast() : text)
      .split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard text.count <= 253, labels.allSatisfy(JoinTarget.Host.isLabel) else { return nil }
    self = .name(Substring(text).lowercased())
  }

  private static func isLabel(_ label: Substring.UTF8View) -> Bool {
    guard (1...63).contains(label.count), label.first != UInt8(ascii: "-"), label.last != UInt8(ascii: "-") else {
      return false
    }
    return label.allSatisfy { byte in
      let folded = byte | 0x20
      return (folded >= UInt8(ascii: "a") && folded <= UInt8(ascii: "z"))
        || (byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")) || byte == UInt8(ascii: "-")
        || byte == UInt8(ascii: "_")
    }
  }

  /// Four decimals. Leading zeros are refused: some read them as octal.
  private static func v4(_ text: Substring.UTF8View) -> UInt32? {
    let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var address: UInt32 = 0
    for part in parts {
      guard let value = JoinTarget.number(part, base: 10, maximumDigits: 3), value <= 255,
        part.count == 1 || part.first != UInt8(ascii: "0")
      else { return nil }
      address = address << 8 | value
    }
    return address
  }

  /// An IPv6 address as RFC 4291, section 2.2, writes it; an IPv4-mapped one becomes IPv4.
  fileprivate init?(v6 text: Substring.UTF8View) {
    var pieces = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard pieces.count >= 3, pieces.count <= 9 else { return nil }
    var tail: [UInt32] = []
    if let last = pieces.last, last.contains(UInt8(ascii: ".")) {
      guard let v4 = JoinTarget.Host.v4(last) else { return nil }
      tail = [v4 >> 16, v4 & 0xFFFF]
      pieces.removeLast()
      // "::1.2.3.4" leaves the empty piece of "::" last.
      if pieces.last?.isEmpty == true && pieces.count > 1 { pieces.append("".utf8[...]) }
    }
    guard let groups = JoinTarget.Host.groups(pieces, and: tail) else { return nil }
    let high = groups[..<4].reduce(0) { $0 << 16 | UInt64($1) }
    let low = groups[4...].reduce(0) { $0 << 16 | UInt64($1) }
    self = high == 0 && low >> 32 == 0xFFFF ? .v4(UInt32(truncatingIfNeeded: low)) : .v6(high: high, low: low)
  }

  /// The eight groups of an address that was split at its colons: "::" shows as one empty piece, at either end as two.
  private static func groups(_ pieces: [Substring.UTF8View], and tail: [UInt32]) -> [UInt32]? {
    var pieces = pieces[...]
    if pieces.first?.isEmpty == true {
      guard pieces.dropFirst().first?.isEmpty == true else { return nil }
      pieces.removeFirst()
    }
    if pieces.count > 1, pieces.last?.isEmpty == true {
      guard pieces.dropLast().last?.isEmpty == true else { return nil }
      pieces.removeLast()
    }
    var groups: [UInt32] = []
    var gap: Int?
    for piece in pieces {
      if piece.isEmpty {
        guard gap == nil else { return nil }
        gap = groups.count
      } else {
        guard let group = JoinTarget.number(piece, base: 16, maximumDigits: 4) else { return nil }
        groups.append(group)
      }
    }
    groups += tail
    guard let gap else { return groups.count == 8 ? groups : nil }
    // "::" stands for at least one group.
    guard groups.count < 8 else { return nil }
    groups.insert(contentsOf: [UInt32](repeating: 0, count: 8 - groups.count), at: gap)
    return groups
  }
}
