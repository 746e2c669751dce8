import Testing

@testable import Wire

/// The frames of Wire.docc's article, byte by byte. A change here is a change of the protocol.
@Suite struct FrameGoldenTests {
  private typealias Sample = FrameSample

  /// The encoder writes exactly these bytes, and the article shows them under this name.
  private func check(_ name: String, _ bytes: [UInt8], _ wanted: String) throws {
    let wanted = wanted.filter { !$0.isWhitespace }
    let text = Sample.hex(bytes)
    #expect(text == wanted)
    #expect(try FrameDocument.read().examples[name] == wanted)
  }

  @Test("HELLO and WELCOME are these bytes")
  func greetings() throws {
    func frame(_ greeting: Greeting, _ kind: FrameKind) -> [UInt8] {
      Sample.bytes(Greeting.frameCount) {
        greeting.write(kind, to: $0)
        return Greeting.frameCount
      }
    }
    try check(
      "HELLO", frame(Sample.hello, .hello),
      """
      680000000100000055ce526f83b0eda100000000000000006b7664310100010000000000000000000000000000000000
      101112131415161718191a1b1c1d1e1f0000000000000000000000000000000000000000000000000000000000000000
      0000000000000000
      """)
    try check(
      "WELCOME", frame(Sample.welcome, .welcome),
      """
      6800000002000000909aa6c06549da4300000000000000006b76643101000200000102030405060708090a0b0c0d0e0f
      202122232425262728292a2b2c2d2e2f101112131415161718191a1b1c1d1e1f07000000000000000000040000000004
      0040000000000000
      """)
  }

  @Test("a REQUEST is these bytes")
  func request() throws {
    try check(
      "REQUEST", Sample.request(id: 1, [(.put, .ack, "key", Array("value".utf8)), (.get, .reply, "key", [])]),
      """
      7000000003000200331dbffe015aefc10100000000000000020100002c00000024000000000000000000000000000000
      0000000000000000030000016b657976616c75650000000001020000270000001f000000000000000000000000000000
      0000000000000000030000026b657900
      """)
  }

  @Test("a REQUEST with every condition is these bytes")
  func conditions() throws {
    var terms = OperationTerms()
    terms.revision = Revision(partition: PartitionID(5), epoch: Epoch(1), offset: Offset(42))
    terms.minimum = Revision(partition: PartitionID(5), epoch: Epoch(1), offset: Offset(41))
    terms.timeToLive = 60_000
    terms.contentType = RecordContentType(code: ContentType.json)
    let frame = Array("once".utf8).withUnsafeBytes { key in
      terms.idempotencyKey = key
      return Sample.request(id: 2, [(.put, .reply, "key", Array("{}".utf8))], terms, map: "m")
    }
    try check(
      "REQUEST with conditions", frame,
      """
      7800000003000100dfa6e4916f2a94450200000000000000020207005b00000005000000010000002a00000000000000
      0500000001000000290000000000000004006f6e636500002b0000000000000000000000000000000000000000000000
      030001c160ea000000000000016d6b65797b7d0000000000
      """)
  }

  @Test("the frame before a long value is these bytes")
  func long() throws {
    try check(
      "REQUEST with a long value", Sample.long(id: 3, "key", Array("value".utf8)),
      """
      3f00000003010100584a7960ecfc45ac0300000000000000020200002c00000024000000da5b804f0000000000000000
      0000000000000000030000016b6579
      """)
  }

  @Test("a REPLY is these bytes")
  func reply() throws {
    let record = Sample.record("key", "value")
    try check(
      "REPLY", Sample.reply(id: 1, [(1, 200, .record, record)]),
      """
      5800000004000100926b4eb577beb62601000000000000000100c8002400000005000100010000002a00000000000000
      240000005b17e91d010000002a0000000000010000809101030000016b657976616c756500000000
      """)
    try check(
      "REPLY of a refusal", Sample.reply(id: 2, [(0, 412, .sentence, Array("No.".utf8))]),
      """
      3800000004000100f6c77e88cc88cb52020000000000000000009c010300000000000300000000000000000000000000
      4e6f2e0000000000
      """)
  }

  @Test("ACK, PING and CLOSE are these bytes")
  func small() throws {
    let ack = Sample.bytes(AckFrame.frameCount) {
      AckFrame.write(id: 1, operations: 2, to: $0, Sample.toClient)
      return AckFrame.frameCount
    }
    try check(
      "ACK", ack,
      """
      2000000005000000dfae3caea94713f401000000000000000200000000000000
      """)
    let ping = Sample.bytes(FrameLayout.headCount) {
      FrameLayout.seal($0, length: FrameLayout.headCount, .ping, id: 9, Sample.toNode)
      return FrameLayout.headCount
    }
    try check(
      "PING", ping,
      """
      1800000006000000aa0eaebf15c0efa00900000000000000
      """)
    let close = Sample.bytes(CloseFrame.maximumCount) {
      CloseFrame.write(.truncated, lastID: 1, to: $0, Sample.toClient)
    }
    try check(
      "CLOSE", close,
      """
      6800000008000000f9d799afb2df17ac0100000000000000020041000000000054686520636f6e6e656374696f6e2065
      6e64656420696e736964652061206672616d653b2074686174206672616d6520776173206e6f74206578656375746564
      2e00000000000000
      """)
  }

  @Test("the article has an example of nothing else, and names every kind and reason")
  func article() throws {
    let document = try FrameDocument.read()
    #expect(document.examples.count == 10)
    for kind in FrameKind.allCases {
      #expect(document.text.contains("\n| \(kind.rawValue) | \(String(describing: kind).uppercased()) |"), "\(kind)")
    }
    for reason in CloseReason.allCases {
      #expect(document.text.contains("\n| \(reason.rawValue) | \(reason) |"), "\(reason)")
    }
  }
}
