import Testing

@testable import Engine

/// What is fetched ahead is counted in cache lines: these hold only while the fields lie where that count has them.
@Suite struct LayoutTests {
  @Test func partsOfReplication() {
    let line = PartitionReplication.line
    #expect(MemoryLayout<PartitionReplication>.stride % line == 0)
    #expect(MemoryLayout<PartitionReplication>.offset(of: \.owner) == line)
    #expect(MemoryLayout<Replica>.size <= line)
    let end = (PartitionReplication.ownerLines - 1) * line
    // The first three of the synced set, behind their count.
    let synced = MemoryLayout<Owner>.offset(of: \.synced)!
    #expect(synced + 2 + 3 * MemoryLayout<MemberSlot>.size <= end)
    for offset in [
      MemoryLayout<Owner>.offset(of: \.committed), MemoryLayout<Owner>.offset(of: \.acknowledged),
      MemoryLayout<Owner>.offset(of: \.waiters), MemoryLayout<Owner>.offset(of: \.pending),
      MemoryLayout<Owner>.offset(of: \.followers),
    ] {
      #expect(offset! < synced)
    }
    #expect(PartitionReplication.followersOffset == line + MemoryLayout<Owner>.offset(of: \.followers)!)
  }

  @Test func partitions() {
    #expect(MemoryLayout<Partition>.stride == 256)
    // The third line is what only records with an expiry need: `prefetchReplicated` leaves it out.
    #expect(MemoryLayout<Partition>.offset(of: \.isTouched)! < 128)
    #expect(MemoryLayout<Partition>.offset(of: \.oldHeap)! >= 128)
    #expect(MemoryLayout<Partition>.offset(of: \.expiring) == 192)
    for offset in [
      MemoryLayout<Partition>.offset(of: \.committed), MemoryLayout<Partition>.offset(of: \.victims),
      MemoryLayout<Partition>.offset(of: \.hintPlace),
    ] {
      #expect(offset! >= 192)
    }
  }
}
