import Testing

@testable import Wire

@Suite struct FrameTests {
  private typealias Sample = FrameSample

  /// A frame with operations of every kind, none of which could be another's.
  private var sample: [UInt8] {
    Sample.request(
      id: 1,
      [
        (.put, .ack, "key", Array("value".utf8)), (.get, .reply, "other", []), (.delete, .none, "third", []),
        (.increment, .reply, "n", [5, 0, 0, 0, 0, 0, 0, 0]), (.increment, .reply, "n", []), (.append, .ack, "key", []),
      ])
  }

  /// Whether a whole frame of these bytes would be executed.
  private func isTaken(_ bytes: [UInt8], _ binding: FrameBinding = Sample.toNode) -> Bool {
    guard Sample.read(bytes) == .whole else { return false }
    return Sample.view(bytes) { $0.isIntact(binding) && $0.kind == .request && $0.checkOperations() }
  }

  @Test("any flipped bit and any wrong byte makes a frame that isn't taken")
  func damage() {
    let frame = sample
    #expect(isTaken(frame))
    for position in frame.indices {
      for bit in 0..<8 {
        var damaged = frame
        damaged[position] ^= 1 << UInt8(bit)
        #expect(!isTaken(damaged), "byte \(position), bit \(bit)")
      }
    }
  }

  @Test("every part of a frame is incomplete, and so is nothing else")
  func truncation() {
    let frame = sample
    for count in 0..<frame.count { #expect(Sample.read(Array(frame[..<count])) == .incomplete, "\(count) bytes") }
    #expect(Sample.read(frame + [1]) == .whole)
  }

  @Test("a frame is bound to its cluster, source, destination, session and direction")
  func binding() {
    let (cluster, client, node) = (Sample.cluster, Sample.client, Sample.node)
    #expect(
      Sample.toNode == FrameBinding(cluster: cluster, source: client, destination: node, session: 7))
    let others = [
      FrameBinding(cluster: node, source: client, destination: node, session: 7),
      FrameBinding(cluster: cluster, source: node, destination: node, session: 7),
      FrameBinding(cluster: cluster, source: client, destination: cluster, session: 7),
      FrameBinding(cluster: cluster, source: client, destination: node, session: 8),
      Sample.toClient, FrameBinding.none,
    ]
    for other in others { #expect(!isTaken(sample, other)) }
  }

  @Test("what can't become a frame is refused by its first bytes")
  func refusals() {
    func refusal(_ bytes: [UInt8], limit: Int = 1 << 18) -> CloseReason? {
      guard case .refused(let reason) = Sample.read(bytes, limit: limit) else { return nil }
      return reason
    }
    #expect(refusal([0, 0, 4, 0]) == nil)
    #expect(refusal([8, 0, 4, 0]) == .tooLong)
    #expect(refusal(Array("GET / HTTP/1.1\r\n".utf8)) == .tooLong)
    #expect(refusal([23, 0, 0, 0]) == .malformed)
    #expect(refusal([0, 0, 0, 0]) == .malformed)
    #expect(refusal([24, 0, 0, 0, 0, 0, 0, 0]) == .unknownKind)
    #expect(refusal([24, 0, 0, 0, 10, 0, 0, 0]) == .unknownKind)
    #expect(refusal([24, 0, 0, 0, 255, 0, 0, 0]) == .unknownKind)
    #expect(refusal([24, 0, 0, 0, 3, 4, 0, 0]) == .malformed)
    #expect(refusal([25, 0, 0, 0, 3, 0, 0, 0]) == .malformed)
    #expect(refusal([25, 0, 0, 0, 3, 1, 0, 0]) == nil)
  }

  @Test("fields that contradict each other are found although the checksum fits")
  func contradictions() {
    let frame = Sample.request(id: 1, [(.put, .ack, "key", Array("value".utf8)), (.get, .reply, "key", [])])
    let first = FrameLayout.headCount
    let second = first + 48
    /// The frame with other bytes, sealed again.
    func resealed(_ changes: [(Int, UInt8)], count: Int = 2, length: Int? = nil) -> [UInt8] {
      var bytes = frame
      for (position, byte) in changes { bytes[position] = byte }
      bytes += [UInt8](repeating: 0, count: max(0, (length ?? 0) - bytes.count))
      let end = length ?? bytes.count
      bytes.withUnsafeMutableBytes {
        FrameLayout.seal($0.baseAddress!, length: end, .request, count: count, id: 1, Sample.toNode)
      }
      return Array(bytes[..<end])
    }
    #expect(isTaken(resealed([])))
    let wrong: [(String, [(Int, UInt8)])] = [
      ("operation 0", [(first, 0)]), ("operation 6", [(first, 6)]), ("level 3", [(first + 1, 3)]),
      ("a get without reply", [(second + 1, 1)]), ("an unknown condition", [(first + 2, 8)]),
      ("a condition beyond", [(second + 2, 7)]), ("a length too small", [(first + 4, 43)]),
      ("a length too great", [(first + 4, 45)]), ("a record of another length", [(first + 8, 35)]),
      ("a checksum", [(first + 12, 1)]), ("an epoch", [(first + 16, 1)]), ("an offset", [(first + 20, 1)]),
      ("a time", [(first + 26, 1)]), ("a key beyond", [(first + 32, 9)]), ("a map beyond", [(first + 34, 200)]),
      ("a removal with a value", [(first + 35, 2)]), ("an unknown kind", [(first + 35, 7)]),
      ("reserved flags", [(first + 35, 0x09)]), ("a get of a put record", [(second + 35, 1)]),
      ("an expiry of a get", [(second + 35, 0x82)]), ("a content type of a get", [(second + 35, 0x42)]),
      ("an increment of five bytes", [(first, 4)]),
    ]
    for (what, changes) in wrong { #expect(!isTaken(resealed(changes)), "\(what)") }
    for count in [0, 1, 3, 65535] { #expect(!isTaken(resealed([], count: count)), "count \(count)") }
    #expect(!isTaken(resealed([], length: frame.count + 8)))
    #expect(!isTaken(resealed([], length: frame.count - 8)))
  }

  @Test("content types and expiries that nothing writes are refused")
  func extras() {
    func taken(_ type: RecordContentType, ttl: UInt64 = 0) -> Bool {
      var terms = OperationTerms()
      terms.contentType = type
      terms.timeToLive = ttl
      return isTaken(Sample.request(id: 1, [(.put, .ack, "key", [1])], terms))
    }
    func literal(_ text: [UInt8]) -> Bool { text.withUnsafeBytes { taken(RecordContentType(literal: $0)) } }
    #expect(taken(RecordContentType(code: ContentType.last), ttl: 1))
    #expect(!taken(RecordContentType(code: ContentType.last + 1)))
    #expect(!taken(RecordContentType(code: ContentType.none)))
    #expect(literal(Array("text/x; a=b".utf8)))
    for text in [[], [10], Array("a\r\nb".utf8), [0], [127], [200]] as [[UInt8]] { #expect(!literal(text)) }
  }

  @Test("what is written at random is read back", arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
  func roundTrips(seed: UInt64) {
    var random = FrameRandom(seed: seed)
    for round in 0..<200 {
      var wanted: [(FrameOperation, AnswerLevel, String, [UInt8])] = []
      var terms = OperationTerms()
      let once = random.bytes(random.below(40))
      let map = ["", "m", "a-longer-map"][random.below(3)]
      if random.below(3) == 0 { terms.revision = random.revision() }
      if random.below(3) == 0 { terms.minimum = random.revision() }
      for _ in 0..<random.below(12) {
        let operation = FrameOperation.allCases[random.below(5)]
        let answer = operation == .get ? .reply : AnswerLevel(rawValue: UInt8(random.below(3)))!
        let key = String(repeating: "k", count: 1 + random.below(40))
        let value =
          operation == .increment ? random.bytes(8) : operation.hasValue ? random.bytes(random.below(300)) : []
        wanted.append((operation, answer, key, value))
      }
      let frame = once.withUnsafeBytes {
        if round % 3 == 0 { terms.idempotencyKey = $0 }
        return Sample.request(id: UInt64(round), wanted, terms, map: map)
      }
      #expect(isTaken(frame))
      Sample.view(frame) { view in
        #expect(view.id == UInt64(round) && view.count == wanted.count)
        var at = view.base + FrameLayout.headCount
        for (operation, answer, key, value) in wanted {
          let found = OperationView(at)
          #expect(found.operation == operation && found.answer == answer)
          #expect(found.revision == terms.revision && found.minimum == terms.minimum)
          #expect(Array(found.idempotencyKey) == (round % 3 == 0 ? once : []))
          #expect(Array(found.record.key) == Array(key.utf8) && Array(found.record.map) == Array(map.utf8))
          #expect(Array(found.record.value) == value)
          at += FrameLayout.padded(found.length)
        }
      }
    }
  }

  @Test("the short form of append writes the same bytes as the long one")
  func shortForm() {
    for (operation, value) in [(FrameOperation.put, 0), (.put, 7), (.put, 8), (.put, 100), (.get, 0), (.delete, 0)] {
      for keyCount in [1, 7, 8, 16, 33] {
        let key = String(repeating: "k", count: keyCount)
        let bytes = [UInt8](repeating: 9, count: value)
        let short = Sample.bytes(4096) { base in
          var writer = RequestWriter(base, capacity: 4096)
          Array(key.utf8).withUnsafeBytes { key in
            bytes.withUnsafeBytes { precondition(writer.append(operation, .reply, key: key, value: $0)) }
          }
          return writer.seal(id: 1, Sample.toNode)
        }
        #expect(short == Sample.request(id: 1, [(operation, .reply, key, bytes)]))
        #expect(short.count == FrameLayout.headCount + RequestWriter.room(key: keyCount, value: value))
      }
    }
  }

  @Test("a writer refuses what doesn't fit and keeps what did")
  func fullFrame() {
    let frame = Sample.bytes(112) { base in
      var writer = RequestWriter(base, capacity: 112)
      Array("key".utf8).withUnsafeBytes { key in
        let fits = (0..<3).map { _ in writer.append(.delete, .ack, key: key) }
        #expect(fits == [true, true, false])
      }
      let count = writer.count
      #expect(count == 2)
      return writer.seal(id: 1, Sample.toNode)
    }
    #expect(isTaken(frame))
  }

  @Test("a record in front of a long value is sealed, and what precedes the value is all there")
  func long() {
    let value = [UInt8](repeating: 7, count: 1000)
    let frame = Sample.long(id: 3, "key", value)
    #expect(isTaken(frame))
    Sample.view(frame + value) { view in
      let record = OperationView(view.base + FrameLayout.headCount).record
      #expect(record.base + record.valueStart == view.base + view.length)
      #expect(record.length == record.valueStart + 1000)
      #expect(record.isIntact)
    }
    for position in frame.indices {
      var damaged = frame
      damaged[position] ^= 0x10
      #expect(!isTaken(damaged), "byte \(position)")
    }
  }

  @Test("results are walked, and contradictions in them found")
  func results() {
    let record = Sample.record("key", "value")
    let frame = Sample.reply(
      id: 9, [(0, 200, .record, record), (1, 204, .nothing, []), (7, 404, .sentence, [65, 66])])
    Sample.view(frame) { view in
      #expect(view.isIntact(Sample.toClient))
      var cursor = ResultCursor(view)
      let first = cursor.next()
      #expect(first?.index == 0 && first?.status == 200 && Array(first!.record.value) == Array("value".utf8))
      #expect(first?.revision == Revision(partition: PartitionID(5), epoch: Epoch(1), offset: Offset(42)))
      #expect(cursor.next()?.bodyKind == .nothing)
      let last = cursor.next()
      #expect(last?.index == 7 && last?.status == 404 && Array(last!.body) == [65, 66])
      #expect(cursor.next() == nil && !cursor.isMalformed)
    }
    for position in FrameLayout.headCount..<frame.count {
      var damaged = frame
      damaged[position] ^= 0xFF
      Sample.view(damaged) { view in
        var cursor = ResultCursor(view)
        while cursor.next() != nil {}  // what matters is that it stays inside
      }
    }
  }

  @Test("greetings are read back, and refused where they are wrong")
  func greetings() throws {
    for (greeting, kind) in [(Sample.hello, FrameKind.hello), (Sample.welcome, .welcome)] {
      let bytes = Sample.bytes(Greeting.frameCount) {
        greeting.write(kind, to: $0)
        return Greeting.frameCount
      }
      #expect(Sample.view(bytes) { try? Greeting($0) } == greeting)
      for position in bytes.indices {
        var damaged = bytes
        damaged[position] ^= 1
        let isWhole = Sample.read(damaged) == .whole
        #expect(!isWhole || Sample.view(damaged) { try? Greeting($0) } == nil, "byte \(position)")
      }
    }
  }

  @Test("every reason has a sentence that fits, and is read back")
  func reasons() {
    for reason in CloseReason.allCases {
      let bytes = Sample.bytes(CloseFrame.maximumCount) { CloseFrame.write(reason, lastID: 4, to: $0, .none) }
      Sample.view(bytes) { frame in
        let read = CloseFrame.read(frame)
        #expect(frame.isIntact(.none) && frame.id == 4 && read?.reason == reason.rawValue)
        #expect(read.map { String(decoding: $0.sentence, as: UTF8.self) } == "\(reason.sentence)")
      }
    }
  }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct FrameRandom {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }

  mutating func revision() -> Revision {
    Revision(
      partition: PartitionID(UInt16(below(1024))), epoch: Epoch(UInt32(below(9))), offset: Offset(next() >> 16))
  }
}
