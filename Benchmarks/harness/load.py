"""Load from `kvd bench` on the load's core."""

import json
import subprocess
from dataclasses import dataclass, replace

from . import machine

MILLION = 1_000_000


@dataclass(frozen=True)
class Load:
    """The options of `kvd bench`, by its names."""

    workload: str = "get"
    keys: int = MILLION
    value: int = 100
    connections: int = 50
    pipeline: int = 1
    protocol: str | None = None
    distribution: str = "uniform"
    rate: int | None = None
    records: int | None = None
    answer: str | None = None
    wait: int | None = None
    batch: int | None = None
    prefix: str = "key-"
    sliding: bool = False
    to_owners: bool = False
    warmup: str = "200ms"

    def but(self, **changes):
        return replace(self, **changes)

    def arguments(self, server):
        url = server.url
        if self.protocol == "binary":
            url = f"kvd://127.0.0.1:{server.peer_port}"
        options = {
            "url": url, "workload": self.workload, "keys": self.keys, "value-size": self.value,
            "connections": self.connections, "pipeline": self.pipeline, "distribution": self.distribution,
            "key-prefix": self.prefix, "rate": self.rate, "records": self.records, "answer": self.answer,
            "batch": self.batch, "wait": self.wait,
        }
        texts = [text for name, value in options.items() if value is not None for text in (f"--{name}", str(value))]
        return texts + ["--sliding"] * self.sliding + ["--to-owners"] * self.to_owners


# The share of time that a server waited for its core, in each run so far: what else ran there disturbed it.
waits = []


class LoadFailed(Exception):
    """kvd bench says why."""


def bench(arguments, on=machine.LOAD_CORE, timeout=600):
    """Runs `kvd bench --json` to its end; one report for each run of it."""
    command = machine.pinned(on, [machine.BINARY, "bench", "--json", *arguments])
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    if run.returncode != 0:
        raise LoadFailed(f"{' '.join(command)}\n{run.stderr}")
    reports = [json.loads(line) for line in run.stdout.splitlines()]
    for report in reports:
        # The kernel counts in ticks of 10 ms: less than half of one can't be told from nothing.
        if "serverSeconds" in report:
            report["serverSeconds"] = max(report["serverSeconds"], 0.005)
    return reports


def fill(server, load, on=machine.LOAD_CORE):
    """Writes each key of the load once."""
    protocol = None if load.protocol == "binary" else load.protocol
    arguments = load.but(protocol=protocol, workload="put", pipeline=1, rate=None, records=None, answer=None,
                         batch=None, sliding=False, distribution="uniform", to_owners=False).arguments(server)
    bench([*arguments, "--fill", "--duration", "0s"], on)


def measure(server, load, seconds, on=machine.LOAD_CORE):
    """One run; its report. Answers other than 2xx, or lost ones, make it worthless. A server that `kvd bench` can't
    speak to brings its own load."""
    if hasattr(server, "load"):
        return server.load(load, seconds, on)
    limits = [] if load.records else ["--duration", f"{int(seconds * 1000)}ms"]
    warmup = [] if load.records or load.rate else ["--warmup", load.warmup]
    arguments = [*load.arguments(server), *limits, *warmup, "--server-pid", ",".join(map(str, server.pids))]
    waited = sum(map(machine.waited_seconds, server.pids))
    report, = bench(arguments, on)
    # Several on one core wait for each other; that says nothing of others.
    if len(server.pids) == 1:
        waits.append((machine.waited_seconds(server.pid) - waited) / report["seconds"])
    for wrong in ("refused", "unanswered", "brokenConnections"):
        if report[wrong]:
            raise LoadFailed(f"{server.name}: {report[wrong]} {wrong} ({report['statuses']})")
    return report
