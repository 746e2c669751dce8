import Testing
import Wire

@testable import Engine

@Suite struct StoreExpiryTests {
  @Test("a key is gone from its expiry on, noticed or not")
  func lazyAndActive() throws {
    var harness = StoreHarness(memory: 16 << 20)
    _ = try harness.put("a", [1], expiry: 2000)
    _ = try harness.put("b", [2], expiry: 3000)
    #expect(harness.get("a", now: 1999) == [1])
    #expect(harness.get("a", now: 2000) == nil)
    #expect(harness.store.count == 2 && harness.store.nextExpiry == 2000)
    harness.settle(now: 2000)
    #expect(harness.store.count == 1 && harness.store.nextExpiry == 3000 && harness.store.expiredTotal == 1)
    #expect(try harness.put("b", [3], time: 3000) == false)
    harness.settle(now: 4000)
    #expect(harness.get("b", now: 9000) == [3])
    #expect(harness.store.nextExpiry == .max)
    harness.expectSound()
  }

  @Test("an expiry index doesn't grow when keys are rewritten")
  func bounded() throws {
    var harness = StoreHarness(memory: 16 << 20, partitions: 0..<partitionCount)
    for round in 0..<30_000 {
      _ = try harness.put("k-\(round % 3)", [1], expiry: UInt64(1_000_000 - round))
      if round % 7 == 0 { _ = try harness.remove("k-\(round % 3)") }
    }
    harness.expectSound()
    #expect(harness.store.usedBytes < 100_000)
    var sizes = 0
    for index in 0..<partitionCount {
      sizes += harness.store.partitions[index].heap.count + harness.store.partitions[index].oldHeap.count
    }
    #expect(sizes < 3 * 3 * ExpiryHeap.entriesPerPage)
  }

  @Test("every key expires in time, also those that moved between heaps", arguments: [1, 2, 3] as [UInt64])
  func manyKeys(seed: UInt64) throws {
    var random = TestRandom(seed: seed)
    var harness = StoreHarness(memory: 16 << 20, partitions: 0..<partitionCount)
    var expiries: [String: UInt64] = [:]
    let names = names(in: PartitionID(3), count: 600)
    var now: UInt64 = 1000
    for step in 0..<20_000 {
      let name = names[random.below(names.count)]
      if random.chance(6) {
        _ = try harness.remove(name, time: now)
        expiries[name] = nil
      } else {
        let expiry = random.chance(4) ? 0 : now + 1 + UInt64(random.below(3000))
        _ = try harness.put(name, [1], expiry: expiry, time: now)
        expiries[name] = expiry
      }
      if step % 20 == 0 {
        now += 1
        harness.settle(now: now)
        expiries = expiries.filter { $0.value == 0 || $0.value > now }
        #expect(harness.store.count == expiries.count)
        let next = expiries.values.filter { $0 > 0 }.min() ?? .max
        #expect(harness.store.nextExpiry <= next)
      }
      if step % 2000 == 0 {
        harness.expectSound()
        let p = harness.store.partitions[3]
        #expect(p.heap.count + p.oldHeap.count <= 3 * p.expiring + 6 * ExpiryHeap.entriesPerPage)
      }
    }
  }

  /// Keys of one partition.
  private func names(in partition: PartitionID, count: Int) -> [String] {
    var names: [String] = []
    var number = 0
    while names.count < count {
      number += 1
      let name = "\(number)"
      let hash = Array(name.utf8).withUnsafeBytes { KeyRef($0).hash }
      if PartitionID(hash: hash) == partition { names.append(name) }
    }
    return names
  }
}
