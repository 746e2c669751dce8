"""Resident memory per million keys, of servers that have come to rest."""

from harness import servers
from harness.load import MILLION, Load, fill
from harness.machine import resident_parts, settled_bytes
from harness.results import Result, Samples, at_most, format_number


class Memory:
    name = "memory"
    title = "Memory per million keys of 16 bytes with values of 100 bytes"

    def run(self, options):
        keys = options.keys(MILLION)
        raw = keys * 116
        result = Result(self.title, ["server", "resident, empty MB", "resident, full MB", "of raw bytes", "a key B"])
        for name, start in (("kvd", servers.kvd), ("redis", servers.redis)):
            if not options.has(name):
                continue
            with start() as server:
                still = options.pick(3, 3, 0.2)
                empty = settled_bytes(server.pid, still)
                fill(server, Load(keys=keys))
                full = settled_bytes(server.pid, still)
                parts = resident_parts(server.pid)
            result.rows.append([name, format_number(empty / 1e6), format_number(full / 1e6), f"{full / raw:.2f}x",
                                format_number((full - empty) / keys)])
            if name == "kvd":
                result.bars = [at_most("resident memory to raw bytes, 1 M keys", Samples([full / raw]), 1.5)]
                result.notes.append("Of kvd's, full: " + ", ".join(
                    f"{name} {size / 1e6:.1f} MB" for name, size in parts) + ".")
        return result


CASES = [Memory()]
