import Testing

@testable import Wire

@Suite struct RecordTests {
  /// Writes a record as the store does.
  private func encode(_ head: RecordHead, map: [UInt8], key: [UInt8], value: [UInt8]) -> [UInt8] {
    let start = head.prefixCount + map.count + key.count
    var bytes = [UInt8](repeating: 0, count: start) + value
    let length = bytes.count
    bytes.withUnsafeMutableBytes { buffer in
      let base = buffer.baseAddress!
      head.write(to: base, length: length, mapCount: map.count, keyCount: key.count)
      for (index, byte) in (map + key).enumerated() { buffer[head.prefixCount + index] = byte }
      RecordLayout.seal(base, valueStart: start, valueHash: xxh3(base + start, count: value.count, seed: 0))
    }
    return bytes
  }

  private func check(_ bytes: [UInt8], _ wanted: String) { #expect(hex(bytes) == wanted) }

  private func hex(_ bytes: [UInt8]) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
  }

  private let full = RecordHead(
    kind: .put, flags: 0x28, epoch: Epoch(0x0102_0304), offset: Offset(0x0A0B_0C0D_0E0F), time: 0x0191_8000_0001,
    expiry: 0x0191_8000_1001, contentType: RecordContentType(code: 5))

  @Test("the layout is these bytes")
  func golden() {
    let plain = RecordHead(kind: .put, epoch: Epoch(1), offset: Offset(2), time: 3)
    check(
      encode(plain, map: [], key: Array("k".utf8), value: Array("v".utf8)),
      "1e0000004b701ea201000000020000000000030000000000010000016b76")
    check(
      encode(full, map: Array("m".utf8), key: Array("key".utf8), value: Array("value".utf8)),
      "2e000000e7b28df7040302010f0e0d0c0b0a010000809101030001e90110008091010000056d6b657976616c7565")
    let gone = RecordHead(kind: .evict, epoch: Epoch(1), offset: Offset(9), time: 3)
    check(
      encode(gone, map: [], key: Array("k".utf8), value: []),
      "1d000000a3b9bc3501000000090000000000030000000000010000046b")
  }

  @Test("every field is read back")
  func fields() throws {
    let literal = Array("text/x".utf8)
    try literal.withUnsafeBytes { literal in
      for type in [RecordContentType(), RecordContentType(code: 9), RecordContentType(literal: literal)] {
        for expiry in [0, 77] as [UInt64] {
          var head = full
          head.contentType = type
          head.expiry = expiry
          let bytes = encode(head, map: [1, 2], key: [3, 4, 5], value: [6])
          try bytes.withUnsafeBytes { bytes in
            let record = try RecordView(checking: bytes)
            #expect(record.kind == .put && record.flags == 0x28 && record.epoch == full.epoch)
            #expect(record.offset == full.offset && record.time == full.time && record.expiry == expiry)
            #expect(record.contentTypeCode == type.code)
            #expect((record.contentTypeLiteral != nil) == (type.code == 255))
            #expect(record.contentTypeLiteral?.elementsEqual(literal) != false)
            #expect(record.map.elementsEqual([1, 2]) && record.key.elementsEqual([3, 4, 5]))
            #expect(record.value.elementsEqual([6]) && record.length == bytes.count && record.room % 8 == 0)
            #expect(record.isExpired(at: 77) == (expiry == 77) && !record.isExpired(at: 76))
          }
        }
      }
    }
  }

  @Test("a record that is cut short, or of which any bit changed, is refused")
  func hostile() {
    for type in [RecordContentType(), RecordContentType(code: 9)] {
      var head = full
      head.contentType = type
      let bytes = encode(head, map: [1], key: [3, 4, 5], value: [6, 7, 8, 9])
      for count in 0..<bytes.count {
        #expect(throws: RecordError.truncated) {
          try Array(bytes[..<count]).withUnsafeBytes { _ = try RecordView(checking: $0) }
        }
      }
      for bit in 0..<8 * bytes.count {
        var changed = bytes
        changed[bit / 8] ^= 1 << (bit % 8)
        #expect(throws: RecordError.self) { try changed.withUnsafeBytes { _ = try RecordView(checking: $0) } }
      }
    }
  }

  @Test("short compares and copies agree with plain ones at every length")
  func leaves() {
    for count in 0...70 {
      let a = (0..<count).map { UInt8($0) }
      var b = [UInt8](repeating: 0, count: count + 1)
      b.withUnsafeMutableBytes { target in
        a.withUnsafeBytes { source in
          copyBytes(target.baseAddress!, source.baseAddress ?? UnsafeRawPointer(target.baseAddress!), count)
        }
      }
      #expect(Array(b[..<count]) == a && b[count] == 0)
      for index in -1..<count {
        var c = a + [0]
        if index >= 0 { c[index] ^= 1 }
        let equal = c.withUnsafeBytes { c in b.withUnsafeBytes { bytesEqual(c.baseAddress!, $0.baseAddress!, count) } }
        #expect(equal == (index < 0))
      }
    }
  }

  @Test("a hash in parts is the hash of the whole")
  func streaming() {
    for count in [0, 1, 240, 241, 5000] {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
      bytes.withUnsafeBytes { bytes in
        let stream = HashStream()
        for index in 0..<count { stream.update(bytes.baseAddress! + index, count: 1) }
        #expect(stream.finish() == xxh3(bytes.baseAddress, count: count, seed: 0))
      }
    }
  }
}
