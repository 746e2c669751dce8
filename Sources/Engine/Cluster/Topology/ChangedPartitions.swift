import Wire

/// Which partitions' entries changed since somebody asked last, a bit for each, so that whoever looks at every change
/// need not look at all entries. It is no part of the topology's state: any two are equal.
package struct ChangedPartitions: Equatable, Sendable {
  /// 64 partitions in each word, the lowest in the lowest bit.
  private var words = InlineArray<16, UInt64>(repeating: .max)

  /// All of them, as in a topology that nobody has seen.
  init() { assert(64 * words.count == partitionCount) }

  package static func == (a: ChangedPartitions, b: ChangedPartitions) -> Bool { true }

  mutating func insert(_ partition: Int) { words[partition / 64] |= 1 << UInt64(partition % 64) }

  /// Forgets them all.
  mutating func removeAll() {
    for index in words.indices { words[index] = 0 }
  }

  /// Removes the lowest one and returns it; nil when none is left.
  package mutating func popFirst() -> Int? {
    for index in words.indices where words[index] != 0 {
      let bit = words[index].trailingZeroBitCount
      words[index] &= words[index] - 1
      return 64 * index + bit
    }
    return nil
  }
}
