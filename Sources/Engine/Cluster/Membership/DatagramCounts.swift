import Wire

/// Datagrams of the control plane since the start, by kind: for `/metrics`.
package struct DatagramCounts: Sendable {
  /// Numbers of kinds are below this.
  static let kinds = 40

  private var sent = InlineArray<40, UInt64>(repeating: 0)
  private var received = InlineArray<40, UInt64>(repeating: 0)
  /// Those that the kernel didn't take because its queues were full or there was no way; of any kind.
  package var dropped: UInt64 = 0

  package init() {}

  mutating func countSent(_ kind: BeaconKind) { sent[Int(kind.rawValue)] &+= 1 }
  mutating func countReceived(_ kind: BeaconKind) { received[Int(kind.rawValue)] &+= 1 }

  /// Words of `append`.
  static var words: Int { 2 * kinds + 1 }

  /// Adds all numbers as words.
  func append(to text: inout [UInt8]) {
    func add(_ value: UInt64) { withUnsafeBytes(of: value) { text.append(contentsOf: $0) } }
    for kind in 0..<DatagramCounts.kinds { add(sent[kind]) }
    for kind in 0..<DatagramCounts.kinds { add(received[kind]) }
    add(dropped)
  }
}

extension MetricsText {
  /// The lines about datagrams; `words` as `DatagramCounts.append` adds them.
  mutating func addDatagrams(_ words: ArraySlice<UInt64>) {
    describe("kvd_cluster_datagrams_total", "counter", "Datagrams of the control plane, by direction and kind.")
    for (direction, first) in [("sent", 0), ("received", DatagramCounts.kinds)] {
      for kind in BeaconKind.allCases {
        let count = words[words.startIndex + first + Int(kind.rawValue)]
        if count > 0 || kind == .hello {
          add("kvd_cluster_datagrams_total{direction=\"\(direction)\",kind=\"\(kind)\"} \(count)")
        }
      }
    }
    describe("kvd_cluster_datagrams_dropped_total", "counter", "Datagrams that the kernel didn't take.")
    add("kvd_cluster_datagrams_dropped_total \(words[words.startIndex + 2 * DatagramCounts.kinds])")
  }
}
