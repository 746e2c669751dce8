import Testing

@testable import Wire

@Suite("JSON Merge Patch") struct JSONMergePatchTests {
  @Test("merges the table of RFC 7396, appendix A")
  func appendixA() throws {
    let table = [
      (#"{"a":"b"}"#, #"{"a":"c"}"#, #"{"a":"c"}"#), (#"{"a":"b"}"#, #"{"b":"c"}"#, #"{"a":"b","b":"c"}"#),
      (#"{"a":"b"}"#, #"{"a":null}"#, "{}"), (#"{"a":"b","b":"c"}"#, #"{"a":null}"#, #"{"b":"c"}"#),
      (#"{"a":["b"]}"#, #"{"a":"c"}"#, #"{"a":"c"}"#), (#"{"a":"c"}"#, #"{"a":["b"]}"#, #"{"a":["b"]}"#),
      (#"{"a":{"b":"c"}}"#, #"{"a":{"b":"d","c":null}}"#, #"{"a":{"b":"d"}}"#),
      (#"{"a":[{"b":"c"}]}"#, #"{"a":[1]}"#, #"{"a":[1]}"#),
      (#"["a","b"]"#, #"["c","d"]"#, #"["c","d"]"#), (#"{"a":"b"}"#, #"["c"]"#, #"["c"]"#),
      (#"{"a":"foo"}"#, "null", "null"),
      (#"{"a":"foo"}"#, #""bar""#, #""bar""#), (#"{"e":null}"#, #"{"a":1}"#, #"{"e":null,"a":1}"#),
      ("[1,2]", #"{"a":"b","c":null}"#, #"{"a":"b"}"#), ("{}", #"{"a":{"bb":{"ccc":null}}}"#, #"{"a":{"bb":{}}}"#),
    ]
    for (target, change, result) in table { #expect(try merge(change, into: target) == result, "\(target) \(change)") }
  }

  @Test("merges the example of RFC 7396, section 3, and keeps its layout")
  func section3() throws {
    let target = """
      {
        "title": "Goodbye!",
        "author" : {
          "givenName" : "John",
          "familyName" : "Doe"
        },
        "tags":[ "example", "sample" ],
        "content": "This will be unchanged"
      }
      """
    let change = """
      { "title": "Hello!", "phoneNumber": "+01-123-456-7890", "author": { "familyName": null }, "tags": [ "example" ] }
      """
    let result = """
      {
        "title": "Hello!",
        "author" : {
          "givenName" : "John"
        },
        "tags":[ "example" ],
        "content": "This will be unchanged","phoneNumber":"+01-123-456-7890"
      }
      """
    #expect(try merge(change, into: target) == result)
  }

  @Test("keeps every byte it isn't asked to change")
  func verbatim() throws {
    let cases = [
      (" { \"a\" : 1.0 , \"b\" : 2 } ", "{}", " { \"a\" : 1.0 , \"b\" : 2 } "), ("{ }", #"{"x":1}"#, #"{"x":1 }"#),
      (#"{"a":1,"b":2,"c":3}"#, #"{"b":null,"c":null}"#, #"{"a":1}"#),
      (#"{"a":1 ,"b":2,"c":3 }"#, #"{"b":null,"c":null,"d":4}"#, #"{"a":1 ,"d":4 }"#),
      (#"{"a":1,"b":2,"c":3}"#, #"{"a":null,"c":null}"#, #"{"b":2}"#),
      (#"{ "a":1, "b":2 }"#, #"{"a":null,"b":null,"c":3}"#, #"{  "c":3 }"#),
      (#"{"a":1,"b":2,"c":3,"d":4}"#, #"{"b":null,"d":null}"#, #"{"a":1,"c":3}"#),
      (#"{"\u0061":1}"#, #"{"a":2}"#, #"{"\u0061":2}"#),
      (#"{"a":1,"a":2}"#, #"{"a":3}"#, #"{"a":1,"a":3}"#), (#"{"a":1,"a":2,"b":0}"#, #"{"a":null}"#, #"{"b":0}"#),
      (#"{"a":{"x":1},"a":{"y":2}}"#, #"{"a":{"z":3}}"#, #"{"a":{"x":1},"a":{"y":2,"z":3}}"#),
      ("{}", #"{"b":1,"a":2}"#, #"{"b":1,"a":2}"#),
      ("{}", #"{"a":1,"a":2}"#, #"{"a":2}"#), ("{}", #"{"a":1,"a":null}"#, "{}"),
      ("{}", #"{"a":[ null, {"b": null} ]}"#, #"{"a":[ null, {"b": null} ]}"#),
      ("{}", #"{"a":{ "b" : null , "c" : 1.0 }}"#, #"{"a":{"c":1.0}}"#),
      (#"{"a":1}"#, #"{"a":{"b":null}}"#, #"{"a":{}}"#), (" 1 ", " {\"a\":2} ", " {\"a\":2} "),
    ]
    for (target, change, result) in cases { #expect(try merge(change, into: target) == result, "\(target) \(change)") }
    #expect(try merge(#"{"a":null,"b":{"c":1}}"#, into: nil) == #"{"b":{"c":1}}"#)
    #expect(try merge("[1]", into: nil) == "[1]")
  }

  @Test("stays within its bounds, also with very many members")
  func limits() throws {
    func object(_ count: Int, _ value: String) -> String {
      "{" + (0..<count).map { "\"key\($0)\":\(value)" }.joined(separator: ",") + "}"
    }
    #expect(try merge(object(20_000, "null"), into: object(20_000, "1")) == "{}")
    #expect(try merge(object(20_000, "1"), into: "{}") == object(20_000, "1"))
    var limits = JSONLimits()
    limits.work = 1000
    #expect(refusal { _ = try merge(utf8(object(100, "1")), into: utf8("{}"), limits: limits) }?.cause == .limit(.work))
    limits = JSONLimits()
    limits.result = 13
    #expect(try text(merge(utf8(#"{"b":2}"#), into: utf8(#"{"a":1}"#), limits: limits)) == #"{"a":1,"b":2}"#)
    #expect(
      refusal { _ = try merge(utf8(#"{"b":22}"#), into: utf8(#"{"a":1}"#), limits: limits) }?.cause == .limit(.result))
    #expect(
      try text(merge(utf8(#"{"a":null}"#), into: utf8(#"{"a":1,"b":2222222}"#), limits: limits)) == #"{"b":2222222}"#)
    #expect(refusal { _ = try merge("{", into: "{}") }?.cause == .request(JSONSyntaxError(1, .truncated)))
    #expect(refusal { _ = try merge("{}", into: "{") }?.cause == .document(JSONSyntaxError(1, .truncated)))
  }
}

@Suite("JSON Patch") struct JSONPatchTests {
  @Test("applies the examples of RFC 6902, appendix A")
  func appendixA() throws {
    let examples = [
      (#"{"foo":"bar"}"#, #"[{"op":"add","path":"/baz","value":"qux"}]"#, #"{"foo":"bar","baz":"qux"}"#),  // A.1
      (#"{"foo":["bar","baz"]}"#, #"[{"op":"add","path":"/foo/1","value":"qux"}]"#, #"{"foo":["bar","qux","baz"]}"#),
      (#"{"baz":"qux","foo":"bar"}"#, #"[{"op":"remove","path":"/baz"}]"#, #"{"foo":"bar"}"#),
      (#"{"foo":["bar","qux","baz"]}"#, #"[{"op":"remove","path":"/foo/1"}]"#, #"{"foo":["bar","baz"]}"#),
      (
        #"{"baz":"qux","foo":"bar"}"#, #"[{"op":"replace","path":"/baz","value":"boo"}]"#, #"{"baz":"boo","foo":"bar"}"#
      ),
      (
        #"{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}"#,
        #"[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]"#,
        #"{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}"#
      ),
      (
        #"{"foo":["all","grass","cows","eat"]}"#, #"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#,
        #"{"foo":["all","cows","eat","grass"]}"#
      ),
      (
        #"{"baz":"qux","foo":["a",2,"c"]}"#,
        #"[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]"#,
        #"{"baz":"qux","foo":["a",2,"c"]}"#
      ),
      (
        #"{"foo":"bar"}"#, #"[{"op":"add","path":"/child","value":{"grandchild":{}}}]"#,
        #"{"foo":"bar","child":{"grandchild":{}}}"#
      ),
      (#"{"foo":"bar"}"#, #"[{"op":"add","path":"/baz","value":"qux","xyz":123}]"#, #"{"foo":"bar","baz":"qux"}"#),
      (#"{"/":9,"~1":10}"#, #"[{"op":"test","path":"/~01","value":10}]"#, #"{"/":9,"~1":10}"#),
      (
        #"{"foo":["bar"]}"#, #"[{"op":"add","path":"/foo/-","value":["abc","def"]}]"#, #"{"foo":["bar",["abc","def"]]}"#
      ),  // A.16
    ]
    for (document, operations, result) in examples {
      #expect(try patch(operations, document) == result, "\(operations)")
    }
    let refusals: [(String, String, JSONEditError.Cause)] = [
      (#"{"baz":"qux"}"#, #"[{"op":"test","path":"/baz","value":"bar"}]"#, .testFailed),  // A.9
      (#"{"foo":"bar"}"#, #"[{"op":"add","path":"/baz/bat","value":"qux"}]"#, .missing),  // A.12
      (#"{"foo":"bar"}"#, #"[{"op":"add","path":"/baz","value":"qux","op":"remove"}]"#, .malformed(.duplicateMember)),
      (#"{"/":9,"~1":10}"#, #"[{"op":"test","path":"/~01","value":"10"}]"#, .testFailed),  // A.15
    ]
    for (document, operations, cause) in refusals {
      let error = refusal { _ = try patch(operations, document) }
      #expect(error?.cause == cause, "\(operations)")
      #expect(error?.operation == 0)
    }
  }

  @Test("applies operations in order to what the ones before them made")
  func sequences() throws {
    let cases = [
      (#"{"a":1}"#, "[]", #"{"a":1}"#),
      ("1", #"[{"op":"replace","path":"","value":[2]},{"op":"add","path":"/0","value":1}]"#, "[1,2]"),
      (
        #"{"a":[1,2]}"#, #"[{"op":"copy","from":"/a","path":"/a/-"},{"op":"remove","path":"/a/0"}]"#,
        #"{"a":[2,[1,2]]}"#
      ),
      (#"{"a":1,"b":2}"#, #"[{"op":"move","from":"/a","path":"/b"}]"#, #"{"b":1}"#),
      (#"{"a":1,"b":2}"#, #"[{"op":"move","from":"/a","path":"/a"}]"#, #"{"a":1,"b":2}"#),
      (#"{"a":{"b":1}}"#, #"[{"op":"move","from":"/a/b","path":"/a"}]"#, #"{"a":1}"#),
      (#"{"a":{"b":1}}"#, #"[{"op":"move","from":"/a","path":""}]"#, #"{"b":1}"#),
      (#"{"a":{"b":1}}"#, #"[{"op":"copy","from":"","path":"/c"}]"#, #"{"a":{"b":1},"c":{"a":{"b":1}}}"#),
      ("[1,2,3]", #"[{"op":"move","from":"/0","path":"/-"}]"#, "[2,3,1]"),
      ("[1,2,3]", #"[{"op":"move","from":"/2","path":"/0"}]"#, "[3,1,2]"),
      (" [ 1 ] ", #"[{"op":"add","path":"/0","value": 0.0 }]"#, " [ 0.0,1 ] "),
      (
        "[]",
        #"[{"op":"add","path":"/-","value":1},{"op":"add","path":"/-","value":2},{"op":"add","path":"/0","value":0}]"#,
        "[0,1,2]"
      ),
      (#"{"a":1,"a":2,"b":3}"#, #"[{"op":"move","from":"/a","path":"/c"}]"#, #"{"b":3,"c":2}"#),
      (#"{"é":1}"#, #"[{"op":"remove","path":"\/\u00e9"}]"#, "{}"),
      (#"{"ab":1,"a":{}}"#, #"[{"\u006fp":"move","from":"/a","path":"/ab"}]"#, #"{"ab":{}}"#),
      ("[[1],2]", #"[{"op":"move","from":"/1","path":"/0/0"}]"#, "[[2,1]]"),
    ]
    for (document, operations, result) in cases { #expect(try patch(operations, document) == result, "\(operations)") }
  }

  @Test("is applied whole or not at all, and names the operation that failed")
  func atomic() {
    let good = #"{"op":"add","path":"/x","value":1}"#
    let cases: [(String, JSONEditError.Cause)] = [
      ("1", .malformed(.notAnObject)), ("{}", .malformed(.missingOperation)),
      (#"{"op":1,"path":""}"#, .malformed(.missingOperation)),
      (#"{"op":"Add","path":"","value":1}"#, .malformed(.unknownOperation)),
      (#"{"op":"adds","path":""}"#, .malformed(.unknownOperation)),
      (#"{"op":"remove"}"#, .malformed(.missingPath)), (#"{"op":"remove","path":1}"#, .malformed(.missingPath)),
      (#"{"op":"copy","path":""}"#, .malformed(.missingFrom)),
      (#"{"op":"move","path":"","from":null}"#, .malformed(.missingFrom)),
      (#"{"op":"add","path":""}"#, .malformed(.missingValue)), (#"{"op":"remove","path":"a"}"#, .malformed(.pointer)),
      (#"{"op":"remove","path":"/\ud800"}"#, .malformed(.pointer)),
      (#"{"op":"copy","path":"","from":"/~"}"#, .malformed(.pointer)),
      (#"{"op":"remove","path":"/y","path":"/x"}"#, .malformed(.duplicateMember)),
      (#"{"op":"move","path":"/x/y","from":"/x"}"#, .malformed(.moveIntoItself)),
      (#"{"op":"move","path":"/x","from":""}"#, .malformed(.moveIntoItself)),
      (#"{"op":"remove","path":"/y"}"#, .missing), (#"{"op":"remove","path":""}"#, .conflict(.wholeDocument)),
      (#"{"op":"replace","path":"/y","value":1}"#, .missing), (#"{"op":"replace","path":"/l/-","value":1}"#, .missing),
      (#"{"op":"test","path":"/y","value":1}"#, .missing),
      (#"{"op":"copy","path":"/z","from":"/y"}"#, .missing), (#"{"op":"move","path":"/z","from":"/l/2"}"#, .missing),
      (#"{"op":"add","path":"/l/3","value":1}"#, .conflict(.beyondEnd)),
      (#"{"op":"add","path":"/l/x","value":1}"#, .conflict(.notAnIndex)),
      (#"{"op":"add","path":"/l/01","value":1}"#, .conflict(.notAnIndex)),
      (#"{"op":"add","path":"/x/y","value":1}"#, .conflict(.scalar)),
      (#"{"op":"add","path":"/p/q","value":1}"#, .missing), (#"{"op":"add","path":"/l/-/q","value":1}"#, .missing),
      (#"{"op":"test","path":"/x","value":"1"}"#, .testFailed),
    ]
    for (operation, cause) in cases {
      let error = refusal { _ = try patch("[\(good),\(operation),\(good)]", #"{"l":[0,1]}"#) }
      #expect(error?.cause == cause, "\(operation)")
      #expect(error?.operation == 1, "\(operation)")
    }
    #expect(refusal { _ = try patch("{}", "{}") } == JSONEditError(.malformed(.notAnArray)))
    #expect(refusal { _ = try patch("[", "{}") } == JSONEditError(.request(JSONSyntaxError(1, .truncated))))
    #expect(refusal { _ = try patch("[]", "{") } == JSONEditError(.document(JSONSyntaxError(1, .truncated))))
  }

  @Test("tests equality by value, numbers without loss")
  func equality() {
    let equal = [
      ("1", "1.0"), ("1", "1e0"), ("10", "1e1"), ("0.1", "1e-1"), ("100", "1.00E+2"), ("0", "-0.0e5"),
      ("0", "0e99999999999999999999"), ("-1.50", "-15e-1"),
      ("123456789012345678901234567890", "1.2345678901234567890123456789e29"), ("0.000001", "1e-6"),
      ("1e99999999999999999999", "10e99999999999999999998"),
      ("1e-99999999999999999999", "0.1e-99999999999999999998"), ("1e00000000000000000000001", "10"), ("100e-2", "1"),
      ("0.10e1", "1"), ("1000e9999999999999999999", "1e10000000000000000002"),
      (#""a""#, #""\u0061""#), (#""\/""#, #""/""#), (#""é""#, #""\u00e9""#), (#""😀""#, #""\uD83D\ude00""#),
      (#""\ud800""#, #""\uD800""#),
      ("[1, 2]", "[1.0,2]"), (#"{"a":1,"b":2}"#, #"{"b":2.0,"\u0061":1}"#), (#"{"a":1,"a":2}"#, #"{"a":2}"#),
      ("[ ]", "[]"), ("{ }", "{}"), ("[{\"x\":[]}]", "[{\"x\":[ ]}]"),
    ]
    let different = [
      ("1", "-1"), ("1", "1.1"), ("1", "10"), ("1", "\"1\""), ("0", "false"), ("0", "null"), ("null", "false"),
      ("true", "false"), ("9007199254740993", "9007199254740992"),
      ("1e400", "2e400"), ("1e400", "1e401"), ("1e-400", "0"), ("0.1", "0.10000000000000000001"),
      ("1e99999999999999999999", "1e99999999999999999998"),
      ("1e99999999999999999999", "1e-99999999999999999999"), ("12", "21"), ("1.2", "12"), ("123", "12"),
      ("1", "1e18446744073709551616"),
      (#""a""#, #""A""#), (#""""#, #""\u0000""#), (#""é""#, "\"e\u{301}\""), (#""\ud800""#, #""\ufffd""#),
      (#""\ud800""#, #""\udc00""#), (#""\ud800\ud801""#, #""\ud800\udc01""#), (#""ab""#, #""a""#),
      ("[1,2]", "[2,1]"), ("[1]", "[1,2]"), ("[1,2]", "[1]"), ("[]", "{}"), (#"{"a":1}"#, #"{"b":1}"#),
      (#"{"a":1}"#, #"{"a":1,"b":2}"#), (#"{"a":1,"a":2}"#, #"{"a":1}"#),
    ]
    for (pairs, isEqual) in [(equal, true), (different, false)] {
      for (a, b) in pairs {
        for (x, y) in [(a, b), (b, a)] {
          let error = refusal { _ = try patch(#"[{"op":"test","path":"/v","value":\#(x)}]"#, #"{"v":\#(y)}"#) }
          #expect(error?.cause == (isEqual ? nil : .testFailed), "\(x) \(y)")
        }
      }
    }
  }

  @Test("can't be made to grow, nest or work without end")
  func limits() throws {
    func repeated(_ operation: String, _ count: Int) -> [UInt8] {
      utf8("[" + Array(repeating: operation, count: count).joined(separator: ",") + "]")
    }
    let document = utf8(#"{"a":["0123456789"]}"#)
    #expect(
      refusal { _ = try patch(repeated(#"{"op":"copy","from":"/a","path":"/a/0"}"#, 50), document) }?.cause
        == .limit(.result))
    #expect(
      refusal { _ = try patch(repeated(#"{"op":"copy","from":"","path":"/a"}"#, 200), utf8("{}")) }?.cause
        == .limit(.depth))
    #expect(
      refusal { _ = try patch(repeated(#"{"op":"test","path":"","value":{}}"#, 10_001), utf8("{}")) }?.cause
        == .limit(.operations))
    #expect(throws: Never.self) { try patch(repeated(#"{"op":"test","path":"","value":{}}"#, 10_000), utf8("{}")) }
    let large = utf8("[" + String(repeating: "0,", count: 50_000) + "0]")
    let error = refusal { _ = try patch(repeated(#"{"op":"remove","path":"/0"}"#, 5_000), large) }
    #expect(error?.cause == .limit(.work))
    #expect((error?.operation ?? 0) > 50)
  }
}
