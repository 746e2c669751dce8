import CIOUring
import Glibc

/// Signals of the process as a descriptor to read instead of handlers to interrupt (signalfd).
package struct SignalSource: ~Copyable, Sendable {
  let descriptor: Int32

  /// Blocks the signals in the calling thread and collects them here. Call it before any other thread is started: they
  /// inherit the block, and one thread that doesn't would take the signal's default way.
  ///
  /// - Throws: `ReactorError` if no descriptor is left.
  package static func block(_ signals: [Int32]) throws(ReactorError) -> SignalSource {
    let descriptor = kvd_signal_descriptor(signals, Int32(signals.count))
    guard descriptor >= 0 else { throw .system("signals can't be collected", -descriptor) }
    return SignalSource(descriptor: descriptor)
  }

  private init(descriptor: Int32) { self.descriptor = descriptor }

  deinit { Glibc.close(descriptor) }

  /// A write to a closed pipe or socket then fails with EPIPE instead of killing the process.
  package static func ignoreBrokenPipes() { kvd_ignore_sigpipe() }
}
