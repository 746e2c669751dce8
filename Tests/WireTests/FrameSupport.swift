@testable import Wire

/// What the frame tests share: ids as in the document, and frames as arrays.
enum FrameSample {
  static let cluster = FrameID(high: 0x0001_0203_0405_0607, low: 0x0809_0A0B_0C0D_0E0F)
  static let client = FrameID(high: 0x1011_1213_1415_1617, low: 0x1819_1A1B_1C1D_1E1F)
  static let node = FrameID(high: 0x2021_2223_2425_2627, low: 0x2829_2A2B_2C2D_2E2F)

  static let hello = Greeting(role: .client, cluster: .any, sender: client, receiver: .any)
  static let welcome = Greeting(
    role: .peer, cluster: cluster, sender: node, receiver: client, session: 7, frameLimit: 262_144,
    valueLimit: 67_108_864, keyLimit: 16_384)
  /// The bindings from the client to the node and back.
  static var toNode: FrameBinding { welcome.incoming }
  static var toClient: FrameBinding { welcome.outgoing }

  /// The bytes that a writer leaves in memory that was not zero before.
  static func bytes(_ capacity: Int, _ write: (UnsafeMutableRawPointer) -> Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xAA, count: capacity)
    let count = bytes.withUnsafeMutableBytes { write($0.baseAddress!) }
    return Array(bytes[..<count])
  }

  /// A REQUEST frame of operations with their keys and values, all of the map "default".
  static func request(
    id: UInt64, _ operations: [(FrameOperation, AnswerLevel, String, [UInt8])],
    _ terms: OperationTerms = OperationTerms(), map: String = "", _ binding: FrameBinding = toNode
  ) -> [UInt8] {
    bytes(1 << 20) { base in
      var writer = RequestWriter(base, capacity: 1 << 20)
      for (operation, answer, key, value) in operations {
        let fits = Array(map.utf8).withUnsafeBytes { map in
          Array(key.utf8).withUnsafeBytes { key in
            value.withUnsafeBytes { writer.append(operation, answer, map: map, key: key, value: $0, terms: terms) }
          }
        }
        precondition(fits)
      }
      return writer.seal(id: id, binding)
    }
  }

  /// The frame in front of a long value, which is put under a key of the map "default".
  static func long(id: UInt64, _ key: String, _ value: [UInt8], _ terms: OperationTerms = OperationTerms()) -> [UInt8] {
    let map = UnsafeRawBufferPointer(start: nil, count: 0)
    return Array(key.utf8).withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        bytes(RequestWriter.longCount(map: 0, key: key.count, terms: terms)) {
          RequestWriter.long($0, .reply, map: map, key: key, value: value, terms: terms, id: id, toNode)
        }
      }
    }
  }

  /// A record as a log holds it, in revision 5-1-42.
  static func record(_ key: String, _ value: String) -> [UInt8] {
    let head = RecordHead(kind: .put, epoch: Epoch(1), offset: Offset(42), time: 0x0191_8000_0001)
    let start = head.prefixCount + key.utf8.count
    return bytes(start + value.utf8.count) { base in
      head.write(to: base, length: start + value.utf8.count, mapCount: 0, keyCount: key.utf8.count)
      for (index, byte) in (Array(key.utf8) + Array(value.utf8)).enumerated() {
        base.storeBytes(of: byte, toByteOffset: head.prefixCount + index, as: UInt8.self)
      }
      let hash = xxh3(base + start, count: value.utf8.count, seed: 0)
      RecordLayout.seal(base, valueStart: start, valueHash: hash)
      return start + value.utf8.count
    }
  }

  /// A REPLY frame of results, each with its body.
  static func reply(id: UInt64, _ results: [(Int, UInt16, ResultBody, [UInt8])]) -> [UInt8] {
    let revision = Revision(partition: PartitionID(5), epoch: Epoch(1), offset: Offset(42))
    return bytes(1 << 16) { base in
      var end = FrameLayout.headCount
      for (index, status, body, bytes) in results {
        let padded = FrameLayout.padded(bytes.count)
        (base + end).initializeMemory(as: UInt8.self, repeating: 0, count: ResultLayout.headCount + padded)
        ResultLayout.write(
          to: base + end, index: index, status: status, body, length: bytes.count,
          revision: status < 300 ? revision : FrameRevision.absent)
        bytes.withUnsafeBytes {
          if let start = $0.baseAddress {
            (base + end + ResultLayout.headCount).copyMemory(from: start, byteCount: $0.count)
          }
        }
        end += ResultLayout.headCount + padded
      }
      FrameLayout.seal(base, length: end, .reply, count: results.count, id: id, toClient)
      return end
    }
  }

  /// Calls `body` with a view of a copy of exactly these bytes, so that a sanitizer sees a step beyond them.
  static func view<Result>(_ bytes: [UInt8], _ body: (FrameView) -> Result) -> Result {
    let copy = UnsafeMutableRawPointer.allocate(byteCount: max(1, bytes.count), alignment: 1)
    defer { copy.deallocate() }
    bytes.withUnsafeBytes { if let start = $0.baseAddress { copy.copyMemory(from: start, byteCount: $0.count) } }
    return body(FrameView(copy))
  }

  /// What these bytes begin with.
  static func read(_ bytes: [UInt8], limit: Int = 1 << 18) -> FrameRead {
    view(bytes) { FrameView.read($0.base, bytes.count, limit: limit) }
  }

  /// Bytes in hexadecimal.
  static func hex(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
  }
}
