import Wire

/// Copies of cached values whose owner is another node, as whole records, each good until a time: those of the
/// partitions of one core. Bounded in bytes; the oldest go first.
struct CopyTable: ~Copyable {
  private struct Copy {
    let bytes: UnsafeMutableRawBufferPointer
    /// Monotonic nanoseconds.
    let until: UInt64
    let number: UInt64
  }

  /// By the key's hash: of two keys that share one the later has it.
  private var copies: [UInt64: Copy] = [:]
  /// The copies in the order they came, as hash and number, those that are gone included; from `first` on.
  private var order: [(hash: UInt64, number: UInt64)] = []
  private var first = 0
  private var number: UInt64 = 0
  /// When a partition was told last that a key of it was written (monotonic milliseconds).
  private var written: [UInt16: UInt64] = [:]
  /// Bytes of all copies.
  private(set) var bytes = 0

  deinit { for copy in copies.values { copy.bytes.deallocate() } }

  var isEmpty: Bool { copies.isEmpty }

  /// The copy of a key's record, if it is still good.
  func find(_ key: KeyRef, monotonic: UInt64, wall: UInt64) -> RecordView? {
    guard let copy = copies[key.hash], copy.until > monotonic else { return nil }
    let record = RecordView(UnsafeRawPointer(copy.bytes.baseAddress!))
    guard record.matches(map: key.map, mapCount: key.mapCount, key: key.key, keyCount: key.keyCount),
      !record.isExpired(at: wall)
    else { return nil }
    return record
  }

  /// Keeps a record that came in two pieces, unless its partition was written since it was asked for.
  ///
  /// - Parameters:
  ///   - asked: monotonic milliseconds.
  ///   - limit: bytes of all copies at most; one that takes more than an eighth isn't kept.
  mutating func keep(
    _ prefix: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ hash: UInt64, asked: UInt64, until: UInt64,
    limit: Int, monotonic: UInt64
  ) {
    let count = prefix.count + value.count
    if let last = written[PartitionID(hash: hash).rawValue], asked <= last { return }
    guard count <= limit / 8 else { return }
    drop(hash)
    // The oldest go: those that are no good any more, and more while there is no room.
    while first < order.count {
      let oldest = order[first]
      if let copy = copies[oldest.hash], copy.number == oldest.number {
        guard copy.until <= monotonic || bytes + count > limit else { break }
        drop(oldest.hash)
      }
      first += 1
    }
    if first > 1024, first * 2 > order.count {
      order.removeFirst(first)
      first = 0
    }
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
    block.copyMemory(from: prefix)
    if value.count > 0 { UnsafeMutableRawBufferPointer(rebasing: block[prefix.count...]).copyMemory(from: value) }
    number += 1
    copies[hash] = Copy(bytes: block, until: until, number: number)
    order.append((hash, number))
    bytes += count
  }

  /// A key was written at its owner: what was asked for until now isn't kept any more.
  mutating func invalidate(_ hash: UInt64, now: UInt64) {
    written[PartitionID(hash: hash).rawValue] = now
    drop(hash)
  }

  private mutating func drop(_ hash: UInt64) {
    guard let copy = copies.removeValue(forKey: hash) else { return }
    bytes -= copy.bytes.count
    copy.bytes.deallocate()
  }
}
