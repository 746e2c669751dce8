/// Every bound of a node in one place: what it is, its default, and how that default was derived.
///
/// All are settable in the configuration file under `limits`, by these names.
public struct Limits: Sendable, Equatable {
  // MARK: HTTP

  /// Bytes of a request line and its header fields together (431 or 414 beyond). Two times what browsers send at most.
  public var head = 32 << 10
  /// Bytes of a key after percent-decoding (414 beyond). Must fit the record's 16-bit key length.
  public var key = 16 << 10
  /// Bytes of a map's name (400 beyond). Must fit the record's 8-bit map name length.
  public var mapName = 200
  /// Bytes of a value (413 beyond).
  public var value = 64 << 20
  /// Bytes of a value that an edit (`at`, `op=append`, PATCH) reads or makes (413 beyond). An edit rewrites the whole
  /// value within one turn of the loop; 1 MiB keeps that turn around a millisecond.
  public var editedValue = 1 << 20
  /// Bytes of the body of `POST /v1/batch` (413 beyond), and the operations in it.
  public var batchBody = 8 << 20
  public var batchOperations = 10_000
  /// Keys in one page of a listing, and the table slots one page may visit.
  public var listingKeys = 10_000
  public var listingSlots = 16_384
  /// Open connections of the whole node (503 and close beyond); below the file-descriptor limit.
  public var connections = 65_536
  /// Requests of one connection that may be under way at once; the reader pauses beyond.
  public var pipelinedRequests = 128
  /// Bytes of answers one connection may have waiting; its requests wait beyond.
  public var unsentBytes = 1 << 20

  // MARK: Time (milliseconds)

  /// From a request's first byte to the end of its head (408 beyond).
  public var headTimeout = 10_000
  /// Without any progress of a body being received (408 beyond).
  public var bodyTimeout = 30_000
  /// Without any request on an open connection (closed beyond).
  public var idleTimeout = 120_000
  /// Without any progress of an answer being taken by its client (closed beyond).
  public var sendTimeout = 30_000
  /// How long a connection drains after an error before it is closed, so that the client can read the answer.
  public var lingerTimeout = 2_000
  /// How long a shutdown waits for what is in flight.
  public var shutdownTimeout = 10_000

  // MARK: Idempotency

  /// Idempotency keys remembered per partition, the oldest forgotten first, and for how long (milliseconds).
  public var idempotencyKeys = 1_024
  public var idempotencyWindow = 600_000
  /// Bytes of an Idempotency-Key (400 beyond).
  public var idempotencyKey = 255

  // MARK: Between cores

  /// Bytes of the mailbox from one core to another.
  public var mailbox = 1 << 20

  public init() {}
}
