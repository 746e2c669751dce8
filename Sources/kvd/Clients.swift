import ArgumentParser
import Glibc
import Reactor

/// Where a small client sends its request: `http://host:port/key`, or a key at KVD_HTTP or 127.0.0.1:3000.
struct Target {
  let address: String
  let path: String

  init(_ text: String) throws {
    if text.hasPrefix("http://") {
      let rest = text.dropFirst(7)
      let slash = rest.firstIndex(of: "/") ?? rest.endIndex
      let authority = String(rest[..<slash])
      address = authority.contains(":") ? authority : authority + ":80"
      path = slash == rest.endIndex ? "/" : String(rest[slash...])
    } else if text.contains("://") {
      throw ValidationError("Only http:// is spoken here, not \"\(text)\".")
    } else {
      address = Target.home
      path = "/" + Target.encode(text)
    }
  }

  /// The node on this machine.
  static var home: String {
    let home = getenv("KVD_HTTP").map { String(cString: $0) } ?? "127.0.0.1:3000"
    return home.hasPrefix("0.0.0.0:") ? "127.0.0.1:" + home.dropFirst(8) : home
  }

  /// Percent-encodes what a path can't hold; slashes stay.
  private static func encode(_ key: String) -> String {
    let plain = Swift.Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@!$&'()*+,;=".utf8)
    let digits = Array("0123456789ABCDEF".utf8)
    var encoded: [UInt8] = []
    for byte in key.utf8 {
      if plain.contains(byte) {
        encoded.append(byte)
      } else {
        encoded += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: encoded, as: UTF8.self)
  }

  /// Sends one request and returns status and body; HTTP/1.0, so that the body ends with the connection.
  ///
  /// - Parameter patience: seconds that each step may take; 0 for as long as it takes.
  func request(
    _ method: String, body: [UInt8] = [], patience: Int = 0
  ) throws -> (status: Int, body: [UInt8]) {
    let connection = try BlockingSocket(connectingTo: SocketAddress.parse(address), patience: patience)
    let length = method == "PUT" ? "Content-Length: \(body.count)\r\n" : ""
    try connection.write(Array("\(method) \(path) HTTP/1.0\r\nHost: \(address)\r\n\(length)\r\n".utf8) + body)
    let answer = try connection.readAll()
    guard let end = answer.firstRange(of: Array("\r\n\r\n".utf8)), answer.count > 12,
      let status = Int(String(decoding: answer[9..<12], as: UTF8.self))
    else { throw ClientFailure(description: "\(address) did not answer in HTTP.") }
    return (status, [UInt8](answer[end.upperBound...]))
  }

  /// Sends one request and prints the body; exits with 1 unless the answer is a success.
  func run(_ method: String, body: [UInt8] = [], prints: Bool) throws {
    let answer: (status: Int, body: [UInt8])
    do {
      answer = try request(method, body: body)
    } catch {
      writeError("kvd: \(error)\n")
      throw ExitCode.failure
    }
    let isSuccess = answer.status < 300
    if isSuccess && !prints { return }
    var written = 0
    while written < answer.body.count {
      let count = answer.body.withUnsafeBytes {
        Glibc.write(isSuccess ? 1 : 2, $0.baseAddress! + written, $0.count - written)
      }
      if count < 0 { break }
      written += count
    }
    if !isSuccess { throw ExitCode.failure }
  }
}

/// `kvd get`: prints a value.
struct Get: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Print the value of a key, or of any URL of a node.")
  @Argument(help: "A key, or http://host:port/key.") var key: String

  func run() throws { try Target(key).run("GET", prints: true) }
}

/// `kvd set`: stores a value from the command line or standard input.
struct Set: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Store a value, from the command line or standard input.")
  @Argument(help: "A key, or http://host:port/key.") var key: String
  @Argument(help: "The value; standard input if left out.") var value: String?

  func run() throws {
    let body = try value.map { Array($0.utf8) } ?? readStandardInput()
    try Target(key).run("PUT", body: body, prints: false)
  }

  private func readStandardInput() throws -> [UInt8] {
    guard let input = readFile("/dev/stdin", limit: 64 << 20) else {
      throw ValidationError("Standard input can't be read.")
    }
    return input
  }
}

/// `kvd del`: removes a key.
struct Delete: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "del", abstract: "Remove a key.")
  @Argument(help: "A key, or http://host:port/key.") var key: String

  func run() throws { try Target(key).run("DELETE", prints: false) }
}

/// Why a small client failed, in a sentence.
struct ClientFailure: Error, CustomStringConvertible {
  let description: String
}
