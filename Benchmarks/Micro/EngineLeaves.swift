import Engine
import Wire

/// Keys that fit the processor's caches, as the bars are about the cost of instructions.
private let keyTotal = 1024

/// The store and the whole way through a core.
func engineLeaves() -> [Leaf] {
  [
    lookup(),
    put("store 100 bytes, cleaning included", bytes: 100, .hash, budget: 2.7),
    put("store 4 KiB, cleaning included", bytes: 4096, .copy, budget: 5.1),
    request("whole GET", plainGet, budget: 2.1),
    request("whole PUT", plainPut, value: 100, budget: 3.5),
  ]
}

/// `keyTotal` keys of 16 bytes, one behind the other.
private func keys() -> UnsafeMutablePointer<UInt8> {
  let all = UnsafeMutablePointer<UInt8>.allocate(capacity: 16 * keyTotal)
  for number in 0..<keyTotal { write(number, to: all + 16 * number) }
  return all
}

/// "key-" and 12 digits.
private func write(_ number: Int, to target: UnsafeMutablePointer<UInt8>) {
  let digits = String(number)
  let text = "key-" + String(repeating: "0", count: 12 - digits.utf8.count) + digits
  target.update(from: Array(text.utf8), count: 16)
}

private func reservation(_ count: Int) -> UnsafeMutableRawPointer {
  .allocate(byteCount: count, alignment: 2 << 20)
}

private func filledStore(_ keys: UnsafePointer<UInt8>) -> UnsafeMutablePointer<Store> {
  let memory = 64 << 20
  let store = UnsafeMutablePointer<Store>.allocate(capacity: 1)
  store.initialize(
    to: Store(
      processBase: reservation(2 * memory), processBytes: 2 * memory, range: 0..<2 * memory,
      partitions: 0..<partitionCount, settings: StoreSettings(memory: memory)))
  let value = UnsafeRawBufferPointer(start: letters(100), count: 100)
  for number in 0..<keyTotal {
    do throws(StoreError) {
      _ = try store.pointee.put(KeyRef(UnsafeRawBufferPointer(start: keys + 16 * number, count: 16)), value, time: 1)
    } catch { preconditionFailure("\(error)") }
  }
  return store
}

private func lookup() -> Leaf {
  let keys = keys()
  let store = filledStore(keys)
  return Leaf(name: "look a key up", baseline: .hash, budget: 0.72) { count in
    var sum: UInt64 = 0
    for index in 0..<count {
      let key = KeyRef(UnsafeRawBufferPointer(start: keys + 16 &* (index &* 7 & (keyTotal - 1)), count: 16))
      guard let record = store.pointee.find(key, now: 2) else { preconditionFailure("a key is missing") }
      sum &+= UInt64(record.value.count)
    }
    return sum
  }
}

private func put(_ name: String, bytes: Int, _ baseline: Baseline, budget: Double) -> Leaf {
  let keys = keys()
  let store = filledStore(keys)
  let value = UnsafeRawBufferPointer(start: letters(bytes), count: bytes)
  return Leaf(name: name, baseline: baseline, budget: budget) { count in
    var sum: UInt64 = 0
    for index in 0..<count {
      let key = KeyRef(UnsafeRawBufferPointer(start: keys + 16 &* (index &* 7 & (keyTotal - 1)), count: 16))
      do throws(StoreError) {
        sum &+= try store.pointee.put(key, value, time: 2).existed ? 1 : 2
      } catch { preconditionFailure("\(error)") }
      // As at the end of a turn.
      if index & 31 == 31 { _ = store.pointee.maintain(now: 2, budget: 256 << 10) }
    }
    return sum
  }
}

/// Everything a core does for a request, from received bytes to the send of its answer, in turns of 16 requests.
private func request(_ name: String, _ head: String, value: Int = 0, budget: Double) -> Leaf {
  let depth = 16
  let one = Array(head.utf8) + [UInt8](repeating: UInt8(ascii: "v"), count: value)
  let digits = head.utf8.split(separator: UInt8(ascii: "/"))[0].count + 1
  let batches = UnsafeMutablePointer<UInt8>.allocate(capacity: keyTotal * one.count)
  for number in 0..<keyTotal {
    (batches + number * one.count).initialize(from: one, count: one.count)
    write(number, to: batches + number * one.count + digits)
  }
  let core = newCore()
  let id = ConnectionID(index: 0, generation: 1)
  var wall: UInt64 = 1_800_000_000_000
  func turn(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> UInt64 {
    core.pointee.beginTurn(wall: wall, monotonic: (wall - 1_700_000_000_000) * 1_000_000)
    core.pointee.receive(id, bytes, count)
    core.pointee.endTurn()
    var sent: UInt64 = 0
    for position in 0..<core.pointee.effects.count {
      if case .send(_, _, let count) = core.pointee.effects[position] { sent &+= UInt64(count) }
    }
    core.pointee.effects.removeAll()
    if core.pointee.wantsTurnEnd { core.pointee.turnEnded(monotonic: (wall - 1_700_000_000_000) * 1_000_000) }
    core.pointee.sent(id)
    return sent
  }
  core.pointee.beginTurn(wall: wall, monotonic: 1)
  core.pointee.opened(id)
  core.pointee.endTurn()
  core.pointee.effects.removeAll()
  let (put, putCount) = bytes(of: plainPut + String(repeating: "v", count: 100))
  for number in 0..<keyTotal {
    write(number, to: put + 5)
    precondition(turn(put, putCount) > 0, "a put wasn't answered")
  }
  return Leaf(name: name, baseline: .hash, budget: budget) { count in
    var sum: UInt64 = 0
    var left = count
    var batch = 0
    while left > 0 {
      sum &+= turn(batches + batch &* depth &* one.count, depth &* one.count)
      batch = (batch &+ 1) & (keyTotal / depth - 1)
      left &-= depth
    }
    wall += 1
    return sum
  }
}

private func newCore() -> UnsafeMutablePointer<Core> {
  let memory = 64 << 20
  var limits = Limits()
  limits.connections = 16
  let core = UnsafeMutablePointer<Core>.allocate(capacity: 1)
  core.initialize(
    to: Core(
      CoreConfiguration(
        index: 0, count: 1, limits: limits, name: "micro", version: "0", logLevel: .info, eviction: .none,
        memory: reservation(4 * memory), memoryCount: 4 * memory, memoryRange: 0..<2 * memory,
        extents: 2 * memory..<4 * memory, memoryLimit: memory, nodeID: (1, 2)),
      wall: 1_800_000_000_000))
  return core
}
