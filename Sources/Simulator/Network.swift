import Engine
import Wire

/// Which directed links are cut, and by how many partitions each: they come and end in any order.
struct Network {
  /// What a partition holds back: everything, or UDP or TCP alone.
  enum Scope { case all, datagrams, streams }

  private let count: Int
  private var cuts: [UInt8]
  private var streamCuts: [UInt8]
  private var scopes: [Scope] = []
  /// Partitions that are in force, by number; nil where one has ended.
  private(set) var partitions: [[(from: Int, to: Int)]?] = []
  private var isIdle: [Bool] = []
  /// Until when each link holds back what is sent; 0 for not.
  private var clogs: [UInt64]

  init(_ count: Int) {
    self.count = count
    cuts = [UInt8](repeating: 0, count: count * count)
    streamCuts = cuts
    clogs = [UInt64](repeating: 0, count: count * count)
  }

  func isStreamCut(_ from: Int, _ to: Int) -> Bool { streamCuts[from * count + to] > 0 }

  func scope(_ number: Int) -> Scope { scopes[number] }

  func isCut(_ from: Int, _ to: Int) -> Bool { cuts[from * count + to] > 0 }

  /// Cuts links until `end` is called with the number it returns; with `standingFor`, none for now, but remembers
  /// those.
  mutating func begin(
    _ links: [(from: Int, to: Int)], _ scope: Scope = .all, standingFor: [(from: Int, to: Int)]? = nil
  ) -> Int {
    for (from, to) in links {
      if scope != .streams { cuts[from * count + to] += 1 }
      if scope != .datagrams { streamCuts[from * count + to] += 1 }
    }
    scopes.append(scope)
    partitions.append(standingFor ?? links)
    isIdle.append(links.isEmpty)
    return partitions.count - 1
  }

  mutating func end(_ number: Int) {
    guard let links = partitions[number] else { return }
    if !isIdle[number] {
      for (from, to) in links {
        if scopes[number] != .streams { cuts[from * count + to] -= 1 }
        if scopes[number] != .datagrams { streamCuts[from * count + to] -= 1 }
      }
    }
    partitions[number] = nil
  }

  mutating func endAll() {
    for number in partitions.indices { end(number) }
    for link in clogs.indices { clogs[link] = 0 }
  }

  mutating func clog(_ from: Int, _ to: Int, until time: UInt64) { clogs[from * count + to] = time }

  func clogged(_ from: Int, _ to: Int) -> UInt64 { clogs[from * count + to] }
}

extension World {
  /// Puts a datagram on its way, as fate wills: it may be lost, late, doubled, changed, or come again much later.
  mutating func transmit(_ datagram: [UInt8], from: Int, to: Int) {
    report.datagrams += 1
    if network.isCut(from, to) {
      report.faults.swallowed += 1
      return
    }
    guard !isHealing else { return schedule(datagram, from: from, to: to) }
    if options.loss > 0, chance.permille(options.loss) {
      report.faults.lost += 1
      return
    }
    if options.replay > 0 { remember(datagram, from: from, to: to) }
    if options.forgery > 0, chance.permille(options.forgery) { forge(datagram, to: to) }
    if options.duplication > 0, chance.permille(options.duplication) {
      report.faults.duplicated += 1
      schedule(datagram, from: from, to: to)
    }
    if options.corruption > 0, chance.permille(options.corruption) {
      return schedule(corrupted(datagram), from: from, to: to)
    }
    schedule(datagram, from: from, to: to)
  }

  private mutating func corrupted(_ datagram: [UInt8]) -> [UInt8] {
    var changed = datagram
    if chance.permille(300) {
      report.faults.truncated += 1
      changed.removeLast(1 + chance.below(changed.count))
      return changed
    }
    report.faults.corrupted += 1
    for _ in 0...chance.below(3) { changed[chance.below(changed.count)] ^= UInt8(1 << chance.below(8)) }
    return changed
  }

  private mutating func schedule(_ datagram: [UInt8], from: Int, to: Int) {
    let range = options.delay
    var delay = (range.lowerBound + chance.below(range.upperBound - range.lowerBound + 1)) * 1000
    if options.tail > range.upperBound, !isHealing, chance.permille(10) {
      delay += chance.below(options.tail) * 1000
      report.faults.reordered += 1
    }
    if from < hosts.count, network.clogged(from, to) > now {
      report.faults.clogged += 1
      delay += network.clogged(from, to) - now + chance.below(50_000_000)
    }
    if now < hosts[to].slowUntil { delay += chance.below(hosts[to].slowness) }
    queue.push(datagram: datagram, at: now + delay, to: to, from: from)
  }

  /// Keeps some datagrams, and sends one of them again: perhaps to the process that has taken the receiver's place.
  private mutating func remember(_ datagram: [UInt8], from: Int, to: Int) {
    if past.count < 200 {
      past.append((to, from, hosts[to].incarnation, datagram))
    } else if chance.permille(20) {
      past[chance.below(past.count)] = (to, from, hosts[to].incarnation, datagram)
    }
    guard chance.permille(options.replay) else { return }
    let again = past[chance.below(past.count)]
    report.faults.replayed += 1
    if again.incarnation != hosts[again.to].incarnation { report.faults.replayedToSuccessors += 1 }
    schedule(again.datagram, from: again.from, to: again.to)
  }

  /// An outsider, who has heard this datagram, sends one of its own making, which must be ignored. It speaks from an
  /// address of its own, the one behind the last host's.
  private mutating func forge(_ datagram: [UInt8], to: Int) {
    guard let heard = try? Beacon(decoding: datagram, key: key), heard.destination != .none else { return }
    var cluster = heard.cluster
    var destination = heard.destination
    var seal: BeaconKey?
    switch chance.below(6) {
    case 0: cluster = ClusterID(high: chance.next() | 1, low: chance.next())
    case 1: destination = NodeID(high: chance.next() | 1, low: chance.next())
    case 2: seal = World.key(0xBAD)
    case 3:
      // As it is, from elsewhere: whichever comes first is taken, and no more than one.
      return schedule(datagram, from: hosts.count + 1, to: to)
    case 4: return schedule([UInt8](repeating: 0x6B, count: 1233 + chance.below(300)), from: hosts.count, to: to)
    default:
      // Without a key, someone's word from an address that nobody knows: it counts only if it claims to be a node that
      // is heard from elsewhere, which can't be known here.
      if key == nil { cluster = ClusterID(high: 1, low: 1) }
    }
    if key == nil, case .hello = heard.body { return }
    // A founding is of no cluster; and a stranger's word on one can't be told from a seeker's without a key.
    if key == nil, heard.cluster == .none { seal = World.key(0xBAD) }
    if key == nil, seal == nil, cluster == heard.cluster, destination == heard.destination { return }
    let forged = Beacon(
      cluster: cluster, source: heard.source, destination: destination, sequence: heard.sequence + 1_000_000,
      body: heard.body)
    report.faults.forged += 1
    schedule(forged.encoded(key: seal), from: hosts.count, to: to)
  }
}
