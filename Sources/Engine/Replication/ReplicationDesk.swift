import Wire

/// What goes from this core to one other member: sections that are being written into a frame, and whole frames.
struct ReplicationPeer {
  /// Who has the slot; another node there is another peer.
  let node: NodeID
  /// The link's number of connections so far: a stream belongs to one of them.
  var session: UInt64 = 0
  /// Whether its link is up.
  var isConnected = false
  /// Bytes that followers of this member that are behind may still get, and when that was reckoned (monotonic
  /// nanoseconds).
  var credit = 0
  var creditAt: UInt64 = 0
  /// What of that is under way.
  var pace = CatchUpPace()
  /// Whether such followers wait for room or credit.
  var isAwaited = false
  /// The frame that is being written.
  let writer: UnsafeMutablePointer<SectionWriter>

  /// Bytes of a frame: as long as a link's.
  static var frameCount: Int { PeerState.pageCount }
  /// Bytes of a record that is copied into a frame; longer ones are sent from the log.
  static var copiedRecord: Int { 32 << 10 }

  private init(_ node: NodeID) {
    self.node = node
    writer = .allocate(capacity: 1)
    writer.initialize(to: SectionWriter(capacity: ReplicationPeer.frameCount))
  }

  /// One with memory of its own: each turn asks for it several times, and a copy would count references.
  static func allocate(_ node: NodeID) -> UnsafeMutablePointer<ReplicationPeer> {
    let peer = UnsafeMutablePointer<ReplicationPeer>.allocate(capacity: 1)
    peer.initialize(to: ReplicationPeer(node))
    return peer
  }

  /// Frees what `allocate` made.
  static func deallocate(_ peer: UnsafeMutablePointer<ReplicationPeer>) {
    peer.pointee.writer.deinitialize(count: 1)
    peer.pointee.writer.deallocate()
    peer.deinitialize(count: 1)
    peer.deallocate()
  }
}

/// The result of a write with an idempotency key.
struct ReplicatedResult {
  let key: [UInt8]
  let fingerprint: UInt64
  let time: UInt64
  let status: UInt16
  /// Of the write; none for one that was refused.
  let offset: Offset
  let value: [UInt8]
}

/// A core's replication: its partitions' parts in it, and what goes to other members.
struct ReplicationDesk: ~Copyable {
  /// By partition of this core; nil while the node was never one of several.
  var parts: UnsafeMutablePointer<PartitionReplication>?
  private(set) var count = 0
  private let followersOffset = PartitionReplication.followersOffset
  /// This node's slot.
  var slot: MemberSlot?
  /// What all partitions have in common of their surroundings.
  var around = Surroundings(replicas: [], replicationFactor: 1, isUp: [], isActive: [])
  /// Copies that users asked for.
  var copies = 1
  /// By slot; nil for this node and where nobody is.
  var peers: [UnsafeMutablePointer<ReplicationPeer>?] = []
  /// Whether a link came up or was lost, or members changed, since owners were told.
  var hasLinkNews = false
  /// Partitions that have something to say when the turn ends.
  private var dirty = PartitionList()
  /// Memory of lists that every turn has, empty between their uses: of partitions, of those that are to be answered,
  /// and of the sections that are taken together.
  var spareParts: [Int] = []
  var spareTokens: [UInt64] = []
  private(set) var sections: UnsafeMutablePointer<SectionView>?
  /// The hashes of the first records of those.
  private(set) var hashes: UnsafeMutablePointer<UInt64>?
  /// The positions of what those seem to replace; 0 for nothing.
  private(set) var replaced: UnsafeMutablePointer<UInt64>?
  /// Partitions that time alone may change. At the last tick nothing was wished for of any other, and every follower of
  /// those had everything; whatever happens to one touches it.
  private var awake = PartitionList()
  /// Partitions that were calm when they were looked at: `Owner.isCalm`, or no owner here and nothing wished for.
  /// Writes and their acknowledgements change nothing of that.
  private var isCalm: [Bool] = []
  /// Calm ones that were written to since they were looked at. Time may change these too, but only once a follower has
  /// owed an acknowledgement for `patience`: so they are looked at less often, for each look fetches all that is known
  /// of a partition, and hundreds are written to between two ticks. One tick looks at one class of them, so that none
  /// takes long.
  private var written = PartitionList()
  private var calmClass = 0
  /// Partitions that were touched since removals that nobody lacks any more were let go.
  private var changed = PartitionList()
  /// Partitions that have more for a follower than one turn may send, and those whose follower's link is full.
  var backlog: [Int] = []
  var stalled: [Int] = []
  /// Partitions with a follower that is being brought in step, in the order in which they get their next turn.
  private var catchingUp = PartitionList()
  /// Whether some were noted since the last round of turns.
  var hasNewCatchUp = false
  /// When those go on (monotonic nanoseconds): 0 for at once, `.max` for when a link has room.
  var nextCatchUp = UInt64.max
  /// Since when they have been left for a turn without answers (monotonic nanoseconds); 0 once they had one.
  var catchUpDue: UInt64 = 0
  /// How many of them are left to this round, in which each gets one turn, and the bytes that are left to this turn.
  var catchUpRound = 0
  var catchUpLeft = 0
  /// What is wished for, by partition, and whether that is news.
  var wishes: [Int: PartitionWish] = [:]
  var hasNewWishes = false
  /// Results of writes with idempotency keys that followers have yet to hear of, by partition.
  var results: [Int: [ReplicatedResult]] = [:]
  /// Bytes of long records that are being received.
  var longRecordBytes = 0
  var ledger = LossLedger()
  /// When followers and wishes are looked at again (monotonic nanoseconds), and when removals that nobody lacks any
  /// more are let go.
  var nextTick = UInt64.max
  var nextFloor: UInt64 = 0
  var records = RecordList()
  /// What was received and not yet told, and since when (monotonic nanoseconds); 0 for nothing.
  var syncNews: [SyncNews] = []
  var syncSince: UInt64 = 0

  /// Sections whose partitions are fetched together.
  static var sectionsTogether: Int { 32 }
  static var tick: UInt64 { 50_000_000 }
  /// How long answers go before either.
  static var leave: UInt64 { 1_000_000 }
  /// In how many ticks calm partitions are looked at once.
  static var calmTicks: Int { 5 }
  static var patience: UInt64 { 1_000_000_000 }
  static var floorInterval: UInt64 { 1_000_000_000 }
  static var syncInterval: UInt64 { 5_000_000_000 }

  /// Begins to replicate `count` partitions.
  mutating func begin(_ count: Int) {
    precondition(MemoryLayout<PartitionReplication>.stride % PartitionReplication.line == 0, "parts share cache lines")
    let bytes = UnsafeMutableRawPointer.allocate(
      byteCount: count * MemoryLayout<PartitionReplication>.stride, alignment: PartitionReplication.line)
    let parts = bytes.bindMemory(to: PartitionReplication.self, capacity: count)
    parts.initialize(repeating: PartitionReplication(), count: count)
    self.parts = parts
    self.count = count
    dirty = PartitionList(below: count)
    awake = PartitionList(below: count, isFull: true)
    changed = awake
    isCalm = [Bool](repeating: false, count: count)
    written = dirty
    catchingUp = dirty
    sections = .allocate(capacity: ReplicationDesk.sectionsTogether)
    hashes = .allocate(capacity: ReplicationDesk.sectionsTogether)
    replaced = .allocate(capacity: ReplicationDesk.sectionsTogether)
  }

  deinit {
    if let parts {
      parts.deinitialize(count: count)
      parts.deallocate()
    }
    sections?.deallocate()
    hashes?.deallocate()
    replaced?.deallocate()
    for case let peer? in peers { ReplicationPeer.deallocate(peer) }
  }

  /// Fetches what a follower's part needs into the cache when records come.
  @inline(__always)
  func fetchReplica(_ part: Int) { fetch(part, lines: PartitionReplication.replicaLines) }

  /// The same of an owner's part, for a write or an acknowledgement.
  @inline(__always)
  func fetchOwner(_ part: Int) { fetch(part, lines: PartitionReplication.ownerLines) }

  /// Then the list of an owner's followers. What is no owner has no list there: then this fetches something else.
  @inline(__always)
  func fetchFollowers(_ part: Int) {
    let part = UnsafeRawPointer(parts.unsafelyUnwrapped + part)
    let list = part.load(fromByteOffset: followersOffset, as: UInt.self)
    fetch(UnsafeRawPointer(bitPattern: list), lines: PartitionReplication.followersLines)
  }

  @inline(__always)
  private func fetch(_ part: Int, lines: Int) { fetch(UnsafeRawPointer(parts.unsafelyUnwrapped + part), lines: lines) }

  @inline(__always)
  private func fetch(_ address: UnsafeRawPointer?, lines: Int) {
    guard let address else { return }
    var line = 0
    while line < lines {
      prefetch(address + line &* PartitionReplication.line)
      line &+= 1
    }
  }

  /// Something happened to the partition: it may have something to say when the turn ends, and something to wish for.
  @inline(__always)
  mutating func touch(_ part: Int) {
    dirty.insert(part)
    changed.insert(part)
    isCalm[part] = false
    awake.insert(part)
  }

  /// The same, but all that happened is that records came or were acknowledged.
  @inline(__always)
  mutating func touchWritten(_ part: Int) {
    dirty.insert(part)
    touchAcknowledged(part)
  }

  /// The same, but all that happened is that a follower has more: those who waited for that are answered at once, and
  /// nothing is left to say when the turn ends.
  @inline(__always)
  mutating func touchAcknowledged(_ part: Int) {
    changed.insert(part)
    if isCalm[part] { written.insert(part) } else { awake.insert(part) }
  }

  /// The partition was calm, and isn't any more: a follower has been sent all there is.
  mutating func wake(_ part: Int) {
    isCalm[part] = false
    awake.insert(part)
  }

  /// The partitions that time may change, in their order, in `list`, which is empty; none of them is noted any more.
  /// Of calm ones those whose turn it is.
  mutating func takeAwake(_ list: inout [Int]) {
    calmClass = (calmClass + 1) % ReplicationDesk.calmTicks
    written.move(to: &awake, class: calmClass, of: ReplicationDesk.calmTicks)
    awake.take(into: &list)
    list.sort()
  }

  /// The partition was looked at. Time may change it still if not all of it is settled.
  mutating func looked(at part: Int, isSettled: Bool, isCalm: Bool) {
    self.isCalm[part] = isCalm
    if isSettled { return }
    if isCalm { written.insert(part) } else { awake.insert(part) }
  }

  /// The same of those that were touched since this was asked last.
  mutating func takeChanged(_ list: inout [Int]) {
    changed.take(into: &list)
    list.sort()
  }

  /// A follower of the partition is behind.
  mutating func catchUp(_ part: Int) { if catchingUp.insert(part) { hasNewCatchUp = true } }

  /// The same for one whose turn didn't suffice.
  mutating func catchUpAgain(_ part: Int) { _ = catchingUp.insert(part) }

  /// Whether any follower is behind.
  var isCatchingUp: Bool { !catchingUp.isEmpty }

  /// How many partitions' followers are behind.
  var catchingUpCount: Int { catchingUp.parts.count }

  /// The one that waits longest, which isn't noted any more; there is one.
  mutating func takeCatchingUp() -> Int { catchingUp.takeFirst() }

  /// Those that had something to say, in `list`, which is empty and keeps its memory by that.
  mutating func takeDirty(_ list: inout [Int]) { dirty.take(into: &list) }
}
