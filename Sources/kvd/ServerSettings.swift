import Engine
import Glibc
import Reactor
import Wire

/// A setting that can't be used, with a sentence that names it and what it takes.
struct SettingError: Error {
  let sentence: String
}

/// What a node is told: from the command line, else the environment (`KVD_*`), else the configuration file.
struct ServerSettings {
  var http: SocketAddress
  var peer: SocketAddress
  var name: String
  var cores: Int
  var io: ReactorProbe.Wish
  var memory: Int
  var eviction: Eviction
  /// Whether the kernel is asked for huge pages.
  var hugePages: Bool
  var logLevel: LogLevel
  var logsJSON: Bool
  var limits: Limits
  var cluster: ClusterOptions

  /// The settings' names, as on the command line and in the file.
  static let names =
    ["http", "peer", "name", "cores", "io", "memory", "evict", "huge-pages", "log-level", "log"] + ClusterOptions.names

  /// - Parameter flags: what the command line says.
  init(flags: [String: String]) throws(SettingError) {
    var values: [String: String] = [:]
    limits = Limits()
    if let path = flags["config"] ?? ServerSettings.environment("config") {
      try ConfigurationFile.read(path, into: &values, &limits)
    }
    for name in ServerSettings.names {
      if let value = ServerSettings.environment(name) { values[name] = value }
      if let value = flags[name] { values[name] = value }
    }
    http = try ServerSettings.address(values["http"] ?? "0.0.0.0:3000", "http")
    peer = try ServerSettings.address(values["peer"] ?? "0.0.0.0:3100", "peer")
    if http == peer && http.port != 0 {
      throw SettingError(sentence: "--http and --peer take different ports, not both \(http).")
    }
    if peer.port == ClusterSockets.beaconPort {
      throw SettingError(sentence: "--peer takes another port than \(peer.port), where all nodes listen for beacons.")
    }
    name = try ServerSettings.name(values["name"] ?? ServerSettings.hostName)
    cores = try ServerSettings.cores(values["cores"])
    cluster = try ClusterOptions(values, peer: peer)
    memory = try ServerSettings.memory(values["memory"], cores: cores)
    io = try ServerSettings.choice(
      values["io"] ?? "auto", "io", [("auto", .auto), ("io_uring", .ioUring), ("epoll", .epoll)])
    eviction = try ServerSettings.choice(values["evict"] ?? "none", "evict", [("none", .none), ("lru", .lru)])
    hugePages = try ServerSettings.choice(values["huge-pages"] ?? "off", "huge-pages", [("off", false), ("on", true)])
    logsJSON = try ServerSettings.choice(values["log"] ?? "text", "log", [("json", true), ("text", false)])
    logLevel = try ServerSettings.choice(
      values["log-level"] ?? "info", "log-level",
      [
        ("trace", .trace), ("debug", .debug), ("info", .info), ("notice", .notice), ("warning", .warning),
        ("error", .error), ("critical", .critical),
      ])
  }

  /// The value of `KVD_NAME` for `name`, with dashes as underscores.
  private static func environment(_ name: String) -> String? {
    let variable = "KVD_" + String(name.map { $0 == "-" ? "_" : Character($0.uppercased()) })
    guard let value = getenv(variable) else { return nil }
    return String(cString: value)
  }

  private static func address(_ text: String, _ name: String) throws(SettingError) -> SocketAddress {
    do {
      return try SocketAddress.parse(text)
    } catch {
      throw SettingError(sentence: "--\(name): \(error.sentence)")
    }
  }

  private static func name(_ text: String) throws(SettingError) -> String { try label(text, "name") }

  /// A text that fits log lines and listings.
  static func label(_ text: String, _ option: String) throws(SettingError) -> String {
    guard !text.isEmpty, text.utf8.count <= 200, text.utf8.allSatisfy({ $0 > 32 && $0 != 127 }) else {
      throw SettingError(sentence: "--\(option) takes 1 to 200 visible characters without spaces.")
    }
    return text
  }

  private static func cores(_ text: String?) throws(SettingError) -> Int {
    guard let text else { return min(Processors.current().usable, maximumCores) }
    guard let count = Int(text), count >= 1, count <= maximumCores else {
      throw SettingError(sentence: "--cores takes a number from 1 to \(maximumCores), not \"\(text)\".")
    }
    return count
  }

  /// Each core owns at least four partitions.
  private static var maximumCores: Int { partitionCount / 4 }

  private static func memory(_ text: String?, cores: Int) throws(SettingError) -> Int {
    let least = cores * (16 << 20)
    guard let text else { return max(least, min(4 << 30, MachineMemory.available / 4 * 3)) }
    var bytes = text
    let size = bytes.withUTF8 { Text.parseSize($0.baseAddress!, $0.count) }
    guard let size, size >= least, size <= 256 << 30 else {
      throw SettingError(
        sentence: "--memory takes a size such as 512MiB or 4GiB, from 16MiB per core to 256GiB, not \"\(text)\".")
    }
    return Int(size)
  }

  private static func choice<Value>(
    _ text: String, _ name: String, _ choices: [(String, Value)]
  ) throws(SettingError) -> Value {
    for choice in choices where choice.0 == text { return choice.1 }
    let known = choices.map(\.0).joined(separator: ", ")
    throw SettingError(sentence: "--\(name) takes one of \(known), not \"\(text)\".")
  }

  private static var hostName: String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, 255) == 0 else { return "kvd" }
    let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return name.isEmpty ? "kvd" : name
  }
}

/// The memory this process may have.
enum MachineMemory {
  /// Bytes: the machine's memory or the control group's limit, whichever is less.
  static var available: Int {
    let machine = Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))
    for path in ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"] {
      guard let text = readFile(path, limit: 64),
        let limit = Int(String(decoding: text.prefix { $0 > 32 }, as: UTF8.self))
      else { continue }
      return min(machine, limit)
    }
    return machine
  }
}

/// A file's bytes, at most `limit`; nil if it can't be read.
func readFile(_ path: String, limit: Int) -> [UInt8]? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes = [UInt8](repeating: 0, count: limit)
  var count = 0
  while count < limit {
    let got = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress! + count, limit - count) }
    if got < 0 && errno == EINTR { continue }
    if got < 0 { return nil }
    if got == 0 { break }
    count += got
  }
  return [UInt8](bytes[..<count])
}
