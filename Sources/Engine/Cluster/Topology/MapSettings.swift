import Wire

/// What `PUT /v1/maps/{map}` sets for a map. Part of the topology, so that every node knows it and it survives as long
/// as the cluster does.
package struct MapSettings: Equatable, Sendable {
  /// Where a map's values are. The numbers are in the topology's bytes.
  package enum Mode: UInt8, Sendable {
    /// At all that hold the key's partition.
    case replicated = 0
    /// At the owner of the key's partition alone, and for a while at nodes that read them: see `Core+Cache`.
    case cache = 1
  }

  /// How many nodes `majority` and `all` of a write count, if the cluster has more copies; 0 for all of them.
  package var replicas: UInt16 = 0
  package var mode = Mode.replicated
  /// Milliseconds to live for writes that name none; 0 for no expiry.
  package var timeToLive: UInt64 = 0
  /// Bytes of history kept for change streams; 0 for the default.
  package var history: UInt64 = 0
  /// How many times the map's settings were set. In a command: how many times they must have been set before.
  package var version: UInt64 = 0

  package init() {}
}

/// A map that has settings; the map "default" has the empty name.
package struct MapEntry: Equatable, Sendable {
  /// At most 200 bytes.
  package var name: [UInt8]
  package var settings: MapSettings

  package init(name: [UInt8], settings: MapSettings) {
    self.name = name
    self.settings = settings
  }
}

extension Topology {
  /// Maps with settings at most; a map without needs no entry.
  package static let maximumMaps = 1024

  /// A map's settings, defaults when it has none.
  package func settings(of name: [UInt8]) -> MapSettings {
    maps.first { $0.name == name }?.settings ?? MapSettings()
  }

  /// Sets a map's settings, if they weren't set since whoever asks for it looked: so it happens at most once.
  mutating func set(_ entry: MapEntry) -> Bool {
    guard entry.settings.version == settings(of: entry.name).version else { return false }
    var new = entry
    new.settings.version += 1
    if let place = maps.firstIndex(where: { $0.name == entry.name }) {
      maps[place] = new
    } else {
      guard maps.count < Topology.maximumMaps else { return false }
      maps.append(new)
    }
    return true
  }
}

extension BeaconWriter {
  mutating func map(_ entry: MapEntry) {
    u8(UInt8(entry.name.count))
    for byte in entry.name { u8(byte) }
    u16(entry.settings.replicas)
    u8(entry.settings.mode.rawValue)
    u64(entry.settings.timeToLive)
    u64(entry.settings.history)
    u64(entry.settings.version)
  }
}

extension BeaconReader {
  mutating func map() throws(BeaconError) -> MapEntry {
    var name: [UInt8] = []
    for _ in 0..<(try count8(atMost: 200)) { name.append(try u8()) }
    var settings = MapSettings()
    settings.replicas = try u16()
    guard let mode = MapSettings.Mode(rawValue: try u8()) else { throw .malformed }
    settings.mode = mode
    settings.timeToLive = try u64()
    settings.history = try u64()
    settings.version = try u64()
    return MapEntry(name: name, settings: settings)
  }
}

extension ControlPlane {
  /// Asks for a map's settings, for as long as they are what whoever asks knew, and at most as often as there is room
  /// for.
  package func setMap(_ entry: MapEntry, now: UInt64) {
    mapRequests.removeAll { $0.name == entry.name }
    if mapRequests.count == ClusterLimits.mapRequests { mapRequests.removeFirst() }
    mapRequests.append(entry)
    mayWantRequest = true
    nextRequest = min(nextRequest, now)
  }

  /// Those that are done, or can't be any more, are asked for no longer.
  func forgetMapRequests() {
    guard !mapRequests.isEmpty, let topology else { return }
    mapRequests.removeAll { topology.settings(of: $0.name).version != $0.settings.version }
  }
}
