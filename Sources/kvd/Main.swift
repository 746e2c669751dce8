import ArgumentParser

/// The one binary: `kvd` is `kvd serve`; the other subcommands are small clients.
@main struct Kvd: ParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "kvd",
    abstract: "A self-clustering, in-memory key-value server that speaks HTTP.",
    version: version,
    subcommands: [Serve.self, Get.self, Set.self, Delete.self, List.self, Bench.self],
    defaultSubcommand: Serve.self)
}
