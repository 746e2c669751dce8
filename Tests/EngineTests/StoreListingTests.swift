import Testing
import Wire

@testable import Engine

@Suite struct StoreListingTests {
  @Test("a key that exists throughout a listing comes exactly once, whatever is written meanwhile", arguments: [1, 2])
  func exactlyOnce(seed: UInt64) throws {
    var random = TestRandom(seed: seed)
    var harness = StoreHarness(memory: 64 << 20)
    for index in 0..<2000 { _ = try harness.put("stays-\(index)", bytes(20)) }
    for index in 0..<1000 { _ = try harness.put("goes-\(index)", bytes(20)) }
    var names: [String] = []
    var cursor: ListCursor? = ListCursor(partition: PartitionID(0), tag: 0)
    var step = 0
    while let from = cursor {
      cursor = harness.list(from: from, page: 1 + random.below(40), slots: 1 + random.below(400), into: &names)
      for _ in 0..<100 {
        step += 1
        switch random.below(4) {
        case 0: _ = try harness.remove("goes-\(random.below(1000))")
        case 1: _ = try harness.put("stays-\(random.below(2000))", bytes(random.below(100)))
        default: _ = try harness.put("new-\(step)", bytes(20))
        }
      }
      _ = harness.store.maintain(now: 1000, budget: 100_000)
    }
    let stays = names.filter { $0.hasPrefix("stays-") }
    #expect(stays.count == 2000 && Set(stays).count == 2000)
    #expect(Set(names).count == names.count)
    harness.expectSound()
  }

  @Test("a listing has a map, a prefix, a bound of work, and no expired keys")
  func filters() throws {
    var harness = StoreHarness(memory: 64 << 20)
    for index in 0..<300 {
      _ = try harness.put("a-\(index)", [1])
      _ = try harness.put("b-\(index)", [1], map: "m")
      _ = try harness.put("a-\(index)", [1], map: "m", expiry: index < 100 ? 500 + 1000 : 0)
    }
    #expect(harness.keys(prefix: "b").isEmpty)
    #expect(harness.keys(map: "m", prefix: "b-").count == 300)
    #expect(harness.keys(map: "m", prefix: "a-", now: 1499).count == 300)
    #expect(harness.keys(map: "m", prefix: "a-", now: 1500).count == 200)
    #expect(harness.keys(map: "m", prefix: "a-29", page: 1, slots: 1).count == 11)
    var names: [String] = []
    let next = harness.list(
      map: "nothing", from: ListCursor(partition: PartitionID(0), tag: 0), page: 10, slots: 50, into: &names)
    #expect(names.isEmpty && next != nil && next!.partition < PartitionID(100))
  }
}
