import Reactor
import Wire

/// The places of `--join` as addresses: names are looked up again and again, since what they stand for changes.
struct JoinPlaces {
  /// Addresses that one beacon goes to at most; more take turns.
  private static var maximumPerBeacon: Int { 128 }

  private let targets: JoinTargets
  private let resolver: Resolver?
  private var found: [String: [SocketAddress]] = [:]
  private var failed: Swift.Set<String> = []
  private(set) var addresses: [SocketAddress] = []
  private var turn = 0
  /// Names may be under way.
  var isAsking: Bool { resolver != nil }
  /// When names are asked for again.
  private(set) var nextLook: UInt64

  init(_ targets: JoinTargets, waker: Waker) {
    self.targets = targets
    resolver = targets.names.isEmpty ? nil : Resolver(waker: waker)
    nextLook = targets.names.isEmpty ? .max : 0
    list()
  }

  /// Asks for the names' addresses when it is time to: often while a cluster is sought.
  mutating func refresh(now: UInt64, isSeeking: Bool) {
    guard let resolver, now >= nextLook else { return }
    nextLook = now + (isSeeking ? 1_000_000_000 : 10_000_000_000)
    for name in targets.names { resolver.resolve(name) }
  }

  /// Takes what was found. What is found no more is kept, since name servers fail, too.
  ///
  /// - Returns: sentences about names that can't be looked up, each once until it can.
  mutating func takeAnswers() -> [String] {
    guard let resolver else { return [] }
    var news: [String] = []
    for answer in resolver.takeAnswers() {
      switch answer.outcome {
      case .addresses(let addresses):
        found[answer.name] = addresses
        failed.remove(answer.name)
      case .failed(let error):
        if failed.insert(answer.name).inserted { news.append(error.sentence) }
      }
    }
    list()
    return news
  }

  /// Where the next beacon goes.
  mutating func next() -> ArraySlice<SocketAddress> {
    guard addresses.count > JoinPlaces.maximumPerBeacon else { return addresses[...] }
    if turn >= addresses.count { turn = 0 }
    let end = min(addresses.count, turn + JoinPlaces.maximumPerBeacon)
    defer { turn = end }
    return addresses[turn..<end]
  }

  private mutating func list() {
    addresses = []
    for target in targets.targets {
      let hosts: [SocketAddress] =
        switch target.host {
        case .v4(let address): [SocketAddress(v4: address, port: 0)]
        case .v6(let high, let low): [SocketAddress(high: high, low: low, port: 0)]
        case .name(let name): found[name] ?? []
        }
      for host in hosts {
        for port in target.ports {
          var address = host
          address.port = port
          addresses.append(address)
        }
      }
    }
  }
}
