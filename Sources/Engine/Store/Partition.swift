/// The state of one partition: a table that points into a log. A trivial struct behind a pointer; the first cache line
/// is what a look-up and a put need.
struct Partition {
  // MARK: Table

  /// The table; a shared empty slot while there is none.
  var slots: UnsafeMutablePointer<Slot>
  private var capacity32: UInt32 = 0
  var epoch: UInt32 = 1
  private var count32: UInt32 = 0
  private var maximumCount32: UInt32 = 0

  // MARK: Log

  /// Where the next record goes and where its segment ends; nil without a segment to append to.
  var cursor: UnsafeMutableRawPointer?
  var end: UnsafeMutableRawPointer?
  var nextOffset: UInt64 = 1
  /// Bytes of records in the log, dead ones included.
  var used = 0

  /// Of `used`, what no slot points to.
  var dead = 0

  // MARK: What is needed less often, from the second cache line on

  /// Of `dead`, tombstones.
  var tombstones = 0
  var head: Segment.ID = 0
  var tail: Segment.ID = 0
  /// The segment that `cursor` is in, always the tail; 0 when there is none.
  var open: Segment.ID = 0
  var tablePages: UInt32 = 0
  /// Tombstones from this offset on are kept by cleaning.
  var tombstoneFloor = UInt64.max

  // MARK: Cleaning

  /// The next segment of the sweep that is under way, and the one its survivors go to; 0 when there is none.
  var sweepNext: Segment.ID = 0
  var sweepOutput: Segment.ID = 0
  /// Waiting in the store's queue, and the next one that waits (index + 1; 0 ends the queue).
  var isQueued = false
  /// Nothing expires or is evicted here by itself: another node decides, or is about to.
  var isPassive = false
  /// Among the store's `touched`.
  var isTouched = false
  /// Its log came from another node from the first record on, without what cleaning had taken out there.
  var isCopy = false
  var nextQueued: UInt32 = 0

  // MARK: Expiry

  var heap = ExpiryHeap()
  /// The heap that is being cleaned: its entries move to `heap` if they still mean something.
  var oldHeap = ExpiryHeap()
  /// Live records that have an expiry.
  var expiring = 0

  // MARK: Replication

  /// No record up to this offset is ever taken back; all are so where nothing is replicated.
  var committed = UInt64.max
  /// What the records beyond `committed` replaced: see `Store+Replication`.
  var victims = VictimRing()
  /// Of removals up to this offset some may be gone from the log.
  var forgotten: UInt64 = 0
  /// Where the record of an offset lies, or would: in the segment that is appended to. A hint for `scanNew`.
  /// 0 where nothing is remembered: a place means nothing once another segment is appended to.
  var hintOffset: UInt64 = 0
  var hintPlace: UInt64 = 0

  /// Fills the struct to whole cache lines.
  private var padding: UInt64 = 0

  init(slots: UnsafeMutablePointer<Slot>) { self.slots = slots }

  /// Homes in the table; fewer than 2^32.
  var capacity: UInt64 {
    get { UInt64(capacity32) }
    set { capacity32 = UInt32(truncatingIfNeeded: newValue) }
  }
  /// Keys, expired ones that were not noticed yet included; fewer than 2^31.
  var count: Int {
    get { Int(count32) }
    set { count32 = UInt32(truncatingIfNeeded: newValue) }
  }
  /// Keys beyond which the table must grow.
  var maximumCount: Int {
    get { Int(maximumCount32) }
    set { maximumCount32 = UInt32(truncatingIfNeeded: newValue) }
  }

  /// Bytes of dead records that cleaning can get back.
  var reclaimable: Int { tombstoneFloor == .max ? dead : dead &- tombstones }
}
