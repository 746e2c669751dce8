import ArgumentParser
import Engine
import Reactor
import Wire

/// The command line's words about the cluster.
struct ClusterFlags: ParsableArguments {
  @Option(help: "Where other nodes may be: host, host:port, host:first-last; a comma list, repeatable.")
  var join: [String] = []
  @Option(help: "Nodes to wait for before a cluster is founded. (default: 1)") var expect: String?
  @Option(help: "The cluster's name. (default: kvd)") var cluster: String?
  @Option(help: "Nodes that hold each key, or all; counts where the cluster is founded. (default: 3)")
  var replicas: String?
  @Option(name: .customLong("cluster-key-file"), help: "A file with the key that all nodes of the cluster share.")
  var clusterKeyFile: String?
  @Option(name: .customLong("exit-when-isolated"), help: "End the process when it was cut off for so long.")
  var exitWhenIsolated: String?

  /// The words that were given, by name.
  var pairs: [(String, String?)] {
    [
      ("join", join.isEmpty ? nil : join.joined(separator: ",")), ("expect", expect), ("cluster", cluster),
      ("replicas", replicas), ("cluster-key-file", clusterKeyFile), ("exit-when-isolated", exitWhenIsolated),
    ]
  }
}

/// What a node is told about its cluster.
struct ClusterOptions {
  /// Where other nodes may be.
  let join: JoinTargets
  /// Nodes that must see each other before they found a cluster.
  let expect: Int
  /// Only nodes of one name form a cluster.
  let name: String
  /// Nodes that hold each partition; 255 for all.
  let replicas: UInt8
  /// What every node of the cluster knows and nobody else; nil if nodes trust their network.
  let key: [UInt8]?
  /// Milliseconds of being cut off after which the process ends; nil for never.
  let exitWhenIsolated: UInt64?

  static let names = ["join", "expect", "cluster", "replicas", "cluster-key-file", "exit-when-isolated"]

  /// The most founders that one founding names.
  private static var maximumExpect: Int { 32 }
  /// Bytes of a key: the least that can't be guessed, and the most that is read.
  private static var keyCount: ClosedRange<Int> { 16...1024 }
  /// Milliseconds: less than a second would end nodes for a hiccup, more than a year is never.
  private static var isolation: ClosedRange<UInt64> { 1_000...31_536_000_000 }
  /// The port of a place to join without one, where this node's own is left to the kernel.
  private static var usualPort: UInt16 { 3100 }

  /// - Parameter peer: this node's own address for others, whose port is also that of places to join without one.
  init(_ values: [String: String], peer: SocketAddress) throws(SettingError) {
    do {
      join = try JoinTargets(
        parsing: values["join"] ?? "", defaultPort: peer.port == 0 ? ClusterOptions.usualPort : peer.port)
    } catch {
      throw SettingError(sentence: "--join: \(error.sentence)")
    }
    expect = try ClusterOptions.expect(values["expect"])
    name = try ServerSettings.label(values["cluster"] ?? "kvd", "cluster")
    replicas = try ClusterOptions.replicas(values["replicas"])
    key = try ClusterOptions.key(values["cluster-key-file"])
    exitWhenIsolated = try ClusterOptions.exitWhenIsolated(values["exit-when-isolated"])
  }

  private static func expect(_ text: String?) throws(SettingError) -> Int {
    guard let text else { return 1 }
    guard let count = Int(text), count >= 1, count <= maximumExpect else {
      throw SettingError(sentence: "--expect takes a number of nodes from 1 to \(maximumExpect), not \"\(text)\".")
    }
    return count
  }

  private static func replicas(_ text: String?) throws(SettingError) -> UInt8 {
    guard let text else { return 3 }
    let most = UInt8(Topology.maximumCopies)
    if text == "all" { return most }
    guard let count = UInt8(text), count >= 1, count <= most else {
      throw SettingError(
        sentence: "--replicas takes a number of nodes from 1 to \(most), or all (which is \(most)), not \"\(text)\".")
    }
    return count
  }

  /// The file's bytes without the blanks and line ends behind them, which editors add.
  private static func key(_ path: String?) throws(SettingError) -> [UInt8]? {
    guard let path else { return nil }
    guard var bytes = readFile(path, limit: keyCount.upperBound + 64) else {
      throw SettingError(sentence: "--cluster-key-file: the file \"\(path)\" can't be read.")
    }
    while let last = bytes.last, last == 32 || (9...13).contains(last) { bytes.removeLast() }
    guard keyCount.contains(bytes.count) else {
      throw SettingError(
        sentence: "--cluster-key-file: the key in \"\(path)\" must have \(keyCount.lowerBound) to "
          + "\(keyCount.upperBound) bytes; `head -c 32 /dev/urandom | base64` makes a good one.")
    }
    return bytes
  }

  private static func exitWhenIsolated(_ text: String?) throws(SettingError) -> UInt64? {
    guard var text else { return nil }
    let milliseconds = text.withUTF8 { bytes in
      bytes.baseAddress.flatMap { Text.parseDuration($0, bytes.count) }
    }
    guard let milliseconds, isolation.contains(milliseconds) else {
      throw SettingError(
        sentence: "--exit-when-isolated takes a duration such as 30s or 5m, from 1s to 365d, not \"\(text)\".")
    }
    return milliseconds
  }
}
