import Wire

/// Feeds libFuzzer's bytes to every decoder that reads HTTP from a network.
///
/// Beyond not crashing it asserts what the parser promises: a prefix is incomplete or has the whole's result, slices
/// lie inside the head, and a chunked body decodes alike however it is cut. The first byte chooses the decoder, the
/// second the place of a cut.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHTTP(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
  guard size >= 2 else { return 0 }
  // A copy of the exact size, so that the sanitizer sees a step beyond it.
  let count = size - 2
  let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: max(count, 1))
  defer { bytes.deallocate() }
  for i in 0..<count { bytes[i] = data[i + 2] }
  let cut = count * Int(data[1]) / 256
  switch data[0] % 4 {
  case 0: fuzzHead(bytes, count, cut)
  case 1: fuzzChunks(bytes, count, cut)
  case 2: fuzzText(bytes, count)
  default: fuzzQuery(bytes, count)
  }
  return 0
}

func fuzzHead(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int, _ cut: Int) {
  let limit = 512
  var head = RequestHead()
  let whole = RequestParser.parse(bytes, count, limit: limit, into: &head)
  if whole == .complete {
    let end = Int(head.headCount)
    precondition(end <= min(count, limit) && head.path.count > 0)
    for slice in [
      head.path, head.query, head.contentType, head.ifMatch, head.ifNoneMatch, head.idempotencyKey, head.accept,
      head.authorization, head.traceparent,
    ] { precondition(Int(slice.offset) + Int(slice.count) <= end, "a slice beyond the head") }
  }
  var cutHead = RequestHead()
  let prefix = UnsafeMutablePointer<UInt8>.allocate(capacity: max(cut, 1))
  defer { prefix.deallocate() }
  for i in 0..<cut { prefix[i] = bytes[i] }
  let part = RequestParser.parse(prefix, cut, limit: limit, into: &cutHead)
  precondition(part == .incomplete || part == whole, "a prefix has another result: \(part), \(whole)")
  if part == .complete { precondition(cutHead.headCount == head.headCount && cutHead.path == head.path) }
}

/// The hash and end of a chunked body that arrives in two pieces.
func decodeChunks(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int, _ cut: Int) -> (
  Int, Int, ChunkedDecoder.Step.State
) {
  var decoder = ChunkedDecoder()
  var at = 0
  var hash = 0
  var state = ChunkedDecoder.Step.State.needMore
  for end in [cut, count] {
    while at < end {
      let step = decoder.next(bytes + at, end - at)
      precondition(step.consumed <= end - at && step.dataOffset + step.dataCount <= step.consumed)
      for i in 0..<step.dataCount { hash = hash &* 31 &+ Int(bytes[at + step.dataOffset + i]) &+ 1 }
      at += step.consumed
      state = step.state
      switch state {
      case .needMore: precondition(at == end, "more is needed, but not all was read")
      case .data: state = .needMore
      case .done, .failed: return (hash, at, state)
      }
    }
  }
  return (hash, at, state)
}

func fuzzChunks(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int, _ cut: Int) {
  let whole = decodeChunks(bytes, count, count)
  let parts = decodeChunks(bytes, count, cut)
  precondition(whole.0 == parts.0 && whole.1 == parts.1 && whole.2 == parts.2, "a cut changes a chunked body")
}

func fuzzText(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int) {
  let room = UnsafeMutablePointer<UInt8>.allocate(capacity: maximumJSONString(count))
  defer { room.deallocate() }
  let json = writeJSONString(UnsafeRawBufferPointer(start: bytes, count: count), to: room)
  precondition(json <= maximumJSONString(count) && Text.isUTF8(room, json), "a JSON string isn't UTF-8")
  _ = Text.isUTF8(bytes, count)
  _ = Text.parseDecimal(bytes, count)
  _ = Text.parseSigned(bytes, count)
  _ = Text.parseDuration(bytes, count)
  _ = Text.parseSize(bytes, count)
  let current = Revision(partition: PartitionID(17), epoch: Epoch(1), offset: Offset(42))
  _ = EntityTagCondition.matches(bytes, count, current: current, weak: false)
  _ = ContentType.code(bytes, count)
  _ = ContentType.isJSON(bytes, count)
  if let revision = Text.parseRevision(bytes, count) {
    let printed = UnsafeMutablePointer<UInt8>.allocate(capacity: Text.maximumRevision)
    defer { printed.deallocate() }
    precondition(Text.writeRevision(revision, to: printed) == count, "a revision isn't printed as it was read")
    for i in 0..<count { precondition(printed[i] == bytes[i], "a revision isn't printed as it was read") }
  }
}

func fuzzQuery(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int) {
  let buffer = UnsafeMutablePointer<UInt8>.allocate(capacity: max(count, 1))
  defer { buffer.deallocate() }
  let decoded = Text.decodePercent(bytes, count, into: buffer)
  precondition(decoded <= count)
  var iterator = QueryIterator(Slice(offset: 0, count: UInt32(count)))
  while case .pair(let pair) = iterator.next(bytes, into: buffer) {
    precondition(Int(pair.value.offset) + Int(pair.value.count) <= count, "a pair beyond its buffer")
  }
}
