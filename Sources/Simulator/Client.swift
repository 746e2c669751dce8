import Engine
import Wire

/// A client: one connection at a time to one node, one request at a time.
struct Client {
  enum Phase { case resting, connecting, waiting }

  var phase = Phase.resting
  var pipe = -1
  var generation = 0
  var host = 0
  var received: [UInt8] = []
  var request: Workload.Request?
  var call: UInt64 = 0
  /// Whether the host's cluster had taken a write then.
  var askedWritten = false
  /// The number of the alarm that counts.
  var alarm = 0
  /// The newest committed revision of each key that it saw, and of which cluster.
  var seen: [Int: Revision] = [:]
  var seenIn = ClusterID.none
  /// The only host it asks, and what it was told last; of clients that follow a script.
  var target: Int?
  var told = ""
}

/// An answer, taken apart.
struct HTTPAnswer {
  var status = 0
  var tag: String?
  var body: [UInt8] = []
  /// The server closes the connection behind it.
  var isLast = false

  /// Reads the first whole answer; nil if there is none yet.
  init?(_ bytes: [UInt8]) {
    var end = 0
    while true {
      guard end + 4 <= bytes.count else { return nil }
      if bytes[end] == 13, bytes[end + 2] == 13, bytes[end + 1] == 10, bytes[end + 3] == 10 { break }
      end += 1
    }
    let lines = String(decoding: bytes[..<end], as: UTF8.self).split(separator: "\r\n")
    guard let line = lines.first, line.hasPrefix("HTTP/1.1 "), let status = Int(line.dropFirst(9).prefix(3)) else {
      return nil
    }
    self.status = status
    var count = 0
    for field in lines.dropFirst() {
      let parts = field.split(separator: ":", maxSplits: 1)
      guard parts.count == 2 else { continue }
      let value = String(parts[1].drop { $0 == " " })
      switch parts[0].lowercased() {
      case "etag": tag = value
      case "content-length": count = Int(value) ?? 0
      case "connection": isLast = value == "close"
      default: break
      }
    }
    if status < 200 || status == 204 || status == 304 { count = 0 }
    guard bytes.count >= end + 4 + count else { return nil }
    body = [UInt8](bytes[(end + 4)..<(end + 4 + count)])
  }
}

extension World {
  mutating func startClients() {
    guard options.cores > 0 else { return }
    for number in 0..<options.clients {
      clients.append(Client())
      alarm(number, at: now + World.second + chance.below(World.second))
    }
  }

  /// Has a client do something at a time, and nothing before.
  mutating func alarm(_ number: Int, at time: UInt64) {
    clients[number].alarm += 1
    queue.push(.client, at: time, host: number, detail: clients[number].alarm)
  }

  /// A client's alarm rings.
  mutating func act(_ event: Event) {
    let number = Int(event.host)
    guard clients[number].alarm == Int(event.detail) else { return }
    switch clients[number].phase {
    case .resting: begin(number)
    case .connecting: giveUp(number, wasSent: false)
    case .waiting: giveUp(number, wasSent: true)
    }
  }

  private mutating func begin(_ number: Int) {
    if clients[number].request == nil {
      if let key = finalKeys.popLast() {
        clients[number].request = workload.finalRead(key)
      } else if workload.isOver {
        return alarm(number, at: now + 20_000_000)
      } else {
        if options.cachedKeys > 0, !workload.isCacheReady { workload.isCacheReady = isCacheKnown }
        clients[number].request = workload.draw(&chance, seen: clients[number].seen)
      }
    }
    let hasPipe = clients[number].pipe >= 0
    if !hasPipe || chance.permille(100) || clients[number].request!.isFinal {
      let choices = isHealing ? core : Array(hosts.indices)
      let host = choices[chance.below(choices.count)]
      if hasPipe, host != clients[number].host { hangUp(number) }
      clients[number].host = host
    }
    if let target = clients[number].target, target != clients[number].host || clients[number].pipe < 0 {
      if clients[number].pipe >= 0 { hangUp(number) }
      clients[number].host = target
    }
    guard clients[number].pipe < 0 else { return ask(number) }
    var end = Pipe.End(party: -1 - number, incarnation: 0)
    end.isOpen = true
    clients[number].phase = .connecting
    clients[number].received = []
    clients[number].pipe = open(from: end, to: clients[number].host)
    clients[number].generation = pipeGeneration
    alarm(number, at: now + World.second)
  }

  private mutating func ask(_ number: Int) {
    let request = clients[number].request!
    clients[number].phase = .waiting
    clients[number].call = now
    clients[number].askedWritten = isInWritten(number)
    let patience = [300_000_000, 2 * World.second, 8 * World.second][chance.below(3)]
    // One that follows a script wants to see what it is told.
    let isScripted = clients[number].target != nil
    alarm(number, at: now + (isScripted ? 10 * World.second : patience + chance.below(patience)))
    checker.asked(request, clients[number].host)
    push(clients[number].pipe, 0, .bytes, workload.bytes(request))
  }

  /// Whether the client's host is in a cluster that took a write. One that never did, founded by some that heard nobody
  /// else, has nothing to say of what is in another; what it said may arrive when its nodes are in that one.
  private func isInWritten(_ number: Int) -> Bool {
    hosts[clients[number].host].control?.topology?.isWritten == true
  }

  /// Whether what a client reads counts: its host was in such a cluster from the question to the answer.
  private func isOfWritten(_ number: Int) -> Bool { clients[number].askedWritten && isInWritten(number) }

  /// Leaves a connection.
  private mutating func hangUp(_ number: Int) {
    let place = clients[number].pipe
    clients[number].pipe = -1
    guard let pipe = pipes[place], pipe.generation == clients[number].generation else { return }
    pipe.ends[0].isOpen = false
    push(place, 0, chance.permille(500) ? .reset : .finish, [])
    retire(place)
  }

  private mutating func giveUp(_ number: Int, wasSent: Bool) {
    hangUp(number)
    if wasSent {
      record(number, .unknown, "no answer")
    } else {
      again(number)
    }
  }

  // MARK: What comes

  mutating func arriveAtClient(_ place: Int, _ d: Int, _ pipe: Pipe, _ number: Int) {
    let segment = pipe.directions[d].removeFirst()
    guard clients[number].pipe == place, clients[number].generation == pipe.generation else { return }
    switch segment.kind {
    case .synchronize: break
    case .accept: if clients[number].phase == .connecting { ask(number) }
    case .bytes:
      clients[number].received += segment.bytes
      if let answer = HTTPAnswer(clients[number].received) { take(answer, number) }
    case .finish, .reset:
      let phase = clients[number].phase
      hangUp(number)
      switch phase {
      case .resting: break
      case .connecting: again(number)
      case .waiting: record(number, .unknown, "connection lost")
      }
    }
  }

  private mutating func take(_ answer: HTTPAnswer, _ number: Int) {
    clients[number].received = []
    // A refusal of the connection comes unasked.
    guard clients[number].phase == .waiting, let request = clients[number].request else { return hangUp(number) }
    if answer.isLast { hangUp(number) }
    if request.setsMap { return rest(number) }
    if !request.parts.isEmpty { return takeBatch(answer, request, number) }
    var outcome = History.Operation.Outcome(status: answer.status, isWrite: request.kind != .get)
    if request.kind == .get, !isOfWritten(number) { outcome = .refused }
    report.answers[answer.status, default: 0] += 1
    if [400, 405, 409, 413, 414, 415, 422, 431].contains(answer.status) {
      checker.violate(.answersMakeSense, "\(answer.status) \(String(decoding: answer.body, as: UTF8.self))", now)
    }
    checkMinimum(request, answer, number)
    if case .done = outcome {
      var value: String?
      switch request.kind {
      case .get, .increment:
        value = Workload.value(answer.body)
        if value == nil {
          checker.violate(.answersMakeSense, "a value of \(answer.body.count) bytes that nobody wrote", now)
        }
      default: break
      }
      outcome = .done(value: value, tag: answer.tag)
      if let tag = answer.tag, request.kind != .delete { workload.saw(tag, of: request.key) }
      if request.kind != .get, !request.isWeak, let tag = answer.tag {
        acknowledged(tag, clients[number].host)
      }
    }
    var word = "\(answer.status)"
    if trace.isOn, answer.status >= 500 { word += ": " + String(decoding: answer.body.suffix(100), as: UTF8.self) }
    record(number, outcome, word)
  }

  // MARK: Batches

  /// The answer to a batch: each of its operations has one of its own, or none is known.
  private mutating func takeBatch(_ answer: HTTPAnswer, _ request: Workload.Request, _ number: Int) {
    report.answers[answer.status, default: 0] += 1
    let text = String(decoding: answer.body, as: UTF8.self)
    var outcomes: [History.Operation.Outcome] = []
    let items = answer.status == 200 ? HTTPAnswer.items(text) : []
    if answer.status == 200, items.count != request.parts.count {
      checker.violate(.answersMakeSense, "\(items.count) answers to a batch of \(request.parts.count): \(text)", now)
      return rest(number)
    }
    for (index, part) in request.parts.enumerated() {
      let isWrite = part.kind != .get
      let status = answer.status == 200 ? items[index].status : answer.status
      if [400, 405, 409, 413].contains(status) {
        checker.violate(.answersMakeSense, "\(status) in a batch: \(text)", now)
      }
      var outcome = History.Operation.Outcome(status: status, isWrite: isWrite)
      if !isWrite, !isOfWritten(number) { outcome = .refused }
      if case .done = outcome, answer.status == 200 {
        var value: String?
        switch part.kind {
        case .get, .increment: value = Workload.value(Array((items[index].value ?? "").utf8))
        default: break
        }
        outcome = .done(value: value, tag: items[index].tag.map { "\"\($0)\"" })
      }
      outcomes.append(outcome)
    }
    recordBatch(number, request.parts, outcomes, "\(answer.status)")
  }

  private mutating func recordBatch(
    _ number: Int, _ parts: [Workload.Request], _ outcomes: [History.Operation.Outcome], _ word: String
  ) {
    for (part, outcome) in zip(parts, outcomes) {
      let operation = History.Operation(
        client: number, key: workload.keys[part.key].name, kind: part.kind, outcome: outcome,
        call: clients[number].call, end: outcome == .unknown ? .max : now, isWeak: part.isWeak)
      history.operations.append(operation)
      trace.add(
        now, "c\(number)",
        "n\(clients[number].host) \(operation.key) in a batch: \(History.words(operation)) (\(word))")
    }
    rest(number)
  }

  // MARK: What a client has seen

  /// A read that names a revision shows nothing older.
  private mutating func checkMinimum(_ request: Workload.Request, _ answer: HTTPAnswer, _ number: Int) {
    let key = workload.keys[request.key]
    guard let minimum = request.minimum, !options.mayLoseMajority,
      checker.writtenClusters < 2, hosts[clients[number].host].control?.cluster == clients[number].seenIn,
      minimum.epoch.rawValue >= checker.lives.latest(of: key.partition, clients[number].seenIn)?.first ?? 0
    else { return }
    if answer.status == 404, key.kind != .register {
      checker.violate(.minimumRevision, "c\(number) saw \(minimum) of \(key.name), and then nothing", now)
    }
    guard answer.status == 200, let tag = answer.tag.flatMap(Revision.init(tag:)) else { return }
    if (tag.epoch, tag.offset) < (minimum.epoch, minimum.offset) {
      checker.violate(.minimumRevision, "c\(number) saw \(minimum) of \(key.name), and then \(tag)", now)
    }
  }

  /// Keeps the newest revision that no failover takes back.
  private mutating func remember(
    _ request: Workload.Request, _ outcome: History.Operation.Outcome, _ number: Int
  ) {
    guard options.stickiness > 0, workload.keys[request.key].isStrict,
      !request.isWeak || request.query == "read=committed",
      case .done(_, let tag?) = outcome, request.kind != .delete, let revision = Revision(tag: tag),
      let cluster = hosts[clients[number].host].control?.cluster
    else { return }
    if clients[number].seenIn != cluster {
      clients[number].seen = [:]
      clients[number].seenIn = cluster
    }
    if let known = clients[number].seen[request.key], (revision.epoch, revision.offset) <= (known.epoch, known.offset) {
      return
    }
    clients[number].seen[request.key] = revision
  }

  /// Whether every node that has a topology knows the cached map.
  private var isCacheKnown: Bool {
    let topologies = hosts.compactMap { $0.control?.topology }
    return !topologies.isEmpty
      && topologies.allSatisfy { $0.settings(of: Array(Workload.cacheMap.utf8)).mode == .cache }
  }

  /// A node told a client that a revision is held by enough: the client's and the node's word may have met on the way,
  /// so what the node was is looked up among those that had the host.
  private mutating func acknowledged(_ tag: String, _ host: Int) {
    guard let cluster = hosts[host].control?.cluster, cluster != .none, !options.mayLoseMajority else { return }
    checker.acknowledged(tag, cluster, now)
  }

  /// Notes what a client knows now, and what it does next.
  private mutating func record(_ number: Int, _ outcome: History.Operation.Outcome, _ word: String) {
    let request = clients[number].request!
    if request.setsMap { return rest(number) }
    if !request.parts.isEmpty {
      return recordBatch(number, request.parts, request.parts.map { $0.kind == .get ? .refused : outcome }, word)
    }
    remember(request, outcome, number)
    if [.cached, .mortal].contains(workload.keys[request.key].kind) {
      side.add(
        SideHistory.Operation(
          key: workload.keys[request.key].name, kind: request.kind, outcome: outcome, call: clients[number].call,
          end: outcome == .unknown ? .max : now, life: request.life * 1_000_000,
          isLinearizable: request.query == "read=linearizable"))
    }
    let operation = History.Operation(
      client: number, key: workload.keys[request.key].name, kind: request.kind, condition: request.condition,
      outcome: outcome, call: clients[number].call, end: outcome == .unknown ? .max : now, isWeak: request.isWeak,
      attempt: request.attempt)
    history.operations.append(operation)
    trace.add(
      now, "c\(number)",
      "n\(clients[number].host) \(operation.key) \(request.query): \(History.words(operation)) (\(word))")
    clients[number].told = word
    if case .done(let value?, _) = outcome { clients[number].told += " \(value)" }
    switch outcome {
    case .refused, .unknown: again(number)
    default: rest(number)
    }
  }

  /// Asks the same again, if that may be done.
  private mutating func again(_ number: Int) {
    clients[number].request!.attempts -= 1
    if clients[number].request!.isFinal {
      finalKeys.append(clients[number].request!.key)
      return rest(number)
    }
    guard clients[number].request!.attempts > 0, !workload.isOver else { return rest(number) }
    clients[number].phase = .resting
    alarm(number, at: now + chance.below(300_000_000))
  }

  private mutating func rest(_ number: Int) {
    clients[number].phase = .resting
    clients[number].request = nil
    alarm(number, at: now + chance.below(2 * options.think * 1_000_000 + 1))
  }

  // MARK: The end

  /// Hosts that must be whole in the second phase.
  var core: [Int] { hosts.indices.filter { $0 != sacrificed && !hosts[$0].isRetired } }

  /// Whether all clients have read the truth at last, and all copies are equal; what is missing otherwise.
  mutating func missingAtEnd() -> String? {
    guard !clients.isEmpty else { return nil }
    // Too few to found a cluster have nothing that could be read.
    if core.count < options.settings.expect, core.allSatisfy({ hosts[$0].control?.raft == nil }) { return nil }
    if !workload.isOver {
      workload.isOver = true
      return "clients are still writing"
    }
    if let busy = clients.firstIndex(where: { $0.request != nil }) {
      let request = clients[busy].request!
      return "c\(busy) waits for n\(clients[busy].host): \(workload.keys[request.key].name)"
    }
    if !hasReadAll {
      hasReadAll = true
      finalKeys = Array(workload.keys.indices)
      return "keys are still to be read"
    }
    if let key = finalKeys.first { return "\(workload.keys[key].name) is still to be read" }
    return checker.unequal(hosts, workload.replicatedKeys, core)
  }

  mutating func verifyHistory() {
    report.operations = history.operations.count
    // Two clusters that took writes are two stores.
    guard options.cores > 0, !options.mayLoseMajority, checker.writtenClusters < 2 else { return }
    // What was declared lost, since all that held it were gone for too long, isn't there any more.
    var begunAnew: Set<String> = []
    for key in workload.keys {
      guard let cluster = checker.writtenCluster, let life = checker.lives.latest(of: key.partition, cluster) else {
        continue
      }
      history.keep(life, of: key.name)
      begunAnew.insert(key.name)
    }
    verifySide(except: begunAnew)
    let summary = history.verify()
    switch summary.verdict {
    case .linearizable: break
    case .undecided: report.undecided = 1
    case .violation(let key, let sentence): checker.violate(.linearizable, "\(key): \(sentence)", now)
    }
  }

  /// What holds for keys of the cached map, and for values that expire.
  private mutating func verifySide(except begunAnew: Set<String>) {
    // A calendar counts whole milliseconds.
    let skew = (options.skew + 2) * 1_000_000
    for key in workload.keys where !begunAnew.contains(key.name) {
      switch key.kind {
      case .cached:
        if let sentence = side.staleRead(of: key.name) {
          checker.violate(.freshCopies, "\(key.name): \(sentence)", now)
        }
      case .mortal:
        if let sentence = side.overdueRead(of: key.name, skew: skew) ?? side.missedRead(of: key.name, skew: skew) {
          checker.violate(.timesToLive, "\(key.name): \(sentence)", now)
        }
      default: break
      }
    }
  }
}

extension HTTPAnswer {
  /// One answer in that to a batch.
  struct Item {
    var status = 0
    var tag: String?
    var value: String?
  }

  /// The answers of a batch: an array of flat objects whose strings that matter have nothing to escape.
  static func items(_ text: String) -> [Item] {
    text.split(separator: "{").dropFirst().map { part in
      func string(_ name: String) -> String? {
        guard let start = part.firstRange(of: "\"\(name)\":\"") else { return nil }
        return String(part[start.upperBound...].prefix { $0 != "\"" })
      }
      var item = Item(tag: string("etag"), value: string("value"))
      if let start = part.firstRange(of: "\"status\":") {
        item.status = Int(part[start.upperBound...].prefix { $0.isNumber }) ?? 0
      }
      return item
    }
  }
}

extension Revision {
  /// Reads an entity tag.
  init?(tag: String) {
    let parts = tag.split { $0 == "\"" || $0 == "-" }
    guard parts.count == 3, let partition = UInt16(parts[0]), let epoch = UInt32(parts[1]),
      let offset = UInt64(parts[2])
    else { return nil }
    self.init(partition: PartitionID(partition), epoch: Epoch(epoch), offset: Offset(offset))
  }
}
