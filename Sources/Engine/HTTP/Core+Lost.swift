import Wire

// `GET /v1/lost`: the ledgers of all cores of all nodes as one list, the newest first. Whoever is asked asks the
// others; a node that can't be reached is named, so that nobody takes a part for the whole.
extension Core {
  /// Entries of a page at most, and if the client doesn't say; bytes of one ledger's part of it.
  private static var maximumLost: Int64 { 1000 }
  private static var usualLost: Int { 100 }
  static var lostBytes: Int { 128 << 10 }

  mutating func serveLost(
    _ head: UnsafePointer<RequestHead>, _ bytes: UnsafePointer<UInt8>, _ entry: BatchEntry
  ) throws(Problem) {
    let gather = Gather(entry, kind: .lost, expected: coreCount - 1)
    gather.lost.limit = Core.usualLost
    try readQuery(head, bytes) { (core, word, value) throws(Problem) in
      try core.read(lostWord: word, value, gather)
    }
    gather.listing.keys = UInt32(gather.lost.limit)
    gather.lost.nodes = [configuration.name]
    gather.lost.partitions = routes.entries
    var own: [UInt8] = []
    gather.prefix.withUnsafeBytes { appendLost(LossPlace(text: $0), gather.listing.keys, to: &own) }
    own.withUnsafeBytes { _ = gather.lost.add($0) }
    var request = GatherRequest()
    request.listing = gather.listing
    for core in 0..<coreCount where core != index { ask(core, gather, request, map: [], prefix: gather.prefix) }
    for link in links where link.pointee.isWanted { askForLost(link.pointee.index, gather, partition: 0) }
    finishIfDone(gather)
  }

  private mutating func read(
    lostWord word: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ gather: Gather
  ) throws(Problem) {
    if word.equals("limit") {
      guard let limit = Text.parseSigned(value), limit >= 1, limit <= Core.maximumLost else {
        throw Problem(400, "limit is a number from 1 to 1000.")
      }
      gather.lost.limit = Int(limit)
    } else if word.equals("after") {
      guard LossPlace(parsing: value) != nil else { throw Problem(400, "after is the opaque next of the page before.") }
      gather.prefix = [UInt8](value)
    } else {
      throw unknownWord(word, known: "after and limit")
    }
  }

  /// Asks another node for the ledger of its core that has this partition.
  private mutating func askForLost(_ link: Int, _ gather: Gather, partition: Int) {
    guard links[link].pointee.state == .up, waiting.count < limits.waitingAnswers else {
      gather.lost.missing.append(label(ofLink: link))
      return
    }
    gather.expected += 1
    let target = target(gather, element: link)
    var listing = gather.listing
    listing.partition = UInt16(partition)
    listing.end = UInt16(partitionCount)
    listing.slots = 1
    // A record's key isn't empty.
    (gather.prefix.isEmpty ? [UInt8(ascii: "-")] : gather.prefix).withUnsafeBytes { key in
      let none = UnsafeRawBufferPointer(start: nil, count: 0)
      var operation = Operation(kind: .lost, key: Core.listingKey(none, key, PartitionID(UInt16(partition))))
      operation.hasOptions = true
      operation.options.listing = listing
      operation.options.timeout = UInt32(limits.linkGreeting)
      withUnsafePointer(to: operation) { relay($0, over: link, target) }
    }
  }

  /// Another node's core has answered, or couldn't.
  mutating func continueLost(_ gather: Gather, _ link: Int, _ outcome: Outcome) {
    let name = label(ofLink: link)
    guard outcome.status == 200, let next = gather.lost.add(outcome.value) else {
      gather.lost.nodes.removeAll { $0 == name }
      gather.lost.missing.append(name)
      return
    }
    if !gather.lost.nodes.contains(name) { gather.lost.nodes.append(name) }
    if next > 0, next < partitionCount { askForLost(link, gather, partition: next) }
  }

  private func label(ofLink link: Int) -> String {
    let node = links[link].pointee.node
    return standing.view?.topology?.member(node).map(Core.label) ?? node.short
  }

  // MARK: This core's ledger

  /// Appends the part of a page that this core's ledger has: see `LostPage`.
  func appendLost(_ place: LossPlace, _ limit: UInt32, to text: inout [UInt8]) {
    let start = text.count
    text.append(contentsOf: [UInt8](repeating: 0, count: FrameListing.count))
    var count: UInt32 = 0
    var isCut = false
    for entry in desk.ledger.entries.sorted(by: { LossPlace($0) < LossPlace($1) }) where place < LossPlace(entry) {
      guard count < limit, text.count - start < Core.lostBytes else {
        isCut = true
        break
      }
      append(entry, to: &text)
      count += 1
    }
    let head = FrameListing(
      partition: UInt16(partitions.upperBound), end: isCut ? 1 : 0, tag: UInt32(clamping: desk.ledger.total),
      keys: count, slots: 0)
    text.withUnsafeMutableBytes { head.write(to: $0.baseAddress! + start) }
  }

  /// The same as an operation that came from another node.
  mutating func lost(_ operation: UnsafePointer<Operation>) -> Outcome {
    var text: [UInt8] = []
    let key = UnsafeRawBufferPointer(start: operation.pointee.key.key, count: operation.pointee.key.keyCount)
    appendLost(LossPlace(text: key), operation.pointee.options.listing.keys, to: &text)
    var outcome = Outcome(status: 200)
    outcome.value = scratch.copy(text)
    return outcome
  }

  private func append(_ entry: LossLedger.Entry, to text: inout [UInt8]) {
    var json = JSONWriter()
    let revision = entry.revision
    json.object {
      $0.add("revision", "\(revision.partition.rawValue)-\(revision.epoch.rawValue)-\(revision.offset.rawValue)")
      $0.add("partition", revision.partition.rawValue)
      $0.add("epoch", revision.epoch.rawValue)
      $0.add("offset", revision.offset.rawValue)
      $0.add("map", entry.map.isEmpty ? "default" : String(decoding: entry.map, as: UTF8.self))
      $0.add("key", String(decoding: entry.key, as: UTF8.self))
      $0.add("operation", entry.isRemoval ? "delete" : "put")
      $0.add("written", entry.written)
      $0.add("dropped", entry.dropped)
      $0.add("node", configuration.name)
      $0.object("failover") {
        $0.add("epoch", entry.failover.rawValue)
        let member = standing.view?.topology?.member(entry.owner)
        $0.add("owner", member.map(Core.label) ?? (entry.owner == ownID ? configuration.name : entry.owner.short))
      }
    }
    var head = [UInt8](repeating: 0, count: LostPage.entryHead)
    head.withUnsafeMutableBytes { bytes in
      bytes.storeBytes(of: entry.dropped.littleEndian, as: UInt64.self)
      FrameRevision.write(revision, to: bytes.baseAddress! + 8)
      bytes.storeBytes(of: UInt32(json.bytes.count).littleEndian, toByteOffset: 24, as: UInt32.self)
    }
    text.append(contentsOf: head)
    text.append(contentsOf: json.bytes)
  }
}
