import Wire

/// What `PUT /v1/maps/{map}` sets for a map. Every core holds the same table.
struct MapSettings: Equatable {
  enum Mode: UInt8 { case replicated, cache }

  /// Copies of each value in the cluster; 0 for the cluster's default.
  var replicas: UInt16 = 0
  var mode = Mode.replicated
  /// Milliseconds to live for writes that name none; 0 for no expiry.
  var timeToLive: UInt64 = 0
  /// Bytes of history kept for change streams; 0 for the default.
  var history: UInt64 = 0
  /// A Lamport clock (1978) with the core it was set on: of two settings that cross between cores, the higher one wins
  /// on all of them.
  var version: UInt64 = 0
}

/// The settings of the maps that have any; a short list, looked through from the front.
struct MapTable {
  private(set) var entries: [(name: [UInt8], settings: MapSettings)] = []

  /// Maps with settings at most; a map without needs no entry.
  static var capacity: Int { 1024 }

  @inline(__always) var isEmpty: Bool { entries.isEmpty }

  /// The settings of a map, defaults when it has none. The map "default" has the empty name.
  func settings(of name: UnsafeRawBufferPointer) -> MapSettings {
    for entry in entries where entry.name.count == name.count && entry.name.elementsEqual(name) {
      return entry.settings
    }
    return MapSettings()
  }

  /// When a value written now to this key's map expires; 0 for never.
  func expiry(of key: KeyRef, now: UInt64) -> UInt64 {
    let settings = settings(of: UnsafeRawBufferPointer(start: key.map, count: key.mapCount))
    return settings.timeToLive == 0 ? 0 : now &+ settings.timeToLive
  }

  /// Whether settings for this map find room.
  func hasRoom(for name: UnsafeRawBufferPointer) -> Bool {
    entries.count < MapTable.capacity || entries.contains { $0.name.elementsEqual(name) }
  }

  /// The version of settings that core `core` sets now: above all that it has seen.
  func nextVersion(on core: Int) -> UInt64 {
    let highest = entries.reduce(0) { max($0, $1.settings.version) }
    return (highest >> 16 &+ 1) << 16 | UInt64(core)
  }

  /// Sets a map's settings, unless it has newer ones.
  mutating func set(_ name: UnsafeRawBufferPointer, _ settings: MapSettings) {
    guard settings.version > self.settings(of: name).version else { return }
    if let index = entries.firstIndex(where: { $0.name.elementsEqual(name) }) {
      entries[index].settings = settings
    } else {
      entries.append((name: [UInt8](name), settings: settings))
    }
  }
}
