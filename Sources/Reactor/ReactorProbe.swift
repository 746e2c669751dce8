import CIOUring
import Glibc

/// Finds out, when the process starts, which backend this kernel really lets it use.
package enum ReactorProbe {
  /// What the person asked for.
  package enum Wish: String, Sendable, CaseIterable {
    case auto
    case ioUring = "io_uring"
    case epoll
  }

  /// What was taken, and why, for one log line.
  package struct Choice: Equatable, Sendable {
    /// What to use.
    package let backend: Backend
    /// A sentence without a final full stop.
    package let reason: String
  }

  /// The trial's parts, in order; a kernel, a container's filter or a limit may refuse any of them.
  package enum Step: Equatable, Sendable, CaseIterable {
    case ring, buffers, sockets, receive
  }

  /// Chooses by trying: sets up a small ring with a buffer ring and receives a byte through them.
  ///
  /// - Parameter refusal: pretends that the kernel refuses a step with an errno, for tests.
  /// - Throws: `ReactorError` of kind `ioUringUnavailable` if io_uring was asked for by name and doesn't work.
  package static func choose(
    _ wish: Wish, refusing refusal: (step: Step, errno: Int32)? = nil
  ) throws(ReactorError) -> Choice {
    if wish == .epoll { return Choice(backend: .epoll, reason: "epoll was asked for") }
    guard let (step, code) = attempt(refusal) else {
      let reason =
        wish == .auto
        ? "io_uring works here (multishot receives into provided buffers were tried)" : "io_uring was asked for"
      return Choice(backend: .ioUring, reason: reason)
    }
    let why = explain(step, code)
    if wish == .ioUring {
      throw ReactorError(.ioUringUnavailable, "io_uring isn't available: \(why). Use --io auto or epoll.", errno: code)
    }
    return Choice(backend: .epoll, reason: "io_uring isn't available: \(why)")
  }

  /// What failed and with which errno, nil if everything works.
  private static func attempt(_ refusal: (step: Step, errno: Int32)?) -> (Step, Int32)? {
    func refused(_ step: Step) -> Int32? { refusal?.step == step ? refusal!.errno : nil }
    let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
    defer { ring.deallocate() }
    let started = refused(.ring).map { -$0 } ?? UringSetup.start(ring, entries: 4, completions: 8)
    guard started == 0 else { return (.ring, -started) }
    defer { io_uring_queue_exit(ring) }

    guard var buffers = try? BufferRing(size: 512, count: 2) else { return (.buffers, ENOMEM) }
    let registered = refused(.buffers).map { -$0 } ?? buffers.register(with: ring)
    guard registered == 0 else { return (.buffers, -registered) }
    // While the ring lives, the kernel may use the buffers.
    defer { io_uring_unregister_buf_ring(ring, Int32(BufferRing.group)) }

    var pair: (Int32, Int32) = (-1, -1)
    let paired = withUnsafeMutableBytes(of: &pair) {
      socketpair(
        AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0,
        $0.baseAddress!.assumingMemoryBound(to: Int32.self))
    }
    guard paired == 0 else { return (.sockets, errno) }
    defer {
      Glibc.close(pair.0)
      Glibc.close(pair.1)
    }
    if let code = refused(.sockets) { return (.sockets, code) }
    let code = refused(.receive) ?? receiveByte(ring, from: pair.0, sentTo: pair.1)
    return code == 0 ? nil : (.receive, code)
  }

  /// Receives a byte with a multishot receive; 0 or an errno.
  private static func receiveByte(_ ring: UnsafeMutablePointer<io_uring>, from: Int32, sentTo: Int32) -> Int32 {
    guard let entry = io_uring_get_sqe(ring) else { return ENOMEM }
    io_uring_prep_recv_multishot(entry, from, nil, 0, 0)
    entry.pointee.flags |= kvd_sqe_buffer_select()
    entry.pointee.buf_group = BufferRing.group
    guard Glibc.send(sentTo, "k", 1, Int32(MSG_NOSIGNAL)) == 1 else { return errno }
    var timeout = __kernel_timespec(tv_sec: 1, tv_nsec: 0)
    var completion: UnsafeMutablePointer<io_uring_cqe>?
    let result = io_uring_submit_and_wait_timeout(ring, &completion, 1, &timeout, nil)
    guard result >= 0, let completion else { return result < 0 ? -result : EIO }
    guard completion.pointee.res == 1 else { return completion.pointee.res < 0 ? -completion.pointee.res : EIO }
    // Linux before 6.0 knows the flag for accepts only and answers EINVAL, or ends the receive after one shot.
    return completion.pointee.flags & IORING_CQE_F_MORE == 0 ? ENOSYS : 0
  }

  private static func explain(_ step: Step, _ code: Int32) -> String {
    switch (step, code) {
    case (.ring, ENOSYS): return "this kernel is too old or was built without it"
    case (.ring, EPERM) where isDisabled: return "the setting kernel.io_uring_disabled forbids it"
    case (.ring, EPERM), (.ring, EACCES):
      return "the system forbids it (a container's seccomp profile, most likely)"
    case (.ring, ENOMEM), (.buffers, ENOMEM):
      return "the limit on locked memory is too small for it (ulimit -l)"
    case (.buffers, EINVAL), (.receive, EINVAL), (.receive, ENOSYS):
      return "this kernel's lacks multishot receives into provided buffers (Linux 6.0 has them)"
    case (.ring, _): return "a ring can't be set up: \(describe(errno: code))"
    case (.buffers, _): return "it takes no ring of receive buffers: \(describe(errno: code))"
    case (.sockets, _), (.receive, _): return "a trial receive failed: \(describe(errno: code))"
    }
  }

  /// Linux 6.6 and later: 1 forbids it to processes without a right, 2 to all.
  private static var isDisabled: Bool {
    guard let text = readSmallFile("/proc/sys/kernel/io_uring_disabled") else { return false }
    return text.first != "0"
  }
}
