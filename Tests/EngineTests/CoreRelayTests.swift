import Testing

@testable import Engine
@testable import Wire

@Suite("Operations on keys of other nodes")
struct CoreRelayTests {
  @Test("a key can be written and read on any node", arguments: [nil, 1, 2, 3])
  func anyNode(seed: UInt64?) {
    let cluster = TestCluster(3, cores: seed == nil ? 1 : 2, seed: seed)
    cluster.settle()
    let clients = cluster.nodes.map { $0.connect() }
    for owner in 0..<3 {
      for (entry, client) in clients.enumerated() {
        client.send(request("PUT", "/" + cluster.key(of: owner, entry), body: "\(owner) by \(entry)"))
      }
    }
    cluster.settle()
    for client in clients { #expect(client.takeAnswers().map(\.status) == [201, 201, 201]) }
    #expect(cluster.nodes.map(\.keys) == [3, 3, 3])
    for owner in 0..<3 {
      for client in clients {
        for entry in 0..<3 { client.send(request("GET", "/" + cluster.key(of: owner, entry))) }
      }
    }
    cluster.settle()
    let wanted = (0..<3).flatMap { owner in (0..<3).map { "\(owner) by \($0)" } }
    for client in clients { #expect(client.takeAnswers().map(\.text) == wanted) }
    cluster.checkAtRest()
  }
}
