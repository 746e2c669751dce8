import Glibc
import Testing

@testable import Reactor

@Suite("Network interfaces and addresses") struct NetworkInterfaceTests {
  /// One entry of the C library's list.
  private struct Entry {
    var name: String
    var address: String?
    var mask: String?
    var broadcast: String?
    var flags: Int
  }

  private static let usual = Int(IFF_UP) | Int(IFF_RUNNING) | Int(IFF_BROADCAST) | Int(IFF_MULTICAST)

  /// Builds the C library's list from entries and reads it; interfaces are numbered by the order of their names.
  private func parse(_ entries: [Entry]) throws -> [NetworkInterface] {
    let names = entries.map { strdup($0.name)! }
    let list = UnsafeMutablePointer<ifaddrs>.allocate(capacity: entries.count + 1)
    let addresses = UnsafeMutablePointer<sockaddr_in6>.allocate(capacity: 3 * entries.count + 1)
    defer {
      for name in names { free(name) }
      list.deallocate()
      addresses.deallocate()
    }
    func fill(_ text: String?, _ place: Int) throws -> UnsafeMutablePointer<sockaddr>? {
      guard let text else { return nil }
      let target = UnsafeMutableRawPointer(addresses + place)
      try SocketAddress.parse(text.contains(":") ? "[\(text)]:0" : "\(text):0").copy(to: target)
      return target.assumingMemoryBound(to: sockaddr.self)
    }
    for (index, entry) in entries.enumerated() {
      var value = ifaddrs()
      value.ifa_name = names[index]
      value.ifa_flags = UInt32(entry.flags)
      value.ifa_addr = try fill(entry.address, 3 * index)
      value.ifa_netmask = try fill(entry.mask, 3 * index + 1)
      value.ifa_ifu.ifu_broadaddr = try fill(entry.broadcast, 3 * index + 2)
      value.ifa_next = index + 1 < entries.count ? list + index + 1 : nil
      (list + index).initialize(to: value)
    }
    let known = ["lo", "eth0", "eth1"]
    return NetworkInterface.parse(entries.isEmpty ? nil : UnsafePointer(list)) { name in
      let plain = String(cString: name).split(separator: ":").first.map(String.init) ?? ""
      return known.firstIndex(of: plain).map { UInt32($0 + 1) } ?? 0
    }
  }

  @Test("are read from the C library's list; IPv6 addresses of one link or machine are left out")
  func list() throws {
    let loopback = Int(IFF_UP) | Int(IFF_RUNNING) | Int(IFF_LOOPBACK)
    let found = try parse([
      Entry(name: "eth1", address: "10.1.0.1", mask: "255.255.255.254", flags: Self.usual),
      Entry(name: "eth0", flags: Self.usual),
      Entry(name: "eth0", address: "fe80::1", mask: "ffff::", flags: Self.usual),
      Entry(name: "eth0", address: "fd00::1", mask: "ffff::", flags: Self.usual),
      Entry(name: "lo", address: "::1", mask: "ffff::", flags: loopback),
      Entry(name: "eth0:1", address: "10.0.1.9", mask: "255.255.255.0", flags: Self.usual),
      Entry(name: "eth0", address: "10.0.0.9", mask: "255.255.0.0", broadcast: "10.0.255.255", flags: Self.usual),
      Entry(name: "gone", address: "10.3.0.1", mask: "255.255.255.0", flags: Self.usual),
      Entry(name: "lo", address: "127.0.0.1", mask: "255.0.0.0", broadcast: "127.0.0.1", flags: loopback),
      Entry(name: "eth1", address: "10.2.0.1", mask: "255.0.0.0", broadcast: "10.2.0.1", flags: Int(IFF_POINTOPOINT)),
    ])
    #expect(found.map(\.name) == ["lo", "eth0", "eth0:1", "eth0", "eth1", "eth1"])
    #expect(found.map(\.index) == [1, 2, 2, 2, 3, 3])
    #expect(
      found.map { $0.broadcast?.description }
        == ["127.255.255.255:0", "10.0.255.255:0", "10.0.1.255:0", nil, nil, nil])
    #expect(found.map(\.isUp) == [true, true, true, true, true, false])
    #expect(found.map(\.canMulticast) == [false, true, true, true, true, false])
    #expect(found.map(\.isLoopback) == [true, false, false, false, false, false])
    #expect(found[3].address == (try SocketAddress.parse("[fd00::1]:0")))
    #expect(try parse([]) == [])
  }

  @Test("of this machine are known, the loopback one among them")
  func current() throws {
    let found = try NetworkInterface.current()
    #expect(found.contains { $0.isLoopback && $0.address.v4 == 0x7F00_0001 })
    #expect(try NetworkInterface.current() == found)
  }

  @Test("that are up get beacons, each address once, loopback only where there is nothing else")
  func targets() throws {
    let group = try SocketAddress.parse("239.192.0.1:0")
    func address(_ text: String) throws -> SocketAddress { try SocketAddress.parse("\(text):0") }
    let loopback = NetworkInterface(
      name: "lo", index: 1, address: try address("127.0.0.1"), broadcast: try address("127.255.255.255"),
      isLoopback: true, hasMulticast: false)
    var wire = NetworkInterface(
      name: "eth0", index: 2, address: try address("10.0.0.1"), broadcast: try address("10.0.0.255"))
    var label = wire
    label.address = try address("10.0.1.1")
    label.broadcast = try address("10.0.1.255")
    var tunnel = NetworkInterface(name: "tun0", index: 3, address: try address("10.8.0.1"), broadcast: nil)
    func targets(_ interfaces: [NetworkInterface]) -> [String] {
      BeaconTarget.all(on: interfaces, group: group, port: 3100).map { "\($0.address)%\($0.interface)" }
    }
    let wired = ["10.0.0.255:3100%2", "255.255.255.255:3100%2", "239.192.0.1:3100%2"]
    #expect(targets([loopback, wire]) == wired)
    #expect(targets([loopback, wire, label, wire]) == wired + ["10.0.1.255:3100%2"])
    #expect(targets([wire, tunnel]) == wired + ["239.192.0.1:3100%3"])
    let group6 = try SocketAddress.parse("[ff15::1]:0")
    let site = NetworkInterface(
      name: "eth0", index: 2, address: try SocketAddress.parse("[fd00::1]:0"), broadcast: nil)
    #expect(targets([wire, site]) == wired)
    #expect(
      BeaconTarget.all(on: [wire, site, site], group: group, group6: group6, port: 3100)
        .map { "\($0.address)%\($0.interface)" } == wired + ["[ff15::1]:3100%2"])
    wire.isUp = false
    tunnel.isUp = false
    #expect(targets([loopback, wire, tunnel]) == ["127.255.255.255:3100%1"])
    #expect(targets([]) == [])
    let many = (1...1000).map { number in
      var other = label
      other.index = UInt32(number)
      return other
    }
    #expect(BeaconTarget.all(on: many, group: group, port: 1).count == BeaconTarget.maximumCount)
  }

  @Test("have addresses that are numbers and back", arguments: ["1.2.3.4:5", "[::1]:6", "[fd00:1:2:3:4:5:6:7]:8"])
  func numbers(_ text: String) throws {
    let address = try SocketAddress.parse(text)
    #expect(SocketAddress(high: address.number.high, low: address.number.low, port: address.port) == address)
    #expect(address.form(for: AF_INET6).unmapped == address)
  }
}
