import Wire

// When a node that joins is ready: a balancer that sends it requests, and an orchestrator that then restarts the next
// node, must lose nothing by it.
extension Core {
  /// What a node that joined still lacks to be ready, and how far it is, in words.
  struct Progress {
    /// Partitions that it should hold, and those whose synced set it is in.
    var wanted = 0
    var inStep = 0
    /// Members that own partitions, and those that this core can send operations to.
    var owners = 0
    var reachable = 0
    /// Partitions that have no owner now.
    var ownerless = 0

    /// Whether it holds what it should and reaches everybody it has to.
    var isComplete: Bool { wanted > 0 && inStep == wanted && reachable == owners && ownerless == 0 }
  }

  /// How far this node has come since it joined; nil where it is alone.
  func progress() -> Progress? {
    guard let view = standing.view, let topology = view.topology, topology.memberCount > 1,
      let own = topology.slot(of: view.identity.id)
    else { return nil }
    var progress = Progress()
    var isOwner = [Bool](repeating: false, count: topology.members.count)
    for partition in topology.partitions.indices {
      let entry = topology.partitions[partition]
      if entry.replicas.contains(own) {
        progress.wanted += 1
        if entry.synced.contains(own) { progress.inStep += 1 }
      }
      if let owner = entry.owner, entry.isActive { isOwner[Int(owner)] = true } else { progress.ownerless += 1 }
    }
    for slot in isOwner.indices where isOwner[slot] && slot != Int(own) {
      progress.owners += 1
      let link = slot < routes.linkOfSlot.count ? routes.linkOfSlot[slot] : -1
      if link >= 0, links[link].pointee.state == .up { progress.reachable += 1 }
    }
    return progress
  }

  /// What keeps a node that has joined from being ready; nil if nothing does. Asked only until it was ready once: a
  /// node that serves doesn't stop being ready because another one fails, or all would at the same time.
  mutating func immaturity() -> Problem? {
    guard !standing.wasReady else { return nil }
    guard let progress = progress(), !progress.isComplete else {
      standing.wasReady = true
      return nil
    }
    if progress.inStep < progress.wanted || progress.wanted == 0 {
      return Problem(503, "The node is still receiving its copies of the data.")
    }
    return Problem(503, "The node can't reach the owners of all partitions yet.")
  }

  /// The lines of the verbose answer.
  func progressText() -> String {
    guard let progress = progress() else { return "" }
    func line(_ isGood: Bool, _ text: String) -> String { "[\(isGood ? "+" : standing.wasReady ? "!" : "-")]\(text)\n" }
    return line(
      progress.inStep == progress.wanted && progress.wanted > 0,
      "replicas: \(progress.inStep) of \(progress.wanted) in step")
      + line(
        progress.reachable == progress.owners && progress.ownerless == 0,
        "owners: \(progress.reachable) of \(progress.owners) others reached"
          + (progress.ownerless == 0 ? "" : ", \(progress.ownerless) partitions without one"))
  }
}
