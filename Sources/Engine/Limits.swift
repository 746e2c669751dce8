/// Every bound of a node in one place: what it is, its default, and how that default was derived.
///
/// All are settable in the configuration file under `limits`, by these names.
package struct Limits: Sendable, Equatable {
  // MARK: HTTP

  /// Bytes of a request line and its header fields together (431 or 414 beyond). Two times what browsers send at most.
  package var head = 32 << 10
  /// Bytes of a key after percent-decoding (414 beyond). Must fit the record's 16-bit key length.
  package var key = 16 << 10
  /// Bytes of a map's name (400 beyond). Must fit the record's 8-bit map name length.
  package var mapName = 200
  /// Bytes of a value (413 beyond).
  package var value = 64 << 20
  /// Bytes of a value that an edit (`at`, `op=append`, PATCH) reads or makes (413 beyond). An edit rewrites the whole
  /// value within one turn of the loop; 1 MiB keeps that turn around a millisecond.
  package var editedValue = 1 << 20
  /// Bytes of bodies that are being collected in memory on one core, over all its connections (503 beyond).
  package var collectedBytes = 256 << 20
  /// Values from this size are sent straight from the log instead of being copied into the answer's page.
  package var copiedValue = 4 << 10
  /// Bodies from this size are received straight into the log; smaller ones wait in memory until they are whole.
  package var stagedBody = 32 << 10
  /// Bytes of the body of `POST /v1/batch` (413 beyond), and the operations in it.
  package var batchBody = 1 << 20
  package var batchOperations = 10_000
  /// Keys in one page of a listing, and the records one page may visit (an empty table slot counts as a sixteenth), in
  /// slices between which others are served.
  package var listingKeys = 10_000
  package var listingSlots = 262_144
  /// Open connections of the whole node (503 and close beyond); below the file-descriptor limit.
  package var connections = 65_536
  /// Requests of one connection that may be under way at once; the reader pauses beyond.
  package var pipelinedRequests = 128
  /// Bytes of answers one connection may have waiting; its requests wait beyond.
  package var unsentBytes = 1 << 20

  // MARK: Frames

  /// Bytes of a frame of the binary protocol that is taken; values beyond follow their frame. At 64 bytes for a small
  /// operation that is 4096 of them, which take a good half millisecond: as long as one turn of the loop should last.
  package var frame = 256 << 10
  /// Operations of one connection of frames that may be under way on other cores; the reader pauses beyond.
  package var pendingOperations = 8192

  // MARK: Between nodes

  /// Bytes of operations that wait for another node, per core and node (503 beyond). Some tens of milliseconds of what
  /// a fast network moves; whoever has to wait longer had better hear so.
  package var linkBytes = 16 << 20
  /// Answers of one core that may wait for other nodes: writes whose concern isn't met yet, and operations that were
  /// sent to their owner (503 beyond). At a quarter of a KiB each that is 16 MiB.
  package var waitingAnswers = 65_536

  /// Operations of one core that may wait, not yet executed, for their partitions to have owners who take them, or for
  /// the way to those (503 beyond): some thousand clients in a failover. Their bytes are bounded by `linkBytes`.
  package var heldOperations = 4_096

  // MARK: Time (milliseconds)

  /// How long an answer waits for other nodes when the request names no timeout (504 then): longer than a failover
  /// takes, shorter than most clients wait.
  package var writeTimeout = 5_000

  /// From dialing another node to its WELCOME.
  package var linkGreeting = 1_000
  /// Between attempts to link to a node: this at first, doubled each time up to the second.
  package var linkRetry = 20
  package var linkRetryMost = 2_000
  /// Without a word of a linked node before it is asked for one, and before it is given up. Between the two there is
  /// room for two lost words and a pause.
  package var linkPing = 500
  package var linkSilence = 2_000
  /// How long an operation that another node didn't execute waits for a newer topology.
  package var linkRefresh = 1_000
  /// How much longer than the owner of a key this node waits before it answers that the outcome is unknown.
  package var linkGrace = 250
  /// From a request's first byte to the end of its head (408 beyond).
  package var headTimeout = 10_000
  /// Without any progress of a body being received (408 beyond).
  package var bodyTimeout = 30_000
  /// Without any request on an open connection (closed beyond).
  package var idleTimeout = 120_000
  /// Without any progress of an answer being taken by its client (closed beyond).
  package var sendTimeout = 30_000
  /// How long a connection drains after an error before it is closed, so that the client can read the answer.
  package var lingerTimeout = 2_000
  /// How long requests wait for the node to find its cluster, and first writes for the cluster to agree to take writes
  /// (503 then). Finding takes less than a second where nodes hear each other.
  package var clusterWait = 5_000
  /// How long a node is down before its cluster goes on without it for good.
  package var evictAfter = 30_000
  /// How long a partition waits for the nodes that hold it, all of which are down, before it begins anew, empty.
  package var abandonAfter = 600_000
  /// How long a node that was told to stop waits for the others to take over what it has.
  package var leaveTimeout = 5_000
  /// How long a node that has left its cluster still answers on idle connections, so that their clients hear that they
  /// should go elsewhere.
  package var leaveGrace = 250
  /// How long a shutdown waits for what is in flight.
  package var shutdownTimeout = 10_000

  // MARK: Idempotency

  /// Idempotency keys remembered per partition, the oldest forgotten first, and for how long (milliseconds).
  package var idempotencyKeys = 256
  package var idempotencyWindow = 600_000
  /// Bytes of an Idempotency-Key (400 beyond).
  package var idempotencyKey = 255

  // MARK: Replication

  /// Records of one partition that wait to be held by a majority (503 beyond): eight bytes each, and what they
  /// replaced stays in memory.
  package var uncommitted = 65_536
  /// Bytes a second that one core sends to one node that is being brought in step. At 1 KiB a record that is about
  /// a sixth of a core, in small pieces, so that clients hardly notice; twice the rate doubled what they waited for
  /// at the slowest hundredth. 5 GiB take 80 s.
  package var catchUpRate = 64 << 20

  /// Bytes of long records that one core receives from other nodes; more than that where it is a single record. A
  /// sender has one at a time under way to a node, so this is for four senders with the largest values. What goes
  /// beyond is sent again later.
  package var longRecordBytes = 256 << 20

  // MARK: Caches

  /// Bytes of copies of cached values that one core keeps, whose owner is another node: some percent of what a core
  /// usually has.
  package var cacheBytes = 64 << 20
  /// How long the owner of a cached value waits for a node that has read it and can't be reached, before it answers a
  /// write (milliseconds); so long a copy is good, and as long a new owner waits. Short enough that a write outlasts a
  /// node that died, long enough that a busy key is asked for once a second.
  package var cacheLease = 1_000

  // MARK: Between cores

  /// Bytes of the mailbox from one core to another.
  package var mailbox = 1 << 20

  package init() {}
}

/// One limit by its name in the configuration file, and the values it may have.
package struct Limit: Sendable {
  /// Its name in a configuration file, as in `limits.NAME`.
  package let name: String
  /// The limit it sets.
  package let path: WritableKeyPath<Limits, Int> & Sendable
  /// The values that are permitted.
  package let range: ClosedRange<Int>

  init(_ name: String, _ path: WritableKeyPath<Limits, Int> & Sendable, _ range: ClosedRange<Int>) {
    self.name = name
    self.path = path
    self.range = range
  }
}

extension Limits {
  /// All limits, for the configuration file.
  package static let named: [Limit] = [
    Limit("head", \.head, 1 << 10...1 << 20),
    Limit("key", \.key, 1...65_535),
    Limit("mapName", \.mapName, 1...200),
    Limit("value", \.value, 1...1 << 30),
    Limit("editedValue", \.editedValue, 1...16 << 20),
    Limit("collectedBytes", \.collectedBytes, 1 << 20...1 << 40),
    Limit("copiedValue", \.copiedValue, 0...4 << 10),
    Limit("stagedBody", \.stagedBody, 1...1 << 20),
    Limit("batchBody", \.batchBody, 1...16 << 20),
    Limit("batchOperations", \.batchOperations, 1...1_000_000),
    Limit("listingKeys", \.listingKeys, 1...100_000),
    Limit("listingSlots", \.listingSlots, 512...1 << 24),
    Limit("connections", \.connections, 1...1_000_000),
    Limit("pipelinedRequests", \.pipelinedRequests, 1...65_536),
    Limit("unsentBytes", \.unsentBytes, 1...1 << 30),
    Limit("frame", \.frame, 4 << 10...16 << 20),
    Limit("pendingOperations", \.pendingOperations, 1...1_000_000),
    Limit("waitingAnswers", \.waitingAnswers, 1...1_000_000),
    Limit("heldOperations", \.heldOperations, 0...1_000_000),
    Limit("writeTimeout", \.writeTimeout, 1...86_400_000),
    Limit("linkBytes", \.linkBytes, 1 << 16...1 << 30),
    Limit("linkGreeting", \.linkGreeting, 10...60_000),
    Limit("linkRetry", \.linkRetry, 1...60_000),
    Limit("linkRetryMost", \.linkRetryMost, 1...600_000),
    Limit("linkPing", \.linkPing, 10...60_000),
    Limit("linkSilence", \.linkSilence, 20...600_000),
    Limit("linkRefresh", \.linkRefresh, 1...60_000),
    Limit("linkGrace", \.linkGrace, 0...60_000),
    Limit("headTimeout", \.headTimeout, 1...604_800_000),
    Limit("bodyTimeout", \.bodyTimeout, 1...604_800_000),
    Limit("idleTimeout", \.idleTimeout, 1...604_800_000),
    Limit("sendTimeout", \.sendTimeout, 1...604_800_000),
    Limit("lingerTimeout", \.lingerTimeout, 1...604_800_000),
    Limit("clusterWait", \.clusterWait, 1...604_800_000),
    Limit("leaveTimeout", \.leaveTimeout, 1...604_800_000),
    Limit("leaveGrace", \.leaveGrace, 0...604_800_000),
    Limit("evictAfter", \.evictAfter, 1_000...604_800_000),
    Limit("abandonAfter", \.abandonAfter, 1_000...604_800_000),
    Limit("shutdownTimeout", \.shutdownTimeout, 1...604_800_000),
    Limit("idempotencyKeys", \.idempotencyKeys, 1...65_536),
    Limit("idempotencyWindow", \.idempotencyWindow, 1...604_800_000),
    Limit("idempotencyKey", \.idempotencyKey, 1...4_096),
    Limit("catchUpRate", \.catchUpRate, 1 << 10...1 << 40),
    Limit("uncommitted", \.uncommitted, 16...1 << 24),
    Limit("longRecordBytes", \.longRecordBytes, 1 << 16...1 << 40),
    Limit("cacheBytes", \.cacheBytes, 1 << 16...1 << 40),
    Limit("cacheLease", \.cacheLease, 100...60_000),
    Limit("mailbox", \.mailbox, 1 << 18...1 << 28),
  ]
}
