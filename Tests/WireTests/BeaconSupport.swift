@testable import Wire

/// What tests of datagrams need: hexadecimal, and keys.
enum BeaconSample {
  static func hex(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
  }

  /// The key that the process makes of a key file's bytes.
  static func key(_ secret: [UInt8]) -> BeaconKey {
    BeaconKey { bytes in
      let code = BeaconSample.hmac(secret, [UInt8](bytes))
      return code.withUnsafeBytes { BeaconCode($0) }
    }
  }

  /// HMAC-SHA-256 (RFC 2104), so that the examples can be checked without a library.
  static func hmac(_ key: [UInt8], _ bytes: [UInt8]) -> [UInt8] {
    let key = (key.count > 64 ? sha256(key) : key) + [UInt8](repeating: 0, count: 64)
    let inner = key.prefix(64).map { $0 ^ 0x36 }
    let outer = key.prefix(64).map { $0 ^ 0x5c }
    return sha256(outer + sha256(inner + bytes))
  }

  /// SHA-256 (FIPS 180-4, section 6.2). The constants are what it says they are: the first bits of the fractional parts
  /// of the square roots of the first 8 primes, and of the cube roots of the first 64.
  private static func sha256(_ bytes: [UInt8]) -> [UInt8] {
    func fraction(_ value: Double) -> UInt32 { UInt32(truncatingIfNeeded: UInt64(value * 4_294_967_296)) }
    let primes = (2...311).filter { number in !(2..<number).contains { number % $0 == 0 } }
    let rounds = primes.map { fraction(cubeRoot(Double($0))) }
    var state = primes.prefix(8).map { fraction(Double($0).squareRoot()) }
    var padded = bytes + [0x80]
    while padded.count % 64 != 56 { padded.append(0) }
    for shift in stride(from: 56, through: 0, by: -8) {
      padded.append(UInt8(truncatingIfNeeded: (8 * bytes.count) >> shift))
    }
    for start in stride(from: 0, to: padded.count, by: 64) { compress(&state, padded[start..<start + 64], rounds) }
    return state.flatMap { word in [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> UInt32($0)) } }
  }

  private static func cubeRoot(_ value: Double) -> Double {
    var root = value / 3 + 1
    for _ in 0..<60 { root -= (root * root * root - value) / (3 * root * root) }
    return root
  }

  private static func compress(_ state: inout [UInt32], _ block: ArraySlice<UInt8>, _ rounds: [UInt32]) {
    func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 { word >> count | word << (32 - count) }
    var words = stride(from: block.startIndex, to: block.endIndex, by: 4).map { place in
      block[place..<place + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    }
    for index in 16..<64 {
      let (early, late) = (words[index - 15], words[index - 2])
      let first = rotate(early, 7) ^ rotate(early, 18) ^ early >> 3
      let second = rotate(late, 17) ^ rotate(late, 19) ^ late >> 10
      words.append(words[index - 16] &+ first &+ words[index - 7] &+ second)
    }
    var s = state
    for index in 0..<64 {
      let choice = s[4] & s[5] ^ ~s[4] & s[6]
      let majority = s[0] & s[1] ^ s[0] & s[2] ^ s[1] & s[2]
      let first =
        s[7] &+ (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) &+ choice &+ rounds[index] &+ words[index]
      let second = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) &+ majority
      s = [first &+ second, s[0], s[1], s[2], s[3] &+ first, s[4], s[5], s[6]]
    }
    for index in 0..<8 { state[index] &+= s[index] }
  }
}
