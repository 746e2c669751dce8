import Engine
import Glibc
import Reactor
import Wire

/// The control plane at work on core 0: datagrams and time go in, and what it asks for is carried out.
final class ClusterNode {
  private let shared: SharedState
  private let control: ControlPlane
  private var chance: Chance
  private var sockets: ClusterSockets
  private var places: JoinPlaces
  private var log: ClusterLog
  /// What the cores were told last, and when news that can wait may be told again.
  private var view: ClusterView
  private var nextNews: UInt64 = 0
  /// The control plane has taken a step since `publish`.
  private var hasStepped = false
  private var hasNewCounts = false
  /// Since when other members exist and this node may not act as an owner.
  private var cutOffSince: UInt64?
  /// Until when a node that leaves waits for the others.
  private var leaveDeadline = UInt64.max

  /// Nanoseconds between two views that tell news which decide nothing.
  private static var newsInterval: UInt64 { 100_000_000 }

  /// A control plane that seeks a cluster.
  ///
  /// - Parameter http: where clients reach this node.
  static func control(_ shared: SharedState, http: SocketAddress) -> ControlPlane {
    var settings = ClusterSettings()
    settings.expect = shared.settings.cluster.expect
    settings.copies = shared.settings.cluster.replicas
    settings.standsInForData = false
    settings.evictAfter = UInt64(shared.settings.limits.evictAfter) * ClusterSettings.millisecond
    settings.abandonAfter = UInt64(shared.settings.limits.abandonAfter) * ClusterSettings.millisecond
    if shared.settings.peer.isLoopback {
      // Between processes of one machine a beacon takes microseconds and none is lost: as many of them in less time.
      settings.seekerHello /= 4
      settings.settle /= 4
    }
    let id = NodeID(high: shared.nodeID.0, low: shared.nodeID.1)
    let identity = NodeIdentity(
      id: id, name: shared.settings.name, clusterName: shared.settings.cluster.name, http: PeerAddress(http))
    return ControlPlane(
      identity, settings: settings, key: shared.settings.cluster.key.map(BeaconKey.init(secret:)),
      now: Clock.monotonic())
  }

  init(_ control: ControlPlane, _ shared: SharedState, _ sockets: ClusterSockets) {
    self.shared = shared
    self.control = control
    var random = SystemRandomNumberGenerator()
    chance = Chance(seed: random.next())
    log = ClusterLog(shared.log, control.identity)
    self.sockets = sockets
    places = JoinPlaces(shared.settings.cluster.join, waker: shared.wakers[0])
    view = ClusterView(control)
  }

  // MARK: The turn

  /// When `turn` wants to be called next, even if nothing happens.
  var deadline: UInt64 {
    // A node on its way out takes no part any more.
    if shared.isStopping.load(ordering: .relaxed) { return .max }
    var deadline = min(control.deadline, min(places.nextLook, leaveDeadline))
    if let cutOffSince, let patience = shared.settings.cluster.exitWhenIsolated {
      deadline = min(deadline, cutOffSince + patience * 1_000_000)
    }
    return deadline
  }

  /// Takes a datagram.
  func receive(_ event: UnsafePointer<Event>, _ loop: inout Loop, now: UInt64) {
    guard !shared.isStopping.load(ordering: .relaxed) else { return }
    let bytes = UnsafeRawBufferPointer(start: event.pointee.bytes, count: event.pointee.count)
    control.receive(bytes, from: PeerAddress(event.pointee.source), now, &chance)
    carryOut(&loop, now)
  }

  /// Does what is due, and tells all cores what changed.
  func turn(_ loop: inout Loop, now: UInt64) {
    if now >= deadline || hasStepped || shared.hasClusterWork { step(&loop, now) }
  }

  /// What was sent and received; nil if that may be no news.
  func takeCounts(_ loop: inout Loop) -> DatagramCounts? {
    guard hasNewCounts else { return nil }
    hasNewCounts = false
    var counts = control.datagrams
    let statistics = loop.statistics.datagrams
    counts.dropped = statistics.dropped + statistics.refused
    return counts
  }

  private func step(_ loop: inout Loop, _ now: UInt64) {
    hasNewCounts = true
    guard !shared.isStopping.load(ordering: .relaxed) else { return }
    places.refresh(now: now, isSeeking: control.topologyVersion == nil)
    if shared.wantsWrites.exchange(false, ordering: .acquiringAndReleasing) {
      control.markWritten()
      control.tick(now, &chance)
      carryOut(&loop, now)
    }
    for bytes in shared.takeMapRequests() {
      guard case .setMap(let entry)? = try? TopologyCommand(decoding: bytes) else { continue }
      control.setMap(entry, now: now)
      control.tick(now, &chance)
      carryOut(&loop, now)
    }
    if let wishes = shared.takeWishes() {
      control.setWishes(wishes, now: now)
      control.tick(now, &chance)
      carryOut(&loop, now)
    }
    if now >= control.deadline {
      sockets.refresh(&loop, now: now)
      control.tick(now, &chance)
      carryOut(&loop, now)
    }
    publish(now)
    watchIsolation(now)
    if now >= leaveDeadline {
      leaveDeadline = .max
      shared.stop(core: 0)
    }
  }

  /// The loop's waker rang: perhaps names were looked up.
  func woken() {
    guard places.isAsking else { return }
    for sentence in places.takeAnswers() { shared.log.write(.notice, sentence, []) }
  }

  /// Leaves the cluster, and stops the node then; at once if nobody else is there.
  func leave(_ loop: inout Loop, now: UInt64) {
    guard !view.isAlone, control.restart == nil else { return shared.stop(core: 0) }
    control.leave()
    leaveDeadline = now + UInt64(shared.settings.limits.leaveTimeout) * 1_000_000
    log.leaving()
    control.tick(now, &chance)
    carryOut(&loop, now)
  }

  // MARK: Out

  private func carryOut(_ loop: inout Loop, _ now: UInt64) {
    hasStepped = true
    guard !control.effects.isEmpty else { return }
    let effects = control.effects
    control.effects.removeAll(keepingCapacity: true)
    for effect in effects {
      switch effect {
      case .send(let address, let bytes): sockets.send(bytes, to: SocketAddress(address), &loop)
      case .broadcast(let bytes):
        sockets.broadcast(bytes, &loop)
        for address in places.next() { sockets.send(bytes, to: address, &loop) }
      case .event(let event): log.write(event, control)
      case .topologyChanged: break  // publish sees it
      case .restart(let reason): end(reason)
      }
    }
  }

  /// The node's time is over: it has left, or has to begin anew.
  private func end(_ reason: RestartReason) {
    leaveDeadline = .max
    if reason != .left { shared.beginsAnew.store(true, ordering: .releasing) }
    shared.stop(core: 0)
  }

  /// Tells all cores what changed: at once what decides what they may do, other news now and then.
  private func publish(_ now: UInt64) {
    hasStepped = false
    // Behind the view: no core may meet a longer lease with older news of what it owns.
    defer { shared.leaseEnd.store(control.leaseEnd(now), ordering: .releasing) }
    let next = ClusterView(control, after: view)
    guard next.differs(from: view) else { return }
    let isDecisive = next.isDecisive(since: view)
    guard isDecisive || now >= nextNews else { return }  // the next heartbeat comes soon
    nextNews = now + ClusterNode.newsInterval
    view = next
    shared.publish(next)
    if isDecisive { shared.wakeOthers(than: 0) }
  }

  /// Ends the process if it was cut off from its cluster for as long as the operator said.
  private func watchIsolation(_ now: UInt64) {
    guard !view.isAlone, control.leaseEnd(now) <= now else {
      cutOffSince = nil
      return
    }
    let since = cutOffSince ?? now
    cutOffSince = since
    guard let patience = shared.settings.cluster.exitWhenIsolated, now >= since + patience * 1_000_000,
      !shared.isIsolated.exchange(true, ordering: .acquiringAndReleasing)
    else { return }
    log.isolated(milliseconds: patience)
    shared.stop(core: 0)
  }
}
