import ArgumentParser
import Glibc

/// `kvd ls`: a table of the cluster's nodes, again every second on a terminal.
struct List: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ls", abstract: "List the nodes of a cluster.",
    discussion: """
      PARTITIONS counts those that a node owns, REPLICAS those that it holds, COMMITS the writes in its logs. CHECKSUM \
      is of the data that it holds: green where every partition's is what other nodes have at the same revision, red \
      where one differs.
      """)
  @Argument(help: "A node, as host:port. (default: KVD_HTTP, or 127.0.0.1:3000)") var node: String?
  @Flag(help: "Print once, also on a terminal.") var once = false

  func run() throws {
    let address = node ?? Target.home
    guard isatty(1) == 1, !once else { return try printOnce(address) }
    while true {
      let lines: [String]
      do { lines = try ClusterTable(asking: address).lines(isColoured: true) } catch { lines = ["kvd: \(error)"] }
      // Home, each line with what was behind it cleared, and everything below.
      let text = "\u{1B}[H" + lines.map { $0 + "\u{1B}[K\n" }.joined() + "\u{1B}[J"
      writeOutput(text)
      sleep(1)
    }
  }

  private func printOnce(_ address: String) throws {
    let isColoured = isatty(1) == 1 && getenv("NO_COLOR") == nil
    do {
      var table = try ClusterTable(asking: address)
      // Nodes look at their data when they are asked for the first time.
      for _ in 0..<10 where !table.isComplete {
        usleep(100_000)
        table = try ClusterTable(asking: address)
      }
      writeOutput(table.lines(isColoured: isColoured).map { $0 + "\n" }.joined())
    } catch {
      writeError("kvd: \(error)\n")
      throw ExitCode.failure
    }
  }

  private func writeOutput(_ text: String) {
    var text = text
    text.withUTF8 { bytes in _ = Glibc.write(1, bytes.baseAddress, bytes.count) }
  }
}
