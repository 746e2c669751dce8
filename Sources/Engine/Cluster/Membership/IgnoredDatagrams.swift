import Wire

/// Why a datagram was ignored. Bad input is normal input: each kind is counted, and told once.
package enum IgnoredReason: UInt8, CaseIterable, Sendable {
  /// Not a datagram of kvd, cut short, or with values that no field has.
  case malformed
  /// Longer than any datagram.
  case oversized
  /// Of another version of the protocol.
  case version
  /// Changed on its way.
  case checksum
  /// Not sealed with this node's key; or sealed, and this node has none.
  case unauthenticated
  /// It was taken before, or is too old to tell.
  case replayed
  /// It claims to come from a node that speaks from elsewhere.
  case forged
  /// Meant for another cluster.
  case foreign
  /// Meant for another node: for instance for the process that had this address before.
  case misdirected
  /// From a node that is no member.
  case stranger
}

/// Datagrams that were ignored, counted by reason.
package struct IgnoredDatagrams: Equatable, Sendable {
  private var counts = InlineArray<10, Int>(repeating: 0)
  /// When each reason may be told again; 0 before the first time.
  private var nextNews = InlineArray<10, UInt64>(repeating: 0)

  package init() { assert(IgnoredReason.allCases.count == counts.count) }

  /// Equal counts.
  package static func == (a: IgnoredDatagrams, b: IgnoredDatagrams) -> Bool {
    for index in a.counts.indices where a.counts[index] != b.counts[index] { return false }
    return true
  }

  /// How many were ignored for this reason.
  package subscript(reason: IgnoredReason) -> Int { counts[Int(reason.rawValue)] }

  /// All of them.
  package var total: Int {
    var total = 0
    for index in counts.indices { total += counts[index] }
    return total
  }

  /// Counts one; returns whether it is worth a log line: the first of its kind is, and one every ten minutes.
  mutating func count(_ reason: IgnoredReason, _ now: UInt64) -> Bool {
    let index = Int(reason.rawValue)
    counts[index] += 1
    guard now >= nextNews[index] else { return false }
    nextNews[index] = now + ClusterLimits.ignoredNews
    return true
  }
}

extension IgnoredReason {
  init(_ error: BeaconError) {
    switch error {
    case .oversized: self = .oversized
    case .version: self = .version
    case .checksum: self = .checksum
    case .unauthenticated: self = .unauthenticated
    case .truncated, .malformed, .magic, .kind: self = .malformed
    }
  }
}
