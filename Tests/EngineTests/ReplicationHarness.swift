import Wire

@testable import Engine

/// Several nodes' replication of one partition under a random schedule: every message may be lost, late or overtaken,
/// nodes crash and lose their memory, the topology reaches nodes late, and fences come at any moment. The control plane
/// is a linearizable topology, as in Slot.tla. After every step the invariants of PROTOCOL.md are checked.
struct ReplicationHarness {
  struct LogRecord: Equatable {
    var epoch: Epoch
    var operation: Int
  }

  struct Node {
    var slot: MemberSlot
    var isAlive = true
    var replication = PartitionReplication()
    var log: [LogRecord] = []
    /// Entries of `history` it has adopted.
    var adopted = 0
  }

  struct Letter {
    var from: Int
    var to: Int
    var epoch: Epoch
    var stream: UInt32
    var message: ReplicationMessage
    var records: [LogRecord] = []
  }

  struct Snapshot {
    var entry: PartitionEntry
    var isUp: [Bool]
    var isActive: [Bool]
  }

  var random: TestRandom
  /// Decides when the partition begins anew; nil where it never does. And the epochs in which it did.
  var anewRandom: TestRandom?
  var lives: [Epoch] = []
  /// Decides on grants alone, so that what else happens doesn't depend on them.
  var grantRandom: TestRandom
  var now: UInt64 = 1_000_000_000
  var topology: Topology
  var history: [Snapshot] = []
  var nodes: [Node] = []
  var letters: [Letter] = []
  var wishes: [MemberSlot: (epoch: Epoch, wish: Wish)] = [:]
  var links: Set<[Int]> = []
  var operations = 0
  var crashes = 0
  var mutation: ReplicationMutation?
  /// Answered writes that a majority or more held, by offset; and the writes that wait.
  var acknowledged: [UInt64: LogRecord] = [:]
  var waiting: [UInt64: (node: Int, offset: UInt64, record: LogRecord)] = [:]
  /// Writes that a member may answer for as soon as it holds them.
  var grants: [(slot: Int, offset: UInt64, record: LogRecord)] = []
  /// A node that hears little.
  var slow = -1
  /// A node that learns late what the control plane decided.
  var lazy = -1
  /// How much likelier than usual fences, placements and crashes are.
  var unrest = 1
  var ownerOfEpoch: [Epoch: Int] = [:]
  var violation: String?
  var counts: [String: Int] = [:]

  static let copies = 3

  init(seed: UInt64, members: Int, mutation: ReplicationMutation? = nil) {
    random = TestRandom(seed: seed)
    grantRandom = TestRandom(seed: ~seed)
    self.mutation = mutation
    let list = (0..<members).map { Member(id: NodeID(high: 1, low: UInt64($0 + 1)), peer: .none) }
    topology = Topology(
      founding: ClusterID(high: 1, low: 1), copies: UInt8(Self.copies), members: list, voters: [list[0].id],
      index: LogIndex(1))
    for slot in 0..<members { add(node: slot) }
    if random.chance(2) { slow = random.below(members) }
    if random.chance(2) { lazy = random.below(members) }
    unrest = [1, 2, 5][random.below(3)]
    let synced = SlotList((0..<MemberSlot(members)).prefix(1 + random.below(members)))
    place()
    apply(
      .activate([
        .init(
          partition: PartitionID(0), epoch: Epoch(0), owner: 0, replicationFactor: UInt8(synced.count), isLoss: false,
          synced: SlotList(synced))
      ]))
  }

  var entry: PartitionEntry { topology.partitions[0] }

  private mutating func add(node slot: Int) {
    var node = Node(slot: MemberSlot(slot))
    node.replication.mutation = mutation
    if slot < nodes.count { nodes[slot] = node } else { nodes.append(node) }
  }

  mutating func count(_ what: String) { counts[what, default: 0] += 1 }

  // MARK: The control plane

  mutating func apply(_ command: TopologyCommand) {
    guard topology.apply(command, at: topology.index.next) else { return }
    history.append(
      Snapshot(
        entry: entry, isUp: topology.members.map { $0 != nil && $0!.state != .down },
        isActive: topology.members.map { $0?.state == .active }))
  }

  func around(_ snapshot: Snapshot) -> Surroundings {
    let active = snapshot.isActive.count { $0 }
    return Surroundings(
      replicas: snapshot.entry.replicas, replicationFactor: UInt8(max(1, min(Self.copies, active))),
      isUp: snapshot.isUp, isActive: snapshot.isActive)
  }

  mutating func place() {
    let up = topology.members.indices.filter { topology.members[$0]!.state == .active }.map { MemberSlot($0) }
    let chosen = SlotList(random.shuffled(up).prefix(Self.copies))
    if !chosen.isEmpty { apply(.place([.init(partition: PartitionID(0), replicas: chosen)])) }
  }

  /// The leader grants what was asked for, or chooses a candidate.
  mutating func decide() {
    let entry = entry
    let id = PartitionID(0)
    for (slot, told) in wishes.sorted(by: { $0.key < $1.key }) where told.epoch == entry.epoch {
      switch told.wish {
      case .resize(let version, let factor, let synced) where entry.isActive && entry.owner == slot:
        count("resize")
        apply(
          .resize([
            .init(partition: id, epoch: told.epoch, version: version, replicationFactor: factor, synced: synced)
          ]))
      case .handOver(let version, let heir) where entry.isActive && entry.owner == slot:
        count("handOver")
        apply(.handOver([.init(partition: id, epoch: told.epoch, version: version, heir: heir)]))
      case .activate(let factor, let synced) where !entry.isActive && entry.candidate == slot:
        count("activate")
        apply(
          .activate([
            .init(
              partition: id, epoch: told.epoch, owner: slot, replicationFactor: factor, isLoss: false, synced: synced)
          ]))
      default: break
      }
    }
    guard !entry.isActive, entry.candidate == nil else { return }
    let promises = wishes.compactMap { slot, told -> Promise? in
      guard told.epoch == entry.epoch, case .promise(let end) = told.wish else { return nil }
      return Promise(slot: slot, end: end)
    }
    let needed = mutation == .choosesEarly ? 1 : nil
    if let candidate = entry.candidate(of: promises.sorted { $0.slot < $1.slot }, needed: needed) {
      apply(.choose([.init(partition: id, epoch: entry.epoch, candidate: candidate)]))
    }
  }

  /// The leader gives up those that hold the partition, whether they are there or not (Slot.tla: `Abandon`).
  mutating func beginAnew() {
    let entry = entry
    let others = topology.members.indices.filter {
      topology.members[$0]!.state == .active && !entry.synced.contains(MemberSlot($0))
    }
    guard !entry.isActive, entry.candidate == nil, !others.isEmpty else { return }
    let heir = MemberSlot(others[anewRandom!.below(others.count)])
    apply(
      .activate([
        .init(
          partition: PartitionID(0), epoch: entry.epoch, owner: heir,
          replicationFactor: UInt8(1 + anewRandom!.below(Self.copies)), isLoss: true, synced: [heir])
      ]))
    count("anew")
    lives.append(entry.epoch)
    acknowledged = [:]
  }

  /// In which life of the partition an epoch is.
  func life(_ epoch: Epoch) -> Int { lives.count { $0 <= epoch } }

  /// Whether a record is declared lost.
  private func isLost(_ record: LogRecord) -> Bool { record.epoch < entry.lostBefore }

  // MARK: Nodes

  mutating func adopt(_ index: Int) {
    guard nodes[index].isAlive, nodes[index].adopted < history.count, index != lazy || random.chance(8) else { return }
    let step = 1 + random.below(history.count - nodes[index].adopted)
    nodes[index].adopted += step
    let snapshot = history[nodes[index].adopted - 1]
    var lost: [UInt64] = []
    let change = nodes[index].replication.adopt(
      snapshot.entry, slot: nodes[index].slot, around(snapshot), now: now, deposed: { lost.append($0) })
    for token in lost { waiting[token] = nil }
    if change.resetsLog { nodes[index].log = [] }
    if change.becameOwner {
      let epoch = nodes[index].replication.owner!.epoch
      if let other = ownerOfEpoch[epoch], other != index { fail("two owners of epoch \(epoch.rawValue)") }
      ownerOfEpoch[epoch] = index
    }
    connectAll(index)
  }

  /// Tells an owner which followers it has links to.
  private mutating func connectAll(_ index: Int) {
    guard let owner = nodes[index].replication.owner else { return }
    for follower in owner.followers where follower.phase == .idle && links.contains([index, Int(follower.slot)]) {
      nodes[index].replication.owner!.connected(follower.slot, now: now)
    }
  }

  mutating func setLink(_ a: Int, _ b: Int, up: Bool) {
    guard a != b, nodes[a].isAlive, nodes[b].isAlive || !up else { return }
    if up {
      guard links.insert([a, b]).inserted else { return }
      nodes[a].replication.owner?.connected(MemberSlot(b), now: now)
    } else if links.remove([a, b]) != nil {
      nodes[a].replication.owner?.disconnected(MemberSlot(b), now: now)
      letters.removeAll { $0.from == a && $0.to == b || $0.from == b && $0.to == a }
    }
  }

  mutating func write(_ index: Int) {
    guard nodes[index].isAlive, nodes[index].replication.isOwner else { return }
    // Who had the partition when it began anew has no lease before it hears of that.
    guard nodes[index].replication.owner!.epoch >= entry.lostBefore else { return }
    let concern = [WriteConcern.majority, .majority, .one, WriteConcern(rawValue: 2), .all][random.below(5)]
    guard nodes[index].replication.owner!.canReach(.majority) || concern == .one,
      nodes[index].replication.owner!.successor == nil
    else { return }
    operations += 1
    let owner = nodes[index].replication.owner!
    let record = LogRecord(epoch: owner.epoch, operation: operations)
    nodes[index].log.append(record)
    let offset = UInt64(nodes[index].log.count)
    let token = UInt64(operations)
    nodes[index].replication.appended(upTo: Offset(offset))
    if nodes[index].replication.owner!.wait(concern, for: Offset(offset), token: token, last: Offset(offset)) {
      settle(index)
      answered(offset, record, by: index)
    } else {
      waiting[token] = (index, offset, record)
      grant(index, offset, record, concern)
    }
    settle(index)
  }

  /// Mostly the owner lets a member answer, too.
  private mutating func grant(_ index: Int, _ offset: UInt64, _ record: LogRecord, _ concern: WriteConcern) {
    let slot = grantRandom.below(nodes.count)
    let owner = nodes[index].replication.owner!
    // A number below the majority promises less.
    guard !grantRandom.chance(4), concern.nodes(copies: Int(owner.replicationFactor)) == owner.majority,
      nodes[index].replication.owner!.grant(Offset(offset), concern, to: MemberSlot(slot))
    else { return }
    grants.append((slot, offset, record))
  }

  /// A member answers for what it holds and may answer for.
  private mutating func answerGrants(_ index: Int) {
    for (place, grant) in grants.enumerated().reversed() where grant.slot == index {
      guard nodes[index].replication.owner == nil,
        nodes[index].replication.replica.holds(grant.record.epoch, Offset(grant.offset))
      else { continue }
      grants.remove(at: place)
      count("granted")
      if isLost(grant.record) { continue }
      if let other = acknowledged[grant.offset], other != grant.record { fail("two writes at \(grant.offset)") }
      acknowledged[grant.offset] = grant.record
    }
  }

  /// An owner drops what is too old: a record that nobody asked for, also while it takes no writes.
  mutating func expire(_ index: Int) {
    guard nodes[index].isAlive, nodes[index].replication.isOwner else { return }
    operations += 1
    nodes[index].log.append(LogRecord(epoch: nodes[index].replication.owner!.epoch, operation: operations))
    nodes[index].replication.appended(upTo: Offset(UInt64(nodes[index].log.count)))
  }

  private mutating func answered(_ offset: UInt64, _ record: LogRecord, by index: Int) {
    // What fewer than a majority hold may be lost.
    guard nodes[index].replication.owner!.committed >= Offset(offset) else { return }
    count("answered")
    if isLost(record) { return }
    if let other = acknowledged[offset], other != record { fail("two writes acknowledged at \(offset)") }
    acknowledged[offset] = record
  }

  mutating func settle(_ index: Int) {
    var tokens: [UInt64] = []
    _ = nodes[index].replication.settle { tokens.append($0) }
    for token in tokens {
      guard let write = waiting.removeValue(forKey: token) else {
        fail("answered twice")
        continue
      }
      answered(write.offset, write.record, by: index)
    }
  }

  /// What a node says when a turn ends.
  mutating func speak(_ index: Int) {
    guard nodes[index].isAlive else { return }
    let last = nodes[index].replication.replica.last
    if let owner = nodes[index].replication.owner {
      for place in owner.followers.indices {
        let slot = owner.followers[place].slot
        let instruction = nodes[index].replication.owner!.instruction(place, last: last)
        var letter = Letter(from: index, to: Int(slot), epoch: owner.epoch, stream: 0, message: .open)
        switch instruction {
        case .nothing: continue
        case .open(let stream): letter.stream = stream
        case .truncate(let stream, let bound):
          letter.stream = stream
          letter.message = .truncate(bound)
        case .start(let stream, let resets, let next):
          letter.stream = stream
          letter.message = .start(resets: resets, next: next, nodes[index].replication.replica.history)
        case .append(let stream, let from):
          letter.stream = stream
          let end = UInt64.random(in: from.rawValue...last.rawValue, using: &random)
          letter.message = .append(
            first: from, end: Offset(end), committed: nodes[index].replication.replica.committed)
          letter.records = Array(nodes[index].log[Int(from.rawValue) - 1..<Int(end)])
          nodes[index].replication.owner!.didSend(place, upTo: Offset(end), now: now)
        }
        if links.contains([index, Int(slot)]) { letters.append(letter) }
      }
    }
    answer(index)
    let snapshot = history[max(nodes[index].adopted, 1) - 1]
    // The leader keeps the last word even when nothing is wished for any more: the message that says so may be lost.
    if let wish = nodes[index].replication.wish(around(snapshot), now: now) {
      wishes[nodes[index].slot] = (nodes[index].replication.entry.epoch, wish)
    }
  }

  private mutating func answer(_ index: Int) {
    guard let source = nodes[index].replication.replica.source else { return }
    let epoch = nodes[index].replication.replica.streamEpoch
    let stream = nodes[index].replication.replica.stream
    guard let reply = nodes[index].replication.replica.takeReply() else { return }
    let message: ReplicationMessage =
      switch reply {
      case .position(let end): .position(end)
      case .acknowledge(let offset): .acknowledge(offset)
      case .refuse(let epoch): .refuse(epoch)
      }
    letters.append(Letter(from: index, to: Int(source), epoch: epoch, stream: stream, message: message))
  }

  mutating func deliver() {
    guard !letters.isEmpty else { return }
    // Mostly in order, as on a connection.
    let place = random.chance(4) ? random.below(letters.count) : 0
    if letters[place].to == slow, !random.chance(20) { return }
    let letter = random.chance(40) ? letters[place] : letters.remove(at: place)
    let to = letter.to
    guard nodes[to].isAlive else { return }
    switch letter.message {
    case .position, .acknowledge, .refuse:
      _ = nodes[to].replication.receive(
        answer: letter.message, letter.epoch, stream: letter.stream, from: MemberSlot(letter.from),
        keepsFrom: Offset(1), now: now)
      settle(to)
    default:
      var lost: [UInt64] = []
      let action = nodes[to].replication.receive(
        letter.message, letter.epoch, stream: letter.stream, from: MemberSlot(letter.from),
        deposed: { lost.append($0) })
      for token in lost { waiting[token] = nil }
      switch action {
      case .nothing: break
      case .truncate(let offset):
        count("truncate")
        nodes[to].log.removeSubrange(Int(offset.rawValue)...)
      case .reset:
        count("reset")
        nodes[to].log = []
      case .append: nodes[to].log += letter.records
      }
      answerGrants(to)
    }
  }

  mutating func crash(_ index: Int) {
    guard nodes[index].isAlive else { return }
    crashes += 1
    for other in nodes.indices where other != index {
      setLink(index, other, up: false)
      setLink(other, index, up: false)
    }
    letters.removeAll { $0.from == index || $0.to == index }
    wishes[nodes[index].slot] = nil
    for (token, write) in waiting where write.node == index { waiting[token] = nil }
    grants.removeAll { $0.slot == index }
    if mutation == .keepsIdentity {
      add(node: index)
    } else {
      nodes[index].isAlive = false
      let member = Member(id: NodeID(high: 1, low: UInt64(nodes.count + 1)), peer: .none)
      add(node: nodes.count)
      apply(.addMember(member))
      apply(.setState(member.id, .active))
    }
  }

  mutating func tick() {
    now += 20_000_000
    for index in nodes.indices where nodes[index].isAlive {
      let last = nodes[index].replication.replica.last
      nodes[index].replication.owner?.retry(after: 100_000_000, last: last, now: now)
    }
  }
}

extension Owner {
  /// Members that are a majority.
  fileprivate var majority: Int { WriteConcern.majority.nodes(copies: Int(replicationFactor)) }
}
