import Wire

/// What a client asks of one key. The numbers are those of `FrameOperation`; it is a type of its own because comparing
/// an enum of another module isn't inlined, and each request compares it several times.
enum OperationKind: UInt8, CaseIterable {
  case get = 1
  case put, delete, increment, append
  case pointerGet, pointerSet, pointerRemove, mergePatch, jsonPatch
  /// Lists keys of one node's partitions, for another node: see `Core+List`.
  case list
  /// Lists lost writes of one core's ledger, for another node: see `Core+Lost`.
  case lost

  /// `operation` of a frame.
  @inline(__always) init(_ operation: FrameOperation) { self.init(rawValue: operation.rawValue)! }

  /// The operation of a frame that was checked, without calls for the two that nearly all are.
  @inline(always) init(_ view: OperationView) {
    switch view.operationByte {
    case 1: self = .get
    case 2: self = .put
    default: self.init(view.operation)
    }
  }

  /// What it is called on the wire.
  var frameOperation: FrameOperation { FrameOperation(rawValue: rawValue)! }

  /// Whether it may change the key.
  @inline(__always) var isWrite: Bool {
    switch self {
    case .get, .pointerGet, .list, .lost: false
    default: true
    }
  }
}

/// The rarer wishes of an operation; present only when `Operation.hasOptions`, so that a plain GET or PUT doesn't pay
/// for them. Empty buffers mean absent.
struct OperationOptions {
  var ifMatch = UnsafeRawBufferPointer(start: nil, count: 0)
  var ifNoneMatch = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The JSON Pointer of `at`, unescaped from the query but not from RFC 6901's own escapes.
  var pointer = UnsafeRawBufferPointer(start: nil, count: 0)
  var idempotencyKey = UnsafeRawBufferPointer(start: nil, count: 0)
  /// XXH3 of everything that makes two requests the same, when there is an idempotency key.
  var fingerprint: UInt64 = 0
  var delta: Int64 = 1
  /// Milliseconds to live from now; 0 when the request names none.
  var timeToLive: UInt64 = 0
  /// How many nodes must hold a write, and the milliseconds that its answer may wait for that; 0 when the request
  /// names none.
  var concern = WriteConcern.majority
  var timeout: UInt32 = 0
  var readLevel = ReadLevel.local
  /// Of a `list`: where to go on.
  var listing = ListingQuestion()
  /// Rather be told where the owner is than have the value passed on.
  var redirects = false
  var hasMinRevision = false
  var minRevision = Revision(partition: PartitionID(0), epoch: Epoch(0), offset: Offset(0))
}

/// One request to one key, as pointers into memory that the current turn keeps still. Trivial: it is copied into a
/// mailbox as it is and its pointers are set anew on the other side.
///
/// A plain GET or PUT is its first 88 bytes; what is rarer follows and is only written, or looked at, when a flag in
/// front says that it is there.
struct Operation {
  var kind: OperationKind
  var hasOptions: Bool
  /// Another node sent it on for its clients: it isn't sent on again.
  var isForwarded: Bool
  private(set) var isStaged: Bool
  /// Of an operation on a cached key that was sent on: the node that did so; `.max` if it isn't known any more.
  var source: MemberSlot
  /// This node sent it on once, to one that isn't the owner or was lost before it got it: it does so once more at most,
  /// whatever happens to it in between.
  var isRetry: Bool
  var contentType: RecordContentType
  var key: KeyRef
  var body: UnsafeRawBufferPointer
  var options: OperationOptions
  private var stagedValue: StagedValue?

  init(kind: OperationKind, key: KeyRef) {
    self.kind = kind
    self.key = key
    hasOptions = false
    isForwarded = false
    isStaged = false
    source = 0
    isRetry = false
    contentType = RecordContentType()
    body = UnsafeRawBufferPointer(start: nil, count: 0)
    options = OperationOptions()
  }

  /// Whether it is a GET or PUT as most are, without options and with its body in memory.
  @inline(__always) var isPlain: Bool { (kind == .get || kind == .put) && !hasOptions && !isStaged }

  /// The same of one of which maybe only the first bytes are there: nothing else is read, as the getter may do.
  @inline(__always)
  static func isPlain(_ operation: UnsafePointer<Operation>) -> Bool {
    (operation.pointee.kind == .get || operation.pointee.kind == .put) && !operation.pointee.hasOptions
      && !operation.pointee.isStaged
  }

  /// Bytes of a plain one.
  static let plainCount = MemoryLayout<Operation>.offset(of: \.options)!

  /// Makes it a plain GET or PUT.
  @inline(__always)
  mutating func setPlain(_ kind: OperationKind, _ key: KeyRef, _ body: UnsafeRawBufferPointer, contentType: UInt8) {
    self.kind = kind
    hasOptions = false
    isStaged = false
    isForwarded = false
    isRetry = false
    self.contentType = RecordContentType(code: contentType)
    self.key = key
    self.body = body
  }

  /// The body, if it already lies in an extent of a log.
  var staged: StagedValue? {
    @inline(__always) get { isStaged ? stagedValue : nil }
    @inline(__always) set {
      isStaged = newValue != nil
      if isStaged { stagedValue = newValue }
    }
  }
}

/// What became of an operation. `value` points into the log or the core's scratch memory and is valid until the next
/// operation or maintenance of that core.
struct Outcome {
  var status: UInt16
  var hasRevision = false
  /// Whether the value is a slice of the log, which may be pinned and sent without a copy.
  var isInLog = false
  /// Of a write that another node sent on: that may answer as soon as it holds the record; see `Core.grantAnswer`.
  var isGrant = false
  /// Whether the value is the answer even of a failure, instead of a problem document.
  var showsValue = false
  /// Of a read: whether something newer may have been acknowledged.
  var staleness = Staleness.none
  var contentType = RecordContentType()
  var revision = Revision(partition: PartitionID(0), epoch: Epoch(0), offset: Offset(0))
  var value = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Milliseconds the key has left to live; 0 when it has no expiry.
  var timeToLive: UInt64 = 0
  /// The methods a resource takes, with 405 and OPTIONS.
  var allow: StaticString?
  /// Why it failed, for statuses from 400; where its sentence is empty, the value is the sentence.
  var problem = Problem(500, "")

  init(status: UInt16) { self.status = status }

  /// Of a value that was stored.
  @inline(__always)
  init(stored status: UInt16, _ revision: Revision) {
    self.status = status
    self.revision = revision
    hasRevision = true
  }

  /// Of one that failed: the sentence that says why. Empty if another node refused without one.
  var sentence: UnsafeRawBufferPointer {
    let detail = problem.detail
    guard detail.utf8CodeUnitCount > 0 else { return value }
    return UnsafeRawBufferPointer(start: detail.utf8Start, count: detail.utf8CodeUnitCount)
  }

  /// What another node or a retry must be told of it beside the status: the value, unless it is read from the log, or
  /// the sentence.
  var essence: UnsafeRawBufferPointer {
    if status >= 400 && !showsValue { return sentence }
    return isInLog ? UnsafeRawBufferPointer(start: nil, count: 0) : value
  }

  init(_ problem: Problem) {
    status = problem.status
    self.problem = problem
  }
}
