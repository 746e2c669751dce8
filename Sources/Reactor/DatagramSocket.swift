import CIOUring
import Glibc

/// A bound UDP socket, not yet given to a loop. `Loop.add` takes it over; one that no loop took is closed.
///
/// It may broadcast (SO_BROADCAST). Its multicast datagrams also reach this machine (IP_MULTICAST_LOOP), and it hears
/// only the groups that it joined itself (IP_MULTICAST_ALL off), not those that any process of the machine joined.
///
/// Bound to an IPv6 address it also speaks IPv4; addresses in events are then IPv4 ones, never mapped.
package struct DatagramSocket: ~Copyable, Sendable {
  let descriptor: Int32
  /// Where it is bound, with the real port if 0 was asked for.
  package let address: SocketAddress

  /// What a socket is made for.
  package struct Options: Sendable, Equatable {
    /// Whether other shared sockets may have the same address and port (SO_REUSEADDR). Broadcast and multicast
    /// datagrams then reach all of them, **a unicast datagram only the one bound last**. So it suits a port at which
    /// many nodes of a machine listen for beacons, and not the one at which a node is spoken to.
    package var isShared = false
    /// Bytes of datagrams that may wait in the kernel (SO_RCVBUF), as far as net.core.rmem_max allows; more are lost.
    package var receiveBuffer = 1 << 20
    /// Routers that a multicast datagram may pass, plus one: 1 keeps it on the link.
    package var multicastTTL: Int32 = 1

    package init() {}
  }

  private init(descriptor: Int32, address: SocketAddress) {
    self.descriptor = descriptor
    self.address = address
  }

  deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

  /// Hands the descriptor over; the socket closes nothing any more.
  consuming func take() -> Int32 {
    let taken = descriptor
    discard self
    return taken
  }

  /// Binds a socket. A multicast group or a broadcast address may be bound, too: it then hears nothing else.
  ///
  /// - Parameter patience: nanoseconds to keep trying while the port is in use: as `Listener.listen`.
  /// - Throws: `ReactorError` of kind `addressInUse`, `addressNotAvailable`, `notPermitted` or `outOfResources`.
  package static func bind(
    to address: SocketAddress, _ options: Options = Options(), patience: UInt64 = 500_000_000
  ) throws(ReactorError) -> DatagramSocket {
    let end = Clock.monotonic() &+ patience
    while true {
      do throws(ReactorError) {
        return try open(address, options)
      } catch {
        guard error.kind == .addressInUse && Clock.monotonic() < end else { throw error }
        usleep(2000)
      }
    }
  }

  private static func open(_ address: SocketAddress, _ options: Options) throws(ReactorError) -> DatagramSocket {
    let descriptor = Glibc.socket(address.family, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .system("no socket for datagrams at \(address)", errno) }
    // From here on the descriptor closes itself on every way out.
    let unbound = DatagramSocket(descriptor: descriptor, address: address)
    if options.isShared { set(descriptor, SOL_SOCKET, SO_REUSEADDR, to: 1) }
    if address.family == AF_INET6 {
      set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, to: 0)
      kvd_multicast6_options(descriptor, options.multicastTTL)
    }
    set(descriptor, SOL_SOCKET, SO_BROADCAST, to: 1)
    set(descriptor, SOL_SOCKET, SO_RCVBUF, to: Int32(clamping: options.receiveBuffer))
    // Linux takes IPv4's options on IPv6 sockets as well.
    set(descriptor, Int32(IPPROTO_IP), IP_MULTICAST_TTL, to: options.multicastTTL)
    set(descriptor, Int32(IPPROTO_IP), IP_MULTICAST_LOOP, to: 1)
    set(descriptor, Int32(IPPROTO_IP), IP_MULTICAST_ALL, to: 0)
    guard address.withSockaddr({ Glibc.bind(descriptor, $0, $1) }) == 0 else { throw refusal(address, errno) }
    let bound = localAddress(of: descriptor) ?? address
    return DatagramSocket(descriptor: unbound.take(), address: bound)
  }

  private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, to value: Int32) {
    var value = value
    setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  private static func refusal(_ address: SocketAddress, _ code: Int32) -> ReactorError {
    switch code {
    case EADDRINUSE:
      ReactorError(
        .addressInUse,
        "\(address) is in use for UDP: another process has that port. Stop it or choose another port.", errno: code)
    case EADDRNOTAVAIL:
      ReactorError(
        .addressNotAvailable, "\(address) can't be used for UDP: no interface of this machine has that address.",
        errno: code)
    case EACCES, EPERM:
      ReactorError(
        .notPermitted,
        "\(address) can't be used for UDP: ports below 1024 need a right that is missing. Choose a higher port.",
        errno: code)
    default: .system("\(address) can't be used for UDP", code)
    }
  }
}

/// A datagram socket of one loop. Ids are meaningful only to the loop that gave them.
@frozen package struct DatagramSocketID: Equatable, Hashable, Sendable {
  let rawValue: UInt32

  init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The generation is cut to 24 bits: an id would have to be kept over 16 million sockets to be mistaken.
  init(index: Int, generation: UInt32) {
    rawValue = generation << 8 | UInt32(truncatingIfNeeded: index)
  }

  var index: Int { Int(rawValue & 0xFF) }
}

/// What a loop's datagram sockets have counted, since its start.
package struct DatagramStatistics: Sendable, Equatable {
  /// Datagrams reported.
  package internal(set) var received: UInt64 = 0
  /// Those among them that were longer than `LoopOptions.datagramBytes`.
  package internal(set) var truncated: UInt64 = 0
  /// Datagrams the kernel took.
  package internal(set) var sent: UInt64 = 0
  /// Datagrams it didn't take because its queues were full (EAGAIN, ENOBUFS, ENOMEM).
  package internal(set) var dropped: UInt64 = 0
  /// Datagrams it refused for another reason: no route, no right, too long.
  package internal(set) var refused: UInt64 = 0
  /// Times receiving paused because of an error that isn't the network's.
  package internal(set) var paused: UInt64 = 0
}

extension Event {
  /// The socket that a datagram came to, for an answer: with `datagram` alone.
  package var datagramSocket: DatagramSocketID {
    precondition(kind == .datagram, "only a datagram has a datagram socket")
    return DatagramSocketID(rawValue: previous)
  }

  /// Where a datagram came from, as it says itself: addresses of datagrams can be forged. With `datagram` alone.
  package var source: SocketAddress {
    precondition(kind == .datagram, "only a datagram has a source")
    // Its kernel form lies in front of the bytes.
    let name = UnsafeRawPointer(bytes) - DatagramTable.nameCount
    let address = SocketAddress(UnsafeRawBufferPointer(start: name, count: DatagramTable.nameCount))
    precondition(address != nil, "a datagram without an address was reported")
    return address!.unmapped
  }

  /// Whether the datagram was longer than `LoopOptions.datagramBytes` and cut there. With `datagram`.
  package var isTruncated: Bool { kind == .datagram && isOverflow }
}
