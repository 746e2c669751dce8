import Engine
import Reactor
import Wire

/// The datagram sockets of a node, and where its beacons go.
///
/// A node speaks from one socket alone, bound to the `--peer` address, so that what others see as the source is where
/// they reach it. Beacons go to one port that all nodes of a network know, where nodes on one machine listen together
/// (SO_REUSEADDR): broadcast and multicast datagrams reach all of them. The sockets there only ever hear.
///
/// A node on one address hears and speaks on that address's network alone; one on 127.0.0.1, on this machine alone.
struct ClusterSockets {
  /// The UDP port of beacons. Not that of `--peer`, which one node of a machine has for itself.
  static var beaconPort: UInt16 { 3099 }
  /// The multicast group of beacons, of the block for private use (RFC 2365, organisation-local scope).
  static var group: SocketAddress { SocketAddress(v4: 0xEFC0_6B76, port: beaconPort) }  // 239.192.107.118
  /// The group on IPv6 networks: a transient one of the site's scope (RFC 4291, section 2.7), so that datagrams to it
  /// come from addresses that can be answered without naming an interface; they stay on the link all the same.
  static var group6: SocketAddress { SocketAddress(high: 0xFF15 << 48, low: 0x6B76_6400, port: beaconPort) }
  /// What the loop calls the socket of the `--peer` port, and those of the beacon port.
  static var peerTag: UInt16 { 0 }
  static var beaconTag: UInt16 { 1 }
  /// Nanoseconds between two looks at the interfaces of the machine.
  private static var patience: UInt64 { 5_000_000_000 }

  private let peer: DatagramSocketID
  private let address: SocketAddress
  /// The sockets that hear multicast: each is to join the group on new interfaces.
  private var listeners: [DatagramSocketID] = []
  private var interfaces: [NetworkInterface] = []
  private(set) var targets: [BeaconTarget] = []
  private var nextLook: UInt64 = 0

  /// Gives the sockets to the loop. Beacons that can't be heard are a notice: `--join` may do without them.
  init(_ socket: consuming DatagramSocket, _ loop: inout Loop, notice: (String) -> Void) throws(ReactorError) {
    address = socket.address
    peer = try loop.add(socket, tag: ClusterSockets.peerTag)
    look(now: 0)
    for place in ClusterSockets.places(address, interfaces) {
      do throws(ReactorError) {
        var options = DatagramSocket.Options()
        options.isShared = true
        let listener = try DatagramSocket.bind(to: place, options, patience: 0)
        listeners.append(try loop.add(listener, tag: ClusterSockets.beaconTag))
      } catch {
        notice("beacons can't be heard: \(error.sentence)")
      }
    }
    join(&loop)
  }

  /// Where to listen for beacons: everywhere, or at the addresses that only the peer address's network sends to.
  private static func places(_ address: SocketAddress, _ interfaces: [NetworkInterface]) -> [SocketAddress] {
    let isV6 = address.v4 == nil
    guard !address.isUnspecified else {
      // An IPv6 socket hears IPv4, too.
      return [isV6 ? SocketAddress(high: 0, low: 0, port: beaconPort) : SocketAddress(v4: 0, port: beaconPort)]
    }
    var places = interfaces.compactMap(\.broadcast)
    if interfaces.contains(where: \.canMulticast) { places.append(isV6 ? group6 : group) }
    return places.map {
      var place = $0
      place.port = beaconPort
      return place
    }
  }

  /// Looks at the machine's interfaces, which come and go, when it is time to.
  mutating func refresh(_ loop: inout Loop, now: UInt64) {
    guard now >= nextLook, look(now: now) else { return }
    join(&loop)
  }

  /// Whether anything changed.
  @discardableResult
  private mutating func look(now: UInt64) -> Bool {
    nextLook = now + ClusterSockets.patience
    var found = (try? NetworkInterface.current()) ?? []
    if address.v4 != nil { found.removeAll { $0.address.v4 == nil } }
    if !address.isUnspecified { found.removeAll { $0.address.number != address.number } }
    guard found != interfaces else { return false }
    interfaces = found
    targets = BeaconTarget.all(
      on: found, group: ClusterSockets.group, group6: ClusterSockets.group6, port: ClusterSockets.beaconPort)
    return true
  }

  private func join(_ loop: inout Loop) {
    for listener in listeners {
      loop.join(ClusterSockets.group, on: interfaces.filter { $0.address.v4 != nil }, listener)
      loop.join(ClusterSockets.group6, on: interfaces.filter { $0.address.v4 == nil }, listener)
    }
  }

  /// Sends to everybody on the networks.
  func broadcast(_ bytes: [UInt8], _ loop: inout Loop) {
    bytes.withUnsafeBytes {
      for target in targets {
        loop.sendDatagram(peer, to: target.address, $0.baseAddress!, $0.count, interface: target.interface)
      }
    }
  }

  /// Sends to one address.
  func send(_ bytes: [UInt8], to address: SocketAddress, _ loop: inout Loop) {
    bytes.withUnsafeBytes { _ = loop.sendDatagram(peer, to: address, $0.baseAddress!, $0.count) }
  }
}

extension SocketAddress {
  /// A node's address as the kernel wants it.
  init(_ address: PeerAddress) { self.init(high: address.high, low: address.low, port: address.port) }
}

extension PeerAddress {
  /// The kernel's address as nodes tell it each other.
  init(_ address: SocketAddress) {
    let number = address.number
    self.init(high: number.high, low: number.low, port: address.port)
  }
}
