import Wire

// What the core asks of keys and records beyond the store's own words.
extension KeyRef {
  /// The partition that holds the key.
  @inline(__always) var partition: PartitionID { PartitionID(hash: hash) }
}

extension RecordView {
  /// The content type as a writer takes it; its literal points into the record.
  @inline(__always) var contentType: RecordContentType {
    let code = contentTypeCode
    if code != RecordLayout.literalContentType { return RecordContentType(code: code) }
    return RecordContentType(literal: contentTypeLiteral.unsafelyUnwrapped)
  }
}

extension StagedValue {
  /// The hash of the value so far.
  var valueHash: UInt64 { stream.digest() }
}

extension Store {
  /// Pins the segment that holds this part of a record's value.
  mutating func pin(_ value: UnsafeRawBufferPointer) -> UInt32 {
    let start = Int(bitPattern: value.baseAddress.unsafelyUnwrapped)
    return pin(RecordView(UnsafeRawPointer(bitPattern: start & ~7).unsafelyUnwrapped))
  }
}
