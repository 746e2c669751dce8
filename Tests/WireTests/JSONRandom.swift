/// Random JSON texts that try hard to be odd: white space anywhere, names that come twice or are spelled with escapes,
/// numbers in many spellings, and names that look like array indexes.
private let names = ["a", "b", "c", "", "0", "1", "-", "a/b", "m~n", "~1", "é", "😀", "\u{0}", "\"\\", "aaaaaaaaaaaa"]

func randomDocument(_ random: inout SplitMix, size: Int) -> [UInt8] {
  var output: [UInt8] = []
  appendSpace(&random, to: &output)
  appendValue(&random, size, to: &output)
  appendSpace(&random, to: &output)
  return output
}

func randomValue(_ random: inout SplitMix, size: Int) -> [UInt8] {
  var output: [UInt8] = []
  appendValue(&random, size, to: &output)
  return output
}

/// A pointer that mostly leads to something in `model`, sometimes a step too far, rarely a malformed one.
func randomPointer(_ random: inout SplitMix, in model: JSONModel) -> String {
  var pointer = ""
  var model = model
  while Int.random(in: 0..<4, using: &random) > 0 {
    var token: String
    switch model {
    case .object(let members) where !members.isEmpty && Int.random(in: 0..<5, using: &random) > 0:
      // Dictionaries have no order of their own, and a run must be repeatable.
      let name = members.keys.sorted { $0.lexicographicallyPrecedes($1) }.randomElement(using: &random)!
      token = String(decoding: name, as: UTF16.self)
      model = members[name]!
    case .array(let elements):
      let index = Int.random(in: 0...elements.count, using: &random)
      token = Bool.random(using: &random) || index < elements.count ? "\(index)" : "-"
      model = index < elements.count ? elements[index] : .null
    default:
      if Int.random(in: 0..<3, using: &random) > 0 { return pointer }
      token = names.randomElement(using: &random)!
      model = .null
    }
    pointer += "/" + text(utf8(token).flatMap { $0 == 0x7E ? utf8("~0") : $0 == 0x2F ? utf8("~1") : [$0] })
  }
  if Int.random(in: 0..<100, using: &random) == 0 { pointer += ["~", "~2", "/01", "x"].randomElement(using: &random)! }
  return pointer
}

/// A string as JSON, each character plain or as an escape.
func randomString(_ string: String, _ random: inout SplitMix) -> [UInt8] {
  var output = utf8("\"")
  for character in string {
    let mustEscape = character == "\"" || character == "\\" || character == "\u{0}"
    if mustEscape || Int.random(in: 0..<6, using: &random) == 0 {
      for unit in String(character).utf16 {
        let digits = String(unit, radix: 16, uppercase: Bool.random(using: &random))
        output += utf8("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
      }
    } else {
      output += utf8(String(character))
    }
  }
  return output + utf8("\"")
}

private func appendSpace(_ random: inout SplitMix, to output: inout [UInt8]) {
  guard Int.random(in: 0..<4, using: &random) == 0 else { return }
  output += utf8([" ", "\n", "\t", "\r\n  ", "          "].randomElement(using: &random)!)
}

private func appendValue(_ random: inout SplitMix, _ size: Int, to output: inout [UInt8]) {
  switch Int.random(in: 0..<(size > 0 ? 10 : 5), using: &random) {
  case 0: output += utf8(["true", "false", "null"].randomElement(using: &random)!)
  case 1, 2: output += utf8(randomNumber(&random))
  case 3, 4: output += randomString(names.randomElement(using: &random)!, &random)
  case 5, 6: appendContainer(&random, size, "[", "]", to: &output) { _, _ in }
  default:
    appendContainer(&random, size, "{", "}", to: &output) { random, output in
      output += randomString(names.randomElement(using: &random)!, &random)
      appendSpace(&random, to: &output)
      output += utf8(":")
      appendSpace(&random, to: &output)
    }
  }
}

private func appendContainer(
  _ random: inout SplitMix, _ size: Int, _ open: String, _ close: String, to output: inout [UInt8],
  _ name: (inout SplitMix, inout [UInt8]) -> Void
) {
  output += utf8(open)
  appendSpace(&random, to: &output)
  for i in 0..<Int.random(in: 0...min(size, 4), using: &random) {
    if i > 0 {
      output += utf8(",")
      appendSpace(&random, to: &output)
    }
    name(&random, &output)
    appendValue(&random, size - 2, to: &output)
    appendSpace(&random, to: &output)
  }
  output += utf8(close)
}

private func randomNumber(_ random: inout SplitMix) -> String {
  [
    "0", "-0", "0.0", "-0e7", "1", "1.0", "1e0", "10e-1", "0.1e+1", "100E-2", "-1", "12", "1.2e1", "9007199254740993",
    "0.30",
  ]
  .randomElement(using: &random)!
}
