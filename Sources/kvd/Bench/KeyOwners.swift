import Reactor
import Wire

/// Which node of a cluster owns each partition, for a load that asks the owner of each key, as a client does that has
/// the ring. Learned once, from `/v1/ring` of one node: should a partition move later, whoever is asked passes on.
struct KeyOwners: Equatable, Sendable {
  /// Where those that own something answer HTTP.
  let addresses: [SocketAddress]
  /// By partition, whose of `addresses`; -1 for a partition without an owner.
  private let owners: [Int16]

  /// Keys that are drawn at most until one belongs to a node; then it gets another's, and passes it on.
  static let draws = 1000

  /// Asks a node; one that is alone owns all.
  ///
  /// - Throws: `ReactorError` or `ClientFailure`, with a sentence for people.
  init(asking target: LoadTarget) throws {
    let answer = try Target("http://\(target.name)/v1/ring").request("GET", patience: 10)
    let ring = try answer.body.withUnsafeBytes { bytes in
      guard answer.status == 200, let ring = try? JSONValue(validating: bytes) else {
        throw ClientFailure(description: "\(target.name) doesn't say who owns what.")
      }
      return Ring(ring)
    }
    guard ring.owners.count == partitionCount else {
      addresses = target.addresses
      owners = [Int16](repeating: 0, count: partitionCount)
      return
    }
    var addresses: [SocketAddress] = []
    var places: [String: Int16] = [:]
    owners = try ring.owners.map { owner in
      guard let owner, let http = ring.addresses[owner] else { return -1 }
      if let place = places[owner] { return place }
      addresses.append(try SocketAddress.parse(http))
      places[owner] = Int16(addresses.count - 1)
      return Int16(addresses.count - 1)
    }
    guard !addresses.isEmpty else { throw ClientFailure(description: "No partition has an owner now.") }
    self.addresses = addresses
  }

  /// Whether this node owns the key with that hash.
  @inline(__always)
  func isOwner(_ node: Int, of hash: UInt64) -> Bool { owners[Int(PartitionID(hash: hash).rawValue)] == Int16(node) }

  /// What `/v1/ring` says, as far as it is of use here; of a node that is alone, nothing.
  private struct Ring {
    /// HTTP addresses by the nodes' names.
    var addresses: [String: String] = [:]
    /// Names, by partition.
    var owners: [String?] = []

    init(_ object: JSONValue) {
      if let nodes = object["nodes"] {
        var elements = nodes.elements()
        while let node = elements.next() {
          if let name = node["name"]?.plainText { addresses[name] = node["http"]?.plainText }
        }
      }
      guard let partitions = object["partitions"] else { return }
      var elements = partitions.elements()
      while let partition = elements.next() { owners.append(partition["owner"]?.plainText) }
    }
  }
}
