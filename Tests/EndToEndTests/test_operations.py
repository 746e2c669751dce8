"""What operators use: health, status, metrics, logs, methods and limits."""

import json
import math
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from http1 import Closed, request
from node import until


def metrics(node):
    answer = node.call("GET", "/metrics")
    assert answer.status == 200
    assert answer.header("content-type").startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}


class TestHealth:
    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz?verbose", "/health"])
    def test_a_lone_node_is_well(self, node, path):
        assert node.call("GET", path).status == 200
        assert node.call("HEAD", path).status == 200

    def test_readyz_names_its_checks_when_asked(self, node):
        assert len(node.call("GET", "/readyz?verbose").body) > len(node.call("GET", "/readyz").body)

    def test_the_root_tells_programs_what_this_node_is(self, node):
        status = node.call("GET", "/", headers={"Accept": "application/json"}).json()
        assert status["status"] in ("goose", "duck")
        assert status["node"]["name"] and status["node"]["id"]
        assert {"leader", "cluster", "epoch", "quorum"} <= set(status)

    def test_a_name_can_be_given(self, start):
        node = start("--name", "n1")
        assert node.call("GET", "/").json()["node"]["name"] == "n1"


class TestMetrics:
    def test_they_are_well_formed(self, node, key):
        node.call("PUT", key, b"1")
        node.call("GET", key)
        families = metrics(node)
        assert families
        for family in families.values():
            assert family.name.startswith(("kvd_", "process_")), family.name
            assert family.type in ("counter", "gauge", "histogram", "summary"), family
            assert family.documentation, f"{family.name} has no HELP"

    def test_histograms_are_cumulative_and_complete(self, node, key):
        node.call("PUT", key, b"1")
        histograms = [family for family in metrics(node).values() if family.type == "histogram"]
        assert histograms
        for family in histograms:
            series = {}
            for sample in family.samples:
                labels = frozenset((k, v) for k, v in sample.labels.items() if k != "le")
                series.setdefault(labels, []).append(sample)
            for samples in series.values():
                buckets = sorted((float(s.labels["le"]), s.value) for s in samples if s.name.endswith("_bucket"))
                counts = [count for _, count in buckets]
                assert counts == sorted(counts), family.name
                assert math.isinf(buckets[-1][0])
                assert counts[-1] == next(s.value for s in samples if s.name.endswith("_count"))
                assert any(s.name.endswith("_sum") for s in samples)

    def test_requests_are_counted(self, node, key):
        def total():
            return sum(sample.value for name, family in metrics(node).items() if "request" in name
                       for sample in family.samples if family.type == "counter" and sample.name.endswith("_total"))

        before = total()
        for _ in range(50):
            node.call("GET", key)
        assert total() >= before + 50


class TestMethods:
    def test_options_lists_what_is_allowed(self, node, key):
        for target in (key, "/v1/maps/default/a", "*"):
            answer = node.call("OPTIONS", target)
            assert answer.status in (200, 204), target
            allowed = set(re.split(r",\s*", answer.header("allow")))
            assert {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"} <= allowed, target

    @pytest.mark.parametrize("method", ["BREW", "get", "TRACE", "PROPFIND", "X" * 30])
    def test_an_unknown_method_is_refused(self, node, key, method):
        answer = node.call(method, key)
        answer.problem(405, 501)
        if answer.status == 405:
            assert "GET" in answer.header("allow")

    @pytest.mark.parametrize("method, path", [
        ("POST", "/livez"), ("PUT", "/metrics"), ("DELETE", "/"), ("PATCH", "/health"), ("GET", "/v1/batch"),
        ("DELETE", "/readyz"),
    ])
    def test_a_method_that_a_route_does_not_have_names_those_it_has(self, node, method, path):
        answer = node.call(method, path, b"" if method != "GET" else None)
        answer.problem(405)
        assert answer.header("allow")

    def test_an_unknown_path_below_v1_is_not_a_key(self, node):
        node.call("GET", "/v1/nonsense").problem(404)
        node.call("PUT", "/v1/nonsense", b"1").problem(404, 405)

    def test_an_empty_key_is_refused(self, node):
        node.call("PUT", "/v1/maps/default/", b"1").problem(400, 404, 405)

    @pytest.mark.parametrize("method, path, known", [
        ("GET", "/a", "min-revision"), ("PUT", "/a", "ttl"), ("POST", "/a", "op"), ("DELETE", "/a", "at"),
        ("PATCH", "/a", "w"), ("GET", "/v1/maps/default", "prefix"), ("GET", "/readyz", "verbose"),
    ])
    def test_an_unknown_query_word_names_the_known_ones(self, node, method, path, known):
        body = None if method in ("GET", "DELETE") else b"1"
        detail = node.call(method, f"{path}?colour=red", body).problem(400)["detail"]
        assert "colour" in detail and re.search(rf"\b{known}\b", detail), detail


class TestLimits:
    def test_a_key_may_have_16_kib_and_no_more(self, node):
        assert node.call("PUT", "/" + "k" * (16 << 10), b"1").status in (200, 201)
        assert node.call("GET", "/" + "k" * (16 << 10)).body == b"1"
        node.call("PUT", "/" + "k" * ((16 << 10) + 1), b"1").problem(414)

    def test_a_map_name_may_have_200_bytes_and_no_more(self, node):
        assert node.call("PUT", f"/v1/maps/{'m' * 200}/a", b"1").status in (200, 201)
        node.call("PUT", f"/v1/maps/{'m' * 201}/a", b"1").problem(400)

    def test_a_head_beyond_the_limit(self, node):
        with node.connect() as connection:
            connection.send(request("GET", "/a", headers={"X-Long": "x" * (33 << 10)}))
            connection.response().problem(431)
            assert connection.ended()

    def test_a_target_beyond_the_limit(self, node):
        with node.connect() as connection:
            connection.send(request("GET", "/" + "a" * (40 << 10)))
            connection.response().problem(414, 431)
            assert connection.ended()

    def test_a_value_beyond_the_limit_is_refused_before_it_is_sent(self, node, key):
        with node.connect() as connection:
            connection.send(b"PUT %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
                            % (key.encode(), (64 << 20) + 1))
            answer = connection.response()
            answer.problem(413)
            assert connection.interim == []

    def test_a_chunked_value_beyond_the_limit_is_refused(self, start, key):
        node = start(limits={"value": 1000})
        with node.connect() as connection:
            connection.send(b"PUT %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % key.encode())
            connection.send(b"1f4\r\n" + b"x" * 500 + b"\r\n" + b"1f5\r\n" + b"x" * 501 + b"\r\n0\r\n\r\n")
            connection.response().problem(413)
        assert node.call("GET", key).status == 404
        assert node.call("PUT", key, b"x" * 1000).status == 201
        node.call("PUT", key, b"x" * 1001).problem(413)

    def test_connections_beyond_the_limit_are_told_so(self, start):
        node = start(limits={"connections": 20})
        # Those that asked whether the node is ready may still be closing.
        held = [until(lambda: admitted(node), "room for a connection") for _ in range(20)]
        try:
            with node.connect() as extra:
                extra.send(request("GET", "/livez"))
                try:
                    extra.response().problem(503)
                except (Closed, ConnectionError):
                    pass
                assert extra.ended()
        finally:
            for connection in held:
                connection.close()
        until(lambda: can_connect(node), "room for a connection again")


def admitted(node):
    """A connection that the node serves; None where it has too many."""
    connection = node.connect()
    try:
        if connection.call("GET", "/livez").status == 200:
            return connection
    except (Closed, ConnectionError):
        pass
    connection.close()
    return None


def can_connect(node):
    with node.connect() as connection:
        connection.send(request("GET", "/livez"))
        return connection.response().status == 200


def test_requests_are_logged_behind_a_level(start, key):
    quiet, loud = start("--log-level", "info"), start("--log-level", "debug")
    for node in (quiet, loud):
        node.call("PUT", key, b"1")
        node.call("GET", key)
    mentions = until(lambda: [line for line in loud.lines if key in line], "the requests in the log")
    for line in mentions:
        json.loads(line)
    assert not [line for line in quiet.lines if key in line]


def test_every_log_line_is_an_object_with_a_message(node):
    assert node.lines
    for line in node.lines:
        assert json.loads(line)["message"], line


def test_the_log_says_which_backend_was_taken(io, start):
    node = start()
    assert any(io in line for line in node.lines)
