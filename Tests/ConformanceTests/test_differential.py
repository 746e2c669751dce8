"""Random requests, valid and mutated, given to kvd and to two other parsers: h11 and httptools (llhttp).

Where kvd takes what both others refuse, or refuses what both take, one is wrong: kvd must agree with at least one of
them, but for the deliberate differences listed in `DELIBERATE`.
"""

import random
import re

import h11
import httptools
import pytest

from http1 import Closed

ROUNDS = 1500


def h11_takes(data):
    """How many whole requests h11 reads, and whether it ended without an error."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 16)
    count = 0
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.EndOfMessage):
                count += 1
                if connection.our_state is h11.SEND_RESPONSE:
                    connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                    connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE or connection.states[h11.CLIENT] is h11.MUST_CLOSE:
                    return count, True
                connection.start_next_cycle()
            elif event is h11.NEED_DATA:
                return count, True
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return count, True
    except h11.RemoteProtocolError:
        return count, False
    except h11.LocalProtocolError:
        return count, True


class _Counter:
    def __init__(self):
        self.count = 0

    def on_message_complete(self):
        self.count += 1


def llhttp_takes(data):
    counter = _Counter()
    parser = httptools.HttpRequestParser(counter)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return counter.count, True
    except httptools.HttpParserError:
        return counter.count, False
    return counter.count, True


def kvd_takes(node, data, most):
    """How many requests kvd answers as such, and whether it ended without a framing error."""
    with node.connect(timeout=10) as connection:
        try:
            connection.send(data)
            connection.half_close()
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass
        count = 0
        try:
            while count <= most:
                answer = connection.response()
                if answer.status in (400, 413, 414, 417, 431, 501, 505) and answer.header("connection") == "close":
                    return count, False, answer
                if answer.status == 408:
                    return count, True, None
                count += 1
        except Closed as closed:
            assert closed.received == b"", f"a torn answer: {closed.received[:200]!r}"
        return count, True, None


# Why kvd may refuse what both others take, as a pattern of the bytes; besides these, a Host that is missing, repeated
# or malformed, which its answer names.
DELIBERATE = [
    ("a method that kvd doesn't serve", rb"^(?!(GET|PUT|POST|DELETE|PATCH|OPTIONS|HEAD) )"),
    ("a target that kvd can't take: not a path, or with bytes that must be encoded", rb"^[A-Z]+ (?!/[!-~]* HTTP)"),
    ("the same length twice", rb"(?is)content-length.*content-length"),
    ("a repeated field that must be single", rb"(?is)(content-type|if-match|expect).*\1"),
    ("an expectation nobody knows", rb"(?i)expect:"),
    ("a coding that isn't chunked alone", rb"(?i)transfer-encoding:"),
    ("a version that isn't 1.0 or 1.1", rb"HTTP/(?!1\.[01]\r\n)"),
]


# Why kvd may take what both others refuse: trailers are dropped whatever they are, which no name in them can abuse.
MORE_LENIENT = [("a framing field among the trailers", rb"(?i)\r\n0+(;[^\r]*)?\r\n([^\r]+\r\n)*transfer-encoding:")]


def generate(chance):
    """One to three valid requests in a row."""
    parts = []
    for _ in range(chance.randrange(1, 4)):
        method = chance.choice([b"GET", b"PUT", b"POST", b"DELETE"])
        target = b"/differential-" + bytes(chance.choices(b"abcdef0123456789-._~", k=chance.randrange(0, 12)))
        fields = [b"Host: " + chance.choice([b"a", b"localhost:80", b""])]
        for _ in range(chance.randrange(4)):
            name = chance.choice([b"X-A", b"Accept", b"User-Agent", b"Cookie", b"x!#$"])
            value = chance.choice([b"a", b"", b"a, b", b"\xe4", b"a\tb"])
            fields.append(name + b":" + chance.choice([b" ", b"", b"\t "]) + value)
        body = b""
        if method in (b"PUT", b"POST"):
            data = chance.randbytes(chance.choice([0, 1, 20, 300]))
            if chance.random() < 0.5:
                fields.append(b"Content-Length: %d" % len(data))
                body = data
            else:
                fields.append(b"Transfer-Encoding: " + chance.choice([b"chunked", b"Chunked"]))
                at = 0
                while at < len(data):
                    step = chance.randrange(1, len(data) - at + 1)
                    body += b"%x%s\r\n" % (step, chance.choice([b"", b"", b";a=b"])) + data[at:at + step] + b"\r\n"
                    at += step
                body += b"0\r\n" + chance.choice([b"", b"X-T: y\r\n"]) + b"\r\n"
        chance.shuffle(fields)
        parts.append(b"\r\n".join([method + b" " + target + b" HTTP/1.1", *fields]) + b"\r\n\r\n" + body)
    return b"".join(parts), len(parts)


INSERTED = [b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b",", b";", b"0", b"-", b"\x0b"]
INSERTED_LINES = [
    b"Content-Length: 1", b"Transfer-Encoding: chunked", b" folded", b"X : y", b"Host: b", b"Connection: close",
    b"Content-Length: +1", b"Transfer-Encoding: gzip, chunked", b"X", b"",
]


def mutate(chance, data):
    """Changes a few bytes of a request's head or framing."""
    result = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        at = chance.randrange(len(result))
        kind = chance.randrange(6)
        if kind == 0:
            del result[at:at + chance.choice([1, 1, 2, 10])]
        elif kind == 1:
            result[at:at] = chance.choice(INSERTED)
        elif kind == 2:
            result[at:at + 1] = bytes([chance.randrange(256)])
        elif kind == 3:
            lines = result.split(b"\r\n")
            lines.insert(chance.randrange(len(lines)), chance.choice(lines))
            result = bytearray(b"\r\n".join(lines))
        elif kind == 4:
            lines = result.split(b"\r\n")
            lines.insert(chance.randrange(1, max(2, len(lines))), chance.choice(INSERTED_LINES))
            result = bytearray(b"\r\n".join(lines))
        else:
            position = bytes(result).find(b"\r\n", at)
            if position >= 0:
                result[position:position + 2] = chance.choice([b"\n", b"\r", b"\r\r\n", b"\n\r"])
        if not result:
            result = bytearray(b"\r\n")
    return bytes(result)


def test_valid_requests_are_taken_by_all(node):
    chance = random.Random(9112)
    for _ in range(ROUNDS // 5):
        data, count = generate(chance)
        assert llhttp_takes(data) == (count, True), data
        assert h11_takes(data) == (count, True), data
        assert kvd_takes(node, data, count)[:2] == (count, True), data


@pytest.mark.timeout(300)
def test_mutated_requests_are_judged_as_others_do(node):
    chance = random.Random(7230)
    agreed = refused = 0
    differences = []
    for _ in range(ROUNDS):
        data = mutate(chance, generate(chance)[0])
        others = h11_takes(data), llhttp_takes(data)
        counts = [taken for taken, _ in others]
        count, well, answer = kvd_takes(node, data, 8)
        if count > max(counts) and not any(re.search(pattern, data) for _, pattern in MORE_LENIENT):
            differences.append((data, others, count, "took what no other took"))
        elif count >= min(counts):
            agreed += 1
        elif well:
            differences.append((data, others, count, "waited for more where others had a whole request"))
        else:
            # kvd is stricter than both: the reason must be one of those that are meant.
            rest = after_requests(data, count)
            sentence = answer.json()["detail"]
            if any(re.search(pattern, rest) for _, pattern in DELIBERATE) or "Host" in sentence:
                refused += 1
            else:
                differences.append((data, others, count, sentence))
    assert not differences, f"{len(differences)} differences, the first: {differences[0]}"
    assert agreed > ROUNDS * 0.8, (agreed, refused)


def after_requests(data, count):
    """The bytes that follow `count` whole requests, as llhttp measures them; all of them where it doesn't know."""
    counter = _Counter()
    parser = httptools.HttpRequestParser(counter)
    try:
        for i in range(len(data)):
            if counter.count == count and count:
                return data[i:]
            parser.feed_data(data[i:i + 1])
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass
    return data if not counter.count == count or not count else b""
