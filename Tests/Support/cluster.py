"""Several kvd processes on hosts of a network of their own (see `namespaces`), and questions to all of them."""

import time
from concurrent.futures import ThreadPoolExecutor

from http1 import Closed
from node import Node, until


class Cluster:
    """Nodes, by the host they run on; what is still running at the end is killed with the network."""

    def __init__(self, network, io, cores=1):
        self.network = network
        self.io = io
        self.cores = cores
        self.nodes = {}

    def start(self, hosts=None, *arguments, is_ready=True, **options):
        """Starts a node on each host, all at once; returns them in the order of the hosts."""
        hosts = self.network.hosts if hosts is None else hosts

        def start(host):
            name = f"n{self.network.hosts.index(host) + 1}"
            return Node("--name", name, "--cores", str(self.cores), *arguments, io=self.io, host=host,
                        is_ready=is_ready, **{"memory": "64MiB", **options})

        with ThreadPoolExecutor(len(hosts)) as pool:
            started = list(pool.map(start, hosts))
        for host, node in zip(hosts, started):
            self.nodes[host] = node
        return started

    def start_in_step(self, *arguments, copies=3):
        """Starts a node on each host and waits until they are one cluster and hold copies of everything."""
        nodes = self.start(None, *arguments)
        self.until_one(nodes)
        until(lambda: all(node.call("PUT", f"/warm{number}?w={copies}", "1").status in (200, 201)
                          for node in nodes for number in range(20)), "all copies in step", 20)
        return nodes

    def __iter__(self):
        return iter([node for node in self.nodes.values() if node.process.poll() is None])

    def kill(self, node):
        """As a machine that loses power."""
        node.process.kill()
        node.process.wait(20)

    def status(self, node):
        """What `GET /` says; None where nobody answers."""
        try:
            return node.call("GET", "/").json()
        except (Closed, OSError):
            return None

    def view(self, node):
        return node.call("GET", "/v1/cluster").json()

    def holds(self, node, key):
        """Whether a node has a copy of a key's partition."""
        ring = node.call("GET", f"/v1/ring?key={key[1:]}").json()
        return self.status(node)["node"]["name"] in [ring["owner"], *ring["synced"]]

    def geese(self, nodes=None):
        """The nodes that say that they lead."""
        nodes = list(self if nodes is None else nodes)
        return [node for node in nodes if (self.status(node) or {}).get("status") == "goose"]

    def is_one(self, nodes=None, size=None):
        """Whether all are active members of one cluster of `size` and follow the same goose, who says so, too."""
        nodes = list(self if nodes is None else nodes)
        size = size or len(nodes)
        states = [self.status(node) for node in nodes]
        if not all(states) or len({(state["cluster"]["id"], state["leader"]) for state in states}) != 1:
            return False
        if not all(state["quorum"] and state["node"]["state"] == "active" for state in states):
            return False
        names = [state["node"]["name"] for state in states]
        geese = [state["node"]["name"] for state in states if state["status"] == "goose"]
        if geese != [name for name in names if name == states[0]["leader"]]:
            return False
        for node in nodes:
            members = self.view(node)["members"]
            # A founder's name and HTTP address follow its membership.
            active = [member for member in members if member["state"] == "active"]
            if len(members) != size or len(active) < len(nodes) or not all(member["http"] for member in members):
                return False
        return True

    def is_balanced(self, nodes):
        """Whether all nodes are active members and hold three copies of everything together, each its share."""
        states = [self.status(node) for node in nodes]
        if not all(state and state["quorum"] and state["node"]["state"] == "active" for state in states):
            return False
        members = self.view(nodes[0])["members"]
        return len(members) == len(nodes) and sum(member["replicas"] for member in members) == 3 * 1024 and all(
            member["partitions"] > 200 for member in members)

    def until_one(self, nodes=None, size=None, seconds=15.0):
        """Waits until they are one cluster; returns how long that took."""
        began = time.monotonic()
        try:
            until(lambda: self.is_one(nodes, size), "one cluster", seconds)
        except AssertionError:
            raise AssertionError(self.report()) from None
        return time.monotonic() - began

    def goose(self, nodes=None, seconds=10.0):
        """The one node that leads."""
        return until(lambda: (geese := self.geese(nodes)) and len(geese) == 1 and geese[0], "one goose", seconds)

    def report(self):
        """What each node says and logged last, for a failure."""
        lines = []
        for host, node in self.nodes.items():
            lines.append(f"{host}: {node.process.poll()} {self.status(node) if node.process.poll() is None else ''}")
            lines += node.lines[-15:]
        return "\n".join(lines)

    def metric(self, node, name, **labels):
        """A number of a node's /metrics."""
        word = name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")
        for line in node.call("GET", "/metrics").body.decode().splitlines():
            if line.startswith(word + " "):
                return float(line.split()[-1])
        raise AssertionError(f"no {word} in /metrics")

    def stop(self):
        """Ends all of them at once."""
        for node in self:
            node.process.kill()
        for node in self.nodes.values():
            node.process.wait(20)
            node._reader.join(5)
            node.folder.cleanup()
        self.nodes.clear()
