import CXXHash

/// Media types as one-byte codes: what a record stores of its value's Content-Type.
///
/// A code stands for one spelling, byte for byte, so that a value comes back with the very Content-Type it was put
/// with; any other spelling is stored as a literal. Codes are stored in records and sent between nodes: the table is
/// append-only, and an entry never changes.
public enum ContentType {
  /// The value was put without a Content-Type; it is served as `application/octet-stream`.
  public static var absent: UInt8 { 0 }
  /// The Content-Type is spelled out beside the code.
  public static var literal: UInt8 { 255 }
  /// In a `ResponseHead`: no Content-Type at all. Never stored.
  public static var none: UInt8 { 254 }
  /// The highest code of the table.
  public static var last: UInt8 { 117 }
  /// The most bytes of a Content-Type: what a literal's length byte can count. Longer ones are refused.
  public static var maximumCount: Int { 255 }

  /// `application/json`.
  public static var json: UInt8 { 1 }
  /// `text/plain; charset=utf-8`.
  public static var plainText: UInt8 { 3 }
  /// `text/html; charset=utf-8`.
  public static var html: UInt8 { 5 }
  /// `application/octet-stream`.
  public static var octetStream: UInt8 { 7 }
  /// `application/problem+json`.
  public static var problem: UInt8 { 8 }
  /// `text/event-stream`.
  public static var eventStream: UInt8 { 26 }
  /// `text/plain; version=0.0.4; charset=utf-8`.
  public static var metrics: UInt8 { 116 }

  /// The code of a Content-Type in exactly this spelling, or `literal`.
  ///
  /// The table is searched in order, the most frequent first.
  package static func code(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> UInt8 {
    var code: UInt8 = 1
    while code <= last {
      let spelling = spelling(of: code)
      if spelling.utf8CodeUnitCount == count && kvd_equal(spelling.utf8Start, bytes, count) != 0 { return code }
      code &+= 1
    }
    return literal
  }

  /// Whether a Content-Type says that the value is JSON: `application/json`, or any type with the suffix `+json`
  /// (RFC 6839), whatever its case and parameters.
  package static func isJSON(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    let count = essenceCount(bytes, count)
    if matches(bytes, count, "application/json") { return true }
    return count > 5 && matches(bytes + (count - 5), 5, "+json")
  }

  /// Whether the value of a record with this code is JSON; false for `literal`, whose bytes must be asked.
  package static func isJSON(code: UInt8) -> Bool {
    let spelling = spelling(of: code)
    return code <= last && isJSON(spelling.utf8Start, spelling.utf8CodeUnitCount)
  }

  /// Whether a Content-Type is of the type and subtype of a lower-case literal, whatever its case and parameters.
  package static func isType(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ essence: StaticString) -> Bool {
    matches(bytes, essenceCount(bytes, count), essence)
  }

  /// The count of `type/subtype`, without parameters and the blanks before them.
  private static func essenceCount(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int {
    var end = 0
    while end < count && bytes[end] != UInt8(ascii: ";") { end += 1 }
    while end > 0 && (bytes[end - 1] == UInt8(ascii: " ") || bytes[end - 1] == UInt8(ascii: "\t")) { end -= 1 }
    return end
  }

  /// Equality with a lower-case literal; only ASCII letters are folded.
  private static func matches(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ literal: StaticString) -> Bool {
    guard count == literal.utf8CodeUnitCount else { return false }
    for i in 0..<count {
      let byte = bytes[i]
      let folded = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
      guard folded == literal.utf8Start[i] else { return false }
    }
    return true
  }

  /// The bytes that a code stands for; those of `application/octet-stream` for `absent` and for codes of newer nodes.
  @usableFromInline package static func spelling(of code: UInt8) -> StaticString {
    switch code {
    case 1: "application/json"
    case 2: "text/plain"
    case 3: "text/plain; charset=utf-8"
    case 4: "text/html"
    case 5: "text/html; charset=utf-8"
    case 6: "application/x-www-form-urlencoded"
    case 7: "application/octet-stream"
    case 8: "application/problem+json"
    case 9: "application/json; charset=utf-8"
    case 10: "application/merge-patch+json"
    case 11: "application/json-patch+json"
    case 12: "text/plain;charset=UTF-8"
    case 13: "text/plain; charset=UTF-8"
    case 14: "text/html;charset=UTF-8"
    case 15: "text/html; charset=UTF-8"
    case 16: "application/json;charset=UTF-8"
    case 17: "application/json; charset=UTF-8"
    case 18: "application/json;charset=utf-8"
    case 19: "text/plain;charset=utf-8"
    case 20: "text/html;charset=utf-8"
    case 21: "application/x-ndjson"
    case 22: "application/json-seq"
    case 23: "application/ld+json"
    case 24: "application/geo+json"
    case 25: "application/vnd.api+json"
    case 26: "text/event-stream"
    case 27: "text/csv"
    case 28: "text/csv; charset=utf-8"
    case 29: "text/xml"
    case 30: "text/xml; charset=utf-8"
    case 31: "application/xml"
    case 32: "application/xml; charset=utf-8"
    case 33: "application/yaml"
    case 34: "application/x-yaml"
    case 35: "text/yaml"
    case 36: "application/toml"
    case 37: "text/markdown"
    case 38: "text/markdown; charset=utf-8"
    case 39: "text/css"
    case 40: "text/css; charset=utf-8"
    case 41: "text/javascript"
    case 42: "text/javascript; charset=utf-8"
    case 43: "application/javascript"
    case 44: "application/wasm"
    case 45: "application/x-protobuf"
    case 46: "application/protobuf"
    case 47: "application/vnd.google.protobuf"
    case 48: "application/msgpack"
    case 49: "application/x-msgpack"
    case 50: "application/vnd.msgpack"
    case 51: "application/cbor"
    case 52: "application/bson"
    case 53: "application/avro"
    case 54: "application/vnd.apache.avro+binary"
    case 55: "application/vnd.apache.parquet"
    case 56: "application/vnd.apache.arrow.stream"
    case 57: "application/vnd.apache.thrift.binary"
    case 58: "application/x-thrift"
    case 59: "application/pdf"
    case 60: "application/zip"
    case 61: "application/gzip"
    case 62: "application/x-gzip"
    case 63: "application/zstd"
    case 64: "application/x-tar"
    case 65: "application/x-bzip2"
    case 66: "application/x-xz"
    case 67: "application/x-7z-compressed"
    case 68: "application/java-archive"
    case 69: "application/x-java-serialized-object"
    case 70: "application/x-python-pickle"
    case 71: "application/x-sh"
    case 72: "application/jwt"
    case 73: "application/jose+json"
    case 74: "application/xhtml+xml"
    case 75: "application/rss+xml"
    case 76: "application/atom+xml"
    case 77: "application/soap+xml"
    case 78: "application/graphql"
    case 79: "application/sql"
    case 80: "application/rtf"
    case 81: "application/postscript"
    case 82: "application/epub+zip"
    case 83: "application/manifest+json"
    case 84: "application/vnd.docker.distribution.manifest.v2+json"
    case 85: "application/vnd.oci.image.manifest.v1+json"
    case 86: "image/png"
    case 87: "image/jpeg"
    case 88: "image/gif"
    case 89: "image/webp"
    case 90: "image/avif"
    case 91: "image/svg+xml"
    case 92: "image/x-icon"
    case 93: "image/vnd.microsoft.icon"
    case 94: "image/bmp"
    case 95: "image/tiff"
    case 96: "image/heic"
    case 97: "audio/mpeg"
    case 98: "audio/ogg"
    case 99: "audio/wav"
    case 100: "audio/webm"
    case 101: "audio/aac"
    case 102: "audio/flac"
    case 103: "video/mp4"
    case 104: "video/mpeg"
    case 105: "video/webm"
    case 106: "video/ogg"
    case 107: "video/quicktime"
    case 108: "font/woff"
    case 109: "font/woff2"
    case 110: "font/ttf"
    case 111: "font/otf"
    case 112: "multipart/form-data"
    case 113: "text/calendar"
    case 114: "text/vcard"
    case 115: "application/openmetrics-text; version=1.0.0; charset=utf-8"
    case 116: "text/plain; version=0.0.4; charset=utf-8"
    case 117: "text/plain; version=0.0.4"
    default: "application/octet-stream"
    }
  }
}
