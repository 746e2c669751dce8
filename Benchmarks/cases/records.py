"""A million records handed over, acknowledged, and replied to, as fero's benchmark counts them."""

from harness import servers
from harness.load import Load, fill, measure
from harness.profile import profile
from harness.results import Bar, Result, Samples, format_number, format_rate

# fero 1.7.0's own benchmark, one server and one client, 1 M records, its best clean run, on two cores of a 2.8 GHz Xeon
# VM: records per second by size, and microseconds of the server's processor for each. Its server only echoes.
PUBLISHED = {
    "tacks": {10: 4_300_000, 100: 2_200_000, 1000: 420_000},
    "yacks": {10: 272_000, 100: 256_000, 1000: 146_000},
    "sacks": {10: 316_000, 100: 286_000, 1000: 173_000},
}
PUBLISHED_MICROSECONDS = 4.0
ANSWERS = {"tacks": "none", "yacks": "ack", "sacks": "reply"}


class Records:
    name = "records"
    title = "A million records over one connection, as fero's benchmark"

    def run(self, options):
        records = options.pick(1_000_000, 300_000, 10_000)
        result = Result(self.title, ["records", "size B", "records/s", "range", "MB/s", "fero, published", "is",
                                     "us CPU each", "is"])
        for size in (10, 100, 1000):
            load = Load(workload="put", keys=records, records=records, value=size, connections=1, pipeline=4096,
                        protocol="binary", batch=64, sliding=True, distribution="sequential")
            with servers.kvd() as server:
                fill(server, load)
                reports = {name: [] for name in ANSWERS}
                for _ in range(options.rounds):
                    for name, answer in ANSWERS.items():
                        reports[name].append(measure(server, load.but(answer=answer), 0))
                for name, ofone in reports.items():
                    self.add(result, name, size, ofone)
                for name, answer in ANSWERS.items() if options.profiles else ():
                    missed = [bar for bar in result.bars
                              if bar.met is False and bar.text.startswith(f"{name} of {size} B")]
                    if missed:
                        result.explain(profile(server, load.but(answer=answer), 0), f"{name} of {size} B", missed)
        result.notes.append(
            "fero's figures are those of PUBLISHED in cases/records.py, from another run and machine than this one: "
            "its server echoes and stores nothing, kvd's stores every record. Each record is stored over an earlier "
            "one.")
        return result

    def add(self, result, name, size, reports):
        rates = Samples([report["requestsPerSecond"] for report in reports])
        costs = Samples([1e6 * report["serverSeconds"] / report["requests"] for report in reports])
        published = PUBLISHED[name][size]
        faster, cheaper = rates.median / published, PUBLISHED_MICROSECONDS / max(costs.median, 1e-3)
        result.rows.append([
            name, str(size), format_rate(rates.median),
            f"{format_rate(min(rates.values))}–{format_rate(max(rates.values))}",
            format_number(rates.median * size / 1e6), format_rate(published), f"{faster:.1f}x",
            format_number(costs.median), f"{cheaper:.1f}x"])
        if name == "tacks":
            return
        result.bars += [
            Bar(f"{name} of {size} B, records/s to fero as published", "≥ 10x", f"{faster:.1f}x", faster >= 10),
            Bar(f"{name} of {size} B, CPU a record to fero as published", "≥ 12x less", f"{cheaper:.1f}x",
                cheaper >= 12, cheaper)]


CASES = [Records()]
