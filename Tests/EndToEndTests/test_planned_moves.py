"""What operators do on purpose while clients go on: restart every node, one after the other."""

import signal
import time

import pytest

from cluster import Cluster
from load import Load
from namespaces import Network, require_network
from node import lasts, until


@pytest.fixture(scope="module")
def network():
    require_network()
    with Network(4) as network:
        yield network


@pytest.fixture
def cluster(network, io):
    cluster = Cluster(network, io)
    yield cluster
    cluster.stop()
    network.heal()


def is_whole(cluster, nodes):
    """Whether all nodes are active members and hold three copies of everything together."""
    states = [cluster.status(node) for node in nodes]
    if not all(state and state["quorum"] and state["node"]["state"] == "active" for state in states):
        return False
    members = cluster.view(nodes[0])["members"]
    return len(members) == len(nodes) and sum(member["replicas"] for member in members) == 3 * 1024 and all(
        member["partitions"] > 200 for member in members)


def test_all_nodes_are_restarted_under_load(cluster, record_property):
    hosts = cluster.network.hosts[:3]
    cluster.start(hosts)
    until(lambda: is_whole(cluster, [cluster.nodes[host] for host in hosts]), "a balanced cluster", 15)
    load = Load(cluster, cluster.network.hosts[3]).start()
    lasts(1)
    began = time.monotonic()
    for host in hosts:
        node = cluster.nodes[host]
        node.send_signal(signal.SIGTERM)
        assert node.wait(20) == 0
        cluster.start([host])
        until(lambda: is_whole(cluster, [cluster.nodes[host] for host in hosts]), "a balanced cluster", 15)
    ended = time.monotonic()
    load.stop()
    print(f"{cluster.io}: restarted in {ended - began:.1f} s, before: {load.summary(0, began)}")
    print(f"meanwhile: {load.summary(began, ended)}")
    worst = load.percentile(0.999, began, ended)
    record_property("milliseconds_p999", worst)
    assert load.failures == [], "\n".join(f"{due - began:.2f} {what}" for due, what in load.failures[:20])
    assert load.lost([cluster.nodes[host] for host in hosts]) == []
    # The aim is 50 ms; the bound leaves room for a machine that does other things as well.
    assert worst < 250
