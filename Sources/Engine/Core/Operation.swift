import Wire

/// What a client asks of one key.
enum OperationKind: UInt8 {
  case get, put, delete, increment, append
  case pointerGet, pointerSet, pointerRemove, mergePatch, jsonPatch

  /// Whether it may change the key.
  var isWrite: Bool { self != .get && self != .pointerGet }
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
  var hasMinRevision = false
  var minRevision = Revision(partition: PartitionID(0), epoch: Epoch(0), offset: Offset(0))
}

/// One request to one key, as pointers into memory that the current turn keeps still. Trivial: it is copied into a
/// mailbox as it is and its pointers are set anew on the other side.
struct Operation {
  var kind: OperationKind
  var hasOptions: Bool
  var contentType: RecordContentType
  var key: KeyRef
  var body: UnsafeRawBufferPointer
  /// The body, if it already lies in an extent of a log.
  var staged: StagedValue?
  var options: OperationOptions
}

/// What became of an operation. `value` points into the log or the core's scratch memory and is valid until the next
/// operation or maintenance of that core.
struct Outcome {
  var status: UInt16
  var hasRevision = false
  /// Whether the value is a slice of the log, which may be pinned and sent without a copy.
  var isInLog = false
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

  init(_ problem: Problem) {
    status = problem.status
    self.problem = problem
  }
}
