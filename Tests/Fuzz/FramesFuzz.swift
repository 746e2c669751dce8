import Wire

/// Feeds libFuzzer's bytes to everything that reads frames from a network.
///
/// Its checksum keeps chance from ever making a frame, so the bytes become the payload of a sealed one as well. Beyond
/// not crashing it asserts that a frame's prefix is incomplete or refused alike, that whatever is vouched for lies
/// inside the frame, and that flipping one bit of a sealed frame is noticed. The first byte chooses the reader, the
/// second what is done to the bytes.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFrames(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
  guard size >= 2 else { return 0 }
  let bytes = UnsafeRawBufferPointer(start: data + 2, count: size - 2)
  switch data[0] % 4 {
  case 0: fuzzRaw(bytes, Int(data[1]))
  case 1: fuzzRequest(bytes, isLong: data[1] & 1 != 0, count: Int(data[1] >> 1))
  case 2: fuzzReply(bytes, isLong: data[1] & 1 != 0, count: Int(data[1] >> 1))
  default: fuzzGreeting(bytes)
  }
  return 0
}

/// Calls `body` with a copy of exactly these bytes, so that the sanitizer sees a step beyond them.
func withCopy(_ bytes: UnsafeRawBufferPointer, _ body: (UnsafeMutableRawPointer) -> Void) {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyMemory(from: bytes)
  if let base = copy.baseAddress { body(base) }
}

/// Calls `body` with a sealed frame that has this payload.
func withFrame(
  _ kind: FrameKind, _ payload: UnsafeRawBufferPointer, isLong: Bool, count: Int, _ body: (FrameView) -> Void
) {
  let length = FrameLayout.headCount + (isLong ? payload.count : payload.count & ~7)
  let frame = UnsafeMutableRawPointer.allocate(byteCount: length, alignment: 1)
  defer { frame.deallocate() }
  (frame + FrameLayout.headCount).copyMemory(
    from: payload.baseAddress!, byteCount: length - FrameLayout.headCount)
  FrameLayout.seal(frame, length: length, kind, isLong: isLong, count: count, id: 1, .none)
  precondition(FrameView.read(frame, length, limit: 1 << 20) == .whole && FrameView(frame).isIntact(.none))
  body(FrameView(frame))
}

func fuzzRaw(_ bytes: UnsafeRawBufferPointer, _ cut: Int) {
  withCopy(bytes) { base in
    let whole = FrameView.read(base, bytes.count, limit: 1024)
    withCopy(UnsafeRawBufferPointer(rebasing: bytes.prefix(cut))) { part in
      let read = FrameView.read(part, min(cut, bytes.count), limit: 1024)
      precondition(read == .incomplete || read == whole, "a prefix is read as something else")
    }
    guard whole == .whole else { return }
    let frame = FrameView(base)
    precondition(frame.length <= bytes.count && frame.payload.count == frame.length - FrameLayout.headCount)
    precondition(!frame.isIntact(.none), "a frame by chance: look at it")
  }
}

func fuzzRequest(_ bytes: UnsafeRawBufferPointer, isLong: Bool, count: Int) {
  guard !bytes.isEmpty else { return }
  withFrame(.request, bytes, isLong: isLong, count: count) { frame in
    guard frame.checkOperations() else { return }
    let end = frame.base + frame.length
    var at = frame.base + FrameLayout.headCount
    for _ in 0..<frame.count {
      let operation = OperationView(at)
      _ = operation.answer
      _ = operation.revision
      _ = operation.minimum
      let record = operation.record
      precondition(operation.idempotencyKey.isEmpty || operation.idempotencyKey.last != nil)
      precondition(record.base + record.valueStart <= end && record.key.count == record.keyCount)
      if !isLong { for byte in record.value { _ = byte } }
      for byte in record.map { _ = byte }
      for byte in record.key { _ = byte }
      if let literal = record.contentTypeLiteral { for byte in literal { precondition(byte >= 32 && byte < 127) } }
      at += FrameLayout.padded(operation.length)
    }
    precondition(isLong || at == end, "operations that don't fill their frame")
  }
}

func fuzzReply(_ bytes: UnsafeRawBufferPointer, isLong: Bool, count: Int) {
  guard !bytes.isEmpty else { return }
  withFrame(.reply, bytes, isLong: isLong, count: count) { frame in
    var cursor = ResultCursor(frame)
    while let result = cursor.next() {
      _ = (result.index, result.status, result.revision)
      if isLong {
        for byte in result.record.key { _ = byte }
        continue
      }
      for byte in result.body { _ = byte }
      if result.bodyKind == .record { _ = try? RecordView(checking: result.body) }
    }
  }
}

func fuzzGreeting(_ bytes: UnsafeRawBufferPointer) {
  guard !bytes.isEmpty else { return }
  withFrame(.hello, bytes, isLong: false, count: 0) { frame in
    if let greeting = try? Greeting(frame) {
      let written = UnsafeMutableRawPointer.allocate(byteCount: Greeting.frameCount, alignment: 8)
      defer { written.deallocate() }
      greeting.write(.hello, to: written)
      precondition((try? Greeting(FrameView(written))) == greeting, "a greeting isn't read as it was written")
    }
    if let close = CloseFrame.read(frame) { for byte in close.sentence { _ = byte } }
    _ = AckFrame.operations(frame)
  }
}
