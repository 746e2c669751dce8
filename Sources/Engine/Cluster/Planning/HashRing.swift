import Wire

/// A member as the ring sees it.
package struct RingMember: Equatable, Sendable {
  /// Who it is.
  package let id: NodeID
  /// Its share in per cent of a plain member's: 1 to 1000, 100 by default.
  package let weight: UInt16

  package init(_ id: NodeID, weight: UInt16 = 100) {
    self.id = id
    self.weight = min(max(weight, 1), 1000)
  }
}

/// The consistent hash ring (Karger et al. 1997) with bounded loads: which members hold which partition.
///
/// Every member stands at 200 places of a circle, given by XXH3 of its id; every partition at one. A partition belongs
/// to the next member clockwise, and its replicas are the next ones that differ. With as few partitions as 1024, chance
/// alone would give some of 50 members twice their share. So each member has a capacity, a quarter above its share, and
/// a partition passes by members that are full: Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded
/// Loads", 2016. Owners and copies (owner and replicas together) are bounded each.
///
/// The result depends on the set of members alone: not on their order, nor on what was assigned before. When a member
/// joins or leaves, its own share moves and, where that fills or frees others, a few partitions more.
package struct HashRing: Sendable {
  /// Places on the circle of a member of weight 100.
  package static let virtualNodes = 200

  /// The members in the order of their ids; an assignment speaks of them by their place here.
  package let members: [RingMember]
  private let points: [Point]

  private struct Point: Sendable {
    let place: UInt64
    let member: UInt16
  }

  /// The ring of these members, whatever their order; a member named twice counts once. At most 65535 members.
  package init(_ members: [RingMember]) {
    var sorted = members.sorted { $0.id < $1.id }
    var kept = 0
    for index in sorted.indices where kept == 0 || sorted[kept - 1].id != sorted[index].id {
      sorted[kept] = sorted[index]
      kept += 1
    }
    sorted.removeSubrange(kept...)
    precondition(sorted.count <= Int(UInt16.max), "a ring of more than 65535 members")
    self.members = sorted
    points = HashRing.points(of: sorted)
  }

  /// The places of all members in clockwise order; of two at one place, the lower member comes first.
  private static func points(of members: [RingMember]) -> [Point] {
    var points: [Point] = []
    points.reserveCapacity(members.count * virtualNodes)
    for (index, member) in members.enumerated() {
      for number in 0..<max(1, virtualNodes * Int(member.weight) / 100) {
        points.append(Point(place: place(member.id, UInt64(number)), member: UInt16(index)))
      }
    }
    points.sort { $0.place == $1.place ? $0.member < $1.member : $0.place < $1.place }
    return points
  }

  /// XXH3 of 24 bytes: the id's halves, then the number, little-endian each.
  private static func place(_ id: NodeID, _ number: UInt64) -> UInt64 {
    var words = (id.high.littleEndian, id.low.littleEndian, number.littleEndian)
    return withUnsafeBytes(of: &words) { xxh3($0.baseAddress, count: $0.count, seed: 0) }
  }

  /// Who holds which partition, by places in `members`.
  package struct Assignment: Equatable, Sendable {
    /// Copies of each partition: what was asked for, or as many as there are members.
    package let copies: Int
    fileprivate(set) var holders: [UInt16]

    /// The members that hold a partition, its owner first.
    package subscript(partition: Int) -> ArraySlice<UInt16> { holders[partition * copies..<(partition + 1) * copies] }

    /// The member that should own a partition.
    package func owner(_ partition: Int) -> UInt16 { holders[partition * copies] }
  }

  /// Assigns every partition to `copies` distinct members, or to all if there are fewer.
  package func assignment(copies: Int) -> Assignment {
    let copies = min(max(copies, 1), members.count)
    var result = Assignment(copies: copies, holders: [UInt16](repeating: 0, count: partitionCount * copies))
    guard copies > 0 else { return result }
    var loads = [Int](repeating: 0, count: members.count)
    let starts = (0..<partitionCount).map { firstPoint(from: HashRing.place(.none, UInt64($0))) }
    // Round by round: first every partition gets its owner, then its first replica, and so on, so that each round can
    // keep its own bound.
    for round in 0..<copies {
      let capacities = self.capacities(partitionCount * (round + 1))
      for partition in 0..<partitionCount {
        let start = partition * copies
        let member = next(
          clockwiseFrom: starts[partition], avoiding: result.holders[start..<start + round],
          loads: loads, capacities: capacities)
        result.holders[start + round] = member
        loads[Int(member)] += 1
      }
    }
    return result
  }

  /// What each member may hold of `total`: a quarter above its share, rounded down, but never less than the share
  /// rounded up, so that there is room for all.
  private func capacities(_ total: Int) -> [Int] {
    let weights = members.reduce(0) { $0 + Int($1.weight) }
    return members.map { member in
      let share = total * Int(member.weight)
      return max(share * 5 / (weights * 4), (share + weights - 1) / weights)
    }
  }

  /// The first point clockwise from `place`; the number of points when it is the first one of all.
  private func firstPoint(from place: UInt64) -> Int {
    var low = 0
    var high = points.count
    while low < high {
      let middle = (low + high) / 2
      if points[middle].place < place { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// The first member clockwise from a point that isn't avoided and has room; when only avoided ones have room, the
  /// first that isn't avoided.
  private func next(
    clockwiseFrom low: Int, avoiding holders: ArraySlice<UInt16>, loads: [Int], capacities: [Int]
  ) -> UInt16 {
    var fallback: UInt16?
    for step in 0..<points.count {
      let index = low + step
      let member = points[index < points.count ? index : index - points.count].member
      if holders.contains(member) { continue }
      if loads[Int(member)] < capacities[Int(member)] { return member }
      if fallback == nil { fallback = member }
    }
    guard let fallback else { preconditionFailure("more copies than members") }
    return fallback
  }
}
