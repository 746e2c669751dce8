import Wire

/// A set of partitions: a bit for each, so that two sets are compared in sixteen steps.
struct PartitionSet {
  private var words = InlineArray<16, UInt64>(repeating: 0)

  mutating func insert(_ partition: Int) { words[partition / 64] |= 1 << UInt64(partition % 64) }
  mutating func remove(_ partition: Int) { words[partition / 64] &= ~(1 << UInt64(partition % 64)) }

  mutating func removeAll() { words = InlineArray<16, UInt64>(repeating: 0) }

  /// All partitions that are in both sets.
  func all(sharedWith other: PartitionSet) -> [Int] {
    var shared: [Int] = []
    for index in words.indices {
      var word = words[index] & other.words[index]
      while word != 0 {
        shared.append(64 * index + word.trailingZeroBitCount)
        word &= word - 1
      }
    }
    return shared
  }

  /// The lowest partition that is in both sets.
  func first(sharedWith other: PartitionSet) -> Int? {
    for index in words.indices where words[index] & other.words[index] != 0 {
      return 64 * index + (words[index] & other.words[index]).trailingZeroBitCount
    }
    return nil
  }
}
