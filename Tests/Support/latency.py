"""How long requests take on a machine whose processors others have now and then.

A virtual machine's processor is away for some milliseconds at a time, and every latency has that in it. So two kinds of
process run beside a test, both from this file: a `probe` sends requests at fixed times and notes how long each took
from when it was due, and a `watch` notes when its processor was away. `undisturbed` are the samples that no such time
touches.
"""

import bisect
import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time

# From how many seconds a processor that didn't run its most urgent process was away. The longest that the kernel itself
# keeps everyone waiting, a large send or a batch of packets, is less.
AWAY = 0.001


def confined(*processors, before=0):
    """What a process begins with: its processors, and that it goes before the others there."""
    def begin():
        os.sched_setaffinity(0, processors)
        # Without the right to it (containers) it waits with the others.
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, -before)

    return begin


class Process:
    """A process of this file, which has begun, and says what it found when it is told to stop."""

    def __init__(self, *arguments, host=None, begin=None):
        command = [sys.executable, __file__, *map(str, arguments)]
        start = host.popen if host else subprocess.Popen
        self.process = start(command, stdout=subprocess.PIPE, text=True, preexec_fn=begin)
        # Until then it takes the processor for itself.
        self.process.stdout.readline()

    def stop(self):
        self.process.terminate()
        text, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, text[-1000:]
        return json.loads(text)


def watch(processor):
    """Spans of time, each `[from, to]`, in which the processor is away until `stop`."""
    return Process("watch", begin=confined(processor, before=20))


@contextlib.contextmanager
def watching(processors):
    """A list that has, once the body is left, the spans of time in which each of these processors was away."""
    watches = [watch(processor) for processor in processors]
    absences = []
    try:
        yield absences
    finally:
        absences += [process.stop() for process in watches]


def probe(host, address, workload, rate, keys, begin):
    """Reads (`get`) or writes (`put`) of keys of `kvd bench`: each `[due, seconds]`, until `stop`."""
    return Process("probe", *address, workload, rate, keys, host=host, begin=begin)


def undisturbed(samples, *absences):
    """Seconds of those samples that no absence touches, nor as much time after it: what had to wait is served then."""
    spans = sorted((start, 2 * end - start) for spans in absences for start, end in spans)
    # Up to when any of the spans so far lasts, so that one look behind suffices.
    ends = []
    for _, end in spans:
        ends.append(max(end, ends[-1]) if ends else end)
    found = []
    for due, seconds in samples:
        place = bisect.bisect_right(spans, (due + seconds, math.inf))
        if place == 0 or ends[place - 1] < due:
            found.append(seconds)
    return found


def percentile(share, values):
    """The least of the values that this share of them doesn't exceed."""
    values = sorted(values)
    return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def _before_everyone(priority):
    # At once: the scheduler would let the others finish their turn, however nice they are. Where that isn't allowed,
    # their turns count as absences, and are in the samples.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))


def _watch(is_over):
    _before_everyone(2)
    interval = 0.001
    spans = []
    before = time.monotonic()
    while not is_over(interval):
        now = time.monotonic()
        if now - before > interval + AWAY:
            spans.append((before, now))
        before = now
    return spans


def _probe(is_over, host, port, workload, rate, keys):
    # Not by `http1.Connection`, which checks each answer thoroughly: what a probe takes itself is in every latency, and
    # would make a join's share of it look smaller.
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _before_everyone(1)
    interval, keys = 1 / float(rate), int(keys)
    body = bytes(100)
    samples = []
    due, key = time.monotonic(), 0
    while True:
        due += interval
        if is_over(max(due - time.monotonic(), 0)):
            return samples
        # All over the key space, each run the same.
        key = (key + 7_919_993) % keys
        name = f"/key-{key:012}"
        head = f"GET {name} HTTP/1.1\r\nHost: kvd\r\n\r\n" if workload == "get" else \
            f"PUT {name} HTTP/1.1\r\nHost: kvd\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + (b"" if workload == "get" else body))
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = connection.recv(65536)
            assert received, answer
            answer += received
        head, rest = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 20"), head
        left = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        left -= len(rest)
        while left > 0:
            left -= len(connection.recv(65536)) or sys.exit("closed within an answer")
        samples.append((due, time.monotonic() - due))


def _main(kind, *arguments):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    parent = os.getppid()

    def is_over(seconds):
        # Nobody reads what an orphan found.
        return signal.sigtimedwait({signal.SIGTERM}, seconds) is not None or os.getppid() != parent

    print("begins", flush=True)
    print(json.dumps(_watch(is_over) if kind == "watch" else _probe(is_over, *arguments)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
