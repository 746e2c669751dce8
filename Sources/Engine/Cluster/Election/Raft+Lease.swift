import Wire

// Leases (Gray and Cheriton 1989) in two steps.
//
// The leader's own: a voter that took a heartbeat sent at s votes for nobody else for `electionTimeout`. So once a
// majority has answered heartbeats sent at s or later, no other leader can be before s + electionTimeout, less the
// drift of clocks.
//
// A node's: every answer to the leader carries the node's clock, c. A leader that holds its own lease notes that the
// node may act as an owner until now + lease (and drift, and margin), and says so with its next message: the node
// counts `lease` from c, which lies before. The leader takes nothing from a node before the time it noted, unless the
// node has applied the fence itself. A new leader supposes that its predecessor granted leases until the moment it was
// elected.

extension Raft {
  /// How long a lease granted now may last by the leader's clock.
  var leaseHorizon: UInt64 { settings.stretched(settings.lease) + settings.leaseMargin }

  /// The latest time of sending that a majority has answered, the leader itself included.
  func quorumAcknowledged(_ now: UInt64) -> UInt64 { isOnlyVoter ? now : quorumSend }

  /// Whether nobody else votes.
  private var isOnlyVoter: Bool { voters.count < 2 && isVoter }

  /// Works `quorumSend` out anew, after an answer or a change of the voters.
  mutating func countQuorum() {
    var times: [UInt64] = []
    for peer in peers where peer.isVoter { times.append(peer.acknowledgedSend) }
    times.sort(by: >)
    // The leader is one of the majority.
    let needed = voters.count / 2
    quorumSend = needed > 0 && needed <= times.count ? times[needed - 1] : 0
  }

  /// Whether no other leader can be now.
  package func leads(_ now: UInt64) -> Bool {
    guard role == .leader, !isAbdicating else { return false }
    let acknowledged = quorumAcknowledged(now)
    return acknowledged >= electedAt && now < acknowledged + settings.shrunk(settings.electionTimeout)
  }

  /// When `tick` wants to be called next, and `holdsLease`: asked for after every step, in place.
  mutating func outlook(_ now: UInt64) -> (deadline: UInt64, hasLease: Bool) { (deadline, holdsLease(now)) }

  /// Whether this node may act as the owner of what its topology says it owns.
  package func holdsLease(_ now: UInt64) -> Bool {
    if settings.has(.leasesForever), leaseEnd > 0 { return true }
    return now < leaseEnd || (leads(now) && applied >= firstIndex)
  }

  /// Until when `holdsLease` holds if nothing else happens, `.max` for as long as nobody else votes; asked for after
  /// every step, in place.
  mutating func leaseBound(_ now: UInt64) -> UInt64 {
    guard leads(now), applied >= firstIndex else { return leaseEnd }
    if isOnlyVoter { return .max }
    return max(leaseEnd, quorumAcknowledged(now) + settings.shrunk(settings.electionTimeout))
  }

  /// Whether the node can still hold a lease, as far as this leader knows; its own counts as long as it leads.
  package func mayHoldLease(_ node: NodeID, _ now: UInt64) -> Bool {
    if node == id { return true }
    guard let peer = peers.first(where: { $0.id == node }) else { return false }
    return now < peer.leaseEnd && !settings.has(.fencesEarly)
  }

  /// Until when the node may hold a lease by this leader's clock; nil for one that isn't a follower.
  package func leaseEnd(of node: NodeID) -> UInt64? { peers.first { $0.id == node }?.leaseEnd }

  /// The last entry that the node said it has applied; nil for one that isn't a follower.
  package func applied(by node: NodeID) -> LogIndex? {
    node == id ? applied : peers.first { $0.id == node }?.applied
  }

  /// Whether the node has taken the entry at `index`.
  package func hasApplied(_ node: NodeID, _ index: LogIndex) -> Bool {
    if node == id { return applied >= index }
    return peers.contains { $0.id == node && $0.applied >= index }
  }

  /// When the leader last heard this follower; nil for never.
  package func heard(_ node: NodeID) -> UInt64? {
    peers.first { $0.id == node && $0.heard > 0 }?.heard
  }

  /// Grants this node no lease before it has applied the entry at `index`, which takes something from it.
  package mutating func withholdLease(_ node: NodeID, until index: LogIndex) {
    for position in peers.indices where peers[position].id == node {
      peers[position].leaseAfter = max(peers[position].leaseAfter, index)
      peers[position].leaseFrom = 0
    }
  }

  /// Notes a lease for a follower whose clock read `clock` when it answered.
  mutating func grantLease(_ position: Int, clock: UInt64, _ now: UInt64) {
    guard peers[position].applied >= peers[position].leaseAfter || settings.has(.fencesEarly) else { return }
    guard leads(now) || settings.has(.grantsBlindly) else { return }
    peers[position].leaseFrom = clock
    peers[position].leaseEnd = max(peers[position].leaseEnd, now + leaseHorizon)
  }

  /// Takes a lease that the leader granted from a reading of this node's clock.
  mutating func takeLease(from clock: UInt64, _ now: UInt64) {
    // A reading of the future is none of ours.
    guard clock > 0, clock <= now else { return }
    leaseEnd = max(leaseEnd, clock + settings.lease)
  }
}
