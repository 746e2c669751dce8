import Glibc
import Reactor

/// The process as a new node: it executes its own binary again. Nothing of the old node's memory can be left over by
/// that, the process id stays for whoever supervises it, and a start takes some tens of milliseconds.
enum Rebirth {
  /// Doesn't return.
  ///
  /// - Throws: `ReactorError` if the kernel refuses.
  static func begin(http: SocketAddress, peer: SocketAddress) throws -> Never {
    // The later word of two counts; a port that the kernel chose stays the same.
    let words = CommandLine.arguments + ["--http", "\(http)", "--peer", "\(peer)"]
    var arguments = words.map { strdup($0) }
    arguments.append(nil)
    execv(path ?? "/proc/self/exe", arguments)
    throw ReactorError(.system, "the binary can't be executed again", errno: errno)
  }

  /// The binary's path, by which process listings name it; nil if it was replaced since the start.
  private static var path: String? {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = bytes.withUnsafeMutableBytes { readlink("/proc/self/exe", $0.baseAddress!, $0.count) }
    guard count > 0, count < 4096 else { return nil }
    let path = String(decoding: bytes[..<count], as: UTF8.self)
    return access(path, X_OK) == 0 ? path : nil
  }
}
