import Wire

/// A set of partitions: a bit for each, so that two sets are compared in sixteen steps.
package struct PartitionSet: Equatable, Sendable {
  private var words = InlineArray<16, UInt64>(repeating: 0)

  /// No partition.
  package init() {}

  /// All of them.
  static var all: PartitionSet {
    var all = PartitionSet()
    for index in all.words.indices { all.words[index] = .max }
    return all
  }

  /// Adds a partition.
  package mutating func insert(_ partition: Int) { words[partition / 64] |= 1 << UInt64(partition % 64) }
  /// Takes one out.
  package mutating func remove(_ partition: Int) { words[partition / 64] &= ~(1 << UInt64(partition % 64)) }

  package static func == (a: PartitionSet, b: PartitionSet) -> Bool {
    for index in a.words.indices where a.words[index] != b.words[index] { return false }
    return true
  }

  /// How many of them meet a condition.
  func count(where isMet: (Int) -> Bool) -> Int {
    var count = 0
    for index in words.indices {
      var word = words[index]
      while word != 0 {
        if isMet(64 * index + word.trailingZeroBitCount) { count += 1 }
        word &= word - 1
      }
    }
    return count
  }

  /// All partitions that are in both sets.
  package func all(sharedWith other: PartitionSet) -> [Int] {
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
  package func first(sharedWith other: PartitionSet) -> Int? {
    for index in words.indices where words[index] & other.words[index] != 0 {
      return 64 * index + (words[index] & other.words[index]).trailingZeroBitCount
    }
    return nil
  }
}
