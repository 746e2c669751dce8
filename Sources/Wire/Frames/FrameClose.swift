/// Why a side ends a connection. The numbers are on the wire and never change.
@frozen public enum CloseReason: UInt16, Error, Sendable, CaseIterable {
  case tooLong = 1
  case truncated = 2
  case unknownKind = 3
  case badChecksum = 4
  case malformed = 5
  case outOfOrder = 6
  case noGreeting = 7
  case version = 8
  case cluster = 9
  case destination = 10
  case role = 11
  case timeout = 12
  case idle = 13
  case overloaded = 14
  case goingDown = 15
  case unauthenticated = 16

  /// One sentence for people.
  package var sentence: StaticString {
    switch self {
    case .tooLong: "The frame or its value is longer than this node takes; WELCOME names the limits."
    case .truncated: "The connection ended inside a frame; that frame was not executed."
    case .unknownKind: "A frame of this kind is not known here, or does not go from a client to a node."
    case .badChecksum: "The checksum does not fit: the frame is damaged, or meant for another node or connection."
    case .malformed: "The frame's fields contradict each other; nothing of it was executed."
    case .outOfOrder: "The ids of requests must be 1, 2, 3 and so on, with no gap."
    case .noGreeting: "This port takes kvd's binary frames, and the first must be a HELLO; HTTP is on another port."
    case .version: "This node does not speak that version of the protocol."
    case .cluster: "This node belongs to another cluster than HELLO names."
    case .destination: "This node is not the one that HELLO is addressed to."
    case .role: "This node takes no connection of that role, or one without a sender id."
    case .timeout: "The rest of the frame did not arrive in time."
    case .idle: "Nothing was asked for a long time; send PING to keep a connection."
    case .overloaded: "This node has too many connections or too much work waiting. Try again shortly."
    case .unauthenticated: "Nodes of this cluster prove that they know its key (--cluster-key-file)."
    case .goingDown: "This node is going down. Ask another one."
    }
  }
}

/// CLOSE: the sender's last frame.
///
/// ```
/// 24  u16  reason
/// 26  u16  bytes of the sentence
/// 28  u32  0
/// 32       the sentence, UTF-8, zeros up to a multiple of 8
/// ```
///
/// Its id is that of the last REQUEST that was executed: that one and everything before it was, nothing behind it.
package enum CloseFrame {
  /// The most bytes of a CLOSE frame that this side writes.
  package static var maximumCount: Int { 160 }

  /// Writes a whole frame and returns its bytes.
  package static func write(
    _ reason: CloseReason, lastID: UInt64, to base: UnsafeMutableRawPointer, _ binding: FrameBinding
  ) -> Int {
    let sentence = reason.sentence
    let count = sentence.utf8CodeUnitCount
    let length = FrameLayout.padded(32 + count)
    precondition(length <= maximumCount, "the sentence of \(reason) is too long")
    base.storeBytes(of: reason.rawValue.littleEndian, toByteOffset: 24, as: UInt16.self)
    base.storeBytes(of: UInt16(count).littleEndian, toByteOffset: 26, as: UInt16.self)
    base.storeBytes(of: 0, toByteOffset: 28, as: UInt32.self)
    base.storeBytes(of: 0, toByteOffset: length - 8, as: UInt64.self)
    (base + 32).copyMemory(from: sentence.utf8Start, byteCount: count)
    FrameLayout.seal(base, length: length, .close, id: lastID, binding)
    return length
  }

  /// The reason's number in an intact CLOSE frame, which may be newer than `CloseReason`, and the sentence.
  package static func read(_ frame: FrameView) -> (reason: UInt16, sentence: UnsafeRawBufferPointer)? {
    guard frame.length >= 32, 32 + Int(frame.u16(26)) <= frame.length else { return nil }
    return (frame.u16(24), UnsafeRawBufferPointer(start: frame.base + 32, count: Int(frame.u16(26))))
  }
}

/// ACK: every operation of every REQUEST up to the frame's id has been applied, except those that a REPLY reported as
/// failed, which came before.
///
/// ```
/// 24  u64  operations that this covers since the connection's start
/// ```
package enum AckFrame {
  /// Bytes of an ACK frame.
  @inlinable package static var frameCount: Int { 32 }

  /// Writes a whole frame of `frameCount` bytes.
  package static func write(
    id: UInt64, operations: UInt64, to base: UnsafeMutableRawPointer, _ binding: FrameBinding
  ) {
    base.storeBytes(of: operations.littleEndian, toByteOffset: 24, as: UInt64.self)
    FrameLayout.seal(base, length: frameCount, .ack, id: id, binding)
  }

  /// The operations covered, of an intact ACK frame; nil if it is malformed.
  package static func operations(_ frame: FrameView) -> UInt64? {
    frame.length == frameCount ? frame.u64(24) : nil
  }
}
