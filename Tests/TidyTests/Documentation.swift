/// Members whose meaning the protocol defines that asks for them; repeating it would say nothing.
let witnesses: Set<String> = [
  "==", "!=", "<", ">", "<=", ">=", "hash", "description", "debugDescription", "rawValue", "next", "makeIterator",
  "encode",
]

/// A public or package declaration on one line of source.
struct Declaration: Equatable {
  /// `func`, `var`, `struct`, …
  let keyword: String
  /// The declared name; for `init` and `subscript` the keyword itself.
  let name: String
}

/// The words of a line that follow its leading attributes.
func wordsAfterAttributes(of line: some StringProtocol) -> ArraySlice<Substring> {
  var words = Substring(line).split(separator: " ")[...]
  while let first = words.first, first.hasPrefix("@") {
    words.removeFirst()
    // An attribute with blanks in its arguments goes on until its parenthesis closes.
    if first.contains("("), !first.contains(")") {
      while let next = words.popFirst(), !next.contains(")") {}
    }
  }
  return words
}

/// Reads a line as a public or package declaration; nil for any other line.
///
/// Extensions aren't declarations of their own, and an initializer is explained by its type.
func declaration(in line: some StringProtocol) -> Declaration? {
  let levels: Set<Substring> = ["public", "package", "open"]
  let keywords: Set<Substring> = [
    "func", "var", "let", "struct", "enum", "class", "actor", "protocol", "typealias", "subscript", "associatedtype",
    "macro",
  ]
  let modifiers: Set<Substring> = [
    "static", "class", "final", "mutating", "nonmutating", "borrowing", "consuming", "nonisolated", "override", "lazy",
    "unsafe", "indirect", "private(set)", "package(set)", "internal(set)", "fileprivate(set)", "prefix", "postfix",
    "infix", "unowned", "weak", "dynamic", "convenience", "required", "optional", "async",
  ]
  var words = wordsAfterAttributes(of: line)
  guard let level = words.popFirst(), levels.contains(level) else { return nil }
  while let first = words.first, modifiers.contains(first) {
    // `class func` has a modifier, `class Name` a keyword.
    if first == "class", let second = words.dropFirst().first, !keywords.contains(second) { break }
    words.removeFirst()
  }
  guard let word = words.popFirst() else { return nil }
  let keyword = word.prefix { $0.isLetter }
  guard keywords.contains(keyword) else { return nil }
  if keyword == "subscript" { return Declaration(keyword: "subscript", name: "subscript") }
  let rest = words.first ?? ""
  let name = rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "`" }
  return Declaration(keyword: String(keyword), name: String(name.isEmpty ? rest.prefix { $0 != "(" } : name))
}

/// Whether a line may stand between a doc comment and its declaration: attributes alone, or a condition.
private func standsBetween(_ line: Substring) -> Bool {
  line.hasPrefix("#if") || line.hasPrefix("#else") || (line.hasPrefix("@") && wordsAfterAttributes(of: line).isEmpty)
}

/// Public and package declarations without a doc comment.
///
/// The comment stands above the declaration and its attributes. Properties on consecutive lines may share the first
/// one's comment: a run like `x`, `y`, `z` is one idea.
func documentationFindings(_ path: String, _ text: String) -> [Finding] {
  guard path.hasPrefix("Sources/"), path.hasSuffix(".swift") else { return [] }
  // Where a doc comment stands is read from the text, what is declared from the code.
  let lines = text.textLines.map { $0.drop(while: { $0 == " " }) }
  let code = codeOnly(text).textLines.map { $0.drop(while: { $0 == " " }) }
  var findings: [Finding] = []
  var documentedProperty: Int?
  for (index, line) in code.enumerated() {
    guard let found = declaration(in: line) else { continue }
    var above = index - 1
    while above >= 0, standsBetween(lines[above]) { above -= 1 }
    let isProperty = found.keyword == "var" || found.keyword == "let"
    let documented =
      above >= 0
      && (lines[above].hasPrefix("///") || lines[above].hasSuffix("*/") || (isProperty && documentedProperty == above))
    if documented, isProperty { documentedProperty = index }
    if !documented, !witnesses.contains(found.name) {
      findings.append(Finding(path, index + 1, "\(found.keyword) \(found.name) has no doc comment"))
    }
  }
  return findings
}
