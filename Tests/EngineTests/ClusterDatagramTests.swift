import Testing
import Wire

@testable import Engine

/// What a control plane does with datagrams that it should ignore.
@Suite struct ClusterDatagramTests {
  private static func key(_ secret: UInt64) -> BeaconKey {
    BeaconKey { bytes in
      let code = xxh3(bytes.baseAddress, count: bytes.count, seed: secret)
      return BeaconCode(first: code, last: ~code)
    }
  }

  private static func id(_ number: Int) -> NodeID { NodeID(high: UInt64(number) + 1, low: 0) }
  private static func address(_ number: Int) -> PeerAddress { PeerAddress(v4: UInt32(number) + 1, port: 3100) }

  /// A few control planes on a network that delivers at once.
  private struct Group {
    var now: UInt64 = 1_000_000_000
    var chance = Chance(seed: 1)
    var nodes: [ControlPlane]
    var events: [ClusterEvent] = []
    /// The last datagram that went from one to the other.
    var sent: [[Int]: [UInt8]] = [:]
    /// Where datagrams of a link seem to come from, if not from their sender.
    var detours: [[Int]: PeerAddress] = [:]
    /// Datagrams to where nobody is.
    var astray = 0

    init(keys: [BeaconKey?]) {
      nodes = []
      for key in keys { start(key) }
    }

    /// Starts one more node.
    mutating func start(_ key: BeaconKey?) {
      let identity = NodeIdentity(id: id(nodes.count), name: "n\(nodes.count)")
      nodes.append(ControlPlane(identity, settings: ClusterSettings(), key: key, now: now))
    }

    mutating func run(milliseconds: Int) {
      for _ in 0..<milliseconds / 10 {
        now += 10_000_000
        for number in nodes.indices {
          nodes[number].tick(now, &chance)
          carryOut(number)
        }
      }
    }

    mutating func carryOut(_ from: Int) {
      let effects = nodes[from].effects
      nodes[from].effects = []
      for effect in effects {
        switch effect {
        case .send(let to, let datagram): deliver(datagram, from, Int(to.v4! - 1))
        case .broadcast(let datagram): for to in nodes.indices where to != from { deliver(datagram, from, to) }
        case .event(let event): events.append(event)
        default: break
        }
      }
    }

    mutating func deliver(_ datagram: [UInt8], _ from: Int, _ to: Int) {
      guard nodes.indices.contains(to) else {
        astray += 1
        return
      }
      sent[[from, to]] = datagram
      receive(datagram, at: to, from: detours[[from, to]] ?? address(from))
    }

    mutating func receive(_ datagram: [UInt8], at node: Int, from address: PeerAddress) {
      nodes[node].receive(datagram, from: address, now, &chance)
      carryOut(node)
    }

    var clusters: Set<ClusterID> { Set(nodes.map(\.cluster)) }
  }

  @Test("nodes with one key become one cluster; one with another key or none founds its own, or stays alone")
  func keys() {
    var group = Group(keys: [Self.key(1), Self.key(1), nil, Self.key(2), nil])
    group.run(milliseconds: 4000)
    #expect(group.nodes[0].cluster == group.nodes[1].cluster)
    #expect(group.nodes[2].cluster == group.nodes[4].cluster)
    #expect(group.clusters.count == 3 && !group.clusters.contains(.none))
    for number in group.nodes.indices {
      #expect(group.nodes[number].ignored[.unauthenticated] > 0 && group.nodes[number].rivals.all.isEmpty)
    }
    let told = group.events.filter { if case .ignored(.unauthenticated, _, 1) = $0 { true } else { false } }
    #expect(told.count == 5, "each told once, although each ignored dozens")
  }

  @Test("a datagram of each wrong kind is counted by its kind, told once, and changes nothing")
  func hostile() throws {
    var group = Group(keys: [nil, nil])
    group.run(milliseconds: 3000)
    let cluster = group.nodes[0].cluster
    #expect(cluster == group.nodes[1].cluster)
    let ping = Probe(sequence: 2, incarnation: 0, rumors: [])
    func beacon(
      _ source: NodeID, to destination: NodeID = Self.id(0), of cluster: ClusterID = cluster, sequence: UInt64 = 900_000
    ) -> [UInt8] {
      Beacon(cluster: cluster, source: source, destination: destination, sequence: sequence, body: .ping(ping))
        .encoded()
    }
    var changed = beacon(Self.id(1))
    changed[70] ^= 1
    var other = beacon(Self.id(1))
    other[3] = 2
    // Its ping would be answered: it may be a newcomer.
    let probe = IndirectProbe(sequence: 2, target: Self.id(0), incarnation: 0)
    let stranger = Beacon(cluster: cluster, source: Self.id(9), destination: Self.id(0), body: .probeReport(probe))
      .encoded()
    let last = try #require(group.sent[[1, 0]])
    let cases: [(IgnoredReason, [UInt8], PeerAddress)] = [
      (.malformed, [1, 2, 3], Self.address(1)),
      (.oversized, [UInt8](repeating: 0, count: 2000), Self.address(1)),
      (.version, other, Self.address(1)),
      (.checksum, changed, Self.address(1)),
      (.unauthenticated, Self.sealed(), Self.address(1)),
      (.replayed, last, Self.address(1)),
      (.forged, beacon(Self.id(1)), Self.address(7)),
      (.foreign, beacon(Self.id(8), of: ClusterID(high: 9, low: 9)), Self.address(8)),
      (.misdirected, beacon(Self.id(1), to: Self.id(5)), Self.address(1)),
      (.stranger, stranger, Self.address(9)),
    ]
    #expect(cases.count == IgnoredReason.allCases.count)
    for (reason, datagram, address) in cases {
      let before = (
        ignored: group.nodes[0].ignored, topology: group.nodes[0].topology, leader: group.nodes[0].leader
      )
      let events = group.events.count
      group.receive(datagram, at: 0, from: address)
      group.receive(datagram, at: 0, from: address)
      let after = group.nodes[0]
      #expect(after.ignored.total == before.ignored.total + 2, "\(reason)")
      #expect(after.ignored[reason] > before.ignored[reason], "\(reason)")
      #expect(after.topology == before.topology && after.leader == before.leader)
      let told = group.events[events...].filter {
        if case .ignored(reason, address, _) = $0 { true } else { false }
      }
      #expect(told.count == 1, "\(reason)")
    }
    // What an outsider said has not shut the member out.
    let heard = group.nodes[0].ignored.total
    group.run(milliseconds: 500)
    #expect(group.nodes[0].ignored.total == heard)
  }

  private static func sealed() -> [UInt8] {
    let probe = Probe(sequence: 2, incarnation: 0, rumors: [])
    return Beacon(cluster: ClusterID(high: 1, low: 1), source: id(1), destination: id(0), body: .ping(probe))
      .encoded(key: key(3))
  }

  @Test("every datagram of a sealed conversation that is sent again is refused")
  func replay() {
    var group = Group(keys: [Self.key(1), Self.key(1), Self.key(1)])
    group.run(milliseconds: 1500)
    var past: [(at: Int, datagram: [UInt8])] = []
    for _ in 0..<20 {
      group.run(milliseconds: 100)
      for (link, datagram) in group.sent { past.append((link[1], datagram)) }
    }
    let topology = group.nodes[0].topology
    for (at, datagram) in past {
      let before = group.nodes[at].ignored[.replayed]
      group.receive(datagram, at: at, from: Self.address(6))
      let isHello = datagram[4] == BeaconKind.hello.rawValue
      #expect(isHello || group.nodes[at].ignored[.replayed] == before + 1)
    }
    #expect(group.nodes[0].topology == topology)
  }

  @Test("a member that seemed to be elsewhere while the members changed is pinged at home again")
  func elsewhere() throws {
    var group = Group(keys: [Self.key(1), Self.key(1), Self.key(1)])
    group.run(milliseconds: 4000)
    try #require(group.nodes[0].topology?.memberCount == 3)
    // A leader would correct the log.
    let observer = try #require((0..<3).first { group.nodes[$0].leader != Self.id($0) })
    let member = (observer + 1) % 3
    group.detours[[member, observer]] = Self.address(6)
    group.start(Self.key(1))
    group.run(milliseconds: 3000)
    try #require(group.nodes[observer].topology?.memberCount == 4 && group.astray > 0)
    group.detours = [:]
    // Each is heard by the others several times.
    group.run(milliseconds: 1000)
    let astray = group.astray
    group.run(milliseconds: 1000)
    #expect(group.astray == astray)
  }
}

@Suite struct ClusterReplayFilterTests {
  private let ping = BeaconBody.ping(Probe(sequence: 2, incarnation: 0, rumors: []))
  private let address = PeerAddress(v4: 1, port: 1)

  private func beacon(_ sequence: UInt64, from id: UInt64 = 1) -> Beacon {
    Beacon(
      cluster: .none, source: NodeID(high: id, low: 0), destination: NodeID(high: 9, low: 9), sequence: sequence,
      body: ping)
  }

  @Test("the window takes each number once, in any order, as a set that forgets would")
  func window() {
    var filter = ReplayFilter()
    var random = TestRandom(seed: 4)
    var seen: Set<UInt64> = []
    var top: UInt64 = 0
    for step in 0..<50_000 {
      let jump: UInt64 = step % 1000 == 0 ? 3000 : 40
      let number = UInt64(max(1, Int(top) + Int(random.next() % jump) - (step % 7 == 0 ? 1200 : 30)))
      let verdict = filter.take(beacon(number), from: address, home: nil, isProven: true, 0)
      top = max(top, number)
      if number + 960 > top {
        #expect((verdict == .fresh) == !seen.contains(number), "\(number) of \(top)")
      } else if number + 1024 <= top {
        #expect(verdict == .replayed)
      }
      if verdict == .fresh { #expect(seen.insert(number).inserted, "\(number) was taken twice") }
    }
  }

  @Test("the table keeps its bound, and forgets who was silent longest")
  func bound() {
    var filter = ReplayFilter()
    for id in 1...UInt64(2 * ClusterLimits.senders) {
      _ = filter.take(beacon(5, from: id), from: address, home: nil, isProven: true, id)
    }
    #expect(filter.count == ClusterLimits.senders)
    let last = UInt64(2 * ClusterLimits.senders)
    #expect(filter.take(beacon(5, from: last), from: address, home: nil, isProven: true, last) == .replayed)
    #expect(filter.take(beacon(5, from: 1), from: address, home: nil, isProven: true, last) == .fresh)
  }

  @Test("without a key a sender is believed where it spoke lately or where the topology has it")
  func addresses() {
    var filter = ReplayFilter()
    let other = PeerAddress(v4: 2, port: 1)
    func take(_ number: UInt64, _ from: PeerAddress, _ home: PeerAddress?, at now: UInt64) -> ReplayFilter.Verdict {
      filter.take(beacon(number), from: from, home: home, isProven: false, now)
    }
    #expect(take(1, address, nil, at: 0) == .fresh)
    #expect(take(1_000_000, other, nil, at: 1) == .forged)
    #expect(take(2, address, nil, at: 2) == .fresh, "the forgery didn't move the window")
    #expect(take(3, other, other, at: 3) == .fresh)
    #expect(take(4, address, other, at: 4) == .forged)
    #expect(take(4, address, nil, at: 4 + ClusterLimits.senderSilence) == .fresh, "its address has changed")
  }
}
