"""Servers under load, each a process of its own, on the server's core unless told otherwise."""

import http.client
import os
import subprocess
import tempfile
import time
from pathlib import Path

from . import machine


class Server:
    """A started process that takes load at `url`; it is ended with the `with` block."""

    def __init__(self, name, command, port, scheme="http", cores=machine.SERVER_CORE, peer_port=None, folder=None,
                 ready=None):
        self.name, self.port, self.peer_port, self._folder, self._ready = name, port, peer_port, folder, ready
        self.url = f"{scheme}://127.0.0.1:{port}"
        machine.WORK.mkdir(parents=True, exist_ok=True)
        self._log = open(machine.WORK / f"{name.replace(' ', '-')}.log", "wb")
        self.process = subprocess.Popen(
            machine.pinned(cores, command), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self):
        return self.process.pid

    @property
    def pids(self):
        """Of all processes whose time counts as the server's."""
        return [self.pid]

    def _wait_until_it_listens(self, seconds=20):
        deadline = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} doesn't listen on port {self.port}: see {self._log.name}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
                connection.connect()
                if self._ready:
                    connection.request("GET", self._ready)
                    if connection.getresponse().status != 200:
                        raise OSError("not yet")
                return
            except OSError:
                time.sleep(0.02)
            finally:
                connection.close()

    def get(self, target):
        """The body of an HTTP answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", target)
        body = connection.getresponse().read()
        connection.close()
        return body

    def metric(self, name):
        """A number of kvd's /metrics, summed over its labels."""
        lines = self.get("/metrics").decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
        if self._folder:
            self._folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def kvd(name="kvd", io="auto", cores="1", on=machine.SERVER_CORE, memory="4GiB"):
    """The shipped binary with nothing set but its ports, cores and memory (and `io`, to measure the other backend)."""
    port, peer_port = machine.free_port(), machine.free_port()
    command = [machine.BINARY, "serve", "--http", f"127.0.0.1:{port}", "--peer", f"127.0.0.1:{peer_port}",
               "--cores", cores, "--memory", memory, "--cluster", f"bench-{os.getpid()}-{port}"]
    if io != "auto":
        command += ["--io", io]
    return Server(name, command, port, cores=on, peer_port=peer_port, ready="/readyz")


def null(ring="uring", value=100, body=0, keeps=False):
    """The C server that answers each request with the same bytes: `value` of them, after `body` bytes of a request,
    which it forgets or keeps."""
    port = machine.free_port()
    command = [machine.ROOT / f".build/null/null_{ring}", port, value, body, *(["keep"] if keeps else [])]
    return Server({"uring": "null io_uring", "epoll": "null epoll"}[ring], command, port)


def redis():
    port = machine.free_port()
    return Server("redis", ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                  port, scheme="redis")


def nginx(value=100):
    """One worker that answers `return 200` with as many bytes."""
    port = machine.free_port()
    folder = tempfile.TemporaryDirectory(prefix="kvd-bench-")
    Path(folder.name, "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {folder.name}/pid; error_log {folder.name}/error;
        events {{ worker_connections 1024; }}
        http {{
          access_log off; keepalive_requests 1000000000; default_type application/octet-stream;
          client_body_temp_path {folder.name}; proxy_temp_path {folder.name}; fastcgi_temp_path {folder.name};
          uwsgi_temp_path {folder.name}; scgi_temp_path {folder.name};
          server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{"x" * value}"; }} }}
        }}""")
    command = ["nginx", "-p", folder.name, "-c", f"{folder.name}/nginx.conf", "-e", f"{folder.name}/error"]
    return Server("nginx", command, port, folder=folder)
