"""Clients that use a cluster and write down what they asked and what they were told, and a check of what they noted.

Every operation is one JSON object, a line of its own in a file:

    {"process": 3, "op": "put", "key": "r5", "value": "3-17", "start": 1200, "end": 1900, "outcome": "ok", …}

`start` and `end` are nanoseconds of one clock. An operation took effect between them, or not at all if its outcome is
"refused"; with "unknown" it has no `end`, and may take effect at any time after `start` or never. A value is written
by one operation only, so a read tells whose write it saw. The operations:

    put     {"value"}                   delete  {"found"}: whether there was something
    get     {"value"}: null for none    incr    {"value"}: the counter's new value, an integer
    cas     {"expected", "value", "swapped"}: put if the value is still the expected one

`revision` is the ETag of what was read or written; `idempotent` marks an operation that was sent again, with the same
Idempotency-Key, when its fate was unknown.

The check here looks at the history as a whole, and at single rules that are cheap to understand: no acknowledged write
is lost or seen before it was made, nothing refused is ever seen, a value that was overwritten isn't seen again, counters
count every acknowledged increment exactly once, a revision stands for one value. Linearizability in full is checked
by `simulate --verify FILE`.
"""

import bisect
import itertools
import json
import random
import threading
import time

from http1 import Closed, Connection

# Statuses by which an operation surely had no effect.
REFUSED = {421, 429, 503, 507}
# How long a client waits for an answer before it gives it up.
PATIENCE = 4.0


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
            except Exception as error:  # told to the test, which fails by it
                self.recorder.errors.append(error)
                return
            rest = self.recorder.pace - (time.monotonic() - began)
            if rest > 0:
                time.sleep(rest)
        for connection in self.connections.values():
            connection.close()

    def _step(self):
        chance = self.chance.random()
        if chance < 0.3:
            key = f"c{self.chance.randrange(self.recorder.counters)}"
            if self.chance.random() < 0.3:
                return self._do("get", key, "GET", f"/{key}?read=linearizable&timeout=2s")
            return self._do("incr", key, "POST", f"/{key}?op=incr&timeout=2s", b"", idempotent=self.chance.random() < 0.7)
        key = f"r{self.chance.randrange(self.recorder.registers)}"
        if chance < 0.6:
            return self._do("get", key, "GET", f"/{key}?read=linearizable&timeout=2s")
        if chance < 0.66:
            return self._do("delete", key, "DELETE", f"/{key}?timeout=2s", idempotent=self.chance.random() < 0.5)
        self.made += 1
        value = f"{self.number}-{self.made}"
        if chance < 0.8 and key in self.seen:
            expected, revision = self.seen[key]
            return self._do("cas", key, "PUT", f"/{key}?timeout=2s", value.encode(), {"If-Match": f'"{revision}"'},
                            expected=expected, value=value)
        return self._do("put", key, "PUT", f"/{key}?timeout=2s", value.encode(), idempotent=self.chance.random() < 0.5,
                        value=value)

    def _do(self, op, key, method, target, body=None, headers=None, idempotent=False, **noted):
        """One operation, and every further attempt if it has an idempotency key."""
        event = {"process": self.number, "op": op, "key": key, **noted, "start": time.monotonic_ns()}
        headers = dict(headers or {})
        if idempotent:
            headers["Idempotency-Key"] = f"{self.recorder.name}-{self.number}-{event['start']}"
            event["idempotent"] = True
        isUnknown = False
        for attempt in itertools.count(1):
            node, answer, was_sent = self._attempt(method, target, body, headers)
            if answer is not None and answer.status in REFUSED:
                outcome = "refused"
            elif answer is None and not was_sent:
                outcome = "refused"
            elif answer is None or answer.status == 504:
                outcome = "unknown"
            else:
                outcome = "ok"
            # What was sent before may be executed still, whatever becomes of a retry.
            isUnknown = isUnknown or outcome == "unknown"
            if outcome == "ok" or not idempotent or attempt == 20 or self.recorder.is_over:
                break
            time.sleep(min(0.5, 0.02 * 2 ** attempt))
        if outcome != "ok":
            outcome = "unknown" if isUnknown else "refused"
        event.update(node=node, outcome=outcome, attempts=attempt)
        if answer is not None:
            event["status"] = answer.status
        if outcome != "unknown":
            event["end"] = time.monotonic_ns()
        if outcome == "ok":
            self._note(event, answer)
        self.recorder.events.append(event)
        if outcome != "ok" and op == "get":
            self.seen.pop(key, None)

    def _note(self, event, answer):
        op, status = event["op"], answer.status
        revision = answer.header("etag")
        event["revision"] = revision.strip('"') if revision else None
        expected = {"get": (200, 404), "put": (200, 201), "delete": (204, 404), "incr": (200, 201),
                    "cas": (200, 412)}[op]
        assert status in expected, (event, answer.body[:300])
        if op == "get":
            value = answer.body.decode() if status == 200 else None
            event["value"] = int(value) if value is not None and event["key"][0] == "c" else value
        elif op == "delete":
            event["found"] = status == 204
        elif op == "incr":
            event["value"] = int(answer.body)
        elif op == "cas":
            event["swapped"] = status == 200
        if op in ("get", "put") and event["value"] is not None and revision:
            self.seen[event["key"]] = (event["value"], event["revision"])
        elif op == "cas" and event["swapped"]:
            self.seen[event["key"]] = (event["value"], event["revision"])
        elif op in ("cas", "get", "delete"):
            self.seen.pop(event["key"], None)

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
                time.sleep(0.02)
                return str(node.host), None, False
        try:
            answer = connection.call(method, target, body, headers)
            if answer.header("connection") == "close":
                self._leave(node)
            elif answer.status >= 500:
                self.current = None
            return str(node.host), answer, True
        except (Closed, OSError):
            self._leave(node)
            return str(node.host), None, True

    def _leave(self, node):
        self.connections.pop(node).close()
        self.current = None


class Recorder:
    """So many clients on a host of their own, from `start` to `stop`."""

    def __init__(self, cluster, host, clients=6, registers=10, counters=4, pace=0.005, seed=1):
        self.name = f"h{seed}"
        self.cluster = cluster
        self.host = host
        self.registers, self.counters = registers, counters
        self.pace = pace
        self.events = []
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
        """Reads every key at every node; these are part of the history when they ask for linearizable reads."""
        keys = [f"r{number}" for number in range(self.registers)] + [f"c{number}" for number in range(self.counters)]
        found = {}
        for process, node in enumerate(nodes, 1000):
            for key in keys:
                event = {"process": process, "op": "get", "key": key, "start": time.monotonic_ns(), "node": str(node.host)}
                answer = node.call("GET", f"/{key}?read={level}")
                assert answer.status in (200, 404), (answer.status, answer.body)
                value = answer.body.decode() if answer.status == 200 else None
                event["value"] = int(value) if value is not None and key[0] == "c" else value
                revision = answer.header("etag")
                event.update(end=time.monotonic_ns(), outcome="ok", status=answer.status,
                             revision=revision.strip('"') if revision else None)
                if level == "linearizable":
                    self.events.append(event)
                found.setdefault(key, []).append(event["value"])
        return found

    def write(self, path):
        with open(path, "w") as file:
            for event in sorted(self.events, key=lambda event: event["start"]):
                file.write(json.dumps(event) + "\n")

    def summary(self):
        counts = {}
        for event in self.events:
            counts[event["outcome"]] = counts.get(event["outcome"], 0) + 1
        retried = sum(event.get("attempts", 1) > 1 for event in self.events)
        return f"{len(self.events)} operations: {counts}, {retried} sent again"


def read(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


INFINITY = float("inf")


def violations(events):
    """What breaks a rule, as sentences; none for a history of a cluster that keeps its promises."""
    found = []
    by_key = {}
    for event in events:
        by_key.setdefault(event["key"], []).append(event)
    for key, of_key in sorted(by_key.items()):
        found += revisions(key, of_key)
        found += (counter if key[0] == "c" else register)(key, of_key)
    return found


def revisions(key, events):
    """A revision stands for one value, whoever reads it, and whatever node answers."""
    values = {}
    for event in events:
        has_value = event["op"] in ("get", "put", "incr") or event.get("swapped")
        if event["outcome"] == "ok" and event.get("revision") and has_value:
            known = values.setdefault(event["revision"], event["value"])
            if known != event["value"]:
                yield f"{key}: revision {event['revision']} is {known} and {event['value']}"


def register(key, events):
    """What was read must be a value that was written, and may not be older than what was acknowledged or seen before."""
    writers = {}
    # Until when a write surely was made, by its acknowledgement or by a read of it: (end, start) of each.
    done = []
    removals = []
    for event in events:
        if event["op"] in ("put", "cas"):
            writers[event["value"]] = event
        if event["op"] == "delete" and event["outcome"] != "refused" and event.get("found", True):
            removals.append(event)
        took_effect = event["op"] == "put" or event.get("swapped") or event.get("found")
        if event["outcome"] == "ok" and took_effect:
            done.append((event["end"], event["start"], event.get("value"), event))
    reads = [event for event in events if event["op"] == "get" and event["outcome"] == "ok"]
    for event in reads:
        if event["value"] is not None and event["value"] in writers:
            writer = writers[event["value"]]
            # Seen: its write was made before this read ended, and not before it was asked for.
            done.append((event["end"], writer["start"], event["value"], event))
    done.sort(key=lambda item: item[0])
    # For each moment, the latest start of a write that was surely made by then.
    ends, latest = [], []
    for item in done:
        best = item if not latest or item[1] > latest[-1][1] else latest[-1]
        ends.append(item[0])
        latest.append(best)

    def before(moment):
        index = bisect.bisect_left(ends, moment)
        return latest[index - 1] if index else None

    for event in reads:
        value = event["value"]
        newest = before(event["start"])
        if value is None:
            # Nothing was there: before the first write, or after a removal that may be later than what was made.
            if newest is not None and not any(removal.get("end", INFINITY) >= newest[1] and
                                              removal["start"] < event["end"] for removal in removals):
                yield f"{key}: lost: {newest[3]} was made, and nobody removed it, but {event} sees nothing"
            continue
        writer = writers.get(value)
        if writer is None:
            yield f"{key}: {value} was read by {event}, but nobody wrote it"
        elif writer["outcome"] == "refused":
            yield f"{key}: {writer} was refused, but is seen by {event}"
        elif writer["op"] == "cas" and writer["outcome"] == "ok" and not writer["swapped"]:
            yield f"{key}: {writer} swapped nothing, but is seen by {event}"
        elif writer["start"] > event["end"]:
            yield f"{key}: {writer} is seen before it began by {event}"
        elif newest is not None and writer.get("end", INFINITY) < newest[1]:
            yield f"{key}: stale or lost: {event} sees {writer} although {newest[3]} was made after it"


def counter(key, events):
    """Each acknowledged increment counts once, and in the order of time."""
    added = [event for event in events if event["op"] == "incr" and event["outcome"] == "ok"]
    unknown = [event for event in events if event["op"] == "incr" and event["outcome"] == "unknown"]
    reads = [event for event in events if event["op"] == "get" and event["outcome"] == "ok"]
    asked = sorted(event["start"] for event in added + unknown)
    seen = {}
    for event in added:
        if event["value"] in seen:
            yield f"{key}: {event} and {seen[event['value']]} count once"
        seen[event["value"]] = event
    # Who ended before another began must have counted less.
    told = sorted(added + reads, key=lambda event: event["end"])
    highest, index = 0, 0
    for event in sorted(added + reads, key=lambda event: event["start"]):
        while index < len(told) and told[index]["end"] < event["start"]:
            highest = max(highest, told[index]["value"] or 0)
            index += 1
        least = highest + (event["op"] == "incr")
        if (event["value"] or 0) < least:
            yield f"{key}: {event} counts less than {highest}, which was told before"
        made = bisect.bisect_left(asked, event["end"])
        if (event["value"] or 0) > made:
            yield f"{key}: {event} counts more than the {made} increments that had been asked for"
    if reads:
        last = max(reads, key=lambda event: event["end"])
        least = sum(event["end"] < last["start"] for event in added)
        if (last["value"] or 0) < least:
            yield f"{key}: {last} counts less than the {least} acknowledged increments"
