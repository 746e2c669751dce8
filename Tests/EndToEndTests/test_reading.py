"""How new reads are on real nodes: levels, labels, revisions, and nodes that are cut off."""

import threading
import time

from node import lasts, until

HOSTS = 3


def names(cluster, nodes):
    return [cluster.status(node)["node"]["name"] for node in nodes]


def key_where(node, condition, prefix="k"):
    return next(f"{prefix}{number}" for number in range(10_000)
                if condition(node.call("GET", f"/v1/ring?key={prefix}{number}").json()))


def test_levels_and_labels(cluster):
    nodes = cluster.start_in_step()
    owner = names(cluster, nodes)[0]
    key = key_where(nodes[0], lambda ring: ring["owner"] == owner)
    for number in range(50):
        written = nodes[number % 3].call("PUT", f"/{key}", str(number))
        assert written.status in (200, 201)
        for node in nodes:
            for level in ("linearizable", "committed"):
                answer = node.call("GET", f"/{key}?read={level}")
                assert (answer.status, answer.body) == (200, str(number).encode())
                assert level == "committed" or answer.header("Kvd-Stale") is None
            revision = written.etag.strip('"')
            assert node.call("GET", f"/{key}?min-revision={revision}").body == str(number).encode()
    assert nodes[0].call("GET", f"/{key}").header("Kvd-Stale") is None
    assert nodes[1].call("GET", f"/{key}").header("Kvd-Stale") == "replica"
    assert nodes[1].call("GET", "/none").status == 404


def test_a_session_on_one_node_reads_its_own_writes(cluster):
    nodes = cluster.start_in_step()
    failures = []

    def session(number):
        with nodes[number].connect() as connection:
            for value in range(300):
                key = f"/s{number}-{value % 7}"
                if connection.call("PUT", key, str(value).encode()).status not in (200, 201):
                    failures.append((number, value, "write"))
                if connection.call("GET", key).body != str(value).encode():
                    failures.append((number, value, "read"))

    threads = [threading.Thread(target=session, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_node_that_is_cut_off_says_so_and_refuses_what_it_cannot_know(cluster):
    nodes = cluster.start_in_step("--replicas", "2", copies=2)
    victim = next(node for node in nodes if node is not cluster.goose())
    host = next(host for host, node in cluster.nodes.items() if node is victim)
    name = cluster.status(victim)["node"]["name"]

    def holds(ring):
        return name in [ring["owner"], *ring["synced"]]

    own = key_where(victim, lambda ring: ring["owner"] == name)
    foreign = key_where(victim, lambda ring: not holds(ring))
    for key in (own, foreign):
        assert victim.call("PUT", f"/{key}", "1").status == 201
        assert victim.call("GET", f"/{key}").body == b"1"
    cluster.network.isolate(host)
    until(lambda: victim.call("GET", "/health").status == 503, "read-only")
    answer = victim.call("GET", f"/{own}")
    assert (answer.status, answer.body, answer.header("Kvd-Stale")) == (200, b"1", "cut-off")
    assert victim.call("GET", f"/{own}?read=linearizable").status == 503
    # Links that say nothing are known for what they are within a second.
    lasts(1.2)
    for query in ("", "?read=committed", "?read=linearizable"):
        began = time.monotonic()
        assert victim.call("GET", f"/{foreign}{query}").status == 503
        assert time.monotonic() - began < 0.5
    cluster.network.heal()
    until(lambda: victim.call("GET", f"/{own}?read=linearizable").body == b"1", "linearizable reads again", 20)
    assert until(lambda: victim.call("GET", f"/{foreign}").body, "reads of others again") == b"1"
