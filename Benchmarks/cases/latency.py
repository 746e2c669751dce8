"""The round trip of a connection that is alone, and the tail of a paced load."""

from contextlib import ExitStack

from harness import servers
from harness.load import Load, fill, measure
from harness.results import Result, Samples, at_most, format_microseconds, format_rate


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
        return result


class Pauses:
    """One generator sends at a fixed rate whatever the server does, so that each pause shows in the latencies of all
    requests that were due meanwhile: first reads of a table at rest, then writes of new keys, then overwrites."""

    name = "pauses"
    title = "Pauses: a paced load while the table grows and while compaction runs"

    def run(self, options):
        keys = options.pick(10_000_000, 2_000_000, 20_000)
        rate = options.pick(200_000, 200_000, 20_000)
        small = min(keys, 1_000_000)
        paced = Load(workload="put", keys=keys, connections=2, pipeline=1024, rate=rate, distribution="sequential")
        result = Result(self.title, ["phase", "requests", "rate", "busy", "p50 us", "p99 us", "p99.9 us", "p99.99 us",
                                     "max us"])
        phases = {}

        def phase(name, server, load):
            report = measure(server, load, 0)
            phases[name] = report
            latency = report["latency"]
            result.rows.append([
                name, format_rate(report["requests"]), format_rate(report["requestsPerSecond"]),
                f"{100 * report['serverSeconds'] / report['seconds']:.0f} %",
                *(format_microseconds(latency[p]) for p in ("p50", "p99", "p99.9", "p99.99", "max"))])
            if report["unsent"]:
                result.notes.append(f"In '{name}' the server fell behind: {report['unsent']} requests were never sent.")

        # Memory so scarce that the overwritten records have to be reclaimed again and again.
        with servers.kvd(memory="4GiB") as server:
            phase("new keys, 0 to " + format_rate(keys), server, paced.but(records=keys))
            phase("reads, table at rest", server,
                  paced.but(workload="get", distribution="uniform", records=min(keys, 15 * rate)))
        with servers.kvd(memory="512MiB") as server:
            fill(server, paced.but(keys=small))
            used = server.metric("kvd_memory_used_bytes")
            overwrites = min(keys, 25 * rate)
            phase("overwrites, compaction runs", server,
                  paced.but(keys=small, distribution="uniform", records=overwrites))
            grown = server.metric("kvd_memory_used_bytes") - used
        written = overwrites * 150
        result.notes.append(
            f"Overwriting wrote about {written / 2**20:.0f} MiB of records, and memory in use moved by "
            f"{grown / 2**20:.0f} MiB: compaction reclaimed the rest.")
        rest = phases["reads, table at rest"]["latency"]["p99.9"]
        for name in phases:
            if name != "reads, table at rest":
                moved = Samples([(phases[name]["latency"]["p99.9"] - rest) / 1e6])
                result.bars.append(at_most(f"p99.9 moves: {name}", moved, 2, unit=" ms"))
        return result


CASES = [RoundTrip(), Pauses()]
