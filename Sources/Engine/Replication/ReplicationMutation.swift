#if DEBUG
  /// Bugs that tests plant to see the checkers find them. The first ones take out a rule that the protocol marks ★.
  /// They exist in debug builds only.
  package enum ReplicationMutation: UInt8, CaseIterable, Sendable {
    /// Identity: a node that lost its memory comes back as the one it was.
    case keepsIdentity
    /// Fence: one promise is enough for a new owner.
    case choosesEarly
    /// Reconcile: a partition is activated with members that don't have the owner's log yet.
    case activatesEarly
    /// Shrink: a member is removed although the others don't hold everything acknowledged.
    case shrinksEarly
    /// Resize: only the old synced set and factor count while a change is under way.
    case forgetsNewFactor
    /// Hand-over: an owner that asked to be relieved takes writes again before it knows that the question is void.
    case forgetsQuestion
    /// Hand-over: the heir forgets that its predecessor may yet answer for what it handed over.
    case trustsSilence
    /// Shrink: what a member may answer for by itself doesn't count as acknowledged.
    case forgetsGrants
    /// A replica takes records of an epoch older than the one it promised.
    case takesOldEpochs
    /// An owner takes any log that is no longer than its own for the beginning of its own.
    case comparesOffsets
    /// What a connection sends is handed over twice.
    case sendsTwice
    /// A node sends on what another node sent on to it.
    case relaysOn
    /// A node says that it has dropped its copy of a cached value, and hasn't.
    case keepsCopies
    /// A value is given ten times the life that was asked for.
    case neverExpires
    /// A value is given a tenth of the life that was asked for.
    case expiresEarly
    /// A read that names a revision is answered from what is at hand.
    case forgetsRevision
    /// An owner takes writes although its lease has run out.
    case ignoresLease
    /// The answers of a batch come in the opposite order.
    case answersBackwards
  }
#endif
