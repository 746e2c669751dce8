import Wire

/// Memory that lives as long as the process, filled with letters.
func letters(_ count: Int, room: Int = 0) -> UnsafeMutablePointer<UInt8> {
  let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: max(count, room))
  for index in 0..<count { bytes[index] = UInt8(ascii: "a") + UInt8(index * 7 % 26) }
  return bytes
}

/// The same with this text.
func bytes(of text: String, room: Int = 0) -> (start: UnsafeMutablePointer<UInt8>, count: Int) {
  let count = text.utf8.count
  let start = UnsafeMutablePointer<UInt8>.allocate(capacity: max(count, room))
  start.initialize(from: Array(text.utf8), count: count)
  return (start, count)
}

func baseline(_ kind: Baseline) -> (Int) -> UInt64 {
  switch kind {
  case .hash:
    let source = letters(256)
    return { count in
      // Each hash seeds the next, so that none can overlap another.
      var seed: UInt64 = 0
      for _ in 0..<count { seed = xxh3(source, count: 256, seed: seed) }
      return seed
    }
  case .copy:
    let source = letters(4096)
    let target = letters(4096)
    return { count in
      var sum: UInt64 = 0
      for index in 0..<count {
        source[index & 4095] = UInt8(truncatingIfNeeded: sum)
        UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: 4096)
        sum &+= UInt64(target[index & 4095]) &+ 1
      }
      return sum
    }
  }
}

/// What requests look like: a plain one, and one with the fields that a browser's `fetch` sends.
let plainGet = "GET /key-000000000042 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n"
let plainPut =
  "PUT /key-000000000042 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nContent-Length: 100\r\n\r\n"
let browserGet =
  "GET /v1/maps/sessions/key-000000000042 HTTP/1.1\r\nHost: localhost:3000\r\nUser-Agent: Mozilla/5.0 (X11; Linux "
  + "x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: application/json\r\nAccept-Language: en-US,en;q=0.5\r\n"
  + "Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\nSec-Fetch-Dest: empty\r\n"
  + "Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\n\r\n"

/// HTTP heads, hashes and frames.
func wireLeaves() -> [Leaf] {
  [
    parse("parse a GET's head", plainGet, budget: 0.6),
    parse("parse a PUT's head", plainPut, budget: 1.05),
    parse("parse a browser's head", browserGet, budget: 4.8),
    hashKey(),
    responseHead(),
    frameEncode("encode a frame with 1 put", 1, budget: 1.4),
    frameEncode("encode a frame with 16 puts", 16, budget: 8.4),
    frameDecode("check a frame with 1 put", 1, budget: 1.1),
    frameDecode("check a frame with 16 puts", 16, budget: 7),
    replyEncode(),
  ]
}

private func parse(_ name: String, _ text: String, budget: Double) -> Leaf {
  let (start, length) = bytes(of: text)
  return Leaf(name: name, baseline: .hash, budget: budget) { count in
    var sum: UInt64 = 0
    var head = RequestHead()
    for _ in 0..<count {
      let result = RequestParser.parse(start, length, limit: 32 << 10, into: &head)
      precondition(result == .complete)
      sum &+= UInt64(head.headCount) &+ UInt64(head.path.count)
    }
    return sum
  }
}

private func hashKey() -> Leaf {
  let (key, length) = bytes(of: "key-000000000042")
  return Leaf(name: "hash a key of 16 bytes", baseline: .hash, budget: 0.45) { count in
    var sum: UInt64 = 0
    for _ in 0..<count {
      key[8] = UInt8(truncatingIfNeeded: sum)
      sum = keyHash(key, count: length, mapCount: 0)
    }
    return sum
  }
}

private func responseHead() -> Leaf {
  let room = letters(ResponseHead.maximumCount)
  let date = letters(32)
  return Leaf(name: "write an answer's head", baseline: .hash, budget: 1) { count in
    var sum: UInt64 = 0
    for index in 0..<count {
      var head = ResponseHead(.ok)
      head.contentLength = 100
      head.contentType = ContentType.octetStream
      head.revision = Revision(partition: PartitionID(517), epoch: Epoch(1), offset: Offset(UInt64(100_000 &+ index)))
      sum &+= UInt64(head.write(into: room, date: date)) &+ UInt64(room[20])
    }
    return sum
  }
}

// MARK: Frames

private let binding = FrameBinding(seed: 0x1234_5678_9ABC_DEF0)

private func frameEncode(_ name: String, _ operations: Int, budget: Double) -> Leaf {
  let (key, keyCount) = bytes(of: "key-000000000042")
  let value = letters(100)
  let capacity = FrameLayout.headCount + operations * RequestWriter.room(key: keyCount, value: 100)
  let room = letters(capacity)
  return Leaf(name: name, baseline: .hash, budget: budget) { count in
    var sum: UInt64 = 0
    for index in 0..<count {
      var writer = RequestWriter(room, capacity: capacity)
      for _ in 0..<operations {
        let fits = writer.append(
          .put, .ack, key: UnsafeRawBufferPointer(start: key, count: keyCount),
          value: UnsafeRawBufferPointer(start: value, count: 100))
        precondition(fits)
      }
      sum &+= UInt64(writer.seal(id: UInt64(index &+ 1), binding)) &+ UInt64(room[8])
    }
    return sum
  }
}

private func frameDecode(_ name: String, _ operations: Int, budget: Double) -> Leaf {
  let (key, keyCount) = bytes(of: "key-000000000042")
  let value = letters(100)
  let capacity = FrameLayout.headCount + operations * RequestWriter.room(key: keyCount, value: 100)
  let room = letters(capacity)
  var writer = RequestWriter(room, capacity: capacity)
  for _ in 0..<operations {
    let fits = writer.append(
      .put, .ack, key: UnsafeRawBufferPointer(start: key, count: keyCount),
      value: UnsafeRawBufferPointer(start: value, count: 100))
    precondition(fits)
  }
  let length = writer.seal(id: 1, binding)
  return Leaf(name: name, baseline: .hash, budget: budget) { count in
    var sum: UInt64 = 0
    for _ in 0..<count {
      guard FrameView.read(room, length, limit: 256 << 10) == .whole else { preconditionFailure("no frame") }
      let frame = FrameView(room)
      guard frame.isIntact(binding), frame.checkOperations() else { preconditionFailure("a damaged frame") }
      sum &+= frame.id &+ UInt64(frame.count)
    }
    return sum
  }
}

private func replyEncode() -> Leaf {
  let room = letters(4096)
  let record = letters(144)
  return Leaf(name: "encode a reply with 1 record", baseline: .hash, budget: 1.15) { count in
    var sum: UInt64 = 0
    for index in 0..<count {
      let result = UnsafeMutableRawPointer(room) + FrameLayout.headCount
      ResultLayout.write(
        to: result, index: 0, status: 200, .record, length: 144,
        revision: Revision(partition: PartitionID(517), epoch: Epoch(1), offset: Offset(UInt64(index))))
      (result + ResultLayout.headCount).copyMemory(from: record, byteCount: 144)
      let length = FrameLayout.headCount + ResultLayout.headCount + 144
      FrameLayout.seal(room, length: length, .reply, count: 1, id: UInt64(index &+ 1), binding)
      sum &+= UInt64(room[8])
    }
    return sum
  }
}
