import Foundation

/// An article with examples, as the tests hold it to the code: the one on frames, or another.
struct FrameDocument {
  let text: String
  /// The examples in hexadecimal, by their names.
  let examples: [String: String]

  /// Reads the article where it lies in the sources.
  static func read(_ article: String = "Frames", fence: String = "frame") throws -> FrameDocument {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..")
    let file = root.appendingPathComponent("Sources/Wire/Wire.docc/\(article).md")
    return FrameDocument(try String(contentsOf: file, encoding: .utf8), fence)
  }

  /// An example is a fenced block "FENCE NAME" whose lines are hexadecimal, then, behind two blanks, words.
  private init(_ text: String, _ fence: String) {
    self.text = text
    var examples: [String: String] = [:]
    var name: String?
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("```\(fence) ") {
        name = String(line.dropFirst("```\(fence) ".count))
        examples[name!] = ""
      } else if line.hasPrefix("```") {
        name = nil
      } else if let name {
        examples[name]! += line.prefix { $0 != " " }
      }
    }
    self.examples = examples
  }
}
