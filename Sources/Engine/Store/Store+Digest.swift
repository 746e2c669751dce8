import Wire

// A number of a partition's data: equal where the same keys have the same values of the same revisions, whatever the
// order in which they lie in memory and whatever was cleaned away.
extension Store {
  /// Adds the checksums of the records that a part of the partition's table points to; each is of everything the record
  /// says. Returns the slot to go on from, nil at the table's end. What changes meanwhile may or may not be counted.
  package func addDigest(of id: PartitionID, from start: Int, count: Int, to sum: inout UInt64) -> Int? {
    precondition(start >= 0 && count >= 0)
    let p = partition(id)
    let total = Int(p.pointee.tablePages) * TableLayout.slotsPerPage
    let end = min(start + count, total)
    var index = start
    while index < end {
      let word = p.pointee.slots[index]
      // Spread over all bits, so that sums of many differ in all of them.
      if word != 0 {
        sum &+= (UInt64(record(TableLayout.position(of: word)).checksum) | 1 << 32) &* 0x9E37_79B9_7F4A_7C15
      }
      index += 1
    }
    return end < total ? end : nil
  }

  /// Bytes of the values and keys that a partition has now.
  package func liveBytes(of id: PartitionID) -> Int { partition(id).pointee.used - partition(id).pointee.dead }

  /// Keys that a partition has now.
  package func count(of id: PartitionID) -> Int { partition(id).pointee.count }
}
