"""Real clients write down what three and five real nodes told them while these are killed, paused and cut off."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from cluster import Cluster
from history import Recorder, violations
from node import ROOT, lasts, until

# The last host is the clients', which reach every node whatever nodes can't reach each other.
HOSTS = 6

# Of `make histories`: one long history with faults in an order of chance, in place of short ones with all of them.
SECONDS = float(os.environ.get("KVD_HISTORY_SECONDS", "0"))
SEED = int(os.environ.get("KVD_HISTORY_SEED") or 0) or random.SystemRandom().randrange(1, 1 << 30)
SIMULATE = ROOT / ".build/release/simulate"


def verify(path):
    """What the checker of linearizability says of a history."""
    assert SIMULATE.exists(), f"{SIMULATE} is missing: run `make build` first"
    return subprocess.run([SIMULATE, "--verify", path], capture_output=True, text=True, timeout=60)


class Run:
    """A cluster under load, and what may happen to it."""

    def __init__(self, network, io, count, seed):
        self.network = network
        self.hosts = network.hosts[:count]
        self.chance = random.Random(seed)
        # With two cores, what clients ask for goes through mailboxes as well.
        self.cluster = Cluster(network, io, cores=1 + seed % 2)
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
            lasts(self.chance.choice([0, 0.3, 1.5]))
            self.cluster.start([host], is_ready=False)
            self.until_whole()

    def pause(self):
        """Some sleep longer than their lease, and go on as if nothing had been."""
        hosts = self.minority()
        for host in hosts:
            self.cluster.nodes[host].send_signal(signal.SIGSTOP)
        lasts(self.chance.uniform(1.5, 2.5))
        for host in hosts:
            self.cluster.nodes[host].send_signal(signal.SIGCONT)

    def split(self):
        """A minority is cut off."""
        lost = self.minority()
        self.network.split(lost, [host for host in self.hosts if host not in lost])
        lasts(self.chance.uniform(1.5, 2.5))
        self.network.heal()

    def half(self):
        """Nodes can't connect but hear each other's datagrams, or the reverse."""
        for only in ("tcp", "udp"):
            a, b = self.some(2)
            self.network.cut(a, b, only=only)
            lasts(self.chance.uniform(1, 2.5))
            self.network.heal()

    def one_way(self):
        """One isn't heard any more, then hears nobody."""
        host, = self.some()
        others = [other for other in self.hosts if other is not host]
        for isHeard in (False, True):
            for other in others:
                self.network.cut(*((other, host) if isHeard else (host, other)), one_way=True)
            lasts(self.chance.uniform(1, 1.8))
            self.network.heal()
            lasts(0.3)

    def flap(self):
        """Links fail and recover faster than anything is decided."""
        for _ in range(5):
            a, b = self.some(2)
            self.network.cut(a, b, one_way=self.chance.random() < 0.5)
            lasts(self.chance.uniform(0.1, 0.6))
            self.network.heal()
            lasts(self.chance.uniform(0, 0.2))

    def lose(self):
        """Three of ten packets between nodes are lost."""
        pairs = [(a, b) for a in self.hosts for b in self.hosts if a is not b]
        self.network.lose(30, *pairs)
        lasts(2.5)
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
        lasts(0.2)
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
        verified = verify(path)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        statuses = [line["status"] for line in self.recorder.lines]
        assert len(statuses) > 500 and sum(200 <= status < 500 for status in statuses) > len(statuses) * 0.5


def line(client, key, op, start, end, status, **more):
    return {"client": client, "key": key, "op": op, "call": start, "return": end, "status": status, **more}


def right():
    """A small history that is as it should be."""
    return [
        line(1, "r1", "put", 10, 20, 201, value="a", etag='"1-1-1"'),
        line(1, "r1", "put", 30, None, 0, value="b"),
        line(2, "r1", "get", 40, 50, 200, value="a", etag='"1-1-1"'),
        line(3, "r1", "put", 60, 90, 200, value="c", etag='"1-2-9"', if_match='"1-1-1"'),
        line(2, "r1", "get", 70, 80, 200, value="a", etag='"1-1-1"'),
        line(2, "r1", "get", 100, 110, 200, value="c", etag='"1-2-9"'),
        line(3, "r1", "put", 111, 112, 412, value="d", if_match='"1-1-1"', etag=None),
        line(1, "r1", "delete", 120, 130, 204, etag='"1-2-10"'),
        line(2, "r1", "get", 140, 150, 404, value=None, etag=None),
        line(1, "r1", "put", 160, 170, 503, value="e", etag=None),
        line(1, "c1", "incr", 10, 20, 201, value="1", etag='"2-1-1"'),
        line(2, "c1", "incr", 15, None, 0, id="x"),
        line(2, "c1", "incr", 30, 40, 200, id="x", value="2", etag='"2-1-2"'),
        line(3, "c1", "get", 50, 60, 200, value="2", etag='"2-1-2"'),
    ]


WRONG = {
    "an acknowledged write is gone": (5, {"status": 404, "value": None, "etag": None}),
    "what was overwritten is seen again": (5, {"value": "a", "etag": '"1-1-1"'}),
    "what was removed is seen again": (8, {"status": 200, "value": "c", "etag": '"1-2-9"'}),
    "what was refused is seen": (8, {"status": 200, "value": "e", "etag": '"1-2-11"', "call": 180, "return": 190}),
    "nobody wrote what is seen": (5, {"value": "z"}),
    "an increment counted twice": (12, {"value": "3"}),
    "an increment is gone": (13, {"value": "1", "etag": '"2-1-1"'}),
    "two increments counted once": (12, {"value": "1"}),
}


@pytest.mark.parametrize("what", [None, *WRONG])
def test_both_checks_refuse_what_is_wrong(what, tmp_path):
    lines = right()
    if what:
        number, change = WRONG[what]
        lines[number].update(change)
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert bool(violations(lines)) == bool(what), violations(lines)
    done = verify(path)
    assert done.returncode == (1 if what else 0), done.stdout + done.stderr


FAULTS = ["kill", "pause", "split", "half", "one_way", "flap", "lose", "roll"]


@pytest.fixture
def run(request, network, io):
    count, seed = request.param
    run = Run(network, io, count, seed)
    yield run
    run.recorder.is_over = True
    run.cluster.stop()
    network.heal()


@pytest.mark.skipif(SECONDS > 0, reason="a long history is wanted (KVD_HISTORY_SECONDS)")
@pytest.mark.parametrize("io, run", [("io_uring", (3, 1)), ("epoll", (5, 2))], indirect=True, ids=["three", "five"])
@pytest.mark.parametrize(
    "faults", [["kill", "pause"], ["split", "one_way", "flap"], ["half", "lose", "roll"]], ids="-".join)
def test_what_clients_were_told_is_true(run, faults, io):
    run.recorder.start()
    lasts(0.3)
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
