import Foundation

/// The article on frames, as the tests hold it to the code.
struct FrameDocument {
  let text: String
  /// The example frames in hexadecimal, by their names.
  let examples: [String: String]

  /// Reads the article where it lies in the sources.
  static func read() throws -> FrameDocument {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..")
    let file = root.appendingPathComponent("Sources/Wire/Wire.docc/Frames.md")
    return FrameDocument(try String(contentsOf: file, encoding: .utf8))
  }

  /// An example is a fenced block "frame NAME" whose lines are hexadecimal, then, behind two blanks, words.
  private init(_ text: String) {
    self.text = text
    var examples: [String: String] = [:]
    var name: String?
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("```frame ") {
        name = String(line.dropFirst("```frame ".count))
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
