import Engine
import Wire

// Whole nodes: turns of cores, and what they ask of the world.

extension World {
  /// What a host's calendar says: milliseconds since 1970.
  func wall(_ number: Int) -> UInt64 { 1_800_000_000_000 + now / 1_000_000 + hosts[number].skew }

  /// Has a core hear something in its next turn.
  mutating func tell(_ number: Int, _ core: Int, _ input: Machine.Input) {
    guard let machine = hosts[number].machine else { return }
    if case .bytes(_, let bytes) = input { machine.seats[core].inboxBytes += bytes.count }
    machine.seats[core].inbox.append(input)
    wake(number, core, at: now + 1_000 + chance.below(options.turn))
  }

  /// Sees to it that a core has a turn no later than at a time.
  mutating func wake(_ number: Int, _ core: Int, at time: UInt64) {
    let machine = hosts[number].machine!
    var time = max(time, hosts[number].pausedUntil)
    if now < hosts[number].slowUntil { time += chance.below(hosts[number].slowness / 8 + 1) }
    guard time < machine.seats[core].turn else { return }
    machine.seats[core].turn = time
    queue.push(.turn, at: time, host: number, from: core)
  }

  mutating func takeTurn(_ event: Event) {
    let (number, core) = (Int(event.host), Int(event.from))
    guard let machine = hosts[number].machine, machine.seats[core].turn == event.time else { return }
    machine.seats[core].turn = .max
    if now < hosts[number].pausedUntil { return wake(number, core, at: hosts[number].pausedUntil) }
    report.turns += 1
    turn(number, core, machine)
  }

  private mutating func turn(_ number: Int, _ core: Int, _ machine: Machine) {
    let clock = World.clock(hosts[number].offset, hosts[number].drift, now)
    machine.cores[core].beginTurn(wall: wall(number), monotonic: clock, lease: machine.leaseEnd)
    let isNews = machine.seats[core].adopted != machine.viewNumber
    if isNews {
      machine.seats[core].adopted = machine.viewNumber
      machine.cores[core].adopt(machine.view)
    }
    hear(machine, core)
    readMail(machine, core)
    if machine.isStopping { stop(machine, core) }
    machine.cores[core].endTurn()
    if isNews {
      machine.noteOwned(core)
      checker.checkCores(number, hosts, now)
    }
    if hosts[number].pausesInTurn > 0 {
      // The process stops between what it did and what it says.
      hosts[number].pausedUntil = now + hosts[number].pausesInTurn
      departure = hosts[number].pausedUntil
      hosts[number].pausesInTurn = 0
      report.faults.pausesInTurns += 1
    }
    carryOut(number, core, machine)
    departure = 0
    if let wishes = machine.cores[core].takeWishes() {
      machine.seats[core].wishes = wishes
      machine.hasWishes = true
    }
    if machine.wantsWrites || machine.hasWishes || !machine.maps.isEmpty { press(number, machine, clock) }
    guard hosts[number].machine === machine else { return }
    sendMail(number, core, machine)
    if machine.cores[core].wantsTurnEnd { machine.cores[core].turnEnded(monotonic: clock) }
    setAlarm(number, core, machine, clock)
    if machine.isStopping { endIfDrained(number, machine) }
  }

  private mutating func setAlarm(_ number: Int, _ core: Int, _ machine: Machine, _ clock: UInt64) {
    if !machine.seats[core].inbox.isEmpty || machine.cores[core].hasMail { return wake(number, core, at: now + 2_000) }
    let deadline = machine.cores[core].deadline
    guard deadline != .max else { return }
    if deadline <= clock { return wake(number, core, at: now + 2_000) }
    wake(number, core, at: World.time(hosts[number].offset, hosts[number].drift, deadline))
  }

  // MARK: In

  /// Bytes that a turn is given at most.
  private static var turnBytes: Int { 1 << 20 }

  private mutating func hear(_ machine: Machine, _ core: Int) {
    var inputs: [Machine.Input] = []
    swap(&inputs, &machine.seats[core].inbox)
    var used = 0
    for (position, input) in inputs.enumerated() {
      switch input {
      case .bytes(let id, let bytes):
        if used + bytes.count > World.turnBytes {
          machine.seats[core].inbox.insert(contentsOf: inputs[position...], at: 0)
          return
        }
        machine.seats[core].inboxBytes -= bytes.count
        guard machine.socket(id, core) != nil else { continue }
        let room = arena.base + used
        bytes.withUnsafeBytes { room.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        used += (bytes.count + 63) & ~63
        machine.cores[core].receive(id, room, bytes.count)
      case .opened(let id, let isPeer): machine.cores[core].opened(id, isPeer: isPeer)
      case .sent(let id):
        guard machine.socket(id, core) != nil else { continue }
        machine.seats[core].sockets[Int(id.index)]!.isSending = false
        machine.cores[core].sent(id)
      case .ended(let id): if machine.socket(id, core) != nil { machine.cores[core].ended(id) }
      case .failed(let id): if machine.socket(id, core) != nil { machine.cores[core].failed(id) }
      case .connected(let id): if machine.socket(id, core) != nil { machine.cores[core].connected(id) }
      case .closed(let id):
        machine.cores[core].closed(id)
        machine.vacate(id, core)
      }
    }
    if machine.seats[core].isFull, machine.seats[core].inboxBytes <= Pipe.buffer { unblock(machine, core) }
  }

  /// What waited for room in the receive buffer arrives.
  private mutating func unblock(_ machine: Machine, _ core: Int) {
    machine.seats[core].isFull = false
    for case let socket? in machine.seats[core].sockets where !socket.isClosing {
      schedule(socket.pipe, 1 - socket.side)
    }
  }

  private func readMail(_ machine: Machine, _ core: Int) {
    for other in 0..<machine.count where !machine.seats[core].mail[other].isEmpty {
      var messages: [[UInt8]] = []
      swap(&messages, &machine.seats[core].mail[other])
      for message in messages {
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: message.count, alignment: 16)
        room.copyBytes(from: message)
        machine.cores[core].receiveMail(UnsafeRawBufferPointer(room))
        room.deallocate()
      }
    }
  }

  private mutating func sendMail(_ number: Int, _ core: Int, _ machine: Machine) {
    for other in 0..<machine.count where other != core {
      var isNew = false
      while let message = machine.cores[core].outbox(for: other, atMost: 0) {
        machine.seats[other].mail[core].append([UInt8](message))
        machine.cores[core].posted(to: other, message.count)
        isNew = true
      }
      if isNew { wake(number, other, at: now + 1_000) }
    }
  }

  // MARK: Out

  private mutating func carryOut(_ number: Int, _ core: Int, _ machine: Machine) {
    for position in 0..<machine.cores[core].effects.count {
      switch machine.cores[core].effects[position] {
      case .send(let id, let bytes, let count):
        send(number, core, machine, id, UnsafeRawBufferPointer(start: bytes, count: count), nil)
      case .sendPair(let id, let head, let count, let tail, let tailCount):
        send(
          number, core, machine, id, UnsafeRawBufferPointer(start: head, count: count),
          UnsafeRawBufferPointer(start: tail, count: tailCount))
      case .connect(let link, let address): dial(number, core, machine, link, address)
      case .abort(let id): side(id, number, core, machine) { world, place, side in world.push(place, side, .reset, []) }
      case .shutdownWrite(let id):
        side(id, number, core, machine) { world, place, side in world.push(place, side, .finish, []) }
      case .close(let id):
        side(id, number, core, machine) { world, place, side in
          world.push(place, side, .finish, [])
          world.pipes[place]!.ends[side].isOpen = false
          // What comes now is nobody's.
          world.schedule(place, 1 - side)
          world.retire(place)
        }
        guard machine.socket(id, core) != nil else { return }
        machine.seats[core].sockets[Int(id.index)]!.isClosing = true
        machine.seats[core].inbox.append(.closed(id))
      case .pause(let id): side(id, number, core, machine) { $0.pipes[$1]!.ends[$2].isPaused = true }
      case .resume(let id):
        side(id, number, core, machine) { world, place, side in
          world.pipes[place]!.ends[side].isPaused = false
          world.schedule(place, 1 - side)
        }
      case .askForWrites: machine.wantsWrites = true
      case .setMap(let bytes, let count):
        let command = [UInt8](UnsafeRawBufferPointer(start: bytes, count: count))
        if case .setMap(let entry)? = try? TopologyCommand(decoding: command) { machine.maps.append(entry) }
      case .receive, .discard, .populate: break
      case .log(let level, let bytes, let count):
        let text = String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
        trace.add(now, name(number), "\(level): \(text)")
      }
    }
    machine.cores[core].effects.removeAll()
  }

  /// Finds an effect's connection, which must be there.
  private mutating func side(
    _ id: ConnectionID, _ number: Int, _ core: Int, _ machine: Machine, _ body: (inout World, Int, Int) -> Void
  ) {
    guard let socket = machine.socket(id, core) else {
      return checker.violate(.obeysReactor, "\(name(number)) names connection \(id.index), which isn't open", now)
    }
    body(&self, socket.pipe, socket.side)
  }

  private mutating func send(
    _ number: Int, _ core: Int, _ machine: Machine, _ id: ConnectionID, _ head: UnsafeRawBufferPointer,
    _ tail: UnsafeRawBufferPointer?
  ) {
    var bytes = [UInt8](head)
    if let tail { bytes += tail }
    side(id, number, core, machine) { world, place, side in
      let pipe = world.pipes[place]!
      if machine.seats[core].sockets[Int(id.index)]!.isSending {
        world.checker.violate(.obeysReactor, "\(world.name(number)) sends while a send is under way", world.now)
      }
      machine.seats[core].sockets[Int(id.index)]!.isSending = true
      if pipe.ends[1 - side].party >= 0 {
        pipe.directions[side].scan.take(bytes) { world.checker.sentOn($0, by: number, world.now) }
      }
      // Networks cut streams anywhere.
      if bytes.count > 1, world.chance.permille(100) {
        let cut = 1 + world.chance.below(bytes.count - 1)
        world.push(place, side, .bytes, [UInt8](bytes[..<cut]))
        world.push(place, side, .bytes, [UInt8](bytes[cut...]))
      } else {
        world.push(place, side, .bytes, bytes)
      }
      if pipe.directions[side].bytes <= Pipe.buffer {
        world.tell(number, core, .sent(id))
      } else {
        pipe.directions[side].owesSent = true
      }
    }
  }

  private mutating func dial(_ number: Int, _ core: Int, _ machine: Machine, _ link: Int, _ address: PeerAddress) {
    guard let to = World.host(address), hosts.indices.contains(to) else { return machine.cores[core].dialFailed(link) }
    var end = Pipe.End(party: number, incarnation: hosts[number].incarnation, core: core)
    end.isOpen = true
    let place = open(from: end, to: to)
    let id = machine.occupy(core, pipe: place, side: 0)
    pipes[place]!.ends[0].id = id
    machine.cores[core].dialed(link, id)
  }

  // MARK: The control plane

  /// Gives the control plane what the cores want of it.
  private mutating func press(_ number: Int, _ machine: Machine, _ clock: UInt64) {
    guard !machine.isStopping else { return }
    if machine.wantsWrites {
      machine.wantsWrites = false
      hosts[number].control!.markWritten()
      hosts[number].control!.tick(clock, &chances[number])
    }
    for entry in machine.maps {
      hosts[number].control!.setMap(entry, now: clock)
      hosts[number].control!.tick(clock, &chances[number])
    }
    machine.maps = []
    if machine.hasWishes {
      machine.hasWishes = false
      hosts[number].control!.setWishes(machine.seats.flatMap(\.wishes), now: clock)
      hosts[number].control!.tick(clock, &chances[number])
    }
    afterStep(number)
  }

  /// Tells the cores what changed in the control plane: at once what decides what they may do.
  mutating func publish(_ number: Int, _ machine: Machine) {
    guard !machine.isStopping else { return }
    let clock = World.clock(hosts[number].offset, hosts[number].drift, now)
    machine.leaseEnd = hosts[number].control!.leaseEnd(clock)
    // Read in place: a copy of a control plane costs more than the step.
    let standing = hosts[number].control!.standing
    let isDecisive = !machine.told.agrees(
      standing, version: hosts[number].control!.topologyVersion, cluster: hosts[number].control!.cluster,
      isLeaving: hosts[number].control!.isLeaving)
    guard isDecisive || clock >= machine.nextNews else { return }
    let told = Machine.Told(hosts[number].control!)
    let view = ClusterView(hosts[number].control!, after: machine.view)
    machine.nextNews = clock + 100_000_000
    guard isDecisive || view.differs(from: machine.view) else { return }
    machine.told = told
    machine.view = view
    machine.viewNumber += 1
    guard isDecisive else { return }
    for core in 0..<machine.count { wake(number, core, at: now + 1_000 + chance.below(options.turn)) }
  }

  // MARK: The way down

  /// The node has left, or has to begin anew: what is in flight is finished first.
  mutating func beginStop(_ number: Int, _ machine: Machine, _ reason: RestartReason) {
    guard !machine.isStopping else { return }
    machine.reason = reason
    machine.isStopping = true
    machine.stopDeadline = now + 10 * World.second
    hosts[number].wake = .max
    for core in 0..<machine.count { wake(number, core, at: now + 1_000) }
  }

  private func stop(_ machine: Machine, _ core: Int) {
    machine.cores[core].beginShutdown()
    if now >= machine.stopDeadline { machine.cores[core].closeAll() }
  }

  private mutating func endIfDrained(_ number: Int, _ machine: Machine) {
    let isDrained = (0..<machine.count).allSatisfy { machine.cores[$0].openConnections == 0 }
    if isDrained { return end(number, machine.reason) }
    for core in 0..<machine.count {
      wake(number, core, at: min(max(machine.stopDeadline, now + 1000), now + 50_000_000))
    }
  }
}

/// Where the bytes of a turn lie until it ends.
final class Arena {
  let base: UnsafeMutableRawPointer
  init() { base = .allocate(byteCount: 2 << 20, alignment: 64) }
  deinit { base.deallocate() }
}
