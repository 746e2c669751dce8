import Wire

// Questions to all cores: registering, asking, and putting the answers together.
extension Core {
  /// Registers a gather whose answers come by mail, and keeps its place in the connection's output.
  mutating func register(_ gather: Gather) {
    guard gather.id == 0 else { return }
    gather.id = nextGather
    nextGather = nextGather == .max ? 1 : nextGather + 1
    gathers[gather.id] = gather
    gather.gap = withUnsafePointer(to: gather.entry) { openGap(gather.entry.connection, $0) }
  }

  /// Asks one core; map and prefix are copied into the message.
  mutating func ask(_ core: Int, _ gather: Gather, _ request: GatherRequest, map: [UInt8], prefix: [UInt8]) {
    register(gather)
    var request = request
    request.id = gather.id
    request.sender = UInt32(index)
    request.kind = gather.kind.rawValue
    request.mapCount = UInt32(map.count)
    request.prefixCount = UInt32(prefix.count)
    let stride = MemoryLayout<GatherRequest>.stride
    let payload = outboxes[core].begin(.gather, stride + map.count + prefix.count)
    payload.storeBytes(of: request, as: GatherRequest.self)
    let room = UnsafeMutableRawBufferPointer(start: payload + stride, count: map.count + prefix.count)
    room.copyBytes(from: map)
    UnsafeMutableRawBufferPointer(rebasing: room[map.count...]).copyBytes(from: prefix)
  }

  /// Asks every other core.
  mutating func broadcast(_ gather: Gather, _ request: GatherRequest, map: [UInt8]) {
    for core in 0..<coreCount where core != index { ask(core, gather, request, map: map, prefix: []) }
  }

  /// Another core asks.
  mutating func receiveGather(_ payload: UnsafeRawPointer) {
    let request = payload.load(as: GatherRequest.self)
    let bytes = payload + MemoryLayout<GatherRequest>.stride
    let map = UnsafeRawBufferPointer(start: bytes, count: Int(request.mapCount))
    let prefix = UnsafeRawBufferPointer(start: bytes + map.count, count: Int(request.prefixCount))
    var reply = GatherReply(id: request.id, kind: request.kind)
    var text: [UInt8] = []
    switch Gather.Kind(rawValue: request.kind)! {
    case .settings: maps.set(map, request.settings)
    case .metrics: appendMetrics(to: &text)
    case .cluster:
      appendMetrics(to: &text)
      appendDigests(to: &text)
    case .list:
      let page = listHere(map: map, prefix: prefix, request.listing, into: &text)
      reply.page = page
    case .lost: appendLost(LossPlace(text: prefix), request.listing.keys, to: &text)
    case .batch: preconditionFailure("batches travel as operations")
    }
    let stride = MemoryLayout<GatherReply>.stride
    reply.count = UInt32(text.count)
    let room = outboxes[Int(request.sender)].begin(.gathered, stride + text.count)
    room.storeBytes(of: reply, as: GatherReply.self)
    UnsafeMutableRawBufferPointer(start: room + stride, count: text.count).copyBytes(from: text)
  }

  /// Another core answers.
  mutating func receiveGathered(_ payload: UnsafeRawPointer) {
    let reply = payload.load(as: GatherReply.self)
    guard let gather = gathers[reply.id] else { return }
    let bytes = UnsafeRawBufferPointer(
      start: payload + MemoryLayout<GatherReply>.stride, count: Int(reply.count))
    gather.expected -= 1
    switch gather.kind {
    case .settings, .batch: break
    case .metrics, .cluster: addMetrics(bytes, to: gather)
    case .list: continueList(gather, reply.page, bytes)
    case .lost: gather.lost.add(bytes)
    }
    finishIfDone(gather)
  }

  /// An operation of a batch was executed by another core.
  mutating func gathered(_ target: ReplyTarget, _ outcome: Outcome) {
    guard let gather = gathers[target.gather] else { return }
    gather.expected -= 1
    if gather.kind == .list {
      continueList(gather, outcome)
    } else if gather.kind == .lost {
      continueLost(gather, Int(target.element), outcome)
    } else {
      gather.parts[Int(target.element)] = batchAnswer(outcome)
      connection(gather.connection)?.pointee.elements -= 1
    }
    finishIfDone(gather)
  }

  /// Names a gather to the operations of a batch.
  mutating func target(_ gather: Gather, element: Int) -> ReplyTarget {
    register(gather)
    if gather.kind == .batch { connection(gather.connection)?.pointee.elements += 1 }
    return ReplyTarget(
      connection: gather.connection, gap: nil, gather: gather.id, element: UInt32(truncatingIfNeeded: element))
  }

  /// Answers when nothing more is to come.
  mutating func finishIfDone(_ gather: Gather) {
    guard gather.expected == 0 else { return }
    if gather.kind == .batch { gather.text = batchText(gather.parts) }
    if gather.kind == .metrics { gather.text = metricsText(gather.values) }
    if gather.kind == .lost { gather.text = gather.lost.text() }
    if gather.kind == .cluster { gather.text = clusterText(numbers(gather.values), showsData: gather.showsData) }
    var outcome = Outcome(status: 200)
    outcome.contentType = RecordContentType(code: gather.contentType)
    outcome.staleness = gather.staleness
    if let failure = gather.failure {
      outcome = Outcome(failure.problem)
      outcome.status = failure.status
      gather.text = failure.sentence
    }
    gather.text.withUnsafeBytes { bytes in
      outcome.value = bytes
      if gather.id == 0 {
        answer(gather.entry.connection, gather.entry, outcome)
      } else {
        gathers[gather.id] = nil
        let target = ReplyTarget(connection: gather.connection, gap: gather.gap, gather: 0, element: 0)
        fillGap(target, outcome, pin: .none)
      }
    }
  }
}
