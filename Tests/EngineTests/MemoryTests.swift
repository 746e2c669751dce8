import Testing

@testable import Engine

@Suite struct MemoryTests {
  @Test("pages handed out never overlap, and all come back", arguments: [1, 2, 3] as [UInt64])
  func twin(seed: UInt64) {
    var random = TestRandom(seed: seed)
    let total = 5000
    var allocator = PageAllocator(range: 0..<total * PageAllocator.pageSize)
    var owner = [Int](repeating: 0, count: total)
    owner[0] = -1
    var runs: [Range<Int>] = []
    for step in 1...20_000 {
      if random.chance(2) || runs.isEmpty {
        let wanted = 1 + random.below(random.chance(20) ? 700 : 12)
        let least = random.chance(2) ? wanted : 1 + wanted / 2
        guard let run = allocator.allocate(atLeast: least, preferring: wanted) else { continue }
        #expect(run.count >= least && run.count <= wanted)
        for page in run {
          if owner[page] != 0 { Issue.record("page \(page) twice") }
          owner[page] = step
        }
        runs.append(run)
      } else {
        let index = random.below(runs.count)
        let run = runs[index]
        // Sometimes only a part of an allocation.
        let part = random.chance(3) ? run.lowerBound..<run.lowerBound + 1 + random.below(run.count) : run
        allocator.free(part.lowerBound, count: part.count)
        for page in part { owner[page] = 0 }
        if part.count == run.count {
          runs.swapAt(index, runs.count - 1)
          runs.removeLast()
        } else {
          runs[index] = part.upperBound..<run.upperBound
        }
      }
      if step % 500 == 0 {
        #expect(allocator.checkInvariants() == nil)
        #expect(allocator.usedPages == owner.count { $0 > 0 })
      }
    }
    for run in runs { allocator.free(run.lowerBound, count: run.count) }
    #expect(allocator.usedPages == 0)
    #expect(allocator.checkInvariants() == nil)
    // Whole again: the upper half of the range is one run.
    #expect(allocator.allocate(2048) != nil)
  }

  @Test("holes at low addresses are filled first")
  func lowestFirst() {
    var allocator = PageAllocator(range: 1 << 21..<1 << 24)
    let first = allocator.allocate(16)!
    let second = allocator.allocate(16)!
    #expect(first == 1 << (21 - PageAllocator.pageShift) && second == first + 16)
    allocator.free(first + 3, count: 5)
    #expect(allocator.allocate(atLeast: 4, preferring: 8) == first + 4..<first + 8)
    #expect(allocator.allocate(8) == second + 16)
    allocator.free(first + 8, count: 8)
    #expect(allocator.allocate(8) == first + 8)
  }

  @Test("an area that went out of use is reported once")
  func discardable() {
    var allocator = PageAllocator(range: 0..<64 << 20)
    func next() -> Range<Int>? { allocator.takeDiscardable() }
    #expect(next() == nil)
    let page = allocator.allocate(2048)!
    #expect(next() == nil)
    allocator.free(page, count: 2048)
    let areas = [next(), next()].compactMap { $0?.lowerBound }
    #expect(Set(areas) == [page << PageAllocator.pageShift, page << PageAllocator.pageShift + 1 << 21])
    #expect(next() == nil)
  }

  @Test("areas are looked at only while something came back since they were")
  func barren() {
    var allocator = PageAllocator(range: 0..<1 << 30)
    let pages = (0..<500).map { _ in allocator.allocate(1024)! }
    func found() -> Int { (0..<100).count { _ in allocator.takeDiscardable() != nil } }
    #expect(found() == 0)
    let looked = allocator.barrenAreas
    #expect(found() == 0 && allocator.barrenAreas == looked, "it goes around for ever")
    // Of one page more than a run that is kept for its next use; and such runs.
    allocator.free(pages[300], count: 1024)
    #expect(found() == 1)
    for start in stride(from: pages[200], to: pages[200] + 1024, by: 8) { allocator.free(start, count: 8) }
    #expect(found() == 1)
  }
}
