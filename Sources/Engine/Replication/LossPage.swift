import Wire

/// Where an entry stands among those of all ledgers: the newest first, of two of one time the greater revision.
struct LossPlace: Equatable, Comparable {
  /// When it was dropped, in milliseconds since 1970.
  var dropped: UInt64
  var revision: Revision

  /// Before the first of them.
  static var newest: LossPlace {
    LossPlace(
      dropped: .max, revision: Revision(partition: PartitionID(0), epoch: Epoch(0), offset: Offset(.max)))
  }

  init(dropped: UInt64, revision: Revision) {
    self.dropped = dropped
    self.revision = revision
  }

  init(_ entry: LossLedger.Entry) {
    self.init(dropped: entry.dropped, revision: entry.revision)
  }

  /// As `after` says it: `dropped-partition-epoch-offset`. The first of all for anything else.
  init(text: UnsafeRawBufferPointer) { self = LossPlace(parsing: text) ?? .newest }

  /// The same; nil for anything else.
  init?(parsing text: UnsafeRawBufferPointer) {
    guard let dash = text.firstIndex(of: UInt8(ascii: "-")),
      let dropped = Text.parseSigned(UnsafeRawBufferPointer(rebasing: text[..<dash])), dropped >= 0,
      let revision = Text.parseRevision(UnsafeRawBufferPointer(rebasing: text[(dash + 1)...]))
    else { return nil }
    self.init(dropped: UInt64(dropped), revision: revision)
  }

  /// What `init(parsing:)` reads.
  var text: [UInt8] {
    var text: [UInt8] = []
    appendJSONInteger(dropped, to: &text)
    text.append(UInt8(ascii: "-"))
    appendRevision(revision, to: &text)
    return text
  }

  /// Whether a is newer than b.
  static func < (a: LossPlace, b: LossPlace) -> Bool {
    if a.dropped != b.dropped { return a.dropped > b.dropped }
    let (x, y) = (a.revision, b.revision)
    return (x.partition.rawValue, x.epoch, x.offset) > (y.partition.rawValue, y.epoch, y.offset)
  }
}

/// A page of `/v1/lost` while the ledgers' parts of it come in: bounded by the number of ledgers times
/// `Core.lostBytes`.
///
/// A part, from a core of this node's or of another's, is its head (`FrameListing`: `partition` is where the next core
/// of that node begins, `end` 1 if older entries are left out, `tag` how many there ever were, `keys` those that are
/// there), and each entry as 8 bytes of time, a `FrameRevision`, 4 bytes of length and the JSON, little-endian.
struct LostPage {
  private var items: [(place: LossPlace, json: [UInt8])] = []
  /// The oldest that is shown: some ledger has more that are older.
  private var floor: LossPlace?
  private var total: UInt64 = 0
  var limit = 0
  /// The nodes whose ledgers are shown, and those that couldn't be asked.
  var nodes: [String] = []
  var missing: [String] = []
  /// All partitions' entries, of which those are shown that began anew.
  var partitions: [PartitionEntry] = []

  /// Adds a ledger's part; nil if it isn't one, else the partition where the node's next core begins.
  @discardableResult
  mutating func add(_ bytes: UnsafeRawBufferPointer) -> Int? {
    guard bytes.count >= FrameListing.count else { return nil }
    let head = FrameListing(bytes.baseAddress!)
    var rest = UnsafeRawBufferPointer(rebasing: bytes[FrameListing.count...])
    var last: LossPlace?
    for _ in 0..<head.keys {
      guard rest.count >= LostPage.entryHead else { return nil }
      let place = LossPlace(
        dropped: UInt64(littleEndian: rest.loadUnaligned(as: UInt64.self)),
        revision: FrameRevision.read(rest.baseAddress! + 8))
      let count = Int(UInt32(littleEndian: rest.loadUnaligned(fromByteOffset: 24, as: UInt32.self)))
      guard rest.count - LostPage.entryHead >= count else { return nil }
      items.append((place, Array(rest[LostPage.entryHead..<LostPage.entryHead + count])))
      last = place
      rest = UnsafeRawBufferPointer(rebasing: rest[(LostPage.entryHead + count)...])
    }
    if head.end != 0, let last { floor = floor.map { min($0, last) } ?? last }
    total += UInt64(head.tag)
    return Int(head.partition)
  }

  /// Partitions of which all copies were lost: every revision of an epoch before `before` is gone.
  private func appendPartitions(to text: inout [UInt8]) {
    var isFirst = true
    for (partition, entry) in partitions.enumerated() where entry.losses > 0 {
      if !isFirst { text.append(UInt8(ascii: ",")) }
      isFirst = false
      for (name, number) in [
        ("{\"partition\":" as StaticString, partition), (",\"before\":", Int(entry.lostBefore.rawValue)),
        (",\"times\":", Int(entry.losses)),
      ] {
        appendJSON(name, to: &text)
        appendJSONInteger(Int64(number), to: &text)
      }
      text.append(UInt8(ascii: "}"))
    }
  }

  /// Bytes before an entry's JSON.
  static var entryHead: Int { 28 }

  /// The answer.
  func text() -> [UInt8] {
    // What several members had of one write is one loss.
    var shown: [(place: LossPlace, json: [UInt8])] = []
    var revisions: Set<Revision> = []
    var isCut = floor != nil
    for item in items.sorted(by: { $0.place < $1.place }) {
      if let floor, item.place > floor { break }
      guard shown.count < limit else {
        isCut = true
        break
      }
      if revisions.insert(item.place.revision).inserted { shown.append(item) }
    }
    var text = Array("{\"lost\":[".utf8)
    for (index, item) in shown.enumerated() {
      if index > 0 { text.append(UInt8(ascii: ",")) }
      text.append(contentsOf: item.json)
    }
    appendJSON("],\"next\":", to: &text)
    if isCut, let last = shown.last {
      appendJSON("\"", to: &text)
      text.append(contentsOf: last.place.text)
      appendJSON("\"", to: &text)
    } else {
      appendJSON("null", to: &text)
    }
    appendJSON(",\"total\":", to: &text)
    appendJSONInteger(total, to: &text)
    for (name, list) in [(",\"nodes\":[" as StaticString, nodes), ("],\"missing\":[", missing)] {
      appendJSON(name, to: &text)
      for (index, label) in list.enumerated() {
        if index > 0 { text.append(UInt8(ascii: ",")) }
        appendJSONString(label, to: &text)
      }
    }
    appendJSON("],\"partitions\":[", to: &text)
    appendPartitions(to: &text)
    appendJSON("]}\n", to: &text)
    return text
  }
}
