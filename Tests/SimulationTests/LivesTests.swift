import Testing
import Wire

@testable import Simulator

/// What is held against clients' histories where a partition began anew.
@Suite struct LivesTests {
  private let cluster = ClusterID(high: 1, low: 2)
  private let life = Lives.Life(first: 4, heardAt: 100)

  private func operation(
    _ kind: History.Operation.Kind, _ outcome: History.Operation.Outcome, _ call: UInt64, _ end: UInt64 = .max
  ) -> History.Operation {
    History.Operation(client: 0, key: "k", kind: kind, outcome: outcome, call: call, end: end)
  }

  private func verdict(_ operations: [History.Operation], _ life: Lives.Life? = nil) -> History.Verdict {
    var history = History()
    history.operations = operations
    if let life { history.keep(life, of: "k") }
    return history.verify().verdict
  }

  @Test("an epoch belongs to the last life that began with it or before, in its own cluster")
  func epochs() {
    var lives = Lives()
    lives.note(7, of: cluster, 4, 100)
    lives.note(7, of: cluster, 4, 200)
    lives.note(7, of: cluster, 9, 300)
    #expect([1, 3, 4, 8, 9, 20].map { lives.life(of: 7, cluster, in: $0) } == [0, 0, 4, 4, 9, 9])
    #expect(lives.latest(of: 7, cluster) == Lives.Life(first: 9, heardAt: 300))
    #expect(lives.latest(of: 8, cluster) == nil)
    #expect(lives.life(of: 7, ClusterID(high: 1, low: 3), in: 20) == 0)
  }

  @Test("what was written in the life before is declared lost")
  func declared() {
    let operations = [
      operation(.put("a"), .done(value: nil, tag: "\"7-3-1\""), 10, 20),
      operation(.get, .done(value: "a", tag: "\"7-3-1\""), 30, 40),
      operation(.get, .absent, 110, 120),
    ]
    #expect(verdict(operations, life) == .linearizable)
    #expect(verdict(operations) != .linearizable, "without the new life it is lost")
  }

  @Test("what was written in the new life isn't, though the news of it may be late")
  func kept() {
    let operations = [
      operation(.put("a"), .done(value: nil, tag: "\"7-4-1\""), 90, 105),
      operation(.get, .absent, 110, 120),
    ]
    #expect(verdict(operations, life) != .linearizable)
  }

  @Test("a deletion that doesn't tell its life may have been in either, and one in doubt stays in doubt")
  func either() {
    let operations = [
      operation(.delete, .done(value: nil, tag: nil), 80, 130),
      operation(.put("b"), .unknown, 50),
      operation(.put("a"), .done(value: nil, tag: "\"7-4-1\""), 90, 105),
      operation(.get, .absent, 95, 99),
      operation(.get, .absent, 110, 120),
      operation(.get, .done(value: "b", tag: "\"7-4-2\""), 140, 150),
    ]
    #expect(verdict(operations, life) == .linearizable)
  }
}
