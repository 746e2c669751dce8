import Testing

@testable import Engine

@Suite("What a core looks at from time to time")
struct ReplicationDeskTests {
  /// Partitions that are looked at in the next tick.
  private func looks(_ desk: inout ReplicationDesk) -> [Int] {
    var list: [Int] = []
    desk.takeAwake(&list)
    return list
  }

  /// The partitions of each of the next ticks, as many as calm ones wait for.
  private func round(_ desk: inout ReplicationDesk) -> [[Int]] {
    (0..<ReplicationDesk.calmTicks).map { _ in looks(&desk) }
  }

  /// Twelve partitions that have been looked at once.
  private func desk(isSettled: Bool, isCalm: Bool) -> ReplicationDesk {
    var desk = ReplicationDesk()
    desk.begin(12)
    #expect(looks(&desk) == Array(0..<12))
    for part in 0..<12 { desk.looked(at: part, isSettled: isSettled, isCalm: isCalm) }
    return desk
  }

  @Test("what is settled rests until it is touched; what isn't is looked at in each tick")
  func settled() {
    var settled = desk(isSettled: true, isCalm: false)
    #expect(looks(&settled).isEmpty)
    settled.touchWritten(2)
    settled.touch(1)
    #expect(looks(&settled) == [1, 2])
    #expect(looks(&settled).isEmpty)
    var unsettled = desk(isSettled: false, isCalm: false)
    #expect(looks(&unsettled) == Array(0..<12))
  }

  @Test("what is calm and was only written to waits for its turn; anything else that happens to it doesn't")
  func calm() {
    var desk = desk(isSettled: true, isCalm: true)
    let written = [3, 0, 5, 7, 11, 2]
    for part in written { desk.touchWritten(part) }
    let ticks = round(&desk)
    // Each once, a few at a time.
    #expect(ticks.joined().sorted() == written.sorted() && ticks.allSatisfy { $0.count <= 2 })
    for part in written { desk.looked(at: part, isSettled: part != 3, isCalm: true) }
    // A follower owes something still: nobody else may ever touch it.
    #expect(round(&desk).joined().sorted() == [3])
    desk.looked(at: 3, isSettled: false, isCalm: true)
    desk.touch(3)
    #expect(looks(&desk) == [3])
    desk.looked(at: 3, isSettled: false, isCalm: true)
    desk.wake(3)
    #expect(looks(&desk) == [3])
    desk.looked(at: 3, isSettled: false, isCalm: false)
    #expect(looks(&desk) == [3])
  }
}
