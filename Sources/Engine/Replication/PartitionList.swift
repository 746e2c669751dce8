/// Partitions of a core by their index, each once, in the order in which they came.
struct PartitionList {
  private(set) var parts: [Int] = []
  private var isIn: [Bool] = []

  init() {}

  /// A list for partitions below `count`; with all of them in it if `isFull`.
  init(below count: Int, isFull: Bool = false) {
    isIn = [Bool](repeating: isFull, count: count)
    if isFull { parts = Array(0..<count) }
  }

  var isEmpty: Bool { parts.isEmpty }

  /// Notes one; whether it is new.
  @discardableResult @inline(__always)
  mutating func insert(_ part: Int) -> Bool {
    guard !isIn[part] else { return false }
    isIn[part] = true
    parts.append(part)
    return true
  }

  /// Takes the first one out; there is one.
  mutating func takeFirst() -> Int {
    let part = parts.removeFirst()
    isIn[part] = false
    return part
  }

  /// Moves all to `list`, which is empty, and takes over the memory that it has.
  mutating func take(into list: inout [Int]) {
    for part in parts { isIn[part] = false }
    swap(&parts, &list)
  }

  /// Moves those of one of `count` classes, to which every `count`th partition belongs, to another list.
  mutating func move(to other: inout PartitionList, class number: Int, of count: Int) {
    var kept = 0
    for index in parts.indices {
      let part = parts[index]
      if part % count == number {
        isIn[part] = false
        other.insert(part)
      } else {
        parts[kept] = part
        kept += 1
      }
    }
    parts.removeLast(parts.count - kept)
  }
}
