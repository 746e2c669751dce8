"""Time to live."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from listing import listed
from node import until

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_left(answer):
    """What Kvd-TTL says, in seconds; a bare number is seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", answer.header("kvd-ttl"))
    return float(match[1]) * UNITS[match[2] or "s"]


@pytest.mark.parametrize("ttl, seconds", [("30s", 30), ("5000ms", 5), ("2m", 120), ("1h", 3600), ("7d", 604800)])
def test_get_answers_the_rest_of_the_time(node, key, ttl, seconds):
    assert node.call("PUT", f"{key}?ttl={ttl}", b"1").status == 201
    for method in ("GET", "HEAD"):
        assert seconds * 0.9 - 1 <= seconds_left(node.call(method, key)) <= seconds


def test_a_value_without_expiry_has_no_time_left(node, key):
    node.call("PUT", key, b"1")
    assert node.call("GET", key).header("kvd-ttl") is None


def test_a_value_is_gone_when_its_time_is_up(node, key):
    node.call("PUT", key + "?ttl=150ms", b"1")
    assert node.call("GET", key).status == 200
    until(lambda: node.call("GET", key).status == 404, "the value expires")
    assert node.call("DELETE", key).status == 404
    assert node.call("PUT", key, b"2", {"If-None-Match": "*"}).status == 201


def test_a_replacement_ends_or_renews_the_time(node, key):
    node.call("PUT", key + "?ttl=100s", b"1")
    node.call("PUT", key + "?ttl=500s", b"2")
    assert seconds_left(node.call("GET", key)) > 400
    node.call("PUT", key, b"3")
    assert node.call("GET", key).header("kvd-ttl") is None


@pytest.mark.parametrize("ttl", ["", "x", "-1s", "1y", "1.5.5s", "s", "99999999999999999999s"])
def test_what_is_no_time_is_refused(node, key, ttl):
    node.call("PUT", f"{key}?ttl={ttl}", b"1").problem(400)
    assert node.call("GET", key).status == 404


def expired(node):
    """The sum of all samples of metrics whose names speak of expiry."""
    families = text_string_to_metric_families(node.call("GET", "/metrics").body.decode())
    return sum(sample.value for family in families if "expired" in family.name for sample in family.samples
               if not sample.name.endswith("_created"))


def test_values_expire_without_being_read(node, map_path):
    before = expired(node)
    for i in range(100):
        node.call("PUT", f"{map_path}/k{i}?ttl=100ms", b"x" * 100)
    until(lambda: expired(node) >= before + 100, "100 values expire on their own", seconds=15)


def test_an_expired_key_is_not_listed(node, map_path):
    node.call("PUT", f"{map_path}/stays", b"1")
    node.call("PUT", f"{map_path}/goes?ttl=100ms", b"1")
    until(lambda: node.call("GET", f"{map_path}/goes").status == 404, "the value expires")
    assert listed(node, map_path) == ["stays"]


def test_a_map_gives_its_time_to_live_to_its_keys(node, map_path):
    assert node.call("PUT", map_path, b'{"ttl":"60s"}', {"Content-Type": "application/json"}).status in (200, 201, 204)
    node.call("PUT", f"{map_path}/a", b"1")
    assert 50 < seconds_left(node.call("GET", f"{map_path}/a")) <= 60
    node.call("PUT", f"{map_path}/a?ttl=600s", b"1")
    assert seconds_left(node.call("GET", f"{map_path}/a")) > 500


@pytest.mark.parametrize("settings", [b"", b"{", b"[]", b'{"colour":"red"}', b'{"ttl":"soon"}', b'{"mode":"maybe"}'])
def test_wrong_settings_are_refused(node, map_path, settings):
    node.call("PUT", map_path, settings, {"Content-Type": "application/json"}).problem(400, 422)
