import Engine
import Testing

@testable import Simulator

/// What becomes of a partition when all nodes that hold it are away at once.
@Suite struct StallTests {
  /// A calm cluster of five with two copies of each partition, in which one key was written.
  private struct Cluster {
    var world: World
    /// Those that hold the key's partition, its owner first, and one that doesn't.
    var holders: [Int] = []
    var other = 0

    init(abandonAfter seconds: UInt64) {
      var options = SimulationOptions.calmWhole(hosts: 5, seconds: 1000, clients: 1)
      options.keys = 1
      options.settings.copies = 2
      options.settings.evictAfter = 2 * World.second
      options.settings.abandonAfter = seconds * World.second
      world = World(options, pool: MemoryPool(), trace: true)
      world.workload.isOver = true
      world.advance(4000)
      #expect(world.ask(0, .put("v")).hasPrefix("201"))
      let topology = world.hosts[0].control!.topology!
      let entry = topology.partitions[world.workload.keys[0].partition]
      holders = ([entry.owner!] + entry.synced.filter { $0 != entry.owner }).map { slot in
        world.hosts.firstIndex { $0.control!.id == topology.members[Int(slot)]!.id }!
      }
      other = world.hosts.indices.first { !holders.contains($0) }!
    }

    /// The partition's entry as a host knows it.
    func entry(_ host: Int) -> PartitionEntry {
      world.hosts[host].control!.topology!.partitions[world.workload.keys[0].partition]
    }

    /// The host of a member.
    func host(_ slot: MemberSlot, _ leader: Int) -> Int {
      let id = world.hosts[leader].control!.topology!.members[Int(slot)]!.id
      return world.hosts.firstIndex { $0.control?.id == id }!
    }

    func said(_ text: String) -> Bool { world.trace.lines.contains { $0.contains(text) } }
  }

  @Test("it waits for nodes that are cut off, and has all its writes when they are back")
  func cutOff() {
    var cluster = Cluster(abandonAfter: 600)
    #expect(cluster.holders.count == 2)
    let rest = cluster.world.hosts.indices.filter { !cluster.holders.contains($0) }
    let links = cluster.holders.flatMap { a in rest.flatMap { b in [(from: a, to: b), (from: b, to: a)] } }
    let number = cluster.world.network.begin(links)
    cluster.world.advance(30_000)
    let refusal = cluster.world.ask(cluster.other, .put("w"))
    #expect(refusal.hasPrefix("503") && refusal.contains("waits for them"), "\(refusal)")
    #expect(cluster.world.ask(cluster.other, .get, "read=linearizable").hasPrefix("503"))
    #expect(cluster.said("partitions stalled") && !cluster.said("partitions lost"))
    cluster.world.network.end(number)
    cluster.world.advance(10_000)
    #expect(cluster.world.ask(cluster.other, .get, "read=linearizable") == "200 v")
    #expect(cluster.world.ask(cluster.other, .put("w")).hasPrefix("200"))
    #expect(cluster.said(" 0 partitions stalled") && !cluster.said("partitions lost"))
    #expect(cluster.world.checker.violation == nil)
  }

  @Test("it begins anew, empty and not in silence, when they have been away for too long")
  func abandoned() {
    var cluster = Cluster(abandonAfter: 12)
    for holder in cluster.holders { cluster.world.crash(holder) }
    cluster.world.advance(9_000)
    #expect(cluster.world.ask(cluster.other, .put("w"), "timeout=100ms").hasPrefix("503"))
    cluster.world.advance(12_000)
    #expect(cluster.said("partitions lost"))
    #expect(cluster.world.ask(cluster.other, .get, "read=linearizable").hasPrefix("404"))
    #expect(cluster.world.ask(cluster.other, .put("w")).hasPrefix("201"))
    let entry = cluster.world.hosts[cluster.other].control!.topology!.partitions[
      cluster.world.workload.keys[0].partition]
    #expect(entry.losses == 1 && entry.lostBefore.rawValue > 1)
    #expect(cluster.world.checker.violation == nil)
  }

  @Test("it begins anew at once when others have their addresses: they are surely dead")
  func replaced() {
    var cluster = Cluster(abandonAfter: 3600)
    for holder in cluster.holders { cluster.world.crash(holder) }
    for holder in cluster.holders { cluster.world.start(holder) }
    cluster.world.advance(15_000)
    #expect(cluster.said("partitions lost"))
    #expect(cluster.world.ask(cluster.other, .put("w")).hasPrefix("201"))
    #expect(cluster.world.checker.violation == nil)
  }

  @Test("a node that hears late that it began anew keeps what it acknowledged to its new owner")
  func lateNews() {
    // Who gets the copy, and when: the same again below, but that this node hears nothing of it for a while.
    var (cluster, leader) = begun()
    let time = cluster.world.now
    while cluster.entry(leader).synced.count < 2 { cluster.world.advance(1) }
    let copy = cluster.host(cluster.entry(leader).synced[1], leader)
    (cluster, leader) = begun(at: time, unheardBy: copy)
    let owner = cluster.host(cluster.entry(leader).owner!, leader)
    #expect(cluster.world.ask(owner, .put("x"), "w=2").hasPrefix("201"))
    #expect(cluster.entry(copy).losses == 0 && cluster.entry(leader).synced.count == 2)
    cluster.world.network.endAll()
    cluster.world.advance(2000)
    #expect(cluster.entry(copy).losses == 1)
    for host in [owner, copy] { #expect(cluster.world.ask(host, .get, "read=linearizable") == "200 x") }
  }

  /// A cluster whose leader has just committed that the key's partition begins anew, at `time`: one node doesn't hear
  /// the leader from shortly before that on.
  private func begun(at time: UInt64 = 0, unheardBy copy: Int? = nil) -> (Cluster, leader: Int) {
    var cluster = Cluster(abandonAfter: 12)
    for holder in cluster.holders { cluster.world.crash(holder) }
    cluster.world.advance(5000)
    let leader = cluster.world.hosts.firstIndex { host in host.control.map { $0.leader == $0.id } ?? false }!
    while cluster.entry(leader).losses == 0 {
      cluster.world.advance(1)
      if let copy, cluster.world.now + 20_000_000 == time {
        _ = cluster.world.network.begin([(from: leader, to: copy)], .datagrams)
      }
    }
    return (cluster, leader)
  }
}
