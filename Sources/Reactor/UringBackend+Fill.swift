import CIOUring

// Receiving where the owner wants the bytes (`Loop.receive`).
//
// A multishot receive picks its buffers itself, so it is cancelled first; what it received until then is reported as
// usual. From then on the socket is received from once at a time, and each receive is submitted when the next turn
// starts and not as soon as the one before is complete: between the two the owner has said where the bytes go. After a
// body comes one receive into a buffer, since another body may follow; when the owner asks for nothing after that, the
// socket is back at the multishot receive.
extension UringBackend {
  mutating func receive(_ socket: SocketID, into memory: UnsafeMutableRawPointer, _ count: Int) {
    let slot = common.open(socket)
    let index = UInt32(truncatingIfNeeded: socket.index)
    common.setTarget(slot, memory, count)
    slot.pointee.flags.insert(.takesOne)
    if slot.pointee.flags.contains(.receiving) {
      if !slot.pointee.flags.contains(.cancelled) { cancelReceive(slot, index) }
    } else if slot.pointee.wantsReceive {
      receiveLater(slot, index)
    }
  }

  /// Tells the kernel to stop the receive it has of this socket.
  func cancelReceive(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32) {
    slot.pointee.flags.insert(.cancelled)
    let operation: UringOperation = slot.pointee.flags.contains(.filling) ? .fill : .receive
    submitCancel(UserData(operation, index, generation: slot.pointee.generation))
  }

  /// Receives from the socket when the next turn starts.
  mutating func receiveLater(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32) {
    if slot.pointee.flags.contains(.waitsToReceive) { return }
    slot.pointee.flags.insert(.waitsToReceive)
    slot.pointee.next = firstToReceive
    firstToReceive = index &+ 1
  }

  /// Submits what waited for the owner. A slot on the list has its socket still: it can only have been closed within
  /// the turn before, and slots are given back within a turn too, after this.
  @inline(never) mutating func startReceiving() {
    while firstToReceive != 0 {
      let index = firstToReceive &- 1
      let slot = common.sockets.slot(at: Int(index))
      firstToReceive = slot.pointee.next
      slot.pointee.flags.remove(.waitsToReceive)
      guard slot.pointee.wantsReceive, !slot.pointee.flags.contains(.closing) else { continue }
      if slot.pointee.flags.contains(.hasTarget) {
        slot.pointee.flags.remove(.tookOne)
        armFill(slot, index)
      } else if slot.pointee.flags.contains(.tookOne) {
        slot.pointee.flags.subtract([.takesOne, .tookOne])
        armReceive(slot, index)
      } else {
        slot.pointee.flags.insert(.tookOne)
        armReceive(slot, index, isMultishot: false)
      }
    }
  }

  private func armFill(_ slot: UnsafeMutablePointer<Slot>, _ index: UInt32) {
    let entry = entry()
    io_uring_prep_recv(entry, slot.pointee.descriptor, slot.pointee.target, slot.pointee.targetCount, 0)
    entry.pointee.user_data = UserData(.fill, index, generation: slot.pointee.generation).rawValue
    slot.pointee.flags.remove(.cancelled)
    slot.pointee.flags.insert([.receiving, .filling])
    slot.pointee.inFlight &+= 1
  }

  /// A receive into the owner's memory is complete.
  mutating func filled(_ data: UserData, _ result: Int32) {
    let slot = slot(data)
    let index = UInt32(truncatingIfNeeded: data.index)
    slot.pointee.inFlight &-= 1
    slot.pointee.flags.subtract([.receiving, .filling, .cancelled])
    if result <= 0 {
      receiveEnded(slot, index, -result)
    } else if slot.pointee.flags.isDisjoint(with: [.closing, .failed]) {
      common.events.append(
        .received, slot, index, bytes: UnsafePointer(slot.pointee.target), length: UInt32(bitPattern: result))
    }
    settle(slot, index)
  }
}

extension Slot {
  /// Whether a receive is to be submitted: nothing speaks against it, and the kernel has none.
  @inline(__always) var wantsReceive: Bool {
    flags.isDisjoint(with: [.receiving, .paused, .ended, .failed, .connecting])
  }
}
