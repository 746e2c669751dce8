"""Where a server's processor time goes, for bars that are missed; needs perf (Debian's linux-perf)."""

import re
import shutil
import subprocess

from . import machine
from .load import measure
from .results import Profile

DATA = machine.WORK / "perf.data"
RECORD = ["perf", "record", "-q", "-e", "cpu-clock", "-o", str(DATA)]


def profile(server, load, seconds, lines=16):
    """The functions that use most of a server's time under a load; None without perf."""
    if not shutil.which("perf"):
        return None
    recorder = subprocess.Popen(
        [*RECORD, "-p", ",".join(map(str, server.pids))],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        measure(server, load, seconds)
    finally:
        recorder.terminate()
        recorder.wait(30)
    return summary(lines)


def profile_command(command, without=(), lines=16):
    """The same of a command that runs to its end; what is left of its time when these functions are left out."""
    if not shutil.which("perf"):
        return None
    machine.WORK.mkdir(parents=True, exist_ok=True)
    subprocess.run([*RECORD, "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return summary(lines, without)


def summary(lines, without=()):
    """What was recorded."""
    report = subprocess.run(
        ["perf", "report", "-i", str(DATA), "--no-children", "--stdio", "-w", "0,0,200", "--percent-limit", "0.01"],
        capture_output=True, text=True).stdout
    found = re.findall(r"^ +([\d.]+)% +\S+ +(\S+) +\[(.)\] (\S+)", report, re.M)
    kept = [entry for entry in found if not entry[3].startswith(tuple(without))] if without else found
    if not kept:
        return None
    total = sum(float(share) for share, *_ in kept) if without else 100
    found = [(f"{100 * float(share) / total:.2f}", *rest) for share, *rest in kept]
    names = demangled([symbol for *_, symbol in found[:lines]])
    top = "\n".join(f"{share:>6} %  {'kernel' if kind == 'k' else where:<12}  {name}"
                    for (share, where, kind, _), name in zip(found, names))
    parts = shares(found)
    words = ", ".join(f"{name} {100 * part:.0f} %" for name, part in parts.items())
    return Profile(f"{words}\n\n{top}", parts["kernel"])


def shares(found):
    """Which parts of the time the kernel, kvd itself and its libraries take."""
    sums = {"kernel": 0.0, "kvd": 0.0, "libraries": 0.0}
    for share, where, kind, _ in found:
        sums["kernel" if kind == "k" else "kvd" if where.startswith(("kvd", "micro")) else "libraries"] += float(share)
    return {name: part / sum(sums.values()) for name, part in sums.items()}


def demangled(symbols):
    """Swift's names as people write them."""
    run = subprocess.run(["swift", "demangle", "--compact", "--simplified"], input="\n".join(symbols),
                         capture_output=True, text=True)
    names = run.stdout.splitlines() if run.returncode == 0 else symbols
    return [re.sub(r"^(specialized |closure .* in |generic specialization .* of )+", "", name)[:90] for name in names]
