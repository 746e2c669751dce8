import Wire

// Numbers of the data, by which nodes and their operators see that copies are equal. They are worked out only when
// somebody asks (`/v1/cluster`), a slice of a table per turn, and kept until the partition changes: a write pays for
// nothing.

/// What is known of the data of a core's partitions.
struct DataDigests {
  /// A partition's data as of the record that its log ends with.
  struct Digest: Equatable {
    var end = LogEnd.empty
    var sum: UInt64 = 0
    var isKnown = false
  }

  /// By partition of the core; empty until somebody asks.
  var all: [Digest] = []
  /// The partition that is being looked at and the slot of its table to go on from; nil while nothing is to do.
  var part: Int?
  fileprivate var slot = 0
  fileprivate var sum: UInt64 = 0
  fileprivate var end = LogEnd.empty

  /// Slots of tables that one turn looks at: some hundred microseconds where each is a cache miss.
  fileprivate static var slice: Int { 4096 }
}

extension Core {
  /// Where the partition's log ends: by equal ends two nodes mean the same history, and so should have the same data.
  private func logEnd(_ part: Int) -> LogEnd {
    let id = PartitionID(UInt16(part + partitions.lowerBound))
    if desk.parts != nil { return desk.parts![part].replica.end }
    let last = store.nextOffset(of: id).previous
    return last == .none ? .empty : LogEnd(epoch: store.epoch(of: id), offset: last)
  }

  /// Whether this node's copy of the partition counts.
  private func holds(_ part: Int) -> Bool {
    guard desk.parts != nil else { return true }
    return desk.slot.map { desk.parts![part].entry.synced.contains($0) } ?? false
  }

  /// Has the data be looked at, if it isn't already.
  mutating func wantDigests() {
    if digests.all.isEmpty { digests.all = .init(repeating: .init(), count: partitions.count) }
    guard digests.part == nil else { return }
    digests.part = 0
    beginDigest()
  }

  private mutating func beginDigest() {
    digests.slot = 0
    digests.sum = 0
    if let part = digests.part, part < partitions.count { digests.end = logEnd(part) }
  }

  /// Looks at a slice of the data; once per turn while something is to do.
  mutating func addDigests() {
    var left = DataDigests.slice
    while let part = digests.part, left > 0 {
      guard part < partitions.count else {
        digests.part = nil
        return
      }
      left -= 64
      let end = logEnd(part)
      let isKnown = digests.all[part].isKnown && digests.all[part].end == end
      if isKnown || end != digests.end {
        // Known; or it changes faster than it can be looked at, and so would whatever it is compared with.
        if !isKnown { digests.all[part].isKnown = false }
        digests.part = part + 1
        beginDigest()
        continue
      }
      let id = PartitionID(UInt16(part + partitions.lowerBound))
      let begin = digests.slot
      if let next = store.addDigest(of: id, from: begin, count: max(left, 64), to: &digests.sum) {
        digests.slot = next
        return
      }
      left -= max(0, store.count(of: id) - begin)
      digests.all[part] = DataDigests.Digest(end: end, sum: digests.sum, isKnown: true)
      digests.part = part + 1
      beginDigest()
    }
  }

  /// This core's digests as words, for the core that answers `/v1/cluster`: for each partition of the node the epoch
  /// and the offset of its log's end, 1 if the sum is known, and the sum. Those of other cores' partitions are zeros.
  mutating func appendDigests(to text: inout [UInt8]) {
    wantDigests()
    var words = [UInt64](repeating: 0, count: partitionCount * Core.digestWords)
    for part in 0..<partitions.count where holds(part) {
      let end = logEnd(part)
      let place = (part + partitions.lowerBound) * Core.digestWords
      words[place] = UInt64(end.epoch.rawValue)
      words[place + 1] = end.offset.rawValue
      if digests.all[part].isKnown, digests.all[part].end == end {
        words[place + 2] = 1
        words[place + 3] = digests.all[part].sum
      }
    }
    words.withUnsafeBytes { text.append(contentsOf: $0) }
  }

  /// `GET /v1/cluster`; with `data` in the query, the numbers of all partitions' data.
  mutating func serveCluster(
    _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>, _ entry: BatchEntry
  ) throws(Problem) {
    var showsData = false
    try readQuery(head, bytes) { (core, name, _) throws(Problem) in
      guard name.equals("data") else { throw core.unknownWord(name, known: "data") }
      showsData = true
    }
    startMetrics(entry, kind: .cluster, showsData: showsData)
  }

  /// Words of each partition in `appendDigests`.
  static var digestWords: Int { 4 }

  /// What `/v1/cluster` says of the data that this node holds: a number of all of it, nil while some isn't known; and
  /// that of each partition by the revision that it ends with, if that is asked for.
  func appendData(_ words: ArraySlice<UInt64>, to json: inout JSONWriter, showsAll: Bool) {
    var sum: UInt64 = 0
    var isKnown = true
    func word(_ partition: Int, _ number: Int) -> UInt64 {
      words[words.startIndex + partition * Core.digestWords + number]
    }
    for partition in 0..<partitionCount where word(partition, 1) > 0 {
      isKnown = isKnown && word(partition, 2) == 1
      sum &+= word(partition, 3) &* (2 * UInt64(partition) + 1)
    }
    json.add("checksum", isKnown ? String(sum, radix: 16) : nil)
    guard showsAll else { return }
    json.object("data") {
      for partition in 0..<partitionCount where word(partition, 1) > 0 && word(partition, 2) == 1 {
        $0.add("\(partition)-\(word(partition, 0))-\(word(partition, 1))", String(word(partition, 3), radix: 16))
      }
    }
  }
}
