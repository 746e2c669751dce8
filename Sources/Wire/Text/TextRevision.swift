extension Text {
  /// The most bytes `writeRevision` writes: 4 + 1 + 10 + 1 + 20.
  package static var maximumRevision: Int { 36 }

  /// Writes a revision as `partition-epoch-offset`, for example "17-1-42": at most `maximumRevision` bytes, of which
  /// those behind the count that it answers are good for nothing.
  @inlinable @inline(always)
  package static func writeRevision(_ revision: Revision, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    var at = writeShortDecimal(UInt32(revision.partition.rawValue), to: bytes)
    bytes[at] = UInt8(ascii: "-")
    at &+= 1
    at &+= writeDecimal(UInt64(revision.epoch.rawValue), to: bytes + at)
    bytes[at] = UInt8(ascii: "-")
    at &+= 1
    let offset = revision.offset.rawValue
    return at
      &+ (offset < 100_000_000
        ? writeShortDecimal(UInt32(truncatingIfNeeded: offset), to: bytes + at)
        : writeLongDecimal(offset, to: bytes + at))
  }

  /// Reads a revision. Strict: exactly the bytes that `writeRevision` writes, so that two revisions are equal when
  /// their bytes are; leading zeros and partitions that don't exist are junk. Nil for junk.
  package static func parseRevision(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Revision? {
    var at = 0
    guard let partition = part(bytes, count, &at, UInt64(partitionCount - 1)),
      let epoch = part(bytes, count, &at, UInt64(UInt32.max)),
      let offset = part(bytes, count, &at, .max), at == count + 1
    else { return nil }
    return Revision(
      partition: PartitionID(UInt16(truncatingIfNeeded: partition)),
      epoch: Epoch(UInt32(truncatingIfNeeded: epoch)), offset: Offset(offset))
  }

  /// A number up to the next '-' or the end; `at` is left after it.
  private static func part(
    _ bytes: UnsafePointer<UInt8>, _ count: Int, _ at: inout Int, _ maximum: UInt64
  ) -> UInt64? {
    let start = at
    while at < count && bytes[at] != UInt8(ascii: "-") { at += 1 }
    defer { at += 1 }
    guard start < count, at - start == 1 || bytes[start] != UInt8(ascii: "0") else { return nil }
    return parseDecimal(bytes + start, at - start, maximum: maximum)
  }
}

/// The preconditions If-Match and If-None-Match (RFC 9110, sections 8.8.3 and 13.1): a list of entity tags, or `*`.
public enum EntityTagCondition {
  /// Whether a field's value matches what is stored now.
  ///
  /// `*` matches whatever exists. With strong comparison (If-Match) a tag marked `W/` matches nothing; with weak
  /// comparison (If-None-Match) the mark is ignored. Tags that aren't revisions are legal and match nothing.
  ///
  /// - Parameter current: the stored value's revision, or nil if there is none.
  /// - Returns: nil if the value isn't a list of quoted tags: answer 400.
  package static func matches(
    _ bytes: UnsafePointer<UInt8>, _ count: Int, current: Revision?, weak: Bool
  ) -> Bool? {
    if count == 1 && bytes[0] == UInt8(ascii: "*") { return current != nil }
    var at = 0
    var tags = 0
    var found = false
    while true {
      while at < count && (isBlank(bytes[at]) || bytes[at] == UInt8(ascii: ",")) { at += 1 }
      guard at < count else { return tags > 0 ? found : nil }
      let isWeak = at + 1 < count && bytes[at] == UInt8(ascii: "W") && bytes[at + 1] == UInt8(ascii: "/")
      if isWeak { at += 2 }
      guard at < count && bytes[at] == UInt8(ascii: "\"") else { return nil }
      let start = at + 1
      at = start
      while at < count && isTagCharacter(bytes[at]) { at += 1 }
      guard at < count && bytes[at] == UInt8(ascii: "\"") else { return nil }
      if let current, weak || !isWeak, Text.parseRevision(bytes + start, at - start) == current { found = true }
      tags += 1
      at += 1
      while at < count && isBlank(bytes[at]) { at += 1 }
      guard at == count || bytes[at] == UInt8(ascii: ",") else { return nil }
    }
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

  private static func isTagCharacter(_ byte: UInt8) -> Bool {
    byte >= 0x21 && byte != UInt8(ascii: "\"") && byte != 0x7F
  }
}
