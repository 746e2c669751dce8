"""What a failover drops of writes that were acknowledged by one node alone is listed at /v1/lost, on every node."""

import time

from node import until

HOSTS = 3


def lost(node, query=""):
    return node.call("GET", "/v1/lost" + query).json()


def key_of(node, name, prefix="k"):
    """A key whose partition the node of this name owns."""
    return next(f"{prefix}{number}" for number in range(10_000)
                if node.call("GET", f"/v1/ring?key={prefix}{number}").json()["owner"] == name)


def test_exactly_the_write_of_an_owner_that_was_cut_off_is_listed(cluster):
    nodes = cluster.start()
    cluster.until_one(nodes)
    until(lambda: all(node.call("PUT", f"/warm{number}?w=all", "1").status in (200, 201)
                      for number, node in enumerate(nodes)), "all copies in step")
    goose = cluster.goose()
    victim = next(node for node in nodes if node is not goose)
    others = [node for node in nodes if node is not victim]
    host = next(host for host, node in cluster.nodes.items() if node is victim)
    name = cluster.status(victim)["node"]["name"]
    key, safe = key_of(victim, name), key_of(victim, name, "safe")
    for path in (key, safe):
        assert victim.call("PUT", f"/{path}", "old").status == 201
    cluster.network.isolate(host)
    with victim.connect() as connection:
        # Its lease lasts a little longer.
        answer = connection.call("PUT", f"/{key}?w=1", b"lost")
        assert answer.status == 200
        revision = answer.etag.strip('"')
    until(lambda: others[0].call("GET", f"/v1/ring?key={key}").json()["owner"] != name, "a failover", 20)
    until(lambda: others[0].call("PUT", f"/{safe}", "new").status == 200, "a write at the next owner", 20)
    cluster.network.heal()
    until(lambda: lost(others[0])["lost"], "the write in the ledger", 25)
    cluster.until_one(nodes)
    for node in nodes:
        page = until(lambda node=node: (answer := lost(node))["missing"] == [] and answer, "all ledgers")
        entry, = page["lost"]
        assert entry["key"] == key and entry["map"] == "default" and entry["operation"] == "put"
        assert entry["revision"] == revision == f"{entry['partition']}-{entry['epoch']}-{entry['offset']}"
        assert entry["node"] == name and entry["failover"]["epoch"] > entry["epoch"]
        assert entry["failover"]["owner"] in [cluster.status(other)["node"]["name"] for other in others]
        assert entry["written"] <= entry["dropped"] <= time.time() * 1000 + 1000
        assert sorted(page["nodes"]) == sorted(cluster.status(node)["node"]["name"] for node in nodes)
        assert page["total"] == 1 and page["next"] is None
        assert node.call("GET", f"/{key}").body == b"old"
        assert node.call("GET", f"/{safe}").body == b"new"
    assert [event for event in victim.events_named("acknowledged write lost")][0]["revision"] == revision
    cluster.kill(victim)
    until(lambda: lost(others[0])["missing"] == [name], "the name of a node that can't be asked")
