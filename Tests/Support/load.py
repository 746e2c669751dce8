"""Clients that send requests at fixed times, whatever the nodes do, and how long each took from when it was due."""

import math
import random
import threading
import time
from collections import Counter

from http1 import Closed, Connection
from node import lasts


class Load:
    """So many clients that send so many requests a second in all: half of them writes, all to keys of their own.

    A client stays with a node until that says `Connection: close`, can't be reached or answers 503. A request that was
    refused (503, or a connection that couldn't be opened) is sent again, to another node: its latency goes on. What
    isn't answered in any other way is in `failures`.
    """

    def __init__(self, cluster, host, rate=400, clients=8, keys=200, size=100, seed=1):
        self.cluster = cluster
        self.host = host
        self.interval = clients / rate
        self.keys = keys
        self.size = size
        # (when it was due, how long it took, whether it was a write), in seconds.
        self.answers = []
        # How often a request had to be sent again, by what it met.
        self.retries = Counter()
        self.failures = []
        # By key, the number that the last acknowledged write has; keys whose last write is in doubt have none.
        self.acknowledged = {}
        self._is_over = False
        self._threads = [threading.Thread(target=self._run, args=(number, random.Random(seed * 100 + number)))
                         for number in range(clients)]

    def start(self):
        for thread in self._threads:
            thread.start()
        return self

    def stop(self):
        self._is_over = True
        for thread in self._threads:
            thread.join(30)

    def _run(self, number, chance):
        node, connection = None, None
        due = time.monotonic() + chance.random() * self.interval
        count = 0
        while not self._is_over:
            due += self.interval
            rest = due - time.monotonic()
            if rest > 0:
                lasts(rest)
            count += 1
            key = f"load-{number}-{chance.randrange(self.keys)}"
            is_write = chance.random() < 0.5
            body = str(count).ljust(self.size).encode() if is_write else None
            while not self._is_over or is_write:
                sent = False
                try:
                    if connection is None:
                        nodes = [other for other in self.cluster.nodes.values() if other is not node]
                        node = chance.choice(nodes or [node])
                        address = node.address
                        connection = self.host.inside(lambda: Connection(address, timeout=10))
                    sent = True
                    answer = connection.call("PUT" if is_write else "GET", f"/{key}", body)
                except (Closed, OSError) as error:
                    if connection is not None:
                        connection.close()
                        connection = None
                    if sent:
                        self.failures.append((due, f"{key} {is_write} {error!r} {node.host}"))
                        self.acknowledged.pop(key, None)
                        break
                    self.retries["no connection"] += 1
                    lasts(0.002)
                    continue
                if (answer.header("connection") or "") == "close" or answer.status == 503:
                    connection.close()
                    connection = None
                if answer.status == 503:
                    detail = answer.json()["detail"]
                    self.retries[detail] += 1
                    lasts(0.002)
                    if time.monotonic() > due + 10:
                        self.failures.append((due, detail))
                        break
                    continue
                if answer.status not in (200, 201, 404):
                    self.failures.append((due, f"{answer.status} {answer.body[:200]}"))
                    self.acknowledged.pop(key, None)
                    break
                self.answers.append((due, time.monotonic() - due, is_write))
                if is_write:
                    self.acknowledged[key] = count
                break

    def percentile(self, share, since=0, until=math.inf, kind=(False, True)):
        """The latency, in milliseconds, that this share of requests due in a span of time didn't exceed; of writes
        alone (`kind` is `[True]`), of reads alone or of both."""
        times = sorted(took for due, took, is_write in list(self.answers) if since <= due < until and is_write in kind)
        assert times, "no answers"
        return times[min(len(times) - 1, math.ceil(share * len(times)) - 1)] * 1000

    def summary(self, since=0, until=math.inf):
        count = sum(since <= due < until for due, _, _ in list(self.answers))
        return f"{count} answers, p50 {self.percentile(0.5, since, until):.2f}, " \
            f"p99 {self.percentile(0.99, since, until):.2f}, p99.9 {self.percentile(0.999, since, until):.2f}, " \
            f"most {self.percentile(1, since, until):.1f} ms; sent again {dict(self.retries)}, " \
            f"failed {len(self.failures)}"

    def lost(self, nodes):
        """Keys of which a node doesn't have the last acknowledged write."""
        return [key for key, count in self.acknowledged.items() for node in nodes
                if (answer := node.call("GET", f"/{key}")).status != 200 or int(answer.body) != count]
