import Testing

@testable import Wire

@Suite("JSON Pointer") struct JSONPointerTests {
  @Test("reads the examples of RFC 6901, section 5")
  func examples() throws {
    let document = #"""
      {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}
      """#
    let examples = [
      ("", document), ("/foo", #"["bar", "baz"]"#), ("/foo/0", #""bar""#), ("/", "0"), ("/a~1b", "1"), ("/c%d", "2"),
      ("/e^f", "3"), ("/g|h", "4"), (#"/i\j"#, "5"), ("/k\"l", "6"), ("/ ", "7"), ("/m~0n", "8"),
    ]
    for (pointer, value) in examples { #expect(try get(pointer, in: document) == value, "\(pointer)") }
  }

  @Test("finds nothing where nothing is")
  func absent() throws {
    let document = #"{"a":[1,{"b":2}],"s":"x","n":null,"":{"":3},"-":4,"0":5}"#
    for pointer in [
      "/b", "/a/2", "/a/-", "/a/-1", "/a/00", "/a/01", "/a/+1", "/a/1e0", "/a/ 1", "/a/", "/a/1/c", "/a/0/0", "/s/0",
      "/n/x",
      "/a/99999999999999999999999999", "/a/9223372036854775808", "/a/18446744073709551616", "///", "/A", "/aa",
      "/a/1/b/c",
    ] {
      #expect(try get(pointer, in: document) == nil, "\(pointer)")
    }
    for (pointer, value) in [("//", "3"), ("/-", "4"), ("/0", "5"), ("/a/1/b", "2"), ("/n", "null"), ("/a/0", "1")] {
      #expect(try get(pointer, in: document) == value, "\(pointer)")
    }
  }

  @Test("refuses what isn't a pointer")
  func malformed() {
    for pointer in ["a", "a/b", "#/a", " /a", "~0", "/~", "/a~", "/~2", "/~~0", "/a~/b"] {
      #expect(refusal { _ = try get(pointer, in: "{}") }?.cause == .malformed(.pointer), "\(pointer)")
    }
    for bytes in [[0x2F, 0xFF], [0x2F, 0xED, 0xA0, 0x80], [0x2F, 0xC3]] as [[UInt8]] {
      #expect(refusal { _ = try bytes.withUnsafeBytes { try JSONPointer($0) } }?.cause == .malformed(.pointer))
    }
  }

  @Test("compares names by their characters, however they are spelled")
  func spelling() throws {
    let document =
      #"{"\u0061":1,"\u00e9":2,"\ud83d\ude00":3,"a\/b":4,"\u007e1":5,"t\tt":6,"\"":7,"\u0000":8,"a\\nb":9}"#
    for (pointer, value) in [
      ("/a", "1"), ("/é", "2"), ("/😀", "3"), ("/a~1b", "4"), ("/~01", "5"), ("/t\tt", "6"), ("/\"", "7"),
      ("/\u{0}", "8"),
      (#"/a\nb"#, "9"),
    ] {
      #expect(try get(pointer, in: document) == value, "\(pointer)")
    }
    // Canonically equivalent isn't equal, and a lone surrogate is no replacement character.
    #expect(try get("/e\u{301}", in: document) == nil)
    #expect(try get("/\u{FFFD}", in: #"{"\ud83d":1}"#) == nil)
  }

  @Test("takes the last of several members with the same name, however deep")
  func duplicates() throws {
    #expect(try get("/a", in: #"{"a":1,"b":2,"\u0061":3,"c":4}"#) == "3")
    #expect(try get("/a/b", in: #"{"a":{"b":1,"b":2},"x":0}"#) == "2")
    #expect(try get("/a/b", in: #"{"a":{"b":1},"a":{"b":2},"a":{"c":3}}"#) == nil)
    #expect(try get("/a/b", in: #"{"a":7,"a":{"b":2}}"#) == "2")
    #expect(try get("/a/b", in: #"{"a":{"b":2},"a":7}"#) == nil)
  }
}

@Suite("Edits by pointer") struct JSONEditTests {
  @Test("replace the bytes at the pointer and no others")
  func replace() throws {
    let document = "\n{ \"a\" : 1.50 ,\t\"b\":[ 1e2 , {\"c\":\"\\u0061\"} ], \"a2\":7 }\r\n"
    for (pointer, old) in [
      ("/a", "1.50"), ("/b", "[ 1e2 , {\"c\":\"\\u0061\"} ]"), ("/b/0", "1e2"), ("/b/1/c", "\"\\u0061\""), ("/a2", "7"),
      ("", "{ \"a\" : 1.50 ,\t\"b\":[ 1e2 , {\"c\":\"\\u0061\"} ], \"a2\":7 }"),
    ] {
      let parts = document.split(separator: old, maxSplits: 1, omittingEmptySubsequences: false)
      #expect(try set(pointer, in: document, to: " [ \"x\" ]\n") == parts[0] + "[ \"x\" ]" + parts[1], "\(pointer)")
    }
  }

  @Test("add members, elements and the containers on the way")
  func add() throws {
    let cases = [
      ("{}", "/a", #"{"a":9}"#), ("{ }", "/a", #"{"a":9 }"#), (#"{"b":1 }"#, "/a", #"{"b":1,"a":9 }"#),
      ("{}", "/a/b/c", #"{"a":{"b":{"c":9}}}"#), (#"{"a":{}}"#, "/a/b/c", #"{"a":{"b":{"c":9}}}"#), ("[]", "/-", "[9]"),
      ("[ ]", "/0", "[9 ]"), ("[1, 2 ]", "/-", "[1, 2,9 ]"), ("[1,2]", "/2", "[1,2,9]"), ("[1,2]", "/1", "[1,9]"),
      ("{}", "/a/-", #"{"a":[9]}"#), ("{}", "/a/-/b", #"{"a":[{"b":9}]}"#), ("[]", "/-/-", "[[9]]"),
      ("[]", "/0/0", #"[{"0":9}]"#),
      ("{}", "/-", #"{"-":9}"#), ("{}", "/0", #"{"0":9}"#), ("{}", "/", #"{"":9}"#), ("{}", "//", #"{"":{"":9}}"#),
      ("{}", "/a~1b~0c\"d\\\u{1}é", #"{"a/b~c\"d\\\u0001é":9}"#), (#"{"a":1,"a":2}"#, "/a", #"{"a":1,"a":9}"#),
      (#"{"\u0061":1}"#, "/a", #"{"\u0061":9}"#), (#"{"a":{"x":1},"a":{}}"#, "/a/x", #"{"a":{"x":1},"a":{"x":9}}"#),
    ]
    for (document, pointer, result) in cases {
      #expect(try set(pointer, in: document, to: "9") == result, "\(document) \(pointer)")
    }
  }

  @Test("create a document where there is none")
  func create() throws {
    #expect(try set("", in: nil, to: " 9 ") == "9")
    #expect(try set("/a/-/b", in: nil, to: "9") == #"{"a":[{"b":9}]}"#)
    #expect(try set("/-", in: nil, to: "9") == "[9]")
  }

  @Test("remove an entry with one comma")
  func removal() throws {
    let cases = [
      (#"{"a":1}"#, "/a", "{}"), (#"{"a":1,"b":2}"#, "/a", #"{"b":2}"#), (#"{"a":1,"b":2}"#, "/b", #"{"a":1}"#),
      (#"{"a":1,"b":2,"c":3}"#, "/b", #"{"a":1,"c":3}"#), (#"{ "a" : 1 , "b" : 2 }"#, "/a", #"{  "b" : 2 }"#),
      (#"{ "a" : 1 , "b" : 2 }"#, "/b", #"{ "a" : 1  }"#), ("[ 1 ]", "/0", "[  ]"), ("[1, 2, 3]", "/0", "[ 2, 3]"),
      ("[1, 2, 3]", "/1", "[1,  3]"), ("[1, 2, 3]", "/2", "[1, 2]"),
      (#"[[1,2],{"a":[0]}]"#, "/1/a/0", #"[[1,2],{"a":[]}]"#),
      (#"{"a":1,"b":2,"a":3}"#, "/a", #"{"b":2}"#), (#"{"a":1,"\u0061":3}"#, "/a", "{}"),
      (#"{"a":1,"a":2,"a":3}"#, "/a", "{}"),
    ]
    for (document, pointer, result) in cases {
      #expect(try remove(pointer, from: document) == result, "\(document) \(pointer)")
    }
  }

  @Test("say why they are refused, and leave their output alone")
  func refusals() {
    let sets: [(String, String, String, JSONEditError.Cause)] = [
      ("/a/b", #"{"a":1}"#, "9", .conflict(.scalar)), ("/a/b", #"{"a":null}"#, "9", .conflict(.scalar)),
      ("/a", "1", "9", .conflict(.scalar)), ("/a", "[]", "9", .conflict(.notAnIndex)),
      ("/01", "[1,2]", "9", .conflict(.notAnIndex)),
      ("/1", "[]", "9", .conflict(.beyondEnd)), ("/3", "[1,2]", "9", .conflict(.beyondEnd)),
      ("/5/a", "[]", "9", .conflict(.beyondEnd)),
      ("/a", "{", "9", .document(JSONSyntaxError(1, .truncated))),
      ("/a", "{}", "9 9", .request(JSONSyntaxError(2, .trailingBytes))),
      ("/a", "{}", "", .request(JSONSyntaxError(0, .empty))),
      ("", "x", "9", .document(JSONSyntaxError(0, .expectedValue))),
    ]
    for (pointer, document, value, cause) in sets {
      let error = refusal { _ = try set(pointer, in: document, to: value) }
      #expect(error?.cause == cause, "\(document) \(pointer)")
      #expect(error?.sentence.hasSuffix(".") == true)
    }
    let removals: [(String, String, JSONEditError.Cause)] = [
      ("", "{}", .conflict(.wholeDocument)), ("/a", "{}", .missing), ("/-", "[1]", .missing), ("/1", "[1]", .missing),
      ("/a", "[1]", .missing), ("/a/b", #"{"a":1}"#, .missing),
      ("/a", "nul", .document(JSONSyntaxError(3, .truncated))),
    ]
    for (pointer, document, cause) in removals {
      #expect(refusal { _ = try remove(pointer, from: document) }?.cause == cause, "\(document) \(pointer)")
    }
  }

  @Test("stay within depth, size and work")
  func limits() throws {
    var limits = JSONLimits()
    limits.depth = 3
    #expect(try text(set(utf8("/a/b"), in: utf8("{}"), to: utf8("[1]"), limits: limits)) == #"{"a":{"b":[1]}}"#)
    #expect(
      refusal { _ = try set(utf8("/a/b/c"), in: utf8("{}"), to: utf8("[1]"), limits: limits) }?.cause == .limit(.depth))
    #expect(refusal { _ = try set(utf8("/a/b/c/d"), in: nil, to: utf8("1"), limits: limits) }?.cause == .limit(.depth))
    limits.depth = 1000
    let deep = utf8(String(repeating: "/a", count: 129))
    #expect(throws: Never.self) { try set(Array(deep.dropLast(2)), in: nil, to: utf8("1"), limits: limits) }
    #expect(refusal { _ = try set(deep, in: nil, to: utf8("1"), limits: limits) }?.cause == .limit(.depth))
    limits = JSONLimits()
    limits.result = 7
    #expect(try text(set(utf8("/a"), in: utf8("{}"), to: utf8("1"), limits: limits)) == #"{"a":1}"#)
    #expect(
      refusal { _ = try set(utf8("/a"), in: utf8("{}"), to: utf8("12"), limits: limits) }?.cause == .limit(.result))
    #expect(try text(remove(utf8("/0"), from: utf8("[111,222,333]"), limits: limits)) == "[222,333]")
    // A thousand times the same name costs a thousand walks.
    let many = utf8("{" + Array(repeating: #""a":1"#, count: 1000).joined(separator: ",") + "}")
    #expect(try text(remove(utf8("/a"), from: many)) == "{}")
    limits = JSONLimits()
    limits.work = 100_000
    #expect(refusal { _ = try remove(utf8("/a"), from: many, limits: limits) }?.cause == .limit(.work))
    // A pointer can be far longer than a document is deep.
    let long = String(repeating: "/a", count: 100_000)
    #expect(refusal { _ = try set(utf8(long), in: utf8("{}"), to: utf8("1")) }?.cause == .limit(.depth))
    #expect(try get(long, in: "{}") == nil)
  }
}
