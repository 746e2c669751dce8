import Wire

/// Where a listing goes on: a tag of a partition. Stable whatever is written, grown or cleaned in between.
package struct ListCursor: Equatable, Sendable {
  /// The partition the next page starts in.
  package var partition: PartitionID
  /// The least tag that hasn't been listed of it.
  package var tag: UInt32

  package init(partition: PartitionID, tag: UInt32) {
    self.partition = partition
    self.tag = tag
  }
}

/// A reusable buffer of views of records.
package struct RecordList: ~Copyable {
  /// The views, valid until the store's next operation.
  package private(set) var records: UnsafeMutablePointer<RecordView>
  /// How many views there are.
  package private(set) var count = 0
  private var capacity: Int

  package init(capacity: Int = 256) {
    self.capacity = max(capacity, 1)
    records = .allocate(capacity: self.capacity)
  }

  deinit { records.deallocate() }

  /// The view at `index`, which must be below `count`.
  package subscript(index: Int) -> RecordView {
    precondition(index >= 0 && index < count)
    return records[index]
  }

  /// Slots a listing has visited since the last `removeAll`: records, and empty slots at a sixteenth each, which is
  /// about what they cost.
  package internal(set) var slots = 0
  /// Bytes of the keys of all views.
  package private(set) var keyBytes = 0

  /// Forgets all views, keeping the buffer.
  package mutating func removeAll() {
    count = 0
    slots = 0
    keyBytes = 0
  }

  mutating func append(_ record: RecordView) {
    if count == capacity {
      let grown = UnsafeMutablePointer<RecordView>.allocate(capacity: 2 * capacity)
      grown.update(from: records, count: count)
      records.deallocate()
      records = grown
      capacity *= 2
    }
    records[count] = record
    count += 1
    keyBytes += record.keyCount
  }
}

extension Store {
  /// One page of the keys of a map whose names start with a prefix, in order of partition and tag.
  ///
  /// A key that exists throughout a listing comes exactly once: it keeps its tag, and all keys of one tag come in the
  /// same page, which may therefore exceed `maximumKeys` and `maximumSlots` by `TableLayout.maximumRun`, and
  /// `maximumBytes` of keys by as many keys. Expired keys don't come. An empty slot counts as a sixteenth of one. Adds
  /// the keys' records to `list`; answers where the next page starts, nil after the last partition, which is this
  /// core's last or the one before `end`.
  package func list(
    map: UnsafeRawBufferPointer, prefix: UnsafeRawBufferPointer, from cursor: ListCursor, maximumKeys: Int,
    maximumSlots: Int, maximumBytes: Int = .max, before end: UInt16 = UInt16(partitionCount), now: UInt64,
    into list: inout RecordList
  ) -> ListCursor? {
    var index = max(Int(cursor.partition.rawValue) - firstPartition, 0)
    var tag = Int(cursor.partition.rawValue) < firstPartition ? 0 : UInt64(cursor.tag)
    let lastCount = list.count + maximumKeys
    let last = min(partitionTotal, Int(end) - firstPartition)
    var empty = 0
    var visited = 0
    var slots: Int { visited + empty / 16 }
    var isFull: Bool { slots > maximumSlots || list.count >= lastCount || list.keyBytes >= maximumBytes }
    defer { list.slots += slots }
    // Every page gets somewhere, be its bounds ever so small.
    var hasMoved = false
    while index < last {
      let p = partitions + index
      let start = TableLayout.home(tag: tag, capacity: p.pointee.capacity)
      let end = Int(p.pointee.tablePages) * TableLayout.slotsPerPage
      var previous: UInt64?
      for place in start..<max(start, end) {
        let word = p.pointee.slots[place]
        let found = TableLayout.tag(of: word)
        if word == 0 {
          empty += 1
          continue
        }
        visited += 1
        if place + 8 < end { prefetch(record(TableLayout.position(of: p.pointee.slots[place + 8])).base) }
        if found < tag { continue }
        if found != previous && hasMoved && isFull {
          return ListCursor(partition: id(p), tag: UInt32(found))
        }
        previous = found
        hasMoved = true
        let record = self.record(TableLayout.position(of: word))
        if matches(record, map, prefix), !record.isExpired(at: now) { list.append(record) }
      }
      empty += 1
      index += 1
      tag = 0
      hasMoved = true
      if index < last && isFull {
        return ListCursor(partition: id(partitions + index), tag: 0)
      }
    }
    return nil
  }

  private func matches(_ record: RecordView, _ map: UnsafeRawBufferPointer, _ prefix: UnsafeRawBufferPointer) -> Bool {
    guard record.mapCount == map.count, record.keyCount >= prefix.count else { return false }
    let name = record.map.baseAddress!
    if let wanted = map.baseAddress, map.count > 0, !bytesEqual(name, wanted, map.count) { return false }
    if let wanted = prefix.baseAddress, prefix.count > 0 {
      return bytesEqual(name + map.count, wanted, prefix.count)
    }
    return true
  }

  /// Adds records of the partition's log in order of offsets, superseded ones and tombstones included as far as they
  /// are still there, from `offset` on, until `maximumBytes` are reached; at least one. Answers the offset to go on
  /// from, nil at the log's end.
  package func scan(
    _ id: PartitionID, from offset: Offset, maximumBytes: Int, into list: inout RecordList
  ) -> Offset? {
    let p = partition(id)
    settle(p)
    var segmentID = p.pointee.tail
    while segmentID != 0, segments[Int(segmentID)].firstOffset > offset.rawValue,
      segments[Int(segmentID)].previous != 0
    { segmentID = segments[Int(segmentID)].previous }
    var bytes = 0
    while segmentID != 0 {
      let segment = segments + Int(segmentID)
      var record = self.record(segment.pointee.start)
      let end = record.base + Int(segment.pointee.used)
      while record.base < end {
        if record.offset.rawValue >= offset.rawValue {
          if bytes >= maximumBytes { return record.offset }
          list.append(record)
          bytes += record.length
        }
        record = RecordView(record.base + record.room)
      }
      segmentID = segment.pointee.next
    }
    return nil
  }
}
