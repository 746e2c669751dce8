"""`kvd ls`: what it shows of a cluster, and of one whose nodes don't agree."""

import json
import os
import pty
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from node import BINARY, run_kvd, until

HOSTS = 5


@pytest.fixture
def five(cluster):
    nodes = cluster.start()
    cluster.until_one()
    return nodes


class TestListing:
    def test_ls_shows_every_node(self, cluster, five):
        goose = cluster.goose()

        def table():
            listed = five[0].host.run([five[0].process.args[4], "ls", f"{five[0].host.address}:3000"])
            assert listed.returncode == 0, listed.stderr
            return listed.stdout

        def rows_of(text):
            return {line.split()[0]: line.split() for line in text.splitlines()[3:8]}

        # The nodes are asked one after the other: while copies still come into step, they may know different versions.
        def agreed():
            text = table()
            rows = rows_of(text).values()
            return text if len({row[5] for row in rows}) == 1 and sum(int(row[2]) for row in rows) == 1024 else None

        text = until(agreed, "all agree")
        lines = text.splitlines()
        assert "quorum" in lines[0] and f"goose {cluster.status(goose)['node']['name']}" in lines[0]
        assert lines[2].split() == ["NAME", "ID", "PARTITIONS", "REPLICAS", "COMMITS", "CHECKSUM", "STATE"]
        rows = rows_of(text)
        assert sorted(rows) == ["n1", "n2", "n3", "n4", "n5"]
        assert "\x1b" not in text

    def test_ls_warns_of_two_nodes(self, cluster):
        two = cluster.start(cluster.network.hosts[:2])
        cluster.until_one(two)
        listed = two[0].host.run([two[0].process.args[4], "ls", "--once", f"{two[0].host.address}:3000"])
        assert "can't fail over safely" in listed.stdout


class Impostor(ThreadingHTTPServer):
    """Says of a cluster whatever it is told to."""

    def __init__(self):
        server = self
        self.report = {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = json.dumps(server.report).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.mark.parametrize("planted", [False, True])
def test_ls_shows_whose_data_differs(planted):
    servers = [Impostor() for _ in range(3)]
    try:
        members = [{"name": f"n{number}", "id": f"{number:032x}", "http": "127.0.0.1:%d" % server.server_port,
                    "state": "active", "status": "Healthy", "role": "duck", "partitions": 1, "replicas": 2}
                   for number, server in enumerate(servers)]
        for number, server in enumerate(servers):
            # The last one is behind in one partition, which says nothing; and wrong in another, which does.
            data = {"17-1-9": "ab", "18-1-5": "cd"}
            if number == 2:
                data = {"17-1-9": "ad" if planted else "ab", "18-1-4": "ef"}
            server.report = {
                "node": {"name": f"n{number}", "id": f"{number:032x}"}, "leader": "n0", "epoch": 1, "quorum": True,
                "cluster": {"name": "kvd", "id": "0" * 32}, "commits": 14, "checksum": f"{number}f", "data": data,
                "members": members, "warnings": []}
        terminal, other = pty.openpty()
        result = subprocess.run([BINARY, "ls", "--once", members[0]["http"]], stdout=other, timeout=20,
                                env={name: value for name, value in os.environ.items() if name != "NO_COLOR"})
        os.close(other)
        assert result.returncode == 0
        rows = os.read(terminal, 10_000).decode().splitlines()[3:6]
        os.close(terminal)
        assert ["\x1b[31m" in row for row in rows] == [False, False, planted]
        assert ["\x1b[32m" in row for row in rows] == [True, True, not planted]
        assert ["1 partitions differ" in row for row in rows] == [False, False, planted]
    finally:
        for server in servers:
            server.shutdown()


def test_ls_says_who_does_not_answer():
    result = run_kvd("ls", "127.0.0.1:1")
    assert result.returncode == 1 and "127.0.0.1:1" in result.stderr
