"""Bodies of every size, pipelines, and clients that are slow or go away, while others are served."""

import hashlib
import random
import select
import socket
import struct
import threading
import time

import pytest

from http1 import Closed, request
from node import until

MIB = 1 << 20


def value(count, seed=1):
    return random.Random(seed).randbytes(count)


class Bystander:
    """Another client, which must get all its answers, and each soon, while something heavy goes on."""

    def __init__(self, node, longest=1.0):
        self.node, self.longest, self.worst, self.count = node, longest, 0.0, 0
        self.failure = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            with self.node.connect(timeout=20) as connection:
                while not self._stop.is_set():
                    started = time.monotonic()
                    assert connection.call("PUT", "/bystander", b"x").status in (200, 201)
                    assert connection.call("GET", "/bystander").body == b"x"
                    self.worst = max(self.worst, time.monotonic() - started)
                    self.count += 1
        except Exception as failure:  # reported by the thread that waits for this one
            self.failure = failure

    def __enter__(self):
        self._thread.start()
        until(lambda: self.count or self.failure, "the bystander is served")
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        self._thread.join()
        if kind is None:
            assert self.failure is None, repr(self.failure)
            # Generous, as other work may share the machine: the point is that nothing waits for the slow ones.
            assert self.worst < self.longest, f"a bystander waited {self.worst:.3f} s"


@pytest.mark.parametrize("count", [0, 1, 100, 4095, 4096, 65_535, 65_536, 65_537, MIB, MIB + 1, 8 * MIB, 64 * MIB])
def test_bodies_of_every_size_come_back_unchanged(node, key, count):
    data = value(count)
    with Bystander(node):
        assert node.call("PUT", key, data).status == 201
        read = node.call("GET", key)
    assert hashlib.sha256(read.body).digest() == hashlib.sha256(data).digest()
    assert read.header("content-length") == str(count)
    assert node.call("DELETE", key).status == 204


@pytest.mark.parametrize("count", [0, 1, 65_536, 3 * MIB, 64 * MIB])
def test_chunked_bodies_come_back_unchanged(node, key, count):
    data, chance = value(count), random.Random(2)
    with node.connect() as connection, Bystander(node):
        connection.send(b"PUT %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % key.encode())
        at = 0
        while at < count:
            step = min(count - at, chance.choice([1, 17, 4096, 70_000, MIB]) if count <= 3 * MIB else MIB)
            step = max(step, 1 if count <= 65_536 else min(4096, count - at))
            connection.send(b"%x;ext=\"a b\"\r\n" % step + data[at:at + step] + b"\r\n")
            at += step
        connection.send(b"0\r\nTrailer: ignored\r\n\r\n")
        assert connection.response().status == 201
        assert connection.call("GET", key).body == data
    node.call("DELETE", key)


def test_a_request_in_single_bytes(node, key):
    data = request("PUT", key, b"slow", {"Content-Type": "text/plain"}) + request("GET", key)
    with node.connect() as connection:
        for i in range(len(data)):
            connection.send(data[i:i + 1])
        assert connection.response().status == 201
        assert connection.response().body == b"slow"


@pytest.mark.parametrize("cut", range(1, 130, 3))
def test_a_pipeline_cut_anywhere(node, key, cut):
    append = b"POST %s?op=append HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % key.encode()
    data = request("PUT", key, b"12345") + append + b"2\r\n67\r\n0\r\n\r\n" + request("GET", key)
    with node.connect() as connection:
        connection.send(data[:cut])
        connection.readable(0.005)
        connection.send(data[cut:])
        assert connection.response().status in (200, 201)
        assert connection.response().status == 200
        assert connection.response().body == b"1234567"


class TestPipelining:
    def test_a_thousand_requests_in_one_write_are_answered_in_order(self, node, key):
        whole = b"".join(
            request("PUT", f"{key}-{i % 50}", b"%d" % i) + request("GET", f"{key}-{i % 50}") for i in range(500))
        with node.connect() as connection:
            sender = threading.Thread(target=connection.send, args=(whole,))
            sender.start()
            for i in range(500):
                assert connection.response().status in (200, 201)
                assert connection.response().body == b"%d" % i
            sender.join()

    def test_errors_keep_their_place(self, node, key):
        with node.connect() as connection:
            connection.send(request("PUT", key, b"1") + request("GET", key + "-none") + request("GET", key + "?x=1")
                            + request("HEAD", key) + request("DELETE", key) + request("GET", key))
            statuses = [connection.response(method).status for method in ("PUT", "GET", "GET", "HEAD", "DELETE", "GET")]
            assert statuses == [201, 404, 400, 200, 204, 404]

    def test_large_answers_keep_their_order(self, node, key):
        values = [value(300_000, seed) for seed in range(10)]
        for i, data in enumerate(values):
            node.call("PUT", f"{key}-{i}", data)
        with node.connect(receive_buffer=8192) as connection:
            connection.send(b"".join(request("GET", f"{key}-{i}") for i in range(10)))
            assert [connection.response().body for _ in range(10)] == values

    def test_nothing_after_connection_close_is_answered(self, node, key):
        with node.connect() as connection:
            connection.send(request("PUT", key, b"1", {"Connection": "close"}) + request("PUT", key, b"2"))
            answer = connection.response()
            assert (answer.status, answer.header("connection")) == (201, "close")
            assert connection.ended()
        assert node.call("GET", key).body == b"1"

    def test_a_client_that_reads_nothing_is_held_back(self, node, key):
        node.call("PUT", key, value(MIB))
        before = node.resident_bytes()
        with node.connect(receive_buffer=4096, timeout=2) as connection, Bystander(node):
            with pytest.raises((TimeoutError, BrokenPipeError, ConnectionResetError)):
                for _ in range(20_000):
                    connection.send(request("GET", key) * 100)
        # 2 million requests for 1 MiB each were offered; what is kept for them is bounded.
        assert node.resident_bytes() - before < 64 * MIB


class TestSlowClients:
    @pytest.fixture
    def impatient(self, start):
        """A node whose time limits are short enough for a test."""
        return start(limits={"headTimeout": 500, "bodyTimeout": 500, "idleTimeout": 1500, "sendTimeout": 700,
                             "lingerTimeout": 300})

    def drip(self, connection, data, seconds):
        """Sends byte by byte, with pauses, until an answer or the end comes; returns whether one came."""
        deadline = time.monotonic() + seconds
        for i in range(len(data)):
            if connection.readable(0.05):
                return True
            if time.monotonic() > deadline:
                return False
            try:
                connection.send(data[i:i + 1])
            except (BrokenPipeError, ConnectionResetError):
                return True
        return connection.readable(seconds)

    def test_a_head_that_never_ends(self, impatient):
        with impatient.connect() as connection, Bystander(impatient):
            assert self.drip(connection, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000, 8)
            connection.response().problem(408)
            assert connection.ended()

    def test_two_hundred_heads_that_never_end(self, impatient):
        slow = [impatient.connect() for _ in range(200)]
        with Bystander(impatient):
            for connection in slow:
                connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-")
            for connection in slow:
                assert connection.response().status == 408
                assert connection.ended()
                connection.close()

    def test_a_body_that_stops_coming(self, impatient, key):
        with impatient.connect() as connection, Bystander(impatient):
            connection.send(b"PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc" % key.encode())
            connection.response().problem(408)
            assert connection.ended()
        assert impatient.call("GET", key).status == 404

    def test_a_body_that_comes_slowly_but_steadily_is_taken(self, impatient, key):
        with impatient.connect() as connection:
            connection.send(b"PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n" % key.encode())
            for i in range(10):
                connection.readable(0.12)
                connection.send(b"%d" % i)
            assert connection.response().status == 201
        assert impatient.call("GET", key).body == b"0123456789"

    def test_a_connection_without_requests_is_closed_without_an_answer(self, impatient):
        with impatient.connect() as silent, impatient.connect() as used:
            assert used.call("GET", "/livez").status == 200
            assert silent.ended(6) and used.ended(6)

    def test_a_reader_that_never_reads_is_let_go(self, impatient, key):
        impatient.call("PUT", key, value(16 * MIB))
        with impatient.connect(receive_buffer=4096) as connection, Bystander(impatient):
            connection.send(request("GET", key))
            watch = select.poll()
            watch.register(connection.socket, select.POLLHUP | select.POLLERR)
            assert watch.poll(10_000), "the connection isn't reset"

    def test_a_reader_that_never_reads_but_goes_on_writing_is_let_go(self, impatient, key):
        """Time for taking an answer is given for taking it, not for anything else that the client does."""
        impatient.call("PUT", key, value(16 * MIB))
        with impatient.connect(receive_buffer=4096) as connection, Bystander(impatient):
            connection.send(request("GET", key) + b"GET /")
            until(lambda: gone(connection), "the connection is reset", seconds=10, every=0.1)

    def test_a_slow_reader_of_a_large_value_gets_it_whole(self, start, key):
        node = start()
        data = value(64 * MIB)
        node.call("PUT", key, data)
        with node.connect(receive_buffer=65_536) as connection, Bystander(node) as bystander:
            connection.send(request("GET", key))
            served = bystander.count
            until(lambda: bystander.count > served + 20, "others are served meanwhile")
            digest, left = hashlib.sha256(), int(connection.head().header("content-length"))
            assert left == len(data)
            while left:
                connection.readable(0.001)
                if not connection.buffer:
                    connection._fill()
                taken = connection._take(min(left, len(connection.buffer)))
                digest.update(taken)
                left -= len(taken)
        assert digest.digest() == hashlib.sha256(data).digest()

    def test_a_value_replaced_while_it_is_being_read_is_read_unchanged(self, node, key):
        data = value(32 * MIB)
        node.call("PUT", key, data)
        with node.connect(receive_buffer=65_536) as connection:
            connection.send(request("GET", key))
            connection.readable(5)
            for i in range(5):
                node.call("PUT", key, b"%d" % i * MIB)
            node.call("DELETE", key)
            assert connection.response().body == data

    def test_a_half_closed_client_gets_its_answers(self, node, key):
        with node.connect() as connection:
            connection.send(request("PUT", key, value(MIB)) + request("GET", key))
            connection.half_close()
            assert connection.response().status == 201
            assert connection.response().body == value(MIB)
            assert connection.ended()

    @pytest.mark.parametrize("sent", [b"GET", b"GET / HTTP/1.1\r\nHost: a\r\n",
                                      b"PUT /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
                                      b"PUT /gone HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"])
    def test_a_request_cut_by_a_half_close_is_not_done(self, node, sent):
        with node.connect() as connection:
            connection.send(sent)
            connection.half_close()
            left = connection.rest()
            assert left == b"" or left.startswith(b"HTTP/1.1 4"), left
        assert node.call("GET", "/gone").status == 404

    def test_clients_that_reset_their_connections_harm_nobody(self, node, key):
        node.call("PUT", key, value(MIB))
        unfinished = b"PUT /r HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nab"
        with Bystander(node):
            for i in range(200):
                connection = node.connect(receive_buffer=4096)
                connection.send([request("GET", key), unfinished, b"G", request("GET", key) * 50][i % 4])
                if i % 3 == 0:
                    connection.readable(0.01)
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
        assert node.call("GET", "/r").status == 404


def gone(connection):
    """Whether the server has reset or ended the connection, found out by writing to it, not by reading."""
    try:
        connection.socket.send(b"x")
    except (BrokenPipeError, ConnectionResetError, Closed):
        return True
    return False
