import Wire

/// Which datagrams were taken already: a window of sequence numbers per sender, as IPsec has (RFC 4303, section 3.4.3),
/// moved in blocks (RFC 6479).
///
/// Every process numbers its datagrams from 1, whoever they are for, and has an id of its own; so a number never comes
/// again under the same id, and nothing has to be remembered beyond a restart. What lies behind the window counts as
/// replayed too: for the protocol it is a loss like any other.
///
/// With a key, only who has it can put a sender into the table or move its window. Without one, whoever reaches the
/// port can claim to be anyone; so that such a datagram doesn't shut the real sender out, a sender that spoke lately is
/// believed only where it spoke then, or where the topology has it. Beacons are sent by several ways and may come from
/// several addresses of a node: without a key they don't move the window.
struct ReplayFilter: Sendable {
  /// What to do with a datagram.
  enum Verdict {
    case fresh
    /// A beacon that came by another way already.
    case repeated
    case replayed
    case forged
  }

  /// Numbers that a window spans; the last block is being filled.
  static let blocks = ClusterLimits.replayWindow / 64

  fileprivate struct Sender: Sendable {
    let id: NodeID
    var address: PeerAddress
    /// When something of it was taken last.
    var heard: UInt64
    var top: UInt64 = 0
    /// A bit for each number seen, in a ring of blocks.
    var seen = InlineArray<16, UInt64>(repeating: 0)
  }

  /// In the order of their ids, at most `ClusterLimits.senders`.
  private var senders: [Sender] = []

  /// How many senders are remembered.
  var count: Int { senders.count }

  /// Judges a datagram, and remembers it.
  ///
  /// - Parameters:
  ///   - home: where the topology has its sender, if it does; asked for where it matters.
  ///   - isProven: its seal was right.
  mutating func take(
    _ beacon: Beacon, from address: PeerAddress, home: @autoclosure () -> PeerAddress?, isProven: Bool, _ now: UInt64
  ) -> Verdict {
    let isBeacon = if case .hello = beacon.body { true } else { false }
    let place = place(of: beacon.source, address, now)
    if !isProven {
      let isElsewhere = senders[place].address != address && address != home()
      if isElsewhere, now < senders[place].heard + ClusterLimits.senderSilence { return isBeacon ? .fresh : .forged }
    }
    var isFresh = senders[place].note(beacon.sequence)
    if !isFresh, !isProven, now >= senders[place].heard + ClusterLimits.senderSilence {
      // Whatever moved the window without proof must not shut the real sender out for good.
      senders[place].restart(beacon.sequence)
      isFresh = true
    }
    if isFresh {
      senders[place].heard = now
      senders[place].address = address
      return .fresh
    }
    return isBeacon && beacon.sequence + UInt64(ClusterLimits.replayWindow - 64) > senders[place].top
      ? .repeated : .replayed
  }

  /// The place of a sender among `senders`; a new one may take the place of the one that was silent longest.
  private mutating func place(of id: NodeID, _ address: PeerAddress, _ now: UInt64) -> Int {
    let place = firstPlace(from: id)
    if place < senders.count, senders[place].id == id { return place }
    if senders.count == ClusterLimits.senders {
      let silent = senders.indices.min { senders[$0].heard < senders[$1].heard }!
      senders.remove(at: silent)
    }
    let free = firstPlace(from: id)
    senders.insert(Sender(id: id, address: address, heard: now), at: free)
    return free
  }

  private func firstPlace(from id: NodeID) -> Int {
    var low = 0
    var high = senders.count
    while low < high {
      let middle = (low + high) / 2
      if senders[middle].id < id { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

extension ReplayFilter.Sender {
  /// Begins anew with a number.
  fileprivate mutating func restart(_ number: UInt64) {
    seen = InlineArray<16, UInt64>(repeating: 0)
    top = number
    seen[Int(number / 64 % UInt64(ReplayFilter.blocks))] = 1 << (number % 64)
  }

  /// Notes a number; false if it was noted before or lies behind the window.
  fileprivate mutating func note(_ number: UInt64) -> Bool {
    let blocks = UInt64(ReplayFilter.blocks)
    let block = number / 64
    if number > top {
      // The blocks in between are those of numbers that may still come.
      let last = top / 64
      for step in 0..<min(block - last, blocks) { seen[Int((last + 1 + step) % blocks)] = 0 }
      top = number
    } else if block + blocks <= top / 64 {
      return false
    }
    let bit = UInt64(1) << (number % 64)
    let index = Int(block % blocks)
    defer { seen[index] |= bit }
    return seen[index] & bit == 0
  }
}
