import CSodium
import Wire

extension BeaconKey {
  /// Seals datagrams with HMAC-SHA-256 (RFC 2104, FIPS 180-4) under the bytes of a key file.
  init(secret: [UInt8]) {
    var prepared = kvd_authentication_key()
    secret.withUnsafeBytes { kvd_authentication_prepare(&prepared, $0.baseAddress, $0.count) }
    let key = prepared
    self.init { bytes in
      withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { code in
        withUnsafePointer(to: key) { kvd_authentication_code($0, bytes.baseAddress, bytes.count, code.baseAddress) }
        return BeaconCode(UnsafeRawBufferPointer(code))
      }
    }
  }
}
