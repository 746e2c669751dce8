---- MODULE Slot ----
\* One partition of kvd: an owner (prim) replicates to a synced set S; the configuration is held by an abstract, linearizable
\* control plane. log[n]: sequence of <<epoch, op>>. acks: <<epoch, node, length held>>. acked: what a client was told at w=majority.
\* hand: hand-overs that owners asked for and that may be committed any time, <<epoch, version, heir>>; a later word of the owner
\* doesn't take them back, since it may be lost or come too late.
\* told: entries that a member of S may answer for by itself as soon as it has them, <<epoch, member, length>>; the owner and it
\* are a majority. Nothing takes that back either, and the owner may be gone when it answers.
\*
\* Actions: Write, Repl, AckQ (reply), Grant, AckAt (a member replies), AskShrink, AskExpand, AskLower, CommitIsr, Learn, StopFor, GiveUp, AskHand, AskCancel,
\* CommitHand, LearnHand, Fence, Promise, Choose, Sync, Activate, Abandon, Forget, Crash. Rules, each FALSE (Amnesia: TRUE) in a
\* planted fault:
\*   FRule      enough members of S promise before a candidate is chosen
\*   ShrinkRule all others hold everything acknowledged before one is removed, whose word counts no more
\*   SyncRule   the new S holds only members that have the candidate's whole log
\*   JointRule  while a change is under way a write satisfies the old pair (S, rf) and the new one
\*   Amnesia    a process that starts anew is the same node
\*   HeirRule   the heir of a hand-over has the whole log when it is asked for
\*   StopRule   its owner takes no writes from then on until it has learned a later version of the entry
\*   GrantRule  what a member may answer for counts as acknowledged where the owner shrinks S
\*   LateRule   the heir counts all that it has as acknowledged, since its predecessor may answer for it later
\*   AnewRule   a partition begins anew only in an epoch that a fence raised
\*   DropRule   whoever learns that it began anew drops a log of the life before
\*   KeepRule   and no other: it may hold records of the new life already
\*   LeaseRule  the owner of the life before has no lease any more, so that it takes no writes
\*
\* Lives: where all that held the partition are gone, it begins anew with an empty log (Abandon). cfg.lost: the epochs in which
\* it did so; whatever was written in an epoch before the last of them is declared lost. knows[n]: those that n has learned of.
\* How long the control plane waits is not in the model: Abandon may come at any time, and those that are given up may all be
\* there and go on; what they have is lost, but nothing else is. cfg.at: how many writes there had been.
EXTENDS Naturals, Sequences, FiniteSets, TLC
CONSTANTS Nodes, InitS, InitRf, RF, MaxEp, MaxVer, MaxOps, MaxCrash,
          FRule, ShrinkRule, SyncRule, JointRule, Amnesia, HeirRule, StopRule, LateRule, GrantRule,
          MaxLosses, AnewRule, DropRule, KeepRule, LeaseRule
VARIABLES cfg, log, prom, dead, role, acks, acked, cand, ops, crashes, hand, told, knows
vars == <<cfg, log, prom, dead, role, acks, acked, cand, ops, crashes, hand, told, knows>>
Wq(rf) == (rf \div 2) + 1
\* A partition that moves has one member of S more than the factor that is wanted, and the factor with it.
RFMax == RF + 1
Off == [on |-> FALSE, ep |-> 0, ver |-> 0, S |-> {}, rem |-> {}, add |-> {}, rf |-> 0, nrf |-> 0, suc |-> 0, base |-> 0]
\* base: the last entry that the predecessor may answer for.
On(ep, ver, S, rf, base) == [on |-> TRUE, ep |-> ep, ver |-> ver, S |-> S, rem |-> {}, add |-> {}, rf |-> rf, nrf |-> 0,
                             suc |-> 0, base |-> base]
NoCand == [ep |-> 0, c |-> 0, R |-> {}, sy |-> {}]
LE(n) == IF log[n] = <<>> THEN 0 ELSE log[n][Len(log[n])][1]
Geq(a,b) == LE(a) > LE(b) \/ (LE(a) = LE(b) /\ Len(log[a]) >= Len(log[b]))
Has(p, q, i) == \E a \in acks : a[1] = role[p].ep /\ a[2] = q /\ a[3] >= i
Max(a, b) == IF a > b THEN a ELSE b
MaxAcked(p) == LET I == {i \in 1..Len(log[p]) : <<i, log[p][i]>> \in acked} IN IF I = {} THEN 0 ELSE CHOOSE i \in I : \A j \in I : j <= i
\* The epoch before which everything is lost; and the life to which an epoch belongs.
LostBefore == IF cfg.lost = {} THEN 0 ELSE CHOOSE e \in cfg.lost : \A f \in cfg.lost : f <= e
Life(ep) == {e \in cfg.lost : e <= ep}
Init == /\ cfg = [ver |-> 1, ep |-> 1, st |-> "A", prim |-> 1, S |-> InitS, rf |-> InitRf, lost |-> {}, at |-> 0]
        /\ log = [n \in Nodes |-> <<>>] /\ prom = [n \in Nodes |-> 1] /\ dead = {}
        /\ role = [n \in Nodes |-> IF n = 1 THEN On(1, 1, InitS, InitRf, 0) ELSE Off]
        /\ acks = {} /\ acked = {} /\ cand = NoCand /\ ops = 0 /\ crashes = 0 /\ hand = {} /\ told = {} /\ knows = [n \in Nodes |-> {}]
Live(n) == n \notin dead
\* Nothing is asked of the control plane yet.
Idle(p) == role[p].nrf = 0
Write(p) == /\ Live(p) /\ role[p].on /\ role[p].suc = 0 /\ ops < MaxOps /\ ops' = ops + 1
            /\ LeaseRule => role[p].ep >= LostBefore
            /\ log' = [log EXCEPT ![p] = Append(@, <<role[p].ep, ops + 1>>)]
            /\ acks' = acks \cup {<<role[p].ep, p, Len(log[p]) + 1>>}
            /\ UNCHANGED <<cfg, prom, dead, role, acked, cand, crashes, hand, told, knows>>
Repl(p, q) == /\ p # q /\ Live(p) /\ Live(q) /\ role[p].on /\ ~role[q].on /\ prom[q] <= role[p].ep /\ log[q] # log[p]
              /\ IF q \in role[p].S
                 THEN /\ Len(log[q]) < Len(log[p]) /\ log' = [log EXCEPT ![q] = SubSeq(log[p], 1, Len(@) + 1)]
                 ELSE log' = [log EXCEPT ![q] = log[p]]
              /\ prom' = [prom EXCEPT ![q] = role[p].ep]
              /\ acks' = acks \cup {<<role[p].ep, q, Len(log'[q])>>}
              /\ UNCHANGED <<cfg, dead, role, acked, cand, ops, crashes, hand, told, knows>>
\* A follower that has everything says so in the owner's epoch, too.
Confirm(p, q) == /\ p # q /\ Live(p) /\ Live(q) /\ role[p].on /\ ~role[q].on /\ prom[q] <= role[p].ep /\ log[q] = log[p]
                 /\ log[p] # <<>> /\ ~Has(p, q, Len(log[p]))
                 /\ prom' = [prom EXCEPT ![q] = role[p].ep] /\ acks' = acks \cup {<<role[p].ep, q, Len(log[q])>>}
                 /\ UNCHANGED <<cfg, log, dead, role, acked, cand, ops, crashes, hand, told, knows>>
AckQ(p, i) == /\ Live(p) /\ role[p].on /\ i \in 1..Len(log[p]) /\ <<i, log[p][i]>> \notin acked
              /\ Cardinality({q \in role[p].S \ (IF ShrinkRule THEN role[p].rem ELSE {}) : Has(p, q, i)}) >= Wq(role[p].rf)
              /\ (JointRule /\ role[p].nrf > 0) => Cardinality({q \in (role[p].S \ role[p].rem) \cup role[p].add : Has(p, q, i)}) >= Wq(role[p].nrf)
              /\ acked' = acked \cup {<<i, log[p][i]>>}
              /\ UNCHANGED <<cfg, log, prom, dead, role, acks, cand, ops, crashes, hand, told, knows>>
\* The owner sends a record on and permits a member to answer for it.
MaxTold(p) == LET I == {t[3] : t \in {x \in told : x[1] = role[p].ep}} IN IF I = {} THEN 0 ELSE CHOOSE i \in I : \A j \in I : j <= i
Grant(p, q, i) == /\ Live(p) /\ role[p].on /\ Idle(p) /\ role[p].suc = 0 /\ q \in role[p].S \ {p} /\ Wq(role[p].rf) = 2
                  /\ i \in 1..Len(log[p]) /\ log[p][i][1] = role[p].ep /\ ~Has(p, q, i) /\ <<role[p].ep, q, i>> \notin told
                  /\ told' = told \cup {<<role[p].ep, q, i>>}
                  /\ UNCHANGED <<cfg, log, prom, dead, role, acks, acked, cand, ops, crashes, hand, knows>>
\* The member has it, as the owner's follower in that epoch.
AckAt(q, i) == /\ Live(q) /\ i \in 1..Len(log[q]) /\ <<i, log[q][i]>> \notin acked /\ prom[q] = log[q][i][1]
               /\ <<log[q][i][1], q, i>> \in told /\ \E a \in acks : a[1] = log[q][i][1] /\ a[2] = q /\ a[3] >= i
               /\ acked' = acked \cup {<<i, log[q][i]>>}
               /\ UNCHANGED <<cfg, log, prom, dead, role, acks, cand, ops, crashes, hand, told, knows>>
AskShrink(p, q) == /\ Live(p) /\ role[p].on /\ Idle(p) /\ role[p].suc = 0 /\ q \in role[p].S \ {p}
                   /\ LET most == Max(Max(MaxAcked(p), role[p].base), IF GrantRule THEN MaxTold(p) ELSE 0) IN
                      ShrinkRule => \A r \in role[p].S \ {q} : most = 0 \/ Has(p, r, most)
                   /\ \E n \in {role[p].rf, role[p].rf - 1} \cap 1..RFMax : role' = [role EXCEPT ![p].rem = {q}, ![p].nrf = n]
                   /\ UNCHANGED <<cfg, log, prom, dead, acks, acked, cand, ops, crashes, hand, told, knows>>
AskExpand(p, q) == /\ Live(p) /\ role[p].on /\ Idle(p) /\ role[p].suc = 0 /\ q \notin role[p].S /\ Live(q)
                   /\ \/ log[p] = <<>> \/ Has(p, q, Len(log[p]))
                   /\ \E n \in {role[p].rf, role[p].rf + 1} \cap 1..RFMax :
                      n > Cardinality(role[p].S) /\ role' = [role EXCEPT ![p].add = {q}, ![p].nrf = n]
                   /\ UNCHANGED <<cfg, log, prom, dead, acks, acked, cand, ops, crashes, hand, told, knows>>
\* A lower factor for the same S, while that has fewer members than the factor.
AskLower(p) == /\ Live(p) /\ role[p].on /\ Idle(p) /\ role[p].suc = 0 /\ Cardinality(role[p].S) < role[p].rf
               /\ role' = [role EXCEPT ![p].nrf = role[p].rf - 1]
               /\ UNCHANGED <<cfg, log, prom, dead, acks, acked, cand, ops, crashes, hand, told, knows>>
CommitIsr(p) == /\ role[p].on /\ ~Idle(p) /\ cfg.ver = role[p].ver /\ cfg.ep = role[p].ep /\ cfg.st = "A"
                /\ cfg' = [cfg EXCEPT !.ver = @ + 1, !.S = (@ \ role[p].rem) \cup role[p].add, !.rf = role[p].nrf]
                /\ UNCHANGED <<log, prom, dead, role, acks, acked, cand, ops, crashes, hand, told, knows>>
Learn(p) == /\ Live(p) /\ role[p].on /\ cfg.ep = role[p].ep /\ cfg.st = "A" /\ cfg.ver > role[p].ver
            /\ role' = [role EXCEPT ![p] = On(@.ep, cfg.ver, cfg.S, cfg.rf, @.base)]
            /\ UNCHANGED <<cfg, log, prom, dead, acks, acked, cand, ops, crashes, hand, told, knows>>
\* An owner stops for the member that is to be the next owner, and asks when that has its whole log.
StopFor(p, q) == /\ Live(p) /\ role[p].on /\ Idle(p) /\ role[p].suc = 0 /\ q \in role[p].S \ {p}
                 /\ role' = [role EXCEPT ![p].suc = q]
                 /\ UNCHANGED <<cfg, log, prom, dead, acks, acked, cand, ops, crashes, hand, told, knows>>
HasAsked(p) == \E h \in hand : h[1] = role[p].ep /\ h[2] = role[p].ver
AskHand(p) == /\ Live(p) /\ role[p].on /\ Idle(p) /\ role[p].suc # 0 /\ ~HasAsked(p)
              /\ HeirRule => (log[p] = <<>> \/ Has(p, role[p].suc, Len(log[p])))
              /\ hand' = hand \cup {<<role[p].ep, role[p].ver, role[p].suc>>}
              /\ UNCHANGED <<cfg, log, prom, dead, role, acks, acked, cand, ops, crashes, told, knows>>
\* It goes on by itself if it hasn't asked; if it has, it asks for a new version of the entry as it is, and goes on when that came.
GiveUp(p) == /\ Live(p) /\ role[p].on /\ role[p].suc # 0 /\ (StopRule => ~HasAsked(p))
             /\ role' = [role EXCEPT ![p].suc = 0]
             /\ UNCHANGED <<cfg, log, prom, dead, acks, acked, cand, ops, crashes, hand, told, knows>>
AskCancel(p) == /\ Live(p) /\ role[p].on /\ Idle(p) /\ role[p].suc # 0 /\ HasAsked(p)
                /\ role' = [role EXCEPT ![p].nrf = role[p].rf]
                /\ UNCHANGED <<cfg, log, prom, dead, acks, acked, cand, ops, crashes, hand, told, knows>>
CommitHand(h) == /\ h \in hand /\ cfg.st = "A" /\ cfg.ep = h[1] /\ cfg.ver = h[2] /\ h[3] \in cfg.S /\ cfg.ep < MaxEp
                 /\ cfg' = [cfg EXCEPT !.ver = @ + 1, !.ep = @ + 1, !.prim = h[3]]
                 /\ UNCHANGED <<log, prom, dead, role, acks, acked, cand, ops, crashes, hand, told, knows>>
\* The heir learns that it is the owner.
LearnHand(q) == /\ Live(q) /\ cfg.st = "A" /\ cfg.prim = q /\ role[q].ep < cfg.ep /\ prom[q] <= cfg.ep /\ knows[q] = cfg.lost
                /\ role' = [role EXCEPT ![q] = On(cfg.ep, cfg.ver, cfg.S, cfg.rf, IF LateRule THEN Len(log[q]) ELSE 0)]
                /\ prom' = [prom EXCEPT ![q] = cfg.ep]
                /\ acks' = acks \cup {<<cfg.ep, q, Len(log[q])>>}
                /\ UNCHANGED <<cfg, log, dead, acked, cand, ops, crashes, hand, told, knows>>
\* Any other node that learns of a later epoch is an owner no more.
Depose(p) == /\ Live(p) /\ role[p].on /\ cfg.ep > role[p].ep /\ cfg.prim # p /\ knows[p] = cfg.lost
             /\ role' = [role EXCEPT ![p] = Off] /\ prom' = [prom EXCEPT ![p] = cfg.ep]
             /\ UNCHANGED <<cfg, log, dead, acks, acked, cand, ops, crashes, hand, told, knows>>
Fence == /\ cfg.ep < MaxEp /\ cfg' = [cfg EXCEPT !.ep = @ + 1, !.ver = @ + 1, !.st = "F", !.prim = 0] /\ cand' = NoCand
         /\ UNCHANGED <<log, prom, dead, role, acks, acked, ops, crashes, hand, told, knows>>
Promise(q) == /\ cfg.st = "F" /\ q \in cfg.S /\ Live(q) /\ prom[q] < cfg.ep /\ knows[q] = cfg.lost
              /\ prom' = [prom EXCEPT ![q] = cfg.ep] /\ role' = [role EXCEPT ![q] = Off]
              /\ UNCHANGED <<cfg, log, dead, acks, acked, cand, ops, crashes, hand, told, knows>>
F == IF FRule THEN IF Cardinality(cfg.S) < Wq(cfg.rf) THEN 1 ELSE (Cardinality(cfg.S) + 1) - Wq(cfg.rf) ELSE 1
Choose(c, R) == /\ cfg.st = "F" /\ cand.ep # cfg.ep /\ c \in R /\ Live(c) /\ R \subseteq cfg.S /\ Cardinality(R) >= F
                /\ \A q \in R : prom[q] = cfg.ep /\ Geq(c, q)
                /\ cand' = [ep |-> cfg.ep, c |-> c, R |-> R, sy |-> {c}]
                /\ UNCHANGED <<cfg, log, prom, dead, role, acks, acked, ops, crashes, hand, told, knows>>
Sync(q) == /\ cfg.st = "F" /\ cand.ep = cfg.ep /\ q \in cand.R \ cand.sy /\ Live(cand.c) /\ Live(q)
           /\ log' = [log EXCEPT ![q] = log[cand.c]] /\ cand' = [cand EXCEPT !.sy = @ \cup {q}]
           /\ UNCHANGED <<cfg, prom, dead, role, acks, acked, ops, crashes, hand, told, knows>>
Activate == /\ cfg.st = "F" /\ cand.ep = cfg.ep /\ Live(cand.c)
            /\ LET S2 == IF SyncRule THEN cand.sy ELSE cand.R IN \E n \in 1..RF :
               /\ cfg' = [cfg EXCEPT !.ver = @ + 1, !.st = "A", !.prim = cand.c, !.S = S2, !.rf = n]
               /\ role' = [role EXCEPT ![cand.c] = On(cfg.ep, cfg.ver + 1, S2, n, 0)]
               /\ acks' = acks \cup {<<cfg.ep, q, Len(log[q])>> : q \in S2}
            /\ UNCHANGED <<log, prom, dead, acked, cand, ops, crashes, hand, told, knows>>
\* All that held it count as dead: another node begins with an empty log, in the epoch of the last fence.
Abandon(h) == /\ (AnewRule => cfg.st = "F") /\ cand.ep # cfg.ep /\ h \notin cfg.S /\ Cardinality(cfg.lost) < MaxLosses
              /\ \E n \in 1..RF : cfg' = [cfg EXCEPT !.ver = @ + 1, !.st = "A", !.prim = h, !.S = {h}, !.rf = n,
                                                   !.lost = @ \cup {cfg.ep}, !.at = ops]
              /\ UNCHANGED <<log, prom, dead, role, acks, acked, cand, ops, crashes, hand, told, knows>>
\* A node learns that it began anew. What follows in the topology it learns by other actions.
Forget(q) == /\ Live(q) /\ knows[q] # cfg.lost /\ knows' = [knows EXCEPT ![q] = cfg.lost]
             /\ log' = IF DropRule /\ ~(KeepRule /\ LE(q) >= LostBefore) THEN [log EXCEPT ![q] = <<>>] ELSE log
             /\ prom' = [prom EXCEPT ![q] = Max(@, LostBefore)]
             /\ role' = [role EXCEPT ![q] = Off]
             /\ UNCHANGED <<cfg, dead, acks, acked, cand, ops, crashes, hand, told>>
Crash(q) == /\ Live(q) /\ crashes < MaxCrash /\ crashes' = crashes + 1
            /\ IF Amnesia THEN /\ log' = [log EXCEPT ![q] = <<>>] /\ prom' = [prom EXCEPT ![q] = 0] /\ role' = [role EXCEPT ![q] = Off] /\ dead' = dead
               ELSE /\ dead' = dead \cup {q} /\ UNCHANGED <<log, prom, role, knows>>
            /\ UNCHANGED <<cfg, acks, acked, cand, ops, hand, told, knows>>
Next == \/ Fence \/ Activate
        \/ \E p \in Nodes : Write(p) \/ CommitIsr(p) \/ Learn(p) \/ Promise(p) \/ Sync(p) \/ Crash(p)
                            \/ AskLower(p) \/ AskHand(p) \/ GiveUp(p) \/ AskCancel(p) \/ LearnHand(p) \/ Depose(p)
                            \/ Abandon(p) \/ Forget(p)
        \/ \E p, q \in Nodes : Repl(p, q) \/ Confirm(p, q) \/ AskShrink(p, q) \/ AskExpand(p, q) \/ StopFor(p, q)
        \/ \E h \in hand : CommitHand(h)
        \/ \E p \in Nodes, i \in 1..MaxOps : AckQ(p, i) \/ AckAt(p, i)
        \/ \E p, q \in Nodes, i \in 1..MaxOps : Grant(p, q, i)
        \/ \E c \in Nodes, R \in SUBSET Nodes : Choose(c, R)
Bound == cfg.ver <= MaxVer
Spec == Init /\ [][Next]_vars
\* Nothing acknowledged is lost but what was declared lost.
NoLoss == cfg.st = "A" => \A x \in acked : \/ x[2][1] < LostBefore
                                           \/ x[1] <= Len(log[cfg.prim]) /\ log[cfg.prim][x[1]] = x[2]
\* No two are acknowledged for one place of one life.
Agree == \A x, y \in acked : x[1] = y[1] /\ Life(x[2][1]) = Life(y[2][1]) => x = y
\* No record of one life is in a log of another.
Fresh == \A p \in Nodes : role[p].on => \A i \in 1..Len(log[p]) : Life(log[p][i][1]) = Life(role[p].ep)
\* What was written after a partition began anew isn't acknowledged in the life before.
NoneLate == \A x \in acked : x[2][2] > cfg.at => x[2][1] >= LostBefore
====
