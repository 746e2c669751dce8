import Glibc
import Simulator

extension Simulate {
  /// Checks a recorded history and says what came of it: 0 linearizable, 1 not, 2 unreadable, 3 undecided.
  static func verify(_ path: String) -> Int32 {
    guard let bytes = contents(of: path) else {
      print("\(path) can't be read")
      return 2
    }
    let summary: History.Summary
    do {
      summary = try bytes.withUnsafeBytes { try History(lines: $0) }.verify()
    } catch {
      print("\(path): \(error)")
      return 2
    }
    print(
      "\(summary.operations) operations on \(summary.keys) keys, "
        + "\(summary.unknown) unknown, \(summary.refused) refused; "
        + "\(summary.weakKeys) keys with writes that may be lost")
    switch summary.verdict {
    case .linearizable:
      print("linearizable")
      return 0
    case .violation(let key, let sentence):
      print("NOT LINEARIZABLE: key \(key): \(sentence)")
      return 1
    case .undecided(let key):
      print("undecided: the search for key \(key) took too long")
      return 3
    }
  }

  /// A file's bytes; `-` is standard input.
  private static func contents(of path: String) -> [UInt8]? {
    let file = path == "-" ? 0 : open(path, O_RDONLY)
    guard file >= 0 else { return nil }
    defer { if file > 0 { close(file) } }
    var bytes: [UInt8] = []
    var page = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(file, &page, page.count)
      if count == 0 { return bytes }
      if count < 0 { return nil }
      bytes += page[..<count]
    }
  }
}
