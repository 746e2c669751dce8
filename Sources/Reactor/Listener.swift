import CIOUring
import Glibc

/// A bound, listening TCP socket, not yet given to a loop. `Loop.add` takes it over; one that no loop took is closed.
///
/// Accepted sockets inherit its TCP_NODELAY, which spares a system call per connection.
package struct Listener: ~Copyable, Sendable {
  let descriptor: Int32
  /// Where it listens, with the real port if 0 was asked for.
  package let address: SocketAddress

  private init(descriptor: Int32, address: SocketAddress) {
    self.descriptor = descriptor
    self.address = address
  }

  deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

  /// Hands the descriptor over; the listener closes nothing any more.
  consuming func take() -> Int32 {
    let taken = descriptor
    discard self
    return taken
  }

  /// Connections the kernel completes before they are accepted; it lowers this to net.core.somaxconn.
  package static var defaultBacklog: Int32 { 4096 }

  /// Listens alone, or as the first of a group (`shared`).
  ///
  /// SO_REUSEPORT would let a second process share the port without either noticing. So the first socket of a group
  /// binds without it, which makes the kernel refuse a port that anyone else holds, and sets it only afterwards, which
  /// opens the port to `another(like:)`. There is no moment in between at which the port is free. What remains: once
  /// the group stands, a foreign process of the same user that asks for SO_REUSEPORT itself can join it.
  ///
  /// - Parameter patience: nanoseconds to keep trying while the port is in use. The kernel tears an io_uring down some
  ///   milliseconds after its process ended, and the sockets in it with it; without patience, a server restarted at
  /// once
  ///   would find its own port taken.
  /// - Throws: `ReactorError` of kind `addressInUse`, `addressNotAvailable`, `notPermitted` or `outOfResources`.
  package static func listen(
    on address: SocketAddress, shared: Bool = false, backlog: Int32 = defaultBacklog, patience: UInt64 = 500_000_000
  ) throws(ReactorError) -> Listener {
    let end = Clock.monotonic() &+ patience
    while true {
      do throws(ReactorError) {
        return try open(address, sharedBeforeBind: false, sharedAfterBind: shared, backlog: backlog)
      } catch {
        guard error.kind == .addressInUse && Clock.monotonic() < end else { throw error }
        usleep(2000)
      }
    }
  }

  /// One more socket on the port of a `shared` listener; the kernel spreads connections over the group by their hash.
  package static func another(
    like first: borrowing Listener, backlog: Int32 = defaultBacklog
  ) throws(ReactorError) -> Listener {
    try open(first.address, sharedBeforeBind: true, sharedAfterBind: false, backlog: backlog)
  }

  private static func open(
    _ address: SocketAddress, sharedBeforeBind: Bool, sharedAfterBind: Bool, backlog: Int32
  ) throws(ReactorError) -> Listener {
    let descriptor = Glibc.socket(address.family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .system("no socket for listening on \(address)", errno) }
    // From here on the descriptor closes itself on every way out.
    let unbound = Listener(descriptor: descriptor, address: address)
    set(descriptor, SOL_SOCKET, SO_REUSEADDR)
    set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY)
    if address.family == AF_INET6 { set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, to: 0) }
    if sharedBeforeBind { set(descriptor, SOL_SOCKET, SO_REUSEPORT) }
    guard address.withSockaddr({ Glibc.bind(descriptor, $0, $1) }) == 0 else { throw refusal(address, errno) }
    if sharedAfterBind { set(descriptor, SOL_SOCKET, SO_REUSEPORT) }
    guard Glibc.listen(descriptor, backlog) == 0 else { throw refusal(address, errno) }
    let bound = localAddress(of: descriptor) ?? address
    return Listener(descriptor: unbound.take(), address: bound)
  }

  private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, to value: Int32 = 1) {
    var value = value
    setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  private static func refusal(_ address: SocketAddress, _ code: Int32) -> ReactorError {
    switch code {
    case EADDRINUSE:
      ReactorError(
        .addressInUse, "\(address) is in use: another process listens there. Stop it or choose another port.",
        errno: code)
    case EADDRNOTAVAIL:
      ReactorError(
        .addressNotAvailable, "\(address) can't be listened on: no interface of this machine has that address.",
        errno: code)
    case EACCES, EPERM:
      ReactorError(
        .notPermitted,
        "\(address) can't be listened on: ports below 1024 need a right that this process lacks. Choose a higher port.",
        errno: code)
    default: .system("\(address) can't be listened on", code)
    }
  }
}

/// The address a socket is bound to.
func localAddress(of descriptor: Int32) -> SocketAddress? { socketAddress { getsockname(descriptor, $0, $1) } }

/// The address a socket is connected to.
func remoteAddress(of descriptor: Int32) -> SocketAddress? { socketAddress { getpeername(descriptor, $0, $1) } }

private func socketAddress(
  _ read: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
) -> SocketAddress? {
  var storage = sockaddr_storage()
  return withUnsafeMutableBytes(of: &storage) { bytes in
    var count = socklen_t(bytes.count)
    guard read(bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self), &count) == 0 else { return nil }
    return SocketAddress(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[..<Int(count)]))
  }
}
