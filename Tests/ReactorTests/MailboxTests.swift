import Glibc
import Testing

@testable import Reactor

@Suite("A mailbox") struct MailboxTests {
  @Test("does what a dumb queue does, at every fill and wrap", arguments: [1, 2, 3] as [UInt64])
  func twin(_ seed: UInt64) {
    var dice = Dice(seed: seed)
    Mailbox.make(capacity: 1024).split { writer, reader in
      var writer = writer
      var reader = reader
      var committed: [[UInt8]] = []
      var published: [[UInt8]] = []
      var unreleased = 0
      for _ in 0..<100_000 {
        switch Int.random(in: 0..<8, using: &dice) {
        case 0...2:
          let message = dice.bytes(Int.random(in: 0...writer.maximumMessage / 4, using: &dice))
          if let room = writer.reserve(message.count) {
            room.copyMemory(from: message, byteCount: message.count)
            let kept = Int.random(in: 0...message.count, using: &dice)
            writer.commit(kept)
            committed.append(Array(message[..<kept]))
          } else {
            #expect(!(committed.isEmpty && published.isEmpty && unreleased == 0), "an empty ring refused a message")
          }
        case 3:
          let hadSome = writer.publish()
          #expect(hadSome == !committed.isEmpty)
          published += committed
          committed = []
        case 4...6:
          let hasMail = reader.hasMail
          #expect(hasMail == !published.isEmpty)
          let message = reader.next()
          #expect(message.map(Array.init) == published.first)
          if message != nil {
            published.removeFirst()
            unreleased += 1
          }
        default:
          reader.release()
          unreleased = 0
        }
      }
    }
  }

  @Test("takes its longest message wherever it stands, and an empty one")
  func longest() {
    Mailbox.make(capacity: 256).split { writer, reader in
      var writer = writer
      var reader = reader
      let long = [UInt8](repeating: 7, count: writer.maximumMessage)
      for step in 0..<1000 {
        let count = step % 2 == 0 ? long.count : step % 9
        let isWritten = writer.write(long, count: count)
        #expect(isWritten)
        _ = writer.publish()
        let message = reader.next()
        #expect(message?.count == count)
        let nothing = reader.next()
        #expect(nothing == nil)
        reader.release()
      }
    }
  }

  @Test("carries a million bytes of random messages between two threads unharmed")
  func threads() throws {
    let ends = Ends()
    let thread = try Thread.start(name: "writer") { ends.writeAll() }
    ends.readAll()
    thread.join()
  }

  /// Both ends, each used by one thread; both roll the same dice.
  private final class Ends: @unchecked Sendable {
    private let writer = UnsafeMutablePointer<MailboxWriter>.allocate(capacity: 1)
    private let reader = UnsafeMutablePointer<MailboxReader>.allocate(capacity: 1)
    private let messages = 200_000

    init() {
      Mailbox.make(capacity: 4096).split { writer, reader in
        self.writer.initialize(to: writer)
        self.reader.initialize(to: reader)
      }
    }

    deinit {
      writer.deinitialize(count: 1)
      reader.deinitialize(count: 1)
      writer.deallocate()
      reader.deallocate()
    }

    func writeAll() {
      var dice = Dice(seed: 99)
      for number in 0..<messages {
        let count = Int(dice.next() % 200)
        let first = UInt8(truncatingIfNeeded: dice.next())
        while true {
          if let room = writer.pointee.reserve(count) {
            for index in 0..<count { room.storeBytes(of: first &+ UInt8(index), toByteOffset: index, as: UInt8.self) }
            writer.pointee.commit(count)
            break
          }
          _ = writer.pointee.publish()
          sched_yield()
        }
        if number % 7 == 0 { _ = writer.pointee.publish() }
      }
      _ = writer.pointee.publish()
    }

    func readAll() {
      var dice = Dice(seed: 99)
      var wrong = 0
      for number in 0..<messages {
        let count = Int(dice.next() % 200)
        let first = UInt8(truncatingIfNeeded: dice.next())
        while true {
          guard let message = reader.pointee.next() else {
            reader.pointee.release()
            sched_yield()
            continue
          }
          if message.count != count { wrong += 1 }
          for index in 0..<min(count, message.count) where message[index] != first &+ UInt8(index) { wrong += 1 }
          break
        }
        if number % 5 == 0 { reader.pointee.release() }
      }
      #expect(wrong == 0)
      let rest = reader.pointee.next()
      #expect(rest == nil)
    }
  }
}
