"""The hot leaves, from .build/release/micro."""

import json
import subprocess

from harness import machine
from harness.profile import profile_command
from harness.results import Bar, Result

# What a request may cost in user space with everything in the caches, in nanoseconds.
WHOLE = {"whole GET": 40, "whole PUT": 50}
FACTOR = 1.5
# What the baselines run, which takes most of a short run.
BASELINES = ("__memmove", "XXH3_hashLong", "long_avx2")


class Micro:
    name = "micro"
    title = "Hot leaves"

    def run(self, options):
        command = machine.pinned(machine.LOAD_CORE, [machine.MICRO, "--json"])
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        result = Result(self.title, ["leaf", "ns", "baseline", "ratio", "budget", "of budget"])
        worst = 0.0
        for line in run.stdout.splitlines():
            leaf = json.loads(line)
            used = leaf["ratio"] / leaf["budget"]
            worst = max(worst, used)
            result.rows.append([leaf["name"], f"{leaf['nanoseconds']:.1f}", leaf["baseline"], f"{leaf['ratio']:.2f}",
                                f"{leaf['budget']:.2f}", f"{100 * used:.0f} %"])
            if leaf["name"] in WHOLE:
                target = WHOLE[leaf["name"]]
                result.bars.append(Bar(f"user space, {leaf['name']}, cached", f"≤ {target} ns",
                                       f"{leaf['nanoseconds']:.1f} ns", leaf["nanoseconds"] <= target))
        result.bars.append(Bar("every leaf within its budget", f"≤ {FACTOR}x", f"{worst:.2f}x", worst <= FACTOR))
        if result.is_missed and options.profiles:
            result.explain(profile_command(machine.pinned(machine.LOAD_CORE, [machine.MICRO, "whole"]), BASELINES),
                           "whole GETs and PUTs without the baselines' copies and hashes")
        result.notes.append(
            "Budgets are in Benchmarks/Micro, as multiples of XXH3 over 256 bytes or of copying 4 KiB in "
                            "the same run. A whole request is all of Core: parsing, hashing, the table, the log, the "
                            "answer's bytes, latency counters and the turn's own work, in turns of 16 requests.")
        return result


CASES = [Micro()]
