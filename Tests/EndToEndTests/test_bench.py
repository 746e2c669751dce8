"""The load generator: what it sends, what it counts, and that the benchmarks built on it run."""

import contextlib
import json
import re
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter

import frames
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

    def test_a_node_that_is_alone_owns_all_keys(self, node):
        report, = bench(node.url, "--workload", "put", "--records", "1000", "--to-owners")
        assert report["requests"] == 1000 and is_clean(report)

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
    def test_all_connections_may_break_at_once(self, io):
        end, rounds = b"Connection: close", []
        together = threading.Barrier(20, action=lambda: rounds.append(1))

        def answer(head):
            if len(rounds) == 20:
                return http_answer()
            together.wait(30)
            return end

        with Scripted(answer, lambda data: [data] if data != end else []) as server:
            report, = bench(server.url, "--io", io, "-l", "20", "--records", "1000", "-w", "get", "--warmup", "0s")
        assert (report["requests"], report["unanswered"], report["brokenConnections"]) == (600, 400, 400)

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

    def test_a_wait_is_what_answers_a_write(self):
        asked = b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$4\r\n1000\r\n"
        numbers = iter(range(1000))

        def answer(head):
            return b"+OK\r\n:%d\r\n" % (next(numbers) % 3)

        with Scripted(answer, lambda data: [data[i:i + 1] for i in range(len(data))], asked) as server:
            report, = bench(server.url.replace("http", "redis"), "-w", "put", "--wait", "2", "-l", "1", "-p", "2", "-r",
                            "30", seconds=30)
        assert len(server.requests) == 30 and all(b"SET" in request for request in server.requests)
        assert report["statuses"] == {"OK": 10, "error": 20} and report["unanswered"] == 0

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
        (["--answer", "some"], "answer"), (["--answer", "ack"], "binary"), (["--batch", "0"], "batch"),
        (["--batch", "2"], "binary"), (["-c", "0"], "servers"), (["-c", "1", "--answer", "ack"], "answer"),
        (["--url", "kvd://127.0.0.1/v1/maps/m"], "path"), (["--to-owners", "--url", "kvd://127.0.0.1"], "to-owners"),
        (["--to-owners", "--url", "http://127.0.0.1/v1/maps/m"], "to-owners"),
        (["--to-owners", "-c", "1"], "to-owners"), (["--to-owners", "--distribution", "sequential"], "to-owners"),
    ])
    def test_what_it_cannot_do_is_named(self, arguments, word):
        result = run_kvd("bench", *arguments)
        assert result.returncode > 0 and word in result.stderr and "Fatal" not in result.stderr

    def test_no_server(self):
        result = run_kvd("bench", "--url", f"http://127.0.0.1:{free_port()}")
        assert result.returncode == 1 and "refused" in result.stderr and len(result.stderr.splitlines()) == 1


CLUSTER, NODE = bytes(range(16)), bytes(range(16, 32))


class ScriptedFrames(Scripted):
    """A node of the binary protocol that answers what the test says: `answer(request, seed)` returns whole frames for
    a request, of which it knows `number`, `levels` and the `operations`."""

    def __init__(self, answer, pieces=lambda data: [data]):
        super().__init__(None, pieces)
        self.url = self.url.replace("http", "kvd")
        self.answer_request = answer

    def _serve(self, connection):
        with connection, contextlib.suppress(ConnectionError):
            stream = connection.makefile("rb")
            _, _, greeting = self.read(stream)
            sender = greeting[24:40]
            body = (b"kvd1" + struct.pack("<HBB", 1, 2, 0) + CLUSTER + NODE + sender
                    + struct.pack("<QIIII", 7, 1 << 18, 1 << 26, 1 << 14, 0))
            connection.sendall(frames.frame(frames.WELCOME, 0, body))
            seed = frames.binding(CLUSTER, NODE, sender, 7)
            held = []
            while (request := self.read(stream)) is not None:
                kind, number, payload = request
                if kind == frames.PING:
                    connection.sendall(frames.frame(frames.PONG, number, b"", seed))
                    continue
                held += self.answer_request(number, self.operations(payload), seed)
                for piece in self.pieces(b"".join(held)):
                    connection.sendall(piece)
                held = []

    @staticmethod
    def read(stream):
        head = stream.read(24)
        if len(head) < 24:
            return None
        length, kind, _, _ = struct.unpack_from("<IBBH", head)
        return kind, struct.unpack_from("<Q", head, 16)[0], stream.read(length - 24)

    @staticmethod
    def operations(payload):
        """Kind and level of each."""
        at, found = 0, []
        while at < len(payload):
            kind, level, _, length = struct.unpack_from("<BBHI", payload, at)
            found.append((kind, level))
            at += length + -length % 8
        return found


def result(index, status, body=b"", kind=0):
    """A result of a REPLY, with its padding."""
    return frames.padded(struct.pack("<HHIHBBIQ", index, status, len(body), 5, kind, 0, 1, 42) + body)


def reply(number, results, seed):
    return frames.frame(frames.REPLY, number, b"".join(results), seed, len(results))


class TestBinary:
    @pytest.mark.parametrize("answer", ["none", "ack", "reply"])
    @pytest.mark.parametrize("workload", ["get", "put", "mixed"])
    def test_every_request_is_answered_and_counted(self, node, workload, answer):
        url = "kvd://%s:%d" % node.peer_address
        reports = bench(url, "--fill", "-k", "100", "-w", workload, "-p", "1,16", "--batch", "1,5", "-l", "3",
                        "-r", "5k",
                        "--answer", answer)
        assert len(reports) == 4
        for report in reports:
            assert is_clean(report) and report["requests"] == sum(report["statuses"].values()) == 5000
            word = {"none": "sent", "ack": "acknowledged", "reply": "200"}[answer]
            assert set(report["statuses"]) == {"get": {"200"}, "put": {word}, "mixed": {"200", word}}[workload]

    def test_a_fill_writes_every_key_once(self, start):
        node = start()
        bench("kvd://%s:%d" % node.peer_address, "--fill", "-k", "3000", "-m", "33", "-d", "0s", "--batch", "7",
              "--answer", "none")
        for number in (0, 1, 2999):
            assert len(node.call("GET", f"/key-{number:012}").body) == 33
        assert node.call("GET", f"/key-{3000:012}").status == 404

    @pytest.mark.parametrize("answer", ["none", "ack", "reply"])
    def test_large_values_go_both_ways(self, node, answer):
        reports = bench("kvd://%s:%d" % node.peer_address, "--fill", "-m", "100k,3MiB", "-k", "4", "-w", "mixed",
                        "--reads", "50", "-l", "2", "-p", "4", "--batch", "3", "-r", "60", "--answer", answer)
        assert len(reports) == 2 and all(is_clean(report) and report["requests"] == 60 for report in reports)
        assert len(node.call("GET", f"/key-{0:012}").body) == 3 << 20

    def test_a_sliding_window_and_an_open_loop_answer_everything(self, node):
        url = "kvd://%s:%d" % node.peer_address
        closed, = bench(url, "-w", "put", "-p", "100", "--batch", "9", "--sliding", "-l", "2", "-r", "5000")
        opened, = bench(url, "-w", "put", "-p", "100", "--batch", "9", "--rate", "5000", "-d", "500ms", "-l", "2")
        assert is_clean(closed) and closed["requests"] == 5000
        assert opened["refused"] == opened["unanswered"] == 0
        assert opened["requests"] + opened["unsent"] == pytest.approx(2500, abs=2)

    @pytest.mark.parametrize("io", BACKENDS)
    def test_replies_may_come_in_any_order_and_be_cut_anywhere(self, io):
        def answer(number, operations, seed):
            # One frame for each result, the last first; a record of another length each.
            return [reply(number, [result(index, 200 if index % 3 else 404, b"r" * (number + index), 3)], seed)
                    for index in reversed(range(len(operations)))]

        def pieces(data):
            size = len(data) % 11 + 1
            return [data[i:i + size] for i in range(0, len(data), size)]

        with ScriptedFrames(answer, pieces) as server:
            report, = bench(server.url, "-l", "1", "-p", "24", "--batch", "6", "-r", "240", "--io", io)
        assert report["statuses"] == {"200": 160, "404": 80} and report["unanswered"] == 0

    def test_an_ack_covers_what_no_reply_refused(self):
        total = 0

        def answer(number, operations, seed):
            nonlocal total
            total += len(operations)
            assert all(level == frames.WITH_ACK for _, level in operations)
            refusal = [reply(number, [result(1, 507)], seed)]
            # Acknowledges every other request, and then both.
            covered = [frames.frame(frames.ACK, number, struct.pack("<Q", total), seed)] if number % 2 == 0 else []
            return refusal + covered

        with ScriptedFrames(answer) as server:
            report, = bench(
                server.url, "-w", "put", "-l", "1", "-p", "8", "--batch", "4", "-r", "80", "--answer", "ack")
        assert report["statuses"] == {"507": 20, "acknowledged": 60} and report["refused"] == 20

    @pytest.mark.parametrize("answer, word", [
        (lambda number, operations, seed: [reply(number, [result(0, 200)], seed + 1)], "checksum"),
        (lambda number, operations, seed: [reply(number + 9, [result(0, 200)], seed)], "answered"),
        (lambda number, operations, seed: [reply(number, [result(9, 200)], seed)], "answered"),
        (lambda number, operations, seed: [reply(number, [result(0, 200)] * 2, seed)], "answered"),
        (lambda number, operations, seed: [frames.frame(frames.ACK, number, struct.pack("<Q", 99), seed)], "answered"),
        (lambda number, operations, seed: [frames.frame(77, number, b"", seed)], "kind"),
        (lambda number, operations, seed: [frames.frame(
            frames.CLOSE, number, frames.padded(struct.pack("<HHI", 15, 4, 0) + b"Gone"), seed)], "Gone"),
    ])
    def test_what_is_no_reply_ends_the_run_with_a_sentence(self, answer, word):
        with ScriptedFrames(answer) as server:
            run = run_kvd("bench", "--url", server.url, "-l", "1", "-r", "10")
        assert run.returncode == 1 and word in run.stderr and len(run.stderr.splitlines()) == 1

    def test_an_http_port_is_told_apart(self, node):
        run = run_kvd("bench", "--url", node.url, "--protocol", "binary", "-r", "10")
        assert run.returncode == 1 and len(run.stderr.splitlines()) == 1


class TestServers:
    def test_it_starts_servers_and_counts_tacks_yacks_and_sacks(self):
        run = run_kvd("bench", "-m", "10,100", "-r", "1000,20000", "-l", "1,2", "-c", "1", seconds=60)
        assert run.returncode == 0, run.stderr
        assert len(re.findall(r"^[\d,]+ records, 1 servers, [12] clients, 10+ bytes ", run.stdout, re.M)) == 8
        for word in ("stable", "connected"):
            assert len(re.findall(rf"^  \* {word}: [\d.]+ ms$", run.stdout, re.M)) == 8
        for word in ("tacks", "yacks", "sacks"):
            line = rf"^  \* {word}: [\d.]+ ms \| [\d,]+ records/s \| [\d.]+ MB/s \| [\d.]+ us CPU a record$"
            assert len(re.findall(line, run.stdout, re.M)) == 8, run.stdout

    def test_as_json_and_over_http_and_on_several(self):
        run = run_kvd(
            "bench", "-m", "10", "-r", "5000", "-l", "4", "-c", "2", "--json", "--protocol", "http", "-p", "8")
        report, = map(json.loads, run.stdout.splitlines())
        assert report["servers"] == 2 and report["clients"] == 4 and "tacks" not in report
        assert report["sacks"]["failed"] == 0 and report["sacks"]["recordsPerSecond"] > 0 and report["stable"] > 0

    def test_no_server_outlives_it(self):
        def servers():
            run = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True)
            return [line for line in run.stdout.splitlines() if line.split()[:3] == ["1", "kvd", "serve"]]

        before = servers()
        run_kvd("bench", "-r", "1000", "-c", "2")
        assert servers() == before


def test_the_benchmarks_run(tmp_path):
    """A moment of everything that `make bench` measures, but for the peers that a machine may lack."""
    subprocess.run(["make", "-s", "-C", str(ROOT / "Benchmarks/null")], check=True, capture_output=True, timeout=120)
    results = tmp_path / "RESULTS.md"
    run = subprocess.run([sys.executable, str(ROOT / "Benchmarks/bench.py"), "--smoke", "--output", str(results)],
                         capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    text = results.read_text()
    assert "## Bars" in text and "nan" not in text and "None" not in text
    for title in ("HTTP GET", "Binary protocol", "Replicated PUT", "Large values", "Round trip", "Pauses", "Memory",
                  "A million records", "Two cores", "Hot leaves", "Cross-check"):
        assert f"\n## {title}" in text, title
