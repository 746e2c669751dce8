import Testing

@testable import Engine

@Suite("What a core looks at from time to time")
struct ReplicationDeskTests {
  private let tick = ReplicationDesk.tick

  /// Partitions that are looked at in the tick with this number.
  private func looks(_ desk: inout ReplicationDesk, at number: UInt64) -> [Int] {
    var list: [Int] = []
    desk.takeAwake(&list, now: number * tick)
    return list
  }

  /// Four partitions that have been looked at once, in tick 1.
  private func desk(isSettled: Bool, isCalm: Bool) -> ReplicationDesk {
    var desk = ReplicationDesk()
    desk.begin(4)
    #expect(looks(&desk, at: 1) == [0, 1, 2, 3])
    for part in 0..<4 { desk.looked(at: part, isSettled: isSettled, isCalm: isCalm) }
    return desk
  }

  @Test("what is settled rests until it is touched; what isn't is looked at in each tick")
  func settled() {
    var settled = desk(isSettled: true, isCalm: false)
    #expect(looks(&settled, at: 2).isEmpty)
    settled.touchWritten(2)
    settled.touch(1)
    #expect(looks(&settled, at: 3) == [1, 2])
    #expect(looks(&settled, at: 4).isEmpty)
    var unsettled = desk(isSettled: false, isCalm: false)
    #expect(looks(&unsettled, at: 2) == [0, 1, 2, 3])
  }

  @Test("what is calm and was only written to waits for its time; anything else that happens to it doesn't")
  func calm() {
    let slow = ReplicationDesk.calmTick / tick
    var desk = desk(isSettled: true, isCalm: true)
    for part in [3, 0, 2] { desk.touchWritten(part) }
    desk.touch(2)
    desk.touchWritten(2)
    #expect(looks(&desk, at: 2) == [2])
    desk.looked(at: 2, isSettled: true, isCalm: true)
    for number in 3...slow { #expect(looks(&desk, at: number).isEmpty) }
    #expect(looks(&desk, at: slow + 1) == [0, 2, 3])
    for part in [0, 2, 3] { desk.looked(at: part, isSettled: part != 3, isCalm: true) }
    // A follower owes something still: nobody else may ever touch it.
    for number in slow + 2...2 * slow { #expect(looks(&desk, at: number).isEmpty) }
    #expect(looks(&desk, at: 2 * slow + 1) == [3])
    desk.looked(at: 3, isSettled: false, isCalm: false)
    #expect(looks(&desk, at: 2 * slow + 2) == [3])
  }
}
