import Testing

@testable import Wire

@Suite("Reading and writing JSON") struct JSONReaderTests {
  @Test("steps through objects and arrays in the order of the text")
  func walk() throws {
    try withJSON(utf8(#" { "op" : "put", "list":[1,[2], {} ,"x"], "n":null,"b":true ,"\u0061":{} } "#)) { object in
      var seen: [String] = []
      var members = object.members()
      while let member = members.next() {
        seen.append(text(member.name.bytes) + "=" + text(member.value.bytes))
      }
      #expect(seen == [#""op"="put""#, #""list"=[1,[2], {} ,"x"]"#, #""n"=null"#, #""b"=true"#, #""\u0061"={}"#])
      #expect(object.kind == .object && object.start == 1)
      var list: [JSONValue.Kind] = []
      try utf8("/list").withUnsafeBytes { path in
        var elements = object.value(at: try JSONPointer(path))!.elements()
        while let element = elements.next() { list.append(element.kind) }
      }
      #expect(list == [.number, .array, .object, .string])
    }
    for json in ["[]", "[ ]", "{}", "{ }", "1", "\"\"", "null"] {
      try withJSON(utf8(json)) { value in
        var members = value.members()
        var elements = value.elements()
        #expect(members.next() == nil && elements.next() == nil)
      }
    }
  }

  @Test("decodes scalars, and answers nil for other kinds")
  func scalars() throws {
    let integers: [(String, Int64?)] = [
      ("0", 0), ("-0", 0), ("9223372036854775807", .max), ("-9223372036854775808", .min), ("9223372036854775808", nil),
      ("-9223372036854775809", nil), ("99999999999999999999999", nil), ("1.0", nil), ("1e2", nil), ("\"1\"", nil),
      ("null", nil),
    ]
    for (json, integer) in integers { try withJSON(utf8(json)) { #expect($0.integer == integer, "\(json)") } }
    let doubles: [(String, Double?)] = [
      ("0", 0), ("1.5", 1.5), ("-2e3", -2000), ("0.1", 0.1), ("1e400", nil), ("1e-400", 0), ("true", nil),
      ("\"1\"", nil), ("5e-324", .leastNonzeroMagnitude),
    ]
    for (json, double) in doubles { try withJSON(utf8(json)) { #expect($0.double == double, "\(json)") } }
    for (json, boolean) in [("true", true), ("false", false), ("null", nil), ("1", nil)] as [(String, Bool?)] {
      try withJSON(utf8(json)) { #expect($0.boolean == boolean) }
    }
  }

  @Test("decodes strings, but not those that aren't Unicode")
  func strings() throws {
    let strings: [(String, String?)] = [
      (#""""#, ""), (#""plain""#, "plain"), (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{C}\n\r\t"),
      (#""\u0061\u00e9\u20AC\ud83d\ude00""#, "aé€😀"),
      (#""x\u0000""#, "x\u{0}"), (#""\uffff\ud7ff\ue000""#, "\u{FFFF}\u{D7FF}\u{E000}"),
      (#""\udbff\udfff""#, "\u{10FFFF}"), (#""aé😀\n""#, "aé😀\n"),
      (#""\ud800""#, nil), (#""\udc00""#, nil), (#""\ud800\ud801""#, nil), (#""x\ud800\u0061""#, nil),
      (#""\ud800\ud800\udc00""#, nil), ("1", nil),
      ("[]", nil),
    ]
    for (json, string) in strings {
      try withJSON(utf8(json)) { value in
        var output = utf8("before")
        #expect(value.string(into: &output) == (string != nil), "\(json)")
        #expect(output == utf8("before" + (string ?? "")), "\(json)")
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: value.count) { buffer in
          let count = value.string(to: buffer.baseAddress!)
          #expect(count.map { text(buffer[..<$0]) } == string, "\(json)")
        }
      }
    }
    try withJSON(utf8(#""\u006fp""#)) {
      #expect($0.isString("op") && !$0.isString("o") && !$0.isString("opp") && !$0.isString(""))
    }
    try withJSON(utf8("1")) { #expect(!$0.isString("1")) }
  }

  @Test("writes any bytes as a valid string that reads back")
  func writing() throws {
    var random = SplitMix(seed: 2)
    let bytes: [UInt8] =
      Array(0...255) + utf8("\"\\\u{8}\n😀€é\u{FFFF}") + [
        0xF0, 0x9F, 0x98, 0x41, 0xED, 0xA0, 0x80, 0xF4, 0x90, 0xE2, 0x82,
      ]
    for round in 0..<2_000 {
      var input =
        round == 0
        ? bytes : (0..<Int.random(in: 0..<40, using: &random)).map { _ in bytes.randomElement(using: &random)! }
      if round % 3 == 0 { input = utf8(text(input)) }
      var output = utf8("x")
      input.withUnsafeBytes { appendJSONString($0, to: &output) }
      output.removeFirst()
      #expect(output.count <= 2 + jsonMaximalExpansion * input.count)
      withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 2 + jsonMaximalExpansion * input.count) { buffer in
        let count = input.withUnsafeBytes { writeJSONString($0, to: buffer.baseAddress!) }
        #expect(Array(buffer[..<count]) == output)
      }
      try withJSON(output) { value in
        var back: [UInt8] = []
        #expect(value.string(into: &back))
        #expect(back == utf8(text(input)))  // the library repairs ill-formed bytes in the same way
      }
    }
    var output: [UInt8] = []
    utf8("a\"\\/\u{0}\u{8}\t\n\u{B}\u{C}\r\u{1F}\u{7F}é").withUnsafeBytes { appendJSONString($0, to: &output) }
    #expect(text(output) == #""a\"\\/\u0000\b\t\n\u000b\f\r\u001f"# + "\u{7F}é\"")
  }

  @Test("writes integers")
  func integers() {
    for value in [0, 1, -1, 9, 10, 99, 100, -100, .max, .min, 1_000_000_007] as [Int64] {
      var output = utf8("x")
      appendJSONInteger(value, to: &output)
      #expect(text(output) == "x\(value)")
    }
    var output: [UInt8] = []
    appendJSON(#"{"n":"#, to: &output)
    appendJSONInteger(UInt64.max, to: &output)
    appendJSON("}", to: &output)
    #expect(text(output) == #"{"n":18446744073709551615}"#)
  }
}
