import Engine
import Wire

/// Which directed links are cut, and by how many partitions each: they come and end in any order.
struct Network {
  private let count: Int
  private var cuts: [UInt8]
  /// Partitions that are in force, by number; nil where one has ended.
  private(set) var partitions: [[(from: Int, to: Int)]?] = []

  init(_ count: Int) {
    self.count = count
    cuts = [UInt8](repeating: 0, count: count * count)
  }

  func isCut(_ from: Int, _ to: Int) -> Bool { cuts[from * count + to] > 0 }

  /// Cuts links until `end` is called with the number it returns.
  mutating func begin(_ links: [(from: Int, to: Int)]) -> Int {
    for (from, to) in links { cuts[from * count + to] += 1 }
    partitions.append(links)
    return partitions.count - 1
  }

  mutating func end(_ number: Int) {
    guard let links = partitions[number] else { return }
    for (from, to) in links { cuts[from * count + to] -= 1 }
    partitions[number] = nil
  }

  mutating func endAll() {
    for number in partitions.indices { end(number) }
  }
}

extension World {
  /// Puts a datagram on its way, as fate wills: it may be lost, late, doubled, changed, or come again much later.
  mutating func transmit(_ datagram: [UInt8], from: Int, to: Int) {
    report.datagrams += 1
    checker.sent(datagram, from)
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
    if options.duplication > 0, chance.permille(options.duplication) {
      report.faults.duplicated += 1
      schedule(datagram, from: from, to: to)
    }
    if options.corruption > 0, chance.permille(options.corruption) {
      report.faults.corrupted += 1
      var changed = datagram
      for _ in 0...chance.below(3) { changed[chance.below(changed.count)] ^= UInt8(1 << chance.below(8)) }
      if chance.permille(200) { changed.removeLast(chance.below(changed.count)) }
      return schedule(changed, from: from, to: to)
    }
    schedule(datagram, from: from, to: to)
  }

  private mutating func schedule(_ datagram: [UInt8], from: Int, to: Int) {
    let range = options.delay
    var delay = (range.lowerBound + chance.below(range.upperBound - range.lowerBound + 1)) * 1000
    if options.tail > range.upperBound, !isHealing, chance.permille(10) {
      delay += chance.below(options.tail) * 1000
      report.faults.reordered += 1
    }
    queue.push(datagram: datagram, at: now + delay, to: to, from: from)
  }

  /// Keeps some datagrams, and sends one of them again: perhaps to the process that has taken the receiver's place.
  private mutating func remember(_ datagram: [UInt8], from: Int, to: Int) {
    if past.count < 200 {
      past.append((to, from, datagram))
    } else if chance.permille(20) {
      past[chance.below(past.count)] = (to, from, datagram)
    }
    guard chance.permille(options.replay) else { return }
    let again = past[chance.below(past.count)]
    report.faults.replayed += 1
    schedule(again.datagram, from: again.from, to: again.to)
  }
}
