import Wire

/// Who is alive, as far as pings tell: SWIM (Das, Gupta and Motivala, "SWIM: Scalable Weakly-consistent Infection-style
/// Process Group Membership Protocol", 2002) among the members that the topology names.
///
/// Every member is pinged every 100 ms by `observers` others, however many there are: members stand in the circular
/// order of their ids' hashes, and each watches the next ones. So each sends and answers a bounded number of pings.
/// After two pings without an answer others are asked to try; only when neither gets an answer is a member suspected (3
/// misses), and then unhealthy (10). News spreads with the pings: a rumor is passed on a few times by everyone who
/// hears it, and a member that hears of its own suspicion refutes it by raising its incarnation.
///
/// All this is advice: it changes no ownership. Only entries of the control plane's log do.
package struct Membership: Sendable {
  /// Who it is.
  package let id: NodeID
  private let settings: ClusterSettings
  private let salt: UInt64
  private var incarnation: UInt32 = 0
  /// All other members, in the order of their ids.
  private var subjects: [Subject] = []
  /// Places in `subjects` of those that this node pings.
  private var watched: [Int] = []
  private var rumors: [(rumor: Rumor, left: Int)] = []
  private var relays: [Relay] = []
  private var nextRelay: UInt32 = 1
  /// Pings that may still be sent for others in this round, and when the next one begins.
  private var relaysLeft = ClusterLimits.relays
  private var nextRelayRound: UInt64 = 0
  /// Messages to send; the owner takes them after every call.
  package var output: [(to: NodeID, address: PeerAddress, body: BeaconBody)] = []
  /// Members whose state changed, for log lines; the owner takes them after every call.
  package var changes: [(id: NodeID, state: HealthState)] = []

  private struct Subject: Sendable {
    let id: NodeID
    var address: PeerAddress
    var state = HealthState.healthy
    var incarnation: UInt32 = 0
    // Of one that this node pings:
    var sequence: UInt32 = 0
    var isAnswered = true
    var misses = 0
    var nextPing: UInt64 = 0
  }

  /// A ping sent for another.
  private struct Relay: Sendable {
    let sequence: UInt32
    let target: NodeID
    let asker: NodeID
    let askerAddress: PeerAddress
    let askerSequence: UInt32
  }

  package init(_ id: NodeID, cluster: ClusterID, settings: ClusterSettings) {
    self.id = id
    self.settings = settings
    salt = cluster.low
  }

  /// See `ControlPlane.queues`.
  var queues: [QueueLevel] {
    [
      QueueLevel("relays", relays.count, ClusterLimits.relays),
      QueueLevel("rumors", rumors.count, ClusterLimits.rumors),
    ]
  }

  // MARK: Members

  /// Takes the members of the topology; what is known of those that stay is kept.
  package mutating func setMembers(_ members: [(id: NodeID, address: PeerAddress)], _ now: UInt64) {
    var updated: [Subject] = []
    for (id, address) in members.sorted(by: { $0.id < $1.id }) where id != self.id {
      var subject = index(of: id).map { subjects[$0] } ?? Subject(id: id, address: address)
      subject.address = address
      updated.append(subject)
    }
    let before = watched.map { subjects[$0].id }
    subjects = updated
    rumors = rumors.filter { index(of: $0.rumor.subject) != nil || $0.rumor.subject == self.id }
    watch()
    for place in watched where !before.contains(subjects[place].id) {
      subjects[place].misses = 0
      subjects[place].isAnswered = true
      // Not at once: while many join, whom to watch changes often.
      subjects[place].nextPing = now + settings.ping
    }
  }

  /// Takes where a member is reached from now on; what is known of it is kept. Strangers are left out.
  package mutating func setAddress(_ address: PeerAddress, of id: NodeID) {
    guard let place = index(of: id) else { return }
    subjects[place].address = address
  }

  /// Chooses those that this node pings: the next ones in the circular order of hashes.
  private mutating func watch() {
    let count = settings.has(.pingsEverybody) ? subjects.count : min(settings.observers, subjects.count)
    let own = hash(id)
    // Distances around the circle; the nearest come first.
    let order = subjects.indices.map { (distance: hash(subjects[$0].id) &- own, place: $0) }.sorted { $0 < $1 }
    watched = order.prefix(count).map(\.place).sorted()
  }

  private func hash(_ id: NodeID) -> UInt64 {
    var words = (id.high.littleEndian, id.low.littleEndian)
    return withUnsafeBytes(of: &words) { xxh3($0.baseAddress, count: $0.count, seed: salt) }
  }

  /// The place of a member among `subjects`: a binary search.
  private func index(of id: NodeID) -> Int? {
    var low = 0
    var high = subjects.count
    while low < high {
      let middle = (low + high) / 2
      if subjects[middle].id < id { low = middle + 1 } else { high = middle }
    }
    return low < subjects.count && subjects[low].id == id ? low : nil
  }

  /// How a member is seen; nil for this node itself and for strangers.
  package func health(_ id: NodeID) -> (state: HealthState, failedAttempts: Int)? {
    index(of: id).map { (subjects[$0].state, subjects[$0].misses) }
  }

  /// All other members as they are seen, in the order of their ids.
  package var all: [(id: NodeID, state: HealthState, failedAttempts: Int)] {
    subjects.map { ($0.id, $0.state, $0.misses) }
  }

  // MARK: Time

  /// When `tick` wants to be called next.
  package var deadline: UInt64 {
    var deadline = UInt64.max
    for place in watched { deadline = min(deadline, subjects[place].nextPing) }
    return deadline
  }

  /// `deadline`, asked for in place.
  mutating func outlook() -> UInt64 { deadline }

  /// Sends the pings that are due, and counts those that weren't answered.
  package mutating func tick(_ now: UInt64, _ chance: inout Chance) {
    if now >= nextRelayRound {
      nextRelayRound = now + settings.ping
      relaysLeft = ClusterLimits.relays
    }
    for place in watched where subjects[place].nextPing <= now {
      // One of whom nobody knows yet where it listens is no more missed than pinged.
      guard subjects[place].address != .none else {
        subjects[place].nextPing = now + settings.ping
        continue
      }
      if !subjects[place].isAnswered {
        subjects[place].misses += 1
        miss(place, &chance)
      }
      subjects[place].sequence &+= 2
      subjects[place].isAnswered = false
      // A little chance keeps pings of different nodes from falling together.
      subjects[place].nextPing = now + settings.ping - chance.below(settings.ping / 16)
      let subject = subjects[place]
      output.append((subject.id, subject.address, .ping(probe(subject.sequence, about: place))))
    }
  }

  /// Draws the consequence of one more ping without an answer.
  private mutating func miss(_ place: Int, _ chance: inout Chance) {
    let subject = subjects[place]
    if subject.misses + 1 >= settings.suspectedAfter { askOthers(place, &chance) }
    if subject.misses >= settings.unhealthyAfter {
      note(place, .unhealthy, subject.incarnation)
    } else if subject.misses >= settings.suspectedAfter {
      note(place, .suspected, subject.incarnation)
    }
  }

  /// Asks a few others, drawn by chance, to ping a member.
  private mutating func askOthers(_ place: Int, _ chance: inout Chance) {
    guard subjects.count > 1 else { return }
    let first = chance.below(subjects.count)
    var asked = 0
    for step in subjects.indices where asked < settings.indirectProbes {
      let other = subjects[(first + step) % subjects.count]
      if other.id == subjects[place].id || other.state != .healthy { continue }
      asked += 1
      let request = IndirectProbe(sequence: subjects[place].sequence, target: subjects[place].id, incarnation: 0)
      output.append((other.id, other.address, .probeRequest(request)))
    }
  }

  // MARK: Messages

  /// Takes a ping and answers it, member or not: who asks is in the same cluster.
  package mutating func receive(ping: Probe, from: NodeID, _ address: PeerAddress) {
    hear(ping, from)
    if let place = index(of: from), subjects[place].address == .none { subjects[place].address = address }
    output.append((from, address, .acknowledgement(probe(ping.sequence, about: nil))))
  }

  /// Takes the answer to a ping of this node, or to one it sent for another.
  package mutating func receive(acknowledgement: Probe, from: NodeID) {
    hear(acknowledgement, from)
    if acknowledgement.sequence % 2 == 0 {
      alive(from, acknowledgement.sequence, acknowledgement.incarnation)
    } else if let place = relays.firstIndex(where: { $0.sequence == acknowledgement.sequence && $0.target == from }) {
      let relay = relays.remove(at: place)
      let report = IndirectProbe(
        sequence: relay.askerSequence, target: from, incarnation: acknowledgement.incarnation)
      output.append((relay.asker, relay.askerAddress, .probeReport(report)))
    }
  }

  /// Pings a member for another, unless so many ask that this node would send more than its share.
  package mutating func receive(request: IndirectProbe, from: NodeID, _ address: PeerAddress) {
    guard let place = index(of: request.target), from != request.target, relaysLeft > 0 else { return }
    relaysLeft -= 1
    if relays.count == ClusterLimits.relays, !settings.has(.forgetsNothing) { relays.removeFirst() }
    nextRelay &+= 2
    relays.append(
      Relay(
        sequence: nextRelay, target: request.target, asker: from, askerAddress: address,
        askerSequence: request.sequence))
    output.append((request.target, subjects[place].address, .ping(probe(nextRelay, about: place))))
  }

  /// Takes the news that another got an answer.
  package mutating func receive(report: IndirectProbe) { alive(report.target, report.sequence, report.incarnation) }

  /// An answer to one of the last pings of a watched member.
  private mutating func alive(_ id: NodeID, _ sequence: UInt32, _ incarnation: UInt32) {
    guard let place = index(of: id), watched.contains(place) else { return }
    let age = subjects[place].sequence &- sequence
    guard age % 2 == 0, age <= 2 * UInt32(settings.unhealthyAfter) else { return }
    subjects[place].isAnswered = true
    subjects[place].misses = 0
    guard incarnation >= subjects[place].incarnation, subjects[place].state != .healthy else { return }
    subjects[place].state = .healthy
    subjects[place].incarnation = incarnation
    changes.append((id, .healthy))
  }

  // MARK: Rumors

  private mutating func hear(_ probe: Probe, _ from: NodeID) {
    if let place = index(of: from) { note(place, .healthy, probe.incarnation) }
    for rumor in probe.rumors {
      if rumor.subject == id {
        // Refute it; a reckless incarnation of another's making isn't followed to the end of numbers.
        if rumor.state != .healthy, rumor.incarnation >= incarnation, rumor.incarnation < .max {
          incarnation = rumor.incarnation + 1
          spread(Rumor(subject: id, state: .healthy, incarnation: incarnation))
        }
      } else if let place = index(of: rumor.subject) {
        note(place, rumor.state, rumor.incarnation)
      }
    }
  }

  /// Believes news that overrides what was known: a higher incarnation, or a worse state of the same.
  private mutating func note(_ place: Int, _ state: HealthState, _ incarnation: UInt32) {
    let subject = subjects[place]
    guard incarnation > subject.incarnation || (incarnation == subject.incarnation && state > subject.state) else {
      return
    }
    subjects[place].incarnation = incarnation
    subjects[place].state = state
    if state != subject.state { changes.append((subject.id, state)) }
    spread(Rumor(subject: subject.id, state: state, incarnation: incarnation))
  }

  /// Passes a rumor on with the next pings and answers, about three times the logarithm of the members (SWIM, 4.1).
  private mutating func spread(_ rumor: Rumor) {
    rumors.removeAll { $0.rumor.subject == rumor.subject }
    if rumors.count == ClusterLimits.rumors { rumors.removeFirst() }
    let logarithm = Int.bitWidth - subjects.count.leadingZeroBitCount
    rumors.append((rumor, 3 * max(logarithm, 1)))
  }

  /// A ping or an answer with the rumors that were passed on least; one about its receiver always goes with it.
  private mutating func probe(_ sequence: UInt32, about place: Int?) -> Probe {
    var told: [Rumor] = []
    if let place, subjects[place].state != .healthy {
      let subject = subjects[place]
      told.append(Rumor(subject: subject.id, state: subject.state, incarnation: subject.incarnation))
    }
    if !rumors.isEmpty {
      rumors.sort { $0.left > $1.left }
      for index in rumors.indices where told.count < Rumor.maximumCount {
        told.append(rumors[index].rumor)
        rumors[index].left -= 1
      }
      rumors.removeAll { $0.left <= 0 }
    }
    return Probe(sequence: sequence, incarnation: incarnation, rumors: told)
  }
}
