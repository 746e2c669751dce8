/// One process: 128 random bits drawn at every start, so that a restarted process is a new node (PROTOCOL: identity).
///
/// A name is only a label; votes, leases and data belong to the id. All zero means nobody, or anybody as a destination.
@frozen public struct NodeID: Equatable, Hashable, Comparable, Sendable {
  /// The more significant half, printed first.
  public let high: UInt64
  public let low: UInt64

  @inlinable package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Nobody; as a destination, whoever hears it.
  @inlinable package static var none: NodeID { NodeID(high: 0, low: 0) }

  // Written out, since what the compiler derives isn't inlined into other modules.
  @inlinable public static func == (a: NodeID, b: NodeID) -> Bool { a.high == b.high && a.low == b.low }
  @inlinable public static func != (a: NodeID, b: NodeID) -> Bool { !(a == b) }

  /// The order by which the lowest id proposes a founding: as printed.
  @inlinable public static func < (a: NodeID, b: NodeID) -> Bool { a.high == b.high ? a.low < b.low : a.high < b.high }
}

/// One cluster: 128 random bits drawn by whoever proposed its founding. All zero means none yet.
@frozen package struct ClusterID: Equatable, Hashable, Comparable, Sendable {
  /// The more significant half, printed first.
  package let high: UInt64
  package let low: UInt64

  @inlinable package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// No cluster: what a seeker's datagrams carry.
  @inlinable package static var none: ClusterID { ClusterID(high: 0, low: 0) }

  // Written out, as that of `NodeID`.
  @inlinable package static func == (a: ClusterID, b: ClusterID) -> Bool { a.high == b.high && a.low == b.low }
  @inlinable package static func != (a: ClusterID, b: ClusterID) -> Bool { !(a == b) }

  /// The order by which one of two unwritten rivals gives way.
  @inlinable package static func < (a: ClusterID, b: ClusterID) -> Bool {
    a.high == b.high ? a.low < b.low : a.high < b.high
  }
}

/// A term of the control plane: at most one leader each (Ongaro and Ousterhout 2014, section 5.1).
@frozen package struct Term: Equatable, Hashable, Comparable, Sendable {
  package let rawValue: UInt64

  @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// The term after this one.
  @inlinable package var next: Term { Term(rawValue &+ 1) }

  // Written out, as that of `NodeID`, and the default comparisons too.
  @inlinable package static func == (a: Term, b: Term) -> Bool { a.rawValue == b.rawValue }
  @inlinable package static func != (a: Term, b: Term) -> Bool { !(a == b) }
  @inlinable package static func < (a: Term, b: Term) -> Bool { a.rawValue < b.rawValue }
  @inlinable package static func > (a: Term, b: Term) -> Bool { a.rawValue > b.rawValue }
  @inlinable package static func <= (a: Term, b: Term) -> Bool { a.rawValue <= b.rawValue }
  @inlinable package static func >= (a: Term, b: Term) -> Bool { a.rawValue >= b.rawValue }
}

/// The place of an entry in the control plane's log, counted from 1; 0 is before the first.
@frozen package struct LogIndex: Equatable, Hashable, Comparable, Sendable {
  package let rawValue: UInt64

  @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// The place after this one.
  @inlinable package var next: LogIndex { LogIndex(rawValue &+ 1) }
  /// The place before this one; 0 stays 0.
  @inlinable package var previous: LogIndex { LogIndex(rawValue == 0 ? 0 : rawValue &- 1) }

  /// How many places this one lies behind `earlier`, which must not be later.
  @inlinable package func distance(from earlier: LogIndex) -> Int { Int(rawValue - earlier.rawValue) }
  /// The place `count` entries on.
  @inlinable package func advanced(by count: Int) -> LogIndex { LogIndex(rawValue &+ UInt64(count)) }

  // As those of `Term`.
  @inlinable package static func == (a: LogIndex, b: LogIndex) -> Bool { a.rawValue == b.rawValue }
  @inlinable package static func != (a: LogIndex, b: LogIndex) -> Bool { !(a == b) }
  @inlinable package static func < (a: LogIndex, b: LogIndex) -> Bool { a.rawValue < b.rawValue }
  @inlinable package static func > (a: LogIndex, b: LogIndex) -> Bool { a.rawValue > b.rawValue }
  @inlinable package static func <= (a: LogIndex, b: LogIndex) -> Bool { a.rawValue <= b.rawValue }
  @inlinable package static func >= (a: LogIndex, b: LogIndex) -> Bool { a.rawValue >= b.rawValue }
}

/// Where a node listens: an IPv6 address, or an IPv4 one in its mapped form (RFC 4291, section 2.5.5.2), and a port.
@frozen package struct PeerAddress: Equatable, Hashable, Comparable, Sendable {
  /// The first eight bytes of the address, big-endian.
  package let high: UInt64
  /// The last eight bytes of the address, big-endian.
  package let low: UInt64
  /// The port; 0 where nothing listens.
  package let port: UInt16

  @inlinable package init(high: UInt64, low: UInt64, port: UInt16) {
    self.high = high
    self.low = low
    self.port = port
  }

  /// An IPv4 address as its four bytes, the first one most significant.
  @inlinable package init(v4: UInt32, port: UInt16) {
    self.init(high: 0, low: 0xFFFF_0000_0000 | UInt64(v4), port: port)
  }

  /// Nowhere.
  @inlinable package static var none: PeerAddress { PeerAddress(high: 0, low: 0, port: 0) }

  /// The IPv4 address, if it is one.
  @inlinable package var v4: UInt32? {
    high == 0 && low >> 32 == 0xFFFF ? UInt32(truncatingIfNeeded: low) : nil
  }

  // Written out, as that of `NodeID`.
  @inlinable package static func == (a: PeerAddress, b: PeerAddress) -> Bool {
    a.low == b.low && a.port == b.port && a.high == b.high
  }
  @inlinable package static func != (a: PeerAddress, b: PeerAddress) -> Bool { !(a == b) }

  @inlinable package static func < (a: PeerAddress, b: PeerAddress) -> Bool {
    (a.high, a.low, a.port) < (b.high, b.low, b.port)
  }
}

extension NodeID: CustomStringConvertible {
  /// 32 hexadecimal digits.
  public var description: String { hexadecimal(high) + hexadecimal(low) }

  /// The first eight digits: enough for a log line.
  package var short: String { String(hexadecimal(high).prefix(8)) }
}

extension ClusterID: CustomStringConvertible {
  /// 32 hexadecimal digits.
  package var description: String { hexadecimal(high) + hexadecimal(low) }
}

/// Sixteen hexadecimal digits.
private func hexadecimal(_ value: UInt64) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 16 - digits.count) + digits
}
