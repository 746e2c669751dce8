import Engine
import Reactor
import Wire

/// Log lines about the cluster: one for each event, with a `type`, the node it is `from`, and what it is about.
struct ClusterLog {
  private let sink: LogSink
  private let identity: NodeIdentity

  init(_ sink: LogSink, _ identity: NodeIdentity) {
    self.sink = sink
    self.identity = identity
  }

  /// This node has asked to leave.
  func leaving() { line(.info, "leaving the cluster", "LEAVING", []) }

  /// It was cut off for as long as the operator said.
  func isolated(milliseconds: UInt64) {
    line(.error, "cut off from the cluster for too long", "ISOLATED", [("seconds", "\(milliseconds / 1000)")])
  }

  /// Writes an event of the control plane.
  func write(_ event: ClusterEvent, _ control: borrowing ControlPlane) {
    func name(_ id: NodeID?) -> String {
      guard let id else { return "" }
      if id == identity.id { return identity.name }
      return control.topology?.member(id)?.name ?? id.short
    }
    switch event {
    case .founded(let cluster, let members):
      line(.notice, "founded a cluster", "FOUNDED", [("cluster", "\(cluster)"), ("members", "\(members)")])
    case .joined(let cluster): line(.notice, "joined a cluster", "JOINED", [("cluster", "\(cluster)")])
    case .leader(nil, let term): line(.notice, "no leader", "LEADER", [("term", "\(term.rawValue)")])
    case .leader(let leader, let term):
      line(
        .notice, leader == identity.id ? "this node leads" : "another node leads", "LEADER",
        [("leader", name(leader)), ("term", "\(term.rawValue)")])
    case .health(let id, let state):
      line(state == .healthy ? .info : .warning, "health", "HEALTH", [("node", name(id)), ("state", "\(state)")])
    case .memberAdded(let id, let label):
      line(
        .notice, "member added", "HELLO",
        [("node", label.isEmpty ? id.short : label), ("id", "\(id)"), ("status", "connecting")])
    case .memberState(let id, let state):
      line(
        .notice, "member", "MEMBER",
        [("node", name(id)), ("id", "\(id)"), ("state", "\(state)"), ("status", ClusterLog.status(state))])
    case .memberRemoved(let id):
      line(.notice, "member removed", "REMOVED", [("node", name(id)), ("id", "\(id)"), ("status", "removed")])
    case .voters(let voters):
      line(.info, "voters", "VOTERS", [("voters", voters.map { name($0) }.joined(separator: ","))])
    case .partitions(let change, let count):
      line(.debug, "partitions", "PARTITIONS", [("change", "\(change)"), ("count", "\(count)")])
    case .lost(let count):
      line(
        .error, "partitions begin anew, empty: all nodes that held them are dead or were away for too long", "LOST",
        [("count", "\(count)")])
    case .stalled(let count):
      line(
        count > 0 ? .error : .notice,
        count > 0 ? "partitions wait for nodes that are down and hold them" : "no partition waits any more", "STALLED",
        [("count", "\(count)")])
    case .rival(let cluster, let address):
      line(
        .error, "another cluster of this name is there", "RIVAL",
        [("cluster", "\(cluster)"), ("address", "\(address)")])
    case .lease(let has):
      line(has ? .info : .warning, has ? "may take writes" : "read-only", "LEASE", [("quorum", "\(has)")])
    case .ignored(let reason, let address, let count):
      // Other clusters on the same network are nobody's fault.
      line(
        reason == .foreign || reason == .misdirected ? .info : .warning, "datagrams are ignored", "IGNORED",
        [("reason", "\(reason)"), ("address", "\(address)"), ("count", "\(count)")])
    case .restarting(let reason): line(.notice, "beginning anew", "RESTART", [("reason", "\(reason)")])
    }
  }

  /// How the cluster is connected to a member in this state.
  private static func status(_ state: MemberState) -> String {
    switch state {
    case .joining: "connecting"
    case .active: "connected"
    case .down: "disconnected"
    case .leaving: "disconnecting"
    }
  }

  private func line(_ level: LogLevel, _ message: String, _ type: String, _ fields: [(String, String)]) {
    sink.write(level, message, [("type", type), ("from", identity.name)] + fields)
  }
}
