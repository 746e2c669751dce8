/// A message authentication code of 16 bytes, as two little-endian halves.
package struct BeaconCode: Sendable {
  /// Its bytes 0 to 7, and 8 to 15.
  package let first: UInt64
  package let last: UInt64

  package init(first: UInt64, last: UInt64) {
    self.first = first
    self.last = last
  }

  /// The first 16 of the bytes that a hash function's HMAC gives (RFC 2104, section 5: truncation); there must be as
  /// many.
  package init(_ bytes: UnsafeRawBufferPointer) {
    precondition(bytes.count >= 16, "a code of \(bytes.count) bytes")
    first = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    last = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
  }

  /// Whether two codes are equal, in a time that doesn't tell where they differ.
  package func isEqual(to other: BeaconCode) -> Bool { (first ^ other.first) | (last ^ other.last) == 0 }
}

/// The key that the nodes of a cluster share, as the function that computes a code with it.
///
/// Which function that is, the process decides, since this module holds no cryptography. The `kvd` process uses
/// HMAC-SHA-256 (RFC 2104, FIPS 180-4) of a well-kept library, with the bytes of the key file as they are:
///
///     let secret = SymmetricKey(data: bytesOfTheKeyFile)
///     let key = BeaconKey { bytes in
///       HMAC<SHA256>.authenticationCode(for: bytes, using: secret).withUnsafeBytes { BeaconCode($0) }
///     }
///     var control = ControlPlane(identity, settings: settings, key: key, now: now)
///
/// A control plane with a key seals every datagram that it sends and ignores every one that isn't sealed with the same
/// key; one without a key ignores sealed ones. So keyed and unkeyed nodes never meet. The function is called once per
/// datagram, sent or received, with all of its bytes before the code.
package struct BeaconKey: Sendable {
  /// The code of some bytes.
  package let code: @Sendable (UnsafeRawBufferPointer) -> BeaconCode

  package init(_ code: @escaping @Sendable (UnsafeRawBufferPointer) -> BeaconCode) { self.code = code }
}
