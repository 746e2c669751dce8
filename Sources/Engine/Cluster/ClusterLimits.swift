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
  /// Between two log lines about ignored datagrams of one kind. The counts say the rest.
  package static let ignoredNews = 600_000 * ClusterSettings.millisecond
}
