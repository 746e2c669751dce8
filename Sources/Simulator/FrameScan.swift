import Wire

/// Follows the frames in one direction of a connection between nodes, for the operations in them that one node sends on
/// to the other.
struct FrameScan {
  /// The beginning of a frame whose end hasn't come.
  private var start: [UInt8] = []
  /// Bytes of a long value that are still to come.
  private var valueLeft = 0

  /// Takes the next bytes that are sent.
  mutating func take(_ bytes: [UInt8], _ visit: (OperationView) -> Void) {
    var bytes = bytes
    if !start.isEmpty {
      bytes = start + bytes
      start = []
    }
    let used = bytes.withUnsafeBytes { scan($0, visit) }
    if used < bytes.count { start = Array(bytes[used...]) }
  }

  /// Walks over whole frames; returns where the first one begins that isn't.
  private mutating func scan(_ bytes: UnsafeRawBufferPointer, _ visit: (OperationView) -> Void) -> Int {
    var at = 0
    while at < bytes.count {
      let passed = min(valueLeft, bytes.count - at)
      at += passed
      valueLeft -= passed
      guard at < bytes.count else { break }
      let base = bytes.baseAddress! + at
      switch FrameView.read(base, bytes.count - at, limit: FrameLayout.maximumCount) {
      case .incomplete: return at
      // Nodes send no such thing, but for a planted bug: there is nothing to be found in it.
      case .refused: return bytes.count
      case .whole: break
      }
      let frame = FrameView(base)
      if frame.isLong {
        valueLeft = FrameScan.valueCount(frame)
      } else if frame.kind == .request, frame.isForwarded {
        var operation = base + FrameLayout.headCount
        for _ in 0..<frame.count {
          let view = OperationView(operation)
          visit(view)
          operation += FrameLayout.padded(view.length)
        }
      }
      at += frame.length
    }
    return at
  }

  /// Bytes of the value that follows a frame: what its only record lacks.
  private static func valueCount(_ frame: FrameView) -> Int {
    let payload = frame.base + FrameLayout.headCount
    let record =
      switch frame.kind {
      case .request: OperationView(payload).record
      case .reply: ResultView(payload).record
      default: RecordView(payload + SectionLayout.appendCount)
      }
    return record.length - (frame.base + frame.length - record.base)
  }
}
