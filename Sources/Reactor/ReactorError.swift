import Glibc

/// What the kernel refused, with a sentence for the person who started the process.
///
/// Only the start of a process throws these; once a loop runs, failures are `Event`s.
package struct ReactorError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The kinds that a caller may want to tell apart.
  package enum Kind: Equatable, Sendable {
    /// The text isn't `host:port`.
    case badAddress
    /// The name has no address.
    case unknownHost
    /// Another socket listens there (EADDRINUSE).
    case addressInUse
    /// The address isn't one of this machine's (EADDRNOTAVAIL).
    case addressNotAvailable
    /// The right to do this is missing (EACCES, EPERM).
    case notPermitted
    /// Memory, descriptors or address space ran out.
    case outOfResources
    /// io_uring was asked for by name and isn't available.
    case ioUringUnavailable
    /// Anything else; the sentence has the kernel's word for it.
    case system
  }

  /// What a caller can act on.
  package let kind: Kind
  /// What happened and what can be done about it, without a final newline.
  package let sentence: String
  /// The errno behind it, 0 if there is none.
  package let errno: Int32

  package init(_ kind: Kind, _ sentence: String, errno: Int32 = 0) {
    self.kind = kind
    self.sentence = sentence
    self.errno = errno
  }

  package var description: String { sentence }

  /// A failed call without a better sentence: "what: kernel's words".
  static func system(_ what: String, _ code: Int32) -> ReactorError {
    let kind: Kind =
      switch code {
      case EACCES, EPERM: .notPermitted
      case ENOMEM, EMFILE, ENFILE, ENOBUFS, EAGAIN: .outOfResources
      default: .system
      }
    return ReactorError(kind, "\(what): \(describe(errno: code))", errno: code)
  }
}

/// The C library's words for an errno: "Connection reset by peer (errno 104)".
package func describe(errno code: Int32) -> String {
  withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
    guard strerror_r(code, buffer.baseAddress!, buffer.count) == 0 else { return "errno \(code)" }
    return "\(String(cString: buffer.baseAddress!)) (errno \(code))"
  }
}
