"""More than a cluster takes: memory that is full, a node that stands still, clients that never read. Nothing that was
acknowledged is lost, and everybody else goes on."""

import os
import signal
import threading
import time

import pytest

from cluster import Cluster
from http1 import Closed, request
from namespaces import Network, require_network
from node import until


@pytest.fixture(scope="module")
def network():
    require_network()
    with Network(3) as network:
        yield network


@pytest.fixture
def cluster(network, io):
    cluster = Cluster(network, io)
    yield cluster
    cluster.stop()
    network.heal()


def started(cluster):
    nodes = cluster.start()
    cluster.until_one(nodes)
    until(lambda: all(node.call("PUT", f"/warm{number}?w=3", "1").status in (200, 201)
                      for node in nodes for number in range(20)), "all copies in step", 20)
    return nodes


def test_a_flood_beyond_memory_is_refused_and_loses_nothing(cluster):
    nodes = started(cluster)
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
        until(lambda: nodes[0].call("DELETE", path).status in (204, 404), "room again")
    until(lambda: nodes[0].call("PUT", "/small", "1").status in (200, 201), "writes again", 20)


def test_a_node_that_stands_still_holds_nobody_up_for_long(cluster):
    nodes = started(cluster)
    victim = next(node for node in nodes if node is not cluster.goose())
    others = [node for node in nodes if node is not victim]
    name = cluster.status(victim)["node"]["name"]
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
    cluster.until_one(nodes, seconds=30)


def test_clients_that_never_read_cost_others_nothing(cluster):
    nodes = started(cluster)
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
