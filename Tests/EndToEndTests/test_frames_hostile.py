"""The binary protocol on the --peer port: bad input, slow clients, the node around it."""

import random
import select
import struct
import threading

import pytest

from frames import (
    DELETE, GET, INCREMENT, LONG, PING, PONG, PUT, REPLY, REQUEST, WELCOME, WITH_ACK, frame, hello, long_request,
    operation, padded, request)
from node import run_kvd, until

MIB = 1 << 20


def broken(change, at=0, size=1):
    """A put's frame with `change` made at byte `at`, under the checksum it had before."""
    def build(wire, name):
        data = bytearray(request(1, [operation(PUT, name, b"broken")], wire.outgoing))
        data[at:at + size] = change
        return bytes(data)
    return build


def flipped(at):
    """A put's frame with bits of byte `at` flipped: a checksum is by chance, and may have any byte already."""
    def build(wire, name):
        data = bytearray(request(1, [operation(PUT, name, b"broken")], wire.outgoing))
        data[at] ^= 0x55
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
    "checksum": ("badChecksum", flipped(9)),
    "damaged payload": ("badChecksum", flipped(60)),
    "of the other direction": ("badChecksum", lambda wire, name: request(1, [operation(PUT, name)], wire.incoming)),
    "of another connection": ("badChecksum", lambda wire, name: request(1, [operation(PUT, name)], wire.outgoing ^ 1)),
    "a second HELLO": ("badChecksum", lambda wire, name: hello(wire.sender)),
    "an id left out": ("outOfOrder", sealed(lambda name: operation(PUT, name), number=2)),
    "an id of 0": ("outOfOrder", sealed(lambda name: operation(PUT, name), number=0)),
    "an id from the end": ("outOfOrder", sealed(lambda name: operation(PUT, name), number=2**64 - 1)),
    "fewer operations than counted": ("malformed", sealed(lambda name: operation(PUT, name), count=2)),
    "more operations than counted": ("malformed", sealed(lambda name: operation(PUT, name), bytes(40), count=1)),
    "an operation beyond the frame": ("malformed", sealed(lambda name: operation(PUT, name)[:-8])),
    "an unknown operation": ("malformed", sealed(lambda name: b"\x7f" + operation(PUT, name)[1:])),
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
        (hello(bytes(16)), "role"), (hello(b"s" * 16, role=2), "cluster"), (hello(b"s" * 16, role=9), "role"),
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
