import Glibc
import Wire

/// Counts complete replies in a stream of bytes that may be cut anywhere, and reads their status; values are skipped.
///
/// Both, HTTP and RESP, are lines that say how many bytes follow. Of a line only its first `lineRoom` bytes matter, so
/// that a line cut in two needs no more room than that.
struct ReplyParser {
  private static let lineRoom = 64

  let wire: LoadProtocol
  /// RESP: replicas that each request waits for. The write's own reply isn't the request's then, but that of its WAIT.
  private let waits: Int
  /// What the violation was, after `next` reported one.
  private(set) var violation: StaticString = ""
  /// Bytes of the value still to skip.
  private var skip = 0
  /// The status of the reply under way, 0 before its first line.
  private var status: Int32 = 0
  /// Of an HTTP reply under way: its Content-Length, -1 if there was none yet.
  private var length = -1
  /// The first bytes of a line whose end hasn't come, and how many bytes it has so far.
  private let line: UnsafeMutablePointer<UInt8>
  private var lineCount = 0

  init(_ wire: LoadProtocol, waits: Int = 0) {
    self.wire = wire
    self.waits = waits
    line = .allocate(capacity: ReplyParser.lineRoom)
  }

  func deallocate() { line.deallocate() }

  /// Starts over: the connection is a new one.
  mutating func reset() {
    skip = 0
    status = 0
    length = -1
    lineCount = 0
  }

  /// Whether a reply has begun and not ended.
  var isWithinReply: Bool { skip > 0 || status != 0 || lineCount > 0 }

  /// The status of the next complete reply in `bytes[offset..<count]`, which `offset` is then behind: an HTTP status,
  /// from 100 to 999, or its like in other protocols. 0: the bytes ended first; below 0: a violation.
  @inline(__always)
  mutating func next(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ offset: inout Int) -> Int32 {
    while true {
      if skip > 0 {
        let taken = min(skip, count &- offset)
        skip &-= taken
        offset &+= taken
        if skip > 0 { return 0 }
        return finished()
      }
      let start = bytes + offset
      guard offset < count, let end = memchr(start, 10, count &- offset) else {
        keep(start, count &- offset)
        offset = count
        return 0
      }
      let found = UnsafeRawPointer(end) - UnsafeRawPointer(start)
      offset &+= found &+ 1
      let isComplete: Bool
      if lineCount == 0 {
        isComplete = take(start, found)
      } else {
        keep(start, found)
        let whole = lineCount
        lineCount = 0
        isComplete = take(UnsafePointer(line), min(whole, ReplyParser.lineRoom))
      }
      if status < 0 { return -1 }
      if isComplete { return finished() }
    }
  }

  @inline(__always)
  private mutating func finished() -> Int32 {
    let finished = status
    status = 0
    length = -1
    return finished
  }

  private mutating func fail(_ what: StaticString) {
    violation = what
    status = -1
  }

  /// Keeps the beginning of a line.
  private mutating func keep(_ bytes: UnsafePointer<UInt8>, _ count: Int) {
    let room = max(0, min(ReplyParser.lineRoom - lineCount, count))
    if room > 0 { (line + lineCount).update(from: bytes, count: room) }
    lineCount &+= count
  }

  /// Takes a line without its LF; true if the reply ended with it. Sets `skip` if bytes follow.
  @inline(__always)
  private mutating func take(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    let isEnded = count > 0 && bytes[count &- 1] == 13
    let trimmed = isEnded ? count &- 1 : count
    switch wire {
    case .http: return takeHTTP(bytes, trimmed)
    case .resp: return takeRESP(bytes, trimmed)
    case .binary: preconditionFailure("frames aren't lines")
    }
  }

  // MARK: HTTP

  @inline(__always)
  private mutating func takeHTTP(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    if count == 0 { return endHead() }
    if status == 0 {
      takeStatusLine(bytes, count)
    } else if count > 15 && bytes[14] == UInt8(ascii: ":") && bytes[0] | 0x20 == UInt8(ascii: "c") {
      if Text.matches(bytes, 14, folded: "content-length") { takeLength(bytes + 15, count &- 15) }
    } else if count > 17 && bytes[17] == UInt8(ascii: ":") && bytes[0] | 0x20 == UInt8(ascii: "t") {
      if Text.matches(bytes, 17, folded: "transfer-encoding") { fail("a reply with a transfer coding") }
    }
    return false
  }

  /// `HTTP/1.1 200 OK` (RFC 9112, 4).
  @inline(__always)
  private mutating func takeStatusLine(_ bytes: UnsafePointer<UInt8>, _ count: Int) {
    guard count >= 12, Text.matches(bytes, 7, folded: "http/1."), bytes[8] == 32,
      let code = Text.parseDecimal(bytes + 9, 3), code >= 100
    else {
      fail("a reply that isn't HTTP/1.1")
      return
    }
    status = Int32(code)
  }

  private mutating func takeLength(_ bytes: UnsafePointer<UInt8>, _ count: Int) {
    var first = 0
    var end = count
    while first < end && (bytes[first] == 32 || bytes[first] == 9) { first += 1 }
    while end > first && (bytes[end - 1] == 32 || bytes[end - 1] == 9) { end -= 1 }
    guard length < 0, let value = Text.parseDecimal(bytes + first, end - first, maximum: 1 << 40) else {
      fail("a reply with no valid Content-Length")
      return
    }
    length = Int(value)
  }

  /// The empty line: true if no body follows.
  @inline(__always)
  private mutating func endHead() -> Bool {
    if status < 200 {
      // An interim reply (RFC 9110, 15.2); and an empty line before a status line is nothing at all.
      status = 0
      return false
    }
    if status == 204 || status == 304 { return true }
    if length < 0 {
      fail("a reply without Content-Length")
      return false
    }
    skip = length
    return skip == 0
  }

  // MARK: RESP

  @inline(__always)
  private mutating func takeRESP(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    switch count > 0 ? bytes[0] : 0 {
    case UInt8(ascii: "+") where waits > 0: break
    case UInt8(ascii: ":") where waits > 0:
      let replicas = Text.parseDecimal(bytes + 1, count &- 1, maximum: 1 << 20) ?? 0
      status = replicas >= waits ? 200 : 504
    case UInt8(ascii: "+"), UInt8(ascii: ":"): status = 200
    case UInt8(ascii: "-"): status = 500
    case UInt8(ascii: "_"): status = 404
    case UInt8(ascii: "$"):
      if count == 3 && bytes[1] == UInt8(ascii: "-") && bytes[2] == UInt8(ascii: "1") {
        status = 404
      } else if let length = Text.parseDecimal(bytes + 1, count &- 1, maximum: 1 << 40) {
        status = 200
        skip = Int(length) &+ 2
        return false
      } else {
        fail("a bulk string of no valid length")
      }
    default: fail("a reply that is neither a simple nor a bulk string")
    }
    return status > 0
  }
}
