/// Why bytes aren't one JSON value: where, and a sentence for the client.
package struct JSONSyntaxError: Error, Equatable, Sendable {
  /// Bytes before the place where the text stops being JSON, from 0 to the text's length.
  package let offset: Int
  /// What is wrong there.
  package let reason: Reason

  @inline(never) init(_ offset: Int, _ reason: Reason) {
    self.offset = offset
    self.reason = reason
  }

  /// Each way in which a text fails the grammar of RFC 8259, or our bound on nesting.
  package enum Reason: UInt8, Sendable, CaseIterable {
    case empty, byteOrderMark, truncated, expectedValue, expectedName, expectedColon, expectedCommaOrBrace
    case expectedCommaOrBracket, trailingBytes, tooDeep, controlInString, badEscape, badUTF8, badNumber, badLiteral
    case loneSurrogate

    /// One English sentence without the offset.
    package var sentence: String {
      switch self {
      case .empty: "There is no JSON value in an empty text."
      case .byteOrderMark: "A JSON text must not begin with a byte order mark."
      case .truncated: "The JSON text ends before its value does."
      case .expectedValue: "A JSON value is expected here."
      case .expectedName: "A member name in double quotes is expected here."
      case .expectedColon: "A colon is expected after a member name."
      case .expectedCommaOrBrace: "A comma or a closing brace is expected after a member."
      case .expectedCommaOrBracket: "A comma or a closing bracket is expected after an array element."
      case .trailingBytes: "There are more bytes after the JSON value."
      case .tooDeep: "Arrays and objects are nested too deeply."
      case .controlInString: "A control character in a string must be written as an escape."
      case .badEscape: "This is not an escape that JSON knows."
      case .badUTF8: "These bytes are not UTF-8."
      case .badNumber: "This is not a number as JSON writes them."
      case .badLiteral: "A JSON value is expected here; the literals are true, false and null."
      case .loneSurrogate: "This escape is half of a surrogate pair, so the string is not Unicode."
      }
    }
  }
}

/// Why an edit of a JSON value was refused. The document is then unchanged, whatever part of the edit came before.
package struct JSONEditError: Error, Equatable, Sendable {
  /// What went wrong.
  package let cause: Cause
  /// The index of the operation that failed, counted from 0, in a JSON Patch of well-formed operations or not.
  package let operation: Int?

  init(_ cause: Cause, operation: Int? = nil) {
    self.cause = cause
    self.operation = operation
  }

  /// What went wrong, grouped by whose fault it is: the group decides the HTTP status.
  package enum Cause: Equatable, Sendable {
    /// The stored value isn't JSON, so it can't be edited as JSON.
    case document(JSONSyntaxError)
    /// The new value or the patch isn't JSON.
    case request(JSONSyntaxError)
    /// The pointer or the patch is JSON, but not of the form that its RFC asks for.
    case malformed(Malformed)
    /// The pointer names nothing in the document.
    case missing
    /// The document isn't of the shape that the edit needs.
    case conflict(Conflict)
    /// A `test` operation of a JSON Patch found another value.
    case testFailed
    /// A bound of `JSONLimits` was reached.
    case limit(Limit)
  }

  /// Requests that no document could satisfy (RFC 5789 §2.2: malformed patch document).
  package enum Malformed: UInt8, Sendable {
    case pointer, notAnArray, notAnObject, duplicateMember, missingOperation, unknownOperation, missingPath, missingFrom
    case missingValue, moveIntoItself
  }

  /// Requests that another document could satisfy (RFC 5789 §2.2: conflicting state).
  package enum Conflict: UInt8, Sendable {
    case scalar, notAnIndex, beyondEnd, wholeDocument
  }

  /// The bounds of `JSONLimits`.
  package enum Limit: UInt8, Sendable {
    case depth, result, operations, work
  }

  /// One English sentence that says what to do or what was found, without the operation's index.
  package var sentence: String {
    switch cause {
    case .document(let error): "The stored value is not JSON, at byte \(error.offset): \(error.reason.sentence)"
    case .request(let error): "The request is not JSON, at byte \(error.offset): \(error.reason.sentence)"
    case .malformed(let form): form.sentence
    case .missing: "The pointer names nothing in the document."
    case .conflict(let conflict): conflict.sentence
    case .testFailed: "The document holds another value than the one tested for."
    case .limit(let limit): limit.sentence
    }
  }
}

extension JSONEditError.Malformed {
  /// One English sentence.
  package var sentence: String {
    switch self {
    case .pointer: "A JSON Pointer is empty or begins with a slash, is UTF-8, and has ~ only as ~0 and ~1."
    case .notAnArray: "A JSON Patch is an array of operations."
    case .notAnObject: "An operation of a JSON Patch is an object."
    case .duplicateMember: "An operation of a JSON Patch has each of its members once."
    case .missingOperation: "An operation of a JSON Patch needs the string member op."
    case .unknownOperation: "The operations of a JSON Patch are add, remove, replace, move, copy and test."
    case .missingPath: "An operation of a JSON Patch needs the string member path."
    case .missingFrom: "The operations move and copy need the string member from."
    case .missingValue: "The operations add, replace and test need the member value."
    case .moveIntoItself: "A value can't be moved into itself."
    }
  }
}

extension JSONEditError.Conflict {
  /// One English sentence.
  package var sentence: String {
    switch self {
    case .scalar: "The pointer leads into a value that is neither an object nor an array."
    case .notAnIndex: "An array's elements are named 0, 1, 2, … without leading zeros, or - for the one past the end."
    case .beyondEnd: "The array is shorter: an element can be added at its end, not beyond."
    case .wholeDocument: "The whole document can't be removed by an edit; delete its key."
    }
  }
}

extension JSONEditError.Limit {
  /// One English sentence.
  package var sentence: String {
    switch self {
    case .depth: "The edited document would be nested too deeply."
    case .result: "The edited document would be too large."
    case .operations: "There are too many operations in the JSON Patch."
    case .work: "The edit costs too much work; make it in several smaller ones."
    }
  }
}

/// The bounds of one edit. With their defaults the worst edit of a document of 1 MiB that could be found takes about
/// twenty-five milliseconds; a plain one takes one or two.
package struct JSONLimits: Equatable, Sendable {
  /// Arrays and objects inside each other, from 1 to `JSONScanner.maximumDepth`.
  package var depth = JSONScanner.maximumDepth
  /// Bytes of the edited document, and of each document between two operations of a patch.
  package var result = 1 << 20
  /// Operations of one JSON Patch.
  package var operations = 10_000
  /// Bytes read, compared and moved by all steps of one edit; guards against quadratic requests.
  package var work = 16 << 20

  package init() {}
}

/// What is left of `JSONLimits.work`.
struct JSONWork {
  private var left: Int

  init(_ limit: Int) { left = limit }

  mutating func charge(_ bytes: Int) throws(JSONEditError) {
    left -= bytes
    if left < 0 { throw JSONEditError(.limit(.work)) }
  }
}
