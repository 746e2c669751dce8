"""The binary protocol on the --peer port: batches, levels of answer, long values, bad input, slow clients."""

import hashlib
import os
import random
import select
import struct
import threading

import pytest

from frames import (
    ABSENT, ACK, APPEND, DELETE, GET, INCREMENT, LONG, NO_ANSWER, PING, PONG, PRESENT, PUT, REPLY, REQUEST, WELCOME,
    WITH_ACK, WITH_REPLY, Closed, FrameConnection, frame, hello, long_request, operation, padded, request)
from node import run_kvd, until

MIB = 1 << 20


@pytest.fixture
def name(key):
    """A key of the map "default" that no other test uses, as bytes."""
    return key[1:].encode()


@pytest.fixture
def wire(node):
    with node.frames() as connection:
        yield connection


class TestOperations:
    def test_what_frames_put_http_gets_and_the_other_way_round(self, node, wire, name):
        path = "/" + name.decode()
        first = wire.put(name, b"one", content_type=b"text/x-frames")
        assert first.status == 201 and first.record is None
        answer = node.call("GET", path)
        assert (answer.status, answer.body, answer.header("content-type")) == (200, b"one", "text/x-frames")
        assert answer.etag == '"%d-%d-%d"' % first.revision
        second = node.call("PUT", path, b"two", {"Content-Type": "application/json"})
        found = wire.get(name)
        assert found.status == 200 and found.record.value == b"two" and found.record.key == name
        assert found.record.content_type == 1
        assert '"%d-%d-%d"' % found.revision == second.etag

    def test_maps_are_the_same_as_those_of_http(self, node, wire, map_path, name):
        map_name = map_path.rpartition("/")[2].encode()
        assert wire.put(name, b"here", map_name=map_name).status == 201
        assert node.call("GET", f"{map_path}/{name.decode()}").body == b"here"
        assert wire.get(name).status == 404
        assert wire.get(name, map_name=map_name).record.map_name == map_name
        assert wire.put(name, b"there", map_name=b"default").status == 201
        assert wire.get(name).record.value == b"there"

    def test_delete_increment_and_append(self, wire, name):
        assert wire.one(DELETE, name).status == 404
        assert [wire.one(INCREMENT, name, by).value for by in (5, -7, b"")] == [b"5", b"-2", b"-1"]
        assert wire.one(APPEND, name, b"0").status == 200
        assert wire.one(INCREMENT, name, 1).value == b"-9"
        deleted = wire.one(DELETE, name)
        assert deleted.status == 204 and deleted.revision
        assert wire.get(name).status == 404
        assert wire.put(name, b"words").status == 201
        assert wire.one(INCREMENT, name).status == 409

    def test_conditions(self, wire, name):
        assert wire.put(name, b"1", revision=PRESENT).status == 412
        first = wire.put(name, b"1", revision=ABSENT)
        assert first.status == 201
        assert wire.put(name, b"2", revision=ABSENT).status == 412
        second = wire.put(name, b"2", revision=first.revision)
        assert second.status == 200
        assert wire.put(name, b"3", revision=first.revision).status == 412
        assert wire.one(DELETE, name, revision=first.revision).status == 412
        assert wire.get(name, revision=PRESENT, minimum=second.revision).record.value == b"2"
        partition, epoch, offset = second.revision
        assert wire.get(name, minimum=(partition, epoch, offset + 1000)).status == 503
        assert wire.get(name, minimum=((partition + 1) % 1024, epoch, offset)).status == 400

    def test_an_idempotency_key_is_executed_once(self, wire, name):
        answers = [wire.one(INCREMENT, name, 5, once=b"once-" + name) for _ in range(3)]
        assert [answer.value for answer in answers] == [b"5"] * 3
        assert wire.one(INCREMENT, name, 6, once=b"once-" + name).status == 422
        assert wire.put(name, b"x", once=b"o" * 5000).status == 400

    def test_a_time_to_live(self, node, wire, name):
        assert wire.put(name, b"brief", ttl=300).status == 201
        found = wire.get(name).record
        assert 0 < found.expiry - found.time <= 300
        until(lambda: wire.get(name).status == 404, "the value expires")
        assert wire.put(name, b"long", ttl=3_600_000).status == 201
        assert 3590 < float(node.call("GET", "/" + name.decode()).header("x-ttl") or 3600) <= 3600

    @pytest.mark.parametrize("bad, status", [
        ({"key": b""}, 400), ({"key": b"\xff\xfe"}, 400), ({"key": b"k" * 16385}, 414),
        ({"map_name": b"no such/map"}, 400), ({"map_name": b"-m"}, 400), ({"map_name": b"m" * 201}, 400),
    ])
    def test_a_key_that_cannot_be_is_refused_and_the_connection_goes_on(self, wire, name, bad, status):
        fields = {"key": name, **bad}
        key = fields.pop("key")
        results = wire.ask(operation(PUT, name, b"a"), operation(PUT, key, b"b", **fields), operation(GET, name))
        assert [result.status for result in results] == [201, status, 200]
        assert results[1].sentence and results[2].record.value == b"a"

    def test_an_append_beyond_the_limit_is_refused(self, wire, name):
        assert wire.results(wire.post_long(name, b"x" * MIB), 1)[0].status == 201
        assert wire.one(APPEND, name, b"y").status == 413
        assert len(wire.get(name).record.value) == MIB


class TestLevels:
    def test_none_is_silent_and_still_done(self, wire, name):
        wire.post(operation(PUT, name, b"1", NO_ANSWER), operation(DELETE, b"missing-" + name, answer=NO_ANSWER))
        assert wire.get(name).record.value == b"1"
        assert not wire.early

    def test_an_ack_covers_everything_before_it(self, wire, name):
        for round_ in range(20):
            last = wire.post(*[operation(PUT, b"%s-%d" % (name, i), b"%d" % round_, WITH_ACK) for i in range(50)])
        operations, failures = wire.acknowledged(last)
        assert operations == 1000 and not failures
        results = wire.ask(*[operation(GET, b"%s-%d" % (name, i)) for i in range(50)])
        assert {result.record.value for result in results} == {b"19"}

    def test_a_failure_is_told_before_the_ack_that_covers_it(self, wire, name):
        number = wire.post(
            operation(PUT, name, b"1", WITH_ACK), operation(PUT, name, b"2", WITH_ACK, revision=ABSENT),
            operation(INCREMENT, name, 1, WITH_ACK), operation(DELETE, b"missing-" + name, answer=WITH_ACK))
        operations, failures = wire.acknowledged(number)
        assert operations == 4
        assert [(each.request, each.index, each.status) for each in failures] == [(number, 1, 412), (number, 3, 404)]

    def test_levels_mix_in_one_frame(self, wire, name):
        number = wire.post(*[operation(PUT, b"%s-%d" % (name, i), b"v", i % 3) for i in range(99)])
        _, replies = wire.acknowledged(number)
        while len(replies) < 33:
            replies += wire.receive().results
        assert sorted(each.index for each in replies) == list(range(2, 99, 3))


class TestManyOperations:
    @pytest.mark.parametrize("cores", ["1", "2"])
    def test_a_random_mix_agrees_with_a_dictionary(self, start, cores):
        node = start("--cores", cores)
        failures = []

        def work(seed):
            chance = random.Random(seed)
            model, expected = {}, {}
            try:
                with node.frames() as wire:
                    for _ in range(60):
                        operations, wanted = [], []
                        for _ in range(chance.randrange(1, 80)):
                            key = b"%d-%d" % (seed, chance.randrange(50))
                            if chance.random() < 0.4:
                                operations.append(operation(GET, key))
                                wanted.append((200, model[key]) if key in model else (404, None))
                            elif chance.random() < 0.8:
                                value = chance.randbytes(chance.choice([0, 3, 100, 5000]))
                                operations.append(operation(PUT, key, value))
                                wanted.append((200 if key in model else 201, None))
                                model[key] = value
                            else:
                                operations.append(operation(DELETE, key))
                                wanted.append((204 if model.pop(key, None) is not None else 404, None))
                        expected[wire.post(*operations)] = wanted
                    for number, wanted in expected.items():
                        results = wire.results(number, len(wanted))
                        found = [(each.status, each.record.value if each.record else None) for each in results]
                        assert found == wanted
            except Exception as failure:  # reported by the thread that waits for this one
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, repr(failures[0])
        node.alive()

    def test_frames_up_to_the_limit(self, wire, name):
        value = os.urandom(wire.frame_limit - 24 - 8 - 28 - len(name) - 7 & ~7)
        assert wire.put(name, value).status == 201
        assert wire.get(name).record.value == value

    def test_the_most_operations_a_frame_can_have(self, start):
        node = start(limits={"frame": 16 * MIB})
        with node.frames() as wire:
            assert wire.frame_limit == 16 * MIB
            number = wire.post(*[operation(PUT, b"%d" % i, b"", WITH_ACK) for i in range(65535)])
            assert wire.acknowledged(number)[0] == 65535
            results = wire.ask(*[operation(GET, b"%d" % i) for i in range(65535)])
            assert all(result.status == 200 for result in results)

    def test_large_keys_with_small_and_large_values(self, wire, name):
        key = name + b"k" * (16384 - len(name))
        for count in (0, 100, 4096, 4097, 100_000):
            value = os.urandom(count)
            assert wire.put(key, value).status in (200, 201)
            assert wire.get(key).record.value == value


class TestLongValues:
    @pytest.mark.parametrize("count", [0, 1, 4096, 4097, 65_536, 262_144, MIB + 1, 64 * MIB])
    def test_values_of_every_size_come_back_unchanged(self, node, wire, name, count):
        value = random.Random(count).randbytes(count)
        number = wire.post_long(name, value, content_type=5)
        assert wire.results(number, 1)[0].status == 201
        found = wire.get(name)
        assert hashlib.sha256(found.record.value).digest() == hashlib.sha256(value).digest()
        assert found.record.content_type == 5
        assert node.call("GET", "/" + name.decode()).body == value

    def test_others_go_on_while_a_long_value_comes_and_goes(self, node, wire, name):
        value = os.urandom(8 * MIB)
        number = wire.next()
        whole = long_request(number, name, value, wire.outgoing)
        with node.frames() as other:
            for at in range(0, len(whole), MIB):
                wire.send(whole[at:at + MIB])
                assert other.put(b"beside-" + name, b"%d" % at).status in (200, 201)
                assert at + MIB >= len(whole) or other.get(name).status == 404
        assert wire.results(number, 1)[0].status == 201
        with node.frames(receive_buffer=4096) as slow:
            slow.post(operation(GET, name))
            with node.frames() as other:
                assert all(other.get(b"beside-" + name).status == 200 for _ in range(50))
            assert slow.results(1, 1)[0].record.value == value

    def test_a_value_with_a_wrong_checksum_is_not_stored(self, wire, name):
        data = bytearray(long_request(1, name, b"x" * 100_000, wire.outgoing))
        data[-1] ^= 1
        wire.send(bytes(data))
        end = wire.closed()
        assert (end.reason, end.number) == ("badChecksum", 0)

    def test_a_value_beyond_the_limit_closes(self, node, name):
        with node.frames() as wire:
            whole = long_request(1, name, b"", wire.outgoing)
            assert wire.value_limit == 64 * MIB
            value = bytes(64 * MIB + 1)
            wire.send(long_request(1, name, value, wire.outgoing)[:len(whole)])
            assert wire.closed().reason == "tooLong"

    def test_a_refused_value_goes_by_and_the_connection_goes_on(self, start):
        node = start("--cores", "1", memory="24MiB")
        with node.frames() as wire:
            number = wire.post_long(b"big", os.urandom(30 * MIB))
            after = wire.post(operation(PUT, b"small", b"1"))
            result = wire.results(number, 1)[0]
            assert result.status == 507 and "memory" in result.sentence
            assert wire.results(after, 1)[0].status == 201
            number = wire.post_long(b"", b"x" * 50_000)
            assert wire.results(number, 1)[0].status == 400
            assert wire.get(b"small").record.value == b"1"

    @pytest.mark.parametrize("fields", [{"revision": PRESENT}, {"ttl": 3_600_000}, {"once": b"key"}])
    def test_terms(self, wire, name, fields):
        number = wire.post_long(name, b"v" * 50_000, **fields)
        assert wire.results(number, 1)[0].status == (412 if "revision" in fields else 201)
        assert wire.get(name).status == (404 if "revision" in fields else 200)


def broken(change, at=0, size=1):
    """A put's frame with `change` made at byte `at`, under the checksum it had before."""
    def build(wire, name):
        data = bytearray(request(1, [operation(PUT, name, b"broken")], wire.outgoing))
        data[at:at + size] = change
        return bytes(data)
    return build


def sealed(*operations, **fields):
    """A frame of these bytes whose checksum is right."""
    def build(wire, name):
        payload = b"".join(padded(each(name) if callable(each) else each) for each in operations)
        return frame(fields.get("kind", REQUEST), fields.get("number", 1), payload, wire.outgoing,
                     fields.get("count", len(operations)), fields.get("flags", 0))
    return build


BAD = {
    "too long": ("tooLong", lambda wire, name: struct.pack("<I", wire.frame_limit + 8) + bytes(28)),
    "length 0": ("malformed", broken(bytes(4), 0, 4)),
    "length 16": ("malformed", broken(b"\x10\0\0\0", 0, 4)),
    "not a multiple of 8": ("malformed", broken(b"\x21\0\0\0", 0, 4)),
    "kind 0": ("unknownKind", broken(b"\0", 4)),
    "kind 99": ("unknownKind", broken(b"\x63", 4)),
    "a kind of the other side": ("unknownKind", sealed(kind=REPLY)),
    "a second WELCOME": ("unknownKind", sealed(kind=WELCOME)),
    "reserved flags": ("malformed", broken(b"\x80", 5)),
    "checksum": ("badChecksum", broken(b"\x55", 9)),
    "damaged payload": ("badChecksum", broken(b"\x55", 60)),
    "of the other direction": ("badChecksum", lambda wire, name: request(1, [operation(PUT, name)], wire.incoming)),
    "of another connection": ("badChecksum", lambda wire, name: request(1, [operation(PUT, name)], wire.outgoing ^ 1)),
    "a second HELLO": ("badChecksum", lambda wire, name: hello(wire.sender)),
    "an id left out": ("outOfOrder", sealed(lambda name: operation(PUT, name), number=2)),
    "an id of 0": ("outOfOrder", sealed(lambda name: operation(PUT, name), number=0)),
    "an id from the end": ("outOfOrder", sealed(lambda name: operation(PUT, name), number=2**64 - 1)),
    "fewer operations than counted": ("malformed", sealed(lambda name: operation(PUT, name), count=2)),
    "more operations than counted": ("malformed", sealed(lambda name: operation(PUT, name), bytes(40), count=1)),
    "an operation beyond the frame": ("malformed", sealed(lambda name: operation(PUT, name)[:-8])),
    "an unknown operation": ("malformed", sealed(lambda name: b"\x09" + operation(PUT, name)[1:])),
    "an unknown level": ("malformed", sealed(lambda name: operation(PUT, name, answer=3))),
    "a get without reply": ("malformed", sealed(lambda name: operation(GET, name, answer=WITH_ACK))),
    "a get with a value": ("malformed", sealed(lambda name: operation(GET, name, b"x", record_kind=2))),
    "a put of a removal": ("malformed", sealed(lambda name: operation(PUT, name, b"x", record_kind=2))),
    "a record with an offset": ("malformed", sealed(lambda name: operation(PUT, name, b"x", offset=7))),
    "a record with a time": ("malformed", sealed(lambda name: operation(PUT, name, b"x", time_48=7))),
    "a record with an epoch": ("malformed", sealed(lambda name: operation(PUT, name, b"x", epoch=7))),
    "a sealed record": ("malformed", sealed(lambda name: operation(PUT, name, b"x", seal=True))),
    "an unknown content type": ("malformed", sealed(lambda name: operation(PUT, name, b"x", content_type=118))),
    "a content type with a line break": (
        "malformed", sealed(lambda name: operation(PUT, name, b"x", content_type=b"a\r\nSet-Cookie: b"))),
    "an increment of three bytes": ("malformed", sealed(lambda name: operation(INCREMENT, name, b"abc"))),
    "a good operation before a bad one": (
        "malformed", sealed(lambda name: operation(PUT, name, b"x"), lambda name: operation(PUT, name, answer=9))),
    "two operations before a long value": (
        "malformed", sealed(lambda name: operation(PUT, name, b"x"), lambda name: operation(PUT, name), flags=LONG)),
    "a long value of a get": ("malformed", sealed(lambda name: operation(GET, name), flags=LONG)),
    "a ping with a payload": ("malformed", sealed(bytes(8), kind=PING, count=0)),
}


class TestBadInput:
    @pytest.mark.parametrize("what", BAD)
    def test_a_bad_frame_closes_with_its_reason_and_touches_nothing(self, node, name, what):
        reason, build = BAD[what]
        with node.frames() as wire, node.frames() as other:
            keys = node.call("GET", "/metrics").body
            wire.send(build(wire, name) + b"more that nobody reads" * 100)
            end = wire.closed()
            assert (end.reason, end.number) == (reason, 0), end
            assert len(end.sentence) > 20
            assert other.get(name).status == 404
            count = [line for line in keys.decode().splitlines() if line.startswith("kvd_keys ")]
            assert count[0].encode() in node.call("GET", "/metrics").body

    @pytest.mark.parametrize("what", ["checksum", "too long", "kind 99", "an id left out"])
    def test_what_came_before_a_bad_frame_is_done_and_answered(self, node, name, what):
        reason, build = BAD[what]
        if what == "an id left out":
            build = sealed(lambda name: operation(PUT, name), number=9)
        with node.frames() as wire:
            first = request(1, [operation(PUT, name, b"first")], wire.outgoing)
            second = request(2, [operation(PUT, name, b"second", WITH_ACK)], wire.outgoing)
            wire.send(first + second + build(wire, name) + first)
            assert wire.results(1, 1)[0].status == 201
            assert wire.acknowledged(2)[0] == 2
            end = wire.closed()
            assert (end.reason, end.number) == (reason, 2)
        with node.frames() as wire:
            assert wire.get(name).record.value == b"second"

    @pytest.mark.parametrize("part", [1, 7, 8, 23, 24, 40, -1])
    def test_a_frame_cut_short_is_truncated(self, node, name, part):
        with node.frames() as wire:
            wire.send(request(1, [operation(PUT, name, b"cut")], wire.outgoing)[:part])
            wire.end()
            assert wire.closed().reason == "truncated"
        with node.frames() as wire:
            wire.send(long_request(1, name, b"cut" * 30_000, wire.outgoing)[:part])
            wire.end()
            assert wire.closed().reason == "truncated"
        with node.frames() as wire:
            assert wire.get(name).status == 404

    def test_what_was_asked_is_answered_after_the_client_ended(self, wire, name):
        number = wire.post(operation(PUT, name, b"v"), operation(GET, name))
        wire.end()
        assert wire.results(number, 2)[1].record.value == b"v"
        assert wire.closed().reason is None

    @pytest.mark.parametrize("greeting, reason", [
        (b"GET / HTTP/1.1\r\nHost: kvd\r\n\r\n", "noGreeting"), (b"\0" * 200, "noGreeting"),
        (frame(PING, 1), "noGreeting"), (request(1, [operation(GET, b"k")]), "noGreeting"),
        (hello(bytes(16)), "role"), (hello(b"s" * 16, role=2), "role"), (hello(b"s" * 16, role=9), "role"),
        (hello(b"s" * 16, version=0), "version"), (hello(b"s" * 16, magic=b"kvd2"), "malformed"),
        (hello(b"s" * 16, cluster=b"c" * 16), "cluster"), (hello(b"s" * 16, receiver=b"r" * 16), "destination"),
        (hello(b"s" * 16, last=1), "malformed"), (hello(b"s" * 16)[:-1] + b"\1", "badChecksum"),
    ])
    def test_a_bad_greeting_is_refused(self, node, greeting, reason):
        with node.frames(greet=False) as wire:
            wire.send(greeting)
            assert wire.closed().reason == reason

    def test_a_greeting_may_name_whom_it_means_and_a_later_version(self, node):
        with node.frames() as first, node.frames() as second:
            assert first.node == second.node and first.session != second.session
            status = node.call("GET", "/").json()
            assert status["node"]["id"] == first.node.hex() and status["cluster"]["id"] == first.cluster.hex()
            with node.frames(greet=False) as wire:
                wire.greet(cluster=first.cluster, receiver=first.node, version=7)
                assert wire.get(b"missing").status == 404

    def test_random_damage_never_harms_anyone(self, node, name):
        chance = random.Random(3)
        with node.frames() as other:
            assert other.put(name, b"whole").status == 201
            for _ in range(300):
                with node.frames() as wire:
                    good = request(1, [operation(PUT, name, b"bad"), operation(DELETE, name)], wire.outgoing)
                    data = bytearray(good)
                    for _ in range(chance.randrange(1, 4)):
                        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                    if bytes(data) == good:
                        continue
                    wire.send(bytes(data))
                    wire.end()
                    assert wire.closed().reason in (
                        "tooLong", "truncated", "unknownKind", "badChecksum", "malformed", "outOfOrder")
            assert other.get(name).record.value == b"whole"

    def test_bad_frames_are_counted(self, node):
        def counted():
            for line in node.call("GET", "/metrics").body.decode().splitlines():
                if line.startswith("kvd_bad_frames_total "):
                    return int(line.split()[1])

        before = counted()
        with node.frames() as wire:
            wire.send(bytes(100))
            wire.closed()
        assert counted() == before + 1


class TestSlowClients:
    def test_frames_that_come_byte_by_byte(self, node, name):
        with node.frames(greet=False) as wire:
            wire.send_slowly(hello(wire.sender))
            wire.welcome()
            data = b"".join(
                request(number, [operation(PUT, name, b"%d" % number), operation(GET, name)], wire.outgoing)
                for number in (1, 2, 3))
            wire.send_slowly(data + long_request(4, name, b"long", wire.outgoing))
            for number in (1, 2, 3):
                assert wire.results(number, 2)[1].record.value == b"%d" % number
            assert wire.results(4, 1)[0].status == 200

    @pytest.mark.parametrize("step", [3, 23, 100, 1000, 33_000])
    def test_frames_cut_anywhere(self, wire, name, step):
        data = b"".join(
            request(number, [operation(PUT, b"%s-%d" % (name, i), b"v" * (i * number)) for i in range(number % 40)],
                    wire.outgoing)
            for number in range(1, 60))
        reader = threading.Thread(target=wire.send_slowly, args=(data, step))
        reader.start()
        for number in range(1, 60):
            assert len(wire.results(number, number % 40)) == number % 40
        reader.join()

    def test_a_client_that_does_not_read_is_not_read_from(self, start):
        node = start("--cores", "1")
        with node.frames(receive_buffer=4096) as wire, node.frames() as other:
            assert wire.put(b"k", b"x" * 4000).status == 201
            frame_ = lambda: request(wire.next(), [operation(GET, b"k") for _ in range(500)], wire.outgoing)
            wire.socket.setblocking(False)
            sent, waiting = 0, b""
            while True:
                waiting = waiting or frame_()
                if not select.select([], [wire.socket], [], 1)[1]:
                    break
                count = wire.socket.send(waiting)
                waiting, sent = waiting[count:], sent + count
                assert sent < 64 * MIB, "a client that reads nothing is read from for ever"
            assert node.resident_bytes() < 300 * MIB
            assert other.get(b"k").status == 200
            wire.socket.settimeout(20)
            number = wire.number
            sender = threading.Thread(target=wire.send, args=(waiting,))
            sender.start()
            counts = dict.fromkeys(range(2, number + 1), 500)
            while counts:
                for result in wire.receive().results:
                    assert result.status == 200
                    counts[result.request] -= 1
                    if not counts[result.request]:
                        del counts[result.request]
            sender.join()

    def test_time_outs_name_their_reason(self, start):
        node = start(limits={"headTimeout": 300, "bodyTimeout": 300, "idleTimeout": 300})
        with node.frames(greet=False) as silent:
            assert silent.closed().reason == "timeout"
        with node.frames() as part:
            part.send(request(1, [operation(GET, b"k")], part.outgoing)[:30])
            assert part.closed().reason == "timeout"
        with node.frames() as long:
            long.send(long_request(1, b"k", bytes(100_000), long.outgoing)[:50_000])
            assert long.closed().reason == "timeout"
        with node.frames() as idle:
            assert idle.closed().reason == "idle"
        with node.frames() as busy:
            for number in range(1, 20):
                busy.send(frame(PING, number, seed=busy.outgoing))
                pong = busy.receive()
                assert (pong.kind, pong.number) == (PONG, number)
                select.select([], [], [], 0.05)
            assert busy.get(b"k").status == 404

    def test_too_many_connections_are_told_so(self, start):
        node = start("--cores", "1", limits={"connections": 2})
        with node.frames() as first, node.frames() as second:
            with node.frames(greet=False) as third:
                assert third.closed().reason == "overloaded"
            assert first.get(b"k").status == second.get(b"k").status == 404


class TestNode:
    def test_going_down_is_said_and_what_was_asked_is_done(self, start):
        node = start()
        with node.frames() as wire:
            wire.post(*[operation(PUT, b"%d" % i, b"v", WITH_ACK) for i in range(1000)])
            wire.acknowledged(1)
            node.process.terminate()
            end = wire.closed()
            assert (end.reason, end.number) == ("goingDown", 1)

    def test_a_peer_port_in_use_is_named(self, start, io):
        first = start()
        port = first.peer_address[1]
        result = run_kvd("serve", "--http", "127.0.0.1:0", "--peer", f"127.0.0.1:{port}", "--io", io)
        assert result.returncode > 0 and str(port) in result.stderr

    def test_both_ports_cannot_be_one(self):
        result = run_kvd("serve", "--http", "127.0.0.1:21999", "--peer", "127.0.0.1:21999")
        assert result.returncode > 0 and "--peer" in result.stderr

    def test_operations_are_counted_and_logged_as_those_of_http(self, start):
        node = start("--log-level", "debug", "--cores", "1")
        with node.frames() as wire:
            wire.ask(operation(PUT, b"k", b"v"), operation(GET, b"k"), operation(GET, b"none"))
            text = node.call("GET", "/metrics").body.decode()
            assert 'kvd_requests_total{route="get",code="2xx"} 1' in text
            assert 'kvd_requests_total{route="get",code="4xx"} 1' in text
            assert 'kvd_requests_total{route="put",code="2xx"} 1' in text
            assert "kvd_frames_received_total 2" in text
            wire.send(bytes(24))
            wire.closed()
        until(lambda: node.events_named("connection refused"), "the refusal is logged")
        lines = [event for event in node.events_named("request") if event["type"] == "FRAME"]
        assert [(line["operation"], line["key"], line["status"]) for line in lines] == [
            ("put", "k", 201), ("get", "k", 200), ("get", "none", 404)]
