import CIOUring
import Glibc

/// Datagrams by level-triggered readiness and `recvfrom`, at most `LoopOptions.datagramsPerTurn` per turn and
/// socket; what is left waits in the kernel for the next.
extension EpollBackend {
  /// See `Loop.add`.
  mutating func add(datagrams descriptor: Int32, _ family: Int32, tag: UInt16) throws(ReactorError) -> DatagramSocketID
  {
    if datagramArena == nil {
      let arena = UnsafeMutablePointer<MemoryRegion>.allocate(capacity: 1)
      do throws(ReactorError) {
        // Address space for the fullest turn; memory for those that come.
        let most = common.options.datagramsPerTurn * LoopOptions.maximumDatagramSockets
        let bytes = common.options.datagramStride * most
        arena.initialize(to: try MemoryRegion.reserve(bytes, hugePages: false))
      } catch {
        arena.deallocate()
        throw error
      }
      datagramArena = arena
    }
    let index = common.datagrams.freeIndex
    common.datagrams.insert(index, descriptor, family, tag: tag)
    armDatagrams(index)
    return common.datagrams.id(index)
  }

  private func armDatagrams(_ index: Int) {
    let state = common.datagrams[index]
    register(
      state.pointee.descriptor, EPOLLIN.rawValue,
      UserData(.datagram, UInt32(index), generation: state.pointee.generation))
    state.pointee.isArmed = true
    state.pointee.retryAt = .max
  }

  mutating func datagramsReady(_ data: UserData) {
    let state = common.datagrams[data.index]
    // Removed since the kernel said so, perhaps with a new user of the place.
    guard state.pointee.generation == data.generation, state.pointee.descriptor >= 0 else { return }
    // Each socket is ready at most once in a turn, so the arena has room for all.
    let end = datagramsThisTurn + common.options.datagramsPerTurn
    while datagramsThisTurn < end && common.events.room > 0 {
      let name = datagramArena!.pointee.base + datagramsThisTurn * common.options.datagramStride
      let bytes = name + DatagramTable.nameCount
      var nameCount = socklen_t(DatagramTable.nameCount)
      // With MSG_TRUNC the answer is the datagram's whole length.
      let count = recvfrom(
        state.pointee.descriptor, bytes, common.options.datagramBytes,
        Int32(MSG_DONTWAIT) | Int32(MSG_TRUNC), name.assumingMemoryBound(to: sockaddr.self),
        &nameCount)
      if count < 0 {
        let code = errno
        if code == EAGAIN { return }
        if common.datagramsFailed(data.index, code) { continue }
        epoll_ctl(epoll, EPOLL_CTL_DEL, state.pointee.descriptor, nil)
        state.pointee.isArmed = false
        return
      }
      datagramsThisTurn += 1
      let kept = min(count, common.options.datagramBytes)
      common.receivedDatagram(
        data.index, UnsafePointer(bytes.assumingMemoryBound(to: UInt8.self)), kept, isTruncated: count > kept)
    }
  }

  func retryDatagrams(now: UInt64) {
    for index in 0..<common.datagrams.used where common.datagrams[index].pointee.retryAt <= now { armDatagrams(index) }
  }

  /// See `Loop.remove`.
  mutating func remove(datagrams id: DatagramSocketID) {
    guard common.datagrams.find(id) != nil else { return }
    common.events.retract(id)
    // Also takes it out of the epoll set: nothing else holds the descriptor.
    common.datagrams.release(id.index)
  }
}
