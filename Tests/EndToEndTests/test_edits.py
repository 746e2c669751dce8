"""Edits inside a value: counters, appends, JSON Pointer, merge patch and JSON patch."""

import copy
import json
import random

import jsonpatch
import pytest

JSON = {"Content-Type": "application/json"}
MERGE = {"Content-Type": "application/merge-patch+json"}
PATCH = {"Content-Type": "application/json-patch+json"}


class TestCounters:
    def test_a_counter_starts_at_zero_and_answers_the_new_value(self, node, key):
        assert node.call("POST", key + "?op=incr", b"").body.strip() == b"1"
        assert node.call("POST", key + "?op=incr&by=41", b"").body.strip() == b"42"
        assert node.call("POST", key + "?op=incr&by=-50", b"").body.strip() == b"-8"
        assert node.call("GET", key).body == b"-8"

    def test_a_stored_number_is_counted_on(self, node, key):
        node.call("PUT", key, b"9223372036854775806")
        assert node.call("POST", key + "?op=incr", b"").body.strip() == b"9223372036854775807"
        node.call("POST", key + "?op=incr", b"").problem(400, 409, 422)
        assert node.call("GET", key).body == b"9223372036854775807"

    @pytest.mark.parametrize("value", [b"abc", b"", b"1.5", b"99999999999999999999", b"1 2", b"--1"])
    def test_what_is_no_integer_is_not_counted(self, node, key, value):
        node.call("PUT", key, value)
        node.call("POST", key + "?op=incr", b"").problem(400, 409, 422)
        assert node.call("GET", key).body == value

    @pytest.mark.parametrize("by", ["x", "", "1.5", "9223372036854775808", "%20"])
    def test_a_wrong_step_is_refused(self, node, key, by):
        node.call("POST", f"{key}?op=incr&by={by}", b"").problem(400)
        assert node.call("GET", key).status == 404


class TestAppends:
    def test_append_creates_and_extends(self, node, key):
        assert node.call("POST", key + "?op=append", b"a", {"Content-Type": "text/plain"}).status == 201
        assert node.call("POST", key + "?op=append", b"bc").status == 200
        read = node.call("GET", key)
        assert (read.body, read.header("content-type")) == (b"abc", "text/plain")

    def test_an_unknown_operation_names_the_known_ones(self, node, key):
        detail = node.call("POST", key + "?op=double", b"").problem(400)["detail"]
        assert "incr" in detail and "append" in detail


class TestPointer:
    DOCUMENT = b'{ "a": {"b" : [10, 20.0, "x"]}, "m~n":1,"c/d": 2, "":3, "n": null }'

    @pytest.fixture
    def path(self, node, key):
        assert node.call("PUT", key, self.DOCUMENT, JSON).status == 201
        return key

    @pytest.mark.parametrize("pointer, expected", [
        ("", DOCUMENT), ("/a", b'{"b" : [10, 20.0, "x"]}'), ("/a/b/0", b"10"), ("/a/b/1", b"20.0"), ("/a/b/2", b'"x"'),
        ("/m~0n", b"1"), ("/c~1d", b"2"), ("/", b"3"), ("/n", b"null"),
    ])
    def test_read(self, node, path, pointer, expected):
        answer = node.call("GET", f"{path}?at={pointer}")
        assert (answer.status, answer.body) == (200, expected)
        assert answer.header("content-type") == "application/json"

    @pytest.mark.parametrize("pointer", ["/x", "/a/c", "/a/b/3", "/a/b/-", "/a/b/01", "/a/b/0/x", "/n/x", "/a/b/-1"])
    def test_what_is_not_there_is_not_found(self, node, path, pointer):
        node.call("GET", f"{path}?at={pointer}").problem(404)

    @pytest.mark.parametrize("pointer", ["a", "a/b", "/a~", "/a~2"])
    def test_what_is_no_pointer_is_refused(self, node, path, pointer):
        node.call("GET", f"{path}?at={pointer}").problem(400)

    @pytest.mark.parametrize("pointer, value, expected", [
        ("/a/b/1", b"[1, 2]", b'{ "a": {"b" : [10, [1, 2], "x"]}, "m~n":1,"c/d": 2, "":3, "n": null }'),
        ("/m~0n", b'"y"', b'{ "a": {"b" : [10, 20.0, "x"]}, "m~n":"y","c/d": 2, "":3, "n": null }'),
        ("/a", b"1e400", b'{ "a": 1e400, "m~n":1,"c/d": 2, "":3, "n": null }'),
    ])
    def test_set_leaves_every_other_byte_as_it_was(self, node, path, pointer, value, expected):
        answer = node.call("PUT", f"{path}?at={pointer}", value)
        assert answer.status == 200 and answer.etag
        assert node.call("GET", path).body == expected

    def test_set_adds_a_member(self, node, path):
        assert node.call("PUT", path + "?at=/a/new", b"true").status in (200, 201)
        assert json.loads(node.call("GET", path).body)["a"] == {"b": [10, 20.0, "x"], "new": True}

    def test_push(self, node, path):
        assert node.call("POST", path + "?at=/a/b/-", b'{"k":1}').status in (200, 201)
        assert node.call("GET", path + "?at=/a/b").body.replace(b" ", b"") == b'[10,20.0,"x",{"k":1}]'

    def test_remove(self, node, path):
        assert node.call("DELETE", path + "?at=/a/b/0").status in (200, 204)
        assert node.call("DELETE", path + "?at=/n").status in (200, 204)
        node.call("DELETE", path + "?at=/n").problem(404)
        value = json.loads(node.call("GET", path).body)
        assert value["a"]["b"] == [20.0, "x"] and "n" not in value

    def test_an_element_beyond_the_end_is_an_error(self, node, path):
        node.call("PUT", path + "?at=/a/b/9", b"1").problem(409)
        assert node.call("GET", path).body == self.DOCUMENT

    def test_missing_objects_on_the_way_are_made(self, node, path):
        assert node.call("PUT", path + "?at=/x/y", b"1").status == 200
        assert node.call("GET", path + "?at=/x").body == b'{"y":1}'

    @pytest.mark.parametrize("value", [b"", b"{", b"01", b"nul", b"'a'", b'"\x01"', b"[1,]", b'{"a":1,}', b"1 2",
                                       b'"\xff"', b"[" * 10_000 + b"]" * 10_000])
    def test_what_is_no_json_is_refused(self, node, path, value):
        node.call("PUT", path + "?at=/a", value).problem(400, 413, 422)
        assert node.call("GET", path).body == self.DOCUMENT

    def test_a_value_that_is_no_json_cannot_be_edited(self, node, key):
        node.call("PUT", key, b"plain words")
        node.call("GET", key + "?at=/a").problem(404, 409, 415, 422)
        node.call("PUT", key + "?at=/a", b"1").problem(404, 409, 415, 422)
        assert node.call("GET", key).body == b"plain words"

    def test_a_pointer_into_a_missing_key(self, node, key):
        node.call("GET", key + "?at=/a").problem(404)
        node.call("DELETE", key + "?at=/a").problem(404)


# RFC 7396, appendix A.
MERGES = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'), ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"), ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'), ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'), ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'), ('{"a":"foo"}', "null", "null"), ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'), ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@pytest.mark.parametrize("document, patch, expected", MERGES)
def test_merge_patch_does_what_the_rfc_shows(node, key, document, patch, expected):
    node.call("PUT", key, document, JSON)
    answer = node.call("PATCH", key, patch, MERGE)
    assert answer.status in (200, 204), answer.body
    assert json.loads(node.call("GET", key).body) == json.loads(expected)


def test_merge_patch_leaves_untouched_bytes_alone(node, key):
    node.call("PUT", key, b'{ "price": 1.10, "tags" : [ 1,2 ],  "n": 1 }', JSON)
    assert node.call("PATCH", key, b'{"n":2}', MERGE).status in (200, 204)
    assert node.call("GET", key).body == b'{ "price": 1.10, "tags" : [ 1,2 ],  "n": 2 }'


@pytest.mark.parametrize("document, patch, expected", [
    ('{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux"}]', '{"baz":"qux","foo":"bar"}'),
    ('{"foo":["bar","baz"]}', '[{"op":"add","path":"/foo/1","value":"qux"}]', '{"foo":["bar","qux","baz"]}'),
    ('{"baz":"qux","foo":"bar"}', '[{"op":"remove","path":"/baz"}]', '{"foo":"bar"}'),
    ('{"foo":["bar","qux","baz"]}', '[{"op":"remove","path":"/foo/1"}]', '{"foo":["bar","baz"]}'),
    ('{"baz":"qux","foo":"bar"}', '[{"op":"replace","path":"/baz","value":"boo"}]', '{"baz":"boo","foo":"bar"}'),
    ('{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}',
     '[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]',
     '{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}'),
    ('{"foo":["all","grass","cows","eat"]}', '[{"op":"move","from":"/foo/1","path":"/foo/3"}]',
     '{"foo":["all","cows","eat","grass"]}'),
    ('{"baz":"qux","foo":["a",2,"c"]}',
     '[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]',
     '{"baz":"qux","foo":["a",2,"c"]}'),
    ('{"foo":"bar"}', '[{"op":"add","path":"/child","value":{"grandchild":{}}}]',
     '{"foo":"bar","child":{"grandchild":{}}}'),
    ('{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux","xyz":123}]', '{"foo":"bar","baz":"qux"}'),
    ('{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":10}]', '{"/":9,"~1":10}'),
    ('{"foo":["bar"]}', '[{"op":"add","path":"/foo/-","value":["abc","def"]}]', '{"foo":["bar",["abc","def"]]}'),
    ('{"a":1}', '[{"op":"copy","from":"/a","path":"/b"}]', '{"a":1,"b":1}'),
    ('{"a":1}', '[{"op":"replace","path":"","value":[1]}]', "[1]"), ('{"a":1}', "[]", '{"a":1}'),
])
def test_json_patch_does_what_the_rfc_shows(node, key, document, patch, expected):
    node.call("PUT", key, document, JSON)
    answer = node.call("PATCH", key, patch, PATCH)
    assert answer.status in (200, 204), answer.body
    assert json.loads(node.call("GET", key).body) == json.loads(expected)


@pytest.mark.parametrize("patch", [
    '[{"op":"replace","path":"/a","value":9},{"op":"test","path":"/b","value":"no"}]',
    '[{"op":"replace","path":"/a","value":9},{"op":"remove","path":"/missing"}]',
    '[{"op":"add","path":"/c/d","value":1}]', '[{"op":"add","path":"/l/9","value":1}]',
    '[{"op":"move","from":"/o","path":"/o/p"}]',
])
def test_a_failed_json_patch_changes_nothing(node, key, patch):
    document = '{"a":1, "b":2, "l":[], "o":{}}'
    etag = node.call("PUT", key, document, JSON).etag
    node.call("PATCH", key, patch, PATCH).problem(400, 409, 422)
    read = node.call("GET", key)
    assert (read.body.decode(), read.etag) == (document, etag)


@pytest.mark.parametrize("patch", ["", "{", "{}", "1", '[{"op":"add"}]', '[{"op":"jump","path":"/a"}]', "[1]",
                                   '[{"op":"add","path":"a","value":1}]', '[{"op":"add","path":"/a"}]',
                                   '[{"op":"move","path":"/a"}]'])
def test_what_is_no_json_patch_is_refused(node, key, patch):
    node.call("PUT", key, '{"a":1}', JSON)
    node.call("PATCH", key, patch, PATCH).problem(400, 422)
    assert node.call("GET", key).body == b'{"a":1}'


def test_a_patch_of_another_type_names_the_accepted_ones(node, key):
    node.call("PUT", key, b"{}", JSON)
    answer = node.call("PATCH", key, b"{}", {"Content-Type": "text/plain"})
    answer.problem(415)
    accepted = answer.header("accept-patch")
    assert "application/merge-patch+json" in accepted and "application/json-patch+json" in accepted


def test_a_patch_of_a_missing_key(node, key):
    node.call("PATCH", key, b'[{"op":"add","path":"/a","value":1}]', PATCH).problem(404)
    assert node.call("PATCH", key, b'{"a":1}', MERGE).status in (201, 404)


def test_an_edit_keeps_content_type_and_expiry(node, key):
    node.call("PUT", key + "?ttl=100s", b'{"a":1}', {"Content-Type": "application/vnd.a+json"})
    node.call("PUT", key + "?at=/a", b"2")
    node.call("PATCH", key, b'{"b":1}', MERGE)
    read = node.call("GET", key)
    assert read.header("content-type") == "application/vnd.a+json"
    assert read.header("kvd-ttl") is not None


def test_an_edit_of_a_value_beyond_the_limit_is_refused(node, key):
    node.call("PUT", key, b'["' + b"a" * (2 << 20) + b'"]', JSON)
    node.call("PUT", key + "?at=/0", b"1").problem(413)
    node.call("POST", key + "?op=append", b"1").problem(413)


def random_json(chance, depth=0):
    kind = chance.randrange(7 if depth < 3 else 4)
    if kind < 4:
        return chance.choice([chance.randrange(-99, 99), chance.choice(["", "x", "~/", "ü"]), True, None])
    if kind == 4:
        return [random_json(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice("abc~/ü"): random_json(chance, depth + 1) for _ in range(chance.randrange(4))}


def random_pointers(value, prefix=""):
    yield prefix
    if isinstance(value, dict):
        for name, member in value.items():
            yield from random_pointers(member, f"{prefix}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        yield prefix + "/-"
        for index, member in enumerate(value):
            yield from random_pointers(member, f"{prefix}/{index}")


def test_random_json_patches_agree_with_another_implementation(node, key):
    chance = random.Random(6902)
    applied = 0
    for _ in range(1500):
        document = random_json(chance)
        paths = list(random_pointers(document)) + ["/new", "/a/new", "/9"]
        operations = []
        for _ in range(chance.randrange(1, 4)):
            operation = {"op": chance.choice(["add", "remove", "replace", "move", "copy", "test"]),
                         "path": chance.choice(paths)}
            if operation["op"] in ("add", "replace", "test"):
                operation["value"] = random_json(chance, 2)
            if operation["op"] in ("move", "copy"):
                operation["from"] = chance.choice(paths)
            operations.append(operation)
        if any(whole_or_inside(operation) for operation in operations):
            continue
        try:
            expected = jsonpatch.apply_patch(copy.deepcopy(document), operations)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError, IndexError):
            expected = Ellipsis
        node.call("PUT", key, json.dumps(document), JSON)
        answer = node.call("PATCH", key, json.dumps(operations), PATCH)
        stored = json.loads(node.call("GET", key).body)
        context = f"{json.dumps(document)} with {json.dumps(operations)}"
        if expected is Ellipsis:
            assert answer.status in (400, 409, 422), context
            assert stored == document, context
        else:
            assert answer.status in (200, 204), f"{context}: {answer.body}"
            # As text, since in Python True equals 1.
            assert json.dumps(stored, sort_keys=True) == json.dumps(expected, sort_keys=True), context
            applied += 1
    assert applied > 50


def whole_or_inside(operation):
    """Whether the other implementation departs from RFC 6902: the root removed, a move into itself, `-` read."""
    source = operation.get("from", "")
    return (operation["path"] == "" or "from" in operation and (source == "" or operation["path"].startswith(source))
            or source.endswith("/-") or (operation["op"] != "add" and operation["path"].endswith("/-")
                                         and operation["op"] not in ("move", "copy")))
