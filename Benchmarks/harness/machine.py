"""This machine: what it is, and what processes on it use."""

import datetime
import os
import platform
import re
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("KVD_BINARY", ROOT / ".build/release/kvd"))
MICRO = BINARY.with_name("micro")
WORK = ROOT / ".build/bench"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

SERVER_CORE = "0"
LOAD_CORE = "1"


def core_count():
    return len(os.sched_getaffinity(0))


def pinned(cores, command):
    """The command, confined to these cores."""
    return ["taskset", "-c", cores, *map(str, command)]


def cpu_seconds(pid):
    """User and system time of all threads of a process so far, in steps of a clock tick (proc(5), /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def waited_seconds(pid):
    """How long threads of a process have been ready and waited for their core because others ran on it
    (/proc/PID/task/TID/schedstat)."""
    waited = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        waited += int(stat.read_text().split()[1])
    return waited / 1e9


def resident_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def settled_bytes(pid, still=3, most=20):
    """What a process has resident once it hasn't grown or shrunk by 1 % for `still` seconds (waits `most` at most)."""
    began = since = time.monotonic()
    last = resident_bytes(pid)
    while time.monotonic() - since < still and time.monotonic() - began < most:
        time.sleep(0.1)
        if abs((size := resident_bytes(pid)) - last) > last / 100:
            last, since = size, time.monotonic()
    return resident_bytes(pid)


def resident_parts(pid):
    """What a process has resident, by kind, the largest first: its program and libraries (clean pages of files, which
    the kernel shares and drops when it must), the largest mapping of its own, and the rest (/proc/PID/smaps)."""
    files, own = 0, []
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            name = line.split(None, 5)[5] if len(line.split(None, 5)) > 5 else ""
        elif line.startswith("Rss:"):
            size = 1024 * int(line.split()[1])
            if name.startswith("/"):
                files += size
            else:
                own.append(size)
    largest = max(own)
    return sorted([("program and libraries", files), ("the store", largest), ("all else", sum(own) - largest)],
                  key=lambda part: -part[1])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def first_line(command):
    """What a command prints first, "" if it isn't there or fails."""
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10)
        return run.stdout.splitlines()[0].strip()
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return ""


def description():
    """Lines of (name, value) that say what was measured where."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^(?:model name|Model)\s*: (.*)$", info, re.M)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)
    redis = re.search(r"v=(\S+)", first_line(["redis-server", "--version"]))
    etcd = first_line(["etcd", "--version"]).rpartition(" ")[2]
    nginx = first_line(["nginx", "-v"]).rpartition("/")[2]
    commit = first_line(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
    changed = first_line(["git", "-C", str(ROOT), "status", "--porcelain", "--", "Sources", "Package.swift"])
    return [
        ("Date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("Processor", f"{model[1] if model else platform.machine()}, {core_count()} cores"),
        ("Memory", f"{int(memory[1]) / 2**20:.0f} GiB"),
        ("Kernel", f"Linux {platform.release()}"),
        ("kvd", (commit or "unknown commit") + (" with local changes" if changed else "")),
        ("Compared with", f"redis {redis[1] if redis else '?'}, nginx {nginx or '?'}, etcd {etcd or '?'}"),
    ]
