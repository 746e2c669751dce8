import Testing

/// Each checker finds the violation planted for it, and passes the innocent neighbour.
@Suite struct PlantedViolationTests {
  @Test(
    "an import across layers is found, in every spelling",
    arguments: [
      "import Foundation", "@testable import Engine", "@_exported import Glibc", "public import Glibc",
      "import struct Foundation.Data", "let a = 1; import Glibc",
    ])
  func plantedImport(_ source: String) {
    #expect(layerFindings("Sources/Wire/A.swift", "// a file\n\(source)\n").map(\.line) == [2])
  }

  @Test("a permitted import passes, and a commented or quoted one is none")
  func permittedImport() {
    let source =
      "import CXXHash\n// import Glibc\n/* import Glibc\n/* */ import Glibc */\nlet a = \"\"\"\nimport Glibc\n\"\"\"\n"
    #expect(layerFindings("Sources/Wire/A.swift", source) == [])
    #expect(layerFindings("Tests/WireTests/A.swift", "import Foundation\n") == [])
  }

  @Test("the reactor doesn't know the engine, and the engine not the reactor")
  func plantedLayers() {
    #expect(layerFindings("Sources/Reactor/A.swift", "import Engine\n").count == 1)
    #expect(layerFindings("Sources/Engine/HTTP/A.swift", "import Reactor\n").count == 1)
  }

  @Test("a target that states no place is found")
  func plantedTarget() {
    #expect(layerFindings("Sources/Misc/A.swift", "").count == 1)
  }

  @Test(
    "clocks, chance and tasks are found in pure layers only",
    arguments: [
      "let t = ContinuousClock().now", "Task { await run() }", "print(value)", "let n = Int.random(in: 0..<9)",
    ])
  func plantedImpurity(_ source: String) {
    #expect(purityFindings("Sources/Engine/A.swift", source).count == 1)
    #expect(purityFindings("Sources/kvd/A.swift", source) == [])
  }

  @Test("chance as an argument is pure, and so is a word that only contains an impure one")
  func innocentWords() {
    let source = "let n = Int.random(in: 0..<9, using: &random)\nlet blueprint = 1\n// print it\nlet s = \"Task\"\n"
    #expect(purityFindings("Sources/Engine/A.swift", source) == [])
  }

  @Test("a file of 501 lines and a line of 121 columns are found")
  func plantedLengths() {
    let line = String(repeating: "a", count: 120)
    let file = String(repeating: "\(line)\n", count: 500)
    #expect(lengthFindings("Sources/Wire/A.swift", file) == [])
    #expect(lengthFindings("Sources/Wire/A.swift", file + "\n").map(\.line) == [nil])
    #expect(lengthFindings("Tests/a.py", "\(line)a\n").map(\.line) == [1])
    #expect(lengthFindings("README.md", "\(line)a\n") == [])
  }

  @Test(
    "tabs, blanks at the end and a missing last line end are found",
    arguments: [
      "a\tb\n", "a \n", "a\r\n", "a",
    ])
  func plantedWhitespace(_ text: String) {
    #expect(whitespaceFindings("README.md", text).count == 1)
    #expect(whitespaceFindings("Tests/EngineTests/Scenarios/a.txt", text) == [])
  }

  @Test("tidy whitespace passes")
  func innocentWhitespace() {
    #expect(whitespaceFindings("README.md", "a\n\n  b\n") == [])
    #expect(whitespaceFindings("README.md", "") == [])
  }

  @Test("every mark of unfinished work is found", arguments: unfinishedMarks)
  func plantedMark(_ mark: String) {
    #expect(markFindings("Sources/Wire/A.swift", "ok\n// \(mark): later\n").map(\.line) == [2])
    #expect(markFindings("Sources/Wire/A.swift", "// x\(mark)x is a word of its own\n") == [])
  }

  @Test("every way to sleep is found in tests", arguments: sleeps)
  func plantedSleep(_ call: String) {
    #expect(sleepFindings("Tests/WireTests/A.swift", "  \(call)1)\n").count == 1)
    #expect(sleepFindings("Tests/Support/a.py", "  \(call)1)\n").count == 1)
    #expect(sleepFindings("Sources/kvd/A.swift", "  \(call)1)\n") == [])
  }

  @Test(
    "a declaration without a doc comment is found",
    arguments: [
      "public func f() {}", "package var a = 1", "public static let a = 1", "@inlinable package func f() {}",
      "@inlinable @inline(__always)\npackage func f() {}", "package enum E {", "public final class C {",
      "public subscript(i: Int) -> Int {", "  public private(set) var a = 1", "public struct S: ~Copyable {",
      "// not a doc comment\npublic struct S {",
      "/// S.\n@frozen public struct S {\n  public let a: Int", "/// Of a.\npublic func a() {}\npublic func b() {}",
    ])
  func plantedUndocumented(_ source: String) {
    #expect(documentationFindings("Sources/Wire/A.swift", source + "\n").count == 1)
  }

  @Test(
    "documented declarations, witnesses, initializers and shared comments pass",
    arguments: [
      "/// F.\npublic func f() {}", "/// F.\n@inlinable\npackage func f() {}", "/** F. */\npublic func f() {}",
      "/// A point.\npublic var x = 0\npublic var y = 0\npublic var z = 0",
      "public static func < (a: A, b: A) -> Bool {",
      "package init(_ a: Int) {", "public extension String {", "func f() {}", "public var description: String {",
      "let a = \"\"\"\npublic func f()\n\"\"\"",
    ])
  func innocentDeclaration(_ source: String) {
    #expect(documentationFindings("Sources/Wire/A.swift", source + "\n") == [])
  }

  @Test(
    "a tracked build product is found",
    arguments: [
      ".build/release/kvd", ".build-thread/x", "a.o", "Tests/__pycache__/a.pyc", "Package.resolved", "default.profraw",
    ])
  func plantedProduct(_ path: String) {
    #expect(productFindings(["Sources/kvd/Main.swift", ".ci/run", path]).map(\.path) == [path])
  }

  @Test("an unexpected and a missing top-level entry are found, dot files aside")
  func plantedTopLevel() {
    let expected = topLevel.map { "\($0)/x" } + [".gitignore"]
    #expect(topLevelFindings(expected) == [])
    #expect(topLevelFindings(expected + ["notes.txt"]).map(\.path) == ["notes.txt"])
    #expect(topLevelFindings(expected.filter { !$0.hasPrefix("LICENSE") }).map(\.path) == ["LICENSE"])
  }

  @Test("the scanner blanks comments and strings and nothing else")
  func scanner() {
    #expect(codeOnly("a // b\nc") == "a     \nc")
    #expect(codeOnly("a /* b /* c */ d */ e") == "a                   e")
    #expect(codeOnly(#"let a = "x\"y" + b"#) == "let a =        + b")
    #expect(codeOnly("let a = #\"x\"y\"# + b") == "let a =         + b")
    #expect(codeOnly("#if os(Linux)\n") == "#if os(Linux)\n")
  }
}
