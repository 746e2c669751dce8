import Wire

/// Other clusters of this cluster's name that were heard: an alarm, since users can't know which of them they talk to.
package struct Rivals: Sendable {
  /// A cluster of the same name.
  package struct Rival: Equatable, Sendable {
    /// Which cluster.
    package let cluster: ClusterID
    /// As far as its members said, it took a write.
    package fileprivate(set) var isWritten: Bool
    /// Where one of its members was heard last, and when.
    package fileprivate(set) var address: PeerAddress
    package fileprivate(set) var heard: UInt64
  }

  /// Those that were heard within `ClusterLimits.rivalMemory`, at most `ClusterLimits.rivals`.
  package private(set) var all: [Rival] = []
  /// Takes news of a rival; returns whether it is new.
  mutating func note(_ cluster: ClusterID, isWritten: Bool, _ address: PeerAddress, _ now: UInt64) -> Bool {
    if let place = all.firstIndex(where: { $0.cluster == cluster }) {
      if isWritten { all[place].isWritten = true }
      all[place].address = address
      all[place].heard = now
      return false
    }
    guard all.count < ClusterLimits.rivals else { return false }
    all.append(Rival(cluster: cluster, isWritten: isWritten, address: address, heard: now))
    return true
  }

  mutating func forget(_ now: UInt64) { all.removeAll { $0.heard + ClusterLimits.rivalMemory < now } }

  /// The rival that a cluster, never written, should dissolve into: one that was written, or else one of a lower id.
  func successor(of cluster: ClusterID) -> ClusterID? {
    all.first { $0.isWritten }?.cluster ?? all.filter { $0.cluster < cluster }.map(\.cluster).min()
  }
}
