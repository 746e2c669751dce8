"""The image, and the demo of docker/README.md: three containers on a public and a private network."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from engine import Engine
from namespaces import NotPermitted
from node import BINARY, ROOT, until

NODES = ("n1", "n2", "n3")


@pytest.fixture(scope="module")
def engine():
    try:
        engine = Engine()
    except NotPermitted as error:
        pytest.skip(f"no container engine can be started here, so neither image nor demo were tried: {error}")
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def image(engine, tmp_path_factory):
    """The image, of the binary that is under test: nothing can be pulled here, so there is no toolchain's image."""
    binary = tmp_path_factory.mktemp("binary")
    (binary / "out").mkdir()
    shutil.copy(BINARY, binary / "out/kvd")
    subprocess.run(["strip", binary / "out/kvd"], check=True)
    engine.image("kvd-binary", binary)
    engine.base("debian:bookworm-slim")
    engine.docker("build", "--build-arg", "BINARY=kvd-binary", "-f", ROOT / "docker/Dockerfile", "-t", "kvd", ROOT)
    yield json.loads(engine.docker("inspect", "kvd"))[0]


@pytest.fixture(scope="module")
def demo(engine, image):
    engine.compose("up", "--no-build", "--detach", environment=demo_environment)
    yield engine
    engine.compose("down", "--timeout", "1", environment=demo_environment)


demo_environment = {"KVD_LOG_LEVEL": "debug", "KVD_EXIT_WHEN_ISOLATED": "2s"}


def call(engine, node, path, *arguments):
    """A request to the published port of a node."""
    return engine.curl(*arguments, f"http://localhost:300{node[1]}{path}")


def view(engine, node):
    return json.loads(call(engine, node, "/v1/cluster"))


def events(engine, node):
    """The log of a node: one JSON object per line."""
    lines = engine.docker("logs", f"kvd-{node}-1", "--tail", "2000").splitlines()
    return [json.loads(line) for line in lines]


def is_healthy(engine, node):
    state = json.loads(engine.docker("inspect", f"kvd-{node}-1"))[0]["State"]
    return state["Running"] and state["Health"]["Status"] == "healthy"


def is_whole(engine, node="n1"):
    try:
        members = view(engine, node)["members"]
    except (AssertionError, ValueError):
        return False
    active = [member for member in members if member["state"] == "active"]
    return len(active) == 3 and all(member["replicas"] == 1024 for member in active)


def test_the_build_finds_all_that_the_package_names(tmp_path):
    """What docker/Dockerfile.dockerignore lets in is enough for SwiftPM to make sense of Package.swift."""
    for line in (ROOT / "docker/Dockerfile.dockerignore").read_text().splitlines():
        if line.startswith("!"):
            (tmp_path / line[1:]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / line[1:]).symlink_to(ROOT / line[1:])
    copied = [line.split()[1:-1] for line in (ROOT / "docker/Dockerfile").read_text().splitlines()
              if line.startswith("COPY") and "--from" not in line]
    assert all((tmp_path / place).exists() for places in copied for place in places)
    package = (ROOT / "Package.swift").read_text()
    for target in package.split("Target(")[1:] + package.split(".target(")[1:]:
        name = target.split('name: "')[1].split('"')[0]
        path = target.split('path: "')[1].split('"')[0] if 'path: "' in target.split("settings")[0] else None
        places = [path] if path else [f"Sources/{name}", f"Tests/{name}"]
        assert any((tmp_path / place).exists() for place in places), name


def test_the_image_is_small_and_runs_without_rights(engine, image):
    assert image["Config"]["User"] == "10001:10001"
    assert image["Config"]["StopSignal"] == "SIGTERM" and image["Config"]["Healthcheck"]
    size = sum(Path(path).stat().st_size for path in [BINARY])
    print(f"the image has {image['Size'] / 2**20:.0f} MiB, the binary with its symbols {size / 2**20:.0f}")
    assert image["Size"] < 60 * 2**20


def test_the_demo(demo):
    until(lambda: is_whole(demo), "three nodes are one cluster", 30, 0.2)
    members = view(demo, "n1")["members"]
    assert sorted(member["name"] for member in members) == list(NODES)
    # Clients and nodes have networks of their own.
    assert all(member["http"].startswith("172.31.1.") for member in members)
    assert all(member["peer"].startswith("172.31.2.") for member in members)
    refused = subprocess.run(["ip", "netns", "exec", demo.namespace, "curl", "-s", "http://172.31.1.11:3100"])
    assert refused.returncode == 7, "nothing but HTTP listens on the public network"
    # A value saved anywhere is read everywhere.
    assert call(demo, "n1", "/greeting", "-X", "PUT", "-d", "hello", "-o", "/dev/null", "-w", "%{http_code}") == "201"
    for node in NODES:
        until(lambda: call(demo, node, "/greeting") == "hello", f"{node} has it", 5)
    call(demo, "n2", "/greeting", "-X", "DELETE")
    for node in NODES:
        until(lambda: "404" in call(demo, node, "/greeting"), f"it is gone from {node}", 5)
    # Each says what happened to it: one JSON object per line.
    for node in NODES:
        said = {event.get("type") for event in events(demo, node)}
        assert {"STARTED", "HELLO", "LEADER", "LEASE"} <= said, said
    saved, = [event for event in events(demo, "n1") if event.get("type") == "SAVE"]
    assert saved["from"] == "n1" and saved["key"] == "greeting" and saved["ts"]
    assert [event["key"] for event in events(demo, "n2") if event.get("type") == "DELETE"] == ["greeting"]
    assert any(event.get("type") == "HTTP" for event in events(demo, "n3"))
    until(lambda: all(is_healthy(demo, node) for node in NODES), "all containers are healthy", 15, 0.2)


def test_a_container_that_is_replaced_gets_everything(demo):
    until(lambda: is_whole(demo), "three nodes are one cluster", 30, 0.2)
    for number in range(20):
        call(demo, "n1", f"/k{number}", "-X", "PUT", "-d", f"v{number}")
    demo.compose("up", "--no-build", "--detach", "--force-recreate", "--no-deps", "n3", environment=demo_environment)
    until(lambda: is_whole(demo, "n3"), "the new one has its copies", 30, 0.2)
    assert [call(demo, "n3", f"/k{number}") for number in range(20)] == [f"v{number}" for number in range(20)]
    assert {"JOINED", "SYNC"} <= {event.get("type") for event in events(demo, "n3")}


def test_a_container_that_is_cut_off_ends_and_is_started_anew(demo):
    until(lambda: is_whole(demo), "three nodes are one cluster", 30, 0.2)
    starts = len([event for event in events(demo, "n2") if event.get("type") == "STARTED"])
    demo.docker("network", "disconnect", "kvd_private", "kvd-n2-1")
    until(lambda: any(event.get("type") == "ISOLATED" for event in events(demo, "n2")), "it notices", 15, 0.2)
    demo.docker("network", "connect", "--ip", "172.31.2.12", "kvd_private", "kvd-n2-1")
    until(lambda: is_whole(demo, "n2"), "it is back", 40, 0.3)
    assert len([event for event in events(demo, "n2") if event.get("type") == "STARTED"]) > starts
