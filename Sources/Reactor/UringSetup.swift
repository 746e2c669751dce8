import CIOUring
import Glibc

/// Setting up a ring with as much of what helps as this kernel knows.
enum UringSetup {
  /// Sets of flags, best first; a kernel that doesn't know one answers EINVAL and gets the next.
  private static var flagSets: [UInt32] {
    let base = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE
    let deferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN  // Linux 6.1
    return [
      base | IORING_SETUP_SUBMIT_ALL | deferred,
      base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,  // 6.0
      base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,  // 5.19
      base | IORING_SETUP_SUBMIT_ALL,  // 5.18
      base,
    ]
  }

  /// Features without which the backend would be wrong: completions are never dropped, submissions may be forgotten
  /// once taken, and a wait may have a time limit.
  private static var neededFeatures: UInt32 {
    IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG | IORING_FEAT_FAST_POLL
  }

  /// Makes a ring for the calling thread; 0 or -errno (-ENOSYS also for a kernel without what is needed).
  static func start(_ ring: UnsafeMutablePointer<io_uring>, entries: UInt32, completions: UInt32) -> Int32 {
    var result = -EINVAL
    for flags in flagSets {
      ring.initialize(to: io_uring())
      var parameters = io_uring_params()
      parameters.flags = flags
      parameters.cq_entries = completions
      result = io_uring_queue_init_params(entries, ring, &parameters)
      if result == -EINVAL { continue }
      if result == 0 && parameters.features & neededFeatures != neededFeatures {
        io_uring_queue_exit(ring)
        return -ENOSYS
      }
      return result
    }
    return result
  }
}
