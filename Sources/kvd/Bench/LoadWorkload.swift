import Glibc

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same numbers for the same seed everywhere.
struct LoadRandom {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  @inline(__always)
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }

  /// A number below `bound`, by multiplication (Lemire 2019, without the rejection: its bias is below 2^-24 here).
  @inline(__always)
  mutating func below(_ bound: UInt64) -> UInt64 { next().multipliedFullWidth(by: bound).high }

  /// A number from 0 to 1, 1 excluded.
  @inline(__always)
  mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }
}

/// How often the keys of a key space are asked for.
enum KeyDistribution: Equatable, Sendable {
  /// All alike.
  case uniform
  /// One after another, from the first, and again.
  case sequential
  /// The key of rank k with a probability proportional to k to the power of -exponent.
  case zipf(exponent: Double)

  /// As on the command line.
  var name: String {
    switch self {
    case .uniform: "uniform"
    case .sequential: "sequential"
    case .zipf(let exponent): "zipf \(decimal(exponent, places: 2))"
    }
  }
}

/// Draws keys from 0 to `count` - 1.
///
/// Zipf's distribution is drawn by rejection-inversion (Hörmann, Derflinger: "Rejection-inversion to generate variates
/// from monotone discrete distributions", 1996), which needs neither a table nor a sum over the key space.
struct KeyChooser {
  private enum Kind { case uniform, sequential, zipf }

  private let count: UInt64
  private let exponent: Double
  private let highest: Double
  private let lowest: Double
  private let shortcut: Double
  private let kind: Kind
  private var following: UInt64 = 0

  init(count: Int, _ distribution: KeyDistribution) {
    self.count = UInt64(count)
    switch distribution {
    case .uniform, .sequential:
      kind = distribution == .uniform ? .uniform : .sequential
      exponent = 1
      highest = 0
      lowest = 0
      shortcut = 0
    case .zipf(let exponent):
      kind = .zipf
      self.exponent = exponent
      highest = KeyChooser.integral(Double(count) + 0.5, exponent)
      lowest = KeyChooser.integral(1.5, exponent) - 1
      shortcut =
        2 - KeyChooser.inverse(KeyChooser.integral(2.5, exponent) - KeyChooser.density(2, exponent), exponent)
    }
  }

  @inline(__always)
  mutating func next(_ random: inout LoadRandom) -> UInt64 {
    switch kind {
    case .uniform: return random.below(count)
    case .sequential:
      following = following == count ? 1 : following &+ 1
      return following &- 1
    case .zipf: return nextZipf(&random)
    }
  }

  private func nextZipf(_ random: inout LoadRandom) -> UInt64 {
    while true {
      let u = highest + random.unit() * (lowest - highest)
      let x = KeyChooser.inverse(u, exponent)
      let k = min(max(1, (x + 0.5).rounded(.down)), Double(count))
      if k - x <= shortcut || u >= KeyChooser.integral(k + 0.5, exponent) - KeyChooser.density(k, exponent) {
        return UInt64(k) - 1
      }
    }
  }

  /// x to the power of -exponent.
  private static func density(_ x: Double, _ exponent: Double) -> Double { exp(-exponent * log(x)) }

  /// The integral of the density from 1 to x; near an exponent of 1 it becomes the logarithm.
  private static func integral(_ x: Double, _ exponent: Double) -> Double {
    let logarithm = log(x)
    let y = (1 - exponent) * logarithm
    return (abs(y) > 1e-8 ? expm1(y) / y : 1 + y / 2) * logarithm
  }

  /// The inverse of `integral`.
  private static func inverse(_ x: Double, _ exponent: Double) -> Double {
    let t = max(-1, x * (1 - exponent))
    return exp((abs(t) > 1e-8 ? log1p(t) / t : 1 - t / 2) * x)
  }
}
