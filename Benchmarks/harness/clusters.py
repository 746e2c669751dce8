"""Servers that are several processes, all on the server's core: three nodes of kvd, redis with a replica, three of
etcd. They take turns there, so that a round trip through them takes the sum of their times."""

import base64
import http.client
import json
import math
import os
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from . import machine
from .servers import Server


class Cluster:
    """Started servers as one: the first takes the load, and the time of all counts. Ended with the `with` block."""

    def __init__(self, name, members, stack):
        self.name, self.members, self._stack = name, members, stack
        self.url, self.port, self.peer_port = members[0].url, members[0].port, members[0].peer_port

    @property
    def pid(self):
        return self.members[0].pid

    @property
    def pids(self):
        return [member.pid for member in self.members]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()


def started(name, starts, ready, kind=Cluster, folder=None):
    """A cluster of servers, each from a function, once `ready(cluster)` is true; nothing is left if that fails."""
    with ExitStack() as stack:
        if folder:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        members = [stack.enter_context(start()) for start in starts]
        cluster = kind(name, members, stack)
        wait_until(f"{name}: not ready", lambda: ready(cluster))
        cluster._stack = stack.pop_all()
        return cluster


def wait_until(what, holds, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


# MARK: kvd


def ask(server, method, target, body=None):
    """Status and body of an HTTP answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, target, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class KVDCluster(Cluster):
    def ask(self, method, target, body=None):
        return ask(self, method, target, body)

    def is_in_step(self):
        """Whether a write to each of many partitions is confirmed by all nodes."""
        return all(self.ask("PUT", f"/step-{number}?w=all&timeout=1s", b"x")[0] < 300 for number in range(64))

    def prefix(self, is_own):
        """What keys begin with whose first one the node that takes the load owns, or another one."""
        own = json.loads(self.ask("GET", "/v1/cluster")[1])["node"]["name"]
        for number in range(1000):
            prefix = f"p{number}-"
            ring = json.loads(self.ask("GET", f"/v1/ring?key={prefix}{0:012}")[1])
            if (ring["owner"] == own) == is_own:
                return prefix
        raise RuntimeError("no partition of that kind")


def kvd_nodes(count=3, memory="4GiB"):
    """Nodes of the shipped binary that find each other and hold each key `count` times."""
    ports = [(machine.free_port(), machine.free_port()) for _ in range(count)]
    name = cluster_name(ports[0])
    join = ",".join(f"127.0.0.1:{peer}" for _, peer in ports)
    starts = []
    for number, (port, peer) in enumerate(ports):
        command = kvd_command(port, peer, memory, name, join) + ["--expect", str(count), "--name", f"n{number}"]
        starts.append(lambda number=number, command=command, port=port, peer=peer: Server(
            f"kvd node {number}", command, port, peer_port=peer))
    return started(f"kvd, {count} nodes", starts, KVDCluster.is_in_step, KVDCluster)


def kvd_command(port, peer, memory, name, join):
    return [machine.BINARY, "serve", "--http", f"127.0.0.1:{port}", "--peer", f"127.0.0.1:{peer}", "--cores", "1",
            "--memory", memory, "--cluster", name, "--join", join]


def cluster_name(ports):
    """No other benchmark's, so that their nodes leave each other alone."""
    return f"bench-{os.getpid()}-{ports[0]}"


def kvd_joining(first, memory="2GiB"):
    """One more node for a cluster of `kvd_nodes`, on the load's core."""
    port, peer = machine.free_port(), machine.free_port()
    command = kvd_command(port, peer, memory, cluster_name([first.port]), f"127.0.0.1:{first.peer_port}")
    return Server("kvd joining", [*command, "--name", "joiner"], port, peer_port=peer, cores=machine.LOAD_CORE)


# MARK: null


def null_nodes():
    """The C server with two followers that say that they have what it hands them: what a majority of three costs at
    least."""
    ports = [machine.free_port() for _ in range(3)]

    def member(name, port, *role):
        return lambda: Server(name, [machine.ROOT / ".build/null/null_uring", port, 0, 0, *role], port)

    followers = [member(f"null follower {number}", port, "follow") for number, port in enumerate(ports[1:])]
    # The leader finds its followers there, and comes first, as whoever takes the load does.
    leader = member("null leader", ports[0], "lead", *ports[1:])
    cluster = started("null, 3 nodes", [*followers, leader], lambda _: True)
    cluster.members.reverse()
    cluster.url, cluster.port = cluster.members[0].url, cluster.members[0].port
    return cluster


# MARK: redis


def redis_with_replica():
    """redis and one replica of it; neither persists."""
    ports = [machine.free_port(), machine.free_port()]
    # The first copy of a replica is a file.
    folder = tempfile.mkdtemp(prefix="kvd-redis-")
    plain = ["--dir", folder, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--repl-diskless-sync-delay", "0"]
    commands = [["redis-server", "--port", ports[0], *plain],
                ["redis-server", "--port", ports[1], *plain, "--replicaof", "127.0.0.1", ports[0]]]
    starts = [lambda number=number: Server(f"redis {number}", commands[number], ports[number], scheme="redis")
              for number in range(2)]
    return started(
        "redis, 1 replica", starts, lambda _: resp(ports[0], "SET key-0 x", "WAIT 1 1000").endswith(":1\r\n"),
        folder=folder)


def resp(port, *commands):
    """What redis answers to inline commands, all together."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall("".join(f"{command}\r\n" for command in commands).encode())
        answer = b""
        while answer.count(b"\r\n") < len(commands):
            answer += connection.recv(4096) or b"\r\n" * len(commands)
        return answer.decode()


# MARK: etcd


class EtcdCluster(Cluster):
    """Takes puts as its users send them over HTTP: JSON with key and value in base64. wrk sends them, as `kvd bench`
    doesn't speak that: to the leader, which owns all keys, or to all members alike, as clients that know nothing of
    leaders are spread."""

    def has_leader(self):
        """Whether one leads; a load for owners goes there from then on."""
        for member in self.members:
            status = self.ask(member, "/v3/maintenance/status")
            if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                self.url = member.url
                return True
        return False

    def ask(self, member, target):
        connection = http.client.HTTPConnection("127.0.0.1", member.port, timeout=5)
        try:
            connection.request("POST", target, "{}")
            return json.loads(connection.getresponse().read())
        except (OSError, ValueError):
            return {}
        finally:
            connection.close()

    def load(self, load, seconds, on):
        """A report like that of `kvd bench`."""
        asked = [self.url] if load.to_owners else [member.url for member in self.members]
        script = machine.WORK / "etcd.lua"
        script.write_text(etcd_script(load, [int(url.rsplit(":", 1)[1]) for url in asked]))
        # As many from each thread, each of which has a member of its own.
        connections = len(asked) * math.ceil(load.connections / len(asked))
        before = sum(map(machine.cpu_seconds, self.pids))
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = machine.pinned(on, ["wrk", f"-t{len(asked)}", f"-c{connections}", f"-d{max(1, round(seconds))}s",
                                      "-s", script, self.url])
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if "Socket errors" in out or "Non-2xx" in out:
            raise RuntimeError(out)
        count, duration, p50, p99 = map(float, re.search(r"^report (\S+) (\S+) (\S+) (\S+)$", out, re.M).groups())
        cpu = max(sum(map(machine.cpu_seconds, self.pids)) - before, 1 / machine.TICKS_PER_SECOND)
        return {"requests": int(count), "seconds": duration, "requestsPerSecond": count / duration,
                "serverSeconds": cpu, "requestsPerServerSecond": count / cpu,
                "clientSeconds": after.ru_utime - spent.ru_utime + after.ru_stime - spent.ru_stime,
                "latency": {"p50": 1000 * p50, "p99": 1000 * p99}}


def etcd_script(load, ports, bodies=10_000):
    """For wrk: puts of keys in no order, a new one each time until the script's are used up; a thread for each port."""
    value = base64.b64encode(b"v" * load.value).decode()
    count = min(load.keys, bodies)
    return f"""
local encode = {{}}
local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local function base64(text)
  local out = {{}}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local bits = a * 65536 + (b or 0) * 256 + (c or 0)
    for j = 0, 3 do
      local digit = math.floor(bits / 64 ^ (3 - j)) % 64 + 1
      out[#out + 1] = (j == 2 and not b or j == 3 and not c) and "=" or alphabet:sub(digit, digit)
    end
  end
  return table.concat(out)
end
local ports, threads = {{{', '.join(map(str, ports))}}}, 0
function setup(thread)
  threads = threads + 1
  thread.addr = wrk.lookup("127.0.0.1", ports[threads])[1]
end
local requests, next = {{}}, 0
function init()
  for i = 1, {count} do
    local key = base64(string.format("{load.prefix}%012d", (i * 7919) % {count}))
    requests[i] = wrk.format("POST", "/v3/kv/put", {{["Content-Type"] = "application/json"}},
      '{{"key":"' .. key .. '","value":"{value}"}}')
  end
end
function request()
  next = next % {count} + 1
  return requests[next]
end
function done(summary, latency)
  print(string.format("report %d %f %f %f", summary.requests, summary.duration / 1e6, latency:percentile(50),
    latency:percentile(99)))
end
"""


def etcd_nodes(count=3):
    """Nodes of etcd with their data in memory (tmpfs), so that no disk is waited for."""
    folder = Path(tempfile.mkdtemp(prefix="kvd-bench-", dir="/dev/shm"))
    ports = [(machine.free_port(), machine.free_port()) for _ in range(count)]
    members = ",".join(f"e{number}=http://127.0.0.1:{peer}" for number, (_, peer) in enumerate(ports))
    starts = []
    for number, (port, peer) in enumerate(ports):
        command = ["etcd", "--name", f"e{number}", "--data-dir", folder / str(number), "--initial-cluster", members,
                   "--initial-cluster-token", folder.name, "--log-level", "error"]
        for option, at in (("listen-client-urls", port), ("advertise-client-urls", port), ("listen-peer-urls", peer),
                           ("initial-advertise-peer-urls", peer)):
            command += [f"--{option}", f"http://127.0.0.1:{at}"]
        starts.append(lambda number=number, command=command, port=port: Server(f"etcd {number}", command, port))
    return started(f"etcd, {count} nodes", starts, EtcdCluster.has_leader, EtcdCluster, folder)
