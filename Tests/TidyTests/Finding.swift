/// One violation of a house rule.
struct Finding: Equatable, CustomStringConvertible {
  /// Where, relative to the repository's root.
  let path: String
  /// The line, counted from 1; nil when the finding is about the whole file.
  let line: Int?
  /// What is wrong, as a sentence.
  let message: String

  init(_ path: String, _ line: Int?, _ message: String) {
    self.path = path
    self.line = line
    self.message = message
  }

  init(_ path: String, _ message: String) { self.init(path, nil, message) }

  var description: String {
    guard let line else { return "\(path): \(message)" }
    return "\(path):\(line): \(message)"
  }
}

extension String {
  /// The lines without their ends; a last line without an end counts.
  var textLines: [Substring] {
    var lines = split(separator: "\n", omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    return lines
  }
}

/// Swift source with its comments and the contents of its string literals blanked out, line for line.
///
/// A scanner good enough for rules about words: it knows `//`, nested `/* */`, `"…"` with escapes, `"""…"""`, and raw
/// strings with any number of `#`. Interpolations are blanked like the rest of their string.
func codeOnly(_ text: String) -> String {
  var result = [UInt8]()
  let bytes = Array(text.utf8)
  result.reserveCapacity(bytes.count)
  var i = 0

  /// Whether the bytes at `position` are those of `word`.
  func stands(_ word: String, at position: Int) -> Bool {
    position + word.utf8.count <= bytes.count && bytes[position...].starts(with: word.utf8)
  }
  /// Replaces bytes up to `end` by blanks, keeping line ends.
  func blank(to end: Int) {
    while i < min(end, bytes.count) {
      result.append(bytes[i] == UInt8(ascii: "\n") ? bytes[i] : UInt8(ascii: " "))
      i += 1
    }
  }
  /// Blanks the string literal that opens at `i` with `pounds` pound signs before its quotes.
  func blankString(pounds: Int) {
    let sharp = String(repeating: "#", count: pounds)
    let quotes = stands("\"\"\"", at: i + pounds) ? "\"\"\"" : "\""
    blank(to: i + pounds + quotes.count)
    while i < bytes.count, !stands(quotes + sharp, at: i) {
      if quotes == "\"", stands("\n", at: i) { return }
      blank(to: stands("\\" + sharp, at: i) ? i + 2 + pounds : i + 1)
    }
    blank(to: i + quotes.count + pounds)
  }
  /// Blanks the comment that opens at `i`, with those nested in it.
  func blankComment() {
    var depth = 0
    repeat {
      if stands("/*", at: i) {
        depth += 1
        blank(to: i + 2)
      } else if stands("*/", at: i) {
        depth -= 1
        blank(to: i + 2)
      } else {
        blank(to: i + 1)
      }
    } while depth > 0 && i < bytes.count
  }

  while i < bytes.count {
    switch bytes[i] {
    case UInt8(ascii: "/") where stands("//", at: i):
      blank(to: bytes[i...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count)
    case UInt8(ascii: "/") where stands("/*", at: i):
      blankComment()
    case UInt8(ascii: "\""):
      blankString(pounds: 0)
    case UInt8(ascii: "#"):
      let pounds = bytes[i...].prefix { $0 == UInt8(ascii: "#") }.count
      if stands("\"", at: i + pounds) { blankString(pounds: pounds) } else { fallthrough }
    default:
      result.append(bytes[i])
      i += 1
    }
  }
  return String(decoding: result, as: UTF8.self)
}

/// Whether `line` holds `word` with no letter, digit or underscore beside it.
func holds(_ line: some StringProtocol, word: String) -> Bool {
  var rest = Substring(line)
  var before: Character?
  while let found = rest.firstRange(of: word) {
    let previous = found.lowerBound > rest.startIndex ? rest[rest.index(before: found.lowerBound)] : before
    let next = found.upperBound < rest.endIndex ? rest[found.upperBound] : nil
    func joins(_ character: Character?) -> Bool {
      guard let character else { return false }
      return character.isLetter || character.isNumber || character == "_"
    }
    if !joins(previous), !joins(next) { return true }
    before = rest[found.lowerBound]
    rest = rest[rest.index(after: found.lowerBound)...]
  }
  return false
}
