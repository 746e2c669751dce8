import Wire

extension RequestEncoder.Template {
  /// An operation of a frame, whole.
  init(operation: FrameOperation, _ answer: AnswerLevel, prefix: String, value: [UInt8]) {
    let key = Self.key(prefix)
    let room = FrameLayout.headCount + RequestWriter.room(key: key.count, value: value.count)
    let frame = [UInt8](unsafeUninitializedCapacity: room) { memory, count in
      var writer = RequestWriter(memory.baseAddress!, capacity: room)
      let fits = key.withUnsafeBytes { key in
        value.withUnsafeBytes { writer.append(operation, answer, key: key, value: $0) }
      }
      precondition(fits, "the room of an operation is less than it takes")
      count = writer.seal(id: 1, .none)
    }
    self.init(Array(frame.dropFirst(FrameLayout.headCount)), digits: Self.digits(prefix))
  }

  /// The part of a put with a long value that precedes the value.
  init(longPut answer: AnswerLevel, prefix: String, value: [UInt8]) {
    let key = Self.key(prefix)
    let frame = [UInt8](unsafeUninitializedCapacity: RequestWriter.longCount(map: 0, key: key.count)) { memory, count in
      count = key.withUnsafeBytes { key in
        value.withUnsafeBytes {
          RequestWriter.long(
            memory.baseAddress!, answer, map: UnsafeRawBufferPointer(start: nil, count: 0), key: key, value: $0, id: 1,
            .none)
        }
      }
    }
    self.init(Array(frame.dropFirst(FrameLayout.headCount)), digits: Self.digits(prefix))
  }

  private static func key(_ prefix: String) -> [UInt8] {
    Array(prefix.utf8) + [UInt8](repeating: UInt8(ascii: "0"), count: RequestEncoder.keyDigits)
  }

  /// Where the digits of the key stand in an operation without conditions.
  private static func digits(_ prefix: String) -> Int {
    OperationLayout.headCount + RecordLayout.headerCount + prefix.utf8.count
  }
}
