/// What the targets of the package may import: `Wire <- Engine <- {Simulator, kvd}` and
/// `CIOUring <- Reactor <- {simulate, kvd}`.
///
/// A folder of Sources that has no row here is a finding, so that a new target states its place.
let permittedImports: [String: Set<String>] = [
  "CIOUring": [],
  "CSodium": [],
  "CXXHash": [],
  "Wire": ["CXXHash"],
  "Engine": ["Wire", "CXXHash"],
  "Simulator": ["Wire", "Engine"],
  "simulate": ["Engine", "Reactor", "Simulator", "Glibc", "Musl", "Synchronization"],
  "Reactor": ["CIOUring", "Glibc", "Musl", "Synchronization"],
  "kvd": [
    "CSodium", "Engine", "Reactor", "Wire", "ArgumentParser", "Histogram", "Logging", "Glibc", "Musl",
    "Synchronization",
  ],
]

/// The targets that do no system calls, read no clock, draw no random numbers and start no threads.
let pureTargets: Set<String> = ["Wire", "Engine", "Simulator"]

/// Words of the standard library that would make a pure target impure.
let impureWords = [
  "SystemRandomNumberGenerator", "ContinuousClock", "SuspendingClock", "Task", "CommandLine", "print", "debugPrint",
  "readLine",
]

/// The target a path belongs to: the folder below Sources.
func target(of path: String) -> String? {
  let parts = path.split(separator: "/")
  return parts.count > 2 && parts[0] == "Sources" ? String(parts[1]) : nil
}

/// The modules that a Swift source imports, with their lines; access levels, attributes and kinds are understood.
func imports(in text: String) -> [(line: Int, module: String)] {
  let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "typealias", "func", "let", "var"]
  let levels: Set<Substring> = ["public", "package", "internal", "fileprivate", "private"]
  var found: [(line: Int, module: String)] = []
  for (index, line) in codeOnly(text).textLines.enumerated() {
    for statement in line.split(separator: ";") {
      var words = statement.split(separator: " ")[...]
      while let first = words.first, first.hasPrefix("@") || levels.contains(first) { words.removeFirst() }
      guard words.first == "import" else { continue }
      words.removeFirst()
      if let first = words.first, kinds.contains(first) { words.removeFirst() }
      if let module = words.first?.split(separator: ".").first { found.append((index + 1, String(module))) }
    }
  }
  return found
}

/// Imports of a Swift source below Sources that its target isn't permitted.
func layerFindings(_ path: String, _ text: String) -> [Finding] {
  guard let target = target(of: path) else { return [] }
  guard let permitted = permittedImports[target] else {
    return [Finding(path, "the target \(target) has no row in permittedImports")]
  }
  return imports(in: text).filter { !permitted.contains($0.module) }.map {
    Finding(path, $0.line, "\(target) may not import \($0.module)")
  }
}

/// Uses of clocks, chance, tasks and standard streams in a pure target.
func purityFindings(_ path: String, _ text: String) -> [Finding] {
  guard let target = target(of: path), pureTargets.contains(target) else { return [] }
  var findings: [Finding] = []
  for (index, line) in codeOnly(text).textLines.enumerated() {
    for word in impureWords where holds(line, word: word) {
      findings.append(Finding(path, index + 1, "\(target) is pure and may not use \(word)"))
    }
    // Chance is an argument: `random(in: range, using: &generator)` passes, `random(in: range)` doesn't.
    if line.contains(".random("), !line.contains("using:") {
      findings.append(Finding(path, index + 1, "\(target) is pure: pass the random generator with using:"))
    }
  }
  return findings
}
