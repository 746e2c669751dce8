"""Many keys at once: listings, batches, and requests that are retried."""

import base64
import json
import random
import threading
from urllib.parse import quote

import pytest

from listing import listed, pages

JSON = {"Content-Type": "application/json"}


class TestListings:
    def test_a_map_without_keys(self, node, map_path):
        answer = node.call("GET", map_path).json()
        assert (answer["keys"], answer["next"]) == ([], None)

    def test_every_key_is_listed_once(self, node, map_path):
        names = [f"k{i}" for i in range(500)] + ["ü/ö", 'quote"and\\slash', "a b", "tab\tnew\nline", "/"]
        for name in names:
            assert node.call("PUT", f"{map_path}/{quote(name, safe='')}", b"1").status == 201
        node.call("DELETE", f"{map_path}/k7")
        names.remove("k7")
        for limit in (1, 7, 100, 10_000):
            found = listed(node, map_path, limit=limit)
            assert sorted(found) == sorted(names), limit
        assert all(len(page) <= 7 for page in pages(node, map_path, limit=7))

    def test_a_prefix_selects(self, node, map_path):
        for i in range(100):
            node.call("PUT", f"{map_path}/a/{i}", b"1")
            node.call("PUT", f"{map_path}/b/{i}", b"1")
        assert sorted(listed(node, map_path, prefix="a/", limit=9)) == sorted(f"a/{i}" for i in range(100))
        assert listed(node, map_path, prefix="a/99") == ["a/99"]
        assert listed(node, map_path, prefix="c") == []

    def test_a_rare_prefix_among_many_keys_is_found(self, node, map_path):
        for start in range(0, 30_000, 3_000):
            operations = [{"op": "put", "map": map_path.rpartition("/")[2], "key": f"common-{i}", "value": ""}
                          for i in range(start, start + 3_000)]
            assert node.call("POST", "/v1/batch", json.dumps(operations), JSON).status == 200
        node.call("PUT", f"{map_path}/rare", b"1")
        assert listed(node, map_path, prefix="rare", limit=10) == ["rare"]
        assert len(set(listed(node, map_path, limit=1_000))) == 30_001

    def test_a_key_that_stays_is_listed_once_while_others_come_and_go(self, node, map_path):
        names = {f"stays-{i}" for i in range(2_000)}
        for name in sorted(names):
            node.call("PUT", f"{map_path}/{name}", b"1")
        stop = threading.Event()
        failures = []

        def churn():
            chance = random.Random(1)
            with node.connect() as other:
                while not stop.is_set():
                    target = f"{map_path}/moves-{chance.randrange(5_000)}"
                    method = chance.choice(["PUT", "PUT", "DELETE"])
                    answer = other.call(method, target, b"1" if method == "PUT" else None)
                    if answer.status not in (200, 201, 204, 404):
                        failures.append(answer)
                        return

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(5):
                found = [name for name in listed(node, map_path, limit=50) if name.startswith("stays")]
                assert len(found) == len(names) and set(found) == names
        finally:
            stop.set()
            thread.join()
        assert not failures

    @pytest.mark.parametrize("query", ["limit=x", "limit=-1", "after=%25%25nonsense", "depth=1"])
    def test_wrong_queries_are_refused(self, node, map_path, query):
        node.call("GET", f"{map_path}?{query}").problem(400)


class TestBatches:
    def batch(self, node, operations, **headers):
        answer = node.call("POST", "/v1/batch", json.dumps(operations), {**JSON, **headers})
        assert answer.status == 200, answer.body
        results = answer.json()
        assert len(results) == len(operations)
        return results

    def test_operations_are_done_in_order(self, node, key):
        name = key[1:]
        results = self.batch(node, [
            {"op": "put", "key": name, "value": "one"}, {"op": "get", "key": name},
            {"op": "put", "map": "default", "key": name, "value": "two", "w": "majority"}, {"op": "get", "key": name},
            {"op": "delete", "key": name}, {"op": "get", "key": name}, {"op": "delete", "key": name},
            {"op": "incr", "key": name, "by": 5}, {"op": "incr", "key": name},
        ])
        assert [result["status"] for result in results[:7]] == [201, 200, 200, 200, 204, 404, 404]
        assert results[1]["value"] == "one" and results[3]["value"] == "two"
        assert results[0]["etag"].strip('"') == results[1]["etag"].strip('"')
        assert [str(result["value"]) for result in results[7:]] == ["5", "6"]
        assert node.call("GET", key).body == b"6"

    def test_binary_values(self, node, key):
        value = bytes(range(256))
        self.batch(node, [{"op": "put", "key": key[1:], "value": base64.b64encode(value).decode(), "base64": True}])
        assert node.call("GET", key).body == value
        result = self.batch(node, [{"op": "get", "key": key[1:], "base64": True}])[0]
        assert base64.b64decode(result["value"]) == value

    def test_text_survives_escapes(self, node, key):
        text = 'line\n"quoted" \\ tab\t ü 😀 \x00\x7f'
        self.batch(node, [{"op": "put", "key": key[1:], "value": text}])
        assert node.call("GET", key).body == text.encode()
        assert self.batch(node, [{"op": "get", "key": key[1:]}])[0]["value"] == text

    def test_one_bad_operation_spoils_only_itself(self, node, key):
        results = self.batch(node, [
            {"op": "put", "key": key[1:], "value": "1"}, {"op": "put", "key": "k" * 20_000, "value": "1"},
            {"op": "get", "key": key[1:]},
        ])
        assert [result["status"] for result in results] == [201, 414, 200]

    def test_many_operations_on_many_keys(self, node, map_path):
        name = map_path.rpartition("/")[2]
        results = self.batch(node, [{"op": "put", "map": name, "key": f"k{i}", "value": f"v{i}"} for i in range(5_000)])
        assert {result["status"] for result in results} == {201}
        results = self.batch(node, [{"op": "get", "map": name, "key": f"k{i}"} for i in range(5_000)])
        assert [result["value"] for result in results] == [f"v{i}" for i in range(5_000)]

    def test_an_empty_batch(self, node):
        assert self.batch(node, []) == []

    @pytest.mark.parametrize("body", [
        "", "{", "{}", "1", "[1]", '[{"op":"jump","key":"a"}]', '[{"key":"a"}]', '[{"op":"get"}]',
        '[{"op":"put","key":"a","value":"!","base64":true}]', '[{"op":"get","key":"a"},]',
    ])
    def test_what_is_no_batch_is_refused(self, node, body):
        answer = node.call("POST", "/v1/batch", body, JSON)
        if answer.status == 200:
            assert all(result["status"] in (400, 422) for result in answer.json()), answer.body
        else:
            answer.problem(400, 422)

    def test_too_many_operations_are_refused(self, node):
        operations = [{"op": "get", "key": "a"}] * 10_001
        node.call("POST", "/v1/batch", json.dumps(operations), JSON).problem(400, 413)

    def test_a_batch_that_is_too_large_is_refused(self, node):
        node.call("POST", "/v1/batch", b" " * ((8 << 20) + 1), JSON).problem(413)


class TestIdempotency:
    def test_a_retried_count_counts_once(self, node, key):
        retry = {"Idempotency-Key": f"count{key}"}
        first = node.call("POST", key + "?op=incr", b"", retry)
        second = node.call("POST", key + "?op=incr", b"", retry)
        assert first.body == second.body and first.etag == second.etag and first.status == second.status
        assert node.call("GET", key).body == b"1"
        assert node.call("POST", key + "?op=incr", b"", {"Idempotency-Key": f"next{key}"}).body.strip() == b"2"

    def test_a_retried_create_is_still_a_create(self, node, key):
        retry = {"Idempotency-Key": f"create{key}", "If-None-Match": "*"}
        first = node.call("PUT", key, b"1", retry)
        second = node.call("PUT", key, b"1", retry)
        assert first.status == second.status == 201 and first.etag == second.etag

    def test_a_retried_write_does_not_undo_a_later_one(self, node, key):
        retry = {"Idempotency-Key": f"old{key}"}
        node.call("PUT", key, b"old", retry)
        node.call("PUT", key, b"new")
        node.call("PUT", key, b"old", retry)
        assert node.call("GET", key).body == b"new"

    def test_a_retried_delete_and_append(self, node, key):
        node.call("PUT", key, b"1")
        assert node.call("POST", key + "?op=append", b"2", {"Idempotency-Key": f"a{key}"}).status == 200
        assert node.call("POST", key + "?op=append", b"2", {"Idempotency-Key": f"a{key}"}).status == 200
        assert node.call("GET", key).body == b"12"
        assert node.call("DELETE", key, headers={"Idempotency-Key": f"d{key}"}).status == 204
        assert node.call("DELETE", key, headers={"Idempotency-Key": f"d{key}"}).status == 204

    def test_the_same_word_for_another_key_is_another_request(self, node, key):
        word = {"Idempotency-Key": f"word{key}"}
        assert node.call("PUT", key, b"1", word).status == 201
        assert node.call("PUT", key + "-b", b"2", word).status == 201
        assert node.call("GET", key + "-b").body == b"2"

    def test_a_word_that_is_too_long_is_refused(self, node, key):
        node.call("PUT", key, b"1", {"Idempotency-Key": "k" * 256}).problem(400)
        assert node.call("PUT", key, b"1", {"Idempotency-Key": "k" * 255}).status == 201

    def test_words_beyond_the_bound_are_forgotten_and_memory_stays(self, node, map_path):
        for i in range(3_000):
            assert node.call("PUT", f"{map_path}/k", b"1", {"Idempotency-Key": f"{map_path}-{i}"}).status in (200, 201)
        last = {"Idempotency-Key": f"{map_path}-2999"}
        etag = node.call("GET", f"{map_path}/k").etag
        assert node.call("PUT", f"{map_path}/k", b"1", last).etag == etag
