"""Clients that use a cluster and write down what they asked and what they were told, and a check of what they noted.

A history is a file with one JSON object per line, for each request: see Sources/Simulator/Simulator.docc/Histories.md,
whose checker (`simulate --verify FILE`) decides whether it is linearizable. The check here is a second one that has
nothing in common with it, cheap and easy to understand, and knows rules that single keys don't tell: no acknowledged
write is lost or seen before it was made, nothing refused is ever seen, what was overwritten isn't seen again, counters
count every acknowledged increment exactly once, a revision stands for one value.

It needs values that are written once, keys that begin with "c" for counters that are incremented by one and never
removed, and other keys for everything else.
"""

import bisect
import itertools
import json
import random
import threading
import time

from http1 import Closed, Connection
from node import lasts, until

# How long a client waits for an answer before it gives it up.
PATIENCE = 4.0
READ = "read=linearizable&timeout=2s"


class Client(threading.Thread):
    """One that does one operation after the other, on connections of its own to all nodes."""

    def __init__(self, number, recorder, seed):
        super().__init__(daemon=True)
        self.number = number
        self.recorder = recorder
        self.chance = random.Random(seed)
        self.connections = {}
        self.seen = {}
        self.made = 0
        self.current = None

    def run(self):
        while not self.recorder.is_over:
            began = time.monotonic()
            try:
                self._step()
            except Exception as error:  # the test fails by it
                self.recorder.errors.append(error)
                return
            rest = self.recorder.pace - (time.monotonic() - began)
            if rest > 0:
                lasts(rest)
        for connection in self.connections.values():
            connection.close()

    def _step(self):
        chance, again = self.chance.random(), self.chance.random() < 0.6
        if chance < 0.3:
            key = f"c{self.chance.randrange(self.recorder.counters)}"
            if chance < 0.1:
                return self._do("get", key, "GET", READ)
            return self._do("incr", key, "POST", "op=incr&timeout=2s", b"", again)
        key = f"r{self.chance.randrange(self.recorder.registers)}"
        if chance < 0.6:
            return self._do("get", key, "GET", READ)
        if chance < 0.66:
            return self._do("delete", key, "DELETE", "timeout=2s", None, again)
        self.made += 1
        value = f"{self.number}-{self.made}"
        condition = self.seen.get(key) if chance < 0.8 else None
        concern = "all" if chance > 0.96 else "majority"
        self._do("put", key, "PUT", f"timeout=2s&w={concern}", value, again, condition, concern)

    def _do(self, op, key, method, query, value=None, again=False, condition=None, concern=None):
        """One operation; with `again` it is sent until its fate is known, with an idempotency key."""
        headers = {"If-Match": condition} if condition else {}
        if again:
            headers["Idempotency-Key"] = f"{self.recorder.name}-{self.number}-{time.monotonic_ns()}"
        for attempt in itertools.count(1):
            line = {"client": self.number, "key": key, "op": op, "call": time.monotonic_ns()}
            if op == "put":
                line.update(value=value, w=concern)
            if condition:
                line["if_match"] = condition
            if again:
                line["id"] = headers["Idempotency-Key"]
            body = value.encode() if op == "put" else value
            node, answer, was_sent = self._attempt(method, f"/{key}?{query}", body, headers)
            if answer is not None or was_sent:
                self._note(line, node, answer)
            isKnown = answer is not None and answer.status < 500 and answer.status not in (421, 429)
            if isKnown or not again or attempt == 20 or self.recorder.is_over:
                return
            lasts(min(0.5, 0.02 * 2 ** attempt))

    def _note(self, line, node, answer):
        line["node"] = str(node.host)
        line["status"] = answer.status if answer is not None else 0
        self.recorder.lines.append(line)
        self.seen.pop(line["key"], None)
        if answer is None:
            return
        line["etag"] = answer.header("etag")
        assert answer.status in (200, 201, 204, 404, 412, 421, 429, 503, 504, 507), (line, answer.body[:300])
        if answer.status < 300 and line["op"] in ("get", "incr"):
            line["value"] = answer.body.decode()
        if answer.status < 300 and line["op"] in ("get", "put") and line["etag"]:
            self.seen[line["key"]] = line["etag"]
        line["return"] = time.monotonic_ns()

    def _attempt(self, method, target, body, headers):
        """Asks the node that answered last, or another one; tells which, the answer, and whether anything was sent."""
        nodes = self.recorder.nodes()
        if self.current not in nodes or self.chance.random() < 0.05:
            self.current = self.chance.choice(nodes)
        node = self.current
        connection = self.connections.get(node)
        if connection is None:
            try:
                connection = self.connections[node] = self.recorder.connect(node)
            except OSError:
                self.current = None
                lasts(0.02)
                return node, None, False
        try:
            answer = connection.call(method, target, body, headers)
            if answer.header("connection") == "close":
                self._leave(node)
            elif answer.status >= 500:
                self.current = None
            return node, answer, True
        except (Closed, OSError):
            self._leave(node)
            return node, None, True

    def _leave(self, node):
        self.connections.pop(node).close()
        self.current = None


class Recorder:
    """So many clients on a host of their own, from `start` to `stop`."""

    def __init__(self, cluster, host, clients=6, registers=10, counters=4, pace=0.006, seed=1):
        self.name = f"h{seed}"
        self.cluster = cluster
        self.host = host
        self.registers, self.counters = registers, counters
        self.pace = pace
        self.lines = []
        self.errors = []
        self.is_over = False
        self.clients = [Client(number, self, seed * 1000 + number) for number in range(clients)]

    def nodes(self):
        return list(self.cluster.nodes.values())

    def connect(self, node):
        return self.host.inside(lambda: Connection(node.address, timeout=PATIENCE))

    def start(self):
        for client in self.clients:
            client.start()

    def stop(self):
        self.is_over = True
        for client in self.clients:
            client.join(30)
            assert not client.is_alive()
        if self.errors:
            raise self.errors[0]

    def read_all(self, nodes, level):
        """Reads every key at every node; linearizable reads belong to the history. Returns what each node said."""
        keys = [f"r{number}" for number in range(self.registers)] + [f"c{number}" for number in range(self.counters)]
        found = {}
        for client, node in enumerate(nodes, 1000):
            for key in keys:
                line = {"client": client, "key": key, "op": "get", "call": time.monotonic_ns(), "read": level}
                # Links may have to be dialed again after a fault.
                answer = until(lambda: (answer := node.call("GET", f"/{key}?read={level}")).status != 503 and answer,
                               f"{key} can be read at {node.host}")
                assert answer.status in (200, 404), (answer.status, answer.body)
                line["value"] = answer.body.decode() if answer.status == 200 else None
                line.update(status=answer.status, etag=answer.header("etag"), node=str(node.host))
                line["return"] = time.monotonic_ns()
                if level == "linearizable":
                    self.lines.append(line)
                found.setdefault(key, []).append(line["value"])
        return found

    def write(self, path):
        with open(path, "w") as file:
            for line in sorted(self.lines, key=lambda line: line["call"]):
                file.write(json.dumps(line) + "\n")

    def summary(self):
        counts = {}
        for line in self.lines:
            outcome = line["status"] or "no answer"
            counts[outcome] = counts.get(outcome, 0) + 1
        return f"{len(self.lines)} requests, answered {dict(sorted(counts.items(), key=str))}"


# The check.

INFINITY = float("inf")
UNKNOWN = (0, None, 408, 500, 502, 504)


class Operation:
    """One operation: a request, or several with one idempotency key."""

    def __init__(self, line):
        self.op, self.key, self.start = line["op"], line["key"], line["call"]
        self.end = INFINITY
        self.value = line.get("value") if self.op == "put" else None
        self.status = None
        self.etag = None
        self.is_unknown = False
        self.lines = []

    def add(self, line):
        self.lines.append(line)
        status = line["status"]
        if status in UNKNOWN:
            self.is_unknown = True
        elif status < 300 or status in (404, 412):
            self.status, self.etag, self.end = status, line.get("etag"), line["return"]
            if self.op in ("get", "incr"):
                self.value = line.get("value") if status < 300 else None

    @property
    def is_known(self):
        """Whether it was executed, and the answer says how."""
        return self.status is not None

    @property
    def has_written(self):
        """Whether it surely changed the key."""
        return self.op != "get" and self.is_known and self.status < 300

    @property
    def may_have_written(self):
        return self.has_written or self.op != "get" and not self.is_known and self.is_unknown

    def __repr__(self):
        return json.dumps(self.lines)


def operations(lines):
    """The operations of a history, attempts of one together."""
    made, by_id = [], {}
    for line in sorted(lines, key=lambda line: line["call"]):
        operation = by_id.get(line.get("id"))
        if operation is None:
            operation = Operation(line)
            made.append(operation)
            if "id" in line:
                by_id[line["id"]] = operation
        operation.add(line)
    return made


def violations(lines):
    """What breaks a rule, as sentences; none for a history of a cluster that keeps its promises."""
    found = []
    by_key = {}
    for operation in operations(lines):
        by_key.setdefault(operation.key, []).append(operation)
    for key, of_key in sorted(by_key.items()):
        found += revisions(key, of_key)
        found += (counter if key[0] == "c" else register)(key, of_key)
    return found


def revisions(key, of_key):
    """A revision stands for one value, whoever reads it, and whatever node answers."""
    values = {}
    for operation in of_key:
        if operation.is_known and operation.status < 300 and operation.etag and operation.op != "delete":
            known = values.setdefault(operation.etag, operation.value)
            if known != operation.value:
                yield f"{key}: revision {operation.etag} is {known} and {operation.value}"


def register(key, of_key):
    """What was read was written by somebody, and is not older than what was acknowledged or seen before."""
    writers = {operation.value: operation for operation in of_key if operation.op == "put"}
    removals = [operation for operation in of_key if operation.op == "delete" and operation.may_have_written]
    reads = [operation for operation in of_key if operation.op == "get" and operation.is_known]
    # (when it was sure that a write was made, when the write began, the operation that tells)
    made = [(operation.end, operation.start, operation) for operation in of_key if operation.has_written]
    for read in reads:
        if read.value in writers:
            made.append((read.end, writers[read.value].start, read))
    made.sort(key=lambda item: item[0])
    ends = [item[0] for item in made]
    # For each moment, the one of the writes surely made by then that began last.
    latest = list(itertools.accumulate(made, lambda a, b: b if b[1] > a[1] else a))
    for read in reads:
        index = bisect.bisect_left(ends, read.start)
        newest = latest[index - 1] if index else None
        if read.value is None:
            # Nothing was there: nothing had been written, or it was removed by one that may have come later.
            if newest and not any(removal.end >= newest[1] and removal.start < read.end for removal in removals):
                yield f"{key}: lost: nobody removed what {newest[2]} tells of, but {read} sees nothing"
            continue
        writer = writers.get(read.value)
        if writer is None:
            yield f"{key}: nobody wrote what {read} sees"
        elif not writer.may_have_written:
            yield f"{key}: {writer} had no effect, but {read} sees it"
        elif writer.start > read.end:
            yield f"{key}: {read} sees {writer} before it began"
        elif newest and writer.end < newest[1]:
            yield f"{key}: stale or lost: {read} sees {writer}, but {newest[2]} tells of a later one"


def counter(key, of_key):
    """Each acknowledged increment counts once, and in the order of time."""
    told = [operation for operation in of_key if operation.is_known]
    numbers = {operation: int(operation.value or 0) for operation in told}
    added = [operation for operation in told if operation.op == "incr"]
    asked = sorted(operation.start for operation in of_key if operation.may_have_written)
    seen = {}
    for operation in added:
        if numbers[operation] in seen:
            yield f"{key}: {operation} and {seen[numbers[operation]]} count once"
        seen[numbers[operation]] = operation
    # Who ended before another began must have counted less.
    ended = sorted(told, key=lambda operation: operation.end)
    highest, index, done = 0, 0, 0
    for operation in sorted(told, key=lambda operation: operation.start):
        while index < len(ended) and ended[index].end < operation.start:
            highest = max(highest, numbers[ended[index]])
            done += ended[index].op == "incr"
            index += 1
        least = max(highest, done) + (operation.op == "incr")
        if numbers[operation] < least:
            yield f"{key}: {operation} counts less than {least}: {done} acknowledged, {highest} told before"
        most = bisect.bisect_left(asked, operation.end)
        if numbers[operation] > most:
            yield f"{key}: {operation} counts more than the {most} increments that had been asked for"
