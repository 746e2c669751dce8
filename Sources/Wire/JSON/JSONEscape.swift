/// The most bytes that one byte of a string can become: a control byte becomes `\u00XX`.
package let jsonMaximalExpansion = 6

/// The most bytes `writeJSONString` writes for `count` bytes.
package func maximumJSONString(_ count: Int) -> Int { jsonMaximalExpansion * count + 2 }

/// Appends `bytes` as a JSON string with its quotes.
///
/// Quotes, backslashes and control bytes are escaped as RFC 8259 §7 demands, everything else stays as it is. Bytes that
/// aren't UTF-8 become U+FFFD, one for each maximal subpart (Unicode 16, §3.9), so the output is always valid.
package func appendJSONString(_ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
  output.append(0x22)
  var i = 0
  if let text = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) {
    while i < bytes.count {
      let plain = verbatimEnd(text, i, bytes.count)
      output.append(contentsOf: UnsafeBufferPointer(start: text + i, count: plain - i))
      i = plain
      guard i < bytes.count else { break }
      withUnsafeTemporaryAllocation(of: UInt8.self, capacity: jsonMaximalExpansion) { buffer in
        // A temporary allocation of six bytes has a first one.
        let piece = buffer.baseAddress!
        let written = escapeJSON(text, &i, bytes.count, to: piece)
        output.append(contentsOf: UnsafeBufferPointer(start: piece, count: written))
      }
    }
  }
  output.append(0x22)
}

/// Writes `bytes` as a JSON string with its quotes, as `appendJSONString` does.
///
/// - Parameter output: room for `maximumJSONString(bytes.count)` bytes.
/// - Returns: the bytes written.
package func writeJSONString(_ bytes: UnsafeRawBufferPointer, to output: UnsafeMutablePointer<UInt8>) -> Int {
  output[0] = 0x22
  var written = 1
  var i = 0
  if let text = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) {
    while i < bytes.count {
      let plain = verbatimEnd(text, i, bytes.count)
      (output + written).update(from: text + i, count: plain &- i)
      written &+= plain &- i
      i = plain
      if i < bytes.count { written &+= escapeJSON(text, &i, bytes.count, to: output + written) }
    }
  }
  output[written] = 0x22
  return written &+ 1
}

/// The offset of the first byte from `start` that can't stand in a JSON string as it is, or `end`.
private func verbatimEnd(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Int {
  var i = start
  while true {
    i = JSONText.plainEnd(text, i, end)
    guard i < end, text[i] >= 0x80 else { return i }
    let length = Text.utf8Sequence(text + i, end &- i)
    guard length > 0 else { return i }
    i &+= length
  }
}

/// Writes what the byte or ill-formed sequence at `i` becomes inside a JSON string, and moves `i` behind it.
///
/// - Returns: the bytes written, at most `jsonMaximalExpansion` for each byte that `i` moved.
private func escapeJSON(
  _ text: UnsafePointer<UInt8>, _ i: inout Int, _ end: Int, to output: UnsafeMutablePointer<UInt8>
) -> Int {
  let byte = text[i]
  if byte >= 0x80 {
    i &-= Text.utf8Sequence(text + i, end &- i)  // ill-formed, so minus its length
    output[0] = 0xEF
    output[1] = 0xBF
    output[2] = 0xBD
    return 3
  }
  i &+= 1
  output[0] = 0x5C
  output[1] = shortEscape(byte)
  if output[1] != 0x75 { return 2 }
  output[2] = 0x30
  output[3] = 0x30
  output[4] = 0x30 | byte &>> 4
  let low = byte & 0x0F
  output[5] = low < 10 ? 0x30 | low : 0x61 &- 10 &+ low
  return 6
}

/// The letter after the backslash in the escape of `byte`: one of its own where RFC 8259 §7 has one, else `u`.
private func shortEscape(_ byte: UInt8) -> UInt8 {
  switch byte {
  case 0x22, 0x5C: byte
  case 0x08: 0x62
  case 0x09: 0x74
  case 0x0A: 0x6E
  case 0x0C: 0x66
  case 0x0D: 0x72
  default: 0x75
  }
}

/// Appends an integer as a JSON number.
package func appendJSONInteger(_ value: Int64, to output: inout [UInt8]) {
  if value < 0 { output.append(0x2D) }
  appendJSONInteger(value.magnitude, to: &output)
}

/// Appends an integer as a JSON number.
package func appendJSONInteger(_ value: UInt64, to output: inout [UInt8]) {
  withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Text.maximumDecimal) { digits in
    // A temporary allocation that isn't empty has a first byte.
    let count = Text.writeDecimal(value, to: digits.baseAddress!)
    output.append(contentsOf: digits[..<count])
  }
}

/// Appends a piece of JSON as it stands.
package func appendJSON(_ piece: StaticString, to output: inout [UInt8]) {
  output.append(contentsOf: UnsafeBufferPointer(start: piece.utf8Start, count: piece.utf8CodeUnitCount))
}
