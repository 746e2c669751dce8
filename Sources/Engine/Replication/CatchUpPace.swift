/// How much of what brings a member in step may be under way to it at once, so that what writes wait for isn't long
/// behind it, whatever the link carries: buffers of both systems and of the network hold what is sent too early.
///
/// A less-than-best-effort transport in the small, as LEDBAT (RFC 6817): the time from sending a batch to its
/// acknowledgement, less the shortest that was seen, is what it waited in queues. Below `target` more may be under way,
/// above it less, in proportion. A batch that isn't acknowledged within `patience` counts no more: its stream began
/// anew.
struct CatchUpPace {
  private struct Batch {
    let part: Int
    let end: UInt64
    let bytes: Int
    let at: UInt64
  }

  /// Nanoseconds that a batch may wait in queues.
  static var target: UInt64 { 20_000_000 }
  static var patience: UInt64 { 2_000_000_000 }
  /// Bounds of `window`: as much as a slow host needs to get on at all, and what fast links with long ways take.
  static var least: Int { 64 << 10 }
  static var most: Int { 4 << 20 }
  static var mostBatches: Int { 1024 }

  /// Bytes that may be under way, and that are.
  private(set) var window = 256 << 10
  private(set) var underWay = 0
  private var batches: [Batch] = []
  /// The shortest time of this minute and of the one before (nanoseconds), and when this one began.
  private var shortest = UInt64.max
  private var shortestBefore = UInt64.max
  private var minute: UInt64 = 0

  /// Whether more may be sent now.
  var hasRoom: Bool { underWay < window && batches.count < Self.mostBatches }

  /// Records up to `end` of a partition were sent.
  mutating func sent(_ part: Int, upTo end: UInt64, bytes: Int, now: UInt64) {
    guard bytes > 0 else { return }
    batches.append(Batch(part: part, end: end, bytes: bytes, at: now))
    underWay += bytes
  }

  /// The member holds a partition's records up to here.
  mutating func acknowledged(_ part: Int, upTo end: UInt64, now: UInt64) {
    guard underWay > 0 else { return }
    var kept = 0
    for index in batches.indices {
      let batch = batches[index]
      if batch.part == part && batch.end <= end {
        underWay -= batch.bytes
        adapt(batch.bytes, after: now - min(now, batch.at), now)
      } else {
        batches[kept] = batch
        kept += 1
      }
    }
    batches.removeLast(batches.count - kept)
  }

  /// Forgets what nobody will acknowledge.
  mutating func expire(now: UInt64) {
    guard let first = batches.first, now > first.at + Self.patience else { return }
    let late = batches.prefix { now > $0.at + Self.patience }
    for batch in late { underWay -= batch.bytes }
    batches.removeFirst(late.count)
    window = Self.least
  }

  /// A connection is gone, and all that was on it.
  mutating func reset() { self = CatchUpPace() }

  private mutating func adapt(_ bytes: Int, after time: UInt64, _ now: UInt64) {
    if now >= minute + 60_000_000_000 {
      (minute, shortestBefore, shortest) = (now, shortest, .max)
    }
    shortest = min(shortest, time)
    let queued = Int(min(time - min(shortest, shortestBefore), 2 * Self.target))
    let target = Int(Self.target)
    window = min(max(window + bytes * (target - queued) / target, Self.least), Self.most)
  }
}
