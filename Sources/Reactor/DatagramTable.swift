import CIOUring
import Glibc

/// A datagram socket given to a loop.
struct DatagramState {
  /// -1 if the entry is free.
  var descriptor: Int32
  var family: Int32
  var tag: UInt16
  var generation: UInt32
  /// io_uring: the kernel has a receive of it. epoll: it is registered.
  var isArmed: Bool
  /// Its owner removed it; io_uring's last completion is still to come.
  var isRemoved: Bool
  /// When to receive again, `.max` if nothing is wrong.
  var retryAt: UInt64
}

/// The datagram sockets of one loop: few, so all are looked at where one is sought.
struct DatagramTable: ~Copyable {
  /// Bytes in front of each received datagram for the address it came from: `SocketAddress.maximumCount`, rounded up to
  /// whole words.
  static var nameCount: Int { 32 }

  private let states: UnsafeMutablePointer<DatagramState>
  /// Entries ever used.
  private(set) var used = 0

  init() { states = .allocate(capacity: LoopOptions.maximumDatagramSockets) }

  deinit {
    for index in 0..<used where states[index].descriptor >= 0 { Glibc.close(states[index].descriptor) }
    states.deallocate()
  }

  subscript(index: Int) -> UnsafeMutablePointer<DatagramState> { states + index }

  /// The entry for the next socket. A loop has few and its owner knows how many, so running out is a bug.
  var freeIndex: Int {
    let index = (0..<used).first { states[$0].descriptor < 0 } ?? used
    precondition(index < LoopOptions.maximumDatagramSockets, "too many datagram sockets on one loop")
    return index
  }

  /// Takes the free entry for a descriptor.
  mutating func insert(_ index: Int, _ descriptor: Int32, _ family: Int32, tag: UInt16) {
    let generation = (index == used ? 0 : states[index].generation) &+ 1
    if index == used { used += 1 }
    (states + index).initialize(
      to: DatagramState(
        descriptor: descriptor, family: family, tag: tag, generation: generation, isArmed: false, isRemoved: false,
        retryAt: .max))
  }

  /// Closes the descriptor and frees the entry.
  func release(_ index: Int) {
    Glibc.close(states[index].descriptor)
    states[index].descriptor = -1
    states[index].retryAt = .max
  }

  func id(_ index: Int) -> DatagramSocketID { DatagramSocketID(index: index, generation: states[index].generation) }

  /// The socket's entry, nil if its owner removed it.
  func find(_ id: DatagramSocketID) -> UnsafeMutablePointer<DatagramState>? {
    guard id.index < used, self.id(id.index) == id, states[id.index].descriptor >= 0, !states[id.index].isRemoved
    else { return nil }
    return states + id.index
  }

  /// When the first paused socket is due, `.max` if none is paused.
  var nextRetry: UInt64 {
    var first = UInt64.max
    for index in 0..<used { first = min(first, states[index].retryAt) }
    return first
  }
}

extension LoopOptions {
  /// Datagram sockets of one loop.
  static var maximumDatagramSockets: Int { 8 }

  func checkDatagrams() {
    precondition(datagramBytes >= 64 && datagramBytes <= 65_536, "datagrams of an impossible size")
    precondition(
      datagramsPerTurn >= 2 && datagramsPerTurn <= 1024 && datagramsPerTurn & (datagramsPerTurn - 1) == 0,
      "the number of a turn's datagrams is a power of two up to 1024")
  }

  /// Bytes of one datagram's buffer with whatever the kernel writes in front of it, in whole cache lines.
  var datagramStride: Int { (datagramBytes + DatagramTable.nameCount + 16 + 63) & ~63 }
}

extension EventBuffer {
  /// Appends a datagram; the address it came from lies in front of its bytes.
  mutating func append(
    _ socket: DatagramSocketID, tag: UInt16, isTruncated: Bool, bytes: UnsafePointer<UInt8>, count length: Int
  ) {
    precondition(count < capacity, "more events than the turn has room for")
    (base + count).initialize(
      to: Event(
        kind: .datagram, isOverflow: isTruncated, tag: tag, code: 0, socket: .none, bytes: bytes,
        length: UInt32(truncatingIfNeeded: length), previous: socket.rawValue))
    count &+= 1
  }

  /// Makes every datagram of the socket in this turn stale: its owner removed it.
  func retract(_ socket: DatagramSocketID) {
    for index in 0..<count where base[index].kind == .datagram && base[index].previous == socket.rawValue {
      base[index].kind = .stale
    }
  }
}

extension LoopCommon {
  /// Reports a datagram whose bytes lie behind the kernel's form of its source.
  mutating func receivedDatagram(_ index: Int, _ bytes: UnsafePointer<UInt8>, _ count: Int, isTruncated: Bool) {
    let name = UnsafeRawPointer(bytes) - DatagramTable.nameCount
    guard SocketAddress(UnsafeRawBufferPointer(start: name, count: DatagramTable.nameCount)) != nil else { return }
    statistics.datagrams.received &+= 1
    if isTruncated { statistics.datagrams.truncated &+= 1 }
    events.append(
      datagrams.id(index), tag: datagrams[index].pointee.tag, isTruncated: isTruncated, bytes: bytes, count: count)
  }

  /// Says whether receiving may go on after an error. What the network reports of datagrams sent before (ICMP), and
  /// what passes by itself, is ignored; anything else would come back at once and make the loop spin.
  mutating func datagramsFailed(_ index: Int, _ code: Int32) -> Bool {
    switch code {
    case 0, ENOBUFS, ECANCELED, EINTR, EAGAIN, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN,
      ENOPROTOOPT,
      EPROTO, EMSGSIZE:
      return true
    default:
      statistics.datagrams.paused &+= 1
      datagrams[index].pointee.retryAt = Clock.monotonic() &+ options.acceptRetry
      return false
    }
  }

  /// See `Loop.sendDatagram`.
  mutating func sendDatagram(
    _ id: DatagramSocketID, _ address: SocketAddress, _ bytes: UnsafeRawPointer, _ count: Int, _ interface: UInt32
  ) -> Int32 {
    guard let state = datagrams.find(id) else { preconditionFailure("the datagram socket was removed before") }
    let code = address.form(for: state.pointee.family).withSockaddr {
      kvd_send_datagram(state.pointee.descriptor, bytes, count, $0, $1, interface)
    }
    switch code {
    case 0: statistics.datagrams.sent &+= 1
    case EAGAIN, ENOBUFS, ENOMEM: statistics.datagrams.dropped &+= 1
    default: statistics.datagrams.refused &+= 1
    }
    return code
  }
}
