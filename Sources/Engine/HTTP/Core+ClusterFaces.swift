import Wire

// The cluster's faces: `/`, `/health`, `/readyz`, `/v1/cluster` and `/v1/ring`. Each is what this node knows, which may
// be old news on a node that is cut off: `quorum` says so.
extension Core {
  /// What a member is called: its name, or while that isn't known the first digits of its id.
  static func label(_ member: Member) -> String { member.name.isEmpty ? member.id.short : member.name }

  private func label(_ id: NodeID?, _ topology: Topology?) -> String? {
    guard let id else { return nil }
    if id == ownID { return configuration.name }
    return topology?.member(id).map(Core.label) ?? id.short
  }

  var ownID: NodeID { NodeID(high: configuration.nodeID.0, low: configuration.nodeID.1) }

  /// Whether this node leads: the goose, of which there is exactly one where a majority is.
  private var isGoose: Bool {
    guard let view = standing.view else { return true }
    return view.role == .leader && standing.hasLease
  }

  private func appendNode(to json: inout JSONWriter) {
    let view = standing.view
    json.object("node") {
      $0.add("name", configuration.name)
      $0.add("id", "\(ownID)")
      $0.add("state", state)
    }
    json.add("leader", view == nil ? configuration.name : label(view?.leader, view?.topology))
    appendCluster(to: &json)
    json.add("epoch", view == nil ? 1 : view?.topology?.version ?? 0)
    json.add("quorum", hasQuorum)
  }

  private func appendCluster(to json: inout JSONWriter) {
    let view = standing.view
    json.object("cluster") {
      $0.add("name", view?.identity.clusterName ?? "kvd")
      $0.add("id", view.map { $0.cluster == .none ? nil : "\($0.cluster)" } ?? "\(ownID)")
    }
  }

  /// Whether the node reaches a majority: it may act as an owner.
  private var hasQuorum: Bool { standing.view.map { !$0.isForming && standing.hasLease } ?? true }

  /// The node's own state in a word.
  private var state: String {
    guard let view = standing.view else { return "active" }
    guard let topology = view.topology else { return view.cluster == .none ? "seeking" : "joining" }
    guard let own = topology.member(ownID) else { return "joining" }
    return "\(own.state)"
  }

  // MARK: GET /

  func statusText() -> [UInt8] {
    var json = JSONWriter()
    json.object {
      $0.add("status", isGoose ? "goose" : "duck")
      appendNode(to: &$0)
      $0.add("version", configuration.version)
      $0.add("cores", coreCount)
      $0.add("uptime_seconds", (wall - min(wall, startedAt)) / 1000)
    }
    return json.finish()
  }

  // MARK: GET /health

  /// Answers with 503 while the node is read-only.
  mutating func answerHealth(_ entry: BatchEntry) {
    let view = standing.view
    var isDegraded = view?.rivals.isEmpty == false
    var nodes: [(name: String, id: NodeID, health: HealthState, failedAttempts: Int, state: MemberState)] = []
    for health in view?.health ?? [] {
      guard let member = view?.topology?.member(health.id) else { continue }
      if health.state != .healthy || member.state == .down { isDegraded = true }
      let isTaken = nodes.contains { $0.name == Core.label(member) }
      let name = isTaken ? "\(Core.label(member))-\(member.id.short)" : Core.label(member)
      nodes.append((name, member.id, health.state, health.failedAttempts, member.state))
    }
    var json = JSONWriter()
    json.object {
      $0.add("status", !hasQuorum ? "read-only" : isDegraded ? "degraded" : "healthy")
      $0.add("role", isGoose ? "goose" : "duck")
      $0.add("quorum", hasQuorum)
      $0.add("state", state)
      $0.object("nodes") {
        for node in nodes {
          $0.object(node.name) {
            $0.add("status", node.health.word)
            $0.add("failed_attempts", node.failedAttempts)
            $0.add("state", "\(node.state)")
            $0.add("id", "\(node.id)")
          }
        }
      }
    }
    answer(entry, status: hasQuorum ? 200 : 503, json.finish(), ContentType.json)
  }

  // MARK: GET /readyz

  /// Why the node shouldn't get requests; nil when it may.
  private var unreadiness: Problem? {
    if isShuttingDown { return Problem(503, "The node is shutting down.") }
    guard let view = standing.view else { return nil }
    if view.topology == nil && view.cluster == .none { return Problem(503, "The node is seeking its cluster.") }
    if view.isForming { return Problem(503, "The node is joining its cluster.") }
    if view.isLeaving { return Problem(503, "The node is leaving its cluster.") }
    if !standing.hasLease { return Problem(503, "The node is read-only: it can't reach a majority of its cluster.") }
    return nil
  }

  /// Answers in one word, or with a line per check.
  mutating func answerReady(_ entry: BatchEntry, isVerbose: Bool) throws(Problem) {
    let unreadiness = unreadiness ?? immaturity()
    guard isVerbose else {
      if let unreadiness { throw unreadiness }
      return answer(entry, text: "ok\n")
    }
    var text = "[+]listener ok\n[+]store ok\n"
    let view = standing.view
    let members = view?.topology?.memberCount ?? 1
    let isIn = view?.isForming != true
    text += isIn ? "[+]cluster ok: \(members) node\(members == 1 ? "" : "s")\n" : "[-]cluster failed: \(state)\n"
    if isIn {
      let leader = label(view?.leader, view?.topology) ?? (view == nil ? configuration.name : "none")
      text += hasQuorum ? "[+]quorum ok: leader \(leader)\n" : "[-]quorum failed: read-only\n"
    }
    if isIn { text += progressText() }
    if view?.isLeaving == true || isShuttingDown { text += "[-]lifetime failed: leaving\n" }
    for rival in view?.rivals ?? [] {
      text += "[!]rivals: another cluster of this name, \(rival.cluster), is at \(rival.address)\n"
    }
    if members == 2 { text += "[!]size: a cluster of two nodes can't fail over safely; add a third\n" }
    text += unreadiness == nil ? "readyz check passed\n" : "readyz check failed\n"
    answer(entry, status: unreadiness == nil ? 200 : 503, Array(text.utf8), ContentType.plainText)
  }

  // MARK: GET /v1/cluster

  /// The text, once all cores have told their numbers.
  func clusterText(_ numbers: ClusterNumbers, showsData: Bool) -> [UInt8] {
    var json = JSONWriter()
    let view = standing.view
    json.object {
      appendNode(to: &$0)
      $0.add("term", view?.term.rawValue ?? 1)
      $0.add("written", view?.topology?.isWritten ?? true)
      $0.add("commits", numbers.commits)
      $0.add("keys", numbers.keys)
      $0.add("topology", view?.topology.map { String($0.checksum, radix: 16) })
      appendData(numbers.data, to: &$0, showsAll: showsData)
      appendMembers(to: &$0)
      appendPartitions(to: &$0)
      $0.array("rivals") {
        for rival in view?.rivals ?? [] {
          $0.object {
            $0.add("id", "\(rival.cluster)")
            $0.add("address", "\(rival.address)")
            $0.add("written", rival.isWritten)
          }
        }
      }
      $0.array("warnings") {
        if view?.topology?.memberCount == 2 {
          $0.add(nil, "A cluster of two nodes can't fail over safely: add a third.")
        }
        if view?.rivals.isEmpty == false {
          $0.add(nil, "Another cluster of this name is there: clients may talk to either.")
        }
      }
    }
    return json.finish()
  }

  private func appendMembers(to json: inout JSONWriter) {
    guard let view = standing.view, let topology = view.topology else { return json.array("members") { _ in } }
    json.array("members") {
      for case (let slot, let member?) in topology.members.enumerated() {
        let health = view.health.first { $0.id == member.id }
        let slot = MemberSlot(slot)
        $0.object {
          $0.add("name", Core.label(member))
          $0.add("id", "\(member.id)")
          $0.add("http", member.http == .none ? nil : "\(member.http)")
          $0.add("peer", member.peer == .none ? nil : "\(member.peer)")
          $0.add("state", "\(member.state)")
          $0.add("status", (health?.state ?? .healthy).word)
          $0.add("failed_attempts", health?.failedAttempts ?? 0)
          $0.add("link", linkState(of: member.id))
          $0.add("role", member.id == view.leader ? "goose" : "duck")
          $0.add("voter", topology.voters.contains(member.id))
          $0.add("partitions", topology.partitions.count { $0.owner == slot && $0.isActive })
          $0.add("replicas", topology.partitions.count { $0.synced.contains(slot) })
        }
      }
    }
  }

  private func appendPartitions(to json: inout JSONWriter) {
    let partitions = standing.view?.topology?.partitions
    json.object("partitions") {
      $0.add("total", partitionCount)
      $0.add("active", partitions?.count { $0.isActive } ?? (standing.view == nil ? partitionCount : 0))
      $0.add("fenced", partitions?.count { !$0.isActive && $0.owner != nil } ?? 0)
      $0.add("stalled", standing.view?.topology?.stalledCount ?? 0)
      $0.add("lost", partitions?.reduce(0) { $0 + Int($1.losses) } ?? 0)
      $0.add("copies", standing.view?.topology?.copies ?? 1)
    }
  }

  // MARK: GET /v1/ring

  /// Where a key lives; without a key, where all do.
  func ringText(_ key: KeyRef?) throws(Problem) -> [UInt8] {
    guard let topology = standing.view?.topology, standing.view?.isForming == false else {
      guard standing.view == nil else { throw .seeking }
      return loneRingText(key)
    }
    func label(_ slot: MemberSlot) -> String { topology.members[Int(slot)].map(Core.label) ?? "?" }
    var json = JSONWriter()
    if let key {
      let entry = topology.partitions[Int(key.partition.rawValue)]
      let owner = entry.owner.flatMap { topology.members[Int($0)] }
      json.object {
        $0.add("partition", key.partition.rawValue)
        $0.add("owner", owner.map(Core.label))
        $0.array("replicas") { for slot in entry.replicas { $0.add(nil, label(slot)) } }
        $0.array("synced") { for slot in entry.synced { $0.add(nil, label(slot)) } }
        $0.add("epoch", entry.epoch.rawValue)
        $0.add("state", topology.word(for: entry))
        $0.add("http", owner.map { "\($0.http)" })
      }
    } else {
      json.object {
        $0.add("epoch", topology.version)
        $0.array("nodes") {
          for case let member? in topology.members {
            $0.object {
              $0.add("name", Core.label(member))
              $0.add("id", "\(member.id)")
              $0.add("http", "\(member.http)")
              $0.add("peer", "\(member.peer)")
            }
          }
        }
        $0.array("partitions") {
          for entry in topology.partitions {
            $0.object {
              $0.add("owner", entry.owner.map(label))
              $0.array("replicas") { for slot in entry.replicas { $0.add(nil, label(slot)) } }
              $0.add("epoch", entry.epoch.rawValue)
              $0.add("state", topology.word(for: entry))
            }
          }
        }
      }
    }
    return json.finish()
  }

  /// The same of a core without a cluster, which has everything.
  private func loneRingText(_ key: KeyRef?) -> [UInt8] {
    var json = JSONWriter()
    json.object {
      if let key { $0.add("partition", key.partition.rawValue) }
      $0.add("owner", configuration.name)
      $0.array("replicas") { $0.add(nil, configuration.name) }
      $0.add("epoch", 1)
    }
    return json.finish()
  }

  // MARK: Metrics

  /// The cluster's part of `/metrics`.
  func appendClusterMetrics(to text: inout MetricsText) {
    guard let view = standing.view else { return }
    let gauges: [(String, String, UInt64)] = [
      ("kvd_cluster_quorum", "Whether the node reaches a majority and may take writes.", hasQuorum ? 1 : 0),
      ("kvd_cluster_leader", "Whether the node leads its cluster.", isGoose ? 1 : 0),
      ("kvd_cluster_term", "The term of the control plane.", view.term.rawValue),
      ("kvd_cluster_epoch", "The version of the topology.", view.topology?.version ?? 0),
      ("kvd_cluster_rivals", "Other clusters of the same name that were heard lately.", UInt64(view.rivals.count)),
      (
        "kvd_cluster_partitions_owned", "Partitions that the node owns.",
        UInt64((0..<partitionCount).count { view.topology?.owns(PartitionID(UInt16($0)), ownID) == true })
      ),
      (
        "kvd_cluster_partitions_stalled", "Partitions without an owner that wait for nodes which are down.",
        UInt64(view.topology?.stalledCount ?? 0)
      ),
      (
        "kvd_cluster_partitions_lost", "How often partitions began anew, empty, since all that held them were gone.",
        UInt64(view.topology?.partitions.reduce(0) { $0 + Int($1.losses) } ?? 0)
      ),
    ]
    for (name, help, value) in gauges {
      text.describe(name, "gauge", help)
      text.add("\(name) \(value)")
    }
    text.describe("kvd_cluster_members", "gauge", "Members of the cluster by state.")
    for state in [MemberState.joining, .active, .down, .leaving] {
      let count = view.topology?.members.count { $0?.state == state } ?? 0
      text.add("kvd_cluster_members{state=\"\(state)\"} \(count)")
    }
    text.describe("kvd_cluster_health", "gauge", "Other members by health as this node sees them.")
    for state in [HealthState.healthy, .suspected, .unhealthy] {
      text.add("kvd_cluster_health{status=\"\(state)\"} \(view.health.count { $0.state == state })")
    }
    text.describe("kvd_cluster_ignored_datagrams_total", "counter", "Datagrams that were ignored, by reason.")
    for reason in IgnoredReason.allCases {
      text.add("kvd_cluster_ignored_datagrams_total{reason=\"\(reason)\"} \(view.ignored[reason])")
    }
  }
}

/// A node's own numbers in `/v1/cluster`.
struct ClusterNumbers {
  var commits: UInt64
  var keys: UInt64
  /// See `Core.appendDigests`.
  var data: ArraySlice<UInt64>
}

extension HealthState {
  /// As `/health` says it.
  var word: String {
    switch self {
    case .healthy: "Healthy"
    case .suspected: "Suspected"
    case .unhealthy: "Unhealthy"
    }
  }
}

extension Topology {
  /// The state of a partition as `/v1/ring` says it.
  fileprivate func word(for entry: PartitionEntry) -> String {
    entry.isActive ? "active" : isStalled(entry) ? "stalled" : "fenced"
  }

  /// A number that nodes agree on which have applied the same entries.
  package var checksum: UInt64 { encoded().withUnsafeBytes { xxh3($0.baseAddress, count: $0.count, seed: 0) } }
}
