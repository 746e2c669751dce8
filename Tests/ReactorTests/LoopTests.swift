import Glibc
import Testing

@testable import Reactor

@Suite("A loop, on each backend") struct LoopTests {
  @Test("echoes pipelined bytes of many connections, each in order", arguments: backends)
  func echo(_ backend: Backend) throws {
    let server = try Server(backend)
    server.echo()
    var dice = Dice(seed: 1)
    let clients = try (0..<200).map { _ in try Client(server.address) }
    let inputs = clients.indices.map { _ in dice.bytes(Int.random(in: 1...20_000, using: &dice)) }
    var written = [Int](repeating: 0, count: clients.count)
    try server.turn("every byte comes back") {
      for (index, client) in clients.enumerated() {
        let next = min(inputs[index].count, written[index] + Int.random(in: 1...4000, using: &dice))
        if next > written[index] { written[index] += client.write(inputs[index][written[index]..<next]) }
        client.read()
      }
      return zip(clients, inputs).allSatisfy { $0.received.count == $1.count }
    }
    for (client, input) in zip(clients, inputs) { #expect(client.received == input) }
    for client in clients { client.close() }
    try server.turn("every socket is closed") { server.count(.closed) == clients.count }
    let left = server.loop.socketCount
    #expect(left == 0)
    #expect(server.count(.accepted) == clients.count)
    #expect(server.history.allSatisfy { $0.kind != .accepted || ($0.tag == 7 && !$0.isOverflow) })
  }

  @Test("carries 8 MiB both ways past a slow reader", arguments: backends)
  func bigPayload(_ backend: Backend) throws {
    let server = try Server(backend)
    server.echo()
    let client = try Client(server.address, receiveBuffer: 16 << 10)
    let input = pattern(8 << 20, seed: 3)
    var written = 0
    try server.turn("8 MiB come back") {
      if written < input.count { written += client.write(input[written...]) }
      client.read(atMost: 100_000)
      return client.received.count >= input.count
    }
    #expect(client.received == input)
    // Large bodies arrive in large pieces: nothing like one event per packet.
    #expect(server.count(.received) < 8 << 20 / 4096)
  }

  @Test("sends a head and a body as one, whole, at every split", arguments: backends)
  func twoPieces(_ backend: Backend) throws {
    let server = try Server(backend)
    let client = try Client(server.address, receiveBuffer: 16 << 10)
    try server.turn("accepted") { server.count(.accepted) == 1 }
    let socket = server.accepted[0]
    var expected: [UInt8] = []
    for (round, sizes) in [(1, 0), (1, 1), (200, 100), (5, 3 << 20), (3 << 20, 5), (2 << 20, 2 << 20)].enumerated() {
      let head = pattern(sizes.0, seed: UInt64(round))
      let body = pattern(sizes.1, seed: UInt64(round + 100))
      expected += head + body
      try head.withUnsafeBytes { head in
        try body.withUnsafeBytes { body in
          // An empty array may have no address; a piece of no bytes still needs a valid one.
          server.loop.send(
            socket, head: head.baseAddress!, head.count, body: body.baseAddress ?? head.baseAddress!, body.count)
          try server.turn("sent") {
            client.read(atMost: 150_000)
            return server.count(.sent) == round + 1
          }
        }
      }
    }
    try server.turn("all is read") {
      client.read()
      return client.received.count >= expected.count
    }
    #expect(client.received == expected)
  }

  @Test("reports a reset in the middle of a send once, and closes", arguments: backends)
  func reset(_ backend: Backend) throws {
    let server = try Server(backend)
    let client = try Client(server.address)
    try server.turn("accepted") { server.count(.accepted) == 1 }
    let socket = server.accepted[0]
    server.send(socket, pattern(32 << 20, seed: 1))
    try server.turn("some bytes came") { client.read() > 0 }
    #expect(server.count(.sent) == 0)
    client.reset()
    try server.turn("the failure is reported") { server.count(.failed) > 0 }
    server.turn(deadline: 0)
    server.loop.close(socket)
    try server.turn("closed") { server.count(.closed) == 1 }
    // Whichever of the two directions meets the reset first is told; the other may only see an end.
    let history = server.history.filter { $0.kind != .ended }
    #expect(history.map(\.kind) == [.accepted, .failed, .closed])
    #expect([ECONNRESET, EPIPE].contains(history[1].code))
    let left = server.loop.socketCount
    #expect(left == 0)
  }

  @Test("goes on sending after the peer's end of file", arguments: backends)
  func halfClose(_ backend: Backend) throws {
    let server = try Server(backend)
    let client = try Client(server.address)
    client.write("ping")
    client.shutdownWrite()
    try server.turn("ended") { server.count(.ended) == 1 }
    let socket = server.accepted[0]
    #expect(server.received[socket] == Array("ping".utf8))
    let answer = pattern(4 << 20, seed: 9)
    server.send(socket, answer)
    try server.turn("sent") {
      client.read()
      return server.count(.sent) == 1
    }
    server.loop.shutdownWrite(socket)
    try server.turn("the client met the end") {
      client.read()
      return client.isOver
    }
    #expect(client.received == answer)
    #expect(client.error == 0)
    server.loop.close(socket)
    try server.turn("closed") { server.count(.closed) == 1 }
    #expect(server.count(.ended) == 1)
  }

  @Test("hears nothing of a paused socket, and everything after it is resumed", arguments: backends)
  func pause(_ backend: Backend) throws {
    let server = try Server(backend)
    let client = try Client(server.address)
    try server.turn("accepted") { server.count(.accepted) == 1 }
    let socket = server.accepted[0]
    let input = pattern(32 << 20, seed: 5)
    var written = 0
    for round in 0..<2 {
      server.loop.pause(socket)
      // What was on its way when pausing may still come; the kernel's buffers then fill and stay full.
      var still = 0
      try server.turn("the client is held up, round \(round)") {
        let count = written < input.count ? client.write(input[written...]) : 0
        written += count
        still = count == 0 ? still + 1 : 0
        return still > 20
      }
      let heard = server.received[socket]?.count ?? 0
      for _ in 0..<20 { server.turn(deadline: 0) }
      #expect(server.received[socket]?.count ?? 0 == heard)
      #expect(written < input.count)
      server.loop.resume(socket)
      // Back and forth within one turn must not lose the receive.
      server.loop.pause(socket)
      server.loop.resume(socket)
      try server.turn("more is heard") { server.received[socket]?.count ?? 0 > heard }
    }
    try server.turn("all is heard") {
      if written < input.count { written += client.write(input[written...]) }
      return server.received[socket]?.count == input.count
    }
    #expect(server.received[socket] == input)
  }

  @Test("doesn't spin on a paused socket whose peer hung up", arguments: backends)
  func pausedHangUp(_ backend: Backend) throws {
    let server = try Server(backend)
    let client = try Client(server.address)
    try server.turn("accepted") { server.count(.accepted) == 1 }
    let socket = server.accepted[0]
    server.loop.pause(socket)
    server.turn(deadline: 0)
    client.reset()
    for _ in 0..<5 { server.turn(deadline: 0) }
    #expect(server.turns(until: Clock.monotonic() + 30_000_000) <= 3, "it spins though nothing happened")
    server.loop.resume(socket)
    try server.turn("the failure is heard") { server.count(.failed) == 1 }
  }

  @Test("lends a send's memory until .closed, not a moment longer", arguments: backends)
  func closeWhileSending(_ backend: Backend) throws {
    let server = try Server(backend)
    let count = 12 << 20
    let memory = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 4096)
    defer { memory.deallocate() }
    for round in 0..<6 {
      memory.initializeMemory(as: UInt8.self, repeating: 0xAA, count: count)
      let client = try Client(server.address)
      try server.turn("accepted") { server.count(.accepted) == round + 1 }
      let socket = server.accepted[round]
      server.loop.send(socket, memory, count)
      if round % 2 == 0 {
        // The send is stuck in the kernel; otherwise it wasn't even submitted.
        for _ in 0..<3 { server.turn(deadline: 0) }
      }
      server.loop.close(socket)
      try server.turn("closed") { server.count(.closed) == round + 1 }
      // Now it is ours: whatever the kernel still read from it would show as 0x55 at the client.
      memory.initializeMemory(as: UInt8.self, repeating: 0x55, count: count)
      try server.turn("the client met the end") {
        client.read()
        return client.isOver
      }
      #expect(client.received.count < count)
      let foreign = client.received.withUnsafeBytes { memchr($0.baseAddress!, 0x55, $0.count) }
      #expect(foreign == nil)
    }
    #expect(server.count(.sent) == 0 && server.count(.failed) == 0)
  }

  @Test("makes the rest of a turn's events of a closed socket stale", arguments: backends)
  func stale(_ backend: Backend) throws {
    let server = try Server(backend)
    let clients = try (0..<2).map { _ in try Client(server.address) }
    try server.turn("accepted") { server.count(.accepted) == 2 }
    let sockets = server.accepted
    for client in clients { client.write("hello") }
    clients[0].shutdownWrite()
    clients[1].shutdownWrite()
    // Whichever is heard first closes the other.
    server.onEvent = { server, event in
      guard event.pointee.kind == .received, server.count(.received) == 1 else { return }
      server.loop.close(event.pointee.socket == sockets[0] ? sockets[1] : sockets[0])
    }
    try server.turn("the survivor ended, the other is closed") {
      server.count(.ended) >= 1 && server.count(.closed) == 1
    }
    let closed = try #require(server.history.first { $0.kind == .closed }?.socket)
    #expect(server.history.filter { $0.socket == closed }.map(\.kind) == [.accepted, .closed])
    let isOpen = server.loop.isOpen(closed)
    #expect(!isOpen)
  }

  @Test("marks connections over the limit and closes those beyond its slots", arguments: backends)
  func limit(_ backend: Backend) throws {
    let server = try Server(backend) { options in
      options.connections = 3
      options.overflow = 2
    }
    let clients = try (0..<8).map { _ in try Client(server.address) }
    try server.turn("all are taken or turned away") { server.loop.statistics.rejected == 3 }
    #expect(server.history.filter { $0.kind == .accepted }.map(\.isOverflow) == [false, false, false, true, true])
    try server.turn("those turned away notice") {
      for client in clients { client.read() }
      return clients.count { $0.isOver } == 3
    }
    // A slot that was given back is taken again, under a new id.
    let first = server.accepted[0]
    server.loop.close(first)
    try server.turn("closed") { server.count(.closed) == 1 }
    let another = try Client(server.address)
    try server.turn("accepted") { server.count(.accepted) == 6 }
    #expect(server.accepted[5].index == first.index && server.accepted[5] != first)
    another.close()
  }

  @Test("hears everything although buffers and event slots are few", arguments: backends)
  func scarcity(_ backend: Backend) throws {
    let server = try Server(backend) { options in
      options.receiveBytes = 512
      options.receiveBuffers = 2
      options.events = 64
    }
    let clients = try (0..<100).map { _ in try Client(server.address) }
    let input = pattern(20_000, seed: 8)
    try server.turn("accepted") { server.count(.accepted) == clients.count }
    for client in clients { #expect(client.write(input[...]) == input.count) }
    try server.turn("all is heard") { server.received.values.reduce(0) { $0 + $1.count } == 100 * input.count }
    #expect(server.received.values.allSatisfy { $0 == input })
    for client in clients { client.close() }
    try server.turn("all ended") { server.count(.ended) == clients.count }
  }

  @Test("starves nobody while one peer floods it", arguments: backends)
  func fairness(_ backend: Backend) throws {
    let server = try Server(backend)
    let flood = try Client(server.address)
    let quiet = try Client(server.address)
    try server.turn("accepted") { server.count(.accepted) == 2 }
    let bytes = pattern(1 << 20, seed: 1)
    for _ in 0..<20 {
      while flood.write(bytes[...]) > 0 {}
      quiet.write("x")
      try quiet.awaitDelivery()
      let before = server.received[server.accepted[1]]?.count ?? 0
      func heard() -> Int { server.received[server.accepted[1]]?.count ?? 0 }
      var turns = 0
      while heard() == before && turns < 3 {
        server.turn(deadline: Clock.monotonic() + patience)
        turns += 1
      }
      #expect(heard() == before + 1)
    }
  }

  @Test("hears of others while its owner answers every .sent with a send", arguments: backends)
  func sendOnSent(_ backend: Backend) throws {
    let server = try Server(backend)
    let reader = try Client(server.address)
    let writer = try Client(server.address)
    try server.turn("accepted") { server.count(.accepted) == 2 }
    let target = server.accepted[0]
    server.onEvent = { server, event in
      if event.pointee.kind == .sent { server.send(target, [1]) }
    }
    server.send(target, [1])
    for round in 1...20 {
      writer.write("x")
      try writer.awaitDelivery()
      for _ in 0..<4 {
        server.turn(deadline: Clock.monotonic() + patience)
        reader.read()
      }
      #expect(server.received[server.accepted[1]]?.count == round)
    }
  }

  @Test("connects, and says so when it can't", arguments: backends)
  func connect(_ backend: Backend) throws {
    let server = try Server(backend)
    server.onEvent = { server, event in
      if event.pointee.kind == .connected { server.send(event.pointee.socket, Array("hello".utf8)) }
    }
    // To itself: both ends in one loop.
    let socket = try server.loop.connect(server.address)
    try server.turn("heard") { server.received.values.contains { $0 == Array("hello".utf8) } }
    #expect(server.count(.connected, socket) == 1)
    let peer = server.loop.peerAddress(socket)
    #expect(peer == server.address)
    // A port that was free a moment ago.
    let closedPort = try Listener.listen(on: try SocketAddress.parse("127.0.0.1:0")).address
    let refused = try server.loop.connect(closedPort)
    try server.turn("refused") { server.count(.failed, refused) == 1 }
    #expect(server.history.first { $0.kind == .failed }?.code == ECONNREFUSED)
    server.loop.close(refused)
    try server.turn("closed") { server.count(.closed, refused) == 1 }
  }

  @Test("closes a connect under way", arguments: backends)
  func closeConnecting(_ backend: Backend) throws {
    let server = try Server(backend)
    for _ in 0..<10 {
      let socket = try server.loop.connect(server.address)
      server.loop.close(socket)
      try server.turn("closed") { server.count(.closed, socket) == 1 }
      #expect(server.count(.connected, socket) == 0 && server.count(.failed, socket) == 0)
    }
  }

  @Test("refuses connections after it stopped accepting, and keeps those it has", arguments: backends)
  func stopAccepting(_ backend: Backend) throws {
    let server = try Server(backend)
    server.echo()
    let client = try Client(server.address)
    try server.turn("accepted") { server.count(.accepted) == 1 }
    server.loop.stopAccepting()
    try server.turn("the port is closed") { (try? Client(server.address)) == nil }
    client.write("still there")
    try server.turn("echoed") { client.read() > 0 }
    #expect(client.received == Array("still there".utf8))
  }

  @Test("can be dropped with everything under way", arguments: backends)
  func drop(_ backend: Backend) throws {
    let bytes = pattern(16 << 20, seed: 2)
    let client: Client
    do {
      let server = try Server(backend)
      client = try Client(server.address)
      try server.turn("accepted") { server.count(.accepted) == 1 }
      server.send(server.accepted[0], bytes)
      server.turn(deadline: 0)
    }
    let end = Clock.monotonic() + patience
    while !client.isOver && Clock.monotonic() < end { client.read() }
    #expect(client.isOver, "the dropped loop's sockets are closed")
    #expect(client.received.elementsEqual(bytes.prefix(client.received.count)))
  }
}
