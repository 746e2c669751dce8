import Glibc

/// A TCP connection that waits: for command-line clients and tests that need no loop.
package struct BlockingSocket: ~Copyable {
  private let descriptor: Int32

  /// Connects.
  ///
  /// - Parameter patience: seconds that connecting, and then each step, may take; 0 for as long as it takes.
  /// - Throws: `ReactorError` with the kernel's reason.
  package init(connectingTo address: SocketAddress, patience: Int = 0) throws(ReactorError) {
    descriptor = Glibc.socket(address.family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .system("no socket for connecting to \(address)", errno) }
    var limit = timeval(tv_sec: patience, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] where patience > 0 {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    guard address.withSockaddr({ Glibc.connect(descriptor, $0, $1) }) == 0 else {
      let code = errno
      Glibc.close(descriptor)
      throw .system("\(address) can't be connected to", code)
    }
  }

  deinit { Glibc.close(descriptor) }

  /// Sends all bytes.
  package borrowing func write(_ bytes: [UInt8]) throws(ReactorError) {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL))
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw .system("sending failed", errno)
      }
      sent += count
    }
  }

  /// Everything up to the end of the peer's stream.
  package borrowing func readAll() throws(ReactorError) -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = buffer.withUnsafeMutableBytes { Glibc.recv(descriptor, $0.baseAddress!, $0.count, 0) }
      if count == 0 { return bytes }
      if count < 0 {
        if errno == EINTR { continue }
        throw .system("receiving failed", errno)
      }
      bytes.append(contentsOf: buffer[..<count])
    }
  }
}
