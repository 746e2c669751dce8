import Testing
import Wire

@testable import Engine

/// A store with memory of its own, and what every test says to it.
struct StoreHarness: ~Copyable {
  let base: UnsafeMutableRawPointer
  var store: Store

  init(
    memory: Int, eviction: Eviction = .none, partitions: Range<Int> = 0..<partitionCount, maximumValue: Int = 1 << 20,
    space: Int? = nil
  ) {
    let space = space ?? 2 * memory
    base = .allocate(byteCount: space, alignment: 1 << 21)
    store = Store(
      processBase: base, processBytes: space, range: 0..<space, partitions: partitions,
      settings: StoreSettings(memory: memory, eviction: eviction, maximumValue: maximumValue))
  }

  deinit { base.deallocate() }

  mutating func put(
    _ key: String, _ value: [UInt8], map: String = "", type: RecordContentType = RecordContentType(),
    expiry: UInt64 = 0, flags: UInt8 = 0, time: UInt64 = 1000
  ) throws -> Bool {
    try withKey(key, map) { store, key in
      try value.withUnsafeBytes {
        try store.put(
          key, UnsafeRawBufferPointer(rebasing: $0.prefix(value.count / 3)),
          UnsafeRawBufferPointer(rebasing: $0.dropFirst(value.count / 3)), contentType: type, expiry: expiry,
          flags: flags, time: time
        ).existed
      }
    }
  }

  mutating func get(_ key: String, map: String = "", now: UInt64 = 1000) -> [UInt8]? {
    withKey(key, map) { store, key in store.find(key, now: now).map { [UInt8]($0.value) } }
  }

  mutating func record(_ key: String, map: String = "", now: UInt64 = 1000) -> RecordView? {
    withKey(key, map) { store, key in store.find(key, now: now) }
  }

  mutating func remove(_ key: String, map: String = "", time: UInt64 = 1000) throws -> Revision? {
    try withKey(key, map) { store, key in try store.remove(key, time: time) }
  }

  mutating func stage(
    _ key: String, capacity: Int, map: String = "", type: RecordContentType = RecordContentType(), time: UInt64 = 1000
  ) throws -> StagedValue {
    try withKey(key, map) { store, key in
      try store.stage(key, valueCapacity: capacity, contentType: type, time: time)
    }
  }

  mutating func withKey<R>(_ key: String, _ map: String, _ body: (inout Store, KeyRef) throws -> R) rethrows -> R {
    let (keyBytes, mapBytes) = (Array(key.utf8), Array(map.utf8))
    return try keyBytes.withUnsafeBytes { k in
      try mapBytes.withUnsafeBytes { m in try body(&store, KeyRef(map: m, key: k)) }
    }
  }

  /// All background work there is.
  mutating func settle(now: UInt64 = 1000) {
    var rounds = 0
    while store.maintain(now: now, budget: 64 << 10) && rounds < 100_000 { rounds += 1 }
    #expect(rounds < 100_000, "maintenance never ends")
  }

  /// Every key of a map, in pages.
  mutating func keys(map: String = "", prefix: String = "", page: Int = 100, slots: Int = 300, now: UInt64 = 1000)
    -> [String]
  {
    var names: [String] = []
    var cursor: ListCursor? = ListCursor(partition: PartitionID(0), tag: 0)
    while let from = cursor {
      cursor = list(map: map, prefix: prefix, from: from, page: page, slots: slots, now: now, into: &names)
    }
    return names
  }

  mutating func list(
    map: String = "", prefix: String = "", from: ListCursor, page: Int, slots: Int, now: UInt64 = 1000,
    into names: inout [String]
  ) -> ListCursor? {
    let (mapBytes, prefixBytes) = (Array(map.utf8), Array(prefix.utf8))
    var list = RecordList(capacity: 4)
    let next = mapBytes.withUnsafeBytes { m in
      prefixBytes.withUnsafeBytes { p in
        store.list(map: m, prefix: p, from: from, maximumKeys: page, maximumSlots: slots, now: now, into: &list)
      }
    }
    for index in 0..<list.count { names.append(String(decoding: list[index].key, as: UTF8.self)) }
    return next
  }

  func expectSound(_ note: String = "") {
    let wrong = store.checkInvariants()
    #expect(wrong == nil, "\(note)")
  }
}

func bytes(_ count: Int, _ seed: Int = 0) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 131) ^ ($0 >> 8) ^ seed) }
}
