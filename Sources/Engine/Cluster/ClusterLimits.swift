import Wire

/// Every bound of the control plane's queues and tables in one place: what it is, and how it was derived. Unlike
/// `Limits` they are no settings: nodes of one cluster must agree on most, and none depends on the machine.
package enum ClusterLimits {
  // MARK: Datagrams

  /// Senders whose sequence numbers are remembered: all members, and as many newcomers and rivals as a large cluster
  /// sees at once; about 200 KB. When full, the one that was silent longest is forgotten.
  package static let senders = Topology.maximumMembers + 256
  /// Sequence numbers of a sender that are remembered, in blocks of 64. A leader of 200 members sends some 3000
  /// datagrams a second, so one that is overtaken by 300 ms of them still counts.
  package static let replayWindow = 1024
  /// Without a key: how long after a sender's last word the same words from elsewhere are taken for forged. Over ten
  /// pings, so that a member whose address changed is heard again once it would be unhealthy.
  package static let senderSilence = 2_000 * ClusterSettings.millisecond
  /// Places where nodes were heard that the topology doesn't have yet: the voters of a log that is behind by a whole
  /// change of them, and as many newcomers. The oldest give way.
  package static let heard = 16

  // MARK: Finding each other

  /// Other seekers that are remembered, the lowest ids first: twice as many as a founding has founders, so that those
  /// who found see each other although some come and go.
  package static let seekers = 2 * Founder.maximumCount
  /// Foundings promised lately. A promise binds five rounds of a proposer; four are those of one promise's time.
  package static let promises = 4
  /// Other clusters of the same name that are remembered. One is an alarm already.
  package static let rivals = 8
  /// How long a rival is remembered after it was heard last: over the slowest beacon of a cluster of 500.
  package static let rivalMemory = 60_000 * ClusterSettings.millisecond

  // MARK: Membership

  /// Pings sent for others between two of this node's own, and those that wait for their answers: two requests of each
  /// of eight observers, twice over. Of those that wait, the oldest give way: their askers ask again.
  package static let relays = 32
  /// Rumors that are being passed on: a third of 200 members may fail at once. The oldest give way; whoever watches the
  /// member says it again.
  package static let rumors = 64

  // MARK: The log

  /// Newcomers that wait for the leader's next plan; others ask again within 200 ms.
  package static let newcomers = 64
  /// Entries that one plan proposes at most: a small part of what the log holds (`ClusterSettings.maximumLog`).
  package static let plannedEntries = 32
  /// Bytes of a snapshot that is being received: the largest topology, 1024 members and 255 copies.
  package static let snapshot = 2 << 20

  /// Settings of maps that a node asks the leader for: people set them, one after another. The oldest give way; whoever
  /// waits for them is told that the outcome is unknown.
  package static let mapRequests = 64

  // MARK: News

  /// Between two log lines about ignored datagrams of one kind. The counts say the rest.
  package static let ignoredNews = 600_000 * ClusterSettings.millisecond
}

/// How much is in a queue or table of the control plane, and how much may be.
package struct QueueLevel: Equatable, Sendable {
  /// Which.
  package let name: String
  /// What is in it now, and at most.
  package let count: Int
  package let bound: Int

  init(_ name: String, _ count: Int, _ bound: Int) {
    self.name = name
    self.count = count
    self.bound = bound
  }
}
