/// A JSON number as an exact decimal, for comparing by value without loss: 1, 1.0 and 10e-1 are equal, and
/// 9007199254740993 is not 9007199254740992, whatever a double would say. Zero has one value: -0 equals 0.
///
/// The number is taken apart as 0.d₁d₂d₃… × 10ᵉ with d₁ and the last digit not zero; nothing is copied.
struct JSONNumber {
  private let text: UnsafePointer<UInt8>
  private let isNegative: Bool
  /// From the first to after the last digit that isn't zero; the decimal point may be among them. Empty for zero.
  private let digits: Range<Int>
  /// The exponent is the written one, `exponentDigits` with its sign, plus `shift`.
  private let exponentDigits: Range<Int>
  private let exponentIsNegative: Bool
  private let shift: Int

  /// The valid number `value`.
  init(_ value: JSONValue) {
    text = value.text
    var i = value.start
    isNegative = text[i] == 0x2D
    if isNegative { i &+= 1 }
    var first = -1
    var last = -1
    var point = -1
    while i < value.end, text[i] | 0x20 != 0x65 {
      if text[i] == 0x2E {
        point = i
      } else if text[i] != 0x30 {
        if first < 0 { first = i }
        last = i
      }
      i &+= 1
    }
    if point < 0 { point = i }
    digits = first < 0 ? 0..<0 : first..<last &+ 1
    shift = first < point ? point &- first : point &+ 1 &- first
    if i < value.end { i &+= 1 }
    exponentIsNegative = i < value.end && text[i] == 0x2D
    if i < value.end, text[i] == 0x2D || text[i] == 0x2B { i &+= 1 }
    while i < value.end, text[i] == 0x30 { i &+= 1 }
    exponentDigits = i..<value.end
  }

  static func == (a: JSONNumber, b: JSONNumber) -> Bool {
    if a.digits.isEmpty || b.digits.isEmpty { return a.digits.isEmpty && b.digits.isEmpty }
    return a.isNegative == b.isNegative && exponentsAreEqual(a, b) && digitsAreEqual(a, b)
  }

  private static func digitsAreEqual(_ a: JSONNumber, _ b: JSONNumber) -> Bool {
    var i = a.digits.lowerBound
    var j = b.digits.lowerBound
    while true {
      if i < a.digits.upperBound, a.text[i] == 0x2E { i &+= 1 }
      if j < b.digits.upperBound, b.text[j] == 0x2E { j &+= 1 }
      if i == a.digits.upperBound || j == b.digits.upperBound {
        return i == a.digits.upperBound && j == b.digits.upperBound
      }
      if a.text[i] != b.text[j] { return false }
      i &+= 1
      j &+= 1
    }
  }

  /// Whether the exponents are equal, however many digits they are written with.
  ///
  /// The difference of the written ones is built from the highest digit down. Once it is 3 or more away from zero it
  /// only grows (tenfold, less at most 18), so beyond every possible difference of shifts the answer is known.
  private static func exponentsAreEqual(_ a: JSONNumber, _ b: JSONNumber) -> Bool {
    let wanted = b.shift &- a.shift
    var difference = 0
    var place = max(a.exponentDigits.count, b.exponentDigits.count)
    while place > 0 {
      difference = difference &* 10 &+ a.exponentDigit(place) &- b.exponentDigit(place)
      if difference.magnitude > 1 &<< 56 { return false }
      place &-= 1
    }
    return difference == wanted
  }

  /// The signed digit of the written exponent at a place counted from 1, the lowest; 0 above the highest.
  private func exponentDigit(_ place: Int) -> Int {
    guard place <= exponentDigits.count else { return 0 }
    let digit = Int(text[exponentDigits.upperBound &- place] &- 0x30)
    return exponentIsNegative ? -digit : digit
  }
}
