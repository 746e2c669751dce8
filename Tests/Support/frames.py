"""A client of the binary protocol, written from Sources/Wire/Wire.docc/Frames.md alone: strict in what it takes, and
able to send anything."""

import os
import socket
import struct
import time
from dataclasses import dataclass, field

import xxhash

HELLO, WELCOME, REQUEST, REPLY, ACK, PING, PONG, CLOSE = range(1, 9)
GET, PUT, DELETE, INCREMENT, APPEND = range(1, 6)
NO_ANSWER, WITH_ACK, WITH_REPLY = range(3)
LONG = 1
ANY = bytes(16)
ABSENT = (0, 0, 0)
PRESENT = (65535, 0, 0)

REASONS = ("", "tooLong", "truncated", "unknownKind", "badChecksum", "malformed", "outOfOrder", "noGreeting", "version",
           "cluster", "destination", "role", "timeout", "idle", "overloaded", "goingDown")


def xxh3(data, seed=0):
    return xxhash.xxh3_64_intdigest(data, seed)


def padded(data):
    return data + bytes(-len(data) % 8)


def binding(cluster, source, destination, session):
    return xxh3(cluster + source + destination + struct.pack("<Q", session))


def frame(kind, number=0, payload=b"", seed=0, count=0, flags=0, length=None, checksum=None):
    """A frame; `length` and `checksum` are right unless they are given."""
    first = struct.pack("<IBBH", 24 + len(payload) if length is None else length, kind, flags, count)
    rest = struct.pack("<Q", number) + payload
    if checksum is None:
        checksum = xxh3(rest, int.from_bytes(first, "little") ^ seed)
    return first + struct.pack("<Q", checksum) + rest


def hello(sender, cluster=ANY, receiver=ANY, version=1, role=1, magic=b"kvd1", session=0, last=0):
    return frame(HELLO, 0, magic + struct.pack("<HBB", version, role, 0) + cluster + sender + receiver
                 + struct.pack("<QIIII", session, 0, 0, 0, last))


def record(
        key, value=b"", map_name=b"", record_kind=1, ttl=0, content_type=None, seal=False, time_48=0, offset=0,
        epoch=0):
    """A record as an operation has it; `content_type` is a code or bytes."""
    bits = record_kind
    extras = b""
    if ttl:
        bits |= 0x80
        extras += struct.pack("<Q", ttl)
    if content_type is not None:
        bits |= 0x40
        extras += bytes([content_type]) if isinstance(content_type, int) else (
            bytes([255, len(content_type)]) + content_type)
    rest = struct.pack("<I", epoch) + offset.to_bytes(6, "little") + time_48.to_bytes(6, "little")
    rest += struct.pack("<HBB", len(key), len(map_name), bits) + extras + map_name + key
    checksum = xxh3(rest, xxh3(value)) & 0xFFFFFFFF if seal else 0
    return struct.pack("<II", 8 + len(rest) + len(value), checksum) + rest + value


def operation(kind, key, value=b"", answer=WITH_REPLY, revision=None, minimum=None, once=b"", **fields):
    """One operation, without its padding."""
    conditions, bits = b"", 0
    if revision is not None:
        bits |= 1
        conditions += struct.pack("<HHIQ", revision[0], 0, revision[1], revision[2])
    if minimum is not None:
        bits |= 2
        conditions += struct.pack("<HHIQ", minimum[0], 0, minimum[1], minimum[2])
    if once:
        bits |= 4
        conditions += padded(struct.pack("<H", len(once)) + once)
    if isinstance(value, int):
        value = struct.pack("<q", value)
    fields.setdefault("record_kind", 2 if kind in (GET, DELETE) else 1)
    tail = record(key, value, **fields)
    return struct.pack("<BBHI", kind, answer, bits, 8 + len(conditions) + len(tail)) + conditions + tail


def request(number, operations, seed=0):
    return frame(REQUEST, number, b"".join(padded(each) for each in operations), seed, len(operations))


def long_request(number, key, value, seed=0, answer=WITH_REPLY, **fields):
    """A put whose value follows its frame: the frame, then the value."""
    whole = operation(PUT, key, value, answer, seal=True, **fields)
    cut = len(whole) - len(value)
    return frame(REQUEST, number, whole[:cut], seed, 1, LONG) + value


@dataclass
class Record:
    """A record of a reply, with its checksum verified."""

    key: bytes
    value: bytes
    map_name: bytes
    revision: tuple
    time: int
    expiry: int
    content_type: object

    @staticmethod
    def read(data):
        length, checksum, epoch = struct.unpack_from("<III", data)
        assert length == len(data)
        offset = int.from_bytes(data[12:18], "little")
        moment = int.from_bytes(data[18:24], "little")
        key_count, map_count, bits = struct.unpack_from("<HBB", data, 24)
        assert bits & 7 == 1, "a reply's record is a put"
        at, expiry, content_type = 28, 0, None
        if bits & 0x80:
            expiry, at = struct.unpack_from("<Q", data, at)[0], at + 8
        if bits & 0x40:
            content_type, at = data[at], at + 1
            if content_type == 255:
                content_type, at = bytes(data[at + 1:at + 1 + data[at]]), at + 1 + data[at]
        map_name, at = bytes(data[at:at + map_count]), at + map_count
        key, at = bytes(data[at:at + key_count]), at + key_count
        value = bytes(data[at:])
        assert checksum == xxh3(data[8:at], xxh3(value)) & 0xFFFFFFFF, "a record's checksum"
        return Record(key, value, map_name, (epoch, offset), moment, expiry, content_type)


@dataclass
class Result:
    request: int
    index: int
    status: int
    revision: tuple
    record: Record = None
    value: bytes = None
    sentence: str = None


@dataclass
class Frame:
    kind: int
    number: int
    count: int
    flags: int
    payload: bytes
    results: list = field(default_factory=list)


class Closed(Exception):
    """The node ended the connection; `reason` is that of its CLOSE frame, or None if there was none."""

    def __init__(self, reason=None, number=None, sentence=""):
        super().__init__(f"{reason} after request {number}: {sentence}")
        self.reason, self.number, self.sentence = reason, number, sentence


class FrameConnection:
    """One connection; greeted unless told otherwise. Every wait has the same time limit."""

    def __init__(self, address, greet=True, timeout=20.0, receive_buffer=None, sender=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.sender = sender or os.urandom(16)
        self.number = 0
        self.outgoing = self.incoming = 0
        self.early = []
        if greet:
            self.greet()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def end(self):
        """Sends no more."""
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.socket.sendall(data)

    def send_slowly(self, data, step=1):
        for at in range(0, len(data), step):
            self.socket.sendall(data[at:at + step])

    # Receiving

    def _fill(self, count):
        while len(self.buffer) < count:
            piece = self.socket.recv(1 << 18)
            if not piece:
                assert not self.buffer, f"closed inside a frame: {bytes(self.buffer[:64])!r}"
                raise Closed()
            self.buffer += piece

    def receive(self):
        """The next frame, with everything about it verified; a CLOSE raises `Closed`."""
        self._fill(24)
        first = bytes(self.buffer[:8])
        length, kind, flags, count = struct.unpack("<IBBH", first)
        assert 24 <= length <= 1 << 20 and kind in range(1, 9) and flags in (0, LONG), (length, kind, flags)
        assert flags or length % 8 == 0
        self._fill(length)
        data = bytes(self.buffer[:length])
        del self.buffer[:length]
        checksum, number = struct.unpack_from("<QQ", data, 8)
        assert checksum == xxh3(data[16:], int.from_bytes(first, "little") ^ self.incoming), f"checksum of kind {kind}"
        received = Frame(kind, number, count, flags, data[24:])
        if kind == CLOSE:
            reason, sentence, zero = struct.unpack_from("<HHI", received.payload)
            assert zero == 0
            text = received.payload[8:8 + sentence].decode()
            assert len(padded(received.payload[:8 + sentence])) == len(received.payload)
            assert self.socket.recv(1) == b"" and not self.buffer, "something behind CLOSE"
            raise Closed(REASONS[reason], number, text)
        if kind == REPLY:
            received.results = self._results(received)
        else:
            assert not flags and count == 0
        return received

    def _results(self, received):
        results, at, data = [], 0, received.payload
        assert received.count > 0
        for _ in range(received.count):
            index, status, length, partition, body, zero, epoch, offset = struct.unpack_from("<HHIHBBIQ", data, at)
            assert zero == 0
            if received.flags & LONG:
                assert received.count == 1 and body == 1
                rest = length - (len(data) - 24)
                self._fill(rest)
                content = data[24:] + bytes(self.buffer[:rest])
                del self.buffer[:rest]
                at = len(data)
            else:
                content = data[at + 24:at + 24 + length]
                end = at + 24 + length
                at = end + -end % 8
                assert not any(data[end:at]), "padding that isn't zero"
            result = Result(received.number, index, status, (partition, epoch, offset) if offset else None)
            assert body == 0 or length > 0
            if body == 1:
                result.record = Record.read(content)
                assert result.record.revision == (epoch, offset)
            elif body == 2:
                result.value = content
            elif body == 3:
                result.sentence = content.decode()
                assert status >= 400 and len(result.sentence) > 10
            else:
                assert body == 0 and length == 0
            results.append(result)
        assert at == len(data)
        return results

    def greet(self, **fields):
        self.send(hello(self.sender, **fields))
        return self.welcome()

    def welcome(self):
        received = self.receive()
        assert received.kind == WELCOME and received.number == 0 and len(received.payload) == 80
        magic, version, role, zero = struct.unpack_from("<4sHBB", received.payload)
        assert (magic, version, role, zero) == (b"kvd1", 1, 2, 0)
        self.cluster, self.node = received.payload[8:24], received.payload[24:40]
        assert received.payload[40:56] == self.sender
        self.session, self.frame_limit, self.value_limit, self.key_limit, zero = struct.unpack_from(
            "<QIIII", received.payload, 56)
        assert zero == 0 and any(self.cluster) and any(self.node)
        self.outgoing = binding(self.cluster, self.sender, self.node, self.session)
        self.incoming = binding(self.cluster, self.node, self.sender, self.session)
        return received

    # Asking

    def next(self):
        self.number += 1
        return self.number

    def post(self, *operations):
        """Sends a request and returns its number."""
        number = self.next()
        self.send(request(number, operations, self.outgoing))
        return number

    def post_long(self, key, value, **fields):
        number = self.next()
        self.send(long_request(number, key, value, self.outgoing, **fields))
        return number

    def results(self, number, count):
        """The results of a request in the order of its operations; other replies are kept for their turn."""
        found = [each for each in self.early if each.request == number]
        self.early = [each for each in self.early if each.request != number]
        while len(found) < count:
            received = self.receive()
            assert received.kind in (REPLY, ACK), received
            for result in received.results:
                (found if result.request == number else self.early).append(result)
        assert sorted(result.index for result in found) == sorted({result.index for result in found})
        return sorted(found, key=lambda result: result.index)

    def ask(self, *operations):
        """Sends operations that all ask for a reply; returns their results."""
        return self.results(self.post(*operations), len(operations))

    def one(self, kind, key, value=b"", **fields):
        return self.ask(operation(kind, key, value, **fields))[0]

    def get(self, key, **fields):
        return self.one(GET, key, **fields)

    def put(self, key, value, **fields):
        return self.one(PUT, key, value, **fields)

    def acknowledged(self, number):
        """Waits for an ACK up to `number`; returns the count of operations it names, and the failures before it."""
        failures = []
        while True:
            received = self.receive()
            if received.kind == REPLY:
                failures += received.results
                continue
            assert received.kind == ACK and len(received.payload) == 8, received
            if received.number >= number:
                return struct.unpack("<Q", received.payload)[0], failures

    def closed(self, seconds=20.0):
        """Reads to the end; returns what CLOSE said."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                self.receive()
            except Closed as end:
                return end
        raise AssertionError("not closed")
