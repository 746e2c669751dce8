import CIOUring
import Glibc

/// Datagrams: for what is small, seldom and may be lost. Sending is a system call each; receiving is bounded per turn,
/// so that a flood delays nothing else.
extension Loop {
  /// Reports the socket's datagrams as `.datagram` with `tag` from now on.
  ///
  /// - Throws: `ReactorError` if memory is short. At most 8 sockets per loop; more are the owner's bug.
  package mutating func add(
    _ socket: consuming DatagramSocket, tag: UInt16
  ) throws(ReactorError) -> DatagramSocketID {
    let family = socket.address.family
    let descriptor = socket.take()
    do throws(ReactorError) {
      if let uring { return try uring.pointee.add(datagrams: descriptor, family, tag: tag) }
      return try epoll!.pointee.add(datagrams: descriptor, family, tag: tag)
    } catch {
      Glibc.close(descriptor)
      throw error
    }
  }

  /// Ends the socket: datagrams of it later in this turn turn `.stale`, and nothing follows. Its id is dead, and its
  /// port is free again within the next turns (at once on epoll). A removed socket may be removed again.
  package mutating func remove(_ socket: DatagramSocketID) {
    if let uring { return uring.pointee.remove(datagrams: socket) }
    epoll!.pointee.remove(datagrams: socket)
  }

  /// Sends one datagram at once, without waiting; the memory is the caller's again on return.
  ///
  /// - Parameters:
  ///   - count: bytes, from 0 to what one datagram takes (65,507 by IPv4); more than 1,472 are cut into fragments.
  ///   - interface: the kernel's index of the interface to send it from, whatever the routes say: for limited broadcast
  ///     and multicast, which then need no route. 0 leaves it to the routes.
  /// - Returns: 0 or an errno. Full queues (EAGAIN, ENOBUFS) drop the datagram, as the network may; each outcome is
  ///   counted in `statistics`.
  @discardableResult
  package mutating func sendDatagram(
    _ socket: DatagramSocketID, to address: SocketAddress, _ bytes: UnsafeRawPointer, _ count: Int,
    interface: UInt32 = 0
  ) -> Int32 {
    precondition(count >= 0, "a datagram of a negative length")
    if let uring { return uring.pointee.common.sendDatagram(socket, address, bytes, count, interface) }
    return epoll!.pointee.common.sendDatagram(socket, address, bytes, count, interface)
  }

  /// Joins a multicast group on each interface that can multicast and is up; ones joined before stay joined, so that it
  /// can be called again when interfaces have come and gone. An IPv6 group needs an IPv6 socket.
  ///
  /// - Returns: how many interfaces the group is joined on, and the first errno if any refused (ENOBUFS: more than
  ///   net.ipv4.igmp_max_memberships).
  @discardableResult
  package mutating func join(
    _ group: SocketAddress, on interfaces: [NetworkInterface], _ socket: DatagramSocketID
  ) -> (joined: Int, code: Int32) {
    guard let descriptor = descriptor(socket) else { preconditionFailure("the datagram socket was removed before") }
    var result: (joined: Int, code: Int32) = (0, 0)
    var seen: Set<UInt32> = []
    for interface in interfaces where interface.canMulticast && seen.insert(interface.index).inserted {
      let (high, low) = group.number
      let code =
        group.v4.map { kvd_multicast(descriptor, $0.bigEndian, interface.index, 1) }
        ?? kvd_multicast6(descriptor, high.bigEndian, low.bigEndian, interface.index, 1)
      if code == 0 || code == EADDRINUSE { result.joined += 1 } else if result.code == 0 { result.code = code }
    }
    return result
  }

  /// Where a datagram socket is bound; nil if it was removed.
  package func address(_ socket: DatagramSocketID) -> SocketAddress? { descriptor(socket).flatMap(localAddress(of:)) }

  private func descriptor(_ socket: DatagramSocketID) -> Int32? {
    if let uring { return uring.pointee.common.datagrams.find(socket)?.pointee.descriptor }
    return epoll!.pointee.common.datagrams.find(socket)?.pointee.descriptor
  }
}
