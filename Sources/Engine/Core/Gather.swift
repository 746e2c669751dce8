import Wire

/// A request that several cores answer together. Lives on the core where it came in; a slow path, so a class.
final class Gather {
  enum Kind: UInt8 { case metrics, cluster, list, batch, settings, lost }

  let kind: Kind
  /// Its name in mail, from 1; 0 while it has needed no other core.
  var id: UInt32 = 0
  /// The request. Its connection pointer is only good until another core was asked; then `connection` and `gap` count.
  let entry: BatchEntry
  let connection: ConnectionID
  var gap: UnsafeMutablePointer<Chunk>?
  /// Answers still to come.
  var expected: Int
  /// What is shown in the end, as far as it is made.
  var text: [UInt8] = []
  var contentType = ContentType.json
  /// Of a batch: the answers in order.
  var parts: [[UInt8]] = []
  /// Of a listing: what is asked, and how many keys there are so far.
  var listing = ListingQuestion()
  var slotsLeft = 0
  var map: [UInt8] = []
  var prefix: [UInt8] = []
  /// Of a listing: whether a part of it may be stale.
  var staleness = Staleness.none
  /// Why it can't be answered as a whole: a status and its sentence.
  var failure: (status: UInt16, sentence: [UInt8], problem: Problem)?
  /// Of `/v1/cluster`: the numbers of all partitions' data are shown, too.
  var showsData = false
  /// Of `/metrics`: the sum so far.
  var values: [UInt64] = []
  /// Of `/v1/lost`: what the ledgers said so far.
  var lost = LostPage()

  init(_ entry: BatchEntry, kind: Kind, expected: Int) {
    self.entry = entry
    self.kind = kind
    self.expected = expected
    connection = entry.connection.pointee.id
  }
}

/// A part of a gather for another core; the map's name and the prefix follow.
struct GatherRequest {
  var id: UInt32 = 0
  var sender: UInt32 = 0
  var kind: UInt8 = 0
  var mapCount: UInt32 = 0
  var prefixCount: UInt32 = 0
  var settings = MapSettings()
  var listing = ListingQuestion()
}

/// The answer to a part of a gather; `count` bytes follow.
struct GatherReply {
  var id: UInt32
  var kind: UInt8
  var count: UInt32 = 0
  var page = ListingPage()

  init(id: UInt32, kind: UInt8) {
    self.id = id
    self.kind = kind
  }
}
