"""Fixtures for all tests of the real binary: a node for each backend, and a way to start more."""

import itertools

import pytest

from node import BACKENDS, BINARY, Node, io_uring_refusal

REFUSAL = io_uring_refusal()


def pytest_report_header():
    return [f"kvd: {BINARY}", f"io_uring: {REFUSAL or 'permitted'}"]


@pytest.fixture(scope="module", params=BACKENDS)
def io(request):
    """The I/O backend under test."""
    if request.param == "io_uring" and REFUSAL:
        pytest.skip(f"this machine refuses io_uring ({REFUSAL})")
    return request.param


@pytest.fixture(scope="module")
def shared_node(io):
    node = Node(io=io)
    yield node
    node.stop()


@pytest.fixture
def node(shared_node):
    """A node that the tests of a module share; it must be well before and after each."""
    shared_node.alive()
    yield shared_node
    shared_node.alive()


@pytest.fixture
def start(io):
    """Starts nodes with options of a test's own; each must stop with exit code 0."""
    nodes = []

    def start(*arguments, **options):
        options.setdefault("io", io)
        node = Node(*arguments, **options)
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        node.stop()


_numbers = itertools.count(1)


@pytest.fixture
def key():
    """The path of a key that no other test uses."""
    return f"/key-{next(_numbers)}"


@pytest.fixture
def map_path():
    """The path of a map that no other test uses."""
    return f"/v1/maps/map-{next(_numbers)}"


@pytest.fixture
def name(key):
    """A key of the map "default" that no other test uses, as bytes."""
    return key[1:].encode()


@pytest.fixture
def wire(node):
    with node.frames() as connection:
        yield connection
