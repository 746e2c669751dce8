import Glibc
import Testing

@testable import Reactor

/// What a loop's owner asks to be put in a place of its own.
@Suite("Bytes straight to their place, on each backend") struct FillTests {
  @Test("come whole and in order, however placed and plain receives take turns", arguments: backends)
  func turns(_ backend: Backend) throws {
    let server = try Server(backend)
    let room = UnsafeMutableRawPointer.allocate(byteCount: 1 << 20, alignment: 64)
    defer { room.deallocate() }
    var dice = Dice(seed: 5)
    var filled = 0
    var pending = 0
    server.onEvent = { server, event in
      guard event.pointee.kind == .received else { return }
      if UnsafeRawPointer(event.pointee.bytes) == UnsafeRawPointer(room) { filled += event.pointee.count }
      // Each time anew; now and then nothing is asked, and the next bytes come as usual.
      pending = Int.random(in: 0..<4, using: &dice) > 0 ? Int.random(in: 1...(1 << 20), using: &dice) : 0
    }
    let client = try Client(server.address)
    let input = pattern(20 << 20, seed: 9)
    var written = 0
    try server.turn("20 MiB arrive") {
      if written < input.count { written += client.write(input[written..<min(input.count, written + 3_000_000)]) }
      if pending > 0, let socket = server.accepted.first {
        server.loop.receive(socket, into: room, pending)
        pending = 0
      }
      return server.received[server.accepted.first ?? .none]?.count == input.count
    }
    #expect(server.received[server.accepted[0]] == input)
    #expect(filled > 1 << 20)
    server.loop.close(server.accepted[0])
    try server.turn("closed") { server.count(.closed) == 1 }
  }

  @Test("aren't waited for any more once the socket is closed, ended or paused", arguments: backends)
  func ends(_ backend: Backend) throws {
    let server = try Server(backend)
    let room = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 64)
    defer { room.deallocate() }
    let clients = try (0..<3).map { _ in try Client(server.address) }
    try server.turn("accepted") { server.count(.accepted) == 3 }
    for socket in server.accepted { server.loop.receive(socket, into: room + 1024 * socket.index % 4096, 1024) }
    for _ in 0..<4 { server.turn(deadline: Clock.monotonic() + 1_000_000) }
    server.loop.close(server.accepted[0])
    try server.turn("one is closed") { server.count(.closed) == 1 }
    for client in clients { client.shutdownWrite() }
    try server.turn("the others' ends are heard of") { server.count(.ended) == 2 }
    for socket in server.accepted[1...] { server.loop.close(socket) }
    try server.turn("all are closed") { server.count(.closed) == 3 }
    let left = server.loop.socketCount
    #expect(left == 0)
    #expect(server.count(.received) == 0)
  }

  @Test("come after a pause to where they were to go before it", arguments: backends)
  func pause(_ backend: Backend) throws {
    let server = try Server(backend)
    let room = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 64)
    defer { room.deallocate() }
    let client = try Client(server.address)
    try server.turn("accepted") { server.count(.accepted) == 1 }
    let socket = server.accepted[0]
    server.loop.receive(socket, into: room, 4096)
    for _ in 0..<4 { server.turn(deadline: Clock.monotonic() + 1_000_000) }
    server.loop.pause(socket)
    for _ in 0..<4 { server.turn(deadline: Clock.monotonic() + 1_000_000) }
    client.write("straight")
    for _ in 0..<4 { server.turn(deadline: Clock.monotonic() + 1_000_000) }
    #expect(server.count(.received) == 0)
    server.loop.resume(socket)
    try server.turn("bytes come") { server.count(.received) == 1 }
    #expect(server.received[socket] == Array("straight".utf8))
    #expect(UnsafeRawBufferPointer(start: room, count: 8).elementsEqual("straight".utf8))
    client.write("plain")
    try server.turn("more bytes come") { server.count(.received) == 2 }
    #expect(server.received[socket] == Array("straightplain".utf8))
    #expect(UnsafeRawBufferPointer(start: room, count: 8).elementsEqual("straight".utf8))
    server.loop.close(socket)
    try server.turn("closed") { server.count(.closed) == 1 }
  }
}
