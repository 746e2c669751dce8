import Wire

/// The entries of the control plane's log that are kept, and the snapshot that stands for those before.
///
/// Indexes run from `snapshotIndex + 1` to `lastIndex`. Bounded: the owner compacts it when it grows over
/// `ClusterSettings.maximumLog`, and refuses proposals at twice that.
struct RaftLog: Sendable {
  /// The last entry that the snapshot has taken; 0 for an empty log.
  private(set) var snapshotIndex = LogIndex(0)
  private(set) var snapshotTerm = Term(0)
  /// The topology at that entry.
  private(set) var snapshot: [UInt8] = []
  /// Entries from here on may be dropped only from the front; those before `start` belong to the snapshot.
  private(set) var start = LogIndex(0)
  private var startTerm = Term(0)
  private(set) var startVoters: [NodeID] = []
  private var entries: [LogEntry] = []

  init() {}

  /// A log that begins with a snapshot.
  init(snapshot: [UInt8], index: LogIndex, term: Term, voters: [NodeID]) {
    self.snapshot = snapshot
    snapshotIndex = index
    snapshotTerm = term
    start = index
    startTerm = term
    startVoters = voters
  }

  /// How many entries are kept.
  var count: Int { entries.count }
  var lastIndex: LogIndex { start.advanced(by: entries.count) }
  var lastTerm: Term { entries.last?.term ?? startTerm }

  /// The term of the entry at `index`; nil when it isn't kept.
  func term(at index: LogIndex) -> Term? {
    if index == start { return startTerm }
    guard index > start, index <= lastIndex else { return nil }
    return entries[index.distance(from: start) - 1].term
  }

  /// The entry at `index`, which must be kept.
  subscript(index: LogIndex) -> LogEntry { entries[index.distance(from: start) - 1] }

  mutating func append(_ entry: LogEntry) { entries.append(entry) }

  /// Drops the entries from `index` on.
  mutating func truncate(from index: LogIndex) {
    precondition(index > start, "the log is cut at \(index.rawValue), inside its snapshot")
    entries.removeSubrange((index.distance(from: start) - 1)...)
  }

  /// The voters in force after the last entry: those of the last entry of their kind.
  var voters: [NodeID] {
    let index = votersIndex
    return index > start ? RaftLog.voters(self[index].payload) : startVoters
  }

  /// The voters in force before the entry at `index`, which must be kept.
  func voters(before index: LogIndex) -> [NodeID] {
    for entry in entries[..<(index.distance(from: start) - 1)].reversed() where entry.kind == .voters {
      return RaftLog.voters(entry.payload)
    }
    return startVoters
  }

  /// The last entry that changes the voters; 0 when the snapshot has it.
  var votersIndex: LogIndex {
    for offset in entries.indices.reversed() where entries[offset].kind == .voters {
      return start.advanced(by: offset + 1)
    }
    return LogIndex(0)
  }

  /// Takes a snapshot of all up to `index`, and drops the entries more than `trail` before it.
  mutating func compact(to index: LogIndex, snapshot: [UInt8], trail: Int) {
    precondition(index >= snapshotIndex && index <= lastIndex, "a snapshot outside of the log")
    guard let term = term(at: index) else { preconditionFailure("a snapshot outside of the log") }
    snapshotIndex = index
    snapshotTerm = term
    self.snapshot = snapshot
    let drop = index.distance(from: start) - trail
    guard drop > 0 else { return }
    let newStart = start.advanced(by: drop)
    guard let newTerm = self.term(at: newStart) else { preconditionFailure("the trail is outside of the log") }
    for entry in entries[..<drop] where entry.kind == .voters { startVoters = RaftLog.voters(entry.payload) }
    entries.removeFirst(drop)
    start = newStart
    startTerm = newTerm
  }

  // MARK: Voters as bytes

  /// The payload of an entry of kind voters: 16 bytes each.
  static func payload(_ voters: [NodeID]) -> [UInt8] {
    var writer = BeaconWriter(capacity: voters.count * 16)
    for voter in voters { writer.id(voter) }
    return writer.bytes
  }

  /// The voters in a payload; bytes beyond the last whole id are ignored.
  static func voters(_ payload: [UInt8]) -> [NodeID] {
    payload.withUnsafeBytes { buffer in
      var reader = BeaconReader(buffer)
      var voters: [NodeID] = []
      while let voter = try? reader.nodeID() { voters.append(voter) }
      return voters
    }
  }
}
