import CXXHash

/// Equality of JSON values as the `test` operation of a JSON Patch defines it (RFC 6902 §4.6): numbers by exact decimal
/// value, strings by their characters, arrays in order, objects by their members in any order. Of members with the same
/// name the last one counts.
enum JSONEquality {
  /// Whether two values are equal; they recurse as deeply as they are nested, which validation has bounded.
  ///
  /// - Throws: `.limit(.work)` when the comparing costs too much.
  static func equal(_ a: JSONValue, _ b: JSONValue, _ work: inout JSONWork) throws(JSONEditError) -> Bool {
    guard a.kind == b.kind else { return false }
    try work.charge(min(a.count, b.count))
    if a.count == b.count, kvd_equal(a.text + a.start, b.text + b.start, a.count) != 0 { return true }
    switch a.kind {
    case .null: return true
    case .boolean: return a.boolean == b.boolean
    case .number: return JSONNumber(a) == JSONNumber(b)
    case .string: return JSONValue.compareStrings(a, b) == 0
    case .array: return try arraysAreEqual(a, b, &work)
    case .object: return try objectsAreEqual(a, b, &work)
    }
  }

  private static func arraysAreEqual(
    _ a: JSONValue, _ b: JSONValue, _ work: inout JSONWork
  ) throws(JSONEditError) -> Bool {
    try work.charge(a.count &+ b.count)
    var left = a.elements()
    var right = b.elements()
    while let x = left.next() {
      guard let y = right.next(), try equal(x, y, &work) else { return false }
    }
    return right.next() == nil
  }

  private static func objectsAreEqual(
    _ a: JSONValue, _ b: JSONValue, _ work: inout JSONWork
  ) throws(JSONEditError) -> Bool {
    let left = try JSONSortedMembers(a, &work)
    let right = try JSONSortedMembers(b, &work)
    guard left.members.count == right.members.count else { return false }
    for i in left.members.indices {
      guard JSONValue.compareStrings(left.members[i].name, right.members[i].name) == 0 else { return false }
    }
    for i in left.members.indices {
      guard try equal(left.members[i].value, right.members[i].value, &work) else { return false }
    }
    return true
  }
}

/// The members of an object sorted by name, without those that a later member of the same name replaces.
struct JSONSortedMembers {
  private(set) var members: [JSONMember] = []

  /// - Throws: `.limit(.work)` when the sorting costs too much.
  init(_ object: JSONValue, _ work: inout JSONWork) throws(JSONEditError) {
    var nameBytes = 0
    var walk = object.members()
    while let member = walk.next() {
      members.append(member)
      nameBytes &+= member.name.count
    }
    // Sorting n members reads each name about log n times; 16 stands for what a comparison costs beside the bytes.
    let n = members.count
    try work.charge(object.count &+ (nameBytes &+ 16 &* n) &* (Int.bitWidth &- n.leadingZeroBitCount))
    members.sort { a, b in
      let order = JSONValue.compareStrings(a.name, b.name)
      return order < 0 || (order == 0 && a.name.start < b.name.start)
    }
    var kept = 0
    for i in members.indices {
      let isReplaced = i + 1 < n && JSONValue.compareStrings(members[i].name, members[i + 1].name) == 0
      if isReplaced { continue }
      members[kept] = members[i]
      kept += 1
    }
    members.removeLast(n - kept)
  }

  /// The index of the member named like the string `name`, or nil.
  func index(of name: JSONValue) -> Int? {
    var low = 0
    var high = members.count
    while low < high {
      let middle = (low &+ high) &>> 1
      let order = JSONValue.compareStrings(members[middle].name, name)
      if order == 0 { return middle }
      if order < 0 { low = middle &+ 1 } else { high = middle }
    }
    return nil
  }
}
