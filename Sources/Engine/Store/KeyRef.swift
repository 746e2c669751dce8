import Wire

/// A key to look up: where its map's name and its own bytes lie, and their hash. A view, good while the bytes stay.
package struct KeyRef {
  /// The map's name; need not be valid where `mapCount` is 0.
  package let map: UnsafeRawPointer
  /// The key's bytes.
  package let key: UnsafeRawPointer
  /// Bytes of the map's name: 0 for the map `default`, at most 255.
  package let mapCount: Int
  /// Bytes of the key, at most 65535.
  package let keyCount: Int
  package let hash: UInt64

  /// A key whose hash the caller has; `map` is ignored when `mapCount` is 0, the map "default".
  @inline(__always)
  package init(map: UnsafeRawPointer, mapCount: Int, key: UnsafeRawPointer, keyCount: Int, hash: UInt64) {
    self.map = map
    self.mapCount = mapCount
    self.key = key
    self.keyCount = keyCount
    self.hash = hash
  }

  /// A key of the map "default".
  package init(_ key: UnsafeRawBufferPointer) {
    let start = key.baseAddress ?? UnsafeRawPointer(bitPattern: 8)!
    self.init(
      map: start, mapCount: 0, key: start, keyCount: key.count, hash: keyHash(start, count: key.count, mapCount: 0))
  }

  /// A key of a map whose name may lie elsewhere than the key; both together at most 64 KiB + 255 bytes. The two are
  /// hashed as one run of bytes, which costs a copy unless the map is "default" or its name immediately precedes the
  /// key.
  package init(map: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer) {
    guard map.count > 0, let name = map.baseAddress else {
      self.init(key)
      return
    }
    let count = map.count + key.count
    let start = key.baseAddress ?? name + map.count
    let hash: UInt64
    if name + map.count == start {
      hash = keyHash(name, count: count, mapCount: map.count)
    } else {
      hash = withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) { both in
        both.baseAddress!.copyMemory(from: name, byteCount: map.count)
        (both.baseAddress! + map.count).copyMemory(from: start, byteCount: key.count)
        return keyHash(both.baseAddress!, count: count, mapCount: map.count)
      }
    }
    self.init(map: name, mapCount: map.count, key: start, keyCount: key.count, hash: hash)
  }

  /// The key of a record, pointing into it.
  init(_ record: RecordView, hash: UInt64) {
    let start = record.base + record.prefixCount
    self.init(
      map: start, mapCount: record.mapCount, key: start + record.mapCount, keyCount: record.keyCount, hash: hash)
  }
}
