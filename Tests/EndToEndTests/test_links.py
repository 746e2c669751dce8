"""Three real nodes on the loopback interface: any of them serves any key, and a lost one costs no more than it must."""

import json
import os
import secrets
import signal
import threading
import time

import pytest

from node import Node, run_kvd, until

VALUE_SIZES = (0, 1, 4095, 4097, 32768, 70_000, 3_000_000)


def start_cluster(io, count=3, *arguments):
    """Nodes of a cluster of their own; the first one founds it."""
    name = f"links-{secrets.token_hex(4)}"
    nodes = []
    for number in range(count):
        joins = [word for node in nodes for word in ("--join", "127.0.0.1:%d" % node.peer_address[1])]
        nodes.append(Node("--cluster", name, "--name", f"n{number}", "--cores", "2", *joins, *arguments, io=io,
                          memory="256MiB"))
    try:
        until(lambda: all(is_whole(node, count) for node in nodes), "all links are up and all have partitions", 20)
    except AssertionError:
        for node in nodes:
            print(node.call("GET", "/v1/cluster").body.decode(), *node.lines[-40:], sep="\n")
        raise
    return nodes


def is_whole(node, count):
    view = node.call("GET", "/v1/cluster").json()
    members = view["members"]
    return (len(members) == count and sum(member["partitions"] for member in members) == 1024
            and all(member["partitions"] > 200 for member in members)
            and sum(member.get("link") == "up" for member in members) == count - 1)


def counter(node, name):
    for line in node.call("GET", "/metrics").body.decode().splitlines():
        if line.startswith(name + " "):
            return int(line.split()[1])
    raise AssertionError(name)


@pytest.fixture
def three(io):
    nodes = start_cluster(io)
    yield nodes
    for node in nodes:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait(20)


def test_any_node_serves_any_key(three):
    for number in range(60):
        assert three[number % 3].call("PUT", f"/k{number}", f"value {number}").status == 201
    for number in range(60):
        answer = three[(number + 1) % 3].call("GET", f"/k{number}?read=linearizable")
        assert (answer.status, answer.body) == (200, f"value {number}".encode())
    assert sum(counter(node, "kvd_relayed_total") for node in three) > 40


def test_the_load_generator_asks_the_owner_of_each_key(three):
    def relayed(*arguments):
        def count():
            return sum(counter(node, "kvd_relayed_total") for node in three)

        before = count()
        run = run_kvd("bench", "--url", three[1].url, "-w", "put", "-r", "3000", "-l", "6", "--json", *arguments)
        assert run.returncode == 0, run.stderr
        report = json.loads(run.stdout)
        assert report["requests"] == 3000 and report["statuses"].keys() <= {"200", "201"}, report
        return count() - before

    assert relayed("--to-owners") == 0
    assert relayed("--to-owners", "-k", "1") > 1000, "a node that owns none of the keys has to pass on"
    assert relayed() > 1000


def test_values_of_any_size_pass(three):
    for size in VALUE_SIZES:
        value = os.urandom(size)
        for number in range(6):
            key = f"/s{size}-{number}"
            assert three[0].call("PUT", key, value).status == 201
            assert three[1].call("GET", key + "?read=linearizable").body == value


def test_pipelined_answers_keep_their_order(three):
    with three[0].connect() as connection:
        for number in range(200):
            connection.send(b"PUT /p%d HTTP/1.1\r\nHost: k\r\nContent-Length: 3\r\n\r\n%03d" % (number, number))
        assert [connection.response("PUT").status for _ in range(200)] == [201] * 200
        for number in range(200):
            connection.send(b"GET /p%d?read=linearizable HTTP/1.1\r\nHost: k\r\n\r\n" % number)
        assert [connection.response("GET").body for _ in range(200)] == [b"%03d" % n for n in range(200)]


def test_counters_and_conditions_have_one_owner(three):
    for round in range(30):
        answer = three[round % 3].call("POST", "/count?op=incr", "")
        assert int(answer.body) == round + 1
    first = three[0].call("PUT", "/lock", "a", {"If-None-Match": "*"})
    assert first.status == 201
    assert three[1].call("PUT", "/lock", "b", {"If-None-Match": "*"}).status == 412
    assert three[2].call("PUT", "/lock", "b", {"If-Match": first.header("etag")}).status == 200
    for node in three:
        assert node.call("PUT", "/once", "v", {"Idempotency-Key": "k"}).status == 201


def test_a_batch_and_a_listing_reach_all_nodes(three):
    operations = [{"op": "put", "map": "b", "key": f"b{n}", "value": str(n), "w": 1} for n in range(50)]
    answers = three[1].call("POST", "/v1/batch", json.dumps(operations)).json()
    assert [answer["status"] for answer in answers] == [201] * 50
    keys, after = [], ""
    while after is not None:
        page = three[2].call("GET", f"/v1/maps/b?limit=7&after={after}").json()
        keys += page["keys"]
        after = page["next"]
    assert sorted(keys) == sorted(f"b{n}" for n in range(50))


def test_a_killed_node_costs_only_retriable_answers(three):
    """And none that says that something failed which may have happened."""
    statuses, stop = [], threading.Event()

    def write():
        with three[0].connect() as connection:
            number = 0
            while not stop.is_set():
                number += 1
                statuses.append(connection.call("PUT", f"/w{number % 500}?timeout=5s", b"v").status)

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: len(statuses) > 200, "the writer is under way")
    three[1].process.kill()
    three[1].process.wait(20)
    until(lambda: statuses[-200:].count(200) == 200, "writes to all partitions succeed again", 20)
    stop.set()
    writer.join()
    assert set(statuses) <= {200, 201, 503, 504}
    assert counter(three[0], "kvd_links_lost_total") >= 1


def test_a_node_that_stops_without_a_word_is_given_up(three):
    """Its host still takes packets, but it says nothing: a half-open connection."""
    three[2].process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        until(lambda: counter(three[0], "kvd_links_lost_total") >= 1, "the silent node's links are given up", 10)
        assert time.monotonic() - began < 8
        for number in range(20):
            assert three[0].call("PUT", f"/q{number}?timeout=2s", "v").status in (200, 201, 503, 504)
    finally:
        three[2].process.send_signal(signal.SIGCONT)


def test_nodes_with_a_key_prove_it(io, tmp_path):
    (tmp_path / "key").write_text(secrets.token_hex(32))
    nodes = start_cluster(io, 2, "--cluster-key-file", str(tmp_path / "key"))
    try:
        for number in range(20):
            assert nodes[number % 2].call("PUT", f"/k{number}", "v").status == 201
            assert nodes[1 - number % 2].call("GET", f"/k{number}?read=linearizable").body == b"v"
    finally:
        for node in nodes:
            node.process.kill()
            node.process.wait(20)
