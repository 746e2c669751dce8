import Testing
import Wire

@testable import Engine

@Suite struct StoreTests {
  @Test("a key has the value it was last given")
  func basics() throws {
    var harness = StoreHarness(memory: 16 << 20)
    #expect(harness.get("a") == nil)
    #expect(try harness.put("a", [1, 2, 3]) == false)
    #expect(harness.get("a") == [1, 2, 3])
    #expect(try harness.put("a", []) == true)
    #expect(harness.get("a") == [])
    #expect(try harness.put("a", [9], map: "other") == false)
    #expect(harness.get("a", map: "other") == [9])
    #expect(harness.store.count == 2)
    #expect(try harness.remove("a") != nil)
    #expect(try harness.remove("a") == nil)
    #expect(harness.get("a") == nil)
    #expect(harness.get("a", map: "other") == [9])
    harness.expectSound()
  }

  @Test("a record keeps everything it was given")
  func fields() throws {
    var harness = StoreHarness(memory: 16 << 20)
    let type = Array("application/vnd.kvd+json".utf8)
    try type.withUnsafeBytes { type in
      _ = try harness.put(
        "key", [1, 2], map: "m", type: RecordContentType(literal: type), expiry: 5000, flags: 0x10, time: 1234)
      let record = harness.record("key", map: "m")!
      #expect(record.contentTypeLiteral?.elementsEqual(type) == true)
      #expect(record.expiry == 5000 && record.flags == 0x10 && record.time == 1234 && record.epoch == Epoch(1))
      #expect(record.offset == Offset(1) && record.isIntact && record.kind == .put)
      #expect(record.map.elementsEqual("m".utf8) && record.key.elementsEqual("key".utf8))
    }
    _ = try harness.put("key", [1], map: "m", type: RecordContentType(code: 7))
    #expect(harness.record("key", map: "m")!.contentTypeCode == 7)
    #expect(harness.record("key", map: "m")!.offset == Offset(2))
  }

  @Test("an epoch is stamped on what follows")
  func epochs() throws {
    var harness = StoreHarness(memory: 16 << 20)
    _ = try harness.put("a", [1])
    let partition = PartitionID(hash: harness.record("a")!.hash)
    harness.store.setEpoch(Epoch(4), of: partition)
    #expect(harness.record("a")!.epoch == Epoch(1))
    let revision = try harness.remove("a")
    #expect(revision == Revision(partition: partition, epoch: Epoch(4), offset: Offset(2)))
  }

  @Test("random operations agree with a dictionary", arguments: [1, 2, 3, 4] as [UInt64])
  func twin(seed: UInt64) throws {
    var random = TestRandom(seed: seed)
    let partitions = [0..<partitionCount, 512..<528, 7..<8][Int(seed % 3)]
    var harness = StoreHarness(memory: 32 << 20)
    if partitions.count < partitionCount { harness = StoreHarness(memory: 32 << 20, partitions: partitions) }
    var twin: [String: (value: [UInt8], expiry: UInt64)] = [:]
    var now: UInt64 = 1000
    var names: [String] = []
    while names.count < 400 {
      let name = "key-\(random.next() % 100_000)"
      let owned = name.utf8.withContiguousStorageIfAvailable { bytes in
        partitions.contains(Int(PartitionID(hash: KeyRef(UnsafeRawBufferPointer(bytes)).hash).rawValue))
      }
      if owned! { names.append(name) }
    }
    for step in 1...12_000 {
      let name = names[random.below(names.count)]
      now += UInt64(random.below(3))
      let held = twin[name].flatMap { $0.expiry == 0 || $0.expiry > now ? $0.value : nil }
      switch random.below(10) {
      case 0...4:
        let size = random.chance(50) ? random.below(60_000) : random.below(200)
        let value = bytes(size, step)
        let expiry = random.chance(3) ? now + UInt64(random.below(500)) + 1 : 0
        #expect(try harness.put(name, value, expiry: expiry, time: now) == (held != nil))
        twin[name] = (value, expiry)
      case 5:
        #expect((try harness.remove(name, time: now) != nil) == (held != nil))
        twin[name] = nil
      case 6: _ = harness.store.maintain(now: now, budget: random.below(100_000))
      default: #expect(harness.get(name, now: now) == held)
      }
      if step % 1000 == 0 {
        harness.expectSound("seed \(seed) step \(step)")
        let alive = twin.filter { $0.value.expiry == 0 || $0.value.expiry > now }.keys
        #expect(harness.keys(page: 17, slots: 64, now: now).sorted() == alive.sorted())
      }
    }
    harness.settle(now: now)
    harness.expectSound("seed \(seed), settled")
    for (name, entry) in twin where entry.expiry == 0 || entry.expiry > now {
      #expect(harness.get(name, now: now) == entry.value)
    }
    for name in names { _ = try harness.remove(name, time: now + 1000) }
    harness.settle(now: now + 1000)
    harness.expectSound("seed \(seed), emptied")
    #expect(harness.store.count == 0 && harness.store.liveBytes == 0)
    #expect(harness.store.usedBytes <= partitions.count * 3 * PageAllocator.pageSize)
  }

  @Test("a record sent from the log stays readable while it is pinned")
  func pins() throws {
    var harness = StoreHarness(memory: 4 << 20, partitions: 0..<partitionCount)
    _ = try harness.put("pinned", bytes(500, 1))
    let record = harness.record("pinned")!
    let pin = harness.store.pin(record)
    _ = try harness.remove("pinned")
    for index in 0..<3000 { _ = try harness.put("other-\(index % 900)", bytes(300, index)) }
    harness.settle()
    harness.expectSound("pinned")
    #expect([UInt8](record.value) == bytes(500, 1) && record.isIntact)
    harness.store.unpin(pin)
    harness.expectSound("unpinned")
  }

  @Test("a value may be made of the key's own old value, at the limit too")
  func append() throws {
    for eviction in [Eviction.none, .lru] {
      var harness = StoreHarness(memory: 1 << 20, eviction: eviction, partitions: 0..<partitionCount, space: 4 << 20)
      var random = TestRandom(seed: 7)
      var wanted: [UInt8] = []
      for step in 0..<4000 {
        _ = try? harness.put("filler-\(random.below(3000))", bytes(random.below(400), step))
        if random.chance(3) { _ = try? harness.remove("filler-\(random.below(3000))") }
        guard let old = harness.record("grown") else {
          if (try? harness.put("grown", [1])) != nil { wanted = [1] }
          continue
        }
        let more = bytes(random.below(20), step)
        let reset = old.value.count > 2000
        let done: Void? = try? harness.withKey("grown", "") { store, key in
          try more.withUnsafeBytes {
            _ = try store.put(key, reset ? UnsafeRawBufferPointer(start: nil, count: 0) : old.value, $0, time: 1000)
          }
        }
        if done != nil { wanted = reset ? more : wanted + more }
        #expect(harness.get("grown") == wanted)
      }
      harness.expectSound("\(eviction)")
    }
  }

  @Test("tombstones stay in the log until everyone has passed them")
  func tombstones() throws {
    var harness = StoreHarness(memory: 32 << 20, partitions: 0..<partitionCount)
    _ = try harness.put("k", [1])
    let partition = PartitionID(hash: harness.record("k")!.hash)
    harness.store.setTombstoneFloor(Offset(1), of: partition)
    _ = try harness.remove("k")
    for index in 0..<20_000 { _ = try harness.put("f-\(index % 20)", bytes(150, index)) }
    for index in 0..<20 { _ = try harness.put("f-\(index)", bytes(9000, index)) }
    harness.settle()
    harness.expectSound()
    func kinds() -> [RecordKind] {
      var list = RecordList()
      #expect(harness.store.scan(partition, from: Offset(1), maximumBytes: 1 << 20, into: &list) == nil)
      return (0..<list.count).map { list[$0].kind }
    }
    #expect(kinds().contains(.remove))
    harness.store.setTombstoneFloor(nil, of: partition)
    for index in 0..<2000 {
      _ = try harness.put("g-\(index)", bytes(1000))
      _ = try harness.remove("g-\(index)")
    }
    harness.settle()
    harness.expectSound()
  }

  @Test("the log is read in order, in pieces")
  func scan() throws {
    var harness = StoreHarness(memory: 32 << 20, partitions: 0..<partitionCount)
    var random = TestRandom(seed: 5)
    for index in 0..<6000 { _ = try harness.put("k-\(random.below(3000))", bytes(random.below(90), index)) }
    harness.settle()
    for index in stride(from: 0, to: partitionCount, by: 37) {
      let partition = PartitionID(UInt16(index))
      var whole = RecordList()
      _ = harness.store.scan(partition, from: Offset(0), maximumBytes: .max, into: &whole)
      var pieces = RecordList()
      var next: Offset? = Offset(1)
      while let from = next { next = harness.store.scan(partition, from: from, maximumBytes: 200, into: &pieces) }
      let offsets = (0..<whole.count).map { whole[$0].offset.rawValue }
      #expect(offsets == offsets.sorted() && Set(offsets).count == offsets.count)
      #expect((0..<pieces.count).map { pieces[$0].offset.rawValue } == offsets)
    }
  }
}
