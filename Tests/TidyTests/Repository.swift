import Foundation

/// The entries that the repository's top level may have, dot files aside.
let topLevel: Set<String> = [
  "Package.swift", "Makefile", "README.md", "Sources", "Tests", "Benchmarks", "docker", "CONTRIBUTING.md",
  "CHANGELOG.md", "LICENSE",
]

/// Tracked files that a build makes.
func productFindings(_ paths: [String]) -> [Finding] {
  let endings = [".o", ".a", ".so", ".profraw", ".pyc", ".swiftmodule", "/Package.resolved"]
  let folders = [".build", ".swiftpm", "__pycache__", ".venv", ".pytest_cache", ".hypothesis"]
  return paths.filter { path in
    endings.contains { ("/" + path).hasSuffix($0) }
      || path.split(separator: "/").contains { part in
        folders.contains(String(part)) || part.hasPrefix(".build-") || part.hasPrefix(".build_")
      }
  }.map { Finding($0, "a build product is tracked") }
}

/// Top-level entries nobody expects, and expected ones that are missing.
func topLevelFindings(_ paths: [String]) -> [Finding] {
  let entries = Set(paths.compactMap { $0.split(separator: "/").first.map(String.init) }).filter { !$0.hasPrefix(".") }
  return entries.subtracting(topLevel).sorted().map { Finding($0, "not expected at the top level") }
    + topLevel.subtracting(entries).sorted().map { Finding($0, "missing at the top level") }
}

/// The working tree these tests were compiled from.
struct Repository {
  /// The folder with Package.swift.
  let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  /// The paths of the tracked files and of new ones that aren't ignored; deleted ones are left out.
  func paths() throws -> [String] {
    let git = Process()
    git.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    git.arguments = [
      "git", "-C", root.path, "ls-files", "-z", "--cached", "--others", "--exclude-standard",
    ]
    let output = Pipe()
    git.standardOutput = output
    try git.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    git.waitUntilExit()
    guard git.terminationStatus == 0 else { throw Failure.noRepository }
    return String(decoding: data, as: UTF8.self).split(separator: "\0").map(String.init)
      .filter { FileManager.default.fileExists(atPath: root.appending(path: $0).path) }
  }

  /// The text of a file; nil where it isn't UTF-8.
  func text(_ path: String) throws -> String? {
    String(data: try Data(contentsOf: root.appending(path: path)), encoding: .utf8)
  }

  /// Applies a checker to every text file.
  func findings(_ check: (String, String) -> [Finding]) throws -> [Finding] {
    try paths().flatMap { path in try text(path).map { check(path, $0) } ?? [] }
  }

  enum Failure: Error {
    /// `git ls-files` failed: the tests were not run in a clone.
    case noRepository
  }
}
