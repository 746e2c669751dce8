import CIOUring
import Glibc
import Testing

@testable import Reactor

/// The backends this machine permits; a test for each. What is missing is reported by `BackendTests`.
let backends: [Backend] = {
  let choice = try? ReactorProbe.choose(.auto)
  return choice?.backend == .ioUring ? [.ioUring, .epoll] : [.epoll]
}()

/// A small deterministic generator (SplitMix64).
struct Dice: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// Repeatable bytes of any length: byte i of pattern `seed`.
func pattern(_ count: Int, seed: UInt64) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
    for index in 0..<count { buffer[index] = UInt8(truncatingIfNeeded: (index &* 31 &+ index >> 8) ^ Int(seed)) }
    used = count
  }
}

/// What is thrown when a condition doesn't come about; a bound against hanging, not a measure.
struct NeverHappened: Error, CustomStringConvertible {
  let description: String
}

let patience: UInt64 = 20_000_000_000

/// A loop with one listener on loopback that keeps everything that happened, for tests to look at.
final class Server {
  var loop: Loop
  let address: SocketAddress
  /// Every event so far, received bytes apart, in order.
  var history: [(kind: EventKind, socket: SocketID, code: Int32, tag: UInt16, isOverflow: Bool)] = []
  /// Bytes received, by socket.
  var received: [SocketID: [UInt8]] = [:]
  /// Called for each event as it is met, before the next; may call the loop.
  var onEvent: (Server, UnsafePointer<Event>) -> Void = { _, _ in }
  /// Sends under way: their memory.
  var lent: [SocketID: UnsafeMutableRawBufferPointer] = [:]

  init(
    _ backend: Backend, waker: Waker? = nil, _ configure: (inout LoopOptions) -> Void = { _ in }
  ) throws {
    var options = LoopOptions(backend: backend)
    configure(&options)
    let listener = try Listener.listen(on: try SocketAddress.parse("127.0.0.1:0"))
    address = listener.address
    loop = try Loop(options, waker: try waker ?? Waker())
    loop.add(listener, tag: 7)
  }

  deinit { for buffer in lent.values { buffer.deallocate() } }

  /// One turn.
  @discardableResult
  func turn(deadline: UInt64) -> Int {
    let count = loop.poll(deadline: deadline)
    for index in 0..<count {
      let event = loop.events + index
      let value = event.pointee
      if value.kind == .stale { continue }
      history.append((value.kind, value.socket, value.code, value.tag, value.isOverflow))
      if value.kind == .received {
        received[value.socket, default: []].append(
          contentsOf: UnsafeBufferPointer(start: value.bytes, count: value.count))
      }
      if value.kind == .sent || value.kind == .closed { lent.removeValue(forKey: value.socket)?.deallocate() }
      onEvent(self, event)
    }
    return count
  }

  /// Turns until a time; how many it took. One, if nothing happens, or a few: the kernel may cut a wait short for
  /// reasons of its own (io_uring does when an earlier ring of the same thread is torn down).
  func turns(until deadline: UInt64) -> Int {
    var turns = 0
    repeat {
      turn(deadline: deadline)
      turns += 1
    } while Clock.monotonic() < deadline
    return turns
  }

  /// Turns until the condition holds.
  func turn(_ what: String, until condition: () -> Bool) throws {
    let end = Clock.monotonic() + patience
    while !condition() {
      if Clock.monotonic() > end { throw NeverHappened(description: "\(what); so far \(history.suffix(20))") }
      // A short wait, because the condition may depend on what the test itself does between turns.
      turn(deadline: Clock.monotonic() + 1_000_000)
    }
  }

  /// Sends a copy of the bytes, kept until the loop gives it back.
  func send(_ socket: SocketID, _ bytes: [UInt8]) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, bytes.count), alignment: 8)
    buffer.copyBytes(from: bytes)
    lent[socket] = buffer
    loop.send(socket, buffer.baseAddress!, bytes.count)
  }

  func count(_ kind: EventKind, _ socket: SocketID? = nil) -> Int {
    history.count { $0.kind == kind && (socket == nil || $0.socket == socket) }
  }

  var accepted: [SocketID] { history.filter { $0.kind == .accepted }.map(\.socket) }

  /// Answers everything with itself, one send at a time.
  func echo() {
    var waiting: [SocketID: [UInt8]] = [:]
    onEvent = { server, event in
      let socket = event.pointee.socket
      switch event.pointee.kind {
      case .received:
        waiting[socket, default: []].append(
          contentsOf: UnsafeBufferPointer(start: event.pointee.bytes, count: event.pointee.count))
      case .sent: break
      case .ended, .failed:
        if server.lent[socket] == nil && waiting[socket] == nil { server.loop.close(socket) }
        return
      case .closed:
        waiting[socket] = nil
        return
      default: return
      }
      guard server.lent[socket] == nil else { return }
      if let bytes = waiting.removeValue(forKey: socket) { server.send(socket, bytes) }
    }
  }
}

/// The other end: a plain non-blocking socket.
final class Client {
  let descriptor: Int32
  var received: [UInt8] = []
  /// End of file or an error was met.
  var isOver = false
  var error: Int32 = 0

  init(_ address: SocketAddress, receiveBuffer: Int32 = 0) throws {
    descriptor = socket(address.family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    if receiveBuffer > 0 {
      var size = receiveBuffer
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
    }
    let result = address.withSockaddr { Glibc.connect(descriptor, $0, $1) }
    guard result == 0 else { throw NeverHappened(description: "connect: \(describe(errno: errno))") }
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
  }

  deinit { if !isClosed { Glibc.close(descriptor) } }
  private var isClosed = false

  /// Writes what the kernel takes now.
  func write(_ bytes: ArraySlice<UInt8>) -> Int {
    let count = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    return max(0, count)
  }

  func write(_ text: String) { _ = write(Array(text.utf8)[...]) }

  /// Reads what is there now, up to a number of bytes.
  @discardableResult
  func read(atMost limit: Int = 1 << 20) -> Int {
    guard !isOver else { return 0 }
    let before = received.count
    withUnsafeTemporaryAllocation(byteCount: min(limit, 1 << 20), alignment: 1) { buffer in
      let count = recv(descriptor, buffer.baseAddress!, buffer.count, 0)
      if count > 0 { received.append(contentsOf: buffer[..<count]) }
      if count == 0 { isOver = true }
      if count < 0 && errno != EAGAIN && errno != EINTR {
        isOver = true
        error = errno
      }
    }
    return received.count - before
  }

  /// Waits until the other end's kernel has all that was written: what a test then counts are turns of its loop, and
  /// not what the kernel's own threads leave lying while the machine is busy.
  func awaitDelivery() throws {
    let end = Clock.monotonic() + patience
    while unacknowledged(descriptor) > 0 {
      if Clock.monotonic() > end { throw NeverHappened(description: "delivered") }
      sched_yield()
    }
  }

  func shutdownWrite() { Glibc.shutdown(descriptor, Int32(SHUT_WR)) }

  func close() {
    Glibc.close(descriptor)
    isClosed = true
  }

  /// Closes with a reset instead of a FIN.
  func reset() {
    var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    close()
  }
}

/// Bytes that a stream's peer hasn't acknowledged (tcp(7), SIOCOUTQ).
func unacknowledged(_ descriptor: Int32) -> Int32 {
  var count: Int32 = 0
  _ = ioctl(descriptor, UInt(TIOCOUTQ), &count)
  return count
}

/// Bytes of the next datagram that waits in a socket (udp(7), FIONREAD); 0 if there is none.
func waiting(_ descriptor: Int32) -> Int32 {
  var count: Int32 = 0
  _ = ioctl(descriptor, UInt(FIONREAD), &count)
  return count
}
