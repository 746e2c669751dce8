import Testing

@testable import Engine
@testable import Wire

/// What no client waits for comes after the answers.
@Suite("Turns of a node that brings another in step")
struct CatchUpTurnTests {
  /// A cluster whose first node has begun to send 900 KB to the third.
  private struct Joining {
    let cluster: TestCluster
    let client: TestClient

    init() {
      var limits = TestNode.limits
      limits.catchUpRate = 200_000
      cluster = TestCluster(3, limits: limits, factor: 2)
      cluster.settle()
      client = cluster.nodes[0].connect()
      for number in 0..<90 {
        client.send(request("PUT", "/" + cluster.key(of: 0, number), body: String(repeating: "x", count: 10_000)))
      }
      client.send(request("PUT", "/" + cluster.key(of: 0, prefix: "small"), body: "1"))
      cluster.settle()
      let all: SlotList = [MemberSlot(0), MemberSlot(1), MemberSlot(2)]
      let owned = (0..<partitionCount).filter { $0 % 3 == 0 }
      cluster.apply(.place(owned.map { .init(partition: PartitionID(UInt16($0)), replicas: all) }))
      cluster.publish()
      cluster.settle()
    }

    /// Bytes that the node's next turn sends, some time later: an answer has some hundreds, a copy more than 9000.
    func turn(after microseconds: UInt64, asks: Bool) -> UInt64 {
      let node = cluster.nodes[0]
      node.setClock(node.monotonic + 1000 * microseconds)
      if asks { client.send(request("GET", "/" + cluster.key(of: 0, prefix: "small"))) }
      let before = node.cores[0].metrics.value(.sentBytes)
      node.turn(0)
      return node.cores[0].metrics.value(.sentBytes) - before
    }

    /// Bytes of records that this turn hands to the third node's link.
    func piece(after microseconds: UInt64, asks: Bool) -> Int {
      let node = cluster.nodes[0]
      let before = node.cores[0].desk.peers[2]!.pointee.pace.underWay
      _ = turn(after: microseconds, asks: asks)
      return node.cores[0].desk.peers[2]!.pointee.pace.underWay - before
    }
  }

  private let answer: Range<UInt64> = 50..<1000
  private let copy: PartialRangeFrom<UInt64> = 9000...

  @Test("answers go out before copies: those wait for a turn without any, which comes at once")
  func answersFirst() {
    let joining = Joining()
    let first = joining.turn(after: 100_000, asks: true)
    #expect(answer ~= first)
    #expect(joining.cluster.nodes[0].cores[0].deadline == 0)
    let second = joining.turn(after: 0, asks: false)
    #expect(copy ~= second)
  }

  @Test("a core that has answers in each turn sends copies with them after a millisecond")
  func busy() {
    let joining = Joining()
    var turns = [joining.turn(after: 100_000, asks: true)]
    for _ in 0..<4 { turns.append(joining.turn(after: 300, asks: true)) }
    #expect(turns.dropLast().allSatisfy { answer ~= $0 }, "\(turns)")
    #expect(copy ~= turns.last!, "\(turns)")
  }

  @Test("a turn without answers sends a piece, and others follow at once; with answers all that is permitted goes")
  func pieces() {
    // What is permitted after this time is eight pieces, of two records each or of one and some partitions looked at.
    let joining = Joining()
    var pieces = (0..<4).map { joining.piece(after: $0 == 0 ? 700_000 : 0, asks: false) }
    #expect(pieces.allSatisfy { 9000..<32_000 ~= $0 }, "\(pieces)")
    #expect(joining.cluster.nodes[0].cores[0].deadline == 0)
    let busy = Joining()
    pieces = [busy.piece(after: 700_000, asks: true), busy.piece(after: 1100, asks: true)]
    #expect(pieces[0] == 0 && pieces[1] >= 100_000, "\(pieces)")
  }
}
