import Testing
import Wire

@testable import Engine

@Suite struct StoreStagingTests {
  @Test("a value that arrives in parts is the value that was put", arguments: [0, 100, 5000, 40_000, 300_000, 1 << 20])
  func parts(size: Int) throws {
    for expiry in [0, 9000] as [UInt64] {
      var harness = StoreHarness(memory: 16 << 20)
      let value = bytes(size, 3)
      let type = Array("text/strange".utf8)
      let (known, unknown) = try type.withUnsafeBytes {
        let known = try harness.stage("known", capacity: size, map: "m", type: RecordContentType(literal: $0))
        let unknown = try harness.stage("unknown", capacity: 10, type: RecordContentType(code: 3))
        return (known, unknown)
      }
      for (name, map, start) in [("known", "m", known), ("unknown", "", unknown)] {
        var staged = start
        try value.withUnsafeBytes { value in
          var at = 0
          while at < size {
            if staged.filled == staged.capacity { try harness.store.grow(&staged, time: 1000) }
            let count = min(size - at, 7777, staged.capacity - staged.filled)
            staged.append(UnsafeRawBufferPointer(rebasing: value[at..<at + count]))
            at += count
          }
        }
        let result = try harness.store.commit(staged, expiry: expiry, flags: 8, time: 1000)
        #expect(!result.existed && result.record.isIntact && result.record.expiry == expiry)
        #expect(result.record.flags == 8 && result.record.key.elementsEqual(name.utf8))
        #expect(harness.get(name, map: map) == value)
      }
      #expect(harness.record("known", map: "m")!.contentTypeLiteral!.elementsEqual(type))
      #expect(harness.record("unknown")!.contentTypeCode == 3)
      harness.expectSound()
      #expect(harness.store.stagedPages == 0)
      #expect(harness.store.usedBytes < 2 * size + 50_000)
      _ = try harness.put("known", [1], map: "m")
      _ = try harness.remove("unknown")
      harness.settle()
      harness.expectSound("removed")
      #expect(harness.store.usedBytes < 50_000)
    }
  }

  @Test("a staged value that is abandoned leaves nothing; one that doesn't fit is refused")
  func abandoned() throws {
    var harness = StoreHarness(memory: 4 << 20, maximumValue: 3 << 20)
    let staged = try harness.stage("a", capacity: 1 << 20)
    harness.expectSound("staged")
    harness.store.abandon(staged)
    #expect(harness.store.usedBytes == 0)
    #expect(throws: StoreError.full) { _ = try harness.stage("a", capacity: 5 << 20) }
    harness.expectSound()
  }

  @Test("a value staged by one core and committed by another goes home when it dies")
  func foreign() throws {
    let bytesEach = 16 << 20
    let base = UnsafeMutableRawPointer.allocate(byteCount: 2 * bytesEach, alignment: 1 << 21)
    defer { base.deallocate() }
    let settings = StoreSettings(memory: 8 << 20)
    var a = Store(
      processBase: base, processBytes: 2 * bytesEach, range: 0..<bytesEach, partitions: 0..<1, settings: settings)
    var b = Store(
      processBase: base, processBytes: 2 * bytesEach, range: bytesEach..<2 * bytesEach, partitions: 1..<partitionCount,
      settings: settings)
    var expected = bytes(200_000)
    for round in 0..<3 {
      try Array("key".utf8).withUnsafeBytes { name in
        let key = KeyRef(name)
        var staged = try a.stage(key, valueCapacity: round == 2 ? 1000 : 400_000, time: 1)
        if round == 2 { expected = bytes(1000) }
        expected.withUnsafeBytes { staged.append($0) }
        a.lend(staged)
        let result = try b.commit(staged, time: 1)
        #expect(result.existed == (round > 0) && result.record.value.elementsEqual(expected))
      }
      for range in b.takeForeignFrees() { a.release(range) }
      #expect(a.checkInvariants() == nil)
      #expect(b.checkInvariants() == nil)
    }
    #expect(a.usedBytes == 0 && a.stagedPages == 0)
    #expect(b.count == 1)
  }
}
