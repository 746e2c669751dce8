/// What the sender of a greeting is.
@frozen public enum FrameRole: UInt8, Sendable {
  /// It sends requests.
  case client = 1
  /// It is a node of the cluster.
  case peer = 2
}

/// HELLO and WELCOME: who talks to whom, in which version, within which limits. Little-endian, ids as in `FrameID`.
///
/// ```
/// 24  u32  magic: "kvd1"
/// 28  u16  version: in HELLO the highest that is spoken, in WELCOME the one that is used
/// 30  u8   role of the sender
/// 31  u8   0
/// 32  16   cluster; in a client's HELLO all zeros for whatever cluster this is
/// 48  16   sender
/// 64  16   receiver; in a client's HELLO all zeros for whatever node this is
/// 80  u64  session: in WELCOME a number that this node gives to no other connection; in HELLO 0
/// 88  u32  bytes of the longest frame that the sender takes; in a client's HELLO 0
/// 92  u32  bytes of the longest value, likewise
/// 96  u32  bytes of the longest key, likewise
/// 100 u32  0
/// 104 16   between nodes that share a key: a nonce
/// 120 16   of a WELCOME with a nonce: its code, see `FrameHandshake`
/// ```
@frozen public struct Greeting: Equatable, Sendable {
  /// See the layout above.
  package var version: UInt16
  package var role: FrameRole
  package var cluster: FrameID
  package var sender: FrameID
  package var receiver: FrameID
  package var session: UInt64
  package var frameLimit: UInt32
  package var valueLimit: UInt32
  package var keyLimit: UInt32
  /// The nonce of a keyed greeting; nil of any other.
  package var nonce: FrameID?

  /// Bytes of a HELLO or WELCOME, and of keyed ones.
  @inlinable package static var frameCount: Int { 104 }
  @inlinable package static var keyedHelloCount: Int { 120 }
  @inlinable package static var keyedWelcomeCount: Int { 136 }
  /// The only version so far.
  @inlinable package static var currentVersion: UInt16 { 1 }
  /// "kvd1"
  @inlinable package static var magic: UInt32 { 0x3164_766B }

  package init(
    version: UInt16 = Greeting.currentVersion, role: FrameRole, cluster: FrameID, sender: FrameID, receiver: FrameID,
    session: UInt64 = 0, frameLimit: UInt32 = 0, valueLimit: UInt32 = 0, keyLimit: UInt32 = 0
  ) {
    self.version = version
    self.role = role
    self.cluster = cluster
    self.sender = sender
    self.receiver = receiver
    self.session = session
    self.frameLimit = frameLimit
    self.valueLimit = valueLimit
    self.keyLimit = keyLimit
  }

  /// Writes the greeting as a whole frame of `frameCount` bytes; `nonce` is ignored.
  package func write(_ kind: FrameKind, to base: UnsafeMutableRawPointer) {
    writeFields(to: base)
    FrameLayout.seal(base, length: Greeting.frameCount, kind, id: 0, .none)
  }

  /// Writes a keyed HELLO of `keyedHelloCount` bytes and returns the handshake that begins with it.
  package func writeKeyedHello(to base: UnsafeMutableRawPointer) -> FrameHandshake {
    writeFields(to: base)
    nonce!.write(to: base + 104)
    FrameLayout.seal(base, length: Greeting.keyedHelloCount, .hello, id: 0, .none)
    return FrameHandshake(hello: base)
  }

  /// Writes a keyed WELCOME of `keyedWelcomeCount` bytes and adds it to the handshake.
  package func writeKeyedWelcome(
    to base: UnsafeMutableRawPointer, _ handshake: inout FrameHandshake, _ key: BeaconKey
  ) {
    writeFields(to: base)
    nonce!.write(to: base + 104)
    handshake.add(welcome: base)
    handshake.code(.welcome, key).write(to: base + 120)
    FrameLayout.seal(base, length: Greeting.keyedWelcomeCount, .welcome, id: 0, .none)
  }

  /// The code of a keyed WELCOME.
  package static func code(_ frame: FrameView) -> BeaconCode {
    BeaconCode(UnsafeRawBufferPointer(start: frame.base + 120, count: 16))
  }

  private func writeFields(to base: UnsafeMutableRawPointer) {
    func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
      base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }
    store(UInt64(0), at: 16)  // the id, which a handshake's codes cover
    store(Greeting.magic, at: 24)
    store(version, at: 28)
    store(UInt16(role.rawValue), at: 30)
    cluster.write(to: base + 32)
    sender.write(to: base + 48)
    receiver.write(to: base + 64)
    store(session, at: 80)
    store(frameLimit, at: 88)
    store(valueLimit, at: 92)
    store(keyLimit, at: 96)
    store(UInt32(0), at: 100)
  }

  /// Reads a whole HELLO or WELCOME, checksum included.
  package init(_ frame: FrameView) throws(CloseReason) {
    guard frame.isIntact(.none) else { throw .badChecksum }
    let keyed = frame.kind == .hello ? Greeting.keyedHelloCount : Greeting.keyedWelcomeCount
    guard frame.length == Greeting.frameCount || frame.length == keyed, frame.flags == 0, frame.count == 0,
      frame.id == 0, frame.u32(24) == Greeting.magic
    else { throw .malformed }
    if frame.length == keyed { nonce = FrameID(frame.base + 104) }
    version = frame.u16(28)
    guard version > 0 else { throw .version }
    guard let role = FrameRole(rawValue: frame.base.load(fromByteOffset: 30, as: UInt8.self)) else { throw .role }
    self.role = role
    cluster = FrameID(frame.base + 32)
    sender = FrameID(frame.base + 48)
    receiver = FrameID(frame.base + 64)
    session = frame.u64(80)
    frameLimit = frame.u32(88)
    valueLimit = frame.u32(92)
    keyLimit = frame.u32(96)
    guard frame.base.load(fromByteOffset: 31, as: UInt8.self) == 0, frame.u32(100) == 0 else { throw .malformed }
  }

  /// Of a WELCOME: what seeds the frames that its sender sends.
  package var outgoing: FrameBinding {
    FrameBinding(cluster: cluster, source: sender, destination: receiver, session: session)
  }

  /// Of a WELCOME: what seeds the frames that its sender receives.
  package var incoming: FrameBinding {
    FrameBinding(cluster: cluster, source: receiver, destination: sender, session: session)
  }
}
