import Engine
import Wire

// What fate does to processes and their hosts.

extension World {
  /// Whether a cluster can live on without these hosts' memory: every configuration that any node has keeps a majority
  /// of voters whose memory is there.
  ///
  /// - Parameter byNewest: of the synced sets only the newest count; others may have grown since, and not all know.
  func canSpare(_ victim: Int, byNewest: Bool = false) -> Bool {
    // What a leader is about to commit can't be seen yet: it may count on those that died a moment ago, and place
    // partitions on them, until it misses them.
    if now < lastKill + 2 * World.second { return false }
    let written = hosts.filter { $0.control?.isWritten == true }.map { $0.control!.cluster }
    // A member that doesn't know that its cluster took a write may give up any time.
    let alive = hosts.indices.filter { number in
      guard number != victim, let control = hosts[number].control, control.hasCluster else { return false }
      return control.isWritten != false || !written.contains(control.cluster)
    }.map { hosts[$0].control!.id }
    for host in hosts {
      guard let voters = host.control?.voters, !voters.isEmpty else { continue }
      if voters.count(where: { alive.contains($0) }) <= voters.count / 2 { return false }
    }
    return canSpareCopies(alive, byNewest)
  }

  /// Whether enough holders of each partition are left to answer a fence.
  private func canSpareCopies(_ alive: [NodeID], _ byNewest: Bool) -> Bool {
    let topologies = hosts.compactMap { $0.control?.topology }
    let counting = topologies.filter { topology in
      !byNewest || !topologies.contains { $0.cluster == topology.cluster && $0.index > topology.index }
    }
    // What a leader has proposed may be committed after its next pause, by itself or by its successor.
    let planned = hosts.compactMap { $0.control?.planned }
    return counting.allSatisfy { $0.canAnswer(alive) } && planned.allSatisfy { $0.canAnswer(alive) }
  }

  // MARK: Crashes

  mutating func crash() {
    let number = chance.permille(200) ? leader ?? 0 : victim()
    guard hosts[number].control != nil, options.mayLoseMajority || canSpare(number) else { return }
    kill(number)
    // Often sooner than anyone notices.
    let isQuick = chance.permille(400)
    if isQuick { report.faults.quickRestarts += 1 }
    revive(number, within: isQuick ? 300_000_000 : 15 * World.second)
  }

  /// Ends a process at once, with all it knew.
  mutating func kill(_ number: Int) {
    report.faults.crashes += 1
    if number == leader { report.faults.leaderCrashes += 1 }
    if isTransferring { report.faults.crashesInTransfers += 1 }
    if isJoining { report.faults.crashesInJoins += 1 }
    lastKill = now
    let isSilent = options.darkness > 0 && chance.permille(options.darkness)
    if isSilent { report.faults.darkHosts += 1 }
    trace.add(now, name(number), isSilent ? "goes dark" : "crashes")
    stop(number, silently: isSilent)
  }

  mutating func revive(_ number: Int, within time: UInt64) {
    queue.push(.start, at: now + chance.below(time), host: number, detail: hosts[number].incarnation)
  }

  /// Whether some leader is handing over, and whether some node is being taken in.
  var isTransferring: Bool { hosts.contains { $0.control?.isTransferring == true } }
  var isJoining: Bool { hosts.contains { $0.control?.isJoining == true } }

  /// Kills many at once: as many as can be spared, a majority, or all.
  mutating func massacre() {
    var victims = hosts.indices.filter { hosts[$0].control != nil }
    while victims.count > 1, chance.permille(600) { victims.remove(at: chance.below(victims.count)) }
    if options.mayLoseMajority {
      let alive = hosts.count { $0.control != nil }
      if victims.count == alive { report.faults.lossesOfAll += 1 }
      if 2 * victims.count > alive { report.faults.majorityLosses += 1 }
    } else {
      report.faults.minorityLosses += 1
    }
    for number in victims where hosts[number].control != nil && (options.mayLoseMajority || canSpare(number)) {
      kill(number)
      revive(number, within: 8 * World.second)
    }
  }

  /// Restarts one host after the other, each when the one before it should be back.
  mutating func restart(_ number: Int) {
    if number == 0 { report.faults.rollingRestarts += 1 }
    guard number < hosts.count else { return }
    if hosts[number].control != nil, canSpare(number) {
      kill(number)
      queue.push(.start, at: now + 500_000_000, host: number, detail: hosts[number].incarnation)
    }
    queue.push(.fate, at: now + 4 * World.second, host: number + 1, detail: Stroke.restartNext.rawValue)
  }

  // MARK: Time

  mutating func pause() {
    let number = victim()
    guard hosts[number].control != nil, now >= hosts[number].pausedUntil else { return }
    let time = chance.permille(500) ? chance.below(500_000_000) : chance.below(5 * World.second)
    report.faults.pauses += 1
    if time > options.settings.lease { report.faults.longPauses += 1 }
    trace.add(now, name(number), "pauses for \(time / 1_000_000) ms")
    if options.pausesInTurns > 0, hosts[number].machine != nil, chance.permille(options.pausesInTurns) {
      hosts[number].pausesInTurn = time
    } else {
      hosts[number].pausedUntil = now + time
    }
  }

  /// A host that for a while takes long for everything.
  mutating func slowDown() {
    let number = victim()
    report.faults.slowHosts += 1
    hosts[number].slowUntil = now + chance.below(5 * World.second)
    hosts[number].slowness = 1_000_000 + chance.below(120_000_000)
    trace.add(now, name(number), "is slow by up to \(hosts[number].slowness / 1_000_000) ms")
  }

  /// A clock jumps ahead by less than the margin that leases have.
  mutating func jump() {
    let number = chance.below(hosts.count)
    report.faults.jumps += 1
    hosts[number].offset += chance.below(options.settings.leaseMargin / 3)
  }

  // MARK: Wishes

  mutating func leave() {
    let number = victim()
    guard let members = hosts[number].control?.topology?.memberCount, members > 1 else { return }
    report.faults.leaves += 1
    if isJoining { report.faults.leavesInJoins += 1 }
    trace.add(now, name(number), "wants to leave")
    hosts[number].control!.leave()
  }

  mutating func write() {
    let number = chance.below(hosts.count)
    hosts[number].control?.markWritten()
  }
}

extension ControlPlane {
  /// The topology as it will be if all that this node's log holds is committed; nil if nothing is left to commit.
  fileprivate var planned: Topology? {
    guard var topology, let last = raft?.lastIndex, last > topology.index else { return nil }
    while topology.index < last, let entry = entry(at: topology.index.next) {
      if entry.kind == .command, let command = try? TopologyCommand(decoding: entry.payload) {
        topology.apply(command, at: topology.index.next)
      } else {
        topology.applyNothing(at: topology.index.next)
      }
    }
    return topology
  }
}

extension Topology {
  /// Whether enough of each synced set are among these nodes to answer a fence.
  fileprivate func canAnswer(_ alive: [NodeID]) -> Bool {
    let isAlive = members.map { $0.map { alive.contains($0.id) } ?? false }
    return partitions.withUnsafeBufferPointer { entries in
      entries.indices.allSatisfy { partition in
        var left = 0
        for index in 0..<entries[partition].synced.count where isAlive[Int(entries[partition].synced[index])] {
          left += 1
        }
        return entries[partition].synced.isEmpty || left >= entries[partition].promisesNeeded
      }
    }
  }
}
