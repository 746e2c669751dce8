import CXXHash
import Testing

@testable import Wire

@Suite("Percent-encoding, UTF-8, JSON strings, byte scans")
struct TextEncodingTests {
  /// The decoded bytes, or nil if they are malformed.
  func decode(_ text: String, plusIsSpace: Bool = false) -> [UInt8]? {
    reading(text) { bytes, count in
      var decoded = [UInt8](repeating: 0, count: count + 1)
      let written = decoded.withUnsafeMutableBufferPointer {
        Text.decodePercent(bytes, count, into: $0.baseAddress!, plusIsSpace: plusIsSpace)
      }
      return written < 0 ? nil : Array(decoded.prefix(written))
    }
  }

  @Test("percent-encoding")
  func percent() {
    #expect(decode("a%2Fb%2fc") == Array("a/b/c".utf8))
    #expect(decode("%00%ff%C3%A9") == [0, 0xFF, 0xC3, 0xA9])
    #expect(decode("a+b%2B") == Array("a+b+".utf8))
    #expect(decode("a+b%2B", plusIsSpace: true) == Array("a b+".utf8))
    #expect(decode("") == [])
    for junk in ["%", "%4", "a%", "%4g", "%g4", "%%41", "% 41", "%-1"] { #expect(decode(junk) == nil, "\(junk)") }
  }

  /// The pairs of a query, "!" for a malformed one.
  func pairs(_ query: String) -> [String] {
    reading("?" + query) { bytes, count in
      var buffer = [UInt8](repeating: 0, count: count)
      return buffer.withUnsafeMutableBufferPointer { buffer in
        var iterator = QueryIterator(Slice(offset: 1, count: UInt32(count - 1)))
        var pairs: [QueryIterator.Pair] = []
        var malformed = false
        while !malformed {
          let step = iterator.next(bytes, into: buffer.baseAddress!)
          if case .pair(let pair) = step { pairs.append(pair) } else if step == .end { break } else { malformed = true }
        }
        func text(_ slice: Slice) -> String {
          String(decoding: buffer[Int(slice.offset)..<Int(slice.offset + slice.count)], as: UTF8.self)
        }
        return pairs.map { text($0.name) + ($0.hasValue ? "=" + text($0.value) : "") } + (malformed ? ["!"] : [])
      }
    }
  }

  @Test("queries")
  func queries() {
    #expect(pairs("a=1&b=2") == ["a=1", "b=2"])
    #expect(pairs("") == [])
    #expect(pairs("&&a&&b=&") == ["a", "b="])
    #expect(pairs("at=/a/b%20c&x=y=z") == ["at=/a/b c", "x=y=z"])
    #expect(pairs("q=a+b%2Bc&%74tl=30s") == ["q=a b+c", "ttl=30s"])
    #expect(pairs("a%26b=c%3Dd") == ["a&b=c=d"])
    #expect(pairs("=x") == ["=x"])
    #expect(pairs("a=1&b=%2") == ["a=1", "!"])
    #expect(pairs("%=1") == ["!"])
  }

  static let sequences: [([UInt8], Bool)] = [
    ([], true), (Array("plain ASCII that is longer than sixteen bytes".utf8), true),
    ([0xC3, 0xA9], true), ([0xE2, 0x82, 0xAC], true), ([0xF0, 0x9F, 0x98, 0x80], true),
    ([0xF4, 0x8F, 0xBF, 0xBF], true),
    ([0xC0, 0x80], false), ([0xC1, 0xBF], false), ([0xE0, 0x9F, 0xBF], false), ([0xED, 0xA0, 0x80], false),
    ([0xF0, 0x8F, 0xBF, 0xBF], false), ([0xF4, 0x90, 0x80, 0x80], false), ([0xF5, 0x80, 0x80, 0x80], false),
    ([0x80], false), ([0xC3], false), ([0xE2, 0x82], false), ([0xF0, 0x9F, 0x98], false), ([0xC3, 0x41], false),
  ]

  @Test("UTF-8, also behind and before ASCII", arguments: sequences)
  func utf8(bytes: [UInt8], valid: Bool) {
    for prefix in [0, 1, 15, 16, 17, 40] {
      let padding = [UInt8](repeating: UInt8(ascii: "a"), count: prefix)
      #expect(withExactBytes(padding + bytes + padding) { Text.isUTF8($0, $1) } == valid)
      #expect(withExactBytes(padding + bytes) { Text.isUTF8($0, $1) } == valid)
    }
  }

  @Test(
    "random bytes are UTF-8 and become JSON strings exactly as the standard library has it",
    arguments: [1, 2] as [UInt64])
  func randomBytes(seed: UInt64) {
    var random = SplitMix(seed: seed)
    let pool: [UInt8] = [
      0x41, 0x22, 0x5C, 0x0A, 0x1F, 0x7F, 0x80, 0xBF, 0x9F, 0xA0, 0xC2, 0xE0, 0xED, 0xE2, 0xF0, 0xF4, 0x90, 0xFF,
    ]
    for _ in 0..<3_000 {
      let bytes = (0..<Int.random(in: 0..<40, using: &random)).map { _ in pool.randomElement(using: &random)! }
      #expect(withExactBytes(bytes) { Text.isUTF8($0, $1) } == (String(validating: bytes, as: UTF8.self) != nil))
      let json = withExactBytes(bytes) { bytes, count in
        written(maximumJSONString(count)) {
          writeJSONString(UnsafeRawBufferPointer(start: bytes, count: count), to: $0)
        }
      }
      var expected = "\""
      for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
        switch scalar {
        case "\"": expected += "\\\""
        case "\\": expected += "\\\\"
        case "\n": expected += "\\n"
        case "\u{1F}": expected += "\\u001f"
        default: expected.unicodeScalars.append(scalar)
        }
      }
      #expect(json == expected + "\"")
    }
  }

  @Test("all control characters are escaped")
  func controls() {
    let json = withExactBytes(Array(0..<0x20)) { bytes, count in
      written(maximumJSONString(count)) {
        writeJSONString(UnsafeRawBufferPointer(start: bytes, count: count), to: $0)
      }
    }
    #expect(
      json == #""\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f"#
        + #"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f""#)
  }

  @Test("the vector scans agree with their scalar twins at every index, count and byte")
  func scans() {
    var random = SplitMix(seed: 11)
    for byte in UInt8.min...UInt8.max {
      for count in [1, 7, 15, 16, 17, 31, 32, 33, 50] {
        // One byte among ordinary ones, at any place.
        var bytes = [UInt8](repeating: UInt8(ascii: "m"), count: count)
        bytes[Int.random(in: 0..<count, using: &random)] = byte
        bytes[Int.random(in: 0..<count, using: &random)] = byte
        for from in 0...count {
          withExactBytes(bytes) { bytes, count in
            #expect(kvd_find_control(bytes, from, count) == kvd_find_control_scalar(bytes, from, count))
            #expect(kvd_find_target_mark(bytes, from, count) == kvd_find_target_mark_scalar(bytes, from, count))
            #expect(kvd_find_not_word(bytes, from, count) == kvd_find_not_word_scalar(bytes, from, count))
            #expect(kvd_find_not_host(bytes, from, count) == kvd_find_not_host_scalar(bytes, from, count))
            #expect(kvd_find_not_ascii(bytes, from, count) == kvd_find_not_ascii_scalar(bytes, from, count))
            #expect(kvd_find_json_mark(bytes, from, count) == kvd_find_json_mark_scalar(bytes, from, count))
          }
        }
      }
    }
  }

  @Test("tokens are RFC 9110's")
  func tokens() {
    let marks = Array("!#$%&'*+-.^_`|~".utf8)
    for byte in UInt8.min...UInt8.max {
      let scalar = UnicodeScalar(byte)
      let isAlphanumeric = byte < 128 && (scalar.properties.isAlphabetic || (48...57).contains(byte))
      #expect(Text.isToken(byte) == (isAlphanumeric || marks.contains(byte)), "\(byte)")
    }
  }
}

@Suite("Content types")
struct TextContentTypeTests {
  @Test("every code stands for one spelling and is found by it")
  func codes() {
    var seen = Set<String>()
    for code in 1...ContentType.last {
      let spelling = ContentType.spelling(of: code).description
      #expect(seen.insert(spelling).inserted)
      #expect(reading(spelling) { ContentType.code($0, $1) } == code)
      #expect(reading(spelling.uppercased()) { ContentType.code($0, $1) } == ContentType.literal)
    }
    #expect(ContentType.spelling(of: ContentType.absent).description == "application/octet-stream")
    #expect(ContentType.spelling(of: ContentType.last + 1).description == "application/octet-stream")
    #expect(ContentType.last < ContentType.none)
    #expect(reading("") { ContentType.code($0, $1) } == ContentType.literal)
  }

  @Test("the codes that stored records hold never change")
  func golden() {
    let golden: [(UInt8, String)] = [
      (1, "application/json"), (3, "text/plain; charset=utf-8"), (7, "application/octet-stream"),
      (50, "application/vnd.msgpack"), (86, "image/png"), (117, "text/plain; version=0.0.4"),
    ]
    for (code, spelling) in golden { #expect(ContentType.spelling(of: code).description == spelling) }
    #expect(ContentType.spelling(of: ContentType.json).description == "application/json")
    #expect(ContentType.spelling(of: ContentType.problem).description == "application/problem+json")
    #expect(ContentType.spelling(of: ContentType.plainText).description == "text/plain; charset=utf-8")
    #expect(ContentType.spelling(of: ContentType.metrics).description == "text/plain; version=0.0.4; charset=utf-8")
  }

  @Test("which types are JSON")
  func json() {
    for type in [
      "application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;a", "a/b+json",
      "a/b+JSON;x=y",
    ] {
      #expect(reading(type) { ContentType.isJSON($0, $1) }, "\(type)")
    }
    for type in [
      "", "text/json", "application/jsonx", "application/json-seq", "+json", "json", ";application/json",
      "a/b; c=+json",
    ] {
      #expect(!reading(type) { ContentType.isJSON($0, $1) }, "\(type)")
    }
    #expect(ContentType.isJSON(code: ContentType.json))
    #expect(!ContentType.isJSON(code: ContentType.absent) && !ContentType.isJSON(code: ContentType.literal))
    #expect(reading("Application/Merge-Patch+JSON; x") { ContentType.isType($0, $1, "application/merge-patch+json") })
    #expect(!reading("application/merge-patch") { ContentType.isType($0, $1, "application/merge-patch+json") })
  }
}
