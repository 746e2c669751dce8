"""Starts, watches and stops one kvd process."""

import ctypes
import errno
import itertools
import json
import os
import platform
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from frames import FrameConnection
from http1 import Closed, Connection

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("KVD_BINARY", ROOT / ".build/release/kvd"))
BACKENDS = ("io_uring", "epoll")
# A refusal of the machine, not of kvd: the tests of that backend are skipped, with this reason.
IO_URING_SETUP = 425


def io_uring_refusal():
    """Why the kernel refuses io_uring here; None where it doesn't."""
    libc = ctypes.CDLL(None, use_errno=True)
    parameters = ctypes.create_string_buffer(120)
    descriptor = libc.syscall(IO_URING_SETUP, 4, parameters)
    if descriptor >= 0:
        os.close(descriptor)
        return None
    code = ctypes.get_errno()
    return f"io_uring_setup on {platform.release()}: {errno.errorcode.get(code, code)}"


def until(condition, what, seconds=10.0, every=0.02):
    """Asks `condition` again and again until it answers something true; returns that."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        select.select([], [], [], every)


def lasts(seconds):
    """Lets a fault or a load go on for so long. Whoever waits for something to happen says what, and calls `until`."""
    select.select([], [], [], seconds)


class Node:
    """A running kvd on ports of its own, with its log."""

    def __init__(self, *arguments, io="auto", limits=None, environment=None, memory="1GiB", confine=None,
                 is_ready=True, host=None):
        """With a `host` of a `namespaces.Network` it runs there, at its usual ports, with the cluster's usual name."""
        assert BINARY.exists(), f"{BINARY} is missing: run `make build` first"
        self.host = host
        self.folder = tempfile.TemporaryDirectory(prefix="kvd-test-")
        options = ["--io", io, "--log", "json", "--memory", memory]
        if not host:
            options += ["--http", "127.0.0.1:0", "--peer", "127.0.0.1:0"]
        if not host and "--cluster" not in arguments and "KVD_CLUSTER" not in (environment or {}):
            # Nodes on this machine's loopback interface hear each other; those of one name form a cluster.
            options += ["--cluster", own_cluster()]
        if limits:
            config = Path(self.folder.name, "config.json")
            config.write_text(json.dumps({"limits": limits}))
            options += ["--config", str(config)]
        self._started = started = time.monotonic()
        self.process = (host.popen if host else subprocess.Popen)(
            [str(BINARY), "serve", *options, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})}, preexec_fn=confine)
        self.lines = []
        self.events = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if not self._listening.wait(20) or not self.events_named("listening"):
            self.process.kill()
            raise AssertionError(f"kvd isn't listening, exit {self.process.wait()}:\n" + "\n".join(self.lines[-50:]))
        self.seconds_to_start = time.monotonic() - started
        host, port = self.events_named("listening")[0]["http"].rsplit(":", 1)
        if self.host:
            host = self.host.address
        self.address = (host, int(port))
        self.url = f"http://{host}:{port}"
        port = self.events_named("listening")[0]["peer"].rsplit(":", 1)[1]
        self.peer_address = (host, int(port))
        self._connection = None
        if is_ready:
            until(self.is_ready, "the node has its cluster", every=0.005)

    def is_ready(self):
        """Whether it is an active member of its cluster, asked on a connection of its own."""
        with self.connect() as connection:
            return connection.call("GET", "/readyz").status == 200

    def _read_log(self):
        for raw in self.process.stderr:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            self.lines.append(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue
            self.events.append(event)
            if event.get("message") == "listening":
                self._listening.set()
        self._listening.set()

    def events_named(self, message):
        return [event for event in self.events if event.get("message") == message]

    def connect(self, **options):
        if self.host:
            return self.host.inside(lambda: Connection(self.address, **options))
        return Connection(self.address, **options)

    def connect_plainly(self, **options):
        """A connection from wherever the caller is, as a client on another host has it."""
        return Connection(self.address, **options)

    def frames(self, **options):
        return FrameConnection(self.peer_address, **options)

    def call(self, method, target, body=None, headers=None):
        """One request on a connection that is kept between calls, and renewed when the server ended it."""
        if isinstance(body, str):
            body = body.encode()
        fresh = self._connection is None
        if fresh:
            self._connection = self.connect()
        try:
            answer = self._connection.call(method, target, body, headers)
        except (Closed, BrokenPipeError, ConnectionResetError):
            self._connection.close()
            self._connection = None
            if fresh:
                raise
            return self.call(method, target, body, headers)
        if (answer.header("connection") or "").lower() == "close":
            self._connection.close()
            self._connection = None
        return answer

    def alive(self):
        """Checks on a new connection that the server still answers."""
        assert self.process.poll() is None, "kvd ended:\n" + "\n".join(self.lines[-50:])
        with self.connect(timeout=10) as other:
            assert other.call("GET", "/livez").status == 200

    def seconds_since_start(self):
        return time.monotonic() - self._started

    def cpu_ticks(self):
        """Clock ticks of user and system time that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def run_milliseconds(self):
        """Processor time that the threads there are now have used, exactly (proc(5), schedstat)."""
        return sum(int(path.read_text().split()[0])
                   for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")) / 1e6

    def resident_bytes(self):
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=20):
        """Waits for the process's own end; returns its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def stop(self, number=signal.SIGTERM):
        """Stops it as an operator would and requires exit code 0."""
        if self._connection:
            self._connection.close()
            self._connection = None
        if self.process.poll() is None:
            self.send_signal(number)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("kvd didn't stop within 20 s of the signal:\n" + "\n".join(self.lines[-50:])) from None
        finally:
            self.folder.cleanup()
        assert code == 0, f"exit code {code}:\n" + "\n".join(self.lines[-50:])


def run_kvd(*arguments, environment=None, seconds=20, confine=None):
    """Runs kvd to its end; for command lines that are refused and for the small clients."""
    return subprocess.run([str(BINARY), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds, env={**os.environ, **(environment or {})}, preexec_fn=confine)


_numbers = itertools.count(1)


def own_cluster():
    """A cluster's name that no other test uses, of this run or any other."""
    return f"test-{os.getpid()}-{next(_numbers)}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
