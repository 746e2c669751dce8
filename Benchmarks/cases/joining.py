"""A node joins under a paced load: how much longer its clients wait meanwhile."""

import json
import threading
import time
from contextlib import ExitStack

from harness import clusters, machine
from harness.load import Load, fill, measure
from harness.profile import profile
from harness.results import Result, Samples, at_most, format_microseconds, format_rate

VALUE = 1000


class Joining:
    """In each round one node that holds much is measured alone, and then while a second one takes a copy of all of it.
    From when that has a partition, the writes of it wait for both, which is no pause but counts here nevertheless."""

    name = "join"
    title = "Pauses: a paced load while a node joins"
    percentiles = ("p50", "p99", "p99.9", "p99.99", "max")

    def run(self, options):
        keys = options.pick(300_000, 300_000, 2_000)
        rate = options.pick(10_000, 10_000, 1_000)
        load = Load(keys=keys, value=VALUE, connections=16, rate=rate)
        loads = {"reads": load, "writes": load.but(workload="put")}
        reports = {f"{what}, {when}": [] for what in loads for when in ("at rest", "a node joins")}
        joined = []
        while_joining = options.pick(6, 5, 1)
        for _ in range(options.rounds):
            for what, own in loads.items():
                with ExitStack() as stack:
                    first = self.filled(load, stack)
                    reports[f"{what}, at rest"].append(measure(first, own, options.pick(3, 2, 0.3)))
                    joiner = Joiner(first, stack)
                    reports[f"{what}, a node joins"].append(measure(first, own, while_joining))
                    joined.append(joiner.end())
        result = self.result(reports, joined, keys)
        for what, own in loads.items() if options.profiles else ():
            missed = [bar for bar in result.bars if bar.met is False and f" {what}," in bar.text]
            if missed:
                with ExitStack() as stack:
                    first = self.filled(load, stack)
                    joiner = Joiner(first, stack)
                    result.explain(profile(first, own, while_joining), f"{what}, a node joins", missed)
                    joiner.end()
        return result

    def filled(self, load, stack):
        """A node alone that holds all the keys."""
        first = stack.enter_context(clusters.kvd_nodes(1, memory="2GiB"))
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
        seconds = "–".join(f"{bound:.1f}" for bound in (min(joined), max(joined)))
        result.notes.append(
            f"The node held {keys * VALUE / 2**20:.0f} MiB of values; the newcomer had all of it after {seconds} s. It "
            "shares core 1 with the load: on a machine of its own it wouldn't be in its way.")
        return result


class Joiner:
    """A second node, and when it has everything."""

    def __init__(self, first, stack):
        self._first, self._began, self._seconds = first, time.monotonic(), None
        self._node = stack.enter_context(clusters.kvd_joining(first))
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self):
        clusters.wait_until("a node that joins: not in step", self._is_whole, 60)
        self._seconds = time.monotonic() - self._began

    def _is_whole(self):
        members = json.loads(self._first.ask("GET", "/v1/cluster")[1])["members"]
        return len(members) == 2 and all(member["replicas"] == 1024 for member in members)

    def end(self):
        """The seconds that it took."""
        self._thread.join()
        if self._seconds is None:
            raise RuntimeError("the newcomer never had everything")
        return self._seconds


CASES = [Joining()]
