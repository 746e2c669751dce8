/// What two nodes that share a key say to prove it to each other, and what they derive from it: mutual
/// challenge-response over both greetings, in the manner of SKID3 (Handbook of Applied Cryptography, section 10.17).
///
/// Both greetings of a keyed connection carry a nonce that nobody else can know before. WELCOME also carries the code
/// of both greetings, which only a holder of the key can compute and which is good for this HELLO alone; PROOF answers
/// it with another code of the same bytes. A third one seeds all later checksums, beside the binding.
package struct FrameHandshake {
  /// Both greetings from their byte 16 on, each up to behind its nonce.
  private var transcript: [UInt8] = []

  /// Which code: 16 bytes in front of the greetings.
  package enum Purpose: String {
    case welcome = "kvd WELCOME     "
    case proof = "kvd PROOF       "
    case session = "kvd session     "
  }

  /// Starts with a keyed HELLO, a whole frame.
  package init(hello: UnsafeRawPointer) { add(hello) }

  /// Adds the keyed WELCOME, whose code need not be there yet.
  package mutating func add(welcome: UnsafeRawPointer) { add(welcome) }

  private mutating func add(_ greeting: UnsafeRawPointer) {
    transcript.append(
      contentsOf: UnsafeRawBufferPointer(start: greeting + 16, count: Greeting.keyedHelloCount - 16))
  }

  /// The code of both greetings for this purpose.
  package func code(_ purpose: Purpose, _ key: BeaconKey) -> BeaconCode {
    (Array(purpose.rawValue.utf8) + transcript).withUnsafeBytes { key.code($0) }
  }

  /// What the checksums of frames from the opener are seeded with, and those of the frames back.
  package func bindings(_ welcome: Greeting, _ key: BeaconKey) -> (toNode: FrameBinding, back: FrameBinding) {
    let code = code(.session, key)
    return (
      FrameBinding(seed: welcome.incoming.seed ^ code.first), FrameBinding(seed: welcome.outgoing.seed ^ code.last)
    )
  }
}

/// PROOF: the opener's answer to a keyed WELCOME, and its first frame with the session's binding.
///
/// ```
/// 24  16  the code of both greetings
/// ```
package enum ProofFrame {
  /// Bytes of it.
  package static var frameCount: Int { 40 }

  /// Writes a whole frame of `frameCount` bytes.
  package static func write(_ code: BeaconCode, to base: UnsafeMutableRawPointer, _ binding: FrameBinding) {
    code.write(to: base + 24)
    FrameLayout.seal(base, length: frameCount, .proof, id: 0, binding)
  }

  /// The code of an intact frame; nil if it is malformed.
  package static func code(_ frame: FrameView) -> BeaconCode? {
    guard frame.length == frameCount, frame.flags == 0, frame.count == 0, frame.id == 0 else { return nil }
    return BeaconCode(UnsafeRawBufferPointer(start: frame.base + 24, count: 16))
  }
}

extension BeaconCode {
  /// Writes its 16 bytes.
  func write(to target: UnsafeMutableRawPointer) {
    target.storeBytes(of: first.littleEndian, as: UInt64.self)
    target.storeBytes(of: last.littleEndian, toByteOffset: 8, as: UInt64.self)
  }
}
