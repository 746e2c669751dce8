/// The most lines of a source file. Longer ones are cut along their subjects.
let maximumLines = 500
/// The most columns of a source line.
let maximumColumns = 120

/// Files whose lines must be free of tabs and of blanks at their ends.
let tidyText = ["swift", "c", "h", "py", "md", "json", "yaml", "yml", "toml", "ini", "txt"]
/// Files that are held to the lengths.
let sources = ["swift", "c", "h", "py"]

/// Whether a path ends in one of the extensions.
func has(_ path: String, _ extensions: [String]) -> Bool {
  extensions.contains { path.hasSuffix("." + $0) }
}

/// A file that is longer than `maximumLines`, and lines longer than `maximumColumns`.
func lengthFindings(_ path: String, _ text: String) -> [Finding] {
  guard has(path, sources) else { return [] }
  let lines = text.textLines
  var findings = lines.enumerated().filter { $0.element.count > maximumColumns }.map {
    Finding(path, $0.offset + 1, "the line has \($0.element.count) columns, \(maximumColumns) are permitted")
  }
  if lines.count > maximumLines {
    findings.append(Finding(path, "the file has \(lines.count) lines, \(maximumLines) are permitted"))
  }
  return findings
}

/// Tabs, carriage returns, blanks at the end of a line, and a last line without an end.
///
/// Golden transcripts (`Scenarios`) are exempt: they hold the bytes that were exchanged.
func whitespaceFindings(_ path: String, _ text: String) -> [Finding] {
  guard has(path, tidyText), !path.contains("/Scenarios/") else { return [] }
  var findings: [Finding] = []
  for (index, line) in text.textLines.enumerated() {
    if line.utf8.contains(UInt8(ascii: "\t")) { findings.append(Finding(path, index + 1, "a tab")) }
    if let last = line.utf8.last, last == UInt8(ascii: " ") || last == UInt8(ascii: "\r") {
      findings.append(Finding(path, index + 1, "a blank or carriage return at the end of the line"))
    }
  }
  if !text.isEmpty, !text.hasSuffix("\n") { findings.append(Finding(path, "the last line has no end")) }
  return findings
}

/// The marks of unfinished work, put together so that this file holds none.
let unfinishedMarks = ["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]

/// Marks of unfinished work: what is missing belongs into a plan, not into the code.
func markFindings(_ path: String, _ text: String) -> [Finding] {
  var findings: [Finding] = []
  for (index, line) in text.textLines.enumerated() {
    for mark in unfinishedMarks where holds(line, word: mark) {
      findings.append(Finding(path, index + 1, "\(mark) marks unfinished work"))
    }
  }
  return findings
}

/// The ways to wait for time, put together so that this file holds none.
let sleeps = ["usl" + "eep(", "nanosl" + "eep(", "Thread.sl" + "eep(", "Task.sl" + "eep(", "time.sl" + "eep("]

/// Sleeps in tests: a test waits for a condition, with a time limit.
func sleepFindings(_ path: String, _ text: String) -> [Finding] {
  guard path.hasPrefix("Tests/"), has(path, ["swift", "py"]) else { return [] }
  var findings: [Finding] = []
  for (index, line) in text.textLines.enumerated() {
    let trimmed = line.drop(while: { $0 == " " })
    if sleeps.contains(where: { line.contains($0) }) || trimmed.hasPrefix("sl" + "eep(") {
      findings.append(Finding(path, index + 1, "a test waits for a condition, it doesn't sleep"))
    }
  }
  return findings
}
