import Glibc

/// Micro benchmarks of the hot leaves: `make micro` prints them and fails if one costs much more than its budget.
///
/// Budgets are ratios to a hash or a copy that is measured in the same run, so that they hold on any machine.
@main
enum Micro {
  private static let usage = """
    usage: micro [--check FACTOR] [--json] [NAME …]

      --check FACTOR  exit with 1 if a leaf costs more than FACTOR times its budget
      --json          one line of JSON for each leaf
      NAME            only leaves whose name contains this

    """

  static func main() {
    var factor: Double?
    var json = false
    var names: [String] = []
    var arguments = CommandLine.arguments.dropFirst()
    while let argument = arguments.popFirst() {
      switch argument {
      case "--json": json = true
      case "--check":
        factor = arguments.popFirst().flatMap(Double.init)
        if factor == nil { fail() }
      default:
        if argument.hasPrefix("-") { fail() }
        names.append(argument)
      }
    }
    let leaves = (wireLeaves() + engineLeaves()).filter { leaf in
      names.isEmpty || names.contains { leaf.name.contains($0) }
    }
    if leaves.isEmpty { fail() }
    let results = Stopwatch(rounds: 15, moment: 4_000_000).measure(leaves)
    if !json { print(row("leaf", "ns", "of a", "ratio", "budget", "")) }
    for result in results { print(json ? line(result) : row(result, factor)) }
    if let factor, results.contains(where: { $0.exceeds(factor) }) { exit(1) }
  }

  private static func fail() -> Never {
    var text = usage
    text.withUTF8 { bytes in _ = write(2, bytes.baseAddress, bytes.count) }
    exit(2)
  }

  private static func row(_ result: Measured, _ factor: Double?) -> String {
    let verdict = factor.map { result.exceeds($0) ? "TOO SLOW" : "" } ?? ""
    return row(
      result.leaf.name, fixed(result.nanoseconds, 1), result.leaf.baseline.rawValue, fixed(result.ratio, 2),
      fixed(result.leaf.budget, 2), verdict)
  }

  private static func row(_ cells: String...) -> String {
    let name = cells[0] + String(repeating: " ", count: max(1, 46 - cells[0].utf8.count))
    let figures = cells[1...4].map { String(repeating: " ", count: max(1, 9 - $0.utf8.count)) + $0 }
    return name + figures.joined() + (cells[5].isEmpty ? "" : "  " + cells[5])
  }

  private static func line(_ result: Measured) -> String {
    "{\"name\":\"\(result.leaf.name)\",\"nanoseconds\":\(fixed(result.nanoseconds, 3)),"
      + "\"baseline\":\"\(result.leaf.baseline.rawValue)\",\"ratio\":\(fixed(result.ratio, 4)),"
      + "\"budget\":\(fixed(result.leaf.budget, 4))}"
  }

  /// A number with so many decimal places.
  private static func fixed(_ value: Double, _ places: Int) -> String {
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let digits = String(Int((value * scale).rounded()))
    let padded = String(repeating: "0", count: max(0, places + 1 - digits.utf8.count)) + digits
    return padded.dropLast(places) + (places > 0 ? "." + padded.suffix(places) : "")
  }
}
