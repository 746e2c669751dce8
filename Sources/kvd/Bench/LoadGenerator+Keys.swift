import Wire

extension LoadGenerator {
  /// The key of the next request on this connection.
  @inline(__always)
  mutating func nextKey(_ client: UnsafeMutablePointer<LoadClient>) -> UInt64 {
    guard nextFill >= 0 else {
      return plan.owners == nil ? chooser.next(&random) : nextOwnedKey(node: (client - clients) % targetCount)
    }
    nextFill &+= 1
    return UInt64(nextFill &- 1)
  }

  private mutating func nextOwnedKey(node: Int) -> UInt64 {
    var key = chooser.next(&random)
    var left = KeyOwners.draws
    while left > 0, !plan.owners!.isOwner(node, of: encoder.hash(key: key)) {
      key = chooser.next(&random)
      left &-= 1
    }
    return key
  }
}
