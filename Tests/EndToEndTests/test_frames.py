"""The binary protocol on the --peer port: operations, batches, levels of answer, long values."""

import hashlib
import os
import random
import threading

import pytest

from frames import (
    ABSENT, APPEND, DELETE, GET, INCREMENT, NO_ANSWER, PRESENT, PUT, WITH_ACK, frame, long_request, operation)
from node import until

MIB = 1 << 20


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
