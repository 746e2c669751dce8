import Wire

/// The lives of partitions: the leader may begin one anew where all that held it are gone (Slot.tla: `Abandon`). What
/// was written in an earlier epoch than the last life's first one is declared lost, and nothing else may be.
struct Lives {
  /// A life after the first.
  struct Life: Equatable {
    /// Its first epoch: `lostBefore` of the partition's entry.
    let first: UInt32
    /// When the first node heard of it.
    let heardAt: UInt64
  }

  /// Which partition of which cluster.
  private struct Place: Hashable {
    let cluster: ClusterID
    let partition: Int
  }

  /// Of each partition that ever began anew, in the order of epochs.
  private var all: [Place: [Life]] = [:]

  /// An entry of a topology says that a partition began anew.
  mutating func note(_ partition: Int, of cluster: ClusterID, _ first: UInt32, _ now: UInt64) {
    guard first > latest(of: partition, cluster)?.first ?? 0 else { return }
    all[Place(cluster: cluster, partition: partition), default: []].append(Life(first: first, heardAt: now))
  }

  /// The life that goes on; nil for the first, where a partition never began anew.
  func latest(of partition: Int, _ cluster: ClusterID) -> Life? {
    all.isEmpty ? nil : all[Place(cluster: cluster, partition: partition)]?.last
  }

  /// The life that an epoch belongs to, by its first epoch; 0 for the first.
  func life(of partition: Int, _ cluster: ClusterID, in epoch: UInt32) -> UInt32 {
    guard !all.isEmpty else { return 0 }
    return all[Place(cluster: cluster, partition: partition)]?.last { $0.first <= epoch }?.first ?? 0
  }
}

extension History {
  /// Leaves of a key's operations what counts in the latest life of its partition, which begins without the key.
  ///
  /// What was answered in an earlier one is declared lost. Where an answer doesn't tell its life, a read counts if it
  /// began when the new life was known, and a write may have happened in either, or so it must be thought of.
  mutating func keep(_ life: Lives.Life, of key: String) {
    operations = operations.compactMap { operation in
      guard operation.key == key else { return operation }
      var operation = operation
      switch operation.outcome {
      case .done(_, let tag):
        if let tag {
          // One that can't be read stays, for the search to judge.
          return Revision(tag: tag).map { $0.epoch.rawValue < life.first } == true ? nil : operation
        }
        guard operation.call < life.heardAt else { return operation }
        if !operation.isWrite { return nil }
        operation.outcome = .unknown
        operation.end = .max
        return operation
      case .absent, .conditionFailed, .notModified: return operation.call < life.heardAt ? nil : operation
      case .refused, .unknown: return operation
      }
    }
  }
}
