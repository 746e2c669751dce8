import Testing

@testable import Engine

/// One client's connection as the node's owner sees it: what it will send, what it got, what the engine asked for.
final class TestClient {
  enum Input {
    case bytes([UInt8])
    /// The client sends no more.
    case end
    /// The connection broke.
    case failure
  }

  let core: Int
  let id: ConnectionID
  /// Whether it speaks frames.
  let isPeer: Bool
  let isBeyondLimit: Bool
  /// Takes nothing: sends stay under way.
  var holdsSends = false
  /// What it sends arrives although the engine asked for a pause: it was already under way.
  var ignoresPause = false
  /// The kernel doesn't let go of the connection.
  var holdsClose = false
  var isOpened = false
  /// The node opened it; whether the other side took it.
  var isOutbound = false
  var isAnswered = false
  /// The engine asked for these.
  private(set) var isPaused = false
  private(set) var isClosing = false
  private(set) var isWriteShut = false
  var wasAborted = false
  private(set) var pauses = 0
  /// Nothing of it is left.
  var isGone = false
  /// Bytes of answers that arrived and were not looked at yet.
  private(set) var received: [UInt8] = []
  /// Where the engine wants the next bytes.
  var loan: UnsafeMutableRawBufferPointer?
  private var inputs: [Input] = []
  private var next = 0
  private var pending: (parts: [UnsafeRawBufferPointer], bytes: [UInt8])?
  private var isBroken = false
  private var takesOnce = false

  init(core: Int, id: ConnectionID, isPeer: Bool, isBeyondLimit: Bool) {
    self.core = core
    self.id = id
    self.isPeer = isPeer
    self.isBeyondLimit = isBeyondLimit
  }

  /// Whether more can be asked on it.
  var isOpen: Bool { !isClosing && !isWriteShut }
  /// Whether bytes are under way to it.
  var isTaking: Bool { pending != nil }
  /// Whether everything it said was read.
  var isRead: Bool { next == inputs.count }
  var text: String { String(decoding: received, as: UTF8.self) }
  /// Bytes that arrived and were not looked at.
  var receivedCount: Int { received.count }

  // MARK: What the client does

  /// Sends bytes, which arrive together.
  func send(_ bytes: [UInt8]) {
    if !bytes.isEmpty { inputs.append(.bytes(bytes)) }
  }

  /// The same with a part of an array.
  func send(_ bytes: ArraySlice<UInt8>) { send([UInt8](bytes)) }

  /// Sends text, which arrives together.
  func send(_ text: String) { send(Array(text.utf8)) }

  /// Says that it sends no more.
  func end() { inputs.append(.end) }

  /// Breaks off at once: what it sent and was not read is lost.
  func reset() {
    inputs.removeAll()
    next = 0
    inputs.append(.failure)
  }

  /// Looks at the answers so far.
  func takeAnswers(isHead: Bool = false) -> [Answer] {
    takeAnswers { _ in isHead }
  }

  /// The same where some requests were HEAD, which only the asker knows.
  func takeAnswers(isHead: (Int) -> Bool) -> [Answer] {
    var answers: [Answer] = []
    var at = 0
    while at < received.count {
      guard let answer = Answer(received, &at, isHead: isHead(answers.count)) else { break }
      answers.append(answer)
    }
    received.removeFirst(at)
    return answers
  }

  /// Takes the first bytes of what arrived.
  func takeBytes(_ count: Int) -> [UInt8] {
    defer { received.removeFirst(count) }
    return [UInt8](received.prefix(count))
  }

  /// Looks at the text so far.
  func takeText() -> String {
    defer { received.removeAll() }
    return text
  }

  // MARK: What the node's owner does

  /// Whether a turn would have something to tell of it.
  var hasNews: Bool {
    (!isOpened && (!isOutbound || isAnswered || hasFailed)) || canTake || (isClosing && !holdsClose) || hasInput
  }

  private var hasInput: Bool { next < inputs.count && !isClosing && (!isPaused || ignoresPause || isFailure) }
  /// Whether it broke before it stood.
  var hasFailed: Bool { !inputs.isEmpty && next < inputs.count && isFailure }
  private var isFailure: Bool { if case .failure = inputs[next] { true } else { false } }

  /// Whether the client takes what is under way to it.
  var canTake: Bool { pending != nil && (!holdsSends || takesOnce) && !isBroken && !isClosing }

  /// What arrives next, if anything.
  func nextInput() -> Input? {
    guard hasInput else { return nil }
    let input = inputs[next]
    next += 1
    if case .failure = input { isBroken = true }
    return input
  }

  /// What arrived only in part arrives in its turn.
  func putBack(_ bytes: ArraySlice<UInt8>) { inputs.insert(.bytes(Array(bytes)), at: next) }

  /// The client takes what is under way.
  func take() {
    checkPending()
    takesOnce = false
    received += pending!.bytes
    pending = nil
  }

  /// Takes what is under way, if anything, although it takes nothing otherwise.
  func takeOnce() { takesOnce = pending != nil }

  /// What is under way must still be what was handed over.
  func checkPending() {
    guard let pending else { return }
    var now: [UInt8] = []
    for part in pending.parts { now += part }
    if now != pending.bytes { Issue.record("memory of \(pending.bytes.count) bytes was reused while being sent") }
  }

  func hand(_ parts: [UnsafeRawBufferPointer]) {
    if pending != nil { Issue.record("a send while another is under way") }
    if isClosing || isWriteShut { Issue.record("a send on a connection that is shut") }
    var bytes: [UInt8] = []
    for part in parts { bytes += part }
    if bytes.isEmpty { Issue.record("a send of nothing") }
    pending = (parts, bytes)
  }

  func shutWrite() {
    if isClosing || isWriteShut { Issue.record("shut twice") }
    if pending != nil { Issue.record("shut while bytes are under way") }
    isWriteShut = true
  }

  func close() {
    if isClosing { Issue.record("closed twice") }
    isClosing = true
  }

  func pause(_ pauses: Bool) {
    if isClosing { Issue.record("paused or resumed behind close") }
    if isPaused == pauses { Issue.record("paused or resumed twice") }
    if pauses { self.pauses += 1 }
    isPaused = pauses
  }
}

/// One answer, taken apart.
struct Answer: Equatable {
  var status: Int
  /// Fields by their names in lower case.
  var fields: [String: String] = [:]
  var body: [UInt8] = []

  init(status: Int) { self.status = status }

  /// Reads the answer at `at` and goes behind it; nil if it isn't whole.
  init?(_ bytes: [UInt8], _ at: inout Int, isHead: Bool) {
    guard let end = Answer.headEnd(bytes, at) else { return nil }
    var lines = String(decoding: bytes[at..<end - 4], as: UTF8.self).split(
      separator: "\r\n", omittingEmptySubsequences: false)
    let line = lines.removeFirst()
    guard line.hasPrefix("HTTP/1.1 "), let status = Int(line.dropFirst(9).prefix(3)) else { return nil }
    self.status = status
    for field in lines {
      let parts = field.split(separator: ":", maxSplits: 1)
      fields[parts[0].lowercased()] = String(parts[1].dropFirst())
    }
    let hasBody = !isHead && status >= 200 && status != 204 && status != 304
    let count = hasBody ? Int(fields["content-length"] ?? "0")! : 0
    guard bytes.count >= end + count else { return nil }
    body = [UInt8](bytes[end..<end + count])
    at = end + count
  }

  private static func headEnd(_ bytes: [UInt8], _ start: Int) -> Int? {
    var at = start
    while at + 4 <= bytes.count {
      if bytes[at] == 13 && bytes[at + 1] == 10 && bytes[at + 2] == 13 && bytes[at + 3] == 10 { return at + 4 }
      at += 1
    }
    return nil
  }

  var text: String { String(decoding: body, as: UTF8.self) }
  var etag: String { fields["etag"] ?? "" }
  var closes: Bool { fields["connection"] == "close" }
  subscript(_ field: String) -> String? { fields[field] }
}
