import Glibc

/// An address of one of this machine's interfaces, as `getifaddrs` tells of it: any IPv4 one, and IPv6 ones that other
/// machines can use without naming an interface (neither link-local nor the loopback one).
package struct NetworkInterface: Equatable, Sendable {
  /// `eth0`; an address with a label of its own has that (`eth0:1`).
  package var name: String
  /// The kernel's number for the interface; several addresses of one interface share it.
  package var index: UInt32
  /// The address, with port 0.
  package var address: SocketAddress
  /// The directed broadcast address, with port 0: what the kernel says, else the network's last address; nil if the
  /// interface doesn't broadcast, or its network has no room for such an address (/31, /32).
  package var broadcast: SocketAddress?
  /// The interface is switched on (IFF_UP).
  package var isUp: Bool
  /// It is connected (IFF_RUNNING). It may be soon, so groups are joined and beacons sent without it, too.
  package var hasCarrier: Bool
  /// It is the machine's own (IFF_LOOPBACK).
  package var isLoopback: Bool
  /// It is able to multicast (IFF_MULTICAST).
  package var hasMulticast: Bool

  /// Whether a multicast group can be joined on it now.
  package var canMulticast: Bool { isUp && hasMulticast && !isLoopback }

  /// The machine's addresses now, those of the lower interface numbers first.
  ///
  /// - Throws: `ReactorError` if the kernel doesn't say (no memory, no descriptor).
  package static func current() throws(ReactorError) -> [NetworkInterface] {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&list) == 0 else { throw .system("the network interfaces can't be listed", errno) }
    defer { freeifaddrs(list) }
    return parse(list) { if_nametoindex($0) }
  }

  /// Reads the C library's list; what has vanished since (index 0) is left out.
  static func parse(
    _ list: UnsafePointer<ifaddrs>?, index: (UnsafePointer<CChar>) -> UInt32
  ) -> [NetworkInterface] {
    var found: [NetworkInterface] = []
    var entry = list
    while let current = entry {
      if let interface = NetworkInterface(current.pointee, index: index) { found.append(interface) }
      entry = UnsafePointer(current.pointee.ifa_next)
    }
    // A stable order, so that two looks at the same interfaces compare equal.
    return found.sorted { a, b in
      let (first, second) = (a.address.number, b.address.number)
      return (a.index, first.high, first.low) < (b.index, second.high, second.low)
    }
  }

  private init?(_ entry: ifaddrs, index: (UnsafePointer<CChar>) -> UInt32) {
    guard let name = entry.ifa_name else { return nil }
    let v4 = NetworkInterface.v4(entry.ifa_addr)
    guard let found = v4.map({ SocketAddress(v4: $0, port: 0) }) ?? NetworkInterface.v6(entry.ifa_addr) else {
      return nil
    }
    let number = index(name)
    guard number != 0 else { return nil }
    func has(_ flag: Int) -> Bool { entry.ifa_flags & UInt32(flag) != 0 }
    self.name = String(cString: name)
    self.index = number
    address = found
    isUp = has(Int(IFF_UP))
    hasCarrier = has(Int(IFF_RUNNING))
    isLoopback = has(Int(IFF_LOOPBACK))
    hasMulticast = has(Int(IFF_MULTICAST))
    guard let v4 else { return }
    let mask = NetworkInterface.v4(entry.ifa_netmask) ?? UInt32.max
    // The kernel has a broadcast route for the network's last address even where none was configured. The loopback
    // interface has one, too, though it says that it doesn't broadcast.
    guard has(IFF_BROADCAST) || isLoopback, mask < UInt32.max - 1 else { return }
    let said = isLoopback ? nil : NetworkInterface.v4(entry.ifa_ifu.ifu_broadaddr)
    broadcast = SocketAddress(v4: said.flatMap { $0 == 0 || $0 == v4 ? nil : $0 } ?? v4 | ~mask, port: 0)
  }

  package init(
    name: String, index: UInt32, address: SocketAddress, broadcast: SocketAddress?, isUp: Bool = true,
    hasCarrier: Bool = true, isLoopback: Bool = false, hasMulticast: Bool = true
  ) {
    self.name = name
    self.index = index
    self.address = address
    self.broadcast = broadcast
    self.isUp = isUp
    self.hasCarrier = hasCarrier
    self.isLoopback = isLoopback
    self.hasMulticast = hasMulticast
  }

  /// The IPv6 address of a socket address, if others can use it.
  private static func v6(_ address: UnsafeMutablePointer<sockaddr>?) -> SocketAddress? {
    guard let address, Int32(address.pointee.sa_family) == AF_INET6 else { return nil }
    let bytes = UnsafeRawBufferPointer(start: address, count: MemoryLayout<sockaddr_in6>.size)
    guard let number = SocketAddress(bytes)?.number else { return nil }
    // fe80::/10; the loopback and the unspecified address have nothing in their first half.
    guard number.high >> 54 != 0xFE80 >> 6, number.high != 0 else { return nil }
    return SocketAddress(high: number.high, low: number.low, port: 0)
  }

  /// The IPv4 address of a socket address, first byte most significant.
  private static func v4(_ address: UnsafeMutablePointer<sockaddr>?) -> UInt32? {
    guard let address, Int32(address.pointee.sa_family) == AF_INET else { return nil }
    let bytes = UnsafeRawPointer(address)
    return UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
  }
}

/// Where a beacon goes: an address, and the interface it leaves by (0 leaves that to the routes).
package struct BeaconTarget: Equatable, Sendable {
  /// What to send to.
  package let address: SocketAddress
  /// The kernel's number of the interface to send from.
  package let interface: UInt32

  package init(address: SocketAddress, interface: UInt32) {
    self.address = address
    self.interface = interface
  }

  /// Targets at most: a machine full of containers has hundreds of interfaces, and beacons are for few of them.
  package static var maximumCount: Int { 96 }

  /// Everything that reaches the neighbours on all networks: for each interface that is up, directed broadcast, limited
  /// broadcast and the multicast group, and where it has an IPv6 address the group of that; each address and interface
  /// once.
  ///
  /// The loopback interface counts only on a machine without any other: a beacon by it would give a node the address
  /// 127.0.0.1, which is of no use to nodes on other machines.
  package static func all(
    on interfaces: [NetworkInterface], group: SocketAddress, group6: SocketAddress? = nil, port: UInt16
  ) -> [BeaconTarget] {
    let up = interfaces.filter(\.isUp)
    let outside = up.filter { !$0.isLoopback }
    var targets: [BeaconTarget] = []
    func add(_ address: SocketAddress, _ interface: UInt32) {
      var address = address
      address.port = port
      let target = BeaconTarget(address: address, interface: interface)
      if targets.count < maximumCount && !targets.contains(target) { targets.append(target) }
    }
    for interface in outside.isEmpty ? up : outside {
      if let broadcast = interface.broadcast {
        add(broadcast, interface.index)
        if !interface.isLoopback { add(SocketAddress(v4: .max, port: 0), interface.index) }
      }
      guard interface.canMulticast else { continue }
      if interface.address.v4 != nil { add(group, interface.index) } else if let group6 { add(group6, interface.index) }
    }
    return targets
  }
}
