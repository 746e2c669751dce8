import Testing

@testable import Engine

/// Values whose bytes come straight to where they stay.
@Suite("Lent memory")
struct CoreLendingTests {
  private static let size = 300_000

  private func value(_ seed: Int) -> [UInt8] { (0..<Self.size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ seed) } }

  @Test("values that come straight to their place, in part or not at all are stored alike", arguments: 1...12)
  func straight(seed: UInt64) {
    let node = TestNode(cores: 2, seed: seed)
    let clients = (0..<3).map { node.connect($0 % 2) }
    for round in 0..<4 {
      for (index, client) in clients.enumerated() {
        let bytes = request("PUT", "/big\(index)", [], value(index + round)) + request("GET", "/none")
        var from = 0
        for piece in [100, 32_000, 90_000, 1000, 150_000, bytes.count] where from < bytes.count {
          client.send(bytes[from..<min(bytes.count, from + piece)])
          from += piece
        }
      }
      node.settle()
      for client in clients { #expect(client.takeAnswers().map(\.status) == [round == 0 ? 201 : 200, 404]) }
      for index in clients.indices {
        #expect(node.ask("GET", "/big\(index)", [], [], hasBody: false).body == value(index + round))
      }
    }
    #expect(node.loansTaken > 0)
    node.checkAtRest()
  }

  @Test("memory stays lent until the connection is gone, although its value was given up", arguments: [1, 2])
  func reset(cores: Int) {
    let node = TestNode(cores: cores)
    let client = node.connect()
    client.send(request("PUT", "/big", [], value(1)).prefix(100_000))
    node.settle()
    #expect(client.loan != nil)
    client.holdsClose = true
    client.reset()
    node.settle()
    // Other values don't come to lie where the kernel may still write.
    for n in 0..<8 { #expect(node.ask("PUT", "/other\(n)", [], value(n)).status == 201) }
    client.holdsClose = false
    node.settle()
    for n in 0..<8 { #expect(node.ask("GET", "/other\(n)", [], [], hasBody: false).body == value(n)) }
    #expect(node.ask("GET", "/big").status == 404)
    node.checkAtRest()
  }

  @Test("memory of a body that took too long stays lent until bytes come")
  func timeout() {
    let node = TestNode()
    let client = node.connect()
    client.send(request("PUT", "/big", [], value(1)).prefix(100_000))
    node.settle()
    let loan = client.loan
    node.advance(node.limits.bodyTimeout + 1000)
    node.settle()
    #expect(client.takeAnswers().map(\.status) == [408])
    #expect(client.loan?.baseAddress == loan?.baseAddress)
    for n in 0..<4 { #expect(node.ask("PUT", "/other\(n)", [], value(n)).status == 201) }
    client.send([UInt8](repeating: 1, count: 50_000))
    node.settle()
    for n in 0..<4 { #expect(node.ask("GET", "/other\(n)", [], [], hasBody: false).body == value(n)) }
    node.checkAtRest()
  }
}
