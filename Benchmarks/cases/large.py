"""Large values, against the null server moving as many bytes."""

from contextlib import ExitStack
from dataclasses import dataclass

from harness import servers
from harness.load import Load, fill, measure
from harness.results import Result, Samples, at_least, format_number

MIB = 1 << 20


@dataclass(frozen=True)
class LargeValues:
    """Values of `size` bytes, read or written: megabytes per second, and per second of the server's processor."""

    name: str
    title: str
    workload: str
    size: int
    connections: int = 4

    def run(self, options):
        load = Load(workload=self.workload, keys=64 * MIB // self.size, value=self.size,
                    connections=self.connections)
        shape = {"value": self.size} if self.workload == "get" else {"value": 0, "body": self.size}
        moved = {"kvd": [], "null io_uring": [], "null epoll": []}
        with ExitStack() as stack:
            running = {
                "kvd": stack.enter_context(servers.kvd()),
                "null io_uring": stack.enter_context(servers.null("uring", **shape)),
                "null epoll": stack.enter_context(servers.null("epoll", **shape))}
            fill(running["kvd"], load)
            for _ in range(options.rounds):
                for name, server in running.items():
                    report = measure(server, load, 0.7 * options.seconds)
                    count = report["requests"] * self.size / 1e6
                    moved[name].append((count / report["seconds"], count / report["serverSeconds"]))
        speeds = {name: Samples([speed for speed, _ in ofone]) for name, ofone in moved.items()}
        costs = {name: Samples([cost for _, cost in ofone]) for name, ofone in moved.items()}
        result = Result(self.title, ["server", "MB/s", "range", "kvd is", "MB per CPU-s", "kvd is"])
        for name in running:
            ratios = ["" if name == "kvd" else f"{figures['kvd'].over(figures[name]).median:.2f}x"
                      for figures in (speeds, costs)]
            result.rows.append([name, format_number(speeds[name].median), speeds[name].spread, ratios[0],
                                format_number(costs[name].median), ratios[1]])
        what = f"{self.workload.upper()} of {self.size // MIB} MiB"
        result.bars = [
            at_least(f"{what}, MB/s to null on io_uring", speeds["kvd"].over(speeds["null io_uring"]), 0.9),
            at_least(f"{what}, MB per CPU-s to null on io_uring", costs["kvd"].over(costs["null io_uring"]), 0.9)]
        if self.workload == "put":
            result.notes.append("The null server forgets what it receives; kvd's bytes end in memory that is theirs.")
        return result


CASES = [
    LargeValues("large-get-1m", "Large values: HTTP GET of 1 MiB", "get", MIB),
    LargeValues("large-get-16m", "Large values: HTTP GET of 16 MiB", "get", 16 * MIB),
    LargeValues("large-put-1m", "Large values: HTTP PUT of 1 MiB", "put", MIB),
    LargeValues("large-put-16m", "Large values: HTTP PUT of 16 MiB", "put", 16 * MIB),
]
