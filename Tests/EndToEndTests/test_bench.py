"""The load generator: what it sends, what it counts, and that the benchmarks built on it run."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections import Counter

import pytest

from node import BACKENDS, ROOT, free_port, run_kvd


def bench(url, *arguments, seconds=60):
    """Runs `kvd bench --json` to its end; returns the runs' reports."""
    result = run_kvd("bench", "--url", url, "--json", *arguments, seconds=seconds)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def is_clean(report):
    return report["refused"] == report["unanswered"] == report["brokenConnections"] == report["unsent"] == 0


class Scripted:
    """A server that answers what the test says: `answer(head)` returns the bytes, `pieces` cuts them."""

    def __init__(self, answer, pieces=lambda data: [data], requests_end=b"\r\n\r\n"):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.answer, self.pieces, self.requests_end = answer, pieces, requests_end
        self.requests = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        held = b""
        with connection, contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                held += data
                *heads, held = held.split(self.requests_end)
                self.requests += heads
                answers = b"".join(self.answer(head) for head in heads)
                for piece in self.pieces(answers):
                    connection.sendall(piece)
                if b"Connection: close" in answers:
                    return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def http_answer(body=b"v" * 10, status=b"200 OK", extra=b""):
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, extra, len(body), body)


class TestAgainstANode:
    def test_a_fill_writes_every_key_once(self, start):
        node = start()
        bench(node.url, "--fill", "--keys", "5000", "--value-size", "33", "--duration", "0s")
        for number in (0, 1, 4999):
            assert len(node.call("GET", f"/key-{number:012}").body) == 33
        assert node.call("GET", f"/key-{5000:012}").status == 404
        entries = re.search(r"^kvd_\w*entries\S* (\d+)", node.call("GET", "/metrics").body.decode(), re.M)
        assert entries is None or int(entries[1]) == 5000

    @pytest.mark.parametrize("pipeline", [1, 16])
    @pytest.mark.parametrize("workload", ["get", "put", "mixed"])
    def test_every_request_is_answered_and_counted(self, node, workload, pipeline):
        report, = bench(node.url, "--fill", "--keys", "100", "--workload", workload, "--pipeline", str(pipeline),
                        "--connections", "5", "--records", "10k")
        assert is_clean(report)
        assert report["requests"] == 10_000
        assert sum(report["statuses"].values()) == 10_000 and all(s.startswith("2") for s in report["statuses"])
        latency = report["latency"]
        assert latency["count"] == 10_000
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.99"] <= latency["max"]
        written = (report["writeLatency"] or {"count": 0})["count"]
        assert {"get": written == 0, "put": written == 10_000, "mixed": 700 < written < 1300}[workload]

    def test_missing_keys_are_shown(self, node):
        result = run_kvd("bench", "--url", node.url, "--key-prefix", "nothing-", "--records", "100")
        assert result.returncode == 0 and "404: 100" in result.stdout and "100 not 2xx" in result.stdout

    def test_lists_run_every_permutation(self, node):
        reports = bench(node.url, "--fill", "-m", "10,1k", "-k", "10,100", "-l", "1,3", "-p", "1,2", "-w", "get,put",
                        "-r", "50")
        seen = {(r["valueBytes"], r["keys"], r["connections"], r["pipeline"], r["workload"]) for r in reports}
        assert len(reports) == len(seen) == 32 and all(is_clean(report) for report in reports)

    def test_large_values_go_both_ways(self, node):
        reports = bench(node.url, "--fill", "-m", "100k,3MiB", "-k", "4", "-w", "mixed", "--reads", "50", "-l", "3",
                        "-p", "1,4", "-r", "60")
        assert len(reports) == 4 and all(is_clean(report) and report["requests"] == 60 for report in reports)

    def test_an_open_loop_keeps_its_rate(self, node):
        report, = bench(node.url, "--fill", "--rate", "2000", "--duration", "500ms", "-l", "10")
        assert report["requests"] + report["unsent"] == pytest.approx(1000, abs=2)

    def test_the_servers_processor_time_is_reported(self, start):
        node = start()
        report, = bench(node.url, "--fill", "--records", "100k", "-p", "16", "--server-pid", str(node.process.pid))
        assert report["serverSeconds"] > 0
        assert report["requestsPerServerSecond"] == pytest.approx(100_000 / report["serverSeconds"])

    def test_keys_with_a_path_before_them(self, node):
        report, = bench(node.url + "/v1/maps/bench-map", "--fill", "--keys", "10", "--records", "100")
        assert is_clean(report)


class TestReplies:
    @pytest.mark.parametrize("io", BACKENDS)
    def test_replies_may_be_cut_anywhere(self, io):
        numbers = iter(range(10_000))

        def answer(head):
            number = next(numbers)
            if number % 5 == 0:
                return b"HTTP/1.1 204 No Content\r\nX-Long: " + b"y" * 200 + b"\r\n\r\n"
            if number % 5 == 1:
                return b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n"
            return http_answer(b"\r\n\r\nHTTP/1.1 500 No\r\n" * (number % 4), extra=b"X-Long: " + b"z" * 100 + b"\r\n")

        def pieces(data):
            size = len(data) % 7 + 1
            return [data[i:i + size] for i in range(0, len(data), size)]

        with Scripted(answer, pieces) as server:
            report, = bench(server.url, "-l", "1", "-p", "4", "-r", "500", "--io", io)
        assert report["statuses"] == {"200": 300, "204": 100, "404": 100}
        assert report["unanswered"] == 0

    def test_resp_replies_may_be_cut_anywhere(self):
        numbers = iter(range(10_000))
        replies = [b"$-1\r\n", b"$10\r\n-ERR\r\n\r\n+O\r\n", b"+OK\r\n", b"-ERR no\r\n", b"_\r\n", b"$0\r\n\r\n"]

        def answer(head):
            return replies[next(numbers) % 6]

        with Scripted(answer, lambda data: [data[i:i + 1] for i in range(len(data))], b"*2\r\n$3\r\nGET\r\n") as server:
            # Cut at their beginnings, 16 requests are 16 pieces as well, the first of them empty.
            report, = bench(server.url.replace("http", "redis"), "-l", "1", "-p", "16", "-r", "16", seconds=30)
        assert report["protocol"] == "resp" and report["unanswered"] == 0
        assert report["statuses"] == {"OK": 8, "nil": 5, "error": 3}

    @pytest.mark.parametrize("reply, word", [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "transfer coding"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
        (http_answer() * 2, "no request"),
    ])
    def test_what_is_no_reply_ends_the_run_with_a_sentence(self, reply, word):
        with Scripted(lambda head: reply) as server:
            result = run_kvd("bench", "--url", server.url, "-l", "1", "-r", "10")
        assert result.returncode == 1 and word in result.stderr and len(result.stderr.splitlines()) == 1

    def test_connections_that_the_server_ends_are_opened_again(self):
        with Scripted(lambda head: http_answer(extra=b"Connection: close\r\n")) as server:
            report, = bench(server.url, "-l", "2", "-r", "100")
        # A request may have gone out before the end was seen: it is lost, and counted as that.
        assert report["brokenConnections"] >= 49 and report["requests"] + report["unanswered"] == 100

    def test_a_stalling_server_is_not_spared(self):
        """Coordinated omission: one stall of 300 ms makes every request late that was due meanwhile."""
        stalls = iter([0.3])

        def answer(head):
            threading.Event().wait(next(stalls, 0))
            return http_answer()

        with Scripted(answer) as server:
            report, = bench(server.url, "-l", "1", "--rate", "100", "-r", "100")
        # Of 100 requests in a second, 30 were due during the stall: the tenth worst waited 200 ms or so.
        assert report["requests"] == 100 and report["latency"]["p90"] > 100_000_000


class TestKeys:
    def keys(self, *arguments):
        with Scripted(lambda head: http_answer()) as server:
            bench(server.url, "-l", "1", "-p", "50", *arguments)
            return [int(re.match(rb"GET /key-(\d{12}) ", head)[1]) for head in server.requests]

    def test_uniform_keys_come_all_alike(self):
        counts = Counter(self.keys("--keys", "10", "-r", "20k"))
        assert sorted(counts) == list(range(10)) and all(1_700 < count < 2_300 for count in counts.values())

    @pytest.mark.parametrize("exponent", [0.5, 0.99, 1.0, 1.5])
    def test_zipf_keys_come_as_zipf_says(self, exponent):
        counts = Counter(self.keys("--keys", "1000", "-r", "20k", "--distribution", "zipf", "--zipf-exponent",
                                   str(exponent)))
        total = sum(rank ** -exponent for rank in range(1, 1001))
        for rank in (1, 2, 10):
            expected = 20_000 * rank ** -exponent / total
            assert abs(counts[rank - 1] - expected) < 5 * expected ** 0.5 + 1, (rank, counts[rank - 1], expected)
        assert max(counts) < 1000

    def test_sequential_keys_come_in_order(self):
        assert self.keys("--keys", "30", "-r", "70", "--distribution", "sequential") == [i % 30 for i in range(70)]

    def test_the_same_seed_draws_the_same_keys(self):
        one, two, three = (self.keys("-r", "500", "--seed", seed) for seed in ("7", "7", "8"))
        assert one == two != three


class TestCommandLine:
    @pytest.mark.parametrize("arguments, word", [
        (["--url", "ftp://a"], "ftp://a"), (["-l", "0"], "connections"), (["-l", "1,,2"], "connections"),
        (["-p", "many"], "pipeline"), (["-m", "2TiB"], "value-size"), (["-w", "delete"], "workload"),
        (["--keys", "0"], "keys"), (["--distribution", "normal"], "distribution"), (["-d", "soon"], "duration"),
        (["--rate", "0"], "rate"), (["--key-prefix", "a b"], "key-prefix"), (["--zipf-exponent", "x"], "zipf-exponent"),
        (["--distribution", "zipf", "--zipf-exponent", "0"], "zipf-exponent"), (["--records", "-1"], "records"),
        (["--workload", "mixed", "--reads", "101"], "reads"), (["--protocol", "smtp"], "smtp"),
    ])
    def test_what_it_cannot_do_is_named(self, arguments, word):
        result = run_kvd("bench", *arguments)
        assert result.returncode > 0 and word in result.stderr and "Fatal" not in result.stderr

    def test_no_server(self):
        result = run_kvd("bench", "--url", f"http://127.0.0.1:{free_port()}")
        assert result.returncode == 1 and "refused" in result.stderr and len(result.stderr.splitlines()) == 1
