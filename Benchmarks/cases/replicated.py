"""Writes that several nodes hold before they are answered: what that costs, against one node and against peers."""

from contextlib import ExitStack

from harness import clusters, servers
from harness.load import Load, measure
from harness.profile import profile
from harness.results import Result, Samples, at_most, format_microseconds

from cases.throughput import Contender, Throughput, against

ONE = {"kvd, 1 node": servers.kvd, "kvd, 3 nodes": clusters.kvd_nodes}
PEERS = {"redis": servers.redis, "redis, 1 replica, WAIT 1": clusters.redis_with_replica,
         "etcd, 3 nodes": clusters.etcd_nodes}
NOTE = ("All processes of a cluster share core 0, so that what three machines would do at once happens one after "
        "another here; CPU is that of all of them. etcd keeps its files in memory (tmpfs) and takes puts as JSON over "
        "HTTP from wrk; redis keeps none and confirms with a WAIT behind each SET.")
NULL_NOTE = "null hands what it receives to two followers and answers once one has said that it has it."
TIMES_NOTE = "Twice as many rounds as usual, each half as long."


class Latency:
    """One connection, one write at a time: how long until a majority has it."""

    name = "replicated-p50"
    title = "Replicated PUT, one connection, one at a time"

    def run(self, options):
        starts = {**ONE, **PEERS}
        load = Load(workload="put", connections=1, keys=1)
        with ExitStack() as stack:
            running = {name: stack.enter_context(start()) for name, start in starts.items() if options.has(name)}
            cluster = running["kvd, 3 nodes"]
            loads = {
                "kvd, 1 node": ("kvd, 1 node", load),
                "kvd, 3 nodes, key of the node asked": ("kvd, 3 nodes", load.but(prefix=cluster.prefix(True))),
                "kvd, 3 nodes, key of another": ("kvd, 3 nodes", load.but(prefix=cluster.prefix(False))),
                **{name: (name, load) for name in PEERS if name in running}}
            for name, change in (("redis, 1 replica, WAIT 1", {"wait": 1}), ("etcd, 3 nodes", {"to_owners": True})):
                if name in loads:
                    loads[name] = (name, load.but(**change))
            reports = {name: [] for name in loads}
            for _ in range(options.rounds):
                for name, (server, own) in loads.items():
                    reports[name].append(measure(running[server], own, 0.5 * options.seconds)["latency"])
            result = self.result(reports)
            if result.is_missed and options.profiles:
                name = "kvd, 3 nodes, key of another"
                result.explain(profile(cluster, loads[name][1], options.seconds), name)
        return result

    def result(self, reports):
        samples = {name: {p: Samples([latency[p] for latency in ofone]) for p in ("p50", "p99")}
                   for name, ofone in reports.items()}
        base = samples["kvd, 1 node"]["p50"]
        result = Result(self.title, ["server", "p50 us", "range", "to one node", "p99 us"], notes=[NOTE])
        for name, ofone in samples.items():
            bounds = "–".join(format_microseconds(bound) for bound in (min(ofone["p50"].values),
                                                                        max(ofone["p50"].values)))
            result.rows.append([name, format_microseconds(ofone["p50"].median), bounds,
                                f"{ofone['p50'].over(base).median:.2f}x", format_microseconds(ofone["p99"].median)])
        for what, name in (("at its owner", "kvd, 3 nodes, key of the node asked"),
                           ("passed on to its owner", "kvd, 3 nodes, key of another")):
            result.bars.append(at_most(f"PUT, w=majority on 3 nodes, {what}, p50 to one node",
                                       samples[name]["p50"].over(base), 2.5))
        return result


# Keys of all nodes: where one of them is asked, two of three writes are passed on to their owners.
PUT = Load(workload="put", keys=100_000)
ASKED = "kvd, 3 nodes, one asked"
OWNERS = "kvd, 3 nodes, owners asked"
NULL = "null, 3 nodes"
# Its leader owns all keys.
ETCD_LEADER = "etcd, 3 nodes, leader asked"
ETCD = "etcd, 3 nodes, all asked"


# etcd takes as many puts into one round as there are, which come from many clients: with 50 it does a tenth less per
# processor second, with 512 no more.
MANY = 256


def contenders(etcd_connections):
    return {
        "kvd, 1 node": Contender(servers.kvd, {}),
        OWNERS: Contender(clusters.kvd_nodes, {"to_owners": True}),
        ASKED: Contender(clusters.kvd_nodes, {}),
        NULL: Contender(clusters.null_nodes, {}, fills=False),
        "redis": Contender(servers.redis, {}),
        "redis, 1 replica, WAIT 1": Contender(clusters.redis_with_replica, {"wait": 1}),
        ETCD_LEADER: Contender(clusters.etcd_nodes, {"connections": etcd_connections, "to_owners": True}, fills=False),
        ETCD: Contender(clusters.etcd_nodes, {"connections": etcd_connections}, fills=False),
    }


def bars(how):
    """To etcd, asked alike: who asks kvd's owners to whoever asks the leader; and plain HTTP clients, two of three of
    whose writes must be passed on in either cluster."""
    return tuple(against(f"PUT, w=majority on 3 nodes, {how}, {asked} asked, to etcd's {others}", other, 20, mine=mine)
                 for asked, mine, others, other in (("owners", OWNERS, "leader", ETCD_LEADER),
                                                    ("one node", ASKED, "nodes, asked alike", ETCD)))


def throughput(name, how, load, etcd_connections, *notes):
    return Throughput(name, f"Replicated PUT, {how}", load, contenders(etcd_connections), bars(how),
                      (f"{NOTE} {NULL_NOTE} {TIMES_NOTE}", *notes), first=OWNERS, share=0.5, times=2, mark=NULL)


CASES = [
    Latency(),
    throughput("replicated-put", "50 connections, one at a time", PUT, 50),
    throughput("replicated-put-many", f"{MANY} connections, one at a time", PUT.but(connections=MANY), MANY),
    throughput("replicated-put-p16", "50 connections, 16 pipelined", PUT.but(pipeline=16), MANY,
               f"Each as it does most: etcd's requests aren't pipelined, as its users' clients don't do that, but come "
               f"from {MANY} connections."),
]
