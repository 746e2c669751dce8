import Engine
import Wire

/// A connection between two processes, or a client and one: two ends and what is under way in both directions, in order
/// and without loss as long as both hosts live, as TCP promises.
final class Pipe {
  /// One end.
  struct End {
    /// A host's number, or -1 - a client's.
    let party: Int
    var incarnation: Int
    var core = 0
    var id = ConnectionID(index: 0, generation: 0)
    /// Its process has it.
    var isOpen = false
    /// Its process reads nothing for now.
    var isPaused = false
  }

  /// What travels: a piece of the stream, its end, or what TCP says beside.
  struct Segment {
    enum Kind { case synchronize, accept, bytes, finish, reset }
    let kind: Kind
    let bytes: [UInt8]
    let ready: UInt64
  }

  /// One direction; of direction d, `ends[d]` sends.
  struct Direction {
    var segments: [Segment] = []
    var first = 0
    var bytes = 0
    /// A delivery is in the event queue.
    var isScheduled = false
    var lastReady: UInt64 = 0
    /// Nanoseconds until what wasn't acknowledged is sent again.
    var patience: UInt64 = 0
    /// The sender waits to hear that the kernel took its bytes.
    var owesSent = false
    /// Nothing comes behind what is there.
    var isEnded = false
    /// What the sender's frames are, between nodes.
    var scan = FrameScan()

    var isEmpty: Bool { first == segments.count }

    mutating func removeFirst() -> Segment {
      let segment = segments[first]
      first += 1
      bytes -= segment.bytes.count
      if first == segments.count {
        segments.removeAll(keepingCapacity: true)
        first = 0
      }
      return segment
    }

    mutating func removeAll() {
      segments.removeAll(keepingCapacity: true)
      first = 0
      bytes = 0
    }
  }

  let generation: Int
  var ends: [End]
  var directions = [Direction(), Direction()]

  init(generation: Int, from: End, to: End) {
    self.generation = generation
    ends = [from, to]
  }

  /// Bytes that a kernel takes before the process has to wait.
  static let buffer = 128 << 10
}

extension World {
  /// Opens a connection from an end whose process has it already.
  mutating func open(from end: Pipe.End, to party: Int) -> Int {
    let place = freePipes.popLast() ?? pipes.count
    pipeGeneration += 1
    let pipe = Pipe(generation: pipeGeneration, from: end, to: Pipe.End(party: party, incarnation: 0))
    if place == pipes.count { pipes.append(pipe) } else { pipes[place] = pipe }
    push(place, 0, .synchronize, [])
    return place
  }

  /// Puts something behind all that travels in this direction.
  mutating func push(_ place: Int, _ d: Int, _ kind: Pipe.Segment.Kind, _ bytes: [UInt8]) {
    guard let pipe = pipes[place], !pipe.directions[d].isEnded else { return }
    if kind == .reset { pipe.directions[d].removeAll() }
    if kind == .reset || kind == .finish { pipe.directions[d].isEnded = true }
    let departure = max(now, self.departure)
    let (from, to) = (pipe.ends[d].party, pipe.ends[1 - d].party)
    var delay =
      (options.delay.lowerBound + chance.below(options.delay.upperBound - options.delay.lowerBound + 1)) * 1000
    // A gigabit a second.
    delay += UInt64(bytes.count) * 8
    if options.tail > options.delay.upperBound, !isHealing, chance.permille(10) {
      delay += chance.below(options.tail) * 1000
    }
    if from >= 0, to >= 0, network.clogged(from, to) > now { delay += network.clogged(from, to) - now }
    let ready = max(departure + delay, pipe.directions[d].lastReady)
    pipe.directions[d].lastReady = ready
    pipe.directions[d].segments.append(Pipe.Segment(kind: kind, bytes: bytes, ready: ready))
    pipe.directions[d].bytes += bytes.count
    report.segments += 1
    schedule(place, d)
  }

  /// Sees to it that the first segment of a direction arrives.
  func isStuck(_ pipe: Pipe, _ d: Int) -> Bool {
    let (from, to) = (pipe.ends[d].party, pipe.ends[1 - d].party)
    if from < 0 || to < 0 {
      let host = max(from, to)
      return !isHealing && now < hosts[host].clientsCutUntil
    }
    return network.isStreamCut(from, to)
  }

  mutating func schedule(_ place: Int, _ d: Int) {
    guard let pipe = pipes[place], !pipe.directions[d].isScheduled, !pipe.directions[d].isEmpty else { return }
    pipe.directions[d].isScheduled = true
    let ready = pipe.directions[d].segments[pipe.directions[d].first].ready
    queue.push(.stream, at: max(now, ready), host: place, from: d, detail: pipe.generation)
  }

  /// The first segment of a direction arrives, or is lost once more.
  mutating func arrive(_ event: Event) {
    let (place, d) = (Int(event.host), Int(event.from))
    guard let pipe = pipes[place], Int32(truncatingIfNeeded: pipe.generation) == event.detail else { return }
    pipe.directions[d].isScheduled = false
    guard !pipe.directions[d].isEmpty else { return }
    let to = pipe.ends[1 - d].party
    if isStuck(pipe, d) || (to >= 0 && hosts[to].isDark) {
      // TCP sends it again after a while, and waits twice as long each time.
      pipe.directions[d].patience = min(max(2 * pipe.directions[d].patience, 200_000_000), 2_000_000_000)
      report.faults.retransmissions += 1
      // Whoever gave the connection up sends nothing again for long.
      if !pipe.ends[d].isOpen, pipe.directions[d].patience >= 2_000_000_000 {
        pipe.directions[d].removeAll()
        return retire(place)
      }
      pipe.directions[d].isScheduled = true
      let jitter = chance.below(1_000_000 as UInt64)
      return queue.push(
        .stream, at: now + pipe.directions[d].patience + jitter, host: place, from: d, detail: pipe.generation)
    }
    pipe.directions[d].patience = 0
    if to < 0 {
      arriveAtClient(place, d, pipe, -1 - to)
      sentSome(place, d, pipe)
    } else if !arrive(place, d, pipe, at: to) {
      return
    }
    if pipes[place] === pipe { schedule(place, d) }
    retire(place)
  }

  /// False if the receiver has no room for it yet.
  private mutating func arrive(_ place: Int, _ d: Int, _ pipe: Pipe, at number: Int) -> Bool {
    let kind = pipe.directions[d].segments[pipe.directions[d].first].kind
    if kind == .synchronize {
      _ = pipe.directions[d].removeFirst()
      accept(place, d, pipe, number)
      return true
    }
    let end = pipe.ends[1 - d]
    guard end.isOpen, let machine = hosts[number].machine, hosts[number].incarnation == end.incarnation else {
      // Nobody has this connection: the kernel says so.
      pipe.directions[d].removeAll()
      if kind != .reset, pipe.ends[d].isOpen { push(place, 1 - d, .reset, []) }
      return true
    }
    // What isn't read stays where it is: a turn or `resume` goes on with it.
    if kind == .bytes {
      if end.isPaused { return false }
      if machine.seats[end.core].inboxBytes > Pipe.buffer {
        machine.seats[end.core].isFull = true
        return false
      }
    }
    let segment = pipe.directions[d].removeFirst()
    switch kind {
    case .synchronize: break
    case .accept: tell(number, end.core, .connected(end.id))
    case .bytes:
      corruptOrTell(segment.bytes, place, d, pipe, number)
      sentSome(place, d, pipe)
    case .finish: tell(number, end.core, .ended(end.id))
    case .reset: tell(number, end.core, .failed(end.id))
    }
    return true
  }

  /// The sender's kernel has room again.
  private mutating func sentSome(_ place: Int, _ d: Int, _ pipe: Pipe) {
    guard pipe.directions[d].owesSent, pipe.directions[d].bytes <= Pipe.buffer, pipe.ends[d].isOpen else { return }
    pipe.directions[d].owesSent = false
    if pipe.ends[d].party >= 0 { tell(pipe.ends[d].party, pipe.ends[d].core, .sent(pipe.ends[d].id)) }
  }

  private mutating func corruptOrTell(_ bytes: [UInt8], _ place: Int, _ d: Int, _ pipe: Pipe, _ number: Int) {
    let end = pipe.ends[1 - d]
    guard !isHealing, options.streamCorruption > 0, pipe.ends[d].party >= 0, chance.permille(options.streamCorruption)
    else { return tell(number, end.core, .bytes(end.id, bytes)) }
    var changed = bytes
    if chance.permille(400) {
      // Cut off in the middle, and then the end of the connection.
      report.faults.truncatedStreams += 1
      changed.removeLast(1 + chance.below(changed.count))
      if !changed.isEmpty { tell(number, end.core, .bytes(end.id, changed)) }
      pipe.directions[d].removeAll()
      return tell(number, end.core, .ended(end.id))
    }
    report.faults.corruptedStreams += 1
    changed[chance.below(changed.count)] ^= UInt8(1 << chance.below(8))
    tell(number, end.core, .bytes(end.id, changed))
  }

  /// Someone connects to a host.
  private mutating func accept(_ place: Int, _ d: Int, _ pipe: Pipe, _ number: Int) {
    guard pipe.ends[d].isOpen else { return }
    guard let machine = hosts[number].machine, !machine.isStopping else { return push(place, 1 - d, .reset, []) }
    let core = machine.count == 1 ? 0 : chance.below(machine.count)
    let id = machine.occupy(core, pipe: place, side: 1 - d)
    pipe.ends[1 - d].incarnation = hosts[number].incarnation
    pipe.ends[1 - d].core = core
    pipe.ends[1 - d].id = id
    pipe.ends[1 - d].isOpen = true
    tell(number, core, .opened(id, isPeer: pipe.ends[d].party >= 0))
    push(place, 1 - d, .accept, [])
  }

  /// Forgets a connection that neither end has and on which nothing travels.
  mutating func retire(_ place: Int) {
    guard let pipe = pipes[place], !pipe.ends[0].isOpen, !pipe.ends[1].isOpen else { return }
    guard pipe.directions[0].isEmpty, pipe.directions[1].isEmpty else { return }
    pipes[place] = nil
    freePipes.append(place)
  }

  /// A process has ended: its kernel resets what it had, or the whole host is dark and says nothing.
  mutating func dropPipes(of number: Int, silently: Bool) {
    for place in pipes.indices {
      guard let pipe = pipes[place] else { continue }
      for side in 0...1 where pipe.ends[side].party == number && pipe.ends[side].isOpen {
        pipe.ends[side].isOpen = false
        pipe.directions[side].owesSent = false
        if silently {
          pipe.directions[side].removeAll()
        } else if chance.permille(500) {
          push(place, side, .reset, [])
        } else {
          push(place, side, .finish, [])
        }
      }
      retire(place)
    }
  }

  /// A connection breaks, and both sides hear of it.
  mutating func breakPipe() {
    let open = pipes.indices.filter { pipes[$0] != nil }
    guard !open.isEmpty else { return }
    let place = open[chance.below(open.count)]
    report.faults.brokenStreams += 1
    for side in 0...1 where pipes[place]!.ends[side].isOpen { push(place, side, .reset, []) }
  }
}
