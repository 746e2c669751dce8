import Glibc
import Testing

@testable import Reactor

/// A loop with datagram sockets that keeps every datagram, for tests to look at.
final class Post {
  struct Letter: Equatable {
    let tag: UInt16
    let source: SocketAddress
    let bytes: [UInt8]
    let isTruncated: Bool
  }

  var loop: Loop
  var letters: [Letter] = []
  private var descriptors: [UInt16: Int32] = [:]
  /// The most datagrams of one turn so far.
  var most = 0
  /// Called for each datagram as it is met, before the next; may call the loop.
  var onDatagram: (Post, UnsafePointer<Event>) -> Void = { _, _ in }

  init(_ backend: Backend, _ configure: (inout LoopOptions) -> Void = { _ in }) throws {
    var options = LoopOptions(backend: backend)
    configure(&options)
    loop = try Loop(options, waker: try Waker())
  }

  /// Binds a socket and gives it to the loop: its id and its address.
  func add(
    _ text: String = "127.0.0.1:0", tag: UInt16 = 0, shared: Bool = false, receiveBuffer: Int = 1 << 20
  ) throws -> (id: DatagramSocketID, address: SocketAddress) {
    var options = DatagramSocket.Options()
    options.isShared = shared
    options.receiveBuffer = receiveBuffer
    let socket = try DatagramSocket.bind(to: try SocketAddress.parse(text), options)
    let address = socket.address
    descriptors[tag] = socket.descriptor
    return (try loop.add(socket, tag: tag), address)
  }

  @discardableResult
  func send(
    _ id: DatagramSocketID, to address: SocketAddress, _ bytes: [UInt8], interface: UInt32 = 0
  ) -> Int32 {
    // An empty array may have no address; a datagram of no bytes still needs a valid one.
    (bytes + [0]).withUnsafeBytes {
      loop.sendDatagram(id, to: address, $0.baseAddress!, bytes.count, interface: interface)
    }
  }

  /// Waits until the kernel has a datagram for the socket with this tag, which the loop takes at its next turn: what a
  /// test counts then are turns, and not what the kernel's own threads leave lying while the machine is busy.
  func awaitDelivery(_ tag: UInt16) throws {
    let end = Clock.monotonic() + patience
    while waiting(descriptors[tag]!) == 0 {
      if Clock.monotonic() > end { throw NeverHappened(description: "a datagram at \(tag)") }
      sched_yield()
    }
  }

  @discardableResult
  func turn(deadline: UInt64) -> Int {
    let count = loop.poll(deadline: deadline)
    var heard = 0
    for index in 0..<count {
      let event = loop.events + index
      guard event.pointee.kind == .datagram else { continue }
      heard += 1
      letters.append(
        Letter(
          tag: event.pointee.tag, source: event.pointee.source,
          bytes: [UInt8](UnsafeBufferPointer(start: event.pointee.bytes, count: event.pointee.count)),
          isTruncated: event.pointee.isTruncated))
      onDatagram(self, event)
    }
    most = max(most, heard)
    return count
  }

  func turn(_ what: String, until condition: () -> Bool) throws {
    let end = Clock.monotonic() + patience
    while !condition() {
      if Clock.monotonic() > end { throw NeverHappened(description: "\(what); so far \(letters.suffix(10))") }
      turn(deadline: Clock.monotonic() + 1_000_000)
    }
  }

  /// Bytes heard at a tag, one array per datagram.
  func heard(_ tag: UInt16) -> [[UInt8]] { letters.filter { $0.tag == tag }.map(\.bytes) }

  var statistics: DatagramStatistics { loop.statistics.datagrams }
}

/// Two fresh network namespaces, "here" and "there", joined by a cable from `eth0` (10.9.0.1/24) to `eth0`
/// (10.9.0.2/24). Neither has a default route. They end with the thread that made them and its sockets.
struct TwoHosts {
  private static let newNetwork: Int32 = 0x4000_0000  // CLONE_NEWNET
  let here: Int32
  let there: Int32

  /// Whether this process may make network namespaces and the tool for setting them up is there.
  static let arePermitted: Bool = {
    let result = OutcomeBox()
    let thread = try? Thread.start(name: "namespace") { result.isGood = (try? TwoHosts()) != nil }
    guard let thread else { return false }
    thread.join()
    return result.isGood
  }()

  /// Moves the calling thread, which should be one of its own, into new namespaces.
  init() throws {
    here = try TwoHosts.namespace()
    there = try TwoHosts.namespace()
    try run("ip link add eth0 type veth peer name there netns /proc/\(getpid())/fd/\(here)")
    try run("ip addr add 10.9.0.2/24 brd + dev eth0 && ip link set eth0 up && ip link set lo up")
    try enter(here)
    try run("ip link set there name eth0 && ip addr add 10.9.0.1/24 brd + dev eth0 && ip link set eth0 up")
    try run("ip link set lo up")
    try awaitCarrier(here)
    try awaitCarrier(there)
    try enter(here)
  }

  /// Enters a host and waits until its cable is found to be plugged in.
  private func awaitCarrier(_ host: Int32) throws {
    try enter(host)
    let end = Clock.monotonic() + patience
    while try !NetworkInterface.current().contains(where: { $0.name == "eth0" && $0.hasCarrier }) {
      if Clock.monotonic() > end { throw NeverHappened(description: "the cable is plugged in") }
      sched_yield()
    }
  }

  /// Moves the calling thread into one of the two: sockets made from here on are of that host.
  func enter(_ host: Int32) throws {
    guard call("setns", host, Self.newNetwork) == 0 else { throw refusal("setns") }
  }

  /// Runs a body on a thread of its own, inside fresh namespaces; rethrows what it throws.
  static func with(_ body: @escaping @Sendable (TwoHosts) throws -> Void) throws {
    let outcome = OutcomeBox()
    try Thread.start(name: "two-hosts") {
      do { try body(try TwoHosts()) } catch { outcome.error = error }
    }.join()
    if let error = outcome.error { throw error }
  }

  private static func namespace() throws -> Int32 {
    guard call("unshare", newNetwork) == 0 else { throw refusal("unshare") }
    let descriptor = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw refusal("open") }
    return descriptor
  }

  func close() {
    Glibc.close(here)
    Glibc.close(there)
  }
}

private final class OutcomeBox: @unchecked Sendable {
  var error: (any Error)?
  var isGood = false
}

private func refusal(_ what: String) -> NeverHappened {
  NeverHappened(description: "\(what): \(describe(errno: errno))")
}

/// Calls of the C library that its headers hide from Swift.
private func call(_ name: String, _ first: Int32, _ second: Int32 = 0) -> Int32 {
  typealias Function = @convention(c) (Int32, Int32) -> Int32
  guard let address = dlsym(nil, name) else { return -1 }
  return unsafeBitCast(address, to: Function.self)(first, second)
}

/// Runs a shell command in the calling thread's namespace.
private func run(_ command: String) throws {
  guard system("PATH=$PATH:/usr/sbin:/sbin; { \(command); } >/dev/null 2>&1") == 0 else {
    throw NeverHappened(description: "failed: \(command)")
  }
}
