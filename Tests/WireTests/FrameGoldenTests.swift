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

  /// What a key was asked to compute codes of.
  private final class Covered: @unchecked Sendable {
    var messages: [[UInt8]] = []
  }

  @Test("keyed greetings and PROOF are these bytes, and their codes cover these")
  func keyedGreetings() throws {
    var hello = Greeting(
      role: .peer, cluster: Sample.cluster, sender: Sample.client, receiver: Sample.node, frameLimit: 262_144,
      valueLimit: 67_108_864, keyLimit: 16_384)
    hello.nonce = FrameID(high: 0xA0A1_A2A3_A4A5_A6A7, low: 0xA8A9_AAAB_ACAD_AEAF)
    var welcome = Sample.welcome
    welcome.nonce = FrameID(high: 0xB0B1_B2B3_B4B5_B6B7, low: 0xB8B9_BABB_BCBD_BEBF)
    // What HMAC-SHA-256 gives with the article's key, by the purpose that the bytes begin with.
    let codes: [String: (UInt64, UInt64)] = [
      "kvd WELCOME     ": (0xBB6D_F7DB_7FDC_679F, 0xBE45_C2DB_BE22_89C9),
      "kvd PROOF       ": (0x802C_DA6D_092D_CB1F, 0x4DE7_BEA4_C923_94C3),
      "kvd session     ": (0x72F8_8EA8_DD10_397B, 0x9325_4C2B_D757_EF4A),
    ]
    let covered = Covered()
    let key = BeaconKey { bytes in
      covered.messages.append([UInt8](bytes))
      let code = bytes.count == 224 ? codes[String(decoding: bytes[..<16], as: UTF8.self)] : nil
      return BeaconCode(first: code?.0.byteSwapped ?? 0, last: code?.1.byteSwapped ?? 0)
    }
    var handshake: FrameHandshake?
    let helloBytes = Sample.bytes(256) {
      handshake = hello.writeKeyedHello(to: $0)
      return Greeting.keyedHelloCount
    }
    let welcomeBytes = Sample.bytes(256) {
      welcome.writeKeyedWelcome(to: $0, &handshake!, key)
      return Greeting.keyedWelcomeCount
    }
    let bindings = handshake!.bindings(welcome, key)
    let proof = Sample.bytes(256) {
      ProofFrame.write(handshake!.code(.proof, key), to: $0, bindings.toNode)
      return ProofFrame.frameCount
    }
    try check(
      "keyed HELLO", helloBytes,
      """
      78000000010000007d275da93a906dd200000000000000006b76643101000200000102030405060708090a0b0c0d0e0f
      101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f00000000000000000000040000000004
      0040000000000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf
      """)
    try check(
      "keyed WELCOME", welcomeBytes,
      """
      8800000002000000f08b2925892f269800000000000000006b76643101000200000102030405060708090a0b0c0d0e0f
      202122232425262728292a2b2c2d2e2f101112131415161718191a1b1c1d1e1f07000000000000000000040000000004
      0040000000000000b0b1b2b3b4b5b6b7b8b9babbbcbdbebfbb6df7db7fdc679fbe45c2dbbe2289c9
      """)
    try check(
      "PROOF", proof,
      """
      28000000090000003abd6f8e598257950000000000000000802cda6d092dcb1f4de7bea4c92394c3
      """)
    // What the codes cover is what is sent, whatever was in the memory before.
    for (message, purpose) in zip(covered.messages, ["kvd WELCOME     ", "kvd session     ", "kvd PROOF       "]) {
      #expect(message == Array(purpose.utf8) + helloBytes[16..<120] + welcomeBytes[16..<120])
    }
    #expect(covered.messages.count == 3)
    #expect(Sample.view(helloBytes) { try? Greeting($0) } == hello)
    #expect(Sample.view(welcomeBytes) { try? Greeting($0) } == welcome)
  }

  @Test("a forwarded REQUEST with a pointer and a concern is these bytes")
  func concern() throws {
    var terms = OperationTerms()
    terms.concern = FrameConcern(write: WriteConcern(nodes: 2)!, timeout: 2_000)
    let frame = Sample.bytes(1024) { base in
      var end = FrameLayout.headCount
      let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
      Array("/a".utf8).withUnsafeBytes { pointer in
        terms.pointer = pointer
        Array("key".utf8).withUnsafeBytes { key in
          Array("{}".utf8).withUnsafeBytes { value in
            RequestWriter.write(
              .pointerSet, .reply, map: nothing, key: key, value: value, terms: terms, to: base + end)
            end += RequestWriter.room(.pointerSet, map: nothing, key: key, value: value.count, terms: terms)
          }
        }
      }
      FrameLayout.seal(base, length: end, .request, isForwarded: true, count: 1, id: 4, Sample.toNode)
      return end
    }
    try check(
      "REQUEST with concern and pointer", frame,
      """
      5800000003020100aa1a974718222b4f0400000000000000070260003900000002002f610000000002000000d0070000
      210000000000000000000000000000000000000000000000030000016b65797b7d00000000000000
      """)
    Sample.view(frame) { frame in
      #expect(frame.checkOperations())
      let operation = OperationView(frame.base + FrameLayout.headCount)
      #expect(operation.concern == terms.concern)
      #expect(operation.pointer.map { [UInt8]($0) } == Array("/a".utf8))
      #expect(operation.match == nil && operation.listing == nil && operation.idempotencyKey.isEmpty)
    }
  }

  @Test("the article has an example of nothing else, and names every kind and reason")
  func article() throws {
    let document = try FrameDocument.read()
    #expect(document.examples.count == 15)
    for kind in FrameKind.allCases {
      #expect(document.text.contains("\n| \(kind.rawValue) | \(String(describing: kind).uppercased()) |"), "\(kind)")
    }
    for reason in CloseReason.allCases {
      #expect(document.text.contains("\n| \(reason.rawValue) | \(reason) |"), "\(reason)")
    }
  }
}
