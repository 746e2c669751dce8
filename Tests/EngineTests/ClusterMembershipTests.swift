import Testing
import Wire

@testable import Engine

/// Members that ping each other over a network with a fixed delay of 1 ms, in steps of 10 ms.
private struct Crowd {
  let settings: ClusterSettings
  var now: UInt64 = 1_000_000_000
  var chance = Chance(seed: 3)
  var members: [Membership] = []
  var down: Set<Int> = []
  /// Directed links that lose everything.
  var cut: Set<[Int]> = []
  var sent: [Int]
  /// State changes that each member noted, oldest first.
  var changes: [[(id: NodeID, state: HealthState)]]

  static func id(_ number: Int) -> NodeID { NodeID(high: UInt64(number) + 1, low: 0) }

  init(_ count: Int, settings: ClusterSettings = ClusterSettings()) {
    self.settings = settings
    sent = [Int](repeating: 0, count: count)
    changes = [[(id: NodeID, state: HealthState)]](repeating: [], count: count)
    for number in 0..<count {
      var member = Membership(Crowd.id(number), cluster: ClusterID(high: 0, low: 9), settings: settings)
      member.setMembers((0..<count).map { (Crowd.id($0), PeerAddress(v4: UInt32($0), port: 1)) }, now)
      members.append(member)
    }
  }

  mutating func run(milliseconds: Int) {
    for _ in 0..<milliseconds / 10 {
      now += 10_000_000
      for number in members.indices where !down.contains(number) { members[number].tick(now, &chance) }
      deliver()
    }
  }

  private mutating func deliver() {
    var isBusy = true
    while isBusy {
      isBusy = false
      for from in members.indices where !members[from].output.isEmpty {
        isBusy = true
        let output = members[from].output
        members[from].output = []
        changes[from] += members[from].changes
        members[from].changes = []
        sent[from] += output.count
        for (to, _, body) in output {
          let number = Int(to.high - 1)
          if down.contains(number) || cut.contains([from, number]) { continue }
          receive(body, at: number, from: Crowd.id(from))
        }
      }
    }
  }

  private mutating func receive(_ body: BeaconBody, at number: Int, from: NodeID) {
    let address = PeerAddress(v4: UInt32(from.high - 1), port: 1)
    switch body {
    case .ping(let probe): members[number].receive(ping: probe, from: from, address)
    case .acknowledgement(let probe): members[number].receive(acknowledgement: probe, from: from)
    case .probeRequest(let request): members[number].receive(request: request, from: from, address)
    case .probeReport(let report): members[number].receive(report: report)
    default: break
    }
    changes[number] += members[number].changes
    members[number].changes = []
  }

  func state(of subject: Int, at member: Int) -> HealthState? { members[member].health(Crowd.id(subject))?.state }
}

@Suite struct ClusterMembershipTests {
  @Test("a member that stops answering is suspected after 3 misses and unhealthy after 10, and everyone hears of it")
  func failure() {
    var crowd = Crowd(5)
    crowd.run(milliseconds: 1000)
    for member in 0..<5 { #expect(crowd.members[member].all.allSatisfy { $0.state == .healthy }) }
    crowd.down = [4]
    crowd.run(milliseconds: 200)
    #expect(crowd.state(of: 4, at: 0) == .healthy)
    crowd.run(milliseconds: 300)
    for member in 0..<4 { #expect(crowd.state(of: 4, at: member) == .suspected) }
    crowd.run(milliseconds: 700)
    for member in 0..<4 { #expect(crowd.state(of: 4, at: member) == .unhealthy) }
    crowd.down = []
    crowd.run(milliseconds: 500)
    for member in 0..<5 {
      #expect(crowd.members[member].all.allSatisfy { $0.state == .healthy && $0.failedAttempts == 0 })
    }
  }

  @Test("a link that is cut between two suspects neither, since others reach both")
  func indirect() {
    var crowd = Crowd(5)
    crowd.cut = [[0, 1], [1, 0]]
    crowd.run(milliseconds: 5000)
    for member in 0..<5 {
      #expect(crowd.members[member].all.allSatisfy { $0.state == .healthy })
      #expect(crowd.changes[member].isEmpty, "nobody was ever suspected")
    }
  }

  @Test("a member that is heard but hears nobody is suspected, and refutes it when it can")
  func oneWay() {
    var crowd = Crowd(5)
    for other in 0..<4 { crowd.cut.insert([other, 4]) }
    crowd.run(milliseconds: 1500)
    for member in 0..<4 { #expect(crowd.state(of: 4, at: member) == .unhealthy) }
    #expect(crowd.members[4].all.allSatisfy { $0.state == .unhealthy })
    crowd.cut = []
    crowd.run(milliseconds: 1000)
    for member in 0..<5 { #expect(crowd.members[member].all.allSatisfy { $0.state == .healthy }) }
  }

  @Test("each of 200 members sends no more than each of 9, and all learn of a failure within two seconds")
  func scale() {
    var rates: [Int] = []
    for count in [9, 50, 200] {
      var crowd = Crowd(count)
      crowd.run(milliseconds: 1000)
      crowd.sent = [Int](repeating: 0, count: count)
      crowd.run(milliseconds: 1000)
      rates.append(crowd.sent.max()!)
      crowd.down = [count / 2]
      crowd.run(milliseconds: 2000)
      for member in 0..<count where member != count / 2 {
        #expect(crowd.state(of: count / 2, at: member) == .unhealthy)
      }
    }
    // Eight pings and eight answers ten times a second.
    #expect(rates.allSatisfy { $0 <= 8 * 2 * 11 }, "\(rates)")
  }

  @Test("with half of 200 members down, a member's traffic keeps its bound")
  func outage() {
    var crowd = Crowd(200)
    crowd.run(milliseconds: 500)
    crowd.down = Set(0..<100)
    crowd.run(milliseconds: 1000)
    crowd.sent = [Int](repeating: 0, count: 200)
    crowd.run(milliseconds: 1000)
    // Eight pings, two requests each, as many answers, and what others ask for.
    #expect(crowd.sent.max()! <= 8 * 2 * 11 * 5, "\(crowd.sent.max()!)")
  }

  @Test("a planted bug, everybody pinging everybody, breaks the bound")
  func planted() {
    #if DEBUG
      var settings = ClusterSettings()
      settings.mutation = .pingsEverybody
      var crowd = Crowd(50, settings: settings)
      crowd.run(milliseconds: 1000)
      #expect(crowd.sent.max()! > 8 * 2 * 11)
    #endif
  }

  @Test("members that come and go are watched and forgotten; strangers and rumors of them change nothing")
  func changes() {
    var crowd = Crowd(4)
    crowd.run(milliseconds: 300)
    crowd.members[0].setMembers((1..<3).map { (Crowd.id($0), PeerAddress(v4: UInt32($0), port: 1)) }, crowd.now)
    #expect(crowd.members[0].all.map(\.id) == [Crowd.id(1), Crowd.id(2)])
    crowd.run(milliseconds: 300)
    let rumor = Rumor(subject: Crowd.id(3), state: .unhealthy, incarnation: 4)
    crowd.members[0].receive(ping: Probe(sequence: 1, incarnation: 0, rumors: [rumor]), from: Crowd.id(77), .none)
    #expect(crowd.members[0].health(Crowd.id(3)) == nil && crowd.members[0].output.count == 1)
    crowd.members[0].setMembers([], crowd.now)
    #expect(crowd.members[0].deadline == .max)
  }
}
