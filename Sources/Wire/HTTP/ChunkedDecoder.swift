/// An incremental decoder of chunked bodies (RFC 9112, section 7.1): trivial, and strict, since a body that two parties
/// measure differently is how requests are smuggled.
///
/// Feed it what has been received, drop what it `consumed`, and call it again until it is `done` or `failed`; a call
/// may end inside a size, a line end or the data. Extensions and trailers are checked, counted against
/// `maximumOverhead`, and dropped.
@frozen public struct ChunkedDecoder: Sendable {
  /// The most bytes of extensions and trailers of one body together (431 beyond): nobody needs any.
  public static var maximumOverhead: Int { 16 << 10 }
  /// The most data one chunk may announce (413 beyond); the limit on a whole body is its receiver's.
  public static var maximumChunk: Int { 1 << 48 }

  /// What one call found.
  @frozen public struct Step: Sendable {
    /// Where the decoder stands.
    @frozen public enum State: Equatable, Sendable {
      /// Everything was consumed and more is needed.
      case needMore
      /// Data: `dataCount` bytes at `dataOffset`, the last ones consumed. Call again with the bytes after them.
      case data
      /// The body has ended; the next request starts after what was consumed.
      case done
      case failed(HTTPViolation)
    }
    /// Where the body stands after this step.
    public var state: State
    /// Bytes read by this call, data included.
    public var consumed: Int
    public var dataOffset: Int
    public var dataCount: Int
  }

  @usableFromInline enum Phase: UInt8, Sendable {
    case firstSizeDigit, sizeDigits, sizeBlank, `extension`, sizeLineFeed
    case data, dataCarriageReturn, dataLineFeed
    case trailerStart, trailerName, trailerValue, trailerLineFeed, lastLineFeed
    case done, failed
  }

  var phase = Phase.firstSizeDigit
  var digits: UInt8 = 0
  var violation = HTTPViolation.badChunkSize
  var overhead: UInt32 = 0
  /// Bytes of the current chunk that are still to come, once its size is known: a hint for making room.
  public private(set) var remaining = 0

  public init() {}

  /// Reads on in `bytes`, up to the end of the next piece of data.
  package mutating func next(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Step {
    var i = 0
    while i < count && phase != .done && phase != .failed {
      if phase == .data {
        let taken = min(remaining, count &- i)
        remaining &-= taken
        if remaining == 0 { phase = .dataCarriageReturn }
        return Step(state: .data, consumed: i &+ taken, dataOffset: i, dataCount: taken)
      }
      if phase.rawValue <= Phase.sizeLineFeed.rawValue { size(bytes[i]) } else { ending(bytes[i]) }
      i &+= 1
    }
    let state: Step.State = phase == .done ? .done : phase == .failed ? .failed(violation) : .needMore
    return Step(state: state, consumed: i, dataOffset: i, dataCount: 0)
  }

  private mutating func fail(_ violation: HTTPViolation) {
    self.violation = violation
    phase = .failed
  }

  /// One byte of the line before a chunk's data.
  private mutating func size(_ byte: UInt8) {
    switch phase {
    case .firstSizeDigit:
      guard let digit = Text.hexDigit(byte) else { return fail(.badChunkSize) }
      digits = 1
      remaining = digit
      phase = .sizeDigits
    case .sizeDigits:
      if let digit = Text.hexDigit(byte) {
        guard digits < 16 else { return fail(.badChunkSize) }
        digits += 1
        remaining = remaining &* 16 &+ digit
        if remaining > ChunkedDecoder.maximumChunk { fail(.chunkTooLong) }
        return
      }
      afterSize(byte)
    case .sizeBlank:
      // White space is allowed only in front of an extension's semicolon.
      guard countOverhead() else { return }
      if byte == UInt8(ascii: ";") {
        phase = .extension
      } else if byte != UInt8(ascii: " ") && byte != UInt8(ascii: "\t") {
        fail(.badChunkExtension)
      }
    case .extension:
      value(byte, lineFeed: .sizeLineFeed, .badChunkExtension)
    default:  // .sizeLineFeed
      guard byte == UInt8(ascii: "\n") else { return fail(.bareCarriageReturn) }
      phase = remaining == 0 ? .trailerStart : .data
    }
  }

  private mutating func afterSize(_ byte: UInt8) {
    switch byte {
    case UInt8(ascii: "\r"): phase = .sizeLineFeed
    case UInt8(ascii: ";"): phase = .extension
    case UInt8(ascii: " "), UInt8(ascii: "\t"): phase = .sizeBlank
    case UInt8(ascii: "\n"): fail(.bareLineFeed)
    default: fail(.badChunkSize)
    }
  }

  /// One byte of the line end after a chunk's data, or of the trailers.
  private mutating func ending(_ byte: UInt8) {
    switch phase {
    case .dataCarriageReturn:
      guard byte == UInt8(ascii: "\r") else { return fail(.missingChunkEnd) }
      phase = .dataLineFeed
    case .dataLineFeed:
      guard byte == UInt8(ascii: "\n") else { return fail(.missingChunkEnd) }
      phase = .firstSizeDigit
    case .trailerStart:
      trailerStart(byte)
    case .trailerName:
      guard countOverhead() else { return }
      if byte == UInt8(ascii: ":") {
        phase = .trailerValue
      } else if !Text.isToken(byte) {
        fail(.badTrailer)
      }
    case .trailerValue:
      value(byte, lineFeed: .trailerLineFeed, .badTrailer)
    case .trailerLineFeed:
      guard byte == UInt8(ascii: "\n") else { return fail(.bareCarriageReturn) }
      phase = .trailerStart
    default:  // .lastLineFeed
      guard byte == UInt8(ascii: "\n") else { return fail(.bareCarriageReturn) }
      phase = .done
    }
  }

  private mutating func trailerStart(_ byte: UInt8) {
    if byte == UInt8(ascii: "\r") {
      phase = .lastLineFeed
    } else if !Text.isToken(byte) {
      fail(byte == UInt8(ascii: "\n") ? .bareLineFeed : .badTrailer)
    } else if countOverhead() {
      phase = .trailerName
    }
  }

  /// One byte of an extension or of a trailer's value, up to the CR.
  private mutating func value(_ byte: UInt8, lineFeed: Phase, _ violation: HTTPViolation) {
    if byte == UInt8(ascii: "\r") {
      phase = lineFeed
    } else if countOverhead() && ChunkedDecoder.isControl(byte) {
      fail(byte == UInt8(ascii: "\n") ? .bareLineFeed : violation)
    }
  }

  private mutating func countOverhead() -> Bool {
    overhead += 1
    guard overhead <= ChunkedDecoder.maximumOverhead else {
      fail(.chunkOverheadTooLarge)
      return false
    }
    return true
  }

  private static func isControl(_ byte: UInt8) -> Bool { byte < 0x20 && byte != UInt8(ascii: "\t") || byte == 0x7F }
}
