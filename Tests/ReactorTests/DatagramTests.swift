import Glibc
import Testing

@testable import Reactor

@Suite("Datagrams, on each backend") struct DatagramTests {
  @Test("come with their source and go back there", arguments: backends)
  func unicast(_ backend: Backend) throws {
    let post = try Post(backend)
    let server = try post.add(tag: 1)
    let client = try post.add(tag: 2)
    #expect(post.loop.address(server.id) == server.address && server.address.port != 0)
    post.onDatagram = { post, event in
      guard event.pointee.tag == 1 else { return }
      post.loop.sendDatagram(
        event.pointee.datagramSocket, to: event.pointee.source, event.pointee.bytes, event.pointee.count)
    }
    var dice = Dice(seed: 1)
    for round in 0..<2000 {
      let bytes = dice.bytes(round % 1500)
      #expect(post.send(client.id, to: server.address, bytes) == 0)
      try post.turn("echoed") { post.heard(2).count == 1 }
      let there = Post.Letter(tag: 1, source: client.address, bytes: bytes, isTruncated: false)
      let back = Post.Letter(tag: 2, source: server.address, bytes: bytes, isTruncated: false)
      #expect(post.letters == [there, back])
      post.letters = []
    }
    #expect(post.statistics.sent == 4000 && post.statistics.received == 4000)
  }

  @Test("come in bounded portions, all of them and in order", arguments: backends)
  func portions(_ backend: Backend) throws {
    let post = try Post(backend) { options in
      options.datagramsPerTurn = 8
      options.events = 64
    }
    let server = try post.add()
    let client = try post.add()
    for burst in 0..<20 {
      for number in 0..<50 { post.send(client.id, to: server.address, [UInt8(burst), UInt8(number)]) }
      try post.turn("all are heard") { post.letters.count == 50 * (burst + 1) }
    }
    #expect(post.most <= 8)
    let expected: [[UInt8]] = (0..<1000).map { number in [UInt8(number / 50), UInt8(number % 50)] }
    #expect(post.letters.map(\.bytes) == expected)
  }

  @Test("in a flood delay no connection", arguments: backends)
  func flood(_ backend: Backend) throws {
    let server = try Server(backend)
    server.echo()
    let socket = try DatagramSocket.bind(to: try SocketAddress.parse("127.0.0.1:0"))
    let address = socket.address
    _ = try server.loop.add(socket, tag: 3)
    let client = try Client(server.address)
    try server.turn("accepted") { server.count(.accepted) == 1 }
    let flood = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    defer { Glibc.close(flood) }
    let bytes = pattern(1000, seed: 1)
    for round in 1...50 {
      // More than one turn takes, as much as the kernel keeps.
      for _ in 0..<200 {
        _ = address.withSockaddr { sendto(flood, bytes, bytes.count, Int32(MSG_DONTWAIT), $0, $1) }
      }
      client.write("x")
      try client.awaitDelivery()
      var turns = 0
      while client.received.count < round && turns < 6 {
        server.turn(deadline: Clock.monotonic() + 100_000_000)
        client.read()
        turns += 1
      }
      #expect(client.received.count == round)
    }
    let heard = server.count(.datagram)
    #expect(heard >= 50 * 6 && server.loop.statistics.datagrams.received == UInt64(heard))
  }

  @Test("in a flood delay no datagrams of other sockets", arguments: backends)
  func neighbour(_ backend: Backend) throws {
    let post = try Post(backend) { $0.datagramsPerTurn = 4 }
    let flooded = try post.add(tag: 1)
    let quiet = try post.add(tag: 2)
    let client = try post.add(tag: 3)
    for _ in 0..<200 { post.send(client.id, to: flooded.address, [1]) }
    for round in 1...20 {
      for _ in 0..<8 { post.send(client.id, to: flooded.address, [1]) }
      post.send(client.id, to: quiet.address, [2])
      try post.awaitDelivery(2)
      for _ in 0..<3 where post.heard(2).count < round { post.turn(deadline: Clock.monotonic() + 100_000_000) }
      #expect(post.heard(2).count == round)
    }
    #expect(post.heard(1).count >= 20)
  }

  @Test("that are too long are cut, said to be, and counted", arguments: backends)
  func oversize(_ backend: Backend) throws {
    let post = try Post(backend) { $0.datagramBytes = 100 }
    let server = try post.add()
    let client = try post.add()
    for count in [0, 1, 99, 100, 101, 148, 1500, 65_507] {
      let bytes = pattern(count, seed: UInt64(count))
      #expect(post.send(client.id, to: server.address, bytes) == 0)
      try post.turn("heard") { post.letters.count == 1 }
      #expect(post.letters[0].bytes == Array(bytes.prefix(100)))
      #expect(post.letters[0].isTruncated == (count > 100))
      #expect(post.letters[0].source == client.address)
      post.letters = []
    }
    #expect(post.statistics.truncated == 4 && post.statistics.received == 8)
  }

  @Test("that can't be sent are counted, with the kernel's reason", arguments: backends)
  func unsendable(_ backend: Backend) throws {
    let post = try Post(backend)
    let client = try post.add()
    let v6 = try SocketAddress.parse("[::1]:9")
    #expect(post.send(client.id, to: client.address, pattern(65_508, seed: 1)) == EMSGSIZE)
    #expect(post.send(client.id, to: v6, [1]) != 0)
    #expect(post.statistics.refused == 2 && post.statistics.sent == 0)
  }

  @Test("to a closed port change nothing", arguments: backends)
  func refused(_ backend: Backend) throws {
    let post = try Post(backend)
    let server = try post.add()
    let gone = try post.add()
    post.loop.remove(gone.id)
    for _ in 0..<3 { post.turn(deadline: 0) }
    for round in 1...20 {
      #expect(post.send(server.id, to: gone.address, [0]) == 0)
      #expect(post.send(server.id, to: server.address, [1]) == 0)
      try post.turn("heard") { post.letters.count == round }
    }
    #expect(post.statistics.refused == 0 && post.statistics.paused == 0)
  }

  @Test("end with their socket, whose port and place are free again", arguments: backends)
  func removal(_ backend: Backend) throws {
    let post = try Post(backend)
    let client = try post.add()
    var server = try post.add(tag: 1)
    for round in 0..<40 {
      // The first of three heard removes the socket: nothing follows, and nothing later in this turn.
      post.onDatagram = { post, event in post.loop.remove(event.pointee.datagramSocket) }
      for _ in 0..<3 { post.send(client.id, to: server.address, [UInt8(round)]) }
      try post.turn("heard") { post.letters.count == round + 1 }
      for _ in 0..<3 { post.turn(deadline: 0) }
      #expect(post.letters.count == round + 1)
      #expect(post.loop.address(server.id) == nil)
      let former = server.id
      server = try post.add("\(server.address)", tag: 1)
      #expect(server.id != former)
      // A dead id removes nobody else's socket.
      post.loop.remove(former)
      #expect(post.loop.address(server.id) == server.address)
    }
  }

  @Test("that don't come cost nothing", arguments: backends)
  func idle(_ backend: Backend) throws {
    let post = try Post(backend)
    let server = try post.add()
    let client = try post.add()
    post.send(client.id, to: server.address, [1])
    try post.turn("heard") { post.letters.count == 1 }
    for _ in 0..<5 { post.turn(deadline: 0) }
    let end = Clock.monotonic() + 30_000_000
    var turns = 0
    repeat {
      post.turn(deadline: end)
      turns += 1
    } while Clock.monotonic() < end
    #expect(turns <= 3, "it spins though nothing happens")
  }

  @Test("by an IPv6 socket are IPv4's, too, and never show mapped addresses", arguments: backends)
  func dualStack(_ backend: Backend) throws {
    let post = try Post(backend)
    guard let server = try? post.add("[::]:0", tag: 6) else { return }  // a machine without IPv6
    let client = try post.add(tag: 4)
    let there = SocketAddress(v4: 0x7F00_0001 as UInt32, port: server.address.port)
    #expect(post.send(client.id, to: there, [1, 2]) == 0)
    try post.turn("heard") { post.letters.count == 1 }
    #expect(post.letters[0] == Post.Letter(tag: 6, source: client.address, bytes: [1, 2], isTruncated: false))
    #expect(post.send(server.id, to: client.address, [3]) == 0)
    try post.turn("answered") { post.letters.count == 2 }
    #expect(post.letters[1] == Post.Letter(tag: 4, source: there, bytes: [3], isTruncated: false))
  }

  @Test("find a loop that can be dropped with everything under way", arguments: backends)
  func drop(_ backend: Backend) throws {
    let address: SocketAddress
    do {
      let post = try Post(backend)
      let server = try post.add()
      let client = try post.add()
      for _ in 0..<200 { post.send(client.id, to: server.address, pattern(1400, seed: 1)) }
      post.turn(deadline: 0)
      address = server.address
    }
    _ = try DatagramSocket.bind(to: address, patience: patience)
  }

  @Test("have ports of their own, unless they are to be shared")
  func ports() throws {
    let first = try DatagramSocket.bind(to: try SocketAddress.parse("127.0.0.1:0"))
    let address = first.address
    var options = DatagramSocket.Options()
    options.isShared = true
    for options in [DatagramSocket.Options(), options] {
      let error = #expect(throws: ReactorError.self) {
        _ = try DatagramSocket.bind(to: address, options, patience: 0)
      }
      #expect(error?.kind == .addressInUse)
      #expect(error?.sentence.contains(address.description) == true)
    }
    withExtendedLifetime(first.descriptor) {}
    let shared = try DatagramSocket.bind(to: try SocketAddress.parse("127.0.0.1:0"), options)
    let another = try DatagramSocket.bind(to: shared.address, options)
    #expect(another.address == shared.address)
    let foreign = #expect(throws: ReactorError.self) {
      _ = try DatagramSocket.bind(to: try SocketAddress.parse("192.0.2.1:0"), patience: 0)
    }
    #expect(foreign?.kind == .addressNotAvailable)
  }
}

@Suite("Beacons between two hosts") struct BeaconTests {
  static let group = SocketAddress(v4: 0xEFC0_0001, port: 25_999)  // 239.192.0.1

  @Test(
    "reach every shared socket by directed and limited broadcast and by multicast, without any route",
    .enabled(if: TwoHosts.arePermitted, "network namespaces aren't permitted here, or ip is missing: skipped"),
    arguments: backends)
  func beacons(_ backend: Backend) throws {
    try TwoHosts.with { hosts in
      defer { hosts.close() }
      let post = try Post(backend)
      try hosts.enter(hosts.there)
      let interfacesThere = try NetworkInterface.current()
      // Two nodes of that host, and one socket that doesn't listen to the group.
      let listeners = try (1...3).map { try post.add("0.0.0.0:25999", tag: $0, shared: true).id }
      for listener in listeners[..<2] {
        #expect(post.loop.join(Self.group, on: interfacesThere, listener) == (1, 0))
        // Again, as after a change of interfaces.
        #expect(post.loop.join(Self.group, on: interfacesThere, listener) == (1, 0))
      }
      try hosts.enter(hosts.here)
      let interfaces = try NetworkInterface.current()
      let sender = try post.add("0.0.0.0:25001", tag: 9)
      let targets = BeaconTarget.all(on: interfaces, group: Self.group, port: 25_999)
      #expect(
        targets.map(\.address.description) == ["10.9.0.255:25999", "255.255.255.255:25999", "239.192.0.1:25999"])
      for (number, target) in targets.enumerated() {
        #expect(post.send(sender.id, to: target.address, [UInt8(number)], interface: target.interface) == 0)
      }
      try post.turn("all are heard") { post.letters.count == 8 }
      for _ in 0..<5 { post.turn(deadline: Clock.monotonic() + 1_000_000) }
      let everything: [[UInt8]] = [[0], [1], [2]]
      #expect(post.heard(1) == everything)
      #expect(post.heard(2) == everything)
      #expect(post.heard(3) == Array(everything[..<2]), "a group that a socket didn't join is not heard")
      #expect(post.letters.allSatisfy { $0.source.description == "10.9.0.1:25001" })
    }
  }

  @Test(
    "reach other nodes of the same host",
    .enabled(if: TwoHosts.arePermitted, "network namespaces aren't permitted here, or ip is missing: skipped"),
    arguments: backends)
  func sameHost(_ backend: Backend) throws {
    try TwoHosts.with { hosts in
      defer { hosts.close() }
      let post = try Post(backend)
      let interfaces = try NetworkInterface.current()
      for number in UInt16(1)...2 {
        // Bound to the group it hears nothing else; bound to every address, broadcasts as well.
        let all = try post.add("0.0.0.0:25999", tag: number, shared: true)
        let group = try post.add("239.192.0.1:25999", tag: 10 + number, shared: true)
        #expect(post.loop.join(Self.group, on: interfaces, all.id) == (1, 0))
        #expect(post.loop.join(Self.group, on: interfaces, group.id) == (1, 0))
      }
      let sender = try post.add("0.0.0.0:25001", tag: 9)
      for (number, target) in BeaconTarget.all(on: interfaces, group: Self.group, port: 25_999).enumerated() {
        #expect(post.send(sender.id, to: target.address, [UInt8(number)], interface: target.interface) == 0)
      }
      try post.turn("all are heard") { post.letters.count == 8 }
      for _ in 0..<5 { post.turn(deadline: Clock.monotonic() + 1_000_000) }
      let everything: [[UInt8]] = [[0], [1], [2]]
      #expect(post.heard(1) == everything)
      #expect(post.heard(2) == everything)
      #expect(post.heard(11) == [everything[2]])
      #expect(post.heard(12) == [everything[2]])
    }
  }
}
