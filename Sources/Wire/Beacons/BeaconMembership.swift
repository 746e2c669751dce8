/// How a member is seen by others.
package enum HealthState: UInt8, Comparable, Sendable {
  case healthy = 0
  case suspected = 1
  case unhealthy = 2

  package static func < (a: HealthState, b: HealthState) -> Bool { a.rawValue < b.rawValue }
}

/// News of a member, passed on with pings (Das, Gupta and Motivala, "SWIM", 2002, section 4.1).
package struct Rumor: Equatable, Sendable {
  /// Who it is about.
  package let subject: NodeID
  /// How it is seen.
  package let state: HealthState
  /// Raised by the subject alone, to refute a suspicion of a lower one.
  package let incarnation: UInt32

  package init(subject: NodeID, state: HealthState, incarnation: UInt32) {
    self.subject = subject
    self.state = state
    self.incarnation = incarnation
  }

  /// Rumors in one datagram at most.
  package static let maximumCount = 8
}

/// A ping, or its answer.
package struct Probe: Equatable, Sendable {
  /// The answer carries back the ping's.
  package let sequence: UInt32
  /// The sender's own.
  package let incarnation: UInt32
  package let rumors: [Rumor]

  package init(sequence: UInt32, incarnation: UInt32, rumors: [Rumor]) {
    self.sequence = sequence
    self.incarnation = incarnation
    self.rumors = rumors
  }
}

/// Asks a member to ping another, or reports that it answered (SWIM, section 3.1).
package struct IndirectProbe: Equatable, Sendable {
  /// The ping's number.
  package let sequence: UInt32
  /// Who is to be pinged.
  package let target: NodeID
  /// In a report, the target's.
  package let incarnation: UInt32

  package init(sequence: UInt32, target: NodeID, incarnation: UInt32) {
    self.sequence = sequence
    self.target = target
    self.incarnation = incarnation
  }
}

extension BeaconWriter {
  /// Appends sequence 4, incarnation 4, count 1, and for each rumor subject 16, state 1, incarnation 4.
  package mutating func probe(_ probe: Probe) {
    u32(probe.sequence)
    u32(probe.incarnation)
    u8(UInt8(probe.rumors.count))
    for rumor in probe.rumors {
      id(rumor.subject)
      u8(rumor.state.rawValue)
      u32(rumor.incarnation)
    }
  }

  /// Appends sequence 4, target 16, incarnation 4.
  package mutating func indirect(_ probe: IndirectProbe) {
    u32(probe.sequence)
    id(probe.target)
    u32(probe.incarnation)
  }
}

extension BeaconReader {
  /// Reads what `probe` wrote.
  package mutating func probe() throws(BeaconError) -> Probe {
    let (sequence, incarnation) = (try u32(), try u32())
    var rumors: [Rumor] = []
    for _ in 0..<(try count8(atMost: Rumor.maximumCount)) {
      let subject = try nodeID()
      guard let state = HealthState(rawValue: try u8()) else { throw .malformed }
      rumors.append(Rumor(subject: subject, state: state, incarnation: try u32()))
    }
    return Probe(sequence: sequence, incarnation: incarnation, rumors: rumors)
  }

  /// Reads what `indirect` wrote.
  package mutating func indirect() throws(BeaconError) -> IndirectProbe {
    let sequence = try u32()
    return IndirectProbe(sequence: sequence, target: try nodeID(), incarnation: try u32())
  }
}
