"""Settings of maps in a cluster, and caches: values on their owner, copies at readers, none older than a write."""

import signal
import threading
import time

from node import until

HOSTS = 3


def started(cluster, settings, name="c"):
    nodes = cluster.start_in_step()
    answer = nodes[1].call("PUT", f"/v1/maps/{name}", settings)
    assert answer.status == 200, answer.body
    shown = answer.json()["settings"]
    until(lambda: all(node.call("GET", f"/v1/maps/{name}").json()["settings"] == shown for node in nodes),
          "settings on all nodes")
    return nodes


def owner_of(cluster, nodes, key, name="c"):
    ring = nodes[0].call("GET", f"/v1/ring?map={name}&key={key}").json()
    return next(node for node in nodes if cluster.status(node)["node"]["name"] == ring["owner"])


def test_a_cache_is_coherent_and_forgets_what_its_owner_had(cluster):
    nodes = started(cluster, '{"mode":"cache"}')
    for key in ("a", "b", "ä/ö", "x" * 900):
        path = f"/v1/maps/c/{key}".replace("ä", "%C3%A4").replace("ö", "%C3%B6")
        assert all(node.call("GET", path).status == 404 for node in nodes)
        for number in range(9):
            assert nodes[number % 3].call("PUT", path, f"v{number}").status in (200, 201)
            for node in nodes * 2:
                assert node.call("GET", path).body == f"v{number}".encode()
        assert nodes[0].call("DELETE", path).status == 204
        assert all(node.call("GET", path).status == 404 for node in nodes)
    large = bytes(range(256)) * 12_000
    assert nodes[2].call("PUT", "/v1/maps/c/large", large).status == 201
    for node in nodes * 2:
        assert node.call("GET", "/v1/maps/c/large").body == large
    owner = owner_of(cluster, nodes, "large")
    other = next(node for node in nodes if node is not owner)
    moved = other.call("GET", "/v1/maps/c/large?redirect=true")
    assert moved.status == 307
    assert moved.header("Location").endswith("/v1/maps/c/large") and moved.header("Location").startswith("http://")
    assert owner.call("GET", "/v1/maps/c/large?redirect=true").body == large
    assert other.call("GET", "/v1/maps/c").json()["keys"] == ["large"]
    cluster.kill(owner)
    rest = [node for node in nodes if node is not owner]
    until(lambda: all(node.call("GET", "/v1/maps/c/large").status == 404 for node in rest), "a miss", 20)
    until(lambda: rest[0].call("PUT", "/v1/maps/c/large", "again").status in (200, 201), "a write", 20)
    assert all(node.call("GET", "/v1/maps/c/large").body == b"again" for node in rest)


def test_nobody_reads_what_is_older_than_an_acknowledged_write(cluster):
    nodes = started(cluster, '{"mode":"cache"}')
    path = "/v1/maps/c/counter"
    assert nodes[0].call("PUT", path, "0").status in (200, 201)
    acknowledged, stale, reads, stop = [0], [], [0], threading.Event()

    def read(node):
        with node.connect() as connection:
            while not stop.is_set():
                least = acknowledged[0]
                answer = connection.call("GET", path)
                reads[0] += 1
                if answer.status == 200 and int(answer.body) < least:
                    stale.append((least, int(answer.body)))

    threads = [threading.Thread(target=read, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    for number in range(1, 300):
        answer = nodes[number % 3].call("PUT", path, str(number))
        assert answer.status == 200
        acknowledged[0] = number
    stop.set()
    for thread in threads:
        thread.join()
    assert stale == [] and reads[0] > 300


def test_a_reader_that_stands_still_delays_a_write_no_longer_than_its_copy_is_good(cluster):
    nodes = started(cluster, '{"mode":"cache"}')
    path = "/v1/maps/c/k"
    owner = owner_of(cluster, nodes, "k")
    reader = next(node for node in nodes if node not in (owner, cluster.goose()))
    assert owner.call("PUT", path, "1").status == 201
    assert reader.call("GET", path).body == b"1"
    reader.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert owner.call("PUT", path, "2").status == 200
        assert 0.3 < time.monotonic() - began < 4
    finally:
        reader.send_signal(signal.SIGCONT)
    assert until(lambda: (answer := reader.call("GET", path)).status == 200 and answer.body, "an answer") == b"2"


def test_fewer_replicas_need_fewer_answers(cluster):
    nodes = started(cluster, '{"replicas":1,"ttl":"1h"}', "one")
    owner = owner_of(cluster, nodes, "k", "one")
    host = next(host for host, node in cluster.nodes.items() if node is owner)
    assert owner.call("PUT", "/v1/maps/one/k", "1").status == 201
    assert owner.call("GET", "/v1/maps/one/k").header("Kvd-TTL")
    cluster.network.isolate(host)
    with owner.connect() as connection:
        assert connection.call("PUT", "/v1/maps/one/k", b"2").status == 200
    cluster.network.heal()
    nodes[0].call("PUT", "/v1/maps/one", '{"replicas":4}').problem(400)
    nodes[0].call("PUT", "/v1/maps/default", '{"mode":"cache"}').problem(400)
