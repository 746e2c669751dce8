import Wire

/// What a node wants for one partition: asked for until the partition's entry changes.
package struct PartitionWish: Equatable, Sendable {
  /// Which partition.
  package let partition: PartitionID
  /// The epoch it is meant for.
  package let epoch: Epoch
  /// What is wanted.
  package let wish: Wish

  package init(partition: PartitionID, epoch: Epoch, wish: Wish) {
    self.partition = partition
    self.epoch = epoch
    self.wish = wish
  }

  /// Bytes of wishes in one datagram at most.
  static let maximumBytes = 1000

  /// Bytes that it takes: kind 1, partition 2, epoch 4, then by kind: 1 promise: epoch 4, offset 8; 2 resize: version
  /// 4, rf 1, slots; 3 activate: rf 1, slots; 4 handOver: version 4, slot 2. Slots are count 1, then 2 each.
  private var count: Int {
    switch wish {
    case .promise: 19
    case .resize(_, _, let synced): 13 + 2 * synced.count
    case .activate(_, let synced): 9 + 2 * synced.count
    case .handOver: 13
    }
  }

  /// The wishes' bytes, in as many pieces as datagrams are needed.
  static func encoded(_ wishes: [PartitionWish]) -> [[UInt8]] {
    var pieces: [[UInt8]] = []
    var writer = BeaconWriter(capacity: maximumBytes)
    for wish in wishes {
      if !writer.bytes.isEmpty, writer.bytes.count + wish.count > maximumBytes {
        pieces.append(writer.bytes)
        writer = BeaconWriter(capacity: maximumBytes)
      }
      wish.write(to: &writer)
    }
    if !writer.bytes.isEmpty { pieces.append(writer.bytes) }
    return pieces
  }

  private func write(to writer: inout BeaconWriter) {
    func head(_ kind: UInt8) {
      writer.u8(kind)
      writer.u16(partition.rawValue)
      writer.u32(epoch.rawValue)
    }
    func slots(_ slots: SlotList) {
      writer.u8(UInt8(slots.count))
      for slot in slots { writer.u16(slot) }
    }
    switch wish {
    case .promise(let end):
      head(1)
      writer.u32(end.epoch.rawValue)
      writer.u64(end.offset.rawValue)
    case .resize(let version, let factor, let synced):
      head(2)
      writer.u32(version)
      writer.u8(factor)
      slots(synced)
    case .activate(let factor, let synced):
      head(3)
      writer.u8(factor)
      slots(synced)
    case .handOver(let version, let heir):
      head(4)
      writer.u32(version)
      writer.u16(heir)
    }
  }

  /// Reads what one piece has.
  static func decoded(_ bytes: [UInt8]) throws(BeaconError) -> [PartitionWish] {
    let result = bytes.withUnsafeBytes { buffer -> Result<[PartitionWish], BeaconError> in
      var reader = BeaconReader(buffer)
      var wishes: [PartitionWish] = []
      do throws(BeaconError) {
        while reader.remaining > 0 { wishes.append(try PartitionWish(&reader)) }
        return .success(wishes)
      } catch { return .failure(error) }
    }
    return try result.get()
  }

  private init(_ reader: inout BeaconReader) throws(BeaconError) {
    let (kind, partition, epoch) = (try reader.u8(), try reader.u16(), Epoch(try reader.u32()))
    guard partition < partitionCount else { throw .malformed }
    let wish: Wish
    switch kind {
    case 1:
      let last = Epoch(try reader.u32())
      wish = .promise(LogEnd(epoch: last, offset: Offset(try reader.u64())))
    case 2:
      let (version, factor) = (try reader.u32(), try reader.u8())
      wish = .resize(version: version, replicationFactor: factor, synced: try reader.slots())
    case 3:
      let factor = try reader.u8()
      wish = .activate(replicationFactor: factor, synced: try reader.slots())
    case 4:
      let version = try reader.u32()
      wish = .handOver(version: version, to: try reader.u16())
    default: throw .malformed
    }
    self.init(partition: PartitionID(partition), epoch: epoch, wish: wish)
  }
}

/// The leader's memory of what nodes want: per partition the last word of each. What is of an earlier epoch means
/// nothing. Bounded by partitions and the members that hold them.
struct WishBook: Sendable {
  struct Entry: Sendable {
    let slot: MemberSlot
    let epoch: Epoch
    let wish: Wish
  }

  /// By partition.
  private var entries = [[Entry]](repeating: [], count: partitionCount)
  /// Since when a partition is known to be fenced in this epoch.
  private var fenced = [(epoch: Epoch, since: UInt64)](repeating: (Epoch(0), 0), count: partitionCount)
  /// Words of one partition at most: more than members could have one about.
  private static let maximumCount = SlotList.capacity + 1

  mutating func note(_ wishes: [PartitionWish], of slot: MemberSlot) {
    for wish in wishes {
      let index = Int(wish.partition.rawValue)
      entries[index].removeAll { $0.slot == slot || $0.epoch < wish.epoch }
      guard entries[index].count < WishBook.maximumCount else { continue }
      entries[index].append(Entry(slot: slot, epoch: wish.epoch, wish: wish.wish))
    }
  }

  /// What this member wants for the partition in this epoch.
  func wish(_ partition: Int, _ epoch: Epoch, of slot: MemberSlot) -> Wish? {
    entries[partition].first { $0.slot == slot && $0.epoch == epoch }?.wish
  }

  /// The promises of this epoch, with where the logs end.
  func promises(_ partition: Int, _ epoch: Epoch) -> [Promise] {
    entries[partition].compactMap {
      guard $0.epoch == epoch, case .promise(let end) = $0.wish else { return nil }
      return Promise(slot: $0.slot, end: end)
    }
  }

  /// Since when this leader knows that the partition is fenced in this epoch.
  mutating func fencedSince(_ partition: Int, _ epoch: Epoch, now: UInt64) -> UInt64 {
    if fenced[partition].epoch != epoch { fenced[partition] = (epoch, now) }
    return fenced[partition].since
  }
}

/// A member's word that it applied a fence, and where its log ends.
package struct Promise: Equatable, Sendable {
  /// Who.
  package let slot: MemberSlot
  /// Where its log ends.
  package let end: LogEnd

  package init(slot: MemberSlot, end: LogEnd) {
    self.slot = slot
    self.end = end
  }
}

extension PartitionEntry {
  /// Of the members of S that promised, the one whose log goes furthest; among equals the one that should be the owner.
  /// nil while there are too few: one of any `promisesNeeded` has every write that a majority held ★ (Slot.tla:
  /// `Choose`).
  package func candidate(of promises: [Promise], needed: Int? = nil) -> MemberSlot? {
    let valid = promises.filter { synced.contains($0.slot) }
    guard valid.count >= needed ?? promisesNeeded, let furthest = valid.map(\.end).max() else { return nil }
    let best = valid.filter { $0.end == furthest }.map(\.slot)
    return replicas.first { best.contains($0) } ?? best.first
  }
}
