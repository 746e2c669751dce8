import Glibc
import Reactor

/// A thread that has the kernel give memory its pages before the cores write to it.
///
/// The kernel zeroes a huge page when it is first touched. That takes a tenth of a millisecond at best and, on a
/// virtual machine whose host has to find the memory first, five or more: too long for a core with requests waiting.
/// The thread only runs when nobody else wants its processor (SCHED_IDLE), sleeps in `read` otherwise, and what it
/// comes too late for, or what doesn't fit its queue, a core's own first touch does. Without huge pages it isn't
/// started: a core then waits less for its own small pages than for a thread that holds up their tables.
final class Populator: @unchecked Sendable {
  // Set before the first core starts; -1 as long as nobody serves.
  private var asking: Int32 = -1

  /// Starts the thread.
  func start(_ base: UnsafeMutableRawPointer) throws {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else {
      throw ReactorError(.outOfResources, "no pipe for the thread that prepares memory", errno: errno)
    }
    let answering = ends[0]
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)  // only the cores mustn't wait
    asking = ends[1]
    let address = UInt(bitPattern: base)
    _ = try Thread.start(name: "kvd-memory") {
      Populator.serve(answering, UnsafeMutableRawPointer(bitPattern: address)!)
    }
  }

  /// Asks for bytes of the reservation to get their memory; doesn't wait, and forgets it if too much is asked for.
  func ask(for range: Range<Int>) {
    guard asking >= 0 else { return }
    var bounds = (range.lowerBound, range.upperBound)
    _ = write(asking, &bounds, MemoryLayout.size(ofValue: bounds))
  }

  /// Works until the process ends.
  private static func serve(_ answering: Int32, _ base: UnsafeMutableRawPointer) {
    var parameters = sched_param(sched_priority: 0)
    sched_setscheduler(0, 5, &parameters)  // 5 is SCHED_IDLE, for this thread alone
    var bounds = (0, 0)
    let size = MemoryLayout.size(ofValue: bounds)
    while true {
      let count = read(answering, &bounds, size)
      if count == size {
        MemoryRegion.populate(base, bounds.0..<bounds.1)
      } else if count >= 0 || errno != EINTR {
        return
      }
    }
  }
}
