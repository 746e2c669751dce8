import Wire

/// Why a request wasn't done: a status and one sentence that says what to do (RFC 9457 `title` and `detail`).
///
/// A trivial value, so that it travels between cores as it is. Sentences that aren't fixed travel as the outcome's
/// value.
struct Problem: Error {
  let status: UInt16
  let detail: StaticString
  /// It ends by itself in a moment: an operation that it would refuse may wait for that. See `Core+Patience`.
  let passes: Bool

  init(_ status: UInt16, _ detail: StaticString, passes: Bool = false) {
    self.status = status
    self.detail = detail
    self.passes = passes
  }

  /// Bytes that break HTTP's grammar.
  init(_ violation: HTTPViolation) {
    self.init(violation.status.rawValue, violation.sentence)
  }

  /// Why the store refused a write.
  init(_ error: StoreError) {
    switch error {
    case .full: self = .full
    case .collision: self = .collision
    case .tooLarge: self = .valueTooLarge
    }
  }
}

/// The sentences, in one place so that one fault has one wording.
extension Problem {
  static var notFound: Problem { Problem(404, "There is no such key in this map.") }
  static var pointerNotFound: Problem { Problem(404, "The JSON value has nothing at this pointer.") }
  static var preconditionFailed: Problem {
    Problem(412, "The key's revision is not what If-Match or If-None-Match asks for. Read it again and retry.")
  }
  static var badEntityTags: Problem {
    Problem(400, "If-Match and If-None-Match take * or a list of quoted ETags, for example \"17-1-42\".")
  }
  static var notANumber: Problem {
    Problem(409, "The stored value is not a decimal 64-bit integer, so it can't be counted up.")
  }
  static var counterOverflow: Problem {
    Problem(409, "The counter would leave the range of a 64-bit integer; it was not changed.")
  }
  static var full: Problem {
    Problem(507, "The node's memory is full. Delete keys, raise --memory, or start with --evict lru; reads still work.")
  }
  static var collision: Problem {
    Problem(507, "Too many keys share this key's hash; this looks like an attack. Choose another key.")
  }
  static var valueTooLarge: Problem { Problem(413, "The value is larger than the limit of this node (limits.value).") }
  static var editTooLarge: Problem {
    Problem(413, "Edits work on values up to limits.editedValue; replace larger values as a whole with PUT.")
  }
  static var bodyTooLarge: Problem {
    Problem(413, "The request body is larger than this resource takes (limits.batchBody, limits.editedValue).")
  }
  static var keyTooLong: Problem { Problem(414, "The key is longer than the limit of this node (limits.key).") }
  static var keyEmpty: Problem { Problem(400, "The key is empty. Put it after the map's name: /v1/maps/{map}/{key}.") }
  static var keyNotText: Problem { Problem(400, "The key must be valid UTF-8 once its percent escapes are decoded.") }
  static var badEscape: Problem {
    Problem(400, "A percent sign must be followed by two hexadecimal digits (RFC 3986).")
  }
  static var badMapName: Problem {
    Problem(400, "A map's name has 1 to 200 of the characters A-Z a-z 0-9 . _ - and starts with a letter or digit.")
  }
  static var noSuchResource: Problem {
    Problem(404, "There is no such resource under /v1/. Keys that collide live under /v1/maps/default/.")
  }
  static var notInThisVersion: Problem {
    Problem(501, "This resource is reserved for a later version. A key of that name lives under /v1/maps/default/.")
  }
  static var methodNotAllowed: Problem { Problem(405, "This resource does not take that method; see Allow.") }
  static var contentTypeTooLong: Problem { Problem(400, "Content-Type is longer than the 255 bytes that are kept.") }
  static var unknownPatch: Problem {
    Problem(415, "PATCH takes application/merge-patch+json (RFC 7396) or application/json-patch+json (RFC 6902).")
  }
  static var badConcern: Problem {
    Problem(400, "w is majority, all, or the number of nodes that must hold the write, from 1 to 1024.")
  }
  static var badReadLevel: Problem { Problem(400, "read is local, committed or linearizable.") }
  static var concernUnreachable: Problem {
    Problem(503, "Not applied: the write concern asks for more nodes than this cluster has. Lower w or add nodes.")
  }
  static var revisionOfOtherPartition: Problem {
    Problem(400, "min-revision belongs to another partition than this key; pass a revision of the same key.")
  }
  static var revisionNotReached: Problem {
    Problem(503, "This node has not reached min-revision yet. Try again shortly.")
  }
  static var keyReused: Problem {
    Problem(422, "This Idempotency-Key was used with a different request. Use a new key for a new request.")
  }
  static var idempotencyKeyTooLong: Problem {
    Problem(400, "Idempotency-Key is longer than the limit of this node (limits.idempotencyKey).")
  }
  static var overloaded: Problem {
    Problem(503, "Not applied: this node has too much work waiting. Try again shortly.")
  }
  static var goingDown: Problem { Problem(503, "Not applied: this node is going down. Ask another one.") }
  static var tooManyConnections: Problem {
    Problem(503, "This node has as many connections as it takes (limits.connections). Try again shortly.")
  }
  static var headTimeout: Problem { Problem(408, "The request's head did not arrive in time (limits.headTimeout).") }
  static var bodyTimeout: Problem { Problem(408, "The request's body did not arrive in time (limits.bodyTimeout).") }
}
