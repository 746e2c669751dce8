import Wire

/// How a node without a cluster gets one: it seeks, and then joins a cluster that it hears of, or founds one together
/// with the other seekers.
///
/// Founding must not split nodes that started together, so it is a vote that has to be unanimous. The lowest of a set
/// of seekers that all see each other, unchanged for a while, proposes exactly that set. Each of them promises to one
/// proposal at a time; when all have promised, the cluster is founded. A proposer gives up after `foundingRound`; a
/// promise binds for `promise`, which is so much longer that a promiser can't outlive its proposer's chance (the clocks
/// would have to differ fivefold). So no node is a founder of two clusters knowingly. Whoever isn't in the set joins
/// later. A new attempt has a higher ballot, so that late answers to the earlier one don't count.
///
/// Nodes that can't hear each other may found two clusters; that those notice each other is the business of `Rivals`.
package struct Discovery: Sendable {
  /// A message to a node, or to all (`to` is nil): by broadcast, multicast and to every address an operator named.
  struct Message {
    let to: (id: NodeID, address: PeerAddress)?
    let cluster: ClusterID
    let body: BeaconBody
  }

  /// Another seeker that was heard lately.
  private struct Seeker: Sendable {
    let id: NodeID
    var address: PeerAddress
    var heard: UInt64
    var expect: UInt8
    var seen: [NodeID]
  }

  private struct Proposal: Sendable {
    let founding: Founding
    let started: UInt64
    var promised: [NodeID]
    var nextSend: UInt64
  }

  /// A cluster that this node asks to be a member of.
  struct Target: Sendable {
    let cluster: ClusterID
    var leader: NodeID
    var address: PeerAddress
    let since: UInt64
    var nextSend: UInt64
  }

  let id: NodeID
  let nameHash: UInt64
  private let settings: ClusterSettings
  /// In the order of their ids, at most `ClusterLimits.seekers`.
  private var seekers: [Seeker] = []
  private var set: [NodeID] = []
  private var stableSince: UInt64
  private var ballot: UInt64 = 0
  private var proposal: Proposal?
  /// What this node has promised, and until when.
  private(set) var promise: (founding: Founding, until: UInt64)?
  private(set) var target: Target?
  private var shunned: (cluster: ClusterID, until: UInt64)?
  private var nextHello: UInt64

  var output: [Message] = []
  /// A cluster was founded of which this node is a founder; the owner takes it and ends discovery.
  var founded: (founding: Founding, isProposer: Bool)?
  /// Foundings promised lately, the last one last: one of them may have come to be although its promise has run out.
  private var promised: [Founding] = []

  init(_ id: NodeID, nameHash: UInt64, settings: ClusterSettings, now: UInt64) {
    self.id = id
    self.nameHash = nameHash
    self.settings = settings
    stableSince = now
    nextHello = now
    set = [id]
  }

  /// See `ControlPlane.queues`.
  var queues: [QueueLevel] {
    [
      QueueLevel("seekers", seekers.count, ClusterLimits.seekers),
      QueueLevel("promises", promised.count, ClusterLimits.promises),
    ]
  }

  // MARK: Time

  /// When `tick` wants to be called next.
  var deadline: UInt64 {
    var deadline = nextHello
    if let proposal { deadline = min(deadline, proposal.nextSend) }
    if let target { deadline = min(deadline, target.nextSend) }
    return deadline
  }

  /// Sends the beacons and proposals that are due, and gives up what takes too long.
  mutating func tick(_ now: UInt64, join: Join, _ chance: inout Chance) {
    if now >= nextHello {
      // Many seekers, or one that has found a cluster, needn't speak so often.
      let interval = settings.seekerHello * (target == nil ? 1 + UInt64(seekers.count / 32) : 4)
      nextHello = now + interval - chance.below(settings.seekerHello / 8)
      let hello = Hello(
        nameHash: nameHash, isMember: false, isWritten: false, expect: UInt8(clamping: settings.expect), size: 0,
        index: LogIndex(0), leader: .none, leaderAddress: .none,
        seen: seekers.prefix(Founder.maximumCount).map(\.id))
      output.append(Message(to: nil, cluster: .none, body: .hello(hello)))
    }
    seekers.removeAll { $0.heard + settings.seekerSilence < now }
    if let promise, promise.until <= now { self.promise = nil }
    if let current = target {
      if now >= current.since + settings.joinTimeout {
        target = nil
        shunned = (current.cluster, now + settings.joinTimeout)
      } else if now >= current.nextSend {
        target?.nextSend = now + 2 * settings.seekerHello
        output.append(Message(to: (current.leader, current.address), cluster: current.cluster, body: .join(join)))
      }
      return
    }
    pursueFounding(now, &chance)
  }

  // MARK: Founding

  /// Seekers that all see each other and this node, lowest first; greedily, since a largest such set isn't needed.
  private func mutual() -> [NodeID] {
    var set = [id]
    for seeker in seekers where set.count < Founder.maximumCount {
      let isMutual = set.allSatisfy { other in
        seeker.seen.contains(other)
          && (other == id || seekers.contains { $0.id == other && $0.seen.contains(seeker.id) })
      }
      if isMutual { set.append(seeker.id) }
    }
    return set.sorted()
  }

  private mutating func pursueFounding(_ now: UInt64, _ chance: inout Chance) {
    let mutual = mutual()
    if mutual != set {
      set = mutual
      stableSince = now
    }
    if let proposal { return pursue(proposal, now, &chance) }
    let expect = seekers.reduce(UInt8(clamping: settings.expect)) { max($0, set.contains($1.id) ? $1.expect : 0) }
    guard set.first == id, set.count >= expect, promise == nil, now >= stableSince + patience else { return }
    ballot += 1
    let drawn = chance.drawID()
    let founders = set.map { member in
      Founder(id: member, address: seekers.first { $0.id == member }?.address ?? .none)
    }
    let founding = Founding(
      ballot: ballot, cluster: ClusterID(high: drawn.high, low: drawn.low), copies: settings.copies, founders: founders)
    promise = (founding, now + settings.promise)
    proposal = Proposal(founding: founding, started: now, promised: [id], nextSend: now)
    pursue(proposal!, now, &chance)
  }

  /// How long the set must not have changed. While others are heard that don't hear this node, all may still be
  /// settling, and those of lower ids go first; but they may never hear it.
  private var patience: UInt64 {
    let isLowest = seekers.first.map { id < $0.id } ?? true
    let isWhole = set.count == seekers.count + 1 || (isLowest && set.count == Founder.maximumCount)
    return settings.settle * (isWhole ? 1 : isLowest ? 3 : 6)
  }

  private mutating func pursue(_ current: Proposal, _ now: UInt64, _ chance: inout Chance) {
    if current.promised.count == current.founding.founders.count {
      proposal = nil
      founded = (current.founding, true)
      tell(current.founding, .founded(current.founding))
    } else if now >= current.started + settings.foundingRound {
      abandon(now, &chance)
    } else if now >= current.nextSend {
      proposal?.nextSend = now + settings.seekerHello
      tell(current.founding, .propose(current.founding), except: current.promised)
    }
  }

  /// Gives the proposal up for good, and waits for a time left to chance.
  private mutating func abandon(_ now: UInt64, _ chance: inout Chance) {
    guard let given = proposal?.founding else { return }
    proposal = nil
    promise = nil
    stableSince = now + chance.below(settings.settle)
    tell(given, .abandon(FoundingReply(ballot: given.ballot, cluster: given.cluster)))
  }

  private mutating func tell(_ founding: Founding, _ body: BeaconBody, except: [NodeID] = []) {
    for founder in founding.founders where founder.id != id && !except.contains(founder.id) {
      output.append(Message(to: (founder.id, founder.address), cluster: .none, body: body))
    }
  }

  /// Takes a proposal: promises if it is free to.
  mutating func receive(
    propose founding: Founding, from: NodeID, _ address: PeerAddress, _ now: UInt64, _ chance: inout Chance
  ) {
    guard founding.founders.first?.id == from, founding.founders.contains(where: { $0.id == id }) else { return }
    // Of two that propose to each other, the lower goes on.
    if proposal != nil, from < id { abandon(now, &chance) }
    let reply = FoundingReply(ballot: founding.ballot, cluster: founding.cluster)
    let isRepeated = promise?.founding == founding
    let isNext =
      promise.map { $0.until <= now || ($0.founding.founders[0].id == from && $0.founding.ballot < founding.ballot) }
      ?? true
    guard target == nil, proposal == nil, isRepeated || isNext || settings.has(.promisesTwice) else {
      return output.append(Message(to: (from, address), cluster: .none, body: .decline(reply)))
    }
    if !isRepeated {
      if promised.count == ClusterLimits.promises { promised.removeFirst() }
      promised.append(founding)
    }
    promise = (founding, now + settings.promise)
    output.append(Message(to: (from, address), cluster: .none, body: .promise(reply)))
  }

  /// Takes a promise; the last one founds the cluster, if it isn't too late.
  mutating func receive(promise reply: FoundingReply, from: NodeID, _ now: UInt64, _ chance: inout Chance) {
    guard let current = proposal, current.founding.cluster == reply.cluster, current.founding.ballot == reply.ballot,
      current.founding.founders.contains(where: { $0.id == from }), !current.promised.contains(from)
    else { return }
    guard now < current.started + settings.foundingRound else { return abandon(now, &chance) }
    proposal!.promised.append(from)
    pursue(proposal!, now, &chance)
  }

  /// Takes a refusal: a later attempt may do better.
  mutating func receive(decline reply: FoundingReply, _ now: UInt64, _ chance: inout Chance) {
    if proposal?.founding.cluster == reply.cluster { abandon(now, &chance) }
  }

  /// Takes the proposer's word that it has given up.
  mutating func receive(abandon reply: FoundingReply, from: NodeID) {
    if let promise, promise.founding.cluster == reply.cluster, promise.founding.founders[0].id == from {
      self.promise = nil
    }
  }

  /// Takes the news of a founded cluster. Only its proposer says so, and only to its founders.
  mutating func receive(founded founding: Founding, from: NodeID) {
    guard founding.founders[0].id == from, founding.founders.contains(where: { $0.id == id }), target == nil else {
      return
    }
    if let promise, promise.founding.cluster != founding.cluster { return }
    founded = (founding, false)
  }

  /// A datagram of the cluster that this node has promised to found: it is founded.
  mutating func heard(cluster: ClusterID) {
    guard proposal == nil, promise == nil || promise!.founding.cluster == cluster else { return }
    if let founding = promised.last(where: { $0.cluster == cluster }) { founded = (founding, false) }
  }

  // MARK: Hearing others

  /// Takes a beacon: another seeker's, or a member's, whose cluster is then to be joined and none founded.
  mutating func receive(
    hello: Hello, from: NodeID, _ address: PeerAddress, cluster: ClusterID, _ now: UInt64, _ chance: inout Chance
  ) {
    guard hello.isMember else { return note(hello, from, address, now) }
    guard cluster != .none else { return }
    seekers.removeAll { $0.id == from }
    heard(cluster: cluster)
    // A promise to another cluster is waited for.
    if founded != nil || (promise != nil && proposal == nil) { return }
    if let shunned, shunned.cluster == cluster, now < shunned.until { return }
    if proposal != nil { abandon(now, &chance) }
    let leader = hello.leader == .none ? from : hello.leader
    let leaderAddress = hello.leader == .none || hello.leader == from ? address : hello.leaderAddress
    if target == nil {
      target = Target(cluster: cluster, leader: leader, address: leaderAddress, since: now, nextSend: now)
    } else if target?.cluster == cluster, hello.leader != .none {
      target?.leader = leader
      target?.address = leaderAddress
    }
  }

  private mutating func note(_ hello: Hello, _ from: NodeID, _ address: PeerAddress, _ now: UInt64) {
    let seeker = Seeker(id: from, address: address, heard: now, expect: hello.expect, seen: hello.seen)
    if let place = seekers.firstIndex(where: { $0.id >= from }) {
      if seekers[place].id == from { seekers[place] = seeker } else { seekers.insert(seeker, at: place) }
    } else {
      seekers.append(seeker)
    }
    // A new seeker may be one that will be heard by all: let it settle, and tell it soon that it was heard.
    if seekers.count > ClusterLimits.seekers { seekers.removeLast() }
  }
}
