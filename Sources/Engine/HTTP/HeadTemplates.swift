import Wire

/// What follows the path in the head of a plain GET or PUT, byte for byte, and what it means.
///
/// Clients repeat themselves: the heads of a connection's requests usually differ in the path alone. What the parser
/// makes of a head is a function of its bytes, so where the bytes behind the path are those of a head parsed before,
/// with the same method and a path without marks, the result is the same and need not be found again.
struct HeadTemplate {
  /// Bytes from the space behind the path to the end of the head; 0 for no template.
  var count: Int
  /// Bytes of the body that follows.
  var bodyCount: Int
  var isPut: Bool
  /// The body's content type, which has a code or is absent.
  var contentType: UInt8
}

/// The templates of one core: a table of fixed size, in which a head's bytes choose the place.
///
/// A connection remembers where its last GET and PUT were; it may meet another connection's there, which then doesn't
/// fit its heads, or does.
struct HeadTemplates: ~Copyable {
  /// Places in the table, and bytes of each, the template itself included: more than most clients' heads have.
  static var capacity: Int { 64 }
  static var stride: Int { 512 }
  static var maximumTail: Int { stride - MemoryLayout<HeadTemplate>.stride }
  /// The fewest bytes of a tail: version and Host.
  static var minimumTail: Int { 16 }

  private let base: UnsafeMutableRawPointer

  init() {
    base = .allocate(byteCount: Self.capacity * Self.stride, alignment: 64)
    for place in 0..<Self.capacity {
      (base + place * Self.stride).initializeMemory(
        as: HeadTemplate.self, to: HeadTemplate(count: 0, bodyCount: 0, isPut: false, contentType: 0))
    }
  }

  deinit { base.deallocate() }

  /// The template at a place, which may be an empty one.
  @inline(__always)
  func template(_ place: UInt8) -> UnsafeMutablePointer<HeadTemplate> {
    (base + Int(place) &* Self.stride).assumingMemoryBound(to: HeadTemplate.self)
  }

  /// Keeps a head's tail and answers its place.
  func keep(_ template: HeadTemplate, _ tail: UnsafePointer<UInt8>) -> UInt8 {
    let hash = keyHash(tail, count: template.count, mapCount: template.isPut ? 1 : 0)
    let place = UInt8(truncatingIfNeeded: hash % UInt64(Self.capacity))
    let kept = self.template(place)
    kept.pointee = template
    UnsafeMutableRawPointer(mutating: kept.tail).copyMemory(from: tail, byteCount: template.count)
    return place
  }
}

extension UnsafeMutablePointer where Pointee == HeadTemplate {
  /// The tail's bytes.
  @inline(__always) var tail: UnsafePointer<UInt8> {
    UnsafePointer(UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: UInt8.self))
  }
}

extension RequestHead {
  /// Whether a head is such that a template can stand for it: a GET or PUT that asks for nothing unusual.
  var isPlain: Bool {
    (method == .put || (method == .get && contentLength == 0)) && http11 && keepAlive && !chunked && !expectContinue
      && !hasQuery && !pathHasEscapes && !RequestHead.isPresent(ifMatch) && !RequestHead.isPresent(ifNoneMatch)
      && !RequestHead.isPresent(idempotencyKey)
  }
}
