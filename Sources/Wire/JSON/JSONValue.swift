/// One JSON value inside a text that was found valid: a view, not a copy.
///
/// Having one is the proof that its bytes are valid JSON, which all walking relies on. It is good for as long as the
/// text's bytes stay where and what they are. Offsets count from the text's first byte.
///
/// As a pull reader: `members()` and `elements()` step through a container, the typed accessors decode a scalar and
/// answer nil for a value of another kind.
package struct JSONValue {
  /// The first byte of the whole text.
  let text: UnsafePointer<UInt8>
  /// Where the value begins; it never begins or ends with white space.
  package let start: Int
  /// Where the value ends.
  package let end: Int

  init(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) {
    self.text = text
    self.start = start
    self.end = end
  }

  /// The value of a whole text, after checking the text from its first byte to its last.
  ///
  /// - Throws: where and why the text isn't JSON as `JSONScanner` takes it.
  package init(
    validating bytes: UnsafeRawBufferPointer, maximumDepth: Int = JSONScanner.maximumDepth
  ) throws(JSONSyntaxError) {
    let result = try JSONScanner.scan(bytes, maximumDepth: maximumDepth)
    // An empty text was refused, so there is a first byte.
    self.init(bytes.baseAddress!.assumingMemoryBound(to: UInt8.self), result.value.lowerBound, result.value.upperBound)
  }

  /// The value's bytes, by offset in the text.
  package var range: Range<Int> { start..<end }

  /// The value's bytes.
  package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: text + start, count: end &- start) }

  /// The number of the value's bytes.
  package var count: Int { end &- start }

  /// The seven kinds of RFC 8259 §3, with true and false as one.
  package enum Kind: UInt8, Sendable {
    case object, array, string, number, boolean, null
  }

  /// What this value is.
  package var kind: Kind {
    switch text[start] {
    case 0x7B: .object
    case 0x5B: .array
    case 0x22: .string
    case 0x74, 0x66: .boolean
    case 0x6E: .null
    default: .number
    }
  }

  /// Arrays and objects inside each other, this one counted; 0 for a scalar.
  var depth: Int { kind.rawValue <= Kind.array.rawValue ? JSONText.skipContainer(text, start, end).depth : 0 }

  /// The boolean, or nil for another kind.
  package var boolean: Bool? { kind == .boolean ? text[start] == 0x74 : nil }

  /// The number if it is written as an integer, without fraction and exponent, and fits, or nil.
  package var integer: Int64? {
    guard kind == .number else { return nil }
    let isNegative = text[start] == 0x2D
    var value: Int64 = 0
    for i in (isNegative ? start &+ 1 : start)..<end {
      guard JSONScanner.isDigit(text[i]) else { return nil }
      let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
      let digit = Int64(text[i] &- 0x30)
      let (sum, overflow2) = isNegative ? tens.subtractingReportingOverflow(digit) : tens.addingReportingOverflow(digit)
      if overflow || overflow2 { return nil }
      value = sum
    }
    return value
  }

  /// The double nearest to the number, or nil for another kind and for numbers beyond the largest double.
  package var double: Double? {
    guard kind == .number, let double = Double(String(decoding: bytes, as: UTF8.self)) else { return nil }
    return double.isFinite ? double : nil
  }

  /// The members of this object in the order of the text; none if it isn't an object.
  package func members() -> JSONMembers { JSONMembers(self) }

  /// The elements of this array in the order of the text; none if it isn't an array.
  package func elements() -> JSONElements { JSONElements(self) }
}

/// One member of an object.
package struct JSONMember {
  /// The name, a string with its quotes.
  package let name: JSONValue
  /// The value.
  package let value: JSONValue
  /// Where the comma after the value is, or -1 after the last member.
  let comma: Int
}

/// A walk through the members of an object.
package struct JSONMembers {
  private let object: JSONValue
  /// Where the next member begins, or the object's end.
  private var position: Int

  init(_ object: JSONValue) {
    self.object = object
    position = object.end
    guard object.kind == .object else { return }
    let first = JSONText.skipSpace(object.text, object.start &+ 1, object.end)
    if object.text[first] != 0x7D { position = first }
  }

  /// The next member, or nil after the last one. Each byte of the object is looked at once by a walk.
  package mutating func next() -> JSONMember? {
    guard position < object.end else { return nil }
    let text = object.text
    let end = object.end
    let nameEnd = JSONText.skipString(text, position, end)
    let colon = JSONText.skipSpace(text, nameEnd, end)
    let start = JSONText.skipSpace(text, colon &+ 1, end)
    let valueEnd = JSONText.skipValue(text, start, end)
    let after = JSONText.skipSpace(text, valueEnd, end)
    let hasNext = JSONText.goesOn(text, after, end, 0x7D)
    let member = JSONMember(
      name: JSONValue(text, position, nameEnd), value: JSONValue(text, start, valueEnd), comma: hasNext ? after : -1)
    position = hasNext ? JSONText.skipSpace(text, after &+ 1, end) : end
    return member
  }
}

/// A walk through the elements of an array.
package struct JSONElements {
  private let array: JSONValue
  /// Where the next element begins, or the array's end.
  private var position: Int

  init(_ array: JSONValue) {
    self.array = array
    position = array.end
    guard array.kind == .array else { return }
    let first = JSONText.skipSpace(array.text, array.start &+ 1, array.end)
    if array.text[first] != 0x5D { position = first }
  }

  /// The next element, or nil after the last one. Each byte of the array is looked at once by a walk.
  package mutating func next() -> JSONValue? {
    guard position < array.end else { return nil }
    let element = JSONValue(array.text, position, JSONText.skipValue(array.text, position, array.end))
    let after = JSONText.skipSpace(array.text, element.end, array.end)
    let hasNext = JSONText.goesOn(array.text, after, array.end, 0x5D)
    position = hasNext ? JSONText.skipSpace(array.text, after &+ 1, array.end) : array.end
    return element
  }
}
