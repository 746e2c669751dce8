import Wire

/// The fields of a datagram's head that a checker asks for, read where `Beacon` has them and without believing them:
/// whoever finds something wrong by them reads the whole datagram, with its checksum.
struct DatagramHead {
  let isHello: Bool
  let destination: NodeID
  let sequence: UInt64

  /// One that is too short to be a datagram says nothing: it counts as a beacon.
  init(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= Beacon.headCount else {
      isHello = true
      destination = .none
      sequence = 0
      return
    }
    func word(_ offset: Int) -> UInt64 { bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
    isHello = bytes[4] == BeaconKind.hello.rawValue
    destination = NodeID(high: UInt64(bigEndian: word(40)), low: UInt64(bigEndian: word(48)))
    sequence = UInt64(littleEndian: word(56))
  }
}
