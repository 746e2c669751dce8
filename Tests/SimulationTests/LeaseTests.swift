import Engine
import Testing

@testable import Simulator

/// What an owner does that is cut off from all others, but not from its clients.
@Suite struct LeaseTests {
  /// A cluster of three with one key, whose value expires.
  private struct Cluster {
    var world: World
    let owner: Int

    init(_ change: (inout SimulationOptions) -> Void = { _ in }) throws {
      var options = SimulationOptions.calmWhole(hosts: 3, seconds: 1000, clients: 1)
      options.keys = 0
      options.mortalKeys = 1
      change(&options)
      world = World(options, pool: MemoryPool(), trace: true)
      world.workload.isOver = true
      world.advance(4000)
      #expect(world.ask(0, .put("v"), "ttl=8s").hasPrefix("201"))
      owner = try #require(world.owner)
      let owner = owner
      let others = world.hosts.indices.filter { $0 != owner }
      _ = world.network.begin(others.flatMap { [(from: $0, to: owner), (from: owner, to: $0)] })
      // Longer than any lease lasts, however its end is reckoned.
      world.advance(5000)
      #expect(world.checker.violation == nil)
    }

    /// The end of the key's log at the owner.
    var last: UInt64 {
      let partition = world.workload.keys[0].partition
      return world.hosts[owner].machine!.cores[0].inspect(partition).last.rawValue
    }
  }

  @Test("it refuses writes, and removes nothing that expires; what has expired is absent all the same")
  func expires() throws {
    var cluster = try Cluster()
    #expect(cluster.last == 1)
    #expect(cluster.world.ask(cluster.owner, .put("w"), "w=1&ttl=8s").hasPrefix("503"))
    #expect(cluster.world.ask(cluster.owner, .get, "read=local").hasPrefix("200"))
    cluster.world.advance(5000)
    #expect(cluster.last == 1)
    #expect(cluster.world.ask(cluster.owner, .get, "read=local").hasPrefix("404"))
    #expect(cluster.world.checker.violation == nil)
  }

  #if DEBUG
    @Test("a write that it takes all the same is found")
    func writes() throws {
      var cluster = try Cluster { $0.replicationMutation = .ignoresLease }
      #expect(cluster.world.ask(cluster.owner, .put("w"), "w=1&ttl=8s").hasPrefix("20"))
      cluster.world.advance(200)
      #expect(cluster.world.checker.violation?.invariant == .noLeaseWithoutQuorum)
    }

    @Test("so is the removal of what expired")
    func removes() throws {
      var cluster = try Cluster { $0.replicationMutation = .ignoresLease }
      cluster.world.advance(5000)
      #expect(cluster.world.checker.violation?.invariant == .noLeaseWithoutQuorum)
    }
  #endif
}
