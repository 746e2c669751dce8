import Glibc

/// Addresses as numbers, the form in which they travel between nodes.
extension SocketAddress {
  /// An IPv4 address as its four bytes, the first one most significant, with a port.
  package init(v4: UInt32, port: UInt16) {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = v4.bigEndian
    self.init(address)
  }

  /// An IPv6 address as two words, the first eight bytes in `high`, the first byte most significant; an IPv4-mapped one
  /// (RFC 4291, section 2.5.5.2) becomes an IPv4 address.
  package init(high: UInt64, low: UInt64, port: UInt16) {
    if high == 0 && low >> 32 == 0xFFFF {
      self.init(v4: UInt32(truncatingIfNeeded: low), port: port)
    } else {
      self.init(v6High: high, low: low, port: port)
    }
  }

  /// The address as an IPv6 one, IPv4 in its mapped form. The scope of a link-local address is not in it.
  package var number: (high: UInt64, low: UInt64) {
    var kernel = [UInt8](repeating: 0, count: SocketAddress.maximumCount)
    return kernel.withUnsafeMutableBytes { bytes in
      copy(to: bytes.baseAddress!)
      if family == AF_INET {
        // sin_addr lies at offset 4.
        return (
          0, 0xFFFF_0000_0000 | UInt64(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
        )
      }
      // sin6_addr lies at offset 8.
      return (
        UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)),
        UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
      )
    }
  }

  /// The IPv4 address, first byte most significant, if it is one.
  package var v4: UInt32? { family == AF_INET ? UInt32(truncatingIfNeeded: number.low) : nil }

  /// Whether it stands for every address of the machine (`0.0.0.0`, `[::]`).
  package var isUnspecified: Bool { family == AF_INET ? v4 == 0 : number == (0, 0) }

  /// Whether it is of this machine alone (`127.0.0.0/8`, `[::1]`).
  package var isLoopback: Bool { family == AF_INET ? number.low >> 24 & 0xFF == 127 : number == (0, 1) }

  /// An IPv4-mapped IPv6 address, as IPv6 sockets report and want them, in IPv4's form; any other as it is.
  var unmapped: SocketAddress {
    guard family == AF_INET6 else { return self }
    let (high, low) = number
    return high == 0 && low >> 32 == 0xFFFF ? SocketAddress(v4: UInt32(truncatingIfNeeded: low), port: port) : self
  }

  /// The form that a socket of a family takes.
  func form(for family: Int32) -> SocketAddress {
    guard family == AF_INET6, self.family == AF_INET else { return self }
    return SocketAddress(v6High: 0, low: number.low, port: port)
  }

  private init(v6High high: UInt64, low: UInt64, port: UInt16) {
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_port = port.bigEndian
    withUnsafeMutableBytes(of: &address.sin6_addr) { bytes in
      bytes.storeBytes(of: high.bigEndian, as: UInt64.self)
      bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
    self.init(address)
  }
}
