import Glibc

/// The two clocks of a node, read through the vDSO (no system call where the kernel has one).
package enum Clock {
  /// Nanoseconds of CLOCK_BOOTTIME: never goes back, for deadlines and durations. Unlike CLOCK_MONOTONIC it counts on
  /// while the machine sleeps, as it must for leases that others have granted.
  package static func monotonic() -> UInt64 { read(CLOCK_BOOTTIME) }

  /// Nanoseconds since 1970 of CLOCK_REALTIME: may jump, for time stamps only.
  package static func realtime() -> UInt64 { read(CLOCK_REALTIME) }

  /// Nanoseconds of processor time the calling thread has used.
  package static func threadTime() -> UInt64 { read(CLOCK_THREAD_CPUTIME_ID) }

  private static func read(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
  }
}
