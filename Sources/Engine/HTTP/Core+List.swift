import Wire

/// What one core is asked of a listing: where to go on, and how much to give.
struct ListingQuestion {
  var partition: UInt16 = 0
  /// The partition to stop before; the core's own end comes first.
  var end = UInt16(partitionCount)
  var tag: UInt32 = 0
  var keys: UInt32 = 0
  var slots: UInt32 = 0
}

/// What one core gave: where the listing goes on, and how many keys that were.
struct ListingPage {
  var keys: UInt32 = 0
  var slots: UInt32 = 0
  /// The block of this core is through.
  var isAtEnd = false
  var partition: UInt16 = 0
  var tag: UInt32 = 0
  var staleness = Staleness.none
}

// `GET /v1/maps/{map}`: keys in the order of partition and tag, which neither growth nor compaction changes; a cursor
// is such a place. A page visits a bounded number of slots, in slices between which others are served, so it may be
// short, or empty, and still have a next one.
extension Core {
  /// Bytes of keys one core puts into a page; keeps a page's mail well within a mailbox.
  private static var pageBytes: Int { 128 << 10 }

  /// Starts a listing at the core that owns the cursor's partition.
  mutating func serveList(
    _ name: UnsafeRawBufferPointer, _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>,
    _ entry: BatchEntry
  ) throws(Problem) {
    let gather = Gather(entry, kind: .list, expected: 1)
    if !name.equals("default") { gather.map = [UInt8](maps.marked(name)) }
    gather.listing.keys = UInt32(min(1000, limits.listingKeys))
    gather.slotsLeft = limits.listingSlots
    try readQuery(head, bytes) { (core, word, value) throws(Problem) in
      try core.read(listWord: word, value, gather)
    }
    gather.text = Array("{\"keys\":[".utf8)
    stepList(gather)
    finishIfDone(gather)
  }

  private mutating func read(
    listWord word: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ gather: Gather
  ) throws(Problem) {
    if word.equals("prefix") {
      gather.prefix = [UInt8](value)
    } else if word.equals("limit") {
      guard let limit = Text.parseSigned(value), limit >= 1, limit <= limits.listingKeys else {
        throw Problem(400, "limit is a number from 1 to limits.listingKeys (10000 by default).")
      }
      gather.listing.keys = UInt32(limit)
    } else if word.equals("after") {
      guard value.count > 0 else { return }
      guard let (partition, tag) = Core.parseCursor(value) else {
        throw Problem(400, "after is the opaque next of the page before.")
      }
      gather.listing.partition = partition
      gather.listing.tag = tag
    } else {
      throw unknownWord(word, known: "prefix, after and limit")
    }
  }

  /// Slots one core visits before others have their turn: some tens of microseconds.
  static var sliceSlots: Int { 4_096 }

  /// Goes on with the listings that made room for other work in the last turn.
  mutating func runDeferredLists() {
    let ready = deferredLists
    deferredLists.removeAll()
    for gather in ready {
      stepList(gather)
      finishIfDone(gather)
    }
  }

  /// Asks the core that owns the partition the listing has come to.
  private mutating func stepList(_ gather: Gather) {
    gather.listing.slots = UInt32(min(Core.sliceSlots, gather.slotsLeft))
    gather.listing.end = UInt16(partitionCount)
    if isRouted {
      let place = boundList(gather)
      if place.rawValue < 0 { return relayList(gather, place) }
    }
    let owner = core(of: PartitionID(gather.listing.partition))
    if owner != index {
      var request = GatherRequest()
      request.listing = gather.listing
      return ask(owner, gather, request, map: gather.map, prefix: gather.prefix)
    }
    var text: [UInt8] = []
    let page = gather.map.withUnsafeBytes { map in
      gather.prefix.withUnsafeBytes { listHere(map: map, prefix: $0, gather.listing, into: &text) }
    }
    gather.expected = 0
    text.withUnsafeBytes { continueList(gather, page, $0) }
  }

  /// Where the next partition of a listing is read, and in `listing.end` how many of those behind it are read there
  /// too.
  private func boundList(_ gather: Gather) -> Place {
    withUnsafeTemporaryAllocation(of: Operation.self, capacity: 1) { room in
      let operation = room.baseAddress!
      // What a cache has only its owners know.
      let isCache = gather.map.first == MapTable.cacheMark
      let mark = UnsafeRawBufferPointer(start: UnsafeRawPointer(operation), count: 1)
      func place(_ partition: UInt16) -> Place {
        operation.initialize(
          to: Operation(kind: .list, key: Core.listingKey(mark, mark, PartitionID(partition))))
        if isCache {
          operation.pointee.hasOptions = true
          operation.pointee.options.readLevel = .committed
        }
        let place = Place(rawValue: self.place(of: operation))
        // All cores of this node are one place: each stops at its own end.
        return place.rawValue >= 0 ? Place(rawValue: 0) : place
      }
      let first = place(gather.listing.partition)
      var end = gather.listing.partition + 1
      while end < partitionCount, place(end) == first { end += 1 }
      gather.listing.end = end
      return first
    }
  }

  /// Asks another node for its part of a page.
  private mutating func relayList(_ gather: Gather, _ place: Place) {
    gather.expected = 1
    let target = target(gather, element: 0)
    // The prefix behind a mark, since a record's key isn't empty.
    ([UInt8(ascii: "/")] + gather.prefix).withUnsafeBytes { key in
      gather.map.withUnsafeBytes { map in
        var operation = Operation(
          kind: .list, key: Core.listingKey(map, key, PartitionID(gather.listing.partition)))
        operation.hasOptions = true
        operation.options.listing = gather.listing
        withUnsafePointer(to: operation) { operation in
          if let outcome = refusal(place, operation) {
            gathered(target, outcome)
          } else {
            relay(operation, over: place.link!, target)
          }
        }
      }
    }
  }

  /// Another node's part of a page, or why there is none: then the page ends with what it has, if that is anything.
  mutating func continueList(_ gather: Gather, _ outcome: Outcome) {
    guard outcome.status == 200, outcome.value.count >= FrameListing.count else {
      gather.failure = (outcome.status == 200 ? 503 : outcome.status, [UInt8](outcome.value), outcome.problem)
      gather.expected = 0
      return
    }
    let head = FrameListing(outcome.value.baseAddress!)
    var page = ListingPage()
    page.partition = head.partition
    page.tag = head.tag
    page.keys = head.keys
    page.slots = max(1, head.slots)
    page.isAtEnd = head.end != 0
    page.staleness = outcome.staleness
    continueList(gather, page, UnsafeRawBufferPointer(rebasing: outcome.value[FrameListing.count...]))
  }

  /// This core's part of a page: quoted keys with commas between them.
  mutating func listHere(
    map: UnsafeRawBufferPointer, prefix: UnsafeRawBufferPointer, _ question: ListingQuestion, into text: inout [UInt8]
  ) -> ListingPage {
    var page = ListingPage()
    var cursor: ListCursor? = ListCursor(partition: PartitionID(question.partition), tag: question.tag)
    var records = RecordList()
    while let from = cursor, page.keys < question.keys, page.slots < question.slots, text.count < Core.pageBytes {
      // Small steps, so that long keys fill a page no further than its bytes allow, though JSON may need six bytes for
      // one.
      let keys = min(64, Int(question.keys - page.keys))
      records.removeAll()
      cursor = store.list(
        map: map, prefix: prefix, from: from, maximumKeys: keys, maximumSlots: 512,
        maximumBytes: (Core.pageBytes - text.count) / 6, before: question.end, now: wall, into: &records)
      page.slots += UInt32(max(1, records.slots))
      for index in 0..<records.count {
        guard isListed(records[index], in: PartitionID(hash: records[index].hash)) else { continue }
        if !text.isEmpty { text.append(UInt8(ascii: ",")) }
        Wire.appendJSONString(records[index].key, to: &text)
      }
      page.keys += UInt32(records.count)
    }
    page.isAtEnd = cursor == nil
    if isReplicated { page.staleness = staleness(of: question) }
    if let cursor {
      page.partition = cursor.partition.rawValue
      page.tag = cursor.tag
    }
    return page
  }

  /// Whether any of the partitions that a part of a listing is of has a newer copy elsewhere.
  private func staleness(of question: ListingQuestion) -> Staleness {
    var worst = Staleness.none
    let first = Int(question.partition)
    for partition in first..<max(first, min(Int(question.end), partitions.upperBound)) {
      let one = staleness(of: PartitionID(UInt16(partition)))
      if one.rawValue > worst.rawValue { worst = one }
    }
    return worst
  }

  /// The same as an operation that came from another node: a page's head as `FrameListing`, and the keys.
  mutating func list(_ operation: UnsafePointer<Operation>) -> Outcome {
    let key = operation.pointee.key
    let map = UnsafeRawBufferPointer(start: key.map, count: key.mapCount)
    var text: [UInt8] = [UInt8](repeating: 0, count: FrameListing.count)
    var keys: [UInt8] = []
    let page = listHere(
      map: map, prefix: UnsafeRawBufferPointer(start: key.key + 1, count: key.keyCount - 1),
      operation.pointee.options.listing, into: &keys)
    let head = FrameListing(
      partition: page.partition, end: page.isAtEnd ? 1 : 0, tag: page.tag, keys: page.keys, slots: page.slots)
    text.withUnsafeMutableBytes { head.write(to: $0.baseAddress!) }
    var outcome = Outcome(status: 200)
    outcome.value = scratch.copy(text + keys)
    return outcome
  }

  /// Adds a core's part; goes on with the next core while there is room, else ends the page.
  mutating func continueList(_ gather: Gather, _ page: ListingPage, _ text: UnsafeRawBufferPointer) {
    if !text.isEmpty {
      if gather.text.last != UInt8(ascii: "[") { gather.text.append(UInt8(ascii: ",")) }
      gather.text.append(contentsOf: text)
    }
    gather.listing.keys -= min(gather.listing.keys, page.keys)
    gather.slotsLeft -= min(gather.slotsLeft, Int(page.slots))
    if page.staleness.rawValue > gather.staleness.rawValue { gather.staleness = page.staleness }
    var next: (partition: UInt16, tag: UInt32)? = (page.partition, page.tag)
    if page.isAtEnd {
      var end = Core.partitions(of: core(of: PartitionID(gather.listing.partition)), count: coreCount).upperBound
      if isRouted { end = min(end, Int(gather.listing.end)) }
      next = end == partitionCount ? nil : (UInt16(end), 0)
    }
    if let next, gather.listing.keys > 0, gather.slotsLeft > 0, gather.text.count < Core.pageBytes {
      gather.listing.partition = next.partition
      gather.listing.tag = next.tag
      gather.expected = 1
      if !isRouted && core(of: PartitionID(next.partition)) != index { return stepList(gather) }
      register(gather)
      deferredLists.append(gather)
      return
    }
    appendJSON("],\"next\":", to: &gather.text)
    if let next {
      appendJSON("\"", to: &gather.text)
      Core.appendCursor(next.partition, next.tag, to: &gather.text)
      appendJSON("\"", to: &gather.text)
    } else {
      appendJSON("null", to: &gather.text)
    }
    appendJSON(",\"settings\":", to: &gather.text)
    gather.map.withUnsafeBytes { maps.settings(of: $0).append(to: &gather.text) }
    appendJSON("}\n", to: &gather.text)
    gather.expected = 0
  }

  // MARK: Cursors

  /// A cursor as text: partition and tag in hexadecimal, four and eight digits; opaque to clients.
  private static func appendCursor(_ partition: UInt16, _ tag: UInt32, to text: inout [UInt8]) {
    var digits: [UInt8] = []
    appendHex(UInt64(partition) << 32 | UInt64(tag), to: &digits)
    text.append(contentsOf: digits[4...])
  }

  private static func parseCursor(_ text: UnsafeRawBufferPointer) -> (UInt16, UInt32)? {
    guard text.count == 12 else { return nil }
    var value = UInt64(0)
    for byte in text {
      guard let digit = Text.hexDigit(byte) else { return nil }
      value = value << 4 | UInt64(digit)
    }
    guard value >> 32 < partitionCount else { return nil }
    return (UInt16(value >> 32), UInt32(truncatingIfNeeded: value))
  }
}
