// swift-tools-version: 6.2
import PackageDescription

/// One settings array for every Swift target: the language's strictest mode, warnings are errors.
let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
]

/// The part that has threads: what `make sanitize` builds alone under ThreadSanitizer, because of the rest, which has
/// none, Swift 6.3 makes invalid code under it ("Invalid bitcast").
let threaded: [Target] = [
  // Statically, as libsodium below: the runtime image needs no package for it.
  .target(name: "CIOUring", linkerSettings: [.linkedLibrary(":liburing.a")]),
  .target(name: "Reactor", dependencies: ["CIOUring"], swiftSettings: settings),
  .testTarget(name: "ReactorTests", dependencies: ["Reactor"], swiftSettings: settings),
]

let rest: [Target] = [
  .target(name: "CXXHash"),
  .target(name: "CSodium", linkerSettings: [.linkedLibrary(":libsodium.a")]),
  .target(name: "Wire", dependencies: ["CXXHash"], swiftSettings: settings),
  .target(name: "Engine", dependencies: ["Wire"], swiftSettings: settings),
  .target(name: "Simulator", dependencies: ["Engine", "Wire"], swiftSettings: settings),
  .executableTarget(name: "simulate", dependencies: ["Engine", "Reactor", "Simulator"], swiftSettings: settings),
  .executableTarget(
    name: "kvd",
    dependencies: [
      "CSodium", "Engine", "Reactor", "Wire",
      .product(name: "ArgumentParser", package: "swift-argument-parser"),
      .product(name: "Logging", package: "swift-log"),
      .product(name: "Histogram", package: "hdrhistogram-swift"),
    ],
    swiftSettings: settings),
  .executableTarget(
    name: "micro", dependencies: ["Engine", "Wire"], path: "Benchmarks/Micro", swiftSettings: settings),
  .testTarget(name: "WireTests", dependencies: ["Wire"], swiftSettings: settings),
  .testTarget(name: "EngineTests", dependencies: ["Engine"], swiftSettings: settings),
  .testTarget(
    name: "SimulationTests", dependencies: ["Engine", "Simulator", "simulate"], exclude: ["Scenarios"],
    swiftSettings: settings),
  .testTarget(name: "TidyTests", swiftSettings: settings),
]

let isThreadedOnly = Context.environment["KVD_THREADED_ONLY"] != nil

let package = Package(
  name: "kvd",
  products: isThreadedOnly ? [] : [.executable(name: "kvd", targets: ["kvd"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: isThreadedOnly ? threaded : threaded + rest
)
