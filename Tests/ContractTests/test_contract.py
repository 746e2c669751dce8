"""The OpenAPI document and the server agree: generated requests, right and wrong ones, get only documented answers."""

import random
import re
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance, negative_data_rejection, positive_data_acceptance)

DOCUMENT = Path(__file__).resolve().parents[2] / "Sources/Engine/Engine.docc/openapi.yaml"
SCHEMA = schemathesis.openapi.from_path(DOCUMENT)
# Methods that a resource doesn't list get 405 if they are known here; OPTIONS goes everywhere, and TRACE is 501.
SCHEMA.config.phases.coverage.unexpected_methods = {"put", "post", "delete", "patch"}
# What may be found before a fault in the request is: that nothing is there, or another revision, or another request.
SCHEMA.config.checks.negative_data_rejection.expected_statuses = [
    "400", "404", "405", "409", "412", "413", "414", "415", "422", "429", "431", "503"]

# Statuses that any request may meet before it reaches a resource; the document names them in its description.
TRANSPORT = {400, 408, 413, 414, 417, 431, 501, 503, 505}
# 501, 503 and 507 are answers of a healthy server: not in this version, not now, no room.
HEALTHY = {501, 503, 507}
# Refusals of requests whose parts are right by the document's grammar: because of what is stored, because two parts
# exclude each other, or because a number is beyond a bound that a pattern can't say or is written like 13.0.
STATEFUL = {412, 413, 414, 422}
BEYOND_GRAMMAR = (
    "min-revision belongs to another", "at and op exclude", "by goes with", "ttl goes with", "ttl is a duration",
    "timeout is a duration", "w is majority", "by is a", "replicas is a", "history is a size",
    "map goes with", "mode is replicated", "The request is not JSON", "A value is not base64", "Operation ")
# What is stored before the tests, so that generated requests meet values of all kinds.
STORED = {
    "object": (b'{"a":{"b":[1,2,{"c":null}]},"":0,"~":"\\u00fc"}', "application/json"),
    "array": (b"[1,[2,[3]]]", "application/json"),
    "counter": (b"41", "text/plain; charset=utf-8"),
    "greatest": (b"9223372036854775807", "text/plain"),
    "bytes": (bytes(range(256)) * 40, "image/png"),
    "empty": (b"", "text/plain"),
}
WORDS = re.compile(r"^(livez|readyz|metrics|health|messages|v1(/.*)?|\.{1,2}(/.*)?|.*/\.{1,2}(/.*)?)$", re.DOTALL)


@schemathesis.hook
def map_path_parameters(context, parameters):
    """Half of all keys name what is stored; the rest stay as generated, but for words of the API and dot segments."""
    key = (parameters or {}).get("key")
    if isinstance(key, str):
        chance = random.Random(key)
        if chance.random() < 0.5 or WORDS.match(key):
            parameters["key"] = chance.choice(sorted(STORED))
        if "map" in parameters and chance.random() < 0.5:
            parameters["map"] = "default"
    return parameters


@pytest.fixture(scope="module")
def session(shared_node):
    """A client of the node, in which values of all kinds are stored."""
    with requests.Session() as session:
        for key, (value, content_type) in STORED.items():
            answer = session.put(f"{shared_node.url}/{key}", data=value, headers={"Content-Type": content_type})
            assert answer.status_code in (200, 201)
        yield session


def expect_problem(response):
    """An error says so in the one form that the document gives them (RFC 9457)."""
    assert response.headers["content-type"] == ["application/problem+json"]
    if response.request.method != "HEAD":
        members = response.json()
        assert members["status"] == response.status_code
        assert members["title"] and len(members["detail"]) >= 10


def excluded(case, response):
    """Checks that can't be made of this answer."""
    status = response.status_code
    left_out = []
    if status in HEALTHY:
        left_out.append(checks.not_a_server_error)
    if status in TRANSPORT and case.operation.responses.find_by_status_code(status) is None:
        left_out.append(checks.status_code_conformance)
    # A value's Content-Type is its writer's; and only op=incr answers a write with a body.
    if status < 300 and (case.method in ("GET", "HEAD") or not response.content):
        left_out.append(content_type_conformance)
    # OPTIONS looks at nothing but the path's first words, and a batch answers its operations one by one.
    if case.method == "OPTIONS" or (case.path == "/v1/batch" and status == 200 and b'"detail"' in response.content):
        left_out.append(negative_data_rejection)
    if status in STATEFUL or (status == 400 and beyond_grammar(case, response)):
        left_out.append(positive_data_acceptance)
    return left_out


def beyond_grammar(case, response):
    return case.method == "HEAD" or response.json()["detail"].startswith(BEYOND_GRAMMAR)


@SCHEMA.parametrize()
@settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck))
def test_answers_are_as_documented(case, shared_node, session):
    response = case.call(base_url=shared_node.url, session=session, timeout=20)
    if response.status_code >= 400:
        expect_problem(response)
    case.validate_response(response, excluded_checks=excluded(case, response))


def test_an_undocumented_answer_is_found(shared_node):
    """The checks check: a document that promises what the server doesn't do is refused."""
    wrong = schemathesis.openapi.from_dict({
        "openapi": "3.1.0", "info": {"title": "wrong", "version": "1"},
        "paths": {"/livez": {"get": {"responses": {"204": {"description": "never"}}}}}})
    with pytest.raises(schemathesis.core.failures.FailureGroup):
        wrong["/livez"]["GET"].Case().call_and_validate(base_url=shared_node.url)


def test_a_refusal_that_is_no_problem_document_is_found(shared_node):
    with pytest.raises(AssertionError):
        expect_problem(SCHEMA["/livez"]["GET"].Case().call(base_url=shared_node.url))


@pytest.mark.parametrize("ttl", ["1000000000000000ms", "11574074d", "300d"])
def test_the_longest_time_to_live_outlasts_the_request(node, key, ttl):
    """The clock that a core sleeps by counts nanoseconds: 584 years of them."""
    assert node.call("PUT", f"{key}?ttl={ttl}", b"x").status == 201
    answer = node.call("GET", key)
    assert answer.status == 200 and answer.header("kvd-ttl").endswith("ms")
    assert node.call("PUT", f"{key}?ttl=1000000000000001ms", b"x").status == 400


@pytest.mark.parametrize("field", ["If-Match", "If-None-Match", "Idempotency-Key"])
def test_a_field_without_a_value_does_not_lift_its_condition(node, key, field):
    assert node.call("PUT", key, b"first").status == 201
    node.call("PUT", key, b"second", {field: ""}).problem(400)
    assert node.call("GET", key).body == b"first"
