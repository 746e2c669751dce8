import Reactor

/// One connection of the load.
struct LoadClient {
  var socket = SocketID.none
  var isConnected = false
  var isSending = false
  /// The number, from 0, of the next request on this connection.
  var next = 0
  /// Requests without a reply; the last `queued` of them aren't encoded yet.
  var outstanding = 0
  var queued = 0
  /// The ring of outstanding requests, by the low bits of their numbers: the intended start in nanoseconds, doubled,
  /// plus 1 for a write; `answered` where there is none. A power of two has room for all that may be under way.
  let due: UnsafeMutablePointer<UInt64>
  /// Requests on their way to the kernel.
  let buffer: UnsafeMutablePointer<UInt8>
  var parser: ReplyParser
  var frames: FrameClient

  static let answered = UInt64.max
}

/// Requests that were due at the same time and are answered at the same time: they are recorded together.
struct LoadRun {
  var due: UInt64 = 0
  var count: UInt64 = 0
}
