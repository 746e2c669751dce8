"""A node joins one that holds much: the sender's memory hardly grows, and its clients hardly notice."""

import os
import threading
import time

import pytest

from load import Load
from node import BINARY, lasts, until

HOSTS = 3

# How much is there when another node joins; with KVD_JOIN_MIB=5120 (and 12 GiB of memory) what the promise is about.
MEBIBYTES = int(os.environ.get("KVD_JOIN_MIB", "256"))
VALUE = 1000


class Resident(threading.Thread):
    """The most memory that a process has resident from now on."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.first = self.most = node.resident_bytes()
        self.is_over = False
        self.start()

    def run(self):
        while not self.is_over:
            self.most = max(self.most, self.node.resident_bytes())
            lasts(0.01)

    def stop(self):
        self.is_over = True
        self.join()
        return (self.most - self.first) / 2**20


@pytest.mark.timeout(120 + MEBIBYTES // 10)
def test_a_joiner_costs_its_sender_no_memory_to_speak_of(cluster, record_property):
    a, b, client = cluster.network.hosts
    memory = f"{MEBIBYTES * 3 // 2 + 256}MiB"
    first, = cluster.start([a], memory=memory)
    keys = MEBIBYTES * 2**20 // (VALUE + 56)
    filled = client.run([BINARY, "bench", "--url", first.url, "-w", "put", "--distribution", "sequential", "-k", keys,
                         "-m", VALUE, "-r", keys, "-l", 8, "-p", 64], seconds=60 + MEBIBYTES // 20)
    assert filled.returncode == 0, filled.stderr
    load = Load(cluster, client, rate=400).start()
    lasts(3)
    resident = Resident(first)
    began = time.monotonic()
    second, = cluster.start([b], memory=memory, is_ready=False)

    def is_whole():
        members = cluster.view(first)["members"]
        return len(members) == 2 and all(member["replicas"] == 1024 for member in members)

    until(is_whole, "everything is there twice", 60 + MEBIBYTES // 10, 0.1)
    ended = time.monotonic()
    grown = resident.stop()
    load.stop()
    record_property("mebibytes_grown", grown)
    print(f"{cluster.io}: {MEBIBYTES} MiB joined in {ended - began:.1f} s, the sender grew by {grown:.1f} MiB")
    print(f"before: {load.summary(0, began)}\nmeanwhile: {load.summary(began, ended)}")
    for name, kind in (("reads", [False]), ("writes", [True])):
        print(f"p99 of {name}: {load.percentile(0.99, 0, began, kind):.2f} ms before, "
              f"{load.percentile(0.99, began, ended, kind):.2f} ms meanwhile")
    assert load.failures == [] and load.lost([first, second]) == []
    assert grown <= 64


def test_a_joiner_asks_the_owner_until_it_has_its_copy(cluster):
    a, b, _ = cluster.network.hosts
    slow = {"catchUpRate": 2 << 20}
    first, = cluster.start([a], limits=slow)
    for number in range(600):
        assert first.call("PUT", f"/k{number}", str(number).ljust(10_000)).status == 201
    joiner, = cluster.start([b], limits=slow, is_ready=False)
    seen, relayed = 0, 0

    def is_whole():
        members = cluster.view(first)["members"]
        return len(members) == 2 and all(member["replicas"] == 1024 for member in members)

    while not is_whole():
        for number in range(seen % 7, 600, 7):
            answer = joiner.call("GET", f"/k{number}")
            assert answer.status == 200 and int(answer.body) == number, answer
        seen += 1
        assert joiner.call("PUT", f"/k{seen % 600}", str(seen % 600).ljust(10_000)).status in (200, 503)
        relayed = max(relayed, cluster.metric(joiner, "kvd_relayed_total"))
        assert seen < 1000
    print(f"{cluster.io}: {seen} rounds of reads while it joined, {relayed:.0f} requests sent on")
    assert seen > 3 and relayed > 100
    before = cluster.metric(joiner, "kvd_relayed_total")
    for number in range(600):
        assert int(joiner.call("GET", f"/k{number}").body) == number
    assert cluster.metric(joiner, "kvd_relayed_total") == before


def test_on_a_slow_network_writes_do_not_wait_behind_the_copy(cluster):
    """16 MiB take 7 s at 20 Mbit/s. What is under way of them at a time is what arrives within some milliseconds."""
    a, b, client = cluster.network.hosts
    first, = cluster.start([a])
    for number in range(1600):
        assert first.call("PUT", f"/k{number}", bytes(10_000)).status == 201
    cluster.network.slow(b, "20mbit")
    second, = cluster.start([b], is_ready=False)
    load = Load(cluster, client, rate=200, clients=16).start()

    def copies():
        members = cluster.view(first)["members"]
        return min((member["replicas"] for member in members), default=0) if len(members) == 2 else 0

    until(lambda: copies() > 256, "a quarter is there twice", 30)
    began = time.monotonic()
    until(lambda: copies() == 1024, "everything is there twice", 60, 0.1)
    ended = time.monotonic()
    load.stop()
    print(f"{cluster.io}: three quarters of 16 MiB in {ended - began:.1f} s; meanwhile: {load.summary(began, ended)}")
    assert ended - began > 2, "the network wasn't slow"
    assert load.percentile(0.5, began, ended) < 100 and load.percentile(0.9, began, ended) < 400
    cluster.network.slow(b)
    assert load.failures == [] and load.lost([first, second]) == []
