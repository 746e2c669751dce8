import Testing

@testable import Wire

@Suite("The JSON scanner") struct JSONScannerTests {
  @Test("accepts everything RFC 8259 allows")
  func accepts() {
    for json in accepted {
      #expect(syntaxError(json) == nil, "\(text(json))")
      #expect(throws: Never.self, "\(text(json))") { try JSONModel(json) }
    }
  }

  @Test("refuses everything else")
  func refuses() {
    for json in refused {
      let error = syntaxError(json)
      #expect(error != nil, "\(text(json))")
      #expect((error?.offset ?? 0) <= json.count)
      #expect(throws: JSONModel.Refusal.self, "\(text(json))") { try JSONModel(json) }
    }
  }

  @Test("names the place and the reason")
  func placeAndReason() {
    let cases: [(String, Int, JSONSyntaxError.Reason)] = [
      ("", 0, .empty), (" \n", 2, .empty), ("\u{FEFF}1", 0, .byteOrderMark), ("[1,2", 4, .truncated),
      ("[1,]", 3, .expectedValue), (#"{"a":1,}"#, 7, .expectedName), (#"{"a" 1}"#, 5, .expectedColon),
      (#"{"a":1 "b":2}"#, 7, .expectedCommaOrBrace), ("[1 2]", 3, .expectedCommaOrBracket), ("1 2", 2, .trailingBytes),
      ("\"a\u{1}\"", 2, .controlInString), (#""ab\x""#, 3, .badEscape), ("[-]", 1, .badNumber), ("[01]", 1, .badNumber),
      ("[nul]", 1, .badLiteral), ("[tru", 4, .truncated), ("-", 1, .truncated), ("1.", 2, .truncated),
    ]
    for (json, offset, reason) in cases {
      let error = syntaxError(utf8(json))
      #expect(error?.offset == offset, "\(json)")
      #expect(error?.reason == reason, "\(json)")
    }
    #expect(syntaxError([0x22, 0x61, 0xFF, 0x22])?.offset == 2)
    #expect(syntaxError([0x22, 0x61, 0xFF, 0x22])?.reason == .badUTF8)
  }

  @Test("takes nesting up to the bound and not beyond")
  func depth() {
    for open in ["[", #"{"a":"#, #"[{"a":"#] {
      let levels = open == #"[{"a":"# ? 2 : 1
      let close = open == "[" ? "]" : levels == 1 ? "}" : "}]"
      func nested(_ n: Int) -> [UInt8] {
        utf8(String(repeating: open, count: n) + "1" + String(repeating: close, count: n))
      }
      #expect(syntaxError(nested(128 / levels)) == nil)
      #expect(syntaxError(nested(128 / levels + 1))?.reason == .tooDeep)
      #expect(syntaxError(nested(4), maximumDepth: 4 * levels) == nil)
      #expect(syntaxError(nested(4), maximumDepth: 4 * levels - 1)?.reason == .tooDeep)
    }
    #expect(syntaxError(utf8("1"), maximumDepth: 0) == nil)
    #expect(syntaxError(utf8("[]"), maximumDepth: 0)?.reason == .tooDeep)
    for bomb in ["[", "{\"\":", "[[],", "[{},{\"a\":"] {
      #expect(syntaxError(utf8(String(repeating: bomb, count: 1_000_000)))?.reason == .tooDeep)
    }
    // Wide isn't deep.
    #expect(syntaxError(utf8("[" + String(repeating: "[{}],", count: 10_000) + "[]]")) == nil)
  }

  @Test("refuses every proper prefix of an array or object")
  func truncation() {
    let json = utf8(#" {"a":[1,-2.5e+10,true,false,null,"x\n\u00e9é😀\ud83d\ude00"],"":{"b":{}},"c":[[],{}]}"#)
    #expect(syntaxError(json) == nil)
    for count in 0..<json.count {
      let error = syntaxError(Array(json[..<count]))
      #expect(error != nil, "\(text(json[..<count]))")
      #expect((error?.offset ?? 0) <= count)
    }
  }

  @Test("finds the end of a plain run at every length and place")
  func plainRuns() {
    for length in 0..<40 {
      for special in [[0x22], [0x5C, 0x6E], [0xC3, 0xA9], [0x1F], [0x00], [0xFF], [0x7F]] as [[UInt8]] {
        for place in 0...length {
          var json = [UInt8](repeating: 0x61, count: length)
          json.insert(contentsOf: special, at: place)
          json = [0x22] + json + [0x22]
          #expect((syntaxError(json) == nil) == ((try? JSONModel(json)) != nil), "\(json)")
        }
      }
    }
  }

  @Test("knows every UTF-8 sequence of two bytes, and the edges of three and four")
  func allUTF8() {
    func check(_ bytes: [UInt8]) {
      let isValid = String(validating: bytes, as: UTF8.self) != nil
      if (syntaxError([0x22] + bytes + [0x22]) == nil) != isValid { Issue.record("\(bytes)") }
    }
    let edges: [UInt8] = [0x7F, 0x80, 0xBF, 0xC0]
    for a in UInt8(0x80)...0xFF {
      check([a])
      for b in UInt8(0x7F)...0xFF {
        check([a, b])
        for c in edges where a >= 0xE0 {
          check([a, b, c])
          for d in edges where a >= 0xF0 { check([a, b, c, d]) }
        }
      }
    }
  }

  @Test("agrees with the twin on documents with random bytes changed")
  func mutations() {
    var random = SplitMix(seed: 1)
    var wasValid = 0
    for _ in 0..<10_000 {
      var json = randomDocument(&random, size: 6)
      for _ in 0..<Int.random(in: 0...2, using: &random) where !json.isEmpty {
        let place = Int.random(in: json.indices, using: &random)
        let bytes = utf8(#"{}[],:"\u0123456789eE+-. tfn/"#) + [0x00, 0x0A, 0x1F, 0x80, 0xC3, 0xE2, 0xF0, 0xFF]
        switch Int.random(in: 0..<4, using: &random) {
        case 0: json[place] = bytes.randomElement(using: &random)!
        case 1: json.remove(at: place)
        case 2: json.insert(bytes.randomElement(using: &random)!, at: place)
        default: json.swapAt(place, Int.random(in: json.indices, using: &random))
        }
      }
      let isValid = syntaxError(json) == nil
      wasValid += isValid ? 1 : 0
      #expect(isValid == ((try? JSONModel(json)) != nil), "\(text(json))")
    }
    #expect(wasValid > 2_500 && wasValid < 9_000)
  }
}

/// Texts in the style of JSONTestSuite's y_ files (https://github.com/nst/JSONTestSuite).
private let accepted: [[UInt8]] =
  [
    "0", "-0", "1", "-1", "10", "123456789", "0.0", "0.1", "-0.1", "1.5", "10.01", "0e0", "0E0", "0e+0", "0e-0", "1e5",
    "1E5",
    "1e+5", "1e-5", "1.5e5", "-1.5E-5", "1e05", "1e00", "123456789012345678901234567890", "1e999999", "-1e-999999",
    "0.000000000000000000000000000000000001", "1E400", "-237462374673276894279832749832423479823246327846",
    "true", "false", "null", "\"\"", "\"a\"", " 1", "1 ", "\t1", "\n1\n", "\r\n1\r\n", " \t\r\n[ \t\r\n] \t\r\n",
    "[]", "{}", "[ ]", "{ }", "[[]]", "[{}]", "[1]", "[1,2]", "[1 , 2]", "[ 1, 2 ]", "[null]", "[true,false]",
    "[\"a\"]",
    "[[],[]]", "[1,[2,[3]]]", "[null, 1, \"1\", {}]", "[1,null,null,null,2]", "[\"\"]", "[-0]", "[0e1]", "[123.456789]",
    #"{"":0}"#, #"{"a":1}"#, #"{"a":1,"b":2}"#, #"{ "a" : 1 , "b" : 2 }"#, #"{"a":{"b":{"c":[]}}}"#, #"{"a":[]}"#,
    #"{"a":"b","a":"c"}"#, #"{"a":"b","a":"b"}"#, "{\n\"a\": \"b\"\n}", #"{"a\u0000b":1}"#, #"{"\ud83d\ude00":1}"#,
    #"["\"\\\/\b\f\n\r\t"]"#, #""\u0000""#, #""\u0061""#, #""\u00e9\u00E9""#, #""\uD83D\uDE00""#, #""\uFFFF""#,
    #""\uD800""#, #""\uDC00""#, #""\uD800\uD800""#, #""\uDC00\uD800""#, #""\uD800x""#, #""\uD800\n""#,
    #""\uABCD\uEF01""#,
    #""\\u0061""#, #""\\""#, #""\"""#, #""\\\"""#, #""a/b""#, #""\/""#, "\"\u{7F}\"", "\"é\"", "\"€\"", "\"😀\"",
    "\"\u{2028}\u{2029}\"", "\"\u{FFFE}\u{FFFF}\u{10FFFF}\"", "\"\u{FEFF}\"", "\"// no comment\"", "\"'\"",
    "\"{[,:]}\"",
    #"[1,"x",true,null,{"k":[0.5]}]"#, "\"" + String(repeating: "a", count: 1000) + "\"",
    "[" + String(repeating: "0,", count: 1000) + "0]", String(repeating: " ", count: 100) + "1",
  ].map(utf8) + [
    [0x22, 0xF4, 0x8F, 0xBF, 0xBF, 0x22], [0x22, 0xED, 0x9F, 0xBF, 0x22], [0x22, 0xEE, 0x80, 0x80, 0x22],
  ]

/// Texts in the style of JSONTestSuite's n_ files, and those i_ files that we refuse.
private let refused: [[UInt8]] =
  [
    "", " ", "\n", "[", "]", "{", "}", ",", ":", "\"", "-", "+", ".", "e", "E1", "\\", "'", "*", "#", "@", "abc", "a",
    "01", "-01", "00", "-00", "1.", "-1.", ".1", "-.1", "1.e5", "1e", "1E", "1e+", "1e-", "1e5.5", "1e5e5", "1.2.3",
    "+1", "++1",
    "--1", "- 1", "-a", "1a", "1+1", "1-1", "1 000", "1,000", "1_000", "0x1", "0x", "0b1", "1f", "1L", "1n", "0.1.2",
    "2.e3", "0e",
    "0e+", "0.e1", "0.3e", "0.3e+", "9.e+", "Infinity", "-Infinity", "NaN", "-NaN", "Inf", "nan", "１", "1e１", "-x",
    "012", "1 2",
    "True", "FALSE", "Null", "nul", "nulll", "tru", "truee", "fals", "falsee", "undefined", "t", "f", "n", "nuLl",
    "TRUE",
    "[1", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1;2]", "[1:2]", "[1}", "[1]]", "[[1]", "[\"a\"", "[\"a",
    "[\"a\" 1]",
    "[1,\n1\n,1", "[\"\":1]", "[x]", "[x", "[-]", "[1.]", "[*]", "[<null>]", "[a\\f]", "[\u{c}]", "[1]x", "[1],",
    "[][]", "[]]", "[,",
    "[\"a\",\n4\n,1,", "[ false, nao]", "[1,{]", "[{]", "[{}", "[}", "[\"",
    "{1:1}", "{a:1}", "{'a':1}", "{\"a\"}", "{\"a\",1}", "{\"a\":}", "{\"a\"::1}", "{\"a\":1,}", "{,\"a\":1}", "{,}",
    "{\"a\":1,,\"b\":2}",
    "{\"a\":1 \"b\":2}", "{\"a\":1", "{\"a\":", "{\"a\"", "{\"a", "{\"", "{\"a\":1]", "{\"a\":1}}", "{\"a\":1}#",
    "{\"a\":1}/**/",
    "{\"a\":/**/1}", "{\"a\":1}//", "{\"a\":1}1", "{null:1}", "{[]:1}", "{\"a\":1;\"b\":2}", "{\"a\"=1}", "{:1}",
    "{\"a\" \"b\"}", "{{}}",
    "{\"a\":'b'}", "{\"a\":b}", "{\"a\":1,\"b\"}", "{\"a\":1,b:2}", "{}}", "{\"x\", null}", "{\"x\"::\"b\"}",
    "{9999E9999:1}",
    "\"a", "a\"", "\"a\"b\"", "'a'", "\"\\\"", "\"\\", "\"\\x41\"", "\"\\a\"", "\"\\v\"", "\"\\0\"", "\"\\'\"",
    "\"\\ \"", "\"\\U0061\"",
    "\"\\u\"", "\"\\u1\"", "\"\\u12\"", "\"\\u123\"", "\"\\u123g\"", "\"\\u 123\"", "\"\\u+123\"", "\"\\u-123\"",
    "\"\\u00", "\"\\ud83d\\u\"",
    "\"\\ud83d\\ude\"", "\"\\é\"", "\"\\😀\"", "\"\\\u{0}\"", "\"\\\n\"", "\"\t\"", "\"\n\"", "\"\r\"", "\"\u{0}\"",
    "\"\u{1}\"", "\"\u{1F}\"",
    "\"aaaaaaaaaaaaaaaa\u{1F}aaaaaaaa\"", "\"a\"\"b\"", "\"\"x", "\"\\u00e\"",
    "\u{FEFF}1", "\u{FEFF}", "\u{FEFF}{}", "1\u{FEFF}", "\u{A0}1", "1\u{A0}", "\u{2028}1", "\u{2060}1", "\u{B}1",
    "\u{C}1", "\u{0}", "1\u{0}",
    "\u{0}1", "[\u{0}]", "[1\u{0}]", "{\u{0}}", "/**/1", "1/**/", "//x\n1", "1//x", "#x\n1", "<!--x-->1", "é", "[é]",
    "{\"a\":é}", "/", "/*",
    "[\u{200B}]", "[1,\u{A0}2]", "<.>", "[<null>]", "\u{1B}", "[\"a\u{0}a\"]", "123\u{0}", "{\"a\":\"b\"}#{}", "[True]",
    "[-2.]", "[0.e1]",
  ].map(utf8)
  + [
    [0xFF], [0x80], [0xC3], [0xEF, 0xBB, 0xBF], [0xEF, 0xBB], [0xFE, 0xFF, 0x00, 0x31], [0xFF, 0xFE, 0x31, 0x00],
    [0x31, 0xFF],
    [0x5B, 0xFF, 0x5D], [0x22, 0x80, 0x22], [0x22, 0xBF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xC1, 0xBF, 0x22],
    [0x22, 0xC3, 0x22], [0x22, 0xC3, 0x28, 0x22], [0x22, 0xE0, 0x80, 0x80, 0x22], [0x22, 0xE0, 0x9F, 0xBF, 0x22],
    [0x22, 0xE2, 0x82, 0x22], [0x22, 0xE2, 0x28, 0xA1, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22],
    [0x22, 0xED, 0xBF, 0xBF, 0x22],
    [0x22, 0xF0, 0x80, 0x80, 0x80, 0x22], [0x22, 0xF0, 0x8F, 0xBF, 0xBF, 0x22], [0x22, 0xF0, 0x9F, 0x98, 0x22],
    [0x22, 0xF4, 0x90, 0x80, 0x80, 0x22], [0x22, 0xF5, 0x80, 0x80, 0x80, 0x22],
    [0x22, 0xF8, 0x88, 0x80, 0x80, 0x80, 0x22],
    [0x22, 0xFE, 0x22], [0x22, 0xFF, 0x22], [0x22, 0xC3], [0x22, 0xE2, 0x82], [0x22, 0xF0, 0x9F, 0x98],
    [0x22, 0x5C, 0xFF, 0x22],
    [0x22, 0x5C, 0x75, 0xFF, 0x30, 0x30, 0x30, 0x22], [0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D], [0x31, 0x00],
  ]
