import Testing
import Wire

@testable import Engine

/// A partition's log as replication uses it, against a dumb twin: what the keys had at each offset.
@Suite struct StoreReplicationTests {
  static let now: UInt64 = 1_000_000

  /// One partition, its keys, and what they had after each record that may be taken back.
  struct Twin: ~Copyable {
    var harness: StoreHarness
    let partition: PartitionID
    var keys: [String] = []
    var state: [String: [UInt8]] = [:]
    var states: [UInt64: [String: [UInt8]]] = [:]

    init(memory: Int, keys count: Int) {
      harness = StoreHarness(memory: memory, partitions: 7..<8)
      partition = PartitionID(7)
      var number = 0
      while keys.count < count {
        let name = "key \(number)"
        number += 1
        let hash = Array(name.utf8).withUnsafeBytes { keyHash($0.baseAddress!, count: $0.count, mapCount: 0) }
        if PartitionID(hash: hash) == partition { keys.append(name) }
      }
      harness.store.setReplicated(partition, isPassive: false)
      note()
    }

    var last: UInt64 { harness.store.nextOffset(of: partition).rawValue - 1 }

    mutating func note() { states[last] = state }

    mutating func write(_ random: inout TestRandom) throws {
      let key = keys[random.below(keys.count)]
      if random.chance(4) {
        _ = try harness.remove(key, time: StoreReplicationTests.now)
        state[key] = nil
      } else {
        let value = bytes(random.below(random.chance(20) ? 40_000 : 400), random.below(256))
        let expiry: UInt64 = random.chance(5) ? StoreReplicationTests.now + 1 + UInt64(random.below(1000)) : 0
        _ = try harness.put(key, value, expiry: expiry, time: StoreReplicationTests.now)
        state[key] = value
      }
      note()
    }

    mutating func expect(_ wanted: [String: [UInt8]], _ note: String) {
      for key in keys {
        if harness.get(key, now: StoreReplicationTests.now) != wanted[key] {
          Issue.record("\(key) differs \(note)")
          return
        }
      }
    }
  }

  @Test("records are taken back in any number, and what they replaced is there again", arguments: 1...8)
  func truncation(seed: Int) throws {
    var random = TestRandom(seed: UInt64(seed))
    var twin = Twin(memory: 4 << 20, keys: 24)
    var committed: UInt64 = 0
    var taken = 0
    for step in 0..<3000 {
      try twin.write(&random)
      if random.chance(6) {
        committed += UInt64(random.below(Int(twin.last - committed) + 1))
        twin.harness.store.commit(twin.partition, upTo: Offset(committed))
        twin.states = twin.states.filter { $0.key >= committed }
        if random.chance(4) { twin.harness.store.setTombstoneFloor(Offset(committed + 1), of: twin.partition) }
      }
      if random.chance(12) {
        let end = committed + UInt64(random.below(Int(twin.last - committed) + 1))
        var dropped = 0
        #expect(twin.harness.store.truncate(twin.partition, behind: Offset(end)) { _ in dropped += 1 })
        taken += dropped
        twin.state = twin.states[end]!
        twin.states = twin.states.filter { $0.key <= end }
        #expect(twin.last == end)
        twin.expect(twin.state, "after step \(step)")
      }
      if random.chance(10) { twin.harness.settle(now: Self.now) }
      if step % 50 == 0 { twin.harness.expectSound("step \(step)") }
    }
    #expect(taken > 500)
    twin.expect(twin.state, "at the end")
  }

  @Test(
    "a follower that takes the log in pieces, while writes and cleaning go on, has what its owner has", arguments: 1...8
  )
  func following(seed: Int) throws {
    var random = TestRandom(seed: UInt64(100 + seed))
    var owner = Twin(memory: 4 << 20, keys: 40)
    var follower = Twin(memory: 4 << 20, keys: 40)
    follower.harness.store.setReplicated(follower.partition, isPassive: true)
    var committed: UInt64 = 0
    var list = RecordList()
    for step in 0..<4000 {
      try owner.write(&random)
      if random.chance(5) {
        committed += UInt64(random.below(Int(owner.last - committed) + 1))
        owner.harness.store.commit(owner.partition, upTo: Offset(committed))
        let floor = min(committed, follower.last) + 1
        owner.harness.store.setTombstoneFloor(Offset(floor), of: owner.partition)
      }
      if random.chance(8) { owner.harness.settle(now: Self.now) }
      if random.chance(8) { follower.harness.settle(now: Self.now) }
      if random.chance(3) { try pump(&owner, &follower, committed, random.below(20_000) + 1, &list) }
      // One that was away so long that removals are gone begins anew; now and then any does.
      let mustReset = follower.last + 1 < owner.harness.store.removalsKept(from: owner.partition).rawValue
      if mustReset || random.chance(400) { follower.harness.store.reset(follower.partition) }
      if step % 100 == 0 {
        owner.harness.expectSound("owner, step \(step)")
        follower.harness.expectSound("follower, step \(step)")
      }
    }
    while follower.last < owner.last { try pump(&owner, &follower, committed, 5000, &list) }
    follower.expect(owner.state, "at the end")
    // Whatever isn't committed can be taken back on both sides alike.
    for end in stride(from: owner.last, through: committed, by: -1) {
      #expect(follower.harness.store.truncate(follower.partition, behind: Offset(end)) { _ in })
      follower.expect(owner.states[end]!, "behind \(end)")
    }
    follower.harness.expectSound()
  }

  @Test("a copy knows which removals it may lack: who ends before them begins anew", arguments: 1...8)
  func removalsOfCopies(seed: Int) throws {
    var random = TestRandom(seed: UInt64(200 + seed))
    var owner = Twin(memory: 4 << 20, keys: 40)
    var behind = Twin(memory: 4 << 20, keys: 40)
    var copy = Twin(memory: 4 << 20, keys: 40)
    behind.harness.store.setReplicated(behind.partition, isPassive: true)
    copy.harness.store.setReplicated(copy.partition, isPassive: true)
    var list = RecordList()
    for step in 0..<3000 {
      try owner.write(&random)
      owner.harness.store.commit(owner.partition, upTo: Offset(owner.last))
      owner.harness.store.setTombstoneFloor(Offset(owner.last + 1), of: owner.partition)
      if random.chance(8) { owner.harness.settle(now: Self.now) }
      if step == 300 { try pump(&owner, &behind, owner.last, .max, &list) }
    }
    #expect(owner.harness.store.removalsKept(from: owner.partition) > Offset(behind.last + 1))
    copy.harness.store.beginStream(copy.partition, isCopy: true)
    while copy.last < owner.last { try pump(&owner, &copy, owner.last, 5000, &list) }
    copy.expect(owner.state, "the copy")
    if behind.last + 1 < copy.harness.store.removalsKept(from: copy.partition).rawValue {
      behind.harness.store.reset(behind.partition)
      behind.harness.store.beginStream(behind.partition, isCopy: true)
    }
    while behind.last < copy.last { try pump(&copy, &behind, copy.last, 5000, &list) }
    behind.expect(owner.state, "what was behind, in step with the copy")
  }

  private func pump(
    _ owner: inout Twin, _ follower: inout Twin, _ committed: UInt64, _ bytes: Int, _ list: inout RecordList
  ) throws {
    list.removeAll()
    let first = follower.harness.store.nextOffset(of: follower.partition)
    guard first.rawValue <= owner.last else { return }
    let next = owner.harness.store.scan(owner.partition, from: first, maximumBytes: bytes, into: &list)
    let end = (next?.rawValue ?? owner.last + 1) - 1
    follower.harness.store.commit(follower.partition, upTo: Offset(min(committed, end)))
    for index in 0..<list.count where owner.harness.store.isNeeded(list[index], of: owner.partition) {
      try follower.harness.store.append(list[index], to: follower.partition, time: Self.now)
    }
    follower.harness.store.cover(follower.partition, upTo: Offset(end))
  }

  @Test("a partition is emptied at once, whatever it was at")
  func reset() throws {
    var random = TestRandom(seed: 9)
    var twin = Twin(memory: 4 << 20, keys: 24)
    for _ in 0..<20 {
      for _ in 0..<random.below(200) { try twin.write(&random) }
      if random.chance(2) { twin.harness.store.commit(twin.partition, upTo: Offset(twin.last / 2)) }
      if random.chance(2) { _ = twin.harness.store.maintain(now: Self.now, budget: 1000) }
      twin.harness.store.reset(twin.partition)
      twin.expect([:], "after a reset")
      twin.harness.expectSound()
      #expect(twin.harness.store.usedBytes == 0 && twin.harness.store.count == 0)
      twin.state = [:]
    }
  }
}
