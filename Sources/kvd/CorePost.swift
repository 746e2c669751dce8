import Reactor

/// A core's ends of the mailboxes to and from the others. Filled before the core's thread starts, then the thread's
/// alone.
final class CorePost: @unchecked Sendable {
  let core: Int
  let count: Int
  private let writers: UnsafeMutablePointer<MailboxWriter>
  private let readers: UnsafeMutablePointer<MailboxReader>

  init(core: Int, count: Int) {
    self.core = core
    self.count = count
    writers = .allocate(capacity: count)
    readers = .allocate(capacity: count)
  }

  deinit {
    for other in 0..<count where other != core {
      (writers + other).deinitialize(count: 1)
      (readers + other).deinitialize(count: 1)
    }
    writers.deallocate()
    readers.deallocate()
  }

  func add(writer: consuming MailboxWriter, to other: Int) { (writers + other).initialize(to: writer) }
  func add(reader: consuming MailboxReader, from other: Int) { (readers + other).initialize(to: reader) }

  /// The way to another core.
  func writer(to other: Int) -> UnsafeMutablePointer<MailboxWriter> { writers + other }

  /// The way from another core.
  func reader(from other: Int) -> UnsafeMutablePointer<MailboxReader> { readers + other }

  /// Whether any other core has sent something.
  var hasMail: Bool {
    for other in 0..<count where other != core && readers[other].hasMail { return true }
    return false
  }
}
