import Wire

// SYNC: the log lines that say that a node has received what it should hold.

/// What a core received from one owner, of partitions whose synced set this node has joined since the last line.
struct SyncNews {
  let owner: MemberSlot
  var partitions = 0
  var records = 0
  var bytes = 0
}

extension Core {
  /// An entry made this node a member of a partition's synced set; what it holds of it came from the owner. That was
  /// the one before, if this node has become the owner since: a slow node may learn of both at once.
  mutating func noteSync(_ entry: PartitionEntry, before: PartitionEntry, _ partition: Int, own: MemberSlot?) {
    guard let own, let owner = entry.owner == own ? before.owner : entry.owner, owner != own, entry.isActive,
      before.isActive, entry.synced.contains(own), !before.synced.contains(own)
    else { return }
    let id = PartitionID(UInt16(partition))
    let place: Int
    if let known = desk.syncNews.firstIndex(where: { $0.owner == owner }) {
      place = known
    } else {
      place = desk.syncNews.count
      desk.syncNews.append(SyncNews(owner: owner))
    }
    desk.syncNews[place].partitions += 1
    desk.syncNews[place].records += store.count(of: id)
    desk.syncNews[place].bytes += store.liveBytes(of: id)
    if desk.syncSince == 0 { desk.syncSince = monotonic }
  }

  /// Tells what was received: one line for each owner, once nothing is missing, and every few seconds as long as
  /// something is. So there are no more lines than members in that time.
  mutating func tellSync() {
    guard !desk.syncNews.isEmpty, let own = desk.slot else { return }
    let missing = partitions.count {
      let entry = desk.parts![$0 - partitions.lowerBound].entry
      return entry.replicas.contains(own) && !entry.synced.contains(own)
    }
    guard missing == 0 || monotonic >= desk.syncSince + ReplicationDesk.syncInterval else { return }
    for news in desk.syncNews where configuration.logLevel <= .notice { logSync(news, missing: missing) }
    desk.syncNews.removeAll(keepingCapacity: true)
    desk.syncSince = 0
  }

  private mutating func logSync(_ news: SyncNews, missing: Int) {
    let members = standing.view?.topology?.members ?? []
    let owner = Int(news.owner) < members.count ? members[Int(news.owner)] : nil
    var line: [UInt8] = []
    appendJSON("\"message\":\"received copies\",\"type\":\"SYNC\",\"from\":", to: &line)
    appendJSONString(owner.map(Core.label) ?? "?", to: &line)
    appendJSON(",\"node\":", to: &line)
    appendJSONString(configuration.name, to: &line)
    for (name, number) in [
      ("core", index), ("partitions", news.partitions), ("records", news.records), ("bytes", news.bytes),
      ("missing", missing),
    ] {
      appendJSON(",", to: &line)
      appendJSONString(name, to: &line)
      appendJSON(":", to: &line)
      appendJSONInteger(Int64(number), to: &line)
    }
    let text = logScratch.copy(line)
    effects.append(.log(.notice, text.baseAddress!, count: text.count))
  }
}
