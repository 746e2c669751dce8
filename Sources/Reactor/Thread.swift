import CIOUring
import Glibc

/// A thread of the kernel, for a loop that never gives its core away to a pool.
package struct Thread: ~Copyable, Sendable {
  private let handle: pthread_t

  /// Starts a thread.
  ///
  /// - Parameters:
  ///   - name: shown by `ps -L` and `top -H`; 15 bytes count.
  ///   - cpu: the processor it is bound to, if any; one it may not use is ignored.
  /// - Throws: `ReactorError` of kind `outOfResources`.
  package static func start(
    name: String, cpu: Int? = nil, _ body: @escaping @Sendable () -> Void
  ) throws(ReactorError) -> Thread {
    let start = Unmanaged.passRetained(ThreadStart(name: name, cpu: cpu, body: body))
    var handle = pthread_t()
    let code = pthread_create(
      &handle, nil,
      { argument in
        Unmanaged<ThreadStart>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }, start.toOpaque())
    guard code == 0 else {
      start.release()
      throw .system("a thread can't be started", code)
    }
    return Thread(handle: handle)
  }

  /// Waits until the thread's body returned. Each thread is joined once.
  package consuming func join() { pthread_join(handle, nil) }

  /// Leaves it to itself: nobody will join it, and the process doesn't wait for it when it ends.
  package consuming func detach() { pthread_detach(handle) }
}

/// What a starting thread needs to know.
private final class ThreadStart {
  let name: String
  let cpu: Int?
  let body: @Sendable () -> Void

  init(name: String, cpu: Int?, body: @escaping @Sendable () -> Void) {
    self.name = name
    self.cpu = cpu
    self.body = body
  }

  func run() {
    kvd_name_thread(String(decoding: name.utf8.prefix(15), as: UTF8.self))
    if let cpu { kvd_pin_to_cpu(Int32(clamping: cpu)) }
    body()
  }
}
