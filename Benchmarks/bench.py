#!/usr/bin/env python3
"""Measures kvd against minimal C servers and its peers: `make bench`.

The server runs on core 0 and the load, `kvd bench`, on core 1; servers take turns, round after round. What counts are
ratios of requests per second of the server's processor, medians over the rounds. `make bench` measures every case and
writes Benchmarks/RESULTS.md; `make bench CASE=get-p1,idle` measures these alone and prints them.
"""

import argparse
import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cases import CASES  # noqa: E402
from harness import machine  # noqa: E402
from harness.load import LoadFailed, waits  # noqa: E402
from harness.results import bars_table, render, table  # noqa: E402


@dataclass(frozen=True)
class Options:
    """How long to measure. `smoke` is for the test that all of this runs: its figures say nothing."""

    rounds: int
    seconds: float
    size: str  # full, quick or smoke

    def pick(self, full, quick, smoke):
        return {"full": full, "quick": quick, "smoke": smoke}[self.size]

    def has(self, name):
        """Whether a server takes part: the test that all of this runs does without peers that aren't installed."""
        return self.size != "smoke" or not name.startswith(("redis", "nginx", "etcd"))

    @property
    def profiles(self):
        """Whether to show where the time goes when a bar is missed."""
        return self.size != "smoke"

    def keys(self, count):
        return self.pick(count, count, min(count, 10_000))


OPTIONS = {"full": Options(3, 3.0, "full"), "quick": Options(3, 1.0, "quick"), "smoke": Options(1, 0.05, "smoke")}


def document(results, options, seconds):
    """RESULTS.md."""
    bars = [bar for _, result in results for bar in result.bars]
    counts = {met: sum(bar.met is met for bar in bars) for met in (True, False, None)}
    size = {"full": "", "quick": " (QUICK=1: short runs, more noise)", "smoke": " (smoke test: figures say nothing)"}
    parts = [
        "# Results\n\nWritten by `make bench`" + size[options.size]
        + f" in {seconds / 60:.0f} minutes; run it again on "
        "a quiet machine to measure it, or one case alone with `make bench CASE=" + results[0][0].name + "`. "
        "[README.md](README.md) says what is measured and how.",
        table(["", ""], [[name, value] for name, value in machine.description()]),
        f"Server on core {machine.SERVER_CORE}, load on core {machine.LOAD_CORE}, {options.rounds} rounds in turns of "
        f"{options.seconds:g} s, medians; ratios are those of neighbours in time. 50 connections and values of 100 "
        "bytes unless a case says otherwise. CPU is user and system time of all the server's threads. "
        + disturbance(),
        f"## Bars\n\n{counts[True]} met, {counts[False]} missed, {counts[None]} not judged on this machine.",
        bars_table(bars),
    ]
    return "\n\n".join(parts) + "\n\n" + "\n".join(render(result, bars=False) for _, result in results)


def disturbance():
    """How much else ran on the server's core."""
    disturbed = sum(wait > 0.02 for wait in waits)
    return (f"In {disturbed} of {len(waits)} turns the server waited more than 2 % of the time for its core because "
            f"something else ran there (median {100 * statistics.median(waits):.1f} %).")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="", help="names of cases with commas between them; " +
                        ", ".join(case.name for case in CASES))
    parser.add_argument("--quick", action="store_const", dest="size", const="quick", default="full")
    parser.add_argument("--smoke", action="store_const", dest="size", const="smoke")
    parser.add_argument("--output", help="where to write the results (default: RESULTS.md, for a run of all cases)")
    arguments = parser.parse_args()
    options = OPTIONS[arguments.size]
    names = [name for name in arguments.case.split(",") if name]
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    if machine.core_count() < 2:
        parser.error("a core for the server and one for the load are needed")
    # Servers are ended however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results, failed, began = [], [], time.monotonic()
    for case in CASES:
        if names and case.name not in names:
            continue
        started = time.monotonic()
        try:
            result = case.run(options)
        except (LoadFailed, RuntimeError, OSError) as error:
            failed.append(case.name)
            print(f"{case.name} failed: {error}\n", file=sys.stderr, flush=True)
            continue
        results.append((case, result))
        print(render(result) + f"\n({case.name}: {time.monotonic() - started:.0f} s)\n", flush=True)
    if results and (arguments.output or not names):
        text = document(results, options, time.monotonic() - began)
        if failed:
            text += f"\nThese cases failed and are missing: {', '.join(failed)}.\n"
        path = Path(arguments.output or HERE / "RESULTS.md")
        path.write_text(text)
        print(f"wrote {os.path.relpath(path)}")
    if not names and results:
        print("\n" + bars_table([bar for _, result in results for bar in result.bars]) + "\n\n" + disturbance())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
