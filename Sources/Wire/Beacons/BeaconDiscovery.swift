/// "Here I am", broadcast and sent to every address that an operator named (PROTOCOL: finding each other).
package struct Hello: Equatable, Sendable {
  /// XXH3 of the cluster's name: nodes of other names don't concern each other.
  package let nameHash: UInt64
  /// A member of the cluster in the datagram's head; otherwise a seeker.
  package let isMember: Bool
  /// As far as the sender knows, the cluster took a write.
  package let isWritten: Bool
  /// Seekers that the sender wants to see before a cluster is founded.
  package let expect: UInt8
  /// How many members the sender's cluster has.
  package let size: UInt16
  /// The last entry of the log that the sender has applied.
  package let index: LogIndex
  /// The leader as the sender knows it; all zero when it knows none.
  package let leader: NodeID
  package let leaderAddress: PeerAddress
  /// The seekers that the sender has heard lately, the lowest ids first.
  package let seen: [NodeID]

  package init(
    nameHash: UInt64, isMember: Bool, isWritten: Bool, expect: UInt8, size: UInt16, index: LogIndex, leader: NodeID,
    leaderAddress: PeerAddress, seen: [NodeID]
  ) {
    self.nameHash = nameHash
    self.isMember = isMember
    self.isWritten = isWritten
    self.expect = expect
    self.size = size
    self.index = index
    self.leader = leader
    self.leaderAddress = leaderAddress
    self.seen = seen
  }
}

/// A node that is to found a cluster, and where it was heard.
package struct Founder: Equatable, Sendable {
  /// Who it is.
  package let id: NodeID
  /// Where it listens, or was heard.
  package let address: PeerAddress

  package init(id: NodeID, address: PeerAddress) {
    self.id = id
    self.address = address
  }

  /// Founders at most: their list fits a datagram. Whoever starts at the same time beyond them joins.
  package static let maximumCount = 32
}

/// A proposal to found a cluster of exactly these nodes; with another kind, the news that it is founded.
package struct Founding: Equatable, Sendable {
  /// Raised by the proposer with every attempt.
  package let ballot: UInt64
  package let cluster: ClusterID
  /// Copies of each partition that are wanted.
  package let copies: UInt8
  /// In the order of their ids; the first of them proposes.
  package let founders: [Founder]

  package init(ballot: UInt64, cluster: ClusterID, copies: UInt8, founders: [Founder]) {
    self.ballot = ballot
    self.cluster = cluster
    self.copies = copies
    self.founders = founders
  }
}

/// A promise to found this cluster, a refusal, or the proposer's word that it has given up.
package struct FoundingReply: Equatable, Sendable {
  /// The proposer's attempt.
  package let ballot: UInt64
  /// Which cluster.
  package let cluster: ClusterID

  package init(ballot: UInt64, cluster: ClusterID) {
    self.ballot = ballot
    self.cluster = cluster
  }
}

/// Asks the leader for membership, or tells it a member's name and addresses.
package struct Join: Equatable, Sendable {
  /// Where the sender answers HTTP.
  package let http: PeerAddress
  /// Where the sender reaches the receiver, which may not know its own address.
  package let receiver: PeerAddress
  /// In per cent of a plain member's share of the ring.
  package let weight: UInt16
  /// Cut at 255 bytes.
  package let name: String

  package init(http: PeerAddress, receiver: PeerAddress, weight: UInt16, name: String) {
    self.http = http
    self.receiver = receiver
    self.weight = weight
    self.name = name
  }
}

/// Proof that the receiver isn't a member any more.
package struct EvictionNotice: Equatable, Sendable {
  /// An applied entry of the sender's log at which the receiver wasn't a member.
  package let index: LogIndex

  package init(index: LogIndex) { self.index = index }
}

/// What a member asks of the leader. Asked again until the topology shows it.
package enum LeaderRequest: Equatable, Sendable {
  /// The sender wants to leave.
  case leave
  /// A command for the log, as bytes: from the owner of the partitions it changes.
  case command([UInt8])
  /// The sender heard of another cluster of the same name, and whether that one took a write.
  case rival(ClusterID, isWritten: Bool)
  /// What owners, candidates and promisers on the sender want for their partitions, as bytes.
  case wishes([UInt8])
}

extension BeaconWriter {
  /// Appends name hash 8, flags 1 (1 member, 2 written), expect 1, size 2, index 8, leader 16, its address 18, count 1,
  /// and the ids seen, 16 each.
  package mutating func hello(_ hello: Hello) {
    u64(hello.nameHash)
    u8((hello.isMember ? 1 : 0) | (hello.isWritten ? 2 : 0))
    u8(hello.expect)
    u16(hello.size)
    u64(hello.index.rawValue)
    id(hello.leader)
    address(hello.leaderAddress)
    u8(UInt8(hello.seen.count))
    for seeker in hello.seen { id(seeker) }
  }

  /// Appends ballot 8, cluster 16, copies 1, count 1, and for each founder id 16, address 18.
  package mutating func founding(_ founding: Founding) {
    u64(founding.ballot)
    id(founding.cluster)
    u8(founding.copies)
    u8(UInt8(founding.founders.count))
    for founder in founding.founders {
      id(founder.id)
      address(founder.address)
    }
  }

  /// Appends kind 1, then by kind: 0 leave: nothing; 1 command: count 2, bytes; 2 rival: cluster 16, written 1;
  /// 3 wishes: count 2, bytes.
  package mutating func request(_ request: LeaderRequest) {
    switch request {
    case .leave: u8(0)
    case .command(let bytes):
      u8(1)
      block(bytes)
    case .rival(let cluster, let isWritten):
      u8(2)
      id(cluster)
      u8(isWritten ? 1 : 0)
    case .wishes(let bytes):
      u8(3)
      block(bytes)
    }
  }
}

extension BeaconReader {
  /// Reads what `hello` wrote.
  package mutating func hello() throws(BeaconError) -> Hello {
    let nameHash = try u64()
    let flags = try u8()
    guard flags < 4 else { throw .malformed }
    let (expect, size, index) = (try u8(), try u16(), LogIndex(try u64()))
    let (leader, leaderAddress) = (try nodeID(), try address())
    var seen: [NodeID] = []
    for _ in 0..<(try count8(atMost: Founder.maximumCount)) { seen.append(try nodeID()) }
    return Hello(
      nameHash: nameHash, isMember: flags & 1 != 0, isWritten: flags & 2 != 0, expect: expect, size: size,
      index: index, leader: leader, leaderAddress: leaderAddress, seen: seen)
  }

  /// Reads what `founding` wrote; the founders must be in the order of their ids, each once.
  package mutating func founding() throws(BeaconError) -> Founding {
    let (ballot, cluster, copies) = (try u64(), try clusterID(), try u8())
    var founders: [Founder] = []
    for _ in 0..<(try count8(atMost: Founder.maximumCount)) {
      let id = try nodeID()
      if let last = founders.last, last.id >= id { throw .malformed }
      founders.append(Founder(id: id, address: try address()))
    }
    guard !founders.isEmpty, cluster != .none else { throw .malformed }
    return Founding(ballot: ballot, cluster: cluster, copies: copies, founders: founders)
  }

  /// Reads what `request` wrote.
  package mutating func request() throws(BeaconError) -> LeaderRequest {
    switch try u8() {
    case 0: return .leave
    case 1: return .command(try block())
    case 2:
      let cluster = try clusterID()
      return .rival(cluster, isWritten: try flag())
    case 3: return .wishes(try block())
    default: throw .malformed
    }
  }
}
