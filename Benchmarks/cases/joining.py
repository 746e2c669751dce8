"""A node joins under a paced load: how much longer its clients wait meanwhile."""

import os
import threading
import time
from contextlib import ExitStack

from harness import clusters, machine
from harness.load import Load, fill, measure
from harness.profile import profile
from harness.results import Result, Samples, at_most, format_microseconds, format_rate

VALUE = 1000
# What the first node holds; with JOIN_MIB=5120 (and 16 GiB of memory) what the promise is about.
MEBIBYTES = int(os.environ.get("JOIN_MIB", "286"))
MEMORY = f"{2048 + 3 * MEBIBYTES // 2}MiB"


class Joining:
    """In each round one node that holds much is measured alone, and then while a second one takes a copy of all of it.
    From when that has a partition, the writes of it wait for both, which is no pause but counts here nevertheless."""

    name = "join"
    title = "Pauses: a paced load while a node joins"
    percentiles = ("p50", "p99", "p99.9", "p99.99", "max")

    def run(self, options):
        keys = options.pick(MEBIBYTES, MEBIBYTES, 2) * 2**20 // VALUE
        rate = options.pick(10_000, 10_000, 1_000)
        load = Load(keys=keys, value=VALUE, connections=16, rate=rate)
        loads = {"reads": load, "writes": load.but(workload="put")}
        reports = {f"{what}, {when}": [] for what in loads for when in ("at rest", "a node joins")}
        joined = []
        # Not longer than it takes, so that all that is measured is meanwhile.
        while_joining = options.pick(3, 3, 0.3) * max(1, MEBIBYTES / 360)
        for _ in range(options.rounds):
            for what, own in loads.items():
                with ExitStack() as stack:
                    first = self.filled(load, stack)
                    reports[f"{what}, at rest"].append(measure(first, own, options.pick(3, 3, 0.3)))
                    joiner = Joiner(first, MEMORY, stack)
                    reports[f"{what}, a node joins"].append(measure(first, own, while_joining))
                    joined.append(joiner.end())
        result = self.result(reports, joined, keys)
        for what, own in loads.items() if options.profiles else ():
            missed = [bar for bar in result.bars if bar.met is False and what in bar.text]
            if missed:
                with ExitStack() as stack:
                    first = self.filled(load, stack)
                    joiner = Joiner(first, MEMORY, stack)
                    result.explain(profile(first, own, while_joining), f"{what}, a node joins", missed)
                    joiner.end()
        return result

    def filled(self, load, stack):
        """A node alone that holds all the keys."""
        first = stack.enter_context(clusters.kvd_nodes(1, memory=MEMORY))
        fill(first, load.but(pipeline=64))
        return first

    def result(self, reports, joined, keys):
        result = Result(self.title, ["phase", "requests", "a second", *(f"{p} us" for p in self.percentiles)])
        for name, ofone in reports.items():
            rate = Samples([report["requestsPerSecond"] for report in ofone])
            latencies = [Samples([report["latency"][p] for report in ofone]) for p in self.percentiles]
            result.rows.append([name, format_rate(sum(report["requests"] for report in ofone)),
                                format_rate(rate.median), *(format_microseconds(one.median) for one in latencies)])
        for what in ("reads", "writes"):
            moved = Samples([(mine["latency"]["p99.9"] - rest["latency"]["p99.9"]) / 1e6 for mine, rest in zip(
                reports[f"{what}, a node joins"], reports[f"{what}, at rest"])])
            result.bars.append(at_most(f"p99.9 moves: {what}, a node joins", moved, 2, unit=" ms"))
            longer = Samples([mine["latency"]["p99"] / rest["latency"]["p99"] for mine, rest in zip(
                reports[f"{what}, a node joins"], reports[f"{what}, at rest"])])
            result.bars.append(at_most(f"p99 of {what} while a node joins, to that at rest", longer, 2))
        seconds = "–".join(f"{bound:.1f}" for bound in (min(joined), max(joined)))
        result.notes.append(
            f"The node held {keys * VALUE / 2**20:.0f} MiB of values; the newcomer had all of it after {seconds} s. It "
            "shares core 1 with the load: on a machine of its own it wouldn't be in its way.")
        return result


class Joiner:
    """A second node, and when it has everything."""

    def __init__(self, first, memory, stack):
        self._began, self._seconds = time.monotonic(), None
        self._node = stack.enter_context(clusters.kvd_joining(first, memory))
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self):
        clusters.wait_until("a node that joins: not in step", self._is_whole, 60 + MEBIBYTES / 10)
        self._seconds = time.monotonic() - self._began

    def _is_whole(self):
        # The joiner is asked, and something small: its sender is being measured.
        return clusters.ask(self._node, "GET", "/readyz")[0] == 200

    def end(self):
        """The seconds that it took."""
        self._thread.join()
        if self._seconds is None:
            raise RuntimeError("the newcomer never had everything")
        return self._seconds


CASES = [Joining()]
