"""The load generator itself: does another one come to the same, and what does it cost?"""

import re
import resource
import subprocess
from contextlib import ExitStack

from harness import machine, servers
from harness.load import Load, fill, measure
from harness.results import Result, Samples, format_number, format_rate


class CrossCheck:
    name = "wrk"
    title = "Cross-check with wrk: HTTP GET, one at a time"

    def run(self, options):
        load = Load(keys=1000)
        figures = {name: {"kvd": [], "null io_uring": []} for name in ("kvd bench", "wrk")}
        clients = {"kvd bench": [], "wrk": []}
        with ExitStack() as stack:
            running = {"kvd": stack.enter_context(servers.kvd()),
                       "null io_uring": stack.enter_context(servers.null("uring"))}
            fill(running["kvd"], load)
            for _ in range(options.rounds):
                for server in running:
                    report = measure(running[server], load, options.seconds)
                    self.note(figures["kvd bench"][server], clients["kvd bench"], report["requests"],
                              report["serverSeconds"], report["clientSeconds"])
                    self.note(figures["wrk"][server], clients["wrk"], *self.wrk(running[server], options.seconds))
        result = Result(self.title, ["load from", "kvd per CPU-s", "null per CPU-s", "kvd is", "client us CPU each"])
        for name, ofone in figures.items():
            mine, null = Samples(ofone["kvd"]), Samples(ofone["null io_uring"])
            result.rows.append([name, format_rate(mine.median), format_rate(null.median),
                                f"{mine.over(null).median:.2f}x", format_number(Samples(clients[name]).median)])
        return result

    def note(self, figures, clients, requests, server_seconds, client_seconds):
        figures.append(requests / max(server_seconds, 1 / machine.TICKS_PER_SECOND))
        clients.append(1e6 * client_seconds / requests)

    def wrk(self, server, seconds):
        """Requests, and seconds of processor time of server and client."""
        before, spent = machine.cpu_seconds(server.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = machine.pinned(machine.LOAD_CORE, [
            "wrk", "-t1", "-c50", f"-d{max(1, round(seconds))}s", f"{server.url}/key-{42:012}"])
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if "Socket errors" in out or "Non-2xx" in out:
            raise RuntimeError(out)
        client = after.ru_utime - spent.ru_utime + after.ru_stime - spent.ru_stime
        return int(re.search(r"(\d+) requests in", out)[1]), machine.cpu_seconds(server.pid) - before, client


CASES = [CrossCheck()]
