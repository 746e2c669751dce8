"""The round trip of a connection that is alone, and the tail of a paced load."""

import time
from contextlib import ExitStack

from harness import servers
from harness.load import Load, fill, measure
from harness.machine import cpu_seconds
from harness.profile import profile
from harness.results import Result, Samples, at_most, format_microseconds, format_rate

# A record of a 16-byte key and a 100-byte value in the log: 28 bytes of head, padded to a multiple of 8.
RECORD_BYTES = 144


class RoundTrip:
    name = "idle"
    title = "Round trip of one idle connection"

    def run(self, options):
        load = Load(keys=1000, connections=1)
        reports = {"kvd": [], "null io_uring": [], "null epoll": []}
        with ExitStack() as stack:
            running = {
                "kvd": stack.enter_context(servers.kvd()),
                "null io_uring": stack.enter_context(servers.null("uring")),
                "null epoll": stack.enter_context(servers.null("epoll"))}
            fill(running["kvd"], load)
            for _ in range(options.rounds):
                for name, server in running.items():
                    reports[name].append(measure(server, load, options.seconds)["latency"])
            before = cpu_seconds(running["kvd"].pid)
            time.sleep(options.seconds)
            idle = (cpu_seconds(running["kvd"].pid) - before) / options.seconds
            result = self.result(reports, idle)
            if result.is_missed and options.profiles:
                result.explain(profile(running["kvd"], load, options.seconds), "one round trip after another")
        return result

    def result(self, reports, idle):
        result = Result(self.title, ["server", "p50 us", "range", "p99 us", "range", "p99.9 us"])
        samples = {name: {p: Samples([report[p] for report in ofone]) for p in ("p50", "p99", "p99.9")}
                   for name, ofone in reports.items()}
        for name, ofone in samples.items():
            cells = [name]
            for p in ("p50", "p99"):
                cells += [format_microseconds(ofone[p].median), "–".join(
                    format_microseconds(bound) for bound in (min(ofone[p].values), max(ofone[p].values)))]
            result.rows.append([*cells, format_microseconds(ofone["p99.9"].median)])
        result.bars = [
            at_most(f"{p} to the echo on io_uring", samples["kvd"][p].over(samples["null io_uring"][p]), 1.1)
            for p in ("p50", "p99")]
        result.notes.append(f"Then, with nothing to do, kvd used {100 * idle:.1f} % of a core.")
        return result


class Pauses:
    """One generator sends at a fixed rate whatever the server does, so that each pause shows in the latencies of all
    requests that were due meanwhile: in turns new keys, reads of a table at rest, and overwrites in scarce memory."""

    name = "pauses"
    title = "Pauses: a paced load while the table grows and while compaction runs"
    percentiles = ("p50", "p99", "p99.9", "p99.99", "max")

    def run(self, options):
        keys = options.pick(10_000_000, 1_000_000, 30_000)
        # Half of what one core can answer; nearer to it, what is measured is the queue before a busy server, which each
        # microsecond of a dearer request makes longer, and not the server's pauses.
        rate = options.pick(100_000, 100_000, 20_000)
        rounds = options.rounds
        paced = Load(workload="put", keys=keys // rounds, records=keys // rounds, connections=2, pipeline=1024,
                     rate=rate, distribution="sequential")
        reads = paced.but(workload="get", distribution="uniform", records=min(paced.records, 5 * rate), prefix="k0--")
        rewrites = paced.but(
            distribution="uniform", keys=min(keys // 10, 1_000_000), records=min(keys, options.pick(8, 2, 1) * rate))
        growth, rest, compaction = f"new keys, 0 to {format_rate(keys)}", "reads at rest", "overwrites, compaction runs"
        reports = {growth: [], rest: [], compaction: []}
        with ExitStack() as stack:
            # Memory so scarce that the space of overwritten records is needed again and again.
            large, small = (stack.enter_context(servers.kvd(memory=memory)) for memory in ("4GiB", "512MiB"))
            fill(small, rewrites)
            used = small.metric("kvd_memory_used_bytes")
            for number in range(rounds):
                reports[growth].append(measure(large, paced.but(prefix=f"k{number}--"), 0))
                reports[rest].append(measure(large, reads, 0))
                reports[compaction].append(measure(small, rewrites, 0))
            grown = small.metric("kvd_memory_used_bytes") - used
            stored = large.metric("kvd_keys")
            result = self.result(reports, rest)
            again = {growth: (large, paced.but(prefix=f"k{rounds}--")), compaction: (small, rewrites)}
            for name, (server, own) in again.items() if options.profiles else ():
                if missed := [bar for bar in result.bars if bar.met is False and bar.text.endswith(name)]:
                    result.explain(profile(server, own, 0), name, missed)
        written = sum(report["requests"] for report in reports[compaction]) * RECORD_BYTES
        result.notes.append(
            f"{stored:,.0f} keys were stored in the end. Overwriting wrote about {written / 2**20:.0f} MiB of records, "
            f"and memory in use moved by {grown / 2**20:.0f} MiB: compaction reclaimed the rest.")
        return result

    def result(self, reports, rest):
        result = Result(self.title, ["phase", "requests", "a second", "busy", *(f"{p} us" for p in self.percentiles)])
        for name, ofone in reports.items():
            busy = Samples([100 * report["serverSeconds"] / report["seconds"] for report in ofone])
            rate = Samples([report["requestsPerSecond"] for report in ofone])
            latencies = [Samples([report["latency"][p] for report in ofone]) for p in self.percentiles]
            result.rows.append([
                name, format_rate(sum(report["requests"] for report in ofone)), format_rate(rate.median),
                f"{busy.median:.0f} %", *(format_microseconds(latency.median) for latency in latencies)])
            if unsent := sum(report["unsent"] for report in ofone):
                result.notes.append(f"{name}: the server fell behind, {unsent} requests were never sent.")
            if name != rest:
                moved = Samples([(mine["latency"]["p99.9"] - base["latency"]["p99.9"]) / 1e6
                                 for mine, base in zip(ofone, reports[rest])])
                result.bars.append(at_most(f"p99.9 moves: {name}", moved, 2, unit=" ms"))
        return result


CASES = [RoundTrip(), Pauses()]
