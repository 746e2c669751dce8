import Testing

/// The house rules, held against the repository itself.
@Suite struct HouseRuleTests {
  let repository = Repository()

  /// Fails with one issue per finding.
  private func expectNone(_ findings: [Finding]) {
    for finding in findings { Issue.record("\(finding)") }
  }

  @Test("there are sources to check")
  func sourcesAreFound() throws {
    let paths = try repository.paths()
    for folder in permittedImports.keys {
      #expect(paths.contains { $0.hasPrefix("Sources/\(folder)/") }, "\(folder) has no files")
    }
  }

  @Test("every layer imports only what lies below it")
  func layers() throws {
    expectNone(try repository.findings { $0.hasSuffix(".swift") ? layerFindings($0, $1) : [] })
  }

  @Test("the pure layers use no clock, no chance and no threads")
  func purity() throws {
    expectNone(try repository.findings { $0.hasSuffix(".swift") ? purityFindings($0, $1) : [] })
  }

  @Test("files and lines are short")
  func lengths() throws { expectNone(try repository.findings(lengthFindings)) }

  @Test("there are no tabs and no blanks at the ends of lines")
  func whitespace() throws { expectNone(try repository.findings(whitespaceFindings)) }

  @Test("nothing is marked as unfinished")
  func marks() throws { expectNone(try repository.findings(markFindings)) }

  @Test("no test sleeps")
  func noSleeps() throws { expectNone(try repository.findings(sleepFindings)) }

  @Test("every public and package declaration has a doc comment")
  func documentation() throws { expectNone(try repository.findings(documentationFindings)) }

  @Test("no build product is tracked")
  func products() throws { expectNone(productFindings(try repository.paths())) }

  @Test("the top level holds what is expected and no more")
  func topLevelEntries() throws { expectNone(topLevelFindings(try repository.paths())) }
}
