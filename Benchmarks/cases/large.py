"""Large values, against the null server moving as many bytes."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from harness import servers
from harness.load import Load, fill, measure
from harness.profile import profile
from harness.results import Result, Samples, at_least, format_number

MIB = 1 << 20
ONE_VALUE = "kvd, always the same value"


@dataclass(frozen=True)
class LargeValues:
    """Values of `size` bytes, read or written: megabytes per second, and per second of the server's processor."""

    name: str
    title: str
    workload: str
    size: int
    connections: int = 4

    def run(self, options):
        load = Load(workload=self.workload, keys=64 * MIB // self.size, value=self.size, connections=self.connections)
        start = {"kvd": servers.kvd}
        if self.workload == "get":
            mark = "null io_uring"
            for ring, name in (("uring", mark), ("epoll", "null epoll")):
                start[name] = partial(servers.null, ring, value=self.size)
        else:
            mark = "null io_uring, keeps"
            for ring, name in (("uring", "null io_uring"), ("epoll", "null epoll")):
                start[f"{name}, keeps"] = partial(servers.null, ring, value=0, body=self.size, keeps=True)
                start[f"{name}, forgets"] = partial(servers.null, ring, value=0, body=self.size)
        with ExitStack() as stack:
            running = {name: stack.enter_context(begin()) for name, begin in start.items()}
            fill(running["kvd"], load)
            turns = {name: (server, load) for name, server in running.items()}
            if self.workload == "get":
                turns[ONE_VALUE] = (running["kvd"], load.but(keys=1))
            moved = {name: [] for name in turns}
            for _ in range(options.rounds):
                for name, (server, own) in turns.items():
                    report = measure(server, own, 0.6 * options.seconds)
                    count = report["requests"] * self.size / 1e6
                    moved[name].append((count / report["seconds"], count / report["serverSeconds"]))
            result = self.result(moved, mark)
            if result.is_missed and options.profiles:
                result.explain(profile(running["kvd"], load, options.seconds), "kvd")
        return result

    def result(self, moved, mark):
        speeds = {name: Samples([speed for speed, _ in ofone]) for name, ofone in moved.items()}
        costs = {name: Samples([cost for _, cost in ofone]) for name, ofone in moved.items()}
        result = Result(self.title, ["server", "MB/s", "range", "kvd is", "MB per CPU-s", "kvd is"])
        for name in moved:
            ratios = ["" if name == "kvd" else f"{figures['kvd'].over(figures[name]).median:.2f}x"
                      for figures in (speeds, costs)]
            result.rows.append([name, format_number(speeds[name].median), speeds[name].spread, ratios[0],
                                format_number(costs[name].median), ratios[1]])
        what = f"{self.workload.upper()} of {self.size // MIB} MiB"
        result.bars = [at_least(f"{what}, MB/s to {mark}", speeds["kvd"].over(speeds[mark]), 0.9),
                       at_least(f"{what}, MB per CPU-s to {mark}", costs["kvd"].over(costs[mark]), 0.9)]
        if self.workload == "get":
            result.notes.append(
                "A null server sends the same bytes again and again, from the processor's cache if they fit there; "
                f"kvd's values are 64 MiB of its log. The row «{ONE_VALUE}» has it do as the null servers do: "
                f"{costs[ONE_VALUE].over(costs[mark]).median:.2f}x of {mark} per CPU-s.")
        else:
            result.notes.append(
                "A null server that keeps bodies copies each to memory of its connection's own, over the last one: the "
                "least that storing can be. One that forgets them receives into the same 256 KiB again and again, "
                "which stay in the processor's cache.")
        return result


CASES = [
    LargeValues("large-get-1m", "Large values: HTTP GET of 1 MiB", "get", MIB),
    LargeValues("large-get-16m", "Large values: HTTP GET of 16 MiB", "get", 16 * MIB),
    LargeValues("large-put-1m", "Large values: HTTP PUT of 1 MiB", "put", MIB),
    LargeValues("large-put-16m", "Large values: HTTP PUT of 16 MiB", "put", 16 * MIB),
]
