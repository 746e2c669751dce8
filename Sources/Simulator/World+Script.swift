import Engine
import Wire

// A world that does what a script says instead of what fate draws: for transcripts.

extension World {
  /// Lets time pass.
  mutating func advance(_ milliseconds: UInt64) {
    let end = now + milliseconds * 1_000_000
    while checker.violation == nil, queue.nextTime <= end, let event = queue.pop() {
      now = max(now, event.time)
      carryOut(event)
    }
    now = end
  }

  /// Has the only client ask a host for something; what it is told, within ten seconds.
  mutating func ask(_ host: Int, _ kind: History.Operation.Kind, _ query: String = "") -> String {
    workload.isOver = true
    clients[0].target = host
    clients[0].told = "no answer"
    clients[0].request = Workload.Request(key: 0, kind: kind, query: query)
    clients[0].phase = .resting
    alarm(0, at: now)
    for _ in 0..<10_000 where clients[0].request != nil { advance(1) }
    return clients[0].told
  }

  /// Ends the process on a host, as kill -9 does.
  mutating func crash(_ host: Int) {
    trace.add(now, name(host), "crashes")
    stop(host)
  }

  /// What each node has of the log of the key's partition.
  var logs: [String] {
    let partition = workload.keys[0].partition
    return hosts.indices.map { number in
      guard let machine = hosts[number].machine else { return "n\(number) is down" }
      let state = machine.cores[machine.core(of: partition)].inspect(partition)
      let role = state.isOwner ? "owner" : "epoch"
      return
        "n\(number) \(role) \(state.epoch.rawValue), last \(state.last.rawValue) of epoch \(state.lastEpoch.rawValue), "
        + "committed \(state.committed.rawValue)"
    }
  }

  /// The owner of the key's partition, as most know it.
  var owner: Int? {
    let partition = workload.keys[0].partition
    return hosts.indices.first { number in
      guard let machine = hosts[number].machine else { return false }
      return machine.takesWrites(partition, hosts[number].clock(now))
    }
  }
}
