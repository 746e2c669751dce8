"""CPU per request of kvd against the null servers, in interleaved rounds: `make bench`.

The server runs on core 0 and the load (wrk, 50 connections) on core 1. What is printed is server CPU in microseconds
per request, the median over the rounds, and the null server's figure divided by it: 1.00 is as good as doing nothing.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests/Support"))

from http1 import Connection, request  # noqa: E402
from node import BINARY, free_port, until  # noqa: E402

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def script(folder, depth, keys, method):
    """A wrk script that sends `depth` requests at a time over `keys` keys."""
    path = Path(folder, f"{method}-{depth}.lua")
    body = f'"{"v" * 100}"' if method == "PUT" else "nil"
    path.write_text(f"""
      local bursts = {{}}
      local next_burst = 0
      init = function(args)
        math.randomseed(1)
        for b = 1, 256 do
          local r = {{}}
          for i = 1, {depth} do
            r[i] = wrk.format("{method}", string.format("/key-%08d", math.random(0, {keys} - 1)), nil, {body})
          end
          bursts[b] = table.concat(r)
        end
      end
      request = function()
        next_burst = next_burst % 256 + 1
        return bursts[next_burst]
      end
    """)
    return path


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def start(command, port):
    """Starts a server on core 0 and waits until it answers."""
    process = subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers():
        try:
            with Connection(("127.0.0.1", port), timeout=2) as connection:
                return connection.call("GET", "/livez").status == 200
        except OSError:
            return False

    until(answers, f"{command[0]} answers")
    return process


def fill(port, keys):
    with Connection(("127.0.0.1", port)) as connection:
        for first in range(0, keys, 500):
            count = min(500, keys - first)
            connection.send(b"".join(request("PUT", f"/key-{i:08}", b"v" * 100) for i in range(first, first + count)))
            for _ in range(count):
                assert connection.response().status < 300


def measure(process, port, lua, seconds):
    """Server CPU in microseconds per request under load from core 1."""
    before = cpu_seconds(process.pid)
    out = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", "-c50", f"-d{seconds}s", "-s", str(lua),
                          f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True).stdout
    assert "Socket errors" not in out and "Non-2xx" not in out, out
    requests = int(re.search(r"(\d+) requests in", out)[1])
    return (cpu_seconds(process.pid) - before) * 1e6 / requests


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--keys", type=int, default=100_000)
    options = parser.parse_args()
    servers = {}
    try:
        for backend, null in (("io_uring", "null_uring"), ("epoll", "null_epoll")):
            port = free_port()
            servers[null] = start([str(ROOT / f".build/null/{null}"), str(port)], port), port
            port = free_port()
            servers[f"kvd {backend}"] = start([
                str(BINARY), "--http", f"127.0.0.1:{port}", "--peer", "127.0.0.1:0", "--io", backend, "--cores", "1",
                "--log-level", "error"], port), port
            fill(port, options.keys)
        with tempfile.TemporaryDirectory() as folder:
            for method, depth in (("GET", 1), ("PUT", 1), ("GET", 16), ("PUT", 16)):
                lua = script(folder, depth, options.keys, method)
                samples = {name: [] for name in servers}
                for _ in range(options.rounds):
                    for name, (process, port) in servers.items():
                        samples[name].append(measure(process, port, lua, options.seconds))
                medians = {name: statistics.median(values) for name, values in samples.items()}
                for backend, null in (("io_uring", "null_uring"), ("epoll", "null_epoll")):
                    mine = medians[f"kvd {backend}"]
                    print(f"{method} pipeline {depth:2}  {backend:8}  {mine:6.3f} us CPU a request, "
                          f"null {medians[null]:6.3f}, ratio {medians[null] / mine:5.2f}", flush=True)
    finally:
        for process, _ in servers.values():
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    main()
