/// What an operation asks for beside its key and value.
package struct OperationTerms {
  /// The media type of the value.
  package var contentType = RecordContentType()
  /// Milliseconds that the value lives from when it is stored; 0 for as long as its map says.
  package var timeToLive: UInt64 = 0
  /// The revision the key must have; see `FrameRevision`.
  package var revision: Revision?
  /// A revision that the node must have reached.
  package var minimum: Revision?
  /// At most 65535 bytes; empty for none.
  package var idempotencyKey = UnsafeRawBufferPointer(start: nil, count: 0)

  /// Entity tags as in If-Match, If-None-Match, and a JSON Pointer: at most 65535 bytes each; nil for none.
  package var match: UnsafeRawBufferPointer?
  package var noneMatch: UnsafeRawBufferPointer?
  package var pointer: UnsafeRawBufferPointer?
  /// Write concern, read level and time-out; nil for what the node has by itself.
  package var concern: FrameConcern?
  /// Where a listing goes on.
  package var listing: FrameListing?

  package init() {}

  private var idempotencyText: UnsafeRawBufferPointer? { idempotencyKey.isEmpty ? nil : idempotencyKey }

  var conditions: UInt16 {
    (revision == nil ? 0 : OperationLayout.revisionCondition)
      | (minimum == nil ? 0 : OperationLayout.minimumCondition)
      | (idempotencyKey.isEmpty ? 0 : OperationLayout.idempotencyCondition)
      | (match == nil ? 0 : OperationLayout.matchCondition)
      | (noneMatch == nil ? 0 : OperationLayout.noneMatchCondition)
      | (pointer == nil ? 0 : OperationLayout.pointerCondition)
      | (concern == nil ? 0 : OperationLayout.concernCondition)
      | (listing == nil ? 0 : OperationLayout.listingCondition)
  }

  var conditionCount: Int {
    (revision == nil ? 0 : FrameRevision.count) + (minimum == nil ? 0 : FrameRevision.count)
      + OperationTerms.count(idempotencyText) + OperationTerms.count(match) + OperationTerms.count(noneMatch)
      + OperationTerms.count(pointer) + (concern == nil ? 0 : FrameConcern.count)
      + (listing == nil ? 0 : FrameListing.count)
  }

  private static func count(_ text: UnsafeRawBufferPointer?) -> Int {
    text.map { FrameLayout.padded(2 + $0.count) } ?? 0
  }

  func write(to target: UnsafeMutableRawPointer) {
    var at = target
    for revision in [revision, minimum] {
      guard let revision else { continue }
      FrameRevision.write(revision, to: at)
      at += FrameRevision.count
    }
    for text in [idempotencyText, match, noneMatch, pointer] {
      guard let text else { continue }
      let count = OperationTerms.count(text)
      at.storeBytes(of: 0, toByteOffset: count - 8, as: UInt64.self)
      at.storeBytes(of: UInt16(text.count).littleEndian, as: UInt16.self)
      if let start = text.baseAddress { (at + 2).copyMemory(from: start, byteCount: text.count) }
      at += count
    }
    if let concern {
      concern.write(to: at)
      at += FrameConcern.count
    }
    listing?.write(to: at)
  }
}

/// Writes one REQUEST frame into memory of its owner's.
///
/// ```
/// var request = RequestWriter(base, capacity: count)
/// while request.append(.put, .ack, key: key, value: value) { … }
/// let bytes = request.seal(id: next, binding)
/// ```
package struct RequestWriter: ~Copyable {
  private let base: UnsafeMutableRawPointer
  private let capacity: Int
  private var end = FrameLayout.headCount
  /// Operations so far.
  package private(set) var count = 0

  /// Starts a frame in `capacity` bytes at `base`, which stays the caller's.
  package init(_ base: UnsafeMutableRawPointer, capacity: Int) {
    self.base = base
    self.capacity = capacity
  }

  /// Bytes that an operation takes in a frame, without conditions, expiry and content type.
  package static func room(map: Int = 0, key: Int, value: Int = 0) -> Int {
    FrameLayout.padded(OperationLayout.headCount + RecordLayout.headerCount + map + key + value)
  }

  /// Appends an operation; false, with nothing changed, when it doesn't fit any more.
  ///
  /// - Parameters:
  ///   - map: the map's name, at most 255 bytes; empty for the map "default".
  ///   - key: at most 65535 bytes.
  ///   - value: of `put` and `append`; of `increment` eight bytes or none. Empty for the others.
  package mutating func append(
    _ operation: FrameOperation, _ answer: AnswerLevel, map: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer, terms: OperationTerms = OperationTerms()
  ) -> Bool {
    let room = RequestWriter.room(operation, map: map, key: key, value: value.count, terms: terms)
    guard end + room <= capacity, count < Int(UInt16.max) else { return false }
    RequestWriter.write(operation, answer, map: map, key: key, value: value, terms: terms, to: base + end)
    end += room
    count += 1
    return true
  }

  /// Bytes that an operation takes in a frame, padding included.
  package static func room(
    _ operation: FrameOperation, map: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, value: Int,
    terms: OperationTerms
  ) -> Int {
    FrameLayout.padded(
      OperationLayout.headCount + terms.conditionCount + head(operation, terms).prefixCount + map.count + key.count
        + value)
  }

  /// Writes an operation with its padding: as many bytes as `room` says.
  package static func write(
    _ operation: FrameOperation, _ answer: AnswerLevel, map: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer, terms: OperationTerms, to at: UnsafeMutableRawPointer
  ) {
    let head = head(operation, terms)
    let start = OperationLayout.headCount + terms.conditionCount
    let valueStart = start + head.prefixCount + map.count + key.count
    let length = valueStart + value.count
    at.storeBytes(of: 0, toByteOffset: FrameLayout.padded(length) - 8, as: UInt64.self)
    write(operation, answer, head, map, key, terms, length: length, to: at)
    if let bytes = value.baseAddress { (at + valueStart).copyMemory(from: bytes, byteCount: value.count) }
  }

  /// Writes an operation whose value follows its frame, up to where the value starts, and returns how many bytes that
  /// are; at most `longCount` without a frame's head.
  ///
  /// - Parameters:
  ///   - value: bytes of the value.
  ///   - hash: the XXH3-64 (seed 0) of the value.
  package static func writeLong(
    _ operation: FrameOperation, _ answer: AnswerLevel, map: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer,
    value: Int, hash: UInt64, terms: OperationTerms, to at: UnsafeMutableRawPointer
  ) -> Int {
    let head = head(operation, terms)
    let start = OperationLayout.headCount + terms.conditionCount
    let valueStart = start + head.prefixCount + map.count + key.count
    write(operation, answer, head, map, key, terms, length: valueStart + value, to: at)
    RecordLayout.seal(at + start, valueStart: valueStart - start, valueHash: hash)
    return valueStart
  }

  /// The same for a key of the map "default" without any terms: what most operations are.
  package mutating func append(
    _ operation: FrameOperation, _ answer: AnswerLevel, key: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) -> Bool {
    let valueStart = OperationLayout.headCount &+ RecordLayout.headerCount &+ key.count
    let length = valueStart &+ value.count
    let room = FrameLayout.padded(length)
    guard end &+ room <= capacity, count < Int(UInt16.max) else { return false }
    let at = base + end
    at.storeBytes(of: 0, toByteOffset: room &- 8, as: UInt64.self)
    RequestWriter.writeHead(operation, answer, conditions: 0, length: length, to: at)
    let kind = operation.hasValue ? RecordKind.put : .remove
    let record = RecordHead(kind: kind, epoch: Epoch(0), offset: Offset(0), time: 0)
    let target = at + OperationLayout.headCount
    record.write(to: target, length: length &- OperationLayout.headCount, mapCount: 0, keyCount: key.count)
    target.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
    copyBytes(target + RecordLayout.headerCount, key.baseAddress.unsafelyUnwrapped, key.count)
    if value.count > 0 { copyBytes(at + valueStart, value.baseAddress.unsafelyUnwrapped, value.count) }
    end &+= room
    count &+= 1
    return true
  }

  /// Completes the frame and returns its bytes.
  package consuming func seal(id: UInt64, _ binding: FrameBinding) -> Int {
    FrameLayout.seal(base, length: end, .request, count: count, id: id, binding)
    return end
  }

  /// Writes the frame of a put whose value follows it: `value` is only hashed. Returns the frame's bytes, at most
  /// `longCount(…)`; the value's are to be sent right behind them, with nothing after.
  package static func long(
    _ base: UnsafeMutableRawPointer, _ answer: AnswerLevel, map: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer,
    value: UnsafeRawBufferPointer, terms: OperationTerms = OperationTerms(), id: UInt64, _ binding: FrameBinding
  ) -> Int {
    let hash = xxh3(value.baseAddress, count: value.count, seed: 0)
    let valueStart = writeLong(
      .put, answer, map: map, key: key, value: value.count, hash: hash, terms: terms, to: base + FrameLayout.headCount)
    let length = FrameLayout.headCount + valueStart
    FrameLayout.seal(base, length: length, .request, isLong: true, count: 1, id: id, binding)
    return length
  }

  /// The most bytes of the frame in front of a long value.
  package static func longCount(map: Int, key: Int, terms: OperationTerms = OperationTerms()) -> Int {
    FrameLayout.headCount + OperationLayout.headCount + terms.conditionCount + RecordLayout.headerCount
      + RecordLayout.maximumExtras + map + key
  }

  private static func head(_ operation: FrameOperation, _ terms: OperationTerms) -> RecordHead {
    RecordHead(
      kind: operation.hasValue ? .put : .remove, epoch: Epoch(0), offset: Offset(0), time: 0, expiry: terms.timeToLive,
      contentType: terms.contentType)
  }

  @inline(__always)
  private static func writeHead(
    _ operation: FrameOperation, _ answer: AnswerLevel, conditions: UInt16, length: Int,
    to at: UnsafeMutableRawPointer
  ) {
    let word =
      UInt64(operation.rawValue) | UInt64(answer.rawValue) &<< 8 | UInt64(conditions) &<< 16
      | UInt64(UInt32(truncatingIfNeeded: length)) &<< 32
    at.storeBytes(of: word.littleEndian, as: UInt64.self)
  }

  private static func write(
    _ operation: FrameOperation, _ answer: AnswerLevel, _ head: RecordHead, _ map: UnsafeRawBufferPointer,
    _ key: UnsafeRawBufferPointer, _ terms: OperationTerms, length: Int, to at: UnsafeMutableRawPointer
  ) {
    writeHead(operation, answer, conditions: terms.conditions, length: length, to: at)
    terms.write(to: at + OperationLayout.headCount)
    let start = OperationLayout.headCount + terms.conditionCount
    let record = at + start
    head.write(to: record, length: length - start, mapCount: map.count, keyCount: key.count)
    record.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
    let names = record + head.prefixCount
    if let bytes = map.baseAddress { names.copyMemory(from: bytes, byteCount: map.count) }
    if let bytes = key.baseAddress { (names + map.count).copyMemory(from: bytes, byteCount: key.count) }
  }
}
