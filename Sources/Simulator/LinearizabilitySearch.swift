/// Looks for an order of one key's operations that explains all answers.
///
/// The algorithm is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the improvements of
/// Lowe ("Testing for Linearizability", 2017): calls and returns in one linked list; an operation is tried when its
/// call stands before the first return that is left, and lifted out of the list with its return; what was tried once
/// from the same set of lifted operations and the same state isn't tried again.
///
/// An operation whose outcome is unknown has no return in the list: it may be tried at any time after its call, and
/// needn't be. So the search is over when no return is left.
///
/// The state is a register with a tag: a value or none, and the entity tag that its last write gave it. The tag of a
/// write that wasn't answered isn't known: it fits any, until a read shows it.
struct LinearizabilitySearch {
  enum Result {
    case found
    case impossible(String)
    case exhausted
  }

  /// Values and tags by their numbers; -1 for none, and a tag below that for one that nobody has seen yet.
  private struct State: Hashable {
    var value: Int32 = -1
    var tag: Int32 = -1
  }

  private struct Visited: Hashable {
    let lifted: [UInt64]
    let state: State
  }

  /// A place in the list of calls and returns.
  private struct Entry {
    let operation: Int
    let isCall: Bool
    var previous: Int
    var next: Int
  }

  private let operations: [History.Operation]
  private let maximumSteps: Int
  private var entries: [Entry] = []
  /// Of each operation, its entries; -1 for no return.
  private var calls: [Int] = []
  private var returns: [Int] = []
  private var returnsLeft = 0
  private var names: [String] = []
  private var numbers: [String: Int32] = [:]
  /// By a value's number and an operation's.
  private var results: [UInt64: Int32] = [:]
  /// Kind and outcome with numbers instead of strings.
  private var coded: [Coded] = []

  private struct Coded {
    var kind: History.Operation.Kind
    var value: Int32 = -1
    /// What was answered.
    var seen: Int32 = -1
    var tag: Int32 = -1
    var condition: Int32 = -1
  }

  init(_ all: [History.Operation], maximumSteps: Int) {
    // What was refused had no effect and saw nothing, nor did a read without an answer.
    operations = all.filter { $0.outcome != .refused && ($0.isWrite || $0.outcome != .unknown) }
    self.maximumSteps = maximumSteps
    for operation in operations { coded.append(code(operation)) }
    link()
  }

  private mutating func number(_ text: String) -> Int32 {
    if let number = numbers[text] { return number }
    let number = Int32(names.count)
    names.append(text)
    numbers[text] = number
    return number
  }

  private mutating func code(_ operation: History.Operation) -> Coded {
    var coded = Coded(kind: operation.kind)
    switch operation.kind {
    case .put(let value), .append(let value): coded.value = number(value)
    default: break
    }
    if case .done(let value, let tag) = operation.outcome {
      if let value { coded.seen = number(value) }
      if let tag { coded.tag = number(tag) }
    }
    switch operation.condition {
    case .matches(let tag), .differs(let tag): coded.condition = number(tag)
    default: break
    }
    return coded
  }

  /// Makes the list: index 0 is its head. At one time calls come before returns, so that such operations overlap.
  private mutating func link() {
    var events: [(time: UInt64, isReturn: Bool, operation: Int)] = []
    for (index, operation) in operations.enumerated() {
      events.append((operation.call, false, index))
      if operation.outcome != .unknown { events.append((operation.end, true, index)) }
    }
    events.sort { ($0.time, $0.isReturn ? 1 : 0, $0.operation) < ($1.time, $1.isReturn ? 1 : 0, $1.operation) }
    calls = [Int](repeating: -1, count: operations.count)
    returns = calls
    entries.append(Entry(operation: -1, isCall: false, previous: -1, next: events.isEmpty ? -1 : 1))
    for (index, event) in events.enumerated() {
      let place = index + 1
      entries.append(
        Entry(
          operation: event.operation, isCall: !event.isReturn, previous: place - 1,
          next: index + 1 < events.count ? place + 1 : -1))
      if event.isReturn { returns[event.operation] = place } else { calls[event.operation] = place }
    }
    returnsLeft = returns.count { $0 >= 0 }
  }

  // MARK: The search

  mutating func run() -> Result {
    var state = State()
    var lifted = [UInt64](repeating: 0, count: (operations.count + 63) / 64)
    var visited: Set<Visited> = []
    var stack: [(operation: Int, state: State)] = []
    var entry = entries[0].next
    var steps = 0
    var deepest = (count: -1, state: State(), stuck: -1, last: -1)
    while returnsLeft > 0 {
      steps += 1
      if steps > maximumSteps { return .exhausted }
      if entry >= 0, entries[entry].isCall {
        let operation = entries[entry].operation
        if let next = apply(operation, to: state) {
          lifted[operation / 64] |= 1 << UInt64(operation % 64)
          if visited.insert(Visited(lifted: lifted, state: next)).inserted {
            stack.append((operation, state))
            state = next
            lift(operation)
            entry = entries[0].next
            continue
          }
          lifted[operation / 64] &= ~(1 << UInt64(operation % 64))
        }
        entry = entries[entry].next
        continue
      }
      // A return whose operation has no place yet: what was tried last was wrong.
      if stack.count > deepest.count {
        deepest = (stack.count, state, entry < 0 ? -1 : entries[entry].operation, stack.last?.operation ?? -1)
      }
      guard let (operation, before) = stack.popLast() else {
        return .impossible(sentence(deepest.state, stuck: deepest.stuck, last: deepest.last))
      }
      state = before
      lifted[operation / 64] &= ~(1 << UInt64(operation % 64))
      unlift(operation)
      entry = entries[calls[operation]].next
    }
    return .found
  }

  private mutating func lift(_ operation: Int) {
    unlink(calls[operation])
    if returns[operation] >= 0 {
      unlink(returns[operation])
      returnsLeft -= 1
    }
  }

  /// Puts an operation back; in the opposite order of lifting, so that the neighbours are there.
  private mutating func unlift(_ operation: Int) {
    if returns[operation] >= 0 {
      relink(returns[operation])
      returnsLeft += 1
    }
    relink(calls[operation])
  }

  private mutating func unlink(_ place: Int) {
    let (previous, next) = (entries[place].previous, entries[place].next)
    entries[previous].next = next
    if next >= 0 { entries[next].previous = previous }
  }

  private mutating func relink(_ place: Int) {
    let (previous, next) = (entries[place].previous, entries[place].next)
    entries[previous].next = place
    if next >= 0 { entries[next].previous = place }
  }

  // MARK: The model

  /// The state after an operation; nil if it can't have happened in this state with this answer.
  private mutating func apply(_ index: Int, to state: State) -> State? {
    let outcome = operations[index].outcome
    if let holds = holds(operations[index].condition, coded[index].condition, state) {
      let failed = outcome == .conditionFailed || outcome == .notModified
      if holds == failed { return nil }
    }
    switch outcome {
    case .conditionFailed, .notModified: return state
    case .absent: return state.value < 0 ? state : nil
    default: break
    }
    var next = state
    // Nobody knows the tag of what has no answer, or one without a tag.
    next.tag = coded[index].tag >= 0 ? coded[index].tag : -2 - Int32(index)
    switch coded[index].kind {
    case .get:
      guard state.value >= 0, coded[index].seen < 0 || coded[index].seen == state.value else { return nil }
      guard coded[index].tag >= 0 else { return state }
      if state.tag >= 0, state.tag != coded[index].tag { return nil }
      return next
    case .put: next.value = coded[index].value
    case .delete:
      if state.value < 0 { return nil }
      next = State()
    case .increment(let delta):
      guard let sum = result(index, state.value, { $0.sum(state.value, delta) }) else { return nil }
      next.value = sum
      if coded[index].seen >= 0, coded[index].seen != sum { return nil }
    case .append:
      next.value =
        state.value < 0
        ? coded[index].value
        : result(index, state.value) { $0.number($0.names[Int(state.value)] + $0.names[Int($0.coded[index].value)]) }!
    }
    return next
  }

  /// What an operation makes of a value, worked out once: it is asked for again and again, and strings are slow.
  private mutating func result(_ index: Int, _ value: Int32, _ make: (inout Self) -> Int32?) -> Int32? {
    let key = UInt64(UInt32(bitPattern: value)) << 32 | UInt64(index)
    if let known = results[key] { return known }
    let made = make(&self)
    results[key] = made
    return made
  }

  private mutating func sum(_ value: Int32, _ delta: Int64) -> Int32? {
    guard value >= 0 else { return number("\(delta)") }
    guard let present = Int64(names[Int(value)]) else { return nil }
    let (sum, overflow) = present.addingReportingOverflow(delta)
    return overflow ? nil : number("\(sum)")
  }

  /// Whether a condition holds; nil if it may or may not, or there is none.
  private func holds(_ condition: History.Operation.Condition?, _ tag: Int32, _ state: State) -> Bool? {
    switch condition {
    case nil: return nil
    case .exists: return state.value >= 0
    case .absent: return state.value < 0
    case .matches: return state.value < 0 ? false : state.tag < 0 ? nil : state.tag == tag
    case .differs: return state.value < 0 ? true : state.tag < 0 ? nil : state.tag != tag
    }
  }

  // MARK: Words

  private func sentence(_ state: State, stuck: Int, last: Int) -> String {
    guard stuck >= 0 else { return "no order explains the answers" }
    let value = state.value < 0 ? "absent" : "\"\(names[Int(state.value)])\""
    var text = "\(History.words(operations[stuck])) fits nowhere; at best the key is \(value) then"
    if last >= 0 { text += ", after \(History.words(operations[last]))" }
    let stuckEnd = operations[stuck].end
    let near = operations.indices.filter {
      $0 != stuck && operations[$0].call <= stuckEnd
        && (operations[$0].outcome == .unknown || operations[$0].end >= operations[stuck].call)
    }
    for index in near.suffix(12) { text += "\n    beside it: \(History.words(operations[index]))" }
    return text
  }
}
