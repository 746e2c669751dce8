"""What a second core brings, and what it costs to hand a request to the core that owns its key."""

from contextlib import ExitStack

from harness import machine, servers
from harness.load import Load, fill, measure
from harness.results import Bar, Result, Samples, at_least, format_number, format_rate


class Cores:
    name = "cores"
    title = "Two cores against one"

    def run(self, options):
        enough = machine.core_count() >= 4
        # With room for it, the load has two cores of its own; without, it shares the server's two.
        load_cores = "2,3" if enough else "0,1"
        layouts = {"1 core": ("1", "0"), "2 cores": ("2", "0,1")}
        result = Result(self.title, ["load", "server", "requests/s", "busy", "us CPU each", "range", "handed over",
                                     "us a hand-over"])
        for title, load in (("GET, P=1", Load()), ("GET, P=16", Load(pipeline=16)),
                            ("PUT, P=16", Load(workload="put", pipeline=16))):
            load = load.but(keys=options.keys(load.keys))
            self.compare(title, load, layouts, load_cores, enough, result, options)
        if not enough:
            result.notes.append(
                "This machine has two cores, so the load takes its processor time from the very cores that are "
                "measured: speed-up can't be. What can be is the cost of a request, in which the hand-over of half of "
                "them to the other core is contained; two times its inverse is what two cores would reach with the "
                "load elsewhere, if they didn't wait for each other.")
        return result

    def hand_over(self, costs, share, name):
        """What a request costs more on two cores, for each that was handed to the other."""
        more = costs["2 cores"].median - costs["1 core"].median
        return "" if name == "1 core" or share == 0 else format_number(more / share)

    def counters(self, server):
        """Operations that were handed to another core, and requests."""
        return server.metric("kvd_forwarded_total"), server.metric("kvd_requests_total")

    def compare(self, title, load, layouts, load_cores, enough, result, options):
        reports = {name: [] for name in layouts}
        forwarded = {}
        with ExitStack() as stack:
            running = {name: stack.enter_context(servers.kvd(f"kvd {name}", cores=cores, on=on))
                       for name, (cores, on) in layouts.items()}
            for server in running.values():
                fill(server, load, load_cores)
            for _ in range(options.rounds):
                for name, server in running.items():
                    before = self.counters(server)
                    reports[name].append(measure(server, load, options.seconds, on=load_cores))
                    after = self.counters(server)
                    forwarded[name] = (after[0] - before[0]) / (after[1] - before[1])
        costs = {name: Samples([1e6 / r["requestsPerServerSecond"] for r in ofone]) for name, ofone in reports.items()}
        rates = {name: Samples([r["requestsPerSecond"] for r in ofone]) for name, ofone in reports.items()}
        for name, ofone in reports.items():
            busy = Samples([100 * r["serverSeconds"] / r["seconds"] for r in ofone])
            result.rows.append([title, name, format_rate(rates[name].median), f"{busy.median:.0f} %",
                                format_number(costs[name].median), costs[name].spread,
                                f"{100 * forwarded[name]:.0f} %", self.hand_over(costs, forwarded[name], name)])
        if enough:
            result.bars.append(at_least(f"{title}, requests/s of two cores to one",
                                        rates["2 cores"].over(rates["1 core"]), 1.7))
        else:
            ratio = costs["1 core"].over(costs["2 cores"])
            result.bars.append(Bar(f"{title}, requests/s of two cores to one", "≥ 1.7x",
                                   f"{2 * ratio.median:.2f}x by cost of a request", None))


CASES = [Cores()]
