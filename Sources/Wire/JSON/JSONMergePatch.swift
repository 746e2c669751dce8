/// JSON Merge Patch (RFC 7396): one walk over target and patch that copies the target's bytes and changes only the
/// members that the patch names.
///
/// Kept bytes, digits and order stay as they are; a member that is removed takes one comma with it; new members go to
/// the end of their object in the patch's order; a value that the patch brings goes in as it is written there, apart
/// from the nulls inside it that RFC 7396 drops. Of members with the same name the last one counts, in target and
/// patch.
///
/// The patch's members are sorted once for each object, so merging n members into m costs (n + m) log n.
package struct JSONMergePatch {
  private var output: [UInt8]
  private let limit: Int
  private var work: JSONWork

  /// Appends `document` as changed by `patch`.
  ///
  /// - Parameters:
  ///   - patch: a JSON text.
  ///   - document: the text to change; nil where there is none yet, which merges into an empty object.
  ///   - output: gets the changed document appended, or stays as it was when this throws.
  /// - Throws: `.document`, `.request`, `.limit(.result)` or `.limit(.work)`.
  package static func apply(
    _ patch: UnsafeRawBufferPointer, to document: UnsafeRawBufferPointer?,
    limits: JSONLimits = JSONLimits(), into output: inout [UInt8]
  ) throws(JSONEditError) {
    let change = try JSONEdit.requestValue(patch, limits)
    guard let document else {
      var merge = JSONMergePatch(limit: limits.result, work: limits.work)
      try merge.appendMerged(nil, change)
      return output.append(contentsOf: merge.output)
    }
    let target = try JSONEdit.documentValue(document, limits)
    // A document that is too large already may be made smaller.
    var merge = JSONMergePatch(limit: max(limits.result, document.count), work: limits.work)
    try merge.append(target, 0, target.start)
    try merge.appendMerged(target, change)
    try merge.append(target, target.end, document.count)
    guard merge.output.count <= limits.result || merge.output.count < document.count else {
      throw JSONEditError(.limit(.result))
    }
    output.append(contentsOf: merge.output)
  }

  private init(limit: Int, work: Int) {
    output = []
    self.limit = limit
    self.work = JSONWork(work)
  }

  /// Appends the bytes of `value`'s text from `start` to `end`.
  private mutating func append(_ value: JSONValue, _ start: Int, _ end: Int) throws(JSONEditError) {
    guard output.count &+ end &- start <= limit else { throw JSONEditError(.limit(.result)) }
    output.append(contentsOf: UnsafeBufferPointer(start: value.text + start, count: end &- start))
  }

  private mutating func append(byte: UInt8) throws(JSONEditError) {
    guard output.count < limit else { throw JSONEditError(.limit(.result)) }
    output.append(byte)
  }

  /// Appends `MergePatch(target, patch)` of RFC 7396 §2. It recurses as deeply as the patch is nested.
  private mutating func appendMerged(_ target: JSONValue?, _ patch: JSONValue) throws(JSONEditError) {
    guard patch.kind == .object else { return try append(patch, patch.start, patch.end) }
    var changes = Changes(sorted: try JSONSortedMembers(patch, &work))
    var hasMembers = false
    if let target, target.kind == .object {
      // Two walks, in which each name is looked for by halving the changes.
      let count = changes.sorted.members.count
      try work.charge(2 &* target.count &* max(1, Int.bitWidth &- count.leadingZeroBitCount))
      changes.match(target)
      let rest = try appendKept(target, changes, &hasMembers)
      try appendNew(patch, changes, hasMembers)
      try append(target, rest, target.end)
    } else {
      try append(byte: 0x7B)
      try appendNew(patch, changes, hasMembers)
      try append(byte: 0x7D)
    }
  }

  /// Appends the target's opening brace and those of its members that stay, changed or not.
  ///
  /// - Returns: the end of the target's last value, from where its bytes are still to be appended.
  private mutating func appendKept(
    _ target: JSONValue, _ changes: Changes, _ hasMembers: inout Bool
  ) throws(JSONEditError) -> Int {
    var copied = target.start  // bytes of the target before this are done with
    var lastEnd = target.start &+ 1
    var beforeComma = 0  // bytes of output up to the comma after the last member that stays
    var walk = target.members()
    var lastStays = false
    while let member = walk.next() {
      let change = changes.index(of: member.name)
      let value = change.map { changes.sorted.members[$0].value }
      lastStays = value?.kind != .null
      if lastStays {
        if let change, let value, changes.lastMatch[change] == member.name.start {
          try append(target, copied, member.value.start)
          try appendMerged(member.value, value)
          copied = member.value.end
        }
        if member.comma >= 0 {
          try append(target, copied, member.comma)
          beforeComma = output.count
          copied = member.comma
        }
        hasMembers = true
      } else {
        try append(target, copied, member.name.start)
        copied = member.comma >= 0 ? member.comma &+ 1 : member.value.end
      }
      lastEnd = member.value.end
    }
    if lastStays || lastEnd == target.start &+ 1 {
      try append(target, copied, lastEnd)
    } else if hasMembers {
      output.removeLast(output.count &- beforeComma)
    }
    return lastEnd
  }

  /// Appends the patch's members that the target doesn't have, in the patch's order.
  private mutating func appendNew(
    _ patch: JSONValue, _ changes: Changes, _ hasMembers: Bool
  ) throws(JSONEditError) {
    var needsComma = hasMembers
    var walk = patch.members()
    while let member = walk.next() {
      guard member.value.kind != .null, let index = changes.index(of: member.name),
        changes.lastMatch[index] < 0, changes.sorted.members[index].name.start == member.name.start
      else { continue }
      if needsComma { try append(byte: 0x2C) }
      try append(patch, member.name.start, member.name.end)
      try append(byte: 0x3A)
      try appendMerged(nil, member.value)
      needsComma = true
    }
  }

  /// The members of one object of the patch, and which members of the target they change.
  private struct Changes {
    let sorted: JSONSortedMembers
    /// For each change where the last member of its name begins in the target, or -1.
    private(set) var lastMatch: [Int]

    init(sorted: JSONSortedMembers) {
      self.sorted = sorted
      lastMatch = Array(repeating: -1, count: sorted.members.count)
    }

    mutating func match(_ target: JSONValue) {
      var walk = target.members()
      while let member = walk.next() {
        if let index = sorted.index(of: member.name) { lastMatch[index] = member.name.start }
      }
    }

    func index(of name: JSONValue) -> Int? { sorted.index(of: name) }
  }
}
