import Testing

@testable import Engine
@testable import Wire

/// A client of the binary protocol on a test node: writes greetings and requests, and takes answers apart.
final class FrameClient {
  /// One operation as a test writes it.
  struct Step {
    var operation: FrameOperation
    var answer: AnswerLevel
    var key: String
    var value: [UInt8] = []
    var terms = OperationTerms()
  }

  /// What came back, in order.
  enum Received: Equatable {
    case reply(id: UInt64, index: Int, status: Int, body: [UInt8])
    case ack(id: UInt64, operations: UInt64)
    case pong(UInt64)
    case close(lastID: UInt64, CloseReason)
  }

  static let name = FrameID(high: 77, low: 88)
  let client: TestClient
  private(set) var welcome: Greeting?
  private(set) var nextID: UInt64 = 1

  init(_ node: TestNode, core: Int = 0, greets: Bool = true) {
    client = node.connect(core, isPeer: true)
    guard greets else { return }
    greet()
    node.settle()
    takeWelcome()
  }

  /// Sends a client's HELLO, or one that a test spoils.
  func greet(_ change: (inout Greeting) -> Void = { _ in }) {
    var hello = Greeting(role: .client, cluster: .any, sender: FrameClient.name, receiver: .any)
    change(&hello)
    client.send(
      FrameClient.bytes(256) {
        guard hello.nonce == nil else {
          _ = hello.writeKeyedHello(to: $0)
          return Greeting.keyedHelloCount
        }
        hello.write(.hello, to: $0)
        return Greeting.frameCount
      })
  }

  /// Takes the WELCOME that must have come.
  func takeWelcome() {
    guard client.receivedCount >= Greeting.frameCount else {
      Issue.record("no WELCOME")
      return
    }
    welcome = client.takeBytes(Greeting.frameCount).withUnsafeBytes { try? Greeting(FrameView($0.baseAddress!)) }
    if welcome == nil { Issue.record("no WELCOME") }
  }

  private var outgoing: FrameBinding { welcome?.incoming ?? .none }

  /// The bytes of the next REQUEST.
  func request(_ steps: [Step]) -> [UInt8] {
    defer { nextID += 1 }
    return FrameClient.bytes(4 << 20) { base in
      var writer = RequestWriter(base, capacity: 4 << 20)
      for step in steps {
        let fits = Array(step.key.utf8).withUnsafeBytes { key in
          step.value.withUnsafeBytes {
            writer.append(
              step.operation, step.answer, map: UnsafeRawBufferPointer(start: nil, count: 0), key: key, value: $0,
              terms: step.terms)
          }
        }
        precondition(fits)
      }
      return writer.seal(id: nextID, outgoing)
    }
  }

  /// Sends a REQUEST.
  func send(_ steps: Step...) { client.send(request(steps)) }

  /// Sends one operation that asks for a reply.
  func send(_ operation: FrameOperation, _ key: String, _ value: String = "", _ answer: AnswerLevel = .reply) {
    send(Step(operation: operation, answer: answer, key: key, value: Array(value.utf8)))
  }

  /// The bytes of a put whose value follows its frame.
  func long(_ key: String, _ value: [UInt8], _ answer: AnswerLevel = .reply) -> [UInt8] {
    defer { nextID += 1 }
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    let frame = Array(key.utf8).withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        FrameClient.bytes(RequestWriter.longCount(map: 0, key: key.count)) {
          RequestWriter.long($0, answer, map: nothing, key: key, value: value, id: nextID, outgoing)
        }
      }
    }
    return frame + value
  }

  /// Gives a frame whose head was changed the checksum that fits.
  func seal(_ bytes: inout [UInt8]) {
    let binding = outgoing
    bytes.withUnsafeMutableBytes { frame in
      let head = frame.load(as: UInt64.self)
      let sum = xxh3(frame.baseAddress! + 16, count: frame.count - 16, seed: head ^ binding.seed)
      frame.storeBytes(of: sum, toByteOffset: 8, as: UInt64.self)
    }
  }

  /// The bytes of a frame without a payload.
  func plain(_ kind: FrameKind, id: UInt64) -> [UInt8] {
    FrameClient.bytes(FrameLayout.headCount) {
      FrameLayout.seal($0, length: FrameLayout.headCount, kind, id: id, outgoing)
      return FrameLayout.headCount
    }
  }

  /// Takes apart all that has come; results of gets are shown as their values.
  func take() -> [Received] {
    var all: [Received] = []
    var bytes = client.takeBytes(client.receivedCount)
    while !bytes.isEmpty {
      let used = bytes.withUnsafeBytes { take($0, &all) }
      guard used > 0 else {
        Issue.record("\(bytes.count) bytes that are no frame")
        break
      }
      bytes.removeFirst(used)
    }
    return all
  }

  /// The statuses of the results that have come, in the order of request and index; ACKs are passed over.
  func statuses() -> [Int] {
    var all: [(UInt64, Int, Int)] = []
    for case .reply(let id, let index, let status, _) in take() { all.append((id, index, status)) }
    return all.sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.2)
  }

  private func take(_ bytes: UnsafeRawBufferPointer, _ all: inout [Received]) -> Int {
    guard FrameView.read(bytes.baseAddress!, bytes.count, limit: 1 << 26) == .whole else { return 0 }
    let frame = FrameView(bytes.baseAddress!)
    // A CLOSE instead of WELCOME is bound to nothing.
    guard frame.isIntact(welcome?.outgoing ?? .none) else { return 0 }
    switch frame.kind {
    case .reply: return takeReply(frame, bytes, &all)
    case .ack: all.append(.ack(id: frame.id, operations: AckFrame.operations(frame)!))
    case .pong: all.append(.pong(frame.id))
    case .close: all.append(.close(lastID: frame.id, CloseReason(rawValue: CloseFrame.read(frame)!.reason)!))
    default: Issue.record("a frame of kind \(frame.kind)")
    }
    return frame.length
  }

  private func takeReply(_ frame: FrameView, _ bytes: UnsafeRawBufferPointer, _ all: inout [Received]) -> Int {
    var cursor = ResultCursor(frame)
    var behind = 0
    while let result = cursor.next() {
      var body: [UInt8]
      if frame.isLong {
        behind = result.length - result.record.valueStart
        body = [UInt8](bytes[frame.length..<frame.length + behind])
      } else {
        body = [UInt8](result.bodyKind == .record ? result.record.value : result.body)
      }
      if result.bodyKind == .sentence { body = [] }
      all.append(.reply(id: frame.id, index: result.index, status: result.status, body: body))
    }
    if cursor.isMalformed { Issue.record("a malformed REPLY") }
    return frame.length + behind
  }

  static func bytes(_ capacity: Int, _ write: (UnsafeMutableRawPointer) -> Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xAA, count: capacity)
    let count = bytes.withUnsafeMutableBytes { write($0.baseAddress!) }
    return Array(bytes[..<count])
  }
}
