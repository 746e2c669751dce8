import Wire

/// What a request is counted under: one word per route in `/metrics` and in log lines.
package enum Route: UInt8, CaseIterable, Sendable {
  case get, put, delete, patch, list, settings, batch, status, probe, metrics, other

  /// The value of the `route` label.
  var name: StaticString {
    switch self {
    case .get: "get"
    case .put: "put"
    case .delete: "delete"
    case .patch: "patch"
    case .list: "list"
    case .settings: "settings"
    case .batch: "batch"
    case .status: "status"
    case .probe: "probe"
    case .metrics: "metrics"
    case .other: "other"
    }
  }
}

/// Where a request's path leads.
enum Resource {
  /// A key: the map's name (empty for "default") and the key, both still percent-encoded slices of the path.
  case key(map: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer)
  /// `/v1/maps/{map}`.
  case map(UnsafeRawBufferPointer)
  /// `GET /`.
  case status
  case live, ready, health, metrics, batch, cluster, ring, lost
  /// `OPTIONS *`.
  case server
  /// A name of the API that this version doesn't serve yet.
  case reserved
  /// Anything else below `/v1/`.
  case unknown

  /// The methods it takes, for `Allow`.
  var allow: StaticString {
    switch self {
    case .key: "GET, HEAD, PUT, POST, DELETE, PATCH, OPTIONS"
    case .map: "GET, HEAD, PUT, OPTIONS"
    case .batch: "POST, OPTIONS"
    case .server: "GET, HEAD, PUT, POST, DELETE, PATCH, OPTIONS"
    default: "GET, HEAD, OPTIONS"
    }
  }
}

extension Resource {
  /// Routes a path that begins with `/` (or is `*`).
  ///
  /// The first byte behind the slash decides almost always: only five letters begin a word of the API.
  @inline(__always)
  static func route(_ path: UnsafeRawBufferPointer) -> Resource {
    if path.count < 2 { return path[0] == UInt8(ascii: "*") ? .server : .status }
    return isWordOfAPI(path[1]) ? routeWord(path) : plainKey(path)
  }

  /// Whether a path that goes on with this byte behind the slash may be anything but a key's.
  @inline(__always)
  static func isWordOfAPI(_ first: UInt8) -> Bool {
    switch first {
    case UInt8(ascii: "v"), UInt8(ascii: "h"), UInt8(ascii: "l"), UInt8(ascii: "r"), UInt8(ascii: "m"): true
    default: false
    }
  }

  @inline(__always)
  private static func plainKey(_ path: UnsafeRawBufferPointer) -> Resource {
    .key(map: UnsafeRawBufferPointer(start: nil, count: 0), key: UnsafeRawBufferPointer(rebasing: path[1...]))
  }

  @inline(never)
  private static func routeWord(_ path: UnsafeRawBufferPointer) -> Resource {
    let word = UnsafeRawBufferPointer(rebasing: path[1...])
    if word.equals("livez") { return .live }
    if word.equals("readyz") { return .ready }
    if word.equals("metrics") { return .metrics }
    if word.equals("health") { return .health }
    if word.equals("messages") { return .reserved }
    guard word.starts("v1/") else { return word.equals("v1") ? .unknown : plainKey(path) }
    let rest = UnsafeRawBufferPointer(rebasing: word[3...])
    if rest.equals("batch") { return .batch }
    if rest.starts("maps/") { return routeMap(UnsafeRawBufferPointer(rebasing: rest[5...])) }
    if rest.equals("cluster") { return .cluster }
    if rest.equals("ring") { return .ring }
    if rest.equals("lost") { return .lost }
    for name: StaticString in ["watch", "logs", "snapshot"] where rest.starts(name) {
      return .reserved
    }
    return .unknown
  }

  private static func routeMap(_ rest: UnsafeRawBufferPointer) -> Resource {
    guard let slash = rest.firstIndex(of: UInt8(ascii: "/")) else { return .map(rest) }
    let map = UnsafeRawBufferPointer(rebasing: rest[..<slash])
    return .key(map: map, key: UnsafeRawBufferPointer(rebasing: rest[(slash + 1)...]))
  }
}

extension UnsafeRawBufferPointer {
  /// Whether these are exactly the word's bytes.
  func equals(_ word: StaticString) -> Bool {
    count == word.utf8CodeUnitCount && starts(word)
  }

  /// Whether the bytes begin with the word's.
  func starts(_ word: StaticString) -> Bool {
    guard count >= word.utf8CodeUnitCount else { return false }
    return bytesEqual(baseAddress.unsafelyUnwrapped, word.utf8Start, word.utf8CodeUnitCount)
  }
}
