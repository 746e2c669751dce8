import CIOUring
import Glibc

/// Datagrams by multishot `recvmsg` (Linux 6.0, as multishot receives), for each socket into a ring of provided buffers
/// of its own.
///
/// The ring is the bound: a flood uses its buffers up, which ends the multishot with ENOBUFS; it is armed again with
/// the next turn, when the buffers have been given back. So a turn has at most as many datagrams of a socket as it has
/// buffers, and a flooded socket takes nothing away from another.
extension UringBackend {
  /// See `Loop.add`.
  mutating func add(datagrams descriptor: Int32, _ family: Int32, tag: UInt16) throws(ReactorError) -> DatagramSocketID
  {
    let index = common.datagrams.freeIndex
    if datagrams[index] == nil { datagrams[index] = try makeBuffers(index) }
    common.datagrams.insert(index, descriptor, family, tag: tag)
    armDatagrams(index)
    return common.datagrams.id(index)
  }

  private func makeBuffers(_ index: Int) throws(ReactorError) -> UnsafeMutablePointer<DatagramBuffers> {
    var ring = try BufferRing(
      size: common.options.datagramStride, count: common.options.datagramsPerTurn,
      group: DatagramBuffers.group(index))
    let registered = ring.register(with: self.ring)
    guard registered == 0 else { throw .system("io_uring takes no ring of datagram buffers", -registered) }
    let buffers = UnsafeMutablePointer<DatagramBuffers>.allocate(capacity: 1)
    buffers.initialize(to: DatagramBuffers(ring: ring))
    return buffers
  }

  private func armDatagrams(_ index: Int) {
    let state = common.datagrams[index]
    let entry = entry()
    io_uring_prep_recvmsg_multishot(entry, state.pointee.descriptor, datagrams[index]!.pointee.header, 0)
    entry.pointee.flags |= kvd_sqe_buffer_select()
    entry.pointee.buf_group = DatagramBuffers.group(index)
    entry.pointee.user_data = UserData(.datagram, UInt32(index), generation: state.pointee.generation).rawValue
    state.pointee.isArmed = true
    state.pointee.retryAt = .max
  }

  @inline(never)
  mutating func datagramCompleted(_ data: UserData, _ result: Int32, _ flags: UInt32) {
    let state = common.datagrams[data.index]
    precondition(state.pointee.generation == data.generation, "a completion for a datagram socket's former place")
    if flags & IORING_CQE_F_BUFFER != 0 {
      let id = Int(truncatingIfNeeded: flags >> 16)
      let buffers = datagrams[data.index]!
      buffers.pointee.ring.give(id)
      if result >= 0 && !state.pointee.isRemoved { received(data.index, buffers.pointee.ring.buffer(id), result) }
    }
    if flags & IORING_CQE_F_MORE != 0 { return }
    state.pointee.isArmed = false
    if state.pointee.isRemoved {
      common.datagrams.release(data.index)
    } else if common.datagramsFailed(data.index, max(0, -result)) {
      armDatagrams(data.index)
    }
  }

  private mutating func received(_ index: Int, _ buffer: UnsafeMutablePointer<UInt8>, _ result: Int32) {
    let header = datagrams[index]!.pointee.header
    guard let out = io_uring_recvmsg_validate(buffer, result, header) else { return }
    let bytes = io_uring_recvmsg_payload(out, header).assumingMemoryBound(to: UInt8.self)
    let there = Int(io_uring_recvmsg_payload_length(out, result, header))
    // The buffer is rounded up to cache lines, so that the bound is enforced here.
    let count = min(there, common.options.datagramBytes)
    let isTruncated = out.pointee.flags & UInt32(MSG_TRUNC) != 0 || there > count
    common.receivedDatagram(index, UnsafePointer(bytes), count, isTruncated: isTruncated)
  }

  func retryDatagrams(now: UInt64) {
    for index in 0..<common.datagrams.used where common.datagrams[index].pointee.retryAt <= now { armDatagrams(index) }
  }

  /// See `Loop.remove`.
  mutating func remove(datagrams id: DatagramSocketID) {
    guard let state = common.datagrams.find(id) else { return }
    common.events.retract(id)
    state.pointee.isRemoved = true
    if state.pointee.isArmed {
      submitCancel(UserData(.datagram, UInt32(id.index), generation: state.pointee.generation))
    } else {
      common.datagrams.release(id.index)
    }
  }
}

/// What receiving the datagrams of one socket by io_uring needs.
struct DatagramBuffers: ~Copyable {
  /// The numbers of the rings, next to that of connections.
  static func group(_ index: Int) -> UInt16 { BufferRing.group + 1 + UInt16(index) }

  var ring: BufferRing
  /// How the kernel divides a buffer: its own header, `nameCount` bytes for the source, then the datagram.
  let header: UnsafeMutablePointer<msghdr>

  init(ring: consuming BufferRing) {
    self.ring = ring
    header = .allocate(capacity: 1)
    header.initialize(to: msghdr())
    header.pointee.msg_namelen = socklen_t(DatagramTable.nameCount)
  }

  deinit { header.deallocate() }
}
