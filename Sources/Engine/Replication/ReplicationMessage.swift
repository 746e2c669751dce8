import Wire

/// What two nodes say to each other about one partition. All are of one epoch; those about a stream carry its number,
/// which the owner chooses. Any may be lost or come late.
package enum ReplicationMessage: Equatable, Sendable {
  // From an owner or candidate.

  /// Where does your log end?
  case open
  /// Drop all records of epochs later than this one's and all beyond this offset.
  case truncate(LogEnd)
  /// Records from `next` on follow; if it resets, behind an empty log.
  case start(resets: Bool, next: Offset, EpochHistory)
  /// What is left of the records from `first` to `end`, whose bytes are beside; and how far a majority holds the log.
  case append(first: Offset, end: Offset, committed: Offset)

  // To it.

  /// The log ends here.
  case position(LogEnd)
  /// The owner's log is held up to here.
  case acknowledge(Offset)
  /// A later epoch was promised.
  case refuse(Epoch)
}
