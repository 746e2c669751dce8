"""Real clients write down what three and five real nodes told them while these are killed, paused and cut off."""

import os
import random
import signal
import time

import pytest

from cluster import Cluster
from history import Recorder, violations
from namespaces import Network, require_network
from node import ROOT, until

# Of `make histories`: one long history with faults in an order of chance, in place of short ones with all of them.
SECONDS = float(os.environ.get("KVD_HISTORY_SECONDS", "0"))
SEED = int(os.environ.get("KVD_HISTORY_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)


@pytest.fixture(scope="module")
def network():
    require_network()
    # The last host is the clients', which reach every node whatever nodes can't reach each other.
    with Network(6) as network:
        yield network


class Run:
    """A cluster under load, and what may happen to it."""

    def __init__(self, network, io, count, seed):
        self.network = network
        self.hosts = network.hosts[:count]
        self.chance = random.Random(seed)
        self.cluster = Cluster(network, io)
        self.cluster.start(self.hosts)
        self.cluster.until_one()
        self.until_whole()
        self.recorder = Recorder(self.cluster, network.hosts[-1], seed=seed)

    @property
    def nodes(self):
        return [self.cluster.nodes[host] for host in self.hosts]

    def until_whole(self, seconds=20):
        """Waits until all nodes are one cluster, and each partition has all of its copies."""
        def is_whole():
            states = [self.cluster.status(node) for node in self.nodes]
            if not all(state and state["quorum"] and state["node"]["state"] == "active" for state in states):
                return False
            for node in self.nodes:
                # Those that were killed stay members for a while (evictAfter).
                members = [member for member in self.cluster.view(node)["members"] if member["state"] == "active"]
                copies = sum(member["replicas"] for member in members)
                if len(members) != len(self.hosts) or copies != 3 * 1024:
                    return False
                # Another failure may only follow when nothing is lacking: neither owners nor voters.
                if not all(member["partitions"] > 0 and member["voter"] for member in members):
                    return False
            return True

        try:
            until(is_whole, "all copies are there", seconds)
        except AssertionError:
            raise AssertionError(self.cluster.report()) from None

    def some(self, count=1):
        return self.chance.sample(self.hosts, count)

    def minority(self):
        return self.some(self.chance.randint(1, (len(self.hosts) - 1) // 2))

    # Faults; each leaves the cluster as it was.

    def kill(self):
        """Machines lose power, one after the other; new nodes come up at their addresses."""
        for host in self.some(2):
            self.cluster.kill(self.cluster.nodes[host])
            time.sleep(self.chance.choice([0, 0.3, 1.5]))
            self.cluster.start([host], is_ready=False)
            self.until_whole()

    def pause(self):
        """Some sleep longer than their lease, and go on as if nothing had been."""
        hosts = self.minority()
        for host in hosts:
            self.cluster.nodes[host].send_signal(signal.SIGSTOP)
        time.sleep(self.chance.uniform(1.5, 2.5))
        for host in hosts:
            self.cluster.nodes[host].send_signal(signal.SIGCONT)

    def split(self):
        """A minority is cut off."""
        lost = self.minority()
        self.network.split(lost, [host for host in self.hosts if host not in lost])
        time.sleep(self.chance.uniform(1.5, 2.5))
        self.network.heal()

    def one_way(self):
        """One isn't heard any more, then hears nobody."""
        host, = self.some()
        others = [other for other in self.hosts if other is not host]
        for isHeard in (False, True):
            for other in others:
                self.network.cut(*((other, host) if isHeard else (host, other)), one_way=True)
            time.sleep(self.chance.uniform(1, 1.8))
            self.network.heal()
            time.sleep(0.3)

    def flap(self):
        """Links fail and recover faster than anything is decided."""
        for _ in range(5):
            a, b = self.some(2)
            self.network.cut(a, b, one_way=self.chance.random() < 0.5)
            time.sleep(self.chance.uniform(0.1, 0.6))
            self.network.heal()
            time.sleep(self.chance.uniform(0, 0.2))

    def lose(self):
        """Three of ten packets between nodes are lost."""
        pairs = [(a, b) for a in self.hosts for b in self.hosts if a is not b]
        self.network.lose(30, *pairs)
        time.sleep(2.5)
        self.network.lose(0)

    def roll(self):
        """Each node is told to stop, and started anew."""
        for host in self.hosts:
            node = self.cluster.nodes[host]
            node.send_signal(signal.SIGTERM)
            assert node.wait(20) == 0
            self.cluster.start([host], is_ready=False)
            self.until_whole()

    def check(self, name):
        """Ends the load, and looks at what the clients noted."""
        self.network.heal()
        self.until_whole()
        time.sleep(0.2)
        self.recorder.stop()
        linearizable = self.recorder.read_all(self.nodes, "linearizable")
        assert all(len(set(values)) == 1 for values in linearizable.values()), linearizable
        # Every copy comes to hold the same, too.
        until(lambda: self.recorder.read_all(self.nodes, "local") == linearizable, "all copies agree", 5, 0.2)
        folder = ROOT / ".build/histories"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.jsonl"
        self.recorder.write(path)
        print(f"{name}: {self.recorder.summary()}, in {path}")
        found = violations(self.recorder.lines)
        assert not found, "\n".join(found[:10]) + f"\n{path}"
        statuses = [line["status"] for line in self.recorder.lines]
        assert len(statuses) > 500 and sum(200 <= status < 500 for status in statuses) > len(statuses) * 0.5


FAULTS = ["kill", "pause", "split", "one_way", "flap", "lose", "roll"]


@pytest.fixture
def run(request, network, io):
    count, seed = request.param
    run = Run(network, io, count, seed)
    yield run
    run.recorder.is_over = True
    run.cluster.stop()
    network.heal()


@pytest.mark.skipif(SECONDS > 0, reason="a long history is wanted (KVD_HISTORY_SECONDS)")
@pytest.mark.parametrize("run", [(3, 1), (5, 2)], indirect=True, ids=["three", "five"])
@pytest.mark.parametrize("faults", [["kill", "pause"], ["split", "one_way", "flap"], ["lose", "roll"]], ids="-".join)
def test_what_clients_were_told_is_true(run, faults, io):
    run.recorder.start()
    time.sleep(0.3)
    for fault in faults:
        getattr(run, fault)()
    run.check(f"{len(run.hosts)}-{io}-{'-'.join(faults)}")


@pytest.mark.skipif(SECONDS == 0, reason="only with KVD_HISTORY_SECONDS: make histories SECONDS=60")
@pytest.mark.timeout(SECONDS * 3 + 120)
@pytest.mark.parametrize("run", [(3, SEED), (5, SEED)], indirect=True, ids=["three", "five"])
def test_a_long_history_is_true(run, io):
    run.recorder.start()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        fault = run.chance.choice(FAULTS)
        print(f"{time.monotonic():.1f} {fault}", flush=True)
        getattr(run, fault)()
        run.until_whole(30)
    run.check(f"{len(run.hosts)}-{io}-{SEED}")
