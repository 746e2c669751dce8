import Wire

/// Slots of members in an order that matters, at most `capacity` of them, in place: a list that is copied and compared
/// like a number, without an allocation or a count of references. What an entry of the topology is made of.
package struct SlotList: Equatable, Sendable {
  /// Slots at most: see `Topology.maximumCopies`.
  package static let capacity = 32

  // In this order the count is in the cache line of the first slots, which are all that most lists have.
  private var used: UInt8 = 0
  private var slots = InlineArray<32, MemberSlot>(repeating: 0)

  /// No slots.
  package init() {}

  /// These slots; at most `capacity`.
  package init(_ slots: some Sequence<MemberSlot>) {
    self.init()
    for slot in slots { append(slot) }
  }

  /// The slots whose bytes these are, two each; at most `capacity`.
  init(littleEndian bytes: UnsafeRawBufferPointer) {
    precondition(bytes.count <= 2 * SlotList.capacity, "more than \(SlotList.capacity) slots")
    for index in 0..<bytes.count / 2 {
      slots[index] = MemberSlot(littleEndian: bytes.loadUnaligned(fromByteOffset: 2 * index, as: MemberSlot.self))
    }
    used = UInt8(bytes.count / 2)
  }

  /// Whether it has no room for another.
  package var isFull: Bool { Int(used) == SlotList.capacity }

  /// Adds a slot at the end; the list must not be full.
  package mutating func append(_ slot: MemberSlot) {
    precondition(!isFull, "more than \(SlotList.capacity) slots")
    slots[Int(used)] = slot
    used += 1
  }

  /// Removes those of which `isGone` is true; the others keep their order.
  package mutating func removeAll(where isGone: (MemberSlot) -> Bool) {
    var kept = 0
    for index in 0..<Int(used) where !isGone(slots[index]) {
      slots[kept] = slots[index]
      kept += 1
    }
    used = UInt8(kept)
  }

  /// Those of which `isWanted` is true, in the same order.
  package func filter(_ isWanted: (MemberSlot) -> Bool) -> SlotList {
    var kept = SlotList()
    for index in 0..<Int(used) where isWanted(slots[index]) { kept.append(slots[index]) }
    return kept
  }

  /// Whether all of them meet a condition.
  package func allSatisfy(_ isMet: (MemberSlot) -> Bool) -> Bool {
    for index in 0..<Int(used) where !isMet(slots[index]) { return false }
    return true
  }

  /// Whether the slot is in it.
  package func contains(_ slot: MemberSlot) -> Bool {
    for index in 0..<Int(used) where slots[index] == slot { return true }
    return false
  }

  /// Equal slots in the same order.
  package static func == (a: SlotList, b: SlotList) -> Bool {
    guard a.used == b.used else { return false }
    for index in 0..<Int(a.used) where a.slots[index] != b.slots[index] { return false }
    return true
  }
}

extension SlotList: RandomAccessCollection, ExpressibleByArrayLiteral, CustomStringConvertible {
  /// Always 0.
  /// As a collection.
  package var startIndex: Int { 0 }
  /// How many slots there are.
  package var endIndex: Int { Int(used) }

  /// The slot at this place.
  package subscript(index: Int) -> MemberSlot {
    precondition(index < Int(used), "slot \(index) of \(used)")
    return slots[index]
  }

  package init(arrayLiteral elements: MemberSlot...) { self.init(elements) }

  package var description: String { "\(Array(self))" }
}
