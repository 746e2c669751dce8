/// One change to a document: the bytes `cut` give way to `insertion`; every other byte stays.
struct JSONSplice {
  /// Bytes of the document, by offset.
  private(set) var cut = 0..<0
  /// What comes in their place.
  private(set) var insertion: [UInt8] = []

  /// What putting a value does where the pointer leads to a value already, or nowhere yet.
  enum Mode {
    /// Replaces what is there; creates objects and arrays on the way.
    case set
    /// Replaces a member, inserts before an element; the container must be there (RFC 6902 §4.1).
    case add
    /// Replaces what must be there (RFC 6902 §4.3).
    case replace
  }

  /// The change that puts `value` at `pointer`.
  ///
  /// - Throws: `.missing`, `.conflict`, or `.limit(.depth)`.
  init(
    put value: JSONValue, at pointer: JSONPointer, in document: JSONValue, _ mode: Mode, maximumDepth: Int
  ) throws(JSONEditError) {
    try JSONSplice.checkDepth(value, pointer, maximumDepth)
    let place = JSONLocator.locate(pointer, in: document)
    if mode == .replace, place.outcome != .found { throw JSONEditError(.missing) }
    switch place.outcome {
    case .found where place.isElement && mode == .add:
      cut = place.entry..<place.entry
      insertion.append(contentsOf: value.bytes)
      insertion.append(0x2C)
    case .found:
      cut = place.value
      insertion.append(contentsOf: value.bytes)
    case .noMember, .pastEnd:
      let token = pointer.token(at: place.token)
      if mode == .add, token.end < pointer.count { throw JSONEditError(.missing) }
      cut = place.insertion..<place.insertion
      if place.needsComma { insertion.append(0x2C) }
      if place.outcome == .noMember { appendName(token) }
      appendNested(value, pointer, token.end)
    case .beyondEnd: throw JSONEditError(.conflict(.beyondEnd))
    case .notAnIndex: throw JSONEditError(.conflict(.notAnIndex))
    case .scalar: throw JSONEditError(.conflict(.scalar))
    }
  }

  /// The document that consists of `value` at `pointer` and the containers around it, as an insertion.
  ///
  /// - Throws: `.limit(.depth)`.
  init(creating value: JSONValue, at pointer: JSONPointer, maximumDepth: Int) throws(JSONEditError) {
    try JSONSplice.checkDepth(value, pointer, maximumDepth)
    appendNested(value, pointer, 0)
  }

  /// The change that removes what `pointer` names, with one comma: the one after it, or for a last entry the one before
  /// it. All other white space stays. Of several members with the same name it removes the last one.
  ///
  /// - Parameter matches: members of that name there are, this one counted.
  /// - Throws: `.missing`, or `.conflict(.wholeDocument)`.
  init(remove pointer: JSONPointer, from document: JSONValue, matches: inout Int) throws(JSONEditError) {
    guard pointer.count > 0 else { throw JSONEditError(.conflict(.wholeDocument)) }
    let place = JSONLocator.locate(pointer, in: document)
    guard place.outcome == .found else { throw JSONEditError(.missing) }
    matches = place.matches
    if place.commaAfter >= 0 {
      cut = place.entry..<place.commaAfter &+ 1
    } else if place.commaBefore >= 0 {
      cut = place.commaBefore..<place.value.upperBound
    } else {
      cut = place.entry..<place.value.upperBound
    }
  }

  /// Each token of the pointer stands for one container around the value.
  private static func checkDepth(
    _ value: JSONValue, _ pointer: JSONPointer, _ maximumDepth: Int
  ) throws(JSONEditError) {
    guard pointer.tokenCount &+ value.depth <= min(maximumDepth, JSONScanner.maximumDepth) else {
      throw JSONEditError(.limit(.depth))
    }
  }

  private mutating func appendName(_ token: JSONPointerToken) {
    token.appendName(to: &insertion)
    insertion.append(0x3A)
  }

  /// Appends `value` inside the containers that the rest of `pointer` from `position` asks for: an array for the token
  /// `-`, an object for every other one.
  private mutating func appendNested(_ value: JSONValue, _ pointer: JSONPointer, _ position: Int) {
    var closing: [UInt8] = []
    var position = position
    while position < pointer.count {
      let token = pointer.token(at: position)
      insertion.append(token.isPastEnd ? 0x5B : 0x7B)
      closing.append(token.isPastEnd ? 0x5D : 0x7D)
      if !token.isPastEnd { appendName(token) }
      position = token.end
    }
    insertion.append(contentsOf: value.bytes)
    insertion.append(contentsOf: closing.reversed())
  }
}

/// A document under edit: bytes of our own that splices change in place. It is valid JSON between two splices.
struct JSONWorkingCopy: ~Copyable {
  private var text: UnsafeMutablePointer<UInt8>
  private var capacity: Int
  private(set) var count: Int
  private let limits: JSONLimits
  private var work: JSONWork

  /// A copy of the valid text `bytes`, which isn't empty.
  init(_ bytes: UnsafeRawBufferPointer, _ limits: JSONLimits) {
    capacity = bytes.count + bytes.count / 8 + 64
    text = .allocate(capacity: capacity)
    count = bytes.count
    UnsafeMutableRawPointer(text).copyMemory(from: bytes.baseAddress!, byteCount: count)
    self.limits = limits
    work = JSONWork(limits.work)
  }

  deinit { text.deallocate() }

  /// The document, good until the next splice.
  var document: JSONValue {
    let start = JSONText.skipSpace(text, 0, count)
    var end = count
    while end > start, text[end &- 1] <= 0x20 { end &-= 1 }
    return JSONValue(text, start, end)
  }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: text, count: count) }

  /// Puts `value`, which may be part of this document, at `pointer`.
  mutating func put(
    _ value: JSONValue, at pointer: JSONPointer, _ mode: JSONSplice.Mode
  ) throws(JSONEditError) {
    try work.charge(2 &* count &+ value.count)  // walked once, moved once
    try apply(JSONSplice(put: value, at: pointer, in: document, mode, maximumDepth: limits.depth))
  }

  /// Removes what `pointer` names, all members of its name, so that nothing is there afterwards.
  mutating func remove(_ pointer: JSONPointer) throws(JSONEditError) {
    var matches = 0
    repeat {
      try work.charge(2 &* count)
      try apply(JSONSplice(remove: pointer, from: document, matches: &matches))
    } while matches > 1
  }

  /// The value that `pointer` names.
  mutating func value(at pointer: JSONPointer) throws(JSONEditError) -> JSONValue {
    try work.charge(count)
    guard let value = document.value(at: pointer) else { throw JSONEditError(.missing) }
    return value
  }

  /// Whether `value` is what `pointer` names.
  mutating func test(_ value: JSONValue, at pointer: JSONPointer) throws(JSONEditError) -> Bool {
    let found = try self.value(at: pointer)
    return try JSONEquality.equal(found, value, &work)
  }

  private mutating func apply(_ splice: borrowing JSONSplice) throws(JSONEditError) {
    let cut = splice.cut
    let newCount = count &- cut.count &+ splice.insertion.count
    guard newCount <= limits.result || newCount < count else { throw JSONEditError(.limit(.result)) }
    if newCount > capacity { grow(to: newCount) }
    let tail = UnsafeMutableRawPointer(text + cut.upperBound)
    UnsafeMutableRawPointer(text + cut.lowerBound + splice.insertion.count)
      .copyMemory(from: tail, byteCount: count &- cut.upperBound)
    splice.insertion.withUnsafeBytes {
      UnsafeMutableRawBufferPointer(start: text + cut.lowerBound, count: $0.count).copyMemory(from: $0)
    }
    count = newCount
  }

  private mutating func grow(to needed: Int) {
    let larger = needed + needed / 4
    let moved = UnsafeMutablePointer<UInt8>.allocate(capacity: larger)
    UnsafeMutableRawPointer(moved).copyMemory(from: text, byteCount: count)
    text.deallocate()
    text = moved
    capacity = larger
  }
}
