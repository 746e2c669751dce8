"""Reading and writing whole values: methods, content types, revisions, conditions."""

import pytest


def test_a_key_is_created_replaced_read_and_deleted(node, key):
    assert node.call("GET", key).problem(404)
    created = node.call("PUT", key, b"one")
    assert created.status == 201
    replaced = node.call("PUT", key, b"two")
    assert replaced.status == 200
    assert replaced.etag != created.etag
    read = node.call("GET", key)
    assert (read.status, read.body, read.etag) == (200, b"two", replaced.etag)
    deleted = node.call("DELETE", key)
    assert (deleted.status, deleted.body) == (204, b"")
    assert node.call("GET", key).status == 404
    assert node.call("DELETE", key).problem(404)


def test_post_writes_like_put(node, key):
    assert node.call("POST", key, b"one").status == 201
    assert node.call("POST", key, b"two").status == 200
    assert node.call("GET", key).body == b"two"


def test_every_byte_value_is_stored(node, key):
    value = bytes(range(256)) * 5
    assert node.call("PUT", key, value).status == 201
    assert node.call("GET", key).body == value


@pytest.mark.parametrize("content_type", [
    "text/plain", "application/json", "text/html; charset=utf-8", "application/vnd.example+json;v=2", "image/png",
    'multipart/form-data; boundary="a b"', "application/x-www-form-urlencoded", "x/" + "y" * 200,
])
def test_the_content_type_is_stored_and_returned(node, key, content_type):
    assert node.call("PUT", key, b"{}", {"Content-Type": content_type}).status == 201
    assert node.call("GET", key).header("content-type") == content_type
    assert node.call("HEAD", key).header("content-type") == content_type


def test_a_replacement_replaces_the_content_type(node, key):
    node.call("PUT", key, b"<p>", {"Content-Type": "text/html"})
    node.call("PUT", key, b"a", {"Content-Type": "text/plain"})
    assert node.call("GET", key).header("content-type") == "text/plain"


def test_head_answers_what_get_would_without_the_body(node, key):
    node.call("PUT", key, b"12345", {"Content-Type": "text/plain"})
    get, head = node.call("GET", key), node.call("HEAD", key)
    assert head.status == 200 and head.body == b""
    ignored = ("date", "kvd-ttl")
    assert [f for f in head.fields if f[0] not in ignored] == [f for f in get.fields if f[0] not in ignored]
    assert head.header("content-length") == "5"
    assert node.call("HEAD", key + "-missing").status == 404


def test_the_default_map_is_the_root(node, key):
    node.call("PUT", key, b"value")
    assert node.call("GET", f"/v1/maps/default{key}").body == b"value"
    node.call("PUT", f"/v1/maps/default{key}", b"other")
    assert node.call("GET", key).body == b"other"


def test_maps_are_separate(node, key, map_path):
    node.call("PUT", key, b"here")
    assert node.call("PUT", map_path + key, b"there").status == 201
    assert node.call("GET", key).body == b"here"
    assert node.call("DELETE", key).status == 204
    assert node.call("GET", map_path + key).body == b"there"


def test_names_of_the_api_are_reachable_as_keys_of_the_map(node):
    for word in ("health", "livez", "readyz", "metrics", "messages", "v1/batch", "v1/maps/default/x"):
        path = f"/v1/maps/default/{word}"
        assert node.call("PUT", path, word.encode()).status in (200, 201), word
        assert node.call("GET", path).body == word.encode()
    assert node.call("GET", "/livez").body != b"livez"


def test_a_key_is_the_rest_of_the_path_percent_decoded(node, key):
    node.call("PUT", key + "/a/b", b"1")
    assert node.call("GET", key + "/a%2fb").body == b"1"
    assert node.call("GET", key + "/%61/b").body == b"1"
    assert node.call("GET", key + "/a%2Fb").body == b"1"
    node.call("PUT", key + "/%C3%BC", b"umlaut")
    assert node.call("GET", key + "/%c3%bc").body == b"umlaut"
    node.call("PUT", key + "/a+b", b"plus")
    assert node.call("GET", key + "/a%2Bb").body == b"plus"
    assert node.call("GET", key + "/a%20b").status == 404


def test_dots_and_slashes_in_a_path_are_part_of_the_key(node, key):
    for rest in ("/../x", "/./x", "//x", "/x/", "/x//", "/~x"):
        assert node.call("PUT", key + rest, rest.encode()).status == 201, rest
    for rest in ("/../x", "/./x", "//x", "/x/", "/x//", "/~x"):
        assert node.call("GET", key + rest).body == rest.encode()


@pytest.mark.parametrize("tail", ["/%", "/%a", "/%zz", "/%0", "/a%2", "/%-1", "/% 1"])
def test_wrong_percent_encoding_is_refused(node, key, tail):
    node.call("GET", key + tail).problem(400)


def test_absolute_targets_are_taken(node, key):
    node.call("PUT", key, b"1")
    assert node.call("GET", f"http://kvd.test{key}").body == b"1"


class TestConditions:
    def test_if_match_compares_and_sets(self, node, key):
        first = node.call("PUT", key, b"1").etag
        second = node.call("PUT", key, b"2", {"If-Match": first})
        assert second.status == 200
        node.call("PUT", key, b"3", {"If-Match": first}).problem(412)
        assert node.call("GET", key).body == b"2"
        assert node.call("PUT", key, b"3", {"If-Match": f'"0-0-0", {second.etag}'}).status == 200

    def test_if_match_star_wants_a_value(self, node, key):
        node.call("PUT", key, b"1", {"If-Match": "*"}).problem(412)
        assert node.call("GET", key).status == 404
        node.call("PUT", key, b"1")
        assert node.call("PUT", key, b"2", {"If-Match": "*"}).status == 200

    def test_if_none_match_star_creates_only(self, node, key):
        assert node.call("PUT", key, b"1", {"If-None-Match": "*"}).status == 201
        node.call("PUT", key, b"2", {"If-None-Match": "*"}).problem(412)
        assert node.call("GET", key).body == b"1"

    def test_a_deleted_key_can_be_created_again(self, node, key):
        etag = node.call("PUT", key, b"1").etag
        node.call("DELETE", key)
        again = node.call("PUT", key, b"2", {"If-None-Match": "*"})
        assert again.status == 201 and again.etag != etag

    def test_delete_under_a_condition(self, node, key):
        first = node.call("PUT", key, b"1").etag
        second = node.call("PUT", key, b"2").etag
        node.call("DELETE", key, headers={"If-Match": first}).problem(412)
        assert node.call("DELETE", key, headers={"If-Match": second}).status == 204

    def test_an_unchanged_value_is_not_sent_again(self, node, key):
        etag = node.call("PUT", key, b"1").etag
        for condition in (etag, f"W/{etag}", f'"0-0-0", {etag}', "*"):
            for method in ("GET", "HEAD"):
                answer = node.call(method, key, headers={"If-None-Match": condition})
                assert (answer.status, answer.body, answer.etag) == (304, b"", etag)
        assert node.call("GET", key, headers={"If-None-Match": '"0-0-0"'}).status == 200

    def test_a_read_with_a_stale_if_match_fails(self, node, key):
        etag = node.call("PUT", key, b"1").etag
        node.call("PUT", key, b"2")
        assert node.call("GET", key, headers={"If-Match": etag}).status == 412

    def test_a_failed_condition_stops_edits_too(self, node, key):
        old = node.call("PUT", key, b'{"a":1}', {"Content-Type": "application/json"}).etag
        node.call("PUT", key, b'{"a":2}', {"Content-Type": "application/json"})
        stale = {"If-Match": old}
        node.call("PUT", key + "?at=/a", b"9", stale).problem(412)
        node.call("POST", key + "?op=append", b" ", stale).problem(412)
        node.call("PATCH", key, b'{"a":9}', {**stale, "Content-Type": "application/merge-patch+json"}).problem(412)
        assert node.call("GET", key).body == b'{"a":2}'

    def test_etags_of_one_key_grow(self, node, key):
        def order(etag):
            partition, epoch, offset = etag.strip('"').split("-")
            return int(partition), int(epoch), int(offset)

        seen = [order(node.call("PUT", key, b"%d" % i).etag) for i in range(20)]
        assert len({partition for partition, _, _ in seen}) == 1
        assert seen == sorted(set(seen))


@pytest.mark.parametrize("query", ["w=1", "w=majority", "w=all", "w=1&timeout=2s", "w=all&timeout=500ms"])
def test_a_lone_node_meets_every_concern_it_can(node, key, query):
    assert node.call("PUT", f"{key}?{query}", b"1").status == 201


def test_a_concern_that_the_cluster_cannot_meet_is_not_applied(node, key):
    members = node.call("PUT", key + "?w=2", b"1").problem(503)
    assert "not applied" in (members["title"] + members["detail"]).lower()
    assert node.call("GET", key).status == 404


@pytest.mark.parametrize("query", ["read=local", "read=committed", "read=linearizable"])
def test_every_kind_of_read_is_answered(node, key, query):
    node.call("PUT", key, b"1")
    assert node.call("GET", f"{key}?{query}").body == b"1"


def test_a_revision_serves_as_a_lower_bound_for_reads(node, key):
    revision = node.call("PUT", key, b"1").etag.strip('"')
    assert node.call("GET", f"{key}?min-revision={revision}").body == b"1"


@pytest.mark.parametrize("query", ["w=0", "w=-1", "w=many", "w=", "read=dirty", "timeout=soon", "timeout=-1s",
                                   "min-revision=1-2", "min-revision=a-b-c"])
def test_wrong_query_values_are_refused(node, key, query):
    method = "GET" if query.startswith(("read", "min")) else "PUT"
    node.call(method, f"{key}?{query}", b"1" if method == "PUT" else None).problem(400)
