"""The process: starting, options, idling, memory, stopping."""

import json
import re
import resource
import signal
import socket
import statistics
import subprocess
import threading
from pathlib import Path

import pytest

from confine import forbid_io_uring
from http1 import Closed, Connection, request
from listing import listed
from node import BINARY, Node, free_port, own_cluster, run_kvd, until

MIB = 1 << 20


def says_why(result, *words):
    """A refused start: not 0, not killed by a signal, and one short sentence on standard error."""
    assert result.returncode > 0, result
    message = result.stderr
    assert message.strip() and len(message.splitlines()) < 12, message
    for word in words:
        assert word in message, message
    assert "Fatal error" not in message and "Precondition" not in message


class TestStart:
    def test_it_is_ready_soon(self, io, record_property):
        times = []
        for _ in range(5):
            node = Node(io=io)
            times.append(node.seconds_to_start)
            node.alive()
            node.stop()
        record_property("seconds_to_start", times)
        print(f"{io}: listening after {statistics.median(times) * 1000:.1f} ms (median of 5)")
        # The aim is 50 ms; the bound leaves room for a machine that does other things as well.
        assert statistics.median(times) < 0.5

    def test_a_port_in_use_is_named(self, io):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            says_why(run_kvd("serve", "--http", f"127.0.0.1:{port}", "--peer", "127.0.0.1:0", "--io", io), str(port))

    def test_two_nodes_cannot_share_a_port(self, start):
        first = start()
        port = first.address[1]
        says_why(run_kvd("serve", "--http", f"127.0.0.1:{port}", "--peer", "127.0.0.1:0"), str(port))
        first.alive()

    @pytest.mark.parametrize("arguments, word", [
        (["--colour", "red"], "colour"), (["--io", "kqueue"], "kqueue"), (["--cores", "0"], "cores"),
        (["--cores", "many"], "cores"), (["--memory", "lots"], "memory"), (["--memory", "-1"], "memory"),
        (["--http", "nowhere"], "http"), (["--http", "127.0.0.1:99999"], "99999"),
        (["--peer", "0.0.0.0:3099"], "beacons"),
        (["--http", "300.1.1.1:80"], "300.1.1.1"),
        (["--log", "xml"], "xml"), (["--log-level", "loud"], "loud"), (["--config", "/nowhere.json"], "/nowhere.json"),
        (["--evict", "maybe"], "maybe"), (["--huge-pages", "some"], "some"), (["extra"], "extra"),
    ])
    def test_a_wrong_option_is_named(self, arguments, word):
        says_why(run_kvd("serve", *arguments), word)

    @pytest.mark.parametrize("text, word", [
        ("{", "JSON"), ("[]", ""), ('{"colour":"red"}', "colour"), ('{"limits":{"hed":1}}', "hed"),
        ('{"limits":{"head":"big"}}', "head"), ('{"limits":{"head":-1}}', "head"),
    ])
    def test_a_wrong_configuration_is_named(self, tmp_path, text, word):
        file = tmp_path / "config.json"
        file.write_text(text)
        says_why(run_kvd("serve", "--http", "127.0.0.1:0", "--config", str(file)), word)

    def test_options_come_before_the_environment_and_that_before_the_file(self, io, tmp_path):
        ports = [free_port() for _ in range(3)]
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"http": f"127.0.0.1:{ports[0]}", "name": "from-file", "io": io}))

        def address(arguments, environment):
            process = subprocess.Popen(
                [str(BINARY), "--config", str(file), "--peer", "127.0.0.1:0", "--log", "json",
                 "--cluster", own_cluster(), *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                env={"PATH": "/usr/bin", **environment})
            try:
                for line in process.stderr:
                    event = json.loads(line)
                    if event["message"] == "listening":
                        break
                host, port = event["http"].rsplit(":", 1)
                with Connection((host, int(port))) as connection:
                    return int(port), connection.call("GET", "/").json()["node"]["name"]
            finally:
                process.terminate()
                assert process.wait(20) == 0
                process.stderr.close()

        environment = {"KVD_HTTP": f"127.0.0.1:{ports[1]}"}
        assert address([], {}) == (ports[0], "from-file")
        assert address([], environment) == (ports[1], "from-file")
        assert address(["--http", f"127.0.0.1:{ports[2]}", "--name", "n"], environment) == (ports[2], "n")

    def test_help_fits_on_a_screen(self):
        result = run_kvd("--help")
        assert result.returncode == 0
        lines = result.stdout.splitlines()
        assert len(lines) <= 50 and all(len(line) <= 100 for line in lines)
        assert run_kvd("--version").returncode == 0

    def test_the_runtime_is_linked_statically(self):
        libraries = subprocess.run(["ldd", str(BINARY)], capture_output=True, text=True).stdout
        assert "libswift" not in libraries and "libFoundation" not in libraries, libraries

    @pytest.mark.parametrize("cores", [1, 2])
    def test_it_runs_on_one_core_and_on_two(self, start, cores):
        node = start("--cores", str(cores))
        connections = [node.connect() for _ in range(16)]
        for i, connection in enumerate(connections):
            for j in range(64):
                assert connection.call("PUT", f"/k{j}", b"%d" % i).status in (200, 201)
        for connection in connections:
            assert connection.call("GET", "/k63").body == b"15"
            connection.close()
        assert sorted(listed(node, "/v1/maps/default")) == sorted(f"k{j}" for j in range(64))

    def test_it_starts_with_few_descriptors_and_little_locked_memory(self, io):
        def shrink():
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (65_536, 65_536))

        process = subprocess.Popen(
            [str(BINARY), "--http", "127.0.0.1:0", "--peer", "127.0.0.1:0", "--io", io, "--log", "json", "--cluster",
             own_cluster()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=shrink)
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                event = json.loads(line)
                if event["message"] == "listening":
                    break
            else:
                raise AssertionError(lines)
            host, port = event["http"].rsplit(":", 1)
            with Connection((host, int(port))) as connection:
                assert connection.call("GET", "/livez").status == 200
            # More connections than descriptors: refused or left waiting, and those that were let in are served.
            held = [Connection((host, int(port))) for _ in range(300)]
            assert held[0].call("GET", "/livez").status == 200
            for connection in held:
                connection.close()

            def served():
                with Connection((host, int(port))) as connection:
                    try:
                        return connection.call("GET", "/livez").status == 200
                    except (Closed, ConnectionError):
                        return False

            until(served, "connections are accepted again")
        finally:
            process.terminate()
            assert process.wait(20) == 0
            process.stderr.close()


    def test_where_io_uring_is_forbidden_it_takes_epoll_and_says_why(self):
        node = Node(io="auto", confine=forbid_io_uring)
        started = node.events_named("starting")[0]
        assert node.call("PUT", "/k", b"v").status == 201
        assert node.call("GET", "/k").body == b"v"
        node.stop()
        assert started["io"] == "epoll" and "seccomp" in started["reason"]

    def test_where_io_uring_is_forbidden_asking_for_it_is_refused(self):
        arguments = ["--io", "io_uring", "--http", "127.0.0.1:0", "--peer", "127.0.0.1:0"]
        says_why(run_kvd(*arguments, confine=forbid_io_uring), "io_uring", "seccomp")


class TestIdle:
    @pytest.mark.parametrize("connections", [0, 100])
    def test_an_idle_node_uses_no_cpu(self, start, connections):
        node = start()
        held = [node.connect() for _ in range(connections)]
        for connection in held:
            assert connection.call("PUT", "/a", b"1").status in (200, 201)
        node.call("PUT", "/expires?ttl=1h", b"1")
        settled = [node.cpu_ticks()]

        def quiet():
            settled.append(node.cpu_ticks())
            return settled[-1] - settled[-2] == 0

        until(quiet, "the node comes to rest", every=0.5)
        before = node.run_milliseconds()
        # Nothing can be waited for here but time itself: for three seconds no log line may come, and next to no
        # processor time be used. (What beacons take is 1 ms. Ticks are no measure of so little.)
        lines = len(node.lines)
        threading.Event().wait(3)
        assert node.run_milliseconds() - before <= 10
        assert len(node.lines) == lines
        for connection in held:
            connection.close()


class TestMemory:
    def test_a_full_node_refuses_writes_and_stays_readable(self, start):
        node = start("--evict", "none", memory="128MiB")
        answers = [node.call("PUT", f"/fill-{i}", bytes([i % 256]) * MIB) for i in range(300)]
        kept = [i for i in range(300) if answers[i].status == 201]
        assert 64 < len(kept) <= 128 and kept[63] < 80, "too much or too little fits"
        for answer in answers[200:]:
            assert "memory" in answer.problem(507)["detail"].lower()
        for i in range(300):
            answer = node.call("GET", f"/fill-{i}")
            assert (answer.status, answer.body) == (200, bytes([i % 256]) * MIB) if i in kept else answer.status == 404
        assert node.call("GET", "/readyz").status == 200
        # Room is made by deleting, and found again.
        for i in kept[::2]:
            assert node.call("DELETE", f"/fill-{i}").status == 204
        until(lambda: node.call("PUT", "/again", b"y" * MIB).status == 201, "deleted values make room")
        assert node.resident_bytes() < 300 * MIB

    def test_huge_pages_are_asked_for(self, start):
        node = start("--huge-pages", "on", memory="256MiB")
        for i in range(64):
            assert node.call("PUT", f"/k{i}", b"x" * 20_000).status == 201
        assert node.call("GET", "/k63").body == b"x" * 20_000
        advised = Path(f"/proc/{node.process.pid}/smaps").read_text()
        assert re.search(r"^VmFlags:.* hg\b", advised, re.M)

    def test_a_cache_evicts_what_was_not_used(self, start):
        node = start("--evict", "lru", memory="128MiB")
        node.call("PUT", "/favourite", b"f" * 1000)
        for i in range(400):
            assert node.call("PUT", f"/fill-{i}", bytes([i % 256]) * MIB).status == 201
            node.call("GET", "/favourite")
        kept = [i for i in range(400) if node.call("HEAD", f"/fill-{i}").status == 200]
        assert 32 < len(kept) <= 128
        assert statistics.mean(kept) > 200, "the older half was kept"
        assert node.call("GET", f"/fill-{kept[-1]}").body == bytes([kept[-1] % 256]) * MIB
        assert node.resident_bytes() < 300 * MIB

    def test_overwriting_needs_no_more_memory(self, start):
        node = start("--evict", "none", memory="128MiB")
        for i in range(1_000):
            assert node.call("PUT", f"/k{i % 10}", bytes([i % 256]) * MIB).status in (200, 201), i
        assert node.resident_bytes() < 300 * MIB

    def test_small_values_coming_and_going_need_no_more_memory(self, start):
        node = start("--evict", "none", memory="64MiB")
        with node.connect() as connection:
            for turn in range(20):
                whole = b"".join(request("PUT", f"/turn-{turn}-{i}", b"x" * 1000) for i in range(5_000))
                reader = threading.Thread(target=connection.send, args=(whole,))
                reader.start()
                statuses = {connection.response().status for _ in range(5_000)}
                reader.join()
                assert statuses == {201}, turn
                connection.send(b"".join(request("DELETE", f"/turn-{turn}-{i}") for i in range(5_000)))
                assert {connection.response().status for _ in range(5_000)} == {204}
        assert node.resident_bytes() < 160 * MIB


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_an_idle_node_stops_at_once(self, start, number):
        node = start()
        with node.connect() as idle, node.connect() as used:
            assert used.call("GET", "/livez").status == 200
            node.send_signal(number)
            assert node.wait(5) == 0
            assert used.ended() and idle.ended()

    def test_what_is_in_flight_is_finished(self, start):
        node = start()
        data = b"d" * (32 * MIB)
        node.call("PUT", "/large", data)
        with node.connect(receive_buffer=65_536) as reader, node.connect() as writer:
            reader.send(request("GET", "/large"))
            writer.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n")
            assert writer.head().status == 100
            writer.send(b"abc")
            assert reader.readable(5)
            node.send_signal(signal.SIGTERM)
            until(lambda: refuses(node), "no connection is accepted any more")
            assert node.process.poll() is None
            writer.send(b"def")
            assert writer.response().status == 201
            assert writer.ended()
            assert reader.response().body == data
        assert node.wait() == 0

    def test_a_pipeline_in_flight_is_answered(self, start):
        node = start()
        with node.connect() as connection:
            connection.send(b"".join(request("PUT", f"/k{i}", b"x") for i in range(100)))
            assert connection.response().status == 201
            node.send_signal(signal.SIGTERM)
            answered = 1
            try:
                while answered < 100:
                    assert connection.response().status == 201
                    answered += 1
            except Closed as closed:
                assert closed.received == b"", "an answer was cut"
        assert node.wait() == 0

    def test_a_client_that_never_finishes_does_not_hold_it_for_ever(self, start):
        node = start(limits={"shutdownTimeout": 500})
        with node.connect() as connection:
            connection.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
            node.alive()
            node.send_signal(signal.SIGTERM)
            assert node.wait(10) == 0

    def test_readiness_ends_first(self, start):
        node = start()
        with node.connect() as upload, node.connect() as asking:
            # A cluster's first write is told another thing when its node goes down.
            assert asking.call("PUT", "/first", b"1").status == 201
            upload.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab")
            node.alive()
            node.send_signal(signal.SIGTERM)
            until(lambda: refuses(node), "no connection is accepted any more")

            def unready():
                # Each core hears of the end in its own next turn; the last answer of a connection may be the end of it.
                try:
                    return asking.call("GET", "/readyz").status == 503
                except (Closed, ConnectionError):
                    return True

            until(unready, "readiness ends")
            upload.send(b"c")
            assert upload.response().status == 201
        assert node.wait() == 0


def refuses(node):
    """Whether a new connection is refused, or ended without an answer."""
    try:
        with Connection(node.address, timeout=1) as connection:
            connection.send(request("GET", "/livez"))
            connection.response()
            return False
    except (ConnectionError, Closed, TimeoutError):
        return True


class TestSmallClients:
    def test_set_get_and_del(self, node, key):
        url = node.url + key
        assert run_kvd("set", url, "hello").returncode == 0
        assert run_kvd("get", url).stdout.rstrip("\n") == "hello"
        assert node.call("GET", key).body == b"hello"
        assert run_kvd("del", url).returncode == 0
        missing = run_kvd("get", url)
        assert missing.returncode > 0 and re.search("404|not found", missing.stderr, re.I)

    def test_a_health_check_needs_nothing_else(self, node):
        assert run_kvd("get", node.url + "/livez").returncode == 0
        assert run_kvd("get", f"http://127.0.0.1:{free_port()}/livez").returncode > 0
