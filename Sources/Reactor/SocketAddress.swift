import CIOUring
import Glibc

/// An IPv4 or IPv6 address with a port, in the kernel's form.
package struct SocketAddress: Equatable, Sendable, CustomStringConvertible {
  /// The most bytes of the kernel's form here (`sockaddr_in6`).
  static var maximumCount: Int { 28 }

  /// The kernel's form, zero-padded.
  private var words: (UInt64, UInt64, UInt64, UInt32) = (0, 0, 0, 0)
  let family: Int32

  package static func == (a: SocketAddress, b: SocketAddress) -> Bool { a.family == b.family && a.words == b.words }

  init(_ v4: sockaddr_in) {
    family = AF_INET
    withUnsafeMutableBytes(of: &words) { $0.storeBytes(of: v4, as: sockaddr_in.self) }
  }

  init(_ v6: sockaddr_in6) {
    family = AF_INET6
    withUnsafeMutableBytes(of: &words) { $0.storeBytes(of: v6, as: sockaddr_in6.self) }
  }

  /// Reads the kernel's form; nil for other families.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= MemoryLayout<sa_family_t>.size else { return nil }
    switch Int32(bytes.loadUnaligned(as: sa_family_t.self)) {
    case AF_INET where bytes.count >= MemoryLayout<sockaddr_in>.size:
      self.init(bytes.loadUnaligned(as: sockaddr_in.self))
    case AF_INET6 where bytes.count >= MemoryLayout<sockaddr_in6>.size:
      self.init(bytes.loadUnaligned(as: sockaddr_in6.self))
    default: return nil
    }
  }

  /// Bytes of the kernel's form.
  var count: Int { family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size }

  /// Copies the kernel's form to memory with room for `maximumCount` bytes.
  func copy(to target: UnsafeMutableRawPointer) {
    withUnsafeBytes(of: words) { target.copyMemory(from: $0.baseAddress!, byteCount: count) }
  }

  func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    withUnsafeBytes(of: words) {
      body($0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(count))
    }
  }

  /// The port in host byte order; 0 lets the kernel choose one when bound.
  package var port: UInt16 {
    get {
      // The port has the same place in both forms.
      withUnsafeBytes(of: words) { UInt16(bigEndian: $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self)) }
    }
    set {
      withUnsafeMutableBytes(of: &words) { $0.storeBytes(of: newValue.bigEndian, toByteOffset: 2, as: UInt16.self) }
    }
  }

  /// The address without its port: `127.0.0.1`, `::1`.
  package var host: String {
    withSockaddr { address, count in
      withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(NI_MAXHOST)) { text in
        let error = getnameinfo(
          address, count, text.baseAddress!, socklen_t(text.count), nil, 0, Int32(NI_NUMERICHOST))
        return error == 0 ? String(cString: text.baseAddress!) : "?"
      }
    }
  }

  /// `127.0.0.1:3000`, `[::1]:3000`.
  package var description: String { family == AF_INET ? "\(host):\(port)" : "[\(host)]:\(port)" }

  /// Reads `0.0.0.0:3000`, `[::]:3000`, `localhost:3000`, `:3000` or `3000`; without a host it is every IPv4 interface.
  /// A name is looked up, which may wait for a name server.
  ///
  /// - Throws: `ReactorError` of kind `badAddress` or `unknownHost`.
  package static func parse(_ text: String) throws(ReactorError) -> SocketAddress {
    let (host, port) = try split(text)
    return try resolve(host.isEmpty ? "0.0.0.0" : host, port, for: text)
  }

  private static func split(_ text: String) throws(ReactorError) -> (host: String, port: UInt16) {
    let expected = "expected host:port, for example 0.0.0.0:3000, [::]:3000, localhost:3000 or 3000"
    var host: Substring = ""
    var digits = text[...]
    if text.hasPrefix("[") {
      guard let close = text.firstIndex(of: "]"), text[close...].hasPrefix("]:") else {
        throw ReactorError(.badAddress, "\"\(text)\" is no address: \(expected)")
      }
      host = text[text.index(after: text.startIndex)..<close]
      digits = text[text.index(close, offsetBy: 2)...]
      guard host.contains(":") else { throw ReactorError(.badAddress, "\"\(text)\" is no address: \(expected)") }
    } else if let colon = text.lastIndex(of: ":") {
      host = text[..<colon]
      digits = text[text.index(after: colon)...]
      guard !host.contains(":") else {
        throw ReactorError(.badAddress, "\"\(text)\" is no address: an IPv6 address needs brackets, as in [::1]:3000")
      }
    }
    guard !digits.isEmpty, digits.utf8.count <= 5, digits.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }),
      let port = UInt16(digits)
    else {
      throw ReactorError(.badAddress, "\"\(text)\" has no port from 0 to 65535: \(expected)")
    }
    guard host.utf8.count <= 255, host.utf8.allSatisfy({ $0 > 32 && $0 != 127 }) else {
      throw ReactorError(.badAddress, "\"\(text)\" has no valid host: \(expected)")
    }
    return (String(host), port)
  }

  private static func resolve(_ host: String, _ port: UInt16, for text: String) throws(ReactorError) -> SocketAddress {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, nil, &hints, &list)
    defer { if let list { freeaddrinfo(list) } }
    guard code == 0 else {
      throw ReactorError(.unknownHost, "the host of \"\(text)\" isn't known: \(String(cString: gai_strerror(code)))")
    }
    // IPv4 first: `localhost` then means 127.0.0.1 everywhere, whether or not IPv6 is configured.
    var found: SocketAddress?
    var entry = list
    while let info = entry {
      let bytes = UnsafeRawBufferPointer(start: info.pointee.ai_addr, count: Int(info.pointee.ai_addrlen))
      if let address = SocketAddress(bytes), found == nil || (address.family == AF_INET && found!.family != AF_INET) {
        found = address
      }
      entry = info.pointee.ai_next
    }
    guard var address = found else {
      throw ReactorError(.unknownHost, "the host of \"\(text)\" has neither an IPv4 nor an IPv6 address")
    }
    address.port = port
    return address
  }
}
