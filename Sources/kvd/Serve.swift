import ArgumentParser
import Engine
import Glibc
import Reactor
import Wire

/// `kvd serve`: runs a node until SIGTERM or SIGINT.
struct Serve: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a node (the default).",
    discussion: """
      Each option can also be set in the environment (KVD_HTTP, KVD_LOG_LEVEL, …) and in a JSON configuration file; \
      the command line wins over the environment, which wins over the file.
      """)

  @Option(help: "Address for clients. (default: 0.0.0.0:3000)") var http: String?
  @Option(help: "Address for other nodes and the binary protocol. (default: 0.0.0.0:3100)") var peer: String?
  @Option(help: "This node's name. (default: the host's name)") var name: String?
  @Option(help: "Cores to use. (default: all)") var cores: String?
  @Option(help: "auto, io_uring or epoll. (default: auto)") var io: String?
  @Option(help: "Memory for data. (default: 4GiB, or 3/4 of what there is)") var memory: String?
  @Option(help: "What makes room when memory is full: none or lru. (default: none)") var evict: String?
  @Option(help: "Ask the kernel for huge pages: on or off. (default: off)") var hugePages: String?
  @Option(name: .customLong("log-level"), help: "trace, debug, info, notice, warning, error. (default: info)")
  var logLevel: String?
  @Option(help: "Form of log lines: json or text. (default: text)") var log: String?
  @Option(help: "A JSON file with these names and limits.") var config: String?
  @OptionGroup var cluster: ClusterFlags

  /// What the process ends with after `--exit-when-isolated`.
  static var isolatedExitCode: Int32 { 3 }

  func run() throws {
    let settings: ServerSettings
    do {
      settings = try ServerSettings(flags: flags)
    } catch {
      throw ValidationError(error.sentence)
    }
    do {
      switch try Server(settings).run() {
      case .stopped: break
      case .isolated: throw ExitCode(Serve.isolatedExitCode)
      case .beginsAnew(let http, let peer): try Rebirth.begin(http: http, peer: peer)
      }
    } catch let code as ExitCode {
      throw code
    } catch {
      writeError("kvd: \(error)\n")
      throw ExitCode.failure
    }
  }

  private var flags: [String: String] {
    let pairs: [(String, String?)] = [
      ("http", http), ("peer", peer), ("name", name), ("cores", cores), ("io", io), ("memory", memory),
      ("evict", evict), ("huge-pages", hugePages), ("log-level", logLevel), ("log", log), ("config", config),
    ]
    return (pairs + cluster.pairs).reduce(into: [:]) { flags, pair in flags[pair.0] = pair.1 }
  }
}

/// Writes to standard error at once.
func writeError(_ text: String) {
  var text = text
  text.withUTF8 { bytes in _ = Glibc.write(2, bytes.baseAddress, bytes.count) }
}
