import Wire

extension Store {
  /// Forgets cached values of the partition that were written before an epoch, without removals in the log: nobody else
  /// has them, and nobody may see them any more. False if some may still be taken back and have to stay for now.
  package mutating func forgetCached(_ id: PartitionID, before epoch: Epoch) -> Bool {
    let p = partition(id)
    var isDone = true
    // From the end, since a slot that goes has those behind it move up.
    for place in (0..<Int(p.pointee.tablePages) * TableLayout.slotsPerPage).reversed() {
      let word = p.pointee.slots[place]
      guard word != 0 else { continue }
      let record = self.record(TableLayout.position(of: word))
      guard record.mapCount > 0, MapTable.isCache(record.map), record.epoch < epoch else { continue }
      guard record.offset.rawValue <= p.pointee.committed else {
        isDone = false
        continue
      }
      deleteSlot(p, p.pointee.slots + place)
      kill(p, record)
    }
    return isDone
  }
}
