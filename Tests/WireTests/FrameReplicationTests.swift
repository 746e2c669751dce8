import Testing

@testable import Wire

/// REPLICATE frames: the bytes of the article, and what isn't one.
@Suite struct FrameReplicationTests {
  private let five = PartitionID(5)
  private let hashOfFive: UInt64 = 5 << 54 | 9

  /// A record whose key belongs to partition 7, with the bytes of a log.
  private func record(_ offset: UInt64, _ value: String) -> (bytes: [UInt8], partition: PartitionID) {
    let key = Array("key".utf8)
    let value = Array(value.utf8)
    let head = RecordHead(kind: .put, epoch: Epoch(2), offset: Offset(offset), time: 1_700_000_000_000)
    let length = head.prefixCount + key.count + value.count
    var bytes = [UInt8](repeating: 0, count: RecordLayout.padded(length))
    let hash = bytes.withUnsafeMutableBytes { room -> UInt64 in
      let base = room.baseAddress!
      head.write(to: base, length: length, mapCount: 0, keyCount: key.count)
      for (index, byte) in (key + value).enumerated() { room[head.prefixCount + index] = byte }
      let start = head.prefixCount + key.count
      RecordLayout.seal(
        base, valueStart: start, valueHash: value.withUnsafeBytes { xxh3($0.baseAddress!, count: $0.count, seed: 0) })
      return RecordView(base).hash
    }
    return (bytes, PartitionID(hash: hash))
  }

  /// One of each kind.
  private func write(to writer: inout SectionWriter) {
    writer.open(five, Epoch(3), stream: 1)
    writer.mark(.truncate, five, Epoch(3), stream: 1, at: Epoch(1), Offset(40))
    writer.mark(.position, five, Epoch(3), stream: 1, at: Epoch(1), Offset(40))
    writer.start(
      five, Epoch(3), stream: 1, resets: false, next: Offset(41),
      epochs: [(Epoch(1), Offset(1)), (Epoch(3), Offset(43))])
    let (first, partition) = record(41, "value")
    let (second, _) = record(43, "other")
    first.withUnsafeBytes {
      writer.append(
        RecordView($0.baseAddress!), from: Offset(41), partition, Epoch(3), stream: 1, committed: Offset(40))
    }
    second.withUnsafeBytes {
      writer.append(
        RecordView($0.baseAddress!), from: Offset(42), partition, Epoch(3), stream: 1, committed: Offset(40))
    }
    writer.cover(from: Offset(44), to: Offset(45), partition, Epoch(3), stream: 1, committed: Offset(40))
    writer.acknowledge(five, Epoch(3), stream: 1, Offset(45))
    writer.refuse(five, Epoch(3), stream: 1, promised: Epoch(4))
    writer.round(.confirm, five, Epoch(3), 7)
    writer.round(.confirmed, five, Epoch(3), 7)
    writer.invalidate(five, Epoch(3), number: 8, hash: hashOfFive)
    writer.round(.invalidated, five, Epoch(3), 8)
    Array("once".utf8).withUnsafeBytes { key in
      writer.result(
        five, Epoch(3), stream: 1, offset: Offset(41), fingerprint: 9, time: 1_700_000_000_000, status: 201, key: key,
        value: UnsafeRawBufferPointer(start: nil, count: 0))
    }
  }

  private func payload() -> [UInt8] {
    var writer = SectionWriter(capacity: 4096)
    write(to: &writer)
    let bytes = UnsafeRawBufferPointer(start: writer.base, count: writer.count)
    return [UInt8](bytes[FrameLayout.headCount...])
  }

  @Test("what is written is read back, a range of records as one section")
  func roundTrip() throws {
    try payload().withUnsafeBytes { bytes in
      var cursor = try SectionCursor(bytes)
      var kinds: [SectionKind] = []
      while let section = cursor.take() {
        kinds.append(section.kind)
        let isRound = [.confirm, .confirmed, .invalidate, .invalidated].contains(section.kind)
        #expect(section.epoch == Epoch(3) && section.stream == (isRound ? 0 : 1))
        switch section.kind {
        case .truncate, .position: #expect(section.markEpoch == Epoch(1) && section.markOffset == Offset(40))
        case .start:
          #expect(section.offset == Offset(41) && section.epochCount == 2 && section.flags == 0)
          #expect(section.epoch(1) == (Epoch(3), Offset(43)))
        case .append:
          #expect(section.offset == Offset(41) && section.end == Offset(45) && section.committed == Offset(40))
          #expect(section.payload.count == 80)
        case .acknowledge: #expect(section.offset == Offset(45))
        case .refuse: #expect(section.markEpoch == Epoch(4))
        case .result:
          #expect([UInt8](section.resultKey) == Array("once".utf8) && section.resultValue.isEmpty)
          #expect(section.status == 201 && section.fingerprint == 9 && section.offset == Offset(41))
        case .confirm, .confirmed: #expect(section.round == 7)
        case .invalidate: #expect(section.round == 8 && section.hash == hashOfFive)
        case .invalidated: #expect(section.round == 8)
        case .open: #expect(section.length == 16)
        }
      }
      #expect(
        kinds == [
          .open, .truncate, .position, .start, .append, .acknowledge, .refuse, .confirm, .confirmed, .invalidate,
          .invalidated, .result,
        ])
    }
  }

  @Test("a payload that is cut or changed is refused or another payload, never a crash")
  func damage() {
    let whole = payload()
    for count in stride(from: 0, to: whole.count, by: 8) {
      Array(whole[..<count]).withUnsafeBytes { bytes in
        guard var cursor = try? SectionCursor(bytes) else { return }
        while let section = cursor.take() { #expect(section.base + section.length <= bytes.baseAddress! + bytes.count) }
      }
    }
    for place in whole.indices {
      for bit in [1, 16, 128] as [UInt8] {
        var changed = whole
        changed[place] ^= bit
        changed.withUnsafeBytes { bytes in
          guard var cursor = try? SectionCursor(bytes) else { return }
          while let section = cursor.take() {
            #expect(section.base + section.length <= bytes.baseAddress! + bytes.count)
            if section.kind == .result { #expect(section.resultKey.count + section.resultValue.count < bytes.count) }
            if section.kind == .start { #expect(section.epochCount <= SectionLayout.maximumEpochs) }
          }
        }
      }
    }
  }

  @Test("a long record's section ends where its value starts, and no other bytes are one")
  func long() throws {
    let (bytes, partition) = record(41, String(repeating: "v", count: 1000))
    let frame = bytes.withUnsafeBytes { source -> [UInt8] in
      let record = RecordView(source.baseAddress!)
      var frame = [UInt8](
        repeating: 0, count: FrameLayout.headCount + SectionLayout.appendCount + record.valueStart)
      frame.withUnsafeMutableBytes {
        SectionLayout.writeLong(
          record, from: Offset(40), partition, Epoch(3), stream: 1, committed: Offset(39), to: $0.baseAddress!)
      }
      return frame
    }
    let payload = [UInt8](frame[FrameLayout.headCount...])
    payload.withUnsafeBytes { bytes in
      guard let section = SectionView(long: bytes) else {
        Issue.record("it isn't sound")
        return
      }
      #expect(section.partition == partition && section.epoch == Epoch(3) && section.stream == 1)
      #expect(section.offset == Offset(40) && section.end == Offset(41) && section.committed == Offset(39))
      #expect(section.record.length == 28 + 3 + 1000 && section.record.valueStart == 31)
      // As records that are whole it is none.
      #expect(throws: CloseReason.self) { _ = try SectionCursor(bytes) }
    }
    for count in payload.indices {
      Array(payload[..<count]).withUnsafeBytes { #expect(SectionView(long: $0) == nil) }
    }
    for place in payload.indices {
      for bit in [1, 16, 128] as [UInt8] {
        var changed = payload
        changed[place] ^= bit
        changed.withUnsafeBytes { bytes in
          guard let section = SectionView(long: bytes) else { return }
          #expect(section.record.valueStart == 31 && section.record.length >= 31 && section.record.keyCount > 0)
        }
      }
    }
  }

  @Test("a REPLICATE frame is these bytes")
  func golden() throws {
    var writer = SectionWriter(capacity: 4096)
    writer.open(five, Epoch(3), stream: 1)
    writer.acknowledge(PartitionID(6), Epoch(2), stream: 4, Offset(42))
    FrameLayout.seal(writer.base, length: writer.count, .replicate, count: writer.sections, id: 0, .none)
    let text = FrameSample.hex([UInt8](UnsafeRawBufferPointer(start: writer.base, count: writer.count)))
    #expect(try FrameDocument.read().examples["REPLICATE"] == text)
  }
}
