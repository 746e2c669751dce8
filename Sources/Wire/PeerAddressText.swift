extension PeerAddress: CustomStringConvertible {
  /// `10.0.0.7:3100`, `[fd00::1]:3100` (RFC 5952); `none` for nowhere.
  package var description: String { self == .none ? "none" : "\(host.contains(":") ? "[\(host)]" : host):\(port)" }

  /// The address without its port: `10.0.0.7`, `fd00::1`.
  package var host: String {
    if let v4 { return "\(v4 >> 24).\(v4 >> 16 & 255).\(v4 >> 8 & 255).\(v4 & 255)" }
    let groups = (0..<8).map { UInt16(truncatingIfNeeded: ($0 < 4 ? high : low) >> UInt64(48 - 16 * ($0 % 4))) }
    let zeros = PeerAddress.longestRun(groups)
    func text(_ part: ArraySlice<UInt16>) -> String { part.map { String($0, radix: 16) }.joined(separator: ":") }
    guard zeros.count > 1 else { return text(groups[...]) }
    return text(groups[..<zeros.lowerBound]) + "::" + text(groups[zeros.upperBound...])
  }

  /// The longest run of zero groups, the first of equal ones.
  private static func longestRun(_ groups: [UInt16]) -> Range<Int> {
    var longest = 0..<0
    var start = 0
    for index in 0...groups.count where index == groups.count || groups[index] != 0 {
      if index - start > longest.count { longest = start..<index }
      start = index + 1
    }
    return longest
  }
}
