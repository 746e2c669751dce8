import Wire

/// The settings of the maps that have any; a short list, looked through from the front. Every core has the same, from
/// the topology.
struct MapTable: ~Copyable {
  private(set) var entries: [MapEntry] = []
  /// Whether any of them is a cache.
  private(set) var hasCaches = false
  /// The names of all entries behind the mark, in their order: memory that stays where it is while the entries do.
  private var marked: [UnsafeMutableRawBufferPointer] = []

  deinit { for name in marked { name.deallocate() } }

  /// In front of a cache's name in keys and records: its values are apart from what the same map has, or had, as one
  /// that is replicated. No name that a client writes begins with it.
  static var cacheMark: UInt8 { 0x01 }

  @inline(__always) var isEmpty: Bool { entries.isEmpty }

  /// The settings of a map, defaults when it has none. The map "default" has the empty name; that of a cache may have
  /// its mark.
  func settings(of name: UnsafeRawBufferPointer) -> MapSettings {
    let name = MapTable.isCache(name) ? UnsafeRawBufferPointer(rebasing: name[1...]) : name
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

  /// Whether a name in a key is that of a cache.
  @inline(__always)
  static func isCache(_ name: UnsafeRawBufferPointer) -> Bool { name.count > 0 && name[0] == cacheMark }

  /// Takes what the topology has.
  mutating func take(_ entries: [MapEntry]) {
    guard entries != self.entries else { return }
    self.entries = entries
    mark()
  }

  private mutating func mark() {
    for name in marked { name.deallocate() }
    marked = entries.map { entry in
      let name = UnsafeMutableRawBufferPointer.allocate(byteCount: entry.name.count + 1, alignment: 1)
      name[0] = MapTable.cacheMark
      UnsafeMutableRawBufferPointer(rebasing: name[1...]).copyBytes(from: entry.name)
      return name
    }
    hasCaches = entries.contains { $0.settings.mode == .cache }
  }

  /// The name under which a map's keys are: with the mark if it is a cache. Good until the entries change.
  func marked(_ name: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    for (index, entry) in entries.enumerated()
    where entry.settings.mode == .cache && entry.name.count == name.count && entry.name.elementsEqual(name) {
      return UnsafeRawBufferPointer(marked[index])
    }
    return name
  }

  /// Whether settings for this map find room.
  func hasRoom(for name: UnsafeRawBufferPointer) -> Bool {
    entries.count < Topology.maximumMaps || entries.contains { $0.name.elementsEqual(name) }
  }

  /// Sets a map's settings in a core that has no cluster, unless it has newer ones.
  mutating func set(_ name: UnsafeRawBufferPointer, _ settings: MapSettings) {
    guard settings.version > self.settings(of: name).version else { return }
    if let index = entries.firstIndex(where: { $0.name.elementsEqual(name) }) {
      entries[index].settings = settings
    } else {
      entries.append(MapEntry(name: [UInt8](name), settings: settings))
    }
    mark()
  }

  /// The version of settings that core `core` sets now, where there is no cluster: a Lamport clock (1978) with the
  /// core, so that of two settings that cross between cores the higher one wins on all of them.
  func nextVersion(on core: Int) -> UInt64 {
    let highest = entries.reduce(0) { max($0, $1.settings.version) }
    return (highest >> 16 &+ 1) << 16 | UInt64(core)
  }
}

extension KeyRef {
  /// Whether it is one of a map whose values are on their owner alone.
  @inline(__always) var isCached: Bool { mapCount > 0 && map.load(as: UInt8.self) == MapTable.cacheMark }
}
