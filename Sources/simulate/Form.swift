import Simulator

/// What clusters and faults seeds stand for; see `Simulate.usage`.
struct Form: Sendable {
  /// Whether nodes have cores; see `--control`.
  var isWhole = true
  /// Whether seeds have options made to bring out what is wrong with the data plane, instead of a swarm's.
  var isHarsh = false
  /// Whether clients make the simplest requests only; see `--plain`.
  var isPlain = false
  /// The kind of ambush that seeds have; see `--ambush`.
  var ambush: Int?

  /// The options of a seed.
  func options(_ seed: UInt64) -> SimulationOptions {
    if let ambush { return .ambushed(ambush, seed) }
    let options: SimulationOptions = isHarsh ? .harsh(seed) : isWhole ? .wholeSwarm(seed) : .swarm(seed)
    return isPlain ? options.plain : options
  }

  /// What was said about the options of seeds.
  var flags: String {
    if let ambush { return "--ambush \(ambush) " }
    return (isWhole ? "" : "--control ") + (isPlain ? "--plain " : "") + (isHarsh ? "--harsh " : "")
  }

  /// Takes what stands before the seed out of the arguments.
  init(_ words: inout [String]) {
    if words.first == "--control" {
      isWhole = false
      words.removeFirst()
    }
    if words.count > 1, words.first == "--ambush" {
      ambush = Int(words[1]).map { min(max($0, 0), SimulationOptions.ambushKinds - 1) }
      words.removeFirst(2)
    }
    if words.first == "--plain" {
      isPlain = true
      words.removeFirst()
    }
    if words.first == "--harsh" {
      isHarsh = true
      words.removeFirst()
    }
  }
}
