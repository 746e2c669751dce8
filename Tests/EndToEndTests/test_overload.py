"""Too much for a cluster: replicas that don't keep up, more than memory holds, clients that never read."""

import itertools
import os
import signal
import threading
import time

import pytest

from http1 import Closed, request
from load import Load
from node import lasts, until

HOSTS = 4


@pytest.fixture
def three(cluster):
    """A cluster on three of the hosts; the clients' is the fourth."""
    cluster.start(cluster.network.hosts[:3])
    until(lambda: cluster.is_balanced(list(cluster)), "a balanced cluster", 15)
    return cluster


class Flood:
    """Clients that write large values as fast as they can; what they were told."""

    def __init__(self, host, nodes, keys, size=20_000, clients=3, query=""):
        self.answers = {}
        self.without_advice = 0
        self.acknowledged = {}
        self._is_over = False
        self._size, self._query = size, query
        connections = [host.inside(node.connect_plainly) for node in (nodes * clients)[:clients]]
        self._threads = [
            threading.Thread(target=self._run, args=(connection, itertools.cycle(keys[number::clients])))
            for number, connection in enumerate(connections)]
        for thread in self._threads:
            thread.start()

    def _run(self, connection, keys):
        for number, key in enumerate(keys):
            if self._is_over:
                break
            answer = connection.call("PUT", f"/{key}{self._query}", str(number).ljust(self._size).encode())
            self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
            if answer.status in (200, 201):
                self.acknowledged[key] = number
            elif answer.status == 504:
                self.acknowledged.pop(key, None)
            elif answer.status in (429, 503) and not answer.header("retry-after"):
                self.without_advice += 1
        connection.close()

    def stop(self):
        self._is_over = True
        for thread in self._threads:
            thread.join(30)

    def lost(self, node):
        return [key for key, number in self.acknowledged.items()
                if int(node.call("GET", f"/{key}?read=linearizable").body) != number]


@pytest.mark.parametrize("io, how", [("io_uring", "slow"), ("epoll", "silent")], indirect=["io"])
def test_a_replica_that_does_not_keep_up_costs_nobody_else_much(three, how):
    """Two of three are a majority; the third gets what it missed when it is well again."""
    hosts = three.network.hosts
    nodes = [three.nodes[host] for host in hosts[:3]]
    before = [node.resident_bytes() for node in nodes]
    sick = nodes[2]
    keys = [f"f{number}" for number in range(800)]
    # What the sick node owns has to wait for it until it is replaced; all else needn't.
    owners = {key: nodes[0].call("GET", f"/v1/ring?key={key}").json()["owner"] for key in keys}
    keys = [key for key in keys if owners[key] != "n3"]
    if how == "slow":
        three.network.slow(hosts[2], "2mbit")
    else:
        sick.send_signal(signal.SIGSTOP)
    try:
        lasts(0.2)
        flood = Flood(hosts[3], nodes[:2], keys, size=10_000, query="?timeout=3s")
        most = [0, 0]
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            most = [max(a, node.resident_bytes() - b) for a, node, b in zip(most, nodes, before)]
            lasts(0.05)
        flood.stop()
    finally:
        if how == "slow":
            three.network.slow(hosts[2])
        sick.send_signal(signal.SIGCONT)
    print(f"{three.io}, {how}: {flood.answers}, grew by {[round(bytes / 2**20, 1) for bytes in most]} MiB")
    assert set(flood.answers) <= {200, 201, 429, 503, 504} and flood.without_advice == 0
    assert flood.answers.get(200, 0) + flood.answers.get(201, 0) > 1000
    # The values are 8 MB, the log is at most 64 MiB, and what waits for a link some MiB.
    assert max(most) < 110 * 2**20
    until(lambda: three.is_balanced(nodes), "all copies are there again", 20)
    assert flood.lost(nodes[1]) == []


def test_more_than_memory_holds_is_refused_and_nothing_is_lost(three):
    """The nodes have 64 MiB; the flood writes new keys until it is refused, and others go on reading."""
    hosts = three.network.hosts
    nodes = [three.nodes[host] for host in hosts[:3]]
    for number in range(50):
        assert nodes[0].call("PUT", f"/kept-{number}", b"v").status == 201
    flood = Flood(hosts[3], nodes, [f"m{number}" for number in range(100_000)], query="?timeout=3s")
    until(lambda: flood.answers.get(507, 0) > 100, "the flood is refused", 20)
    slowest = 0
    for number in range(50):
        began = time.monotonic()
        assert nodes[number % 3].call("GET", f"/kept-{number}").body == b"v"
        slowest = max(slowest, time.monotonic() - began)
    flood.stop()
    most = max(node.resident_bytes() for node in nodes)
    print(f"{three.io}: {flood.answers}, {most / 2**20:.0f} MiB resident, the slowest read {slowest * 1000:.1f} ms")
    assert set(flood.answers) <= {200, 201, 429, 503, 504, 507} and flood.without_advice == 0
    assert most < 160 * 2**20 and slowest < 1
    assert flood.lost(nodes[1]) == []
    # Room is made by deleting, which no node refuses however full it is, or its copies are.
    slowest = 0
    for number, key in enumerate(list(flood.acknowledged)[:300]):
        began = time.monotonic()
        answer = nodes[number % 3].call("DELETE", f"/{key}")
        slowest = max(slowest, time.monotonic() - began)
        assert answer.status == 204, answer.body
    print(f"{three.io}: the slowest deletion {slowest * 1000:.1f} ms")
    assert slowest < 2
    until(lambda: nodes[0].call("PUT", "/after", bytes(20_000)).status in (200, 201), "there is room again")


def test_clients_that_never_read_cost_only_themselves(three):
    hosts = three.network.hosts
    nodes = [three.nodes[host] for host in hosts[:3]]
    assert nodes[0].call("PUT", "/large", bytes(1_000_000)).status == 201
    until(lambda: all(node.call("GET", "/large").status == 200 for node in nodes), "all have it")
    before = [node.resident_bytes() for node in nodes]
    deaf = [hosts[3].inside(lambda: node.connect_plainly(receive_buffer=4096)) for node in nodes for _ in range(10)]
    load = Load(three, hosts[3], rate=300).start()
    for connection in deaf:
        connection.socket.settimeout(0.2)
        try:
            connection.send(b"GET /large HTTP/1.1\r\nHost: k\r\n\r\n" * 100
                            + b"POST /visits?op=incr HTTP/1.1\r\nHost: k\r\nContent-Length: 0\r\n\r\n" * 2000)
        except TimeoutError:
            pass
    lasts(2)
    grown = [node.resident_bytes() - bytes for node, bytes in zip(nodes, before)]
    load.stop()
    print(f"{three.io}: grew by {[round(bytes / 2**20, 1) for bytes in grown]} MiB; others: {load.summary()}")
    for connection in deaf:
        connection.close()
    assert max(grown) < 48 * 2**20
    assert load.failures == [] and load.percentile(0.99) < 200
    assert load.lost(nodes) == []


def test_a_flood_of_large_values_is_refused_and_loses_nothing(three):
    nodes = list(three)
    kept, statuses = {}, {}

    def write(number):
        connection = nodes[number].connect()
        for count in range(150):
            value = os.urandom(16) * 16_384
            try:
                answer = connection.call("PUT", f"/f{number}-{count}?timeout=2s", value)
            except (Closed, OSError):
                # What is refused from its head alone ends its connection.
                connection = nodes[number].connect()
                continue
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
            if answer.status == 201:
                kept[f"/f{number}-{count}"] = value
            elif answer.status == 503 and not answer.header("Retry-After"):
                statuses["no Retry-After"] = 1
        connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 112 MiB for nodes of 64.
    assert set(statuses) <= {201, 503, 504, 507} and statuses.get(507, 0) + statuses.get(503, 0) > 0, statuses
    assert len(kept) > 50
    for node in nodes:
        for path, value in kept.items():
            def read():
                answer = node.call("GET", f"{path}?read=linearizable")
                return answer.status == 200 and answer.body

            assert until(read, "a read") == value
    for path in list(kept)[:40]:
        assert nodes[0].call("DELETE", path).status == 204
    until(lambda: nodes[0].call("PUT", "/small", "1").status in (200, 201), "writes again", 20)


def test_a_node_that_stands_still_holds_nobody_up_for_long(three):
    nodes = list(three)
    victim = next(node for node in nodes if node is not three.goose())
    others = [node for node in nodes if node is not victim]
    name = three.status(victim)["node"]["name"]
    keys = [f"/k{number}" for number in range(2000)
            if others[0].call("GET", f"/v1/ring?key=k{number}").json()["owner"] != name][:200]
    memory = [node.resident_bytes() for node in others]
    victim.send_signal(signal.SIGSTOP)
    slowest, written = 0.0, 0
    try:
        with others[0].connect() as connection:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                began = time.monotonic()
                answer = connection.call("PUT", keys[written % len(keys)], bytes(20_000))
                slowest = max(slowest, time.monotonic() - began)
                assert answer.status in (200, 201, 503), answer.status
                written += 1
    finally:
        victim.send_signal(signal.SIGCONT)
    assert slowest < 2 and written > 300
    # What waits for it is bounded: a log of 64 MiB at most, and some MiB of frames.
    assert all(node.resident_bytes() - before < 160 << 20 for node, before in zip(others, memory))
    three.until_one(nodes, seconds=30)


def test_clients_that_never_read_large_values_cost_others_nothing(three):
    nodes = list(three)
    large = bytes(4_000_000)
    assert nodes[0].call("PUT", "/large", large).status == 201
    idle = [node.connect(receive_buffer=4096) for node in nodes for _ in range(20)]
    try:
        before = [node.resident_bytes() for node in nodes]
        for connection in idle:
            connection.send(request("GET", "/large") * 3 + request("GET", "/large?read=linearizable") * 3)
        for number in range(300):
            assert nodes[number % 3].call("PUT", f"/small{number}", "1").status in (200, 201)
            assert nodes[number % 3].call("GET", f"/small{number}?read=linearizable").body == b"1"
        # What is fetched for them is bounded by limits.collectedBytes, 256 MiB.
        assert all(node.resident_bytes() - was < 340 << 20 for node, was in zip(nodes, before))
    finally:
        for connection in idle:
            connection.close()
