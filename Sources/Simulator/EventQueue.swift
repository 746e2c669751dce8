/// What happens next to whom. The payload of a delivery lies in the queue's pool.
struct Event {
  enum Kind: UInt8 {
    case deliver, wake, start, fate
    /// The first segment of a connection's direction arrives; a core has a turn; a client does something.
    case stream, turn, client
  }

  let time: UInt64
  /// Events of one time happen in the order in which they were pushed.
  let order: UInt64
  let kind: Kind
  /// The host it happens to, and for a delivery the one that sent it.
  let host: Int32
  let from: Int32
  /// The payload's place, or the incarnation that is meant.
  let detail: Int32

  /// Whether it happens before another.
  func precedes(_ other: Event) -> Bool { time == other.time ? order < other.order : time < other.time }
}

/// A binary heap of events, with the datagrams that are under way.
struct EventQueue {
  private var heap: [Event] = []
  private var order: UInt64 = 0
  private var payloads: [[UInt8]] = []
  private var free: [Int32] = []

  var isEmpty: Bool { heap.isEmpty }
  /// When the next event happens.
  var nextTime: UInt64 { heap.first?.time ?? .max }

  mutating func push(_ kind: Event.Kind, at time: UInt64, host: Int, from: Int = 0, detail: Int = 0) {
    order += 1
    heap.append(
      Event(
        time: time, order: order, kind: kind, host: Int32(host), from: Int32(from),
        detail: Int32(truncatingIfNeeded: detail)))
    rise(heap.count - 1)
  }

  mutating func push(datagram: [UInt8], at time: UInt64, to host: Int, from: Int) {
    let place: Int32
    if let last = free.popLast() {
      place = last
      payloads[Int(place)] = datagram
    } else {
      place = Int32(payloads.count)
      payloads.append(datagram)
    }
    push(.deliver, at: time, host: host, from: from, detail: Int(place))
  }

  /// The datagram of a delivery; its place is free from then on.
  mutating func takePayload(_ event: Event) -> [UInt8] {
    var payload: [UInt8] = []
    swap(&payload, &payloads[Int(event.detail)])
    free.append(event.detail)
    return payload
  }

  mutating func pop() -> Event? {
    guard let first = heap.first else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      sink()
    }
    return first
  }

  // Both in place, without a check of each access.

  private mutating func rise(_ start: Int) {
    heap.withUnsafeMutableBufferPointer { heap in
      var index = start
      let event = heap[index]
      while index > 0 {
        let parent = (index - 1) / 2
        if !event.precedes(heap[parent]) { break }
        heap[index] = heap[parent]
        index = parent
      }
      heap[index] = event
    }
  }

  private mutating func sink() {
    heap.withUnsafeMutableBufferPointer { heap in
      var index = 0
      let event = heap[0]
      while true {
        var child = 2 * index + 1
        if child >= heap.count { break }
        if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
        if !heap[child].precedes(event) { break }
        heap[index] = heap[child]
        index = child
      }
      heap[index] = event
    }
  }
}
