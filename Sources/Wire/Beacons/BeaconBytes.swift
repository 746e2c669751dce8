/// Why a datagram, or bytes inside one, are not what they should be. Each is counted and otherwise ignored.
package enum BeaconError: Error, Equatable, Sendable {
  /// Fewer bytes than their own counts say.
  case truncated
  /// Bytes after the end, a count beyond its bound, or a value that no field has.
  case malformed
  /// More bytes than any datagram has.
  case oversized
  /// Not a datagram of kvd.
  case magic
  /// A datagram of another version of the protocol.
  case version
  /// A kind that this version doesn't know.
  case kind
  /// The bytes changed on their way.
  case checksum
  /// Not sealed with this node's key; or sealed, and this node has no key.
  case unauthenticated
}

/// Writes integers and ids, little-endian and without padding, to the end of an array.
package struct BeaconWriter: Sendable {
  /// What was written so far.
  package var bytes: [UInt8]

  package init(capacity: Int = 256) {
    bytes = []
    bytes.reserveCapacity(capacity)
  }

  /// Appends one byte.
  package mutating func u8(_ value: UInt8) { bytes.append(value) }
  /// Appends two bytes.
  package mutating func u16(_ value: UInt16) { word(value) }
  /// Appends four bytes.
  package mutating func u32(_ value: UInt32) { word(value) }
  /// Appends eight bytes.
  package mutating func u64(_ value: UInt64) { word(value) }

  @inline(__always)
  private mutating func word<Word: FixedWidthInteger>(_ value: Word) {
    let size = MemoryLayout<Word>.size
    bytes.append(addingCapacity: size) { span in
      span.withUnsafeMutableBufferPointer { buffer, count in
        UnsafeMutableRawPointer(buffer.baseAddress! + count).storeBytes(of: value.littleEndian, as: Word.self)
        count += size
      }
    }
  }

  /// Appends so many words of two bytes, as `word` gives them.
  @inline(__always)
  package mutating func u16s(_ number: Int, _ word: (Int) -> UInt16) {
    bytes.append(addingCapacity: 2 * number) { span in
      span.withUnsafeMutableBufferPointer { buffer, count in
        guard let base = buffer.baseAddress else { return }
        for index in 0..<number {
          UnsafeMutableRawPointer(base + count).storeBytes(of: word(index).littleEndian, as: UInt16.self)
          count += 2
        }
      }
    }
  }

  /// Appends 16 bytes in the order of the hexadecimal digits.
  package mutating func id(_ value: NodeID) {
    u64(value.high.byteSwapped)
    u64(value.low.byteSwapped)
  }

  /// Appends 16 bytes in the order of the hexadecimal digits.
  package mutating func id(_ value: ClusterID) {
    u64(value.high.byteSwapped)
    u64(value.low.byteSwapped)
  }

  /// Appends 18 bytes: the address as in an IPv6 header, then the port little-endian.
  package mutating func address(_ value: PeerAddress) {
    u64(value.high.byteSwapped)
    u64(value.low.byteSwapped)
    u16(value.port)
  }

  /// Appends a count in one byte, then the text's UTF-8; cut at 255 bytes.
  package mutating func text(_ value: String) {
    let utf8 = value.utf8.prefix(255)
    u8(UInt8(utf8.count))
    bytes.append(contentsOf: utf8)
  }

  /// Appends a count in two bytes, then the bytes; at most 65535 of them.
  package mutating func block(_ value: some Collection<UInt8>) {
    precondition(value.count <= Int(UInt16.max), "a block of \(value.count) bytes")
    u16(UInt16(value.count))
    bytes.append(contentsOf: value)
  }

  /// Appends bytes as they are.
  package mutating func raw(_ value: some Collection<UInt8>) { bytes.append(contentsOf: value) }
}

/// Reads what `BeaconWriter` wrote, with every read checked against the end. The bytes must stay while it is used.
package struct BeaconReader {
  private let base: UnsafeRawPointer?
  private let count: Int
  private var position = 0

  package init(_ buffer: UnsafeRawBufferPointer) {
    base = buffer.baseAddress
    count = buffer.count
  }

  /// Bytes that weren't read yet.
  package var remaining: Int { count - position }

  @inline(__always)
  private mutating func word<Word: FixedWidthInteger>(_: Word.Type) throws(BeaconError) -> Word {
    guard let base, remaining >= MemoryLayout<Word>.size else { throw .truncated }
    defer { position += MemoryLayout<Word>.size }
    return Word(littleEndian: base.loadUnaligned(fromByteOffset: position, as: Word.self))
  }

  /// Reads one byte.
  package mutating func u8() throws(BeaconError) -> UInt8 { try word(UInt8.self) }
  /// Reads two bytes.
  package mutating func u16() throws(BeaconError) -> UInt16 { try word(UInt16.self) }
  /// Reads four bytes.
  package mutating func u32() throws(BeaconError) -> UInt32 { try word(UInt32.self) }
  /// Reads eight bytes.
  package mutating func u64() throws(BeaconError) -> UInt64 { try word(UInt64.self) }

  /// Reads a byte that is 0 or 1.
  package mutating func flag() throws(BeaconError) -> Bool {
    switch try u8() {
    case 0: return false
    case 1: return true
    default: throw .malformed
    }
  }

  /// Reads 16 bytes.
  package mutating func nodeID() throws(BeaconError) -> NodeID {
    let high = try u64().byteSwapped
    return NodeID(high: high, low: try u64().byteSwapped)
  }

  /// Reads 16 bytes.
  package mutating func clusterID() throws(BeaconError) -> ClusterID {
    let high = try u64().byteSwapped
    return ClusterID(high: high, low: try u64().byteSwapped)
  }

  /// Reads 18 bytes.
  package mutating func address() throws(BeaconError) -> PeerAddress {
    let high = try u64()
    let low = try u64()
    return PeerAddress(high: high.byteSwapped, low: low.byteSwapped, port: try u16())
  }

  /// Reads a text with its count; bytes that aren't UTF-8 are replaced.
  package mutating func text() throws(BeaconError) -> String {
    String(decoding: try take(Int(try u8())), as: UTF8.self)
  }

  /// Reads a block with its count.
  package mutating func block() throws(BeaconError) -> [UInt8] { [UInt8](try take(Int(try u16()))) }

  /// Reads a count in one byte, of at most `bound`.
  package mutating func count8(atMost bound: Int) throws(BeaconError) -> Int {
    let value = Int(try u8())
    guard value <= bound else { throw .malformed }
    return value
  }

  /// Reads a count in two bytes, of at most `bound`.
  package mutating func count16(atMost bound: Int) throws(BeaconError) -> Int {
    let value = Int(try u16())
    guard value <= bound else { throw .malformed }
    return value
  }

  /// Reads everything that is left.
  package mutating func rest() -> [UInt8] {
    defer { position = count }
    return [UInt8](UnsafeRawBufferPointer(start: base.map { $0 + position }, count: remaining))
  }

  /// Ends reading: nothing may be left.
  package func finish() throws(BeaconError) {
    guard remaining == 0 else { throw .malformed }
  }

  /// Reads so many bytes, in place.
  package mutating func take(_ wanted: Int) throws(BeaconError) -> UnsafeRawBufferPointer {
    guard remaining >= wanted else { throw .truncated }
    defer { position += wanted }
    return UnsafeRawBufferPointer(start: base.map { $0 + position }, count: wanted)
  }
}
