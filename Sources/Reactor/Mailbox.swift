import CIOUring

/// A bounded queue of messages from one thread to one other: a ring of bytes with one writer and one reader.
///
/// Lamport's single-producer single-consumer queue (1983), with the two ends' indices on cache lines of their own and
/// each end keeping a private copy of the other's index, so that the lines move between cores only when a copy runs
/// out. Each message lies contiguously behind an 8-byte header; one that would wrap starts again at the ring's
/// beginning and the rest of the ring is skipped. Indices count bytes for ever and are taken modulo the capacity, a
/// power of two.
///
/// Messages become visible to the reader at `publish`, once per turn rather than once per message.
package enum Mailbox {
  /// Bytes in front of each message.
  static var headerCount: Int { 8 }
  /// A header that says: nothing more until the ring's beginning.
  static var skip: UInt64 { UInt64.max }

  /// Makes a mailbox of at least `capacity` bytes and hands out its two ends; each may go to its own thread.
  package static func make(capacity: Int) -> MailboxPair {
    precondition(capacity > 0 && capacity <= 1 << 40, "a mailbox of an impossible size")
    var size = 256
    while size < capacity { size <<= 1 }
    let storage = MailboxStorage(capacity: size)
    return MailboxPair(writer: MailboxWriter(storage), reader: MailboxReader(storage))
  }

  /// The room a message takes in the ring: header and padding included.
  @inline(__always) static func room(_ count: Int) -> Int { (count &+ headerCount &+ 7) & ~7 }
}

/// The two ends of one mailbox; take each out once.
package struct MailboxPair: ~Copyable, Sendable {
  /// The end of the one thread that writes.
  package let writer: MailboxWriter
  /// The end of the one thread that reads.
  package let reader: MailboxReader

  /// Hands out both ends.
  package consuming func split(_ body: (consuming MailboxWriter, consuming MailboxReader) -> Void) {
    body(writer, reader)
  }
}

/// The memory both ends share, freed with the last of them: tail, head, ring.
final class MailboxStorage: @unchecked Sendable {
  let memory: UnsafeMutableRawPointer
  let capacity: Int

  /// Bytes ever published; the writer's.
  var tail: UnsafeMutablePointer<UInt64> { memory.assumingMemoryBound(to: UInt64.self) }
  /// Bytes ever consumed; the reader's.
  var head: UnsafeMutablePointer<UInt64> { (memory + 128).assumingMemoryBound(to: UInt64.self) }
  var ring: UnsafeMutableRawPointer { memory + 256 }

  init(capacity: Int) {
    self.capacity = capacity
    // 128 bytes between the indices: processors fetch cache lines in pairs.
    memory = .allocate(byteCount: 256 + capacity, alignment: 128)
    memory.initializeMemory(as: UInt64.self, repeating: 0, count: 32)
  }

  deinit { memory.deallocate() }
}

/// The end of a mailbox that writes; used by one thread.
package struct MailboxWriter: ~Copyable, @unchecked Sendable {
  private let storage: MailboxStorage
  private let ring: UnsafeMutableRawPointer
  private let tail: UnsafeMutablePointer<UInt64>
  private let head: UnsafeMutablePointer<UInt64>
  private let capacity: Int
  /// Bytes written, of which the reader knows `published`.
  private var written: UInt64 = 0
  private var published: UInt64 = 0
  /// What of the reader's index was last seen.
  private var consumed: UInt64 = 0
  private var reserved = -1

  init(_ storage: MailboxStorage) {
    self.storage = storage
    ring = storage.ring
    tail = storage.tail
    head = storage.head
    capacity = storage.capacity
  }

  /// Bytes of the longest message: what always fits an empty ring, wherever its index stands.
  package var maximumMessage: Int { capacity / 2 - Mailbox.headerCount }

  /// Room for a message of up to `count` bytes, 8-byte aligned, or nil while the ring is too full. Fill it, then
  /// `commit`.
  package mutating func reserve(_ count: Int) -> UnsafeMutableRawPointer? {
    precondition(count >= 0 && count <= maximumMessage, "a message longer than the mailbox takes")
    precondition(reserved < 0, "the message before wasn't committed")
    let room = Mailbox.room(count)
    var position = Int(truncatingIfNeeded: written) & (capacity &- 1)
    let toEnd = capacity &- position
    let skipped = room <= toEnd ? 0 : toEnd
    guard hasRoom(skipped &+ room) else { return nil }
    if skipped > 0 {
      ring.storeBytes(of: Mailbox.skip, toByteOffset: position, as: UInt64.self)
      written &+= UInt64(skipped)
      position = 0
    }
    reserved = count
    return ring + position + Mailbox.headerCount
  }

  /// Ends the message at `count` bytes, at most what was reserved.
  package mutating func commit(_ count: Int) {
    precondition(count >= 0 && count <= reserved, "committing more than was reserved")
    let position = Int(truncatingIfNeeded: written) & (capacity &- 1)
    ring.storeBytes(of: UInt64(count), toByteOffset: position, as: UInt64.self)
    written &+= UInt64(truncatingIfNeeded: Mailbox.room(count))
    reserved = -1
  }

  /// Copies a whole message in; false while the ring is too full.
  package mutating func write(_ bytes: UnsafeRawPointer, count: Int) -> Bool {
    guard let target = reserve(count) else { return false }
    target.copyMemory(from: bytes, byteCount: count)
    commit(count)
    return true
  }

  /// Shows the reader everything committed so far; true if there was anything, and then the reader's waker has to be
  /// rung (`Waker.wakeIfAsleep`). The store is sequentially consistent, as the waker's pattern demands.
  package mutating func publish() -> Bool {
    guard written != published else { return false }
    published = written
    kvd_store_ordered(tail, written)
    return true
  }

  private mutating func hasRoom(_ count: Int) -> Bool {
    let limit = UInt64(capacity &- count)
    if written &- consumed <= limit { return true }
    consumed = kvd_load_acquire(head)
    return written &- consumed <= limit
  }
}

/// The end of a mailbox that reads; used by one thread.
package struct MailboxReader: ~Copyable, @unchecked Sendable {
  private let storage: MailboxStorage
  private let ring: UnsafeMutableRawPointer
  private let tail: UnsafeMutablePointer<UInt64>
  private let head: UnsafeMutablePointer<UInt64>
  private let capacity: Int
  /// Bytes read, of which the writer knows `released`.
  private var read: UInt64 = 0
  private var released: UInt64 = 0
  /// What of the writer's index was last seen.
  private var available: UInt64 = 0

  init(_ storage: MailboxStorage) {
    self.storage = storage
    ring = storage.ring
    tail = storage.tail
    head = storage.head
    capacity = storage.capacity
  }

  /// The next message, or nil if there is none; its bytes stay until `release`.
  package mutating func next() -> UnsafeRawBufferPointer? {
    if read == available {
      available = kvd_load_acquire(tail)
      if read == available { return nil }
    }
    var position = Int(truncatingIfNeeded: read) & (capacity &- 1)
    var header = ring.load(fromByteOffset: position, as: UInt64.self)
    if header == Mailbox.skip {
      // A skip is always published together with the message behind it.
      read &+= UInt64(truncatingIfNeeded: capacity &- position)
      position = 0
      header = ring.load(as: UInt64.self)
    }
    let count = Int(truncatingIfNeeded: header)
    precondition(count >= 0 && position &+ Mailbox.room(count) <= capacity, "a mailbox with a broken header")
    read &+= UInt64(truncatingIfNeeded: Mailbox.room(count))
    return UnsafeRawBufferPointer(start: ring + position + Mailbox.headerCount, count: count)
  }

  /// Gives the room of every message read so far back to the writer; once per turn is enough.
  package mutating func release() {
    guard read != released else { return }
    released = read
    kvd_store_release(head, read)
  }

  /// Whether a message waits. Sequentially consistent: what the owner of a loop asks between `Loop.announceSleep` and
  /// `Loop.poll`.
  package var hasMail: Bool { read != kvd_load_ordered(tail) }
}
