/// Where a pointer leads in a document: what is there, or where and why the way ends.
struct JSONPlace {
  /// How the walk along the pointer ended.
  enum Outcome: UInt8 {
    /// The pointer names a value.
    case found
    /// An object on the way has no member of that name.
    case noMember
    /// An array on the way has no element there yet, and it is the next one: `-`, or the array's length.
    case pastEnd
    /// An array on the way is shorter than the index before this one.
    case beyondEnd
    /// A token isn't an array index, but leads into an array.
    case notAnIndex
    /// The way leads into a scalar.
    case scalar
  }

  var outcome = Outcome.found

  // When found:

  /// The value.
  var value = 0..<0
  /// Where the member's name or the element begins; the value itself at the root.
  var entry = 0
  /// The commas before and after the entry, or -1 where there is none.
  var commaBefore = -1
  var commaAfter = -1
  /// Members of that name in the object.
  var matches = 1
  /// Whether it is an element of an array.
  var isElement = false

  // When an entry is missing (noMember or pastEnd):

  /// Where a new last entry belongs: after the last value, or after the opening bracket of an empty container.
  var insertion = 0
  /// Whether there are entries before the insertion.
  var needsComma = false
  /// The position of the missing token in the pointer.
  var token = 0
}

/// The walk from a document's root along a pointer. It looks at each byte of the document once and doesn't allocate.
///
/// Since the last of several members with the same name counts, a walk goes on to the end of an object after it has
/// found the member; meeting another one overwrites what was found. It recurses once for each token that is matched, so
/// no deeper than the document is nested.
struct JSONLocator {
  private let text: UnsafePointer<UInt8>
  private let end: Int
  private let pointer: JSONPointer
  private var place = JSONPlace()

  /// Where `pointer` leads in `document`.
  static func locate(_ pointer: JSONPointer, in document: JSONValue) -> JSONPlace {
    var locator = JSONLocator(text: document.text, end: document.end, pointer: pointer)
    _ = locator.visit(document.start, 0)
    return locator.place
  }

  private init(text: UnsafePointer<UInt8>, end: Int, pointer: JSONPointer) {
    self.text = text
    self.end = end
    self.pointer = pointer
  }

  /// Follows the rest of the pointer from `position` into the value at `start`.
  ///
  /// - Returns: the value's end.
  private mutating func visit(_ start: Int, _ position: Int) -> Int {
    if position < pointer.count {
      if text[start] == 0x7B { return visitObject(start, position) }
      if text[start] == 0x5B { return visitArray(start, position) }
    }
    let valueEnd = JSONText.skipValue(text, start, end)
    place = JSONPlace(outcome: position < pointer.count ? .scalar : .found, value: start..<valueEnd, entry: start)
    return valueEnd
  }

  private mutating func visitObject(_ start: Int, _ position: Int) -> Int {
    let token = pointer.token(at: position)
    var matches = 0
    var commaBefore = -1
    var lastEnd = start &+ 1
    var i = JSONText.skipSpace(text, start &+ 1, end)
    var hasMembers = false
    while text[i] != 0x7D {
      hasMembers = true
      let nameEnd = JSONText.skipString(text, i, end)
      let isNamed = token.names(JSONValue(text, i, nameEnd))
      let value = JSONText.skipSpace(text, JSONText.skipSpace(text, nameEnd, end) &+ 1, end)
      lastEnd = isNamed ? visit(value, token.end) : JSONText.skipValue(text, value, end)
      let after = JSONText.skipSpace(text, lastEnd, end)
      let hasNext = JSONText.goesOn(text, after, end, 0x7D)
      if isNamed {
        matches &+= 1
        if token.end == pointer.count { recordEntry(i, commaBefore, hasNext ? after : -1, matches) }
      }
      commaBefore = after
      i = hasNext ? JSONText.skipSpace(text, after &+ 1, end) : after
    }
    if matches == 0 {
      place = JSONPlace(outcome: .noMember, insertion: lastEnd, needsComma: hasMembers, token: position)
    }
    return i &+ 1
  }

  private mutating func visitArray(_ start: Int, _ position: Int) -> Int {
    let token = pointer.token(at: position)
    let index = token.isPastEnd ? -1 : token.index
    guard let index else {
      place = JSONPlace(outcome: .notAnIndex)
      return JSONText.skipContainer(text, start, end).end
    }
    var count = 0
    var commaBefore = -1
    var lastEnd = start &+ 1
    var i = JSONText.skipSpace(text, start &+ 1, end)
    while text[i] != 0x5D {
      lastEnd = count == index ? visit(i, token.end) : JSONText.skipValue(text, i, end)
      let after = JSONText.skipSpace(text, lastEnd, end)
      let hasNext = JSONText.goesOn(text, after, end, 0x5D)
      if count == index, token.end == pointer.count {
        recordEntry(i, commaBefore, hasNext ? after : -1, 1)
        place.isElement = true
      }
      commaBefore = after
      count &+= 1
      i = hasNext ? JSONText.skipSpace(text, after &+ 1, end) : after
    }
    if index < 0 || index == count {
      place = JSONPlace(outcome: .pastEnd, insertion: lastEnd, needsComma: count > 0, token: position)
    } else if index > count {
      place = JSONPlace(outcome: .beyondEnd)
    }
    return i &+ 1
  }

  private mutating func recordEntry(_ entry: Int, _ commaBefore: Int, _ commaAfter: Int, _ matches: Int) {
    place.entry = entry
    place.commaBefore = commaBefore
    place.commaAfter = commaAfter
    place.matches = matches
  }
}

extension JSONValue {
  /// The bytes of the value that a pointer names, by offset in the text, or nil. Nothing is allocated.
  package func range(at pointer: JSONPointer) -> Range<Int>? {
    let place = JSONLocator.locate(pointer, in: self)
    return place.outcome == .found ? place.value : nil
  }

  /// The value that a pointer names, or nil. Nothing is allocated.
  package func value(at pointer: JSONPointer) -> JSONValue? {
    guard let range = range(at: pointer) else { return nil }
    return JSONValue(text, range.lowerBound, range.upperBound)
  }
}
