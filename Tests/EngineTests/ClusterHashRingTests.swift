import Testing
import Wire

@testable import Engine

@Suite struct ClusterHashRingTests {
  private func ids(_ count: Int, seed: UInt64) -> [RingMember] {
    var random = TestRandom(seed: seed)
    return (0..<count).map { _ in RingMember(NodeID(high: random.next(), low: random.next())) }
  }

  /// How many partitions each member owns, and how many copies it holds.
  private func loads(_ ring: HashRing, _ assignment: HashRing.Assignment) -> (owned: [Int], held: [Int]) {
    var owned = [Int](repeating: 0, count: ring.members.count)
    var held = owned
    for partition in 0..<partitionCount {
      owned[Int(assignment.owner(partition))] += 1
      for member in assignment[partition] { held[Int(member)] += 1 }
    }
    return (owned, held)
  }

  /// The owner of every partition by id.
  private func owners(_ members: [RingMember]) -> [NodeID] {
    let ring = HashRing(members)
    let assignment = ring.assignment(copies: 3)
    return (0..<partitionCount).map { ring.members[Int(assignment.owner($0))].id }
  }

  @Test("no member owns or holds more than a quarter above the mean, from 3 to 50 members", arguments: 3...50)
  func balance(_ count: Int) {
    for seed in 0..<3 as Range<UInt64> {
      let ring = HashRing(ids(count, seed: seed &* 1000 + UInt64(count)))
      let assignment = ring.assignment(copies: 3)
      let (owned, held) = loads(ring, assignment)
      let mean = Double(partitionCount) / Double(count)
      #expect(Double(owned.max()!) <= 1.25 * mean)
      #expect(Double(held.max()!) <= 1.25 * 3 * mean)
      for partition in 0..<partitionCount { #expect(Set(assignment[partition]).count == 3) }
    }
  }

  @Test("about 1/N of the partitions change their owner when a member joins, and the same ones when it leaves")
  func movement() {
    var worst = 0.0
    for count in [3, 4, 5, 8, 12, 20, 30, 49] {
      var total = 0
      for seed in 0..<6 as Range<UInt64> {
        let members = ids(count + 1, seed: seed &* 77 + UInt64(count))
        let before = owners(Array(members.dropLast()))
        let after = owners(members)
        let moved = zip(before, after).filter { $0 != $1 }.count
        total += moved
        // One join: at most twice the share of the newcomer.
        #expect(moved * (count + 1) <= 2 * partitionCount, "\(moved) of \(partitionCount) with \(count) members")
      }
      worst = max(worst, Double(total * (count + 1)) / Double(6 * partitionCount))
    }
    // On the mean over joins, at most half as much again as the newcomer's share.
    #expect(worst <= 1.5, "\(worst) shares moved on the mean")
  }

  @Test("the assignment depends on the set of members alone")
  func determinism() {
    var random = TestRandom(seed: 5)
    let members = ids(7, seed: 9)
    let shuffled = random.shuffled(members + members)
    #expect(HashRing(members).assignment(copies: 3) == HashRing(shuffled).assignment(copies: 3))
  }

  @Test("a member of double weight owns about double")
  func weight() {
    var members = ids(4, seed: 3)
    members[2] = RingMember(members[2].id, weight: 200)
    let ring = HashRing(members)
    let (owned, _) = loads(ring, ring.assignment(copies: 1))
    let heavy = owned[ring.members.firstIndex { $0.weight == 200 }!]
    #expect(heavy > partitionCount * 2 / 5 * 3 / 4 && heavy <= partitionCount * 2 / 5 * 5 / 4)
  }

  @Test("fewer members than copies hold everything; no members hold nothing")
  func few() {
    #expect(HashRing([]).assignment(copies: 3).copies == 0)
    let two = HashRing(ids(2, seed: 1)).assignment(copies: 3)
    #expect(two.copies == 2 && (0..<partitionCount).allSatisfy { Set(two[$0]) == [0, 1] })
    #expect(HashRing(ids(1500, seed: 1)).assignment(copies: 3).copies == 3)
  }
}
