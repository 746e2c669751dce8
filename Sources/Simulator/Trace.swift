import Engine
import Wire

/// What happened, one line each: time, host and incarnation, event.
struct Trace {
  var isOn: Bool
  private(set) var lines: [String] = []
  /// Lines that are kept; the oldest give way.
  static let maximumLines = 200_000

  init(isOn: Bool) { self.isOn = isOn }

  mutating func add(_ time: UInt64, _ who: String, _ what: @autoclosure () -> String) {
    guard isOn else { return }
    if lines.count == Trace.maximumLines { lines.removeFirst(Trace.maximumLines / 2) }
    lines.append("\(Trace.seconds(time))  \(who.padded(to: 6))  \(what())")
  }

  /// Nanoseconds as seconds with three digits.
  static func seconds(_ time: UInt64) -> String {
    let milliseconds = String(time / 1_000_000 % 1000)
    let zeros = String(repeating: "0", count: 3 - milliseconds.count)
    return "\(String(time / 1_000_000_000).padded(to: 4, left: true)).\(zeros)\(milliseconds)"
  }

  /// An event in words; ids by the names that `name` gives.
  static func words(_ event: ClusterEvent, _ name: (NodeID) -> String) -> String {
    switch event {
    case .founded(let cluster, let members): "founded cluster \(String(cluster.description.prefix(8))) of \(members)"
    case .joined(let cluster): "was taken into cluster \(String(cluster.description.prefix(8)))"
    case .leader(let leader, let term): leader.map { "leader \(name($0)), term \(term.rawValue)" } ?? "no leader"
    case .health(let node, let state): "sees \(name(node)) \(state)"
    case .memberAdded(let node, _): "member \(name(node)) added"
    case .memberState(let node, let state): "member \(name(node)) is \(state)"
    case .memberRemoved(let node): "member \(name(node)) removed"
    case .voters(let voters): "voters \(voters.map(name).joined(separator: " "))"
    case .partitions(let change, let count): "\(count) partitions \(change)"
    case .lost(let count): "\(count) partitions lost"
    case .stalled(let count): "\(count) partitions stalled"
    case .rival(let cluster, _): "heard the rival \(String(cluster.description.prefix(8)))"
    case .lease(let holds): holds ? "holds a lease" : "lost its lease"
    case .restarting(let reason): "begins anew: \(reason)"
    case .ignored(let reason, _, let count): "ignores datagrams: \(reason), \(count) in all"
    }
  }
}

extension String {
  fileprivate func padded(to count: Int, left: Bool = false) -> String {
    let blanks = String(repeating: " ", count: max(0, count - self.count))
    return left ? blanks + self : self + blanks
  }
}
