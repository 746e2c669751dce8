extension Text {
  /// The value of a hexadecimal digit, or nil.
  @inlinable @inline(__always)
  package static func hexDigit(_ byte: UInt8) -> Int? {
    let digit = byte &- UInt8(ascii: "0")
    if digit <= 9 { return Int(digit) }
    let letter = (byte | 0x20) &- UInt8(ascii: "a")
    return letter < 6 ? Int(letter) &+ 10 : nil
  }

  /// Decodes percent-encoding (RFC 3986, section 2.1) into `decoded`, which has room for `count` bytes and may be
  /// `bytes` itself.
  ///
  /// In a path '+' is a plus sign. In a query it is a space if `plusIsSpace`, as browsers' forms, URLSearchParams and
  /// `curl --data-urlencode` write it; %2B is a plus sign in both. Any byte may come out, NUL too.
  ///
  /// - Returns: the count of decoded bytes, or -1 if a '%' isn't followed by two hexadecimal digits.
  package static func decodePercent(
    _ bytes: UnsafePointer<UInt8>, _ count: Int, into decoded: UnsafeMutablePointer<UInt8>, plusIsSpace: Bool = false
  ) -> Int {
    var i = 0
    var written = 0
    while i < count {
      var byte = bytes[i]
      i &+= 1
      if byte == UInt8(ascii: "%") {
        guard i &+ 1 < count, let high = hexDigit(bytes[i]), let low = hexDigit(bytes[i &+ 1]) else { return -1 }
        byte = UInt8(truncatingIfNeeded: high &<< 4 | low)
        i &+= 2
      } else if plusIsSpace && byte == UInt8(ascii: "+") {
        byte = UInt8(ascii: " ")
      }
      decoded[written] = byte
      written &+= 1
    }
    return written
  }
}

/// The `name=value` pairs of a query, in order, percent-decoded into a buffer of the caller's.
///
/// Pairs are separated by '&'; empty ones are left out; a name without '=' has an empty value. '+' stands for a space
/// in names and values, as the URL standard's application/x-www-form-urlencoded has it: a plus sign is written %2B.
@frozen public struct QueryIterator: Sendable {
  /// One pair: slices of the buffer.
  @frozen public struct Pair: Equatable, Sendable {
    /// The word before the equals sign, still escaped.
    public var name: Slice
    /// What follows the equals sign, still escaped; empty where there is none.
    public var value: Slice
    /// There is a '=', so that `?flag` and `?flag=` can be told apart.
    public var hasValue: Bool
  }

  /// What came next.
  @frozen public enum Step: Equatable, Sendable {
    case pair(Pair)
    case end
    /// A wrong percent-escape: answer 400.
    case malformed
  }

  var at: Int
  let end: Int
  var written = 0

  /// - Parameter query: where the raw query stands in the bytes that are given to `next`.
  package init(_ query: Slice) {
    at = Int(query.offset)
    end = Int(query.offset) + Int(query.count)
  }

  /// Decodes the next pair behind the ones before it in `buffer`, which has room for as many bytes as the query has;
  /// so the slices of all pairs stay valid.
  package mutating func next(_ bytes: UnsafePointer<UInt8>, into buffer: UnsafeMutablePointer<UInt8>) -> Step {
    while at < end && bytes[at] == UInt8(ascii: "&") { at &+= 1 }
    guard at < end else { return .end }
    let start = at
    var equals = -1
    while at < end && bytes[at] != UInt8(ascii: "&") {
      if equals < 0 && bytes[at] == UInt8(ascii: "=") { equals = at }
      at &+= 1
    }
    guard let name = decode(bytes, start, equals < 0 ? at : equals, into: buffer) else { return .malformed }
    guard let value = decode(bytes, equals < 0 ? at : equals &+ 1, at, into: buffer) else { return .malformed }
    return .pair(Pair(name: name, value: value, hasValue: equals >= 0))
  }

  private mutating func decode(
    _ bytes: UnsafePointer<UInt8>, _ start: Int, _ stop: Int, into buffer: UnsafeMutablePointer<UInt8>
  ) -> Slice? {
    let count = Text.decodePercent(bytes + start, stop &- start, into: buffer + written, plusIsSpace: true)
    guard count >= 0 else { return nil }
    defer { written &+= count }
    return Slice(offset: UInt32(truncatingIfNeeded: written), count: UInt32(truncatingIfNeeded: count))
  }
}
