import Testing
import Wire

@testable import Engine

@Suite struct StoreLimitTests {
  @Test("a full store refuses writes, stays readable, and takes removals and rewrites", arguments: [1, 2] as [UInt64])
  func full(seed: UInt64) throws {
    var random = TestRandom(seed: seed)
    var harness = StoreHarness(memory: 2 << 20, partitions: 0..<partitionCount, space: 4 << 20)
    if seed == 2 { harness = StoreHarness(memory: 12 << 20, partitions: 0..<partitionCount) }
    var twin: [String: [UInt8]] = [:]
    var refusals = 0
    for step in 0..<20_000 {
      let name = "key-\(random.below(20_000))"
      if random.chance(8), let victim = twin.keys.randomElement(using: &random) {
        #expect(try harness.remove(victim) != nil)
        twin[victim] = nil
        continue
      }
      let value = bytes(500 + random.below(700), step)
      do {
        #expect(try harness.put(name, value) == (twin[name] != nil))
        twin[name] = value
      } catch let error as StoreError {
        #expect(error == .full)
        refusals += 1
      }
      #expect(harness.store.usedBytes <= harness.store.limitPages << PageAllocator.pageShift)
      if random.chance(50) { _ = harness.store.maintain(now: 1000, budget: 10_000) }
    }
    #expect(refusals > 100)
    harness.expectSound("full")
    #expect(twin.allSatisfy { harness.get($0.key) == $0.value })
    // Room for new values appears by removing, without any background work.
    for name in twin.keys.sorted() { #expect(try harness.remove(name) != nil) }
    #expect(harness.store.count == 0)
    for index in 0..<500 { _ = try harness.put("again-\(index)", bytes(300)) }
    harness.expectSound("refilled")
  }

  @Test("a store that evicts takes every write and keeps what is read", arguments: [1, 2] as [UInt64])
  func lru(seed: UInt64) throws {
    var random = TestRandom(seed: seed)
    var harness = StoreHarness(
      memory: 8 << 20, eviction: .lru, partitions: 0..<partitionCount, maximumValue: 1 << 20, space: 24 << 20)
    var last: [String: [UInt8]] = [:]
    for index in 0..<200 {
      last["hot-\(index)"] = bytes(200, index)
      _ = try harness.put("hot-\(index)", bytes(200, index))
    }
    for step in 0..<25_000 {
      let size = random.chance(500) ? random.below(100_000) : 200 + random.below(400)
      let name = "cold-\(random.below(60_000))"
      let value = bytes(size, step)
      _ = try harness.put(name, value, expiry: random.chance(10) ? 50_000 : 0)
      last[name] = value
      _ = harness.get("hot-\(random.below(200))")
      if random.chance(20) { _ = harness.store.maintain(now: 1000, budget: 20_000) }
      if random.chance(50), let held = harness.get(name) { #expect(held == value) }
      if step % 5000 == 0 { harness.expectSound("step \(step)") }
    }
    harness.settle()
    harness.expectSound("settled")
    #expect(harness.store.evictedTotal > 1000)
    #expect(harness.store.usedBytes <= 8 << 20)
    for (name, value) in last { if let held = harness.get(name) { #expect(held == value) } }
    #expect((0..<200).count { harness.get("hot-\($0)") != nil } > 190)
  }

  @Test("eviction makes room although everything was just read, and for a large value")
  func everythingReferenced() throws {
    var harness = StoreHarness(
      memory: 8 << 20, eviction: .lru, partitions: 0..<partitionCount, maximumValue: 4 << 20, space: 24 << 20)
    for index in 0..<30_000 {
      _ = try harness.put("k-\(index)", bytes(200, index))
      _ = harness.get("k-\(index)")
    }
    _ = try harness.put("large", bytes(1 << 20))
    #expect(harness.get("large") == bytes(1 << 20))
    #expect(throws: StoreError.full) { _ = try harness.put("too large", bytes(9 << 20)) }
    harness.expectSound()
  }

  @Test("keys made to collide are refused, and harm nobody else")
  func flooding() throws {
    var harness = StoreHarness(memory: 16 << 20)
    // Hashes are the caller's word: one tag for all.
    var refused = 0
    for index in 0..<200 {
      let name = Array("flood-\(index)".utf8)
      name.withUnsafeBytes {
        let key = KeyRef(map: $0.baseAddress!, mapCount: 0, key: $0.baseAddress!, keyCount: $0.count, hash: 0x7FF_FFFF)
        do { _ = try harness.store.put(key, $0, time: 1) } catch {
          #expect(error as? StoreError == .collision)
          refused += 1
        }
      }
    }
    #expect(refused == 200 - TableLayout.maximumRun)
    _ = try harness.put("innocent", [1])
    #expect(harness.get("innocent") == [1])
  }

  @Test("space that overwriting frees comes back, sooner where memory is short", arguments: [(64, 1), (14, 2)])
  func compaction(megabytes: Int, factor: Int) throws {
    var random = TestRandom(seed: 3)
    var harness = StoreHarness(memory: megabytes << 20, partitions: 0..<partitionCount)
    for index in 0..<20_000 { _ = try harness.put("k-\(index)", bytes(200, index)) }
    let before = harness.store.usedBytes
    var worst = 0
    for step in 0..<60_000 {
      _ = try harness.put("k-\(random.below(20_000))", bytes(200, step))
      if step % 16 == 0 { _ = harness.store.maintain(now: 1000, budget: 16_384) }
      worst = max(worst, harness.store.usedBytes)
    }
    harness.settle()
    harness.expectSound()
    #expect(worst < before * 17 / 10)
    #expect(harness.store.usedBytes < before * 15 / 10)
    #expect(harness.store.deadBytes * factor < harness.store.liveBytes)
  }
}
