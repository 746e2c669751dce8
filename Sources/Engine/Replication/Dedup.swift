import Wire

/// The results of writes that carried an Idempotency-Key, so that a retry is answered with the first result
/// (draft-ietf-httpapi-idempotency-key-header).
///
/// Bounded per partition in number and age; the oldest is forgotten first.
struct Dedup {
  /// What a write answered: enough to answer the same again.
  fileprivate struct Entry {
    var fingerprint: UInt64
    /// When it is forgotten, milliseconds since 1970.
    var time: UInt64
    var outcome: Outcome
    var value: [UInt8]
  }

  fileprivate struct Window {
    var entries: [[UInt8]: Entry] = [:]
    /// The keys in order of their time; those before `first` are forgotten.
    var order: [[UInt8]] = []
    var first = 0
  }

  private var windows: [UInt16: Window] = [:]

  /// The first result of this key and its value, or a refusal when the key was used with another request; nil when it
  /// is new.
  func find(
    _ key: UnsafeRawBufferPointer, _ partition: PartitionID, fingerprint: UInt64, now: UInt64
  ) -> (outcome: Outcome, value: [UInt8])? {
    guard let entry = windows[partition.rawValue]?.entries[[UInt8](key)], entry.time > now else { return nil }
    guard entry.fingerprint == fingerprint else { return (Outcome(.keyReused), []) }
    return (entry.outcome, entry.value)
  }

  /// All that is remembered of a partition, the oldest first, as other nodes are told it.
  func results(of partition: PartitionID, now: UInt64, limits: Limits) -> [ReplicatedResult] {
    guard let window = windows[partition.rawValue] else { return [] }
    return window.order[window.first...].compactMap { key in
      guard let entry = window.entries[key], entry.time > now, entry.value.count <= limits.copiedValue else {
        return nil
      }
      return ReplicatedResult(
        key: key, fingerprint: entry.fingerprint, time: entry.time - UInt64(limits.idempotencyWindow),
        status: entry.outcome.status, offset: entry.outcome.hasRevision ? entry.outcome.revision.offset : .none,
        value: entry.value)
    }
  }

  /// Remembers a result for the window that `limits` names.
  mutating func remember(
    _ key: UnsafeRawBufferPointer, _ partition: PartitionID, fingerprint: UInt64, _ outcome: Outcome, now: UInt64,
    limits: Limits
  ) {
    var kept = outcome
    let value = [UInt8](outcome.essence)
    kept.value = UnsafeRawBufferPointer(start: nil, count: 0)
    kept.isInLog = false
    if kept.contentType.literalCount > 0 { kept.contentType = RecordContentType() }
    let name = [UInt8](key)
    let entry = Entry(
      fingerprint: fingerprint, time: now + UInt64(limits.idempotencyWindow), outcome: kept, value: value)
    windows[partition.rawValue, default: Window()].insert(name, entry, now: now, limit: limits.idempotencyKeys)
  }
}

extension Dedup.Window {
  fileprivate mutating func insert(_ name: [UInt8], _ entry: Dedup.Entry, now: UInt64, limit: Int) {
    if entries.updateValue(entry, forKey: name) != nil { return }
    order.append(name)
    while first < order.count, order.count - first > limit || (entries[order[first]]?.time ?? 0) <= now {
      entries[order[first]] = nil
      first += 1
    }
    if first > 64 && first * 2 > order.count {
      order.removeFirst(first)
      first = 0
    }
  }
}
