import Wire

// `PUT /v1/maps/{map}`: the cluster is asked for the settings, and the answer waits until this node's topology shows
// them, so that a client that goes on with this node finds them in force. Other nodes follow within a heartbeat.
extension Core {
  mutating func serveSettings(
    _ name: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer, _ entry: BatchEntry
  ) throws(Problem) {
    let map = name.equals("default") ? UnsafeRawBufferPointer(start: nil, count: 0) : name
    guard maps.hasRoom(for: map) else {
      throw Problem(507, "As many maps as a node takes have settings. Maps without settings need none.")
    }
    var settings = try MapSettings(body)
    guard settings.mode == .replicated || !map.isEmpty else {
      throw Problem(400, "mode is replicated for the map default; give a cache a map of its own.")
    }
    guard let view = standing.view else { return setAlone(map, name, settings, entry) }
    guard let topology = view.topology, !view.isForming else { throw seeking }
    guard settings.replicas <= UInt16(topology.copies) else { throw .tooManyReplicas }
    guard standing.hasLease else { throw cutOff }
    guard pendingSettings.count < ClusterLimits.mapRequests else { throw .overloaded }
    settings.version = maps.settings(of: map).version
    let gather = Gather(entry, kind: .settings, expected: 1)
    gather.map = [UInt8](name)
    register(gather)
    pendingSettings.append(
      PendingSettings(
        gather: gather, entry: MapEntry(name: [UInt8](map), settings: settings),
        deadline: monotonic + UInt64(limits.writeTimeout) * 1_000_000))
    let command = logScratch.copy(TopologyCommand.setMap(pendingSettings.last!.entry).encoded())
    effects.append(.setMap(command.baseAddress!, count: command.count))
  }

  /// A core without a cluster tells the node's other cores itself.
  private mutating func setAlone(
    _ map: UnsafeRawBufferPointer, _ name: UnsafeRawBufferPointer, _ asked: MapSettings, _ entry: BatchEntry
  ) {
    var settings = asked
    settings.version = maps.nextVersion(on: index)
    maps.set(map, settings)
    let gather = Gather(entry, kind: .settings, expected: coreCount - 1)
    gather.text = settingsText(name, settings)
    var request = GatherRequest()
    request.settings = settings
    broadcast(gather, request, map: [UInt8](map))
    finishIfDone(gather)
  }

  /// Answers those whose settings the topology shows, or who have waited long enough.
  mutating func finishSettings() {
    let all = pendingSettings
    pendingSettings = []
    for pending in all {
      pending.gather.expected = 0
      let current = pending.entry.name.withUnsafeBytes { maps.settings(of: $0) }
      var wanted = pending.entry.settings
      wanted.version += 1
      if current.version == pending.entry.settings.version {
        guard monotonic >= pending.deadline else {
          pendingSettings.append(pending)
          continue
        }
        pending.gather.failure = (504, [], .settingsUnknown)
      } else if current != wanted {
        pending.gather.failure = (409, [], .settingsConflict)
      } else {
        pending.gather.text = pending.gather.map.withUnsafeBytes { settingsText($0, current) }
        // The node's other cores may not have taken that topology yet.
        pending.gather.expected = coreCount - 1
        var request = GatherRequest()
        request.settings = current
        broadcast(pending.gather, request, map: pending.entry.name)
      }
      finishIfDone(pending.gather)
    }
  }

  /// The JSON of a map's settings, as `GET` and `PUT /v1/maps/{map}` show it.
  func settingsText(_ name: UnsafeRawBufferPointer, _ settings: MapSettings) -> [UInt8] {
    var text: [UInt8] = []
    appendJSON("{\"map\":", to: &text)
    Wire.appendJSONString(name, to: &text)
    appendJSON(",\"settings\":", to: &text)
    settings.append(to: &text)
    appendJSON("}\n", to: &text)
    return text
  }
}

/// Settings that the cluster was asked for.
struct PendingSettings {
  let gather: Gather
  /// With the version that they replace.
  let entry: MapEntry
  /// Monotonic nanoseconds.
  let deadline: UInt64
}

extension Problem {
  static var tooManyReplicas: Problem {
    Problem(
      400,
      """
      replicas is at most what the cluster keeps of everything (--replicas): all maps share the partitions and their \
      copies.
      """
    )
  }
  static var settingsUnknown: Problem {
    Problem(504, "Unknown: the cluster has not confirmed the settings in time. Read them, or set them again.")
  }
  static var settingsConflict: Problem {
    Problem(409, "Somebody else has set this map's settings at the same time. Read them, and set them again.")
  }
}

extension MapSettings {
  /// Reads the body of `PUT /v1/maps/{map}`: an object of the four settings, each optional.
  init(_ body: UnsafeRawBufferPointer) throws(Problem) {
    self.init()
    let document: JSONValue
    do {
      document = try JSONValue(validating: body)
    } catch {
      throw Problem(400, "The body is not valid JSON (RFC 8259).")
    }
    guard document.kind == .object else { throw Problem(400, "The settings of a map are a JSON object.") }
    var members = document.members()
    while let member = members.next() { try read(member) }
  }

  private mutating func read(_ member: JSONMember) throws(Problem) {
    if member.name.isString("replicas") {
      guard let count = member.value.integer, count >= 1, count <= 64 else {
        throw Problem(400, "replicas is a whole number from 1 to 64.")
      }
      replicas = UInt16(count)
    } else if member.name.isString("mode") {
      guard member.value.isString("replicated") || member.value.isString("cache") else {
        throw Problem(400, "mode is replicated or cache.")
      }
      mode = member.value.isString("cache") ? .cache : .replicated
    } else if member.name.isString("ttl") {
      var text: [UInt8] = []
      if !member.value.string(into: &text) { text = [UInt8](member.value.bytes) }
      guard let milliseconds = text.withUnsafeBytes({ Text.parseDuration($0) }) else {
        throw Problem(400, "ttl is a duration such as 500ms, 30s, 5m, 1h or 2d; 0 for none.")
      }
      timeToLive = milliseconds
    } else if member.name.isString("history") {
      var text: [UInt8] = []
      if !member.value.string(into: &text) { text = [UInt8](member.value.bytes) }
      guard let bytes = text.withUnsafeBufferPointer({ Text.parseSize($0.baseAddress!, $0.count) }) else {
        throw Problem(400, "history is a size such as 64MiB.")
      }
      history = bytes
    } else {
      throw Problem(400, "A setting is not known here. Known are replicas, mode, ttl and history.")
    }
  }

  /// Appends the settings as a JSON object.
  func append(to text: inout [UInt8]) {
    appendJSON("{\"replicas\":", to: &text)
    if replicas == 0 { appendJSON("null", to: &text) } else { appendJSONInteger(Int64(replicas), to: &text) }
    appendJSON(mode == .cache ? ",\"mode\":\"cache\"" : ",\"mode\":\"replicated\"", to: &text)
    appendJSON(",\"ttl\":\"", to: &text)
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 32) { room in
      let count = Text.writeDuration(timeToLive, to: room.baseAddress!)
      text.append(contentsOf: room[..<count])
    }
    appendJSON("\",\"history\":", to: &text)
    appendJSONInteger(history, to: &text)
    appendJSON("}", to: &text)
  }
}
