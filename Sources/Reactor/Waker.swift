import CIOUring
import Glibc

/// Lets other threads wake a loop that sleeps in `poll`.
///
/// Two ways, both free of lost wake-ups:
/// - `wake()` always rings; calls between two turns of the loop coalesce into one system call and one `.woken` event.
/// - `wakeIfAsleep()` spares the system call while the loop is awake. It needs both sides of Dekker's pattern: the
///   sender first publishes its message (a sequentially consistent store), then looks whether the loop sleeps; the loop
///   first says that it is about to sleep (`Loop.announceSleep`), then looks once more for messages. With all four
///   accesses in one total order, at least one of the two sees the other.
package final class Waker: @unchecked Sendable {
  /// Two words, each on a cache line of its own: 1 while a ring is under way; 1 while the loop (nearly) sleeps.
  private let words: UnsafeMutableRawPointer
  let descriptor: Int32

  private var pending: UnsafeMutablePointer<UInt64> { words.assumingMemoryBound(to: UInt64.self) }
  private var asleep: UnsafeMutablePointer<UInt64> { (words + 128).assumingMemoryBound(to: UInt64.self) }

  /// - Throws: `ReactorError` if no descriptor is left.
  package init() throws(ReactorError) {
    descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard descriptor >= 0 else { throw .system("no descriptor for waking a thread", errno) }
    words = .allocate(byteCount: 256, alignment: 128)
    words.initializeMemory(as: UInt64.self, repeating: 0, count: 32)
  }

  deinit {
    Glibc.close(descriptor)
    words.deallocate()
  }

  /// Makes the loop's present or next `poll` return with `.woken`, from any thread.
  package func wake() {
    // An exchange even when someone else has already rung: as part of the release sequence that the loop's own exchange
    // reads from, it makes whatever this thread wrote before visible to the loop's coming turn. A plain read wouldn't.
    if kvd_exchange_ordered(pending, 1) != 0 { return }
    // The counter is never read back, only watched for its edges. It can't reach its limit of 2^64 - 2.
    eventfd_write(descriptor, 1)
  }

  /// Makes the loop look at its mailboxes, if it doesn't already: call after publishing with a sequentially consistent
  /// store. See the type's description for what the loop's owner has to do.
  package func wakeIfAsleep() {
    if kvd_load_ordered(asleep) != 0 { wake() }
  }

  /// The loop's side: from here on senders ring.
  func announceSleep() { kvd_store_ordered(asleep, 1) }

  /// The loop's side: awake, senders needn't ring.
  func awake() { if kvd_load_acquire(asleep) != 0 { kvd_store_release(asleep, 0) } }

  /// The loop's side: the ring was heard; what was published before it is visible after this.
  func heard() { _ = kvd_exchange_ordered(pending, 0) }
}
