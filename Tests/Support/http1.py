"""A small, strict HTTP/1.1 client on a raw socket: it sends the bytes it is given and takes only correct answers."""

import json
import re
import select
import socket
import time
from dataclasses import dataclass

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([\t \x21-\x7e]*)")
FIELD_VALUE = re.compile(rb"[\x21-\x7e\x80-\xff]?([\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")


class Closed(Exception):
    """The server closed the connection before or within an answer; `received` is what came."""

    def __init__(self, received=b""):
        super().__init__(f"closed after {received[:200]!r}")
        self.received = received


@dataclass
class Response:
    """One answer. Header names are in lower case; a repeated header is an error unless asked for with `all`."""

    status: int
    reason: str
    fields: list
    body: bytes

    def all(self, name):
        return [value for field, value in self.fields if field == name.lower()]

    def header(self, name):
        values = self.all(name)
        assert len(values) <= 1, f"{name} is repeated: {values}"
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)

    @property
    def etag(self):
        value = self.header("etag")
        assert value and re.fullmatch(r'"\d+-\d+-\d+"', value), f"not a quoted revision: {value}"
        return value

    def problem(self, *expected):
        """Checks that this is an RFC 9457 problem of one of the expected statuses; returns its members."""
        assert self.status in expected, f"{self.status} {self.body[:300]!r}, expected {expected}"
        assert self.header("content-type").split(";")[0] == "application/problem+json"
        members = self.json()
        assert members["status"] == self.status
        assert members["title"]
        assert len(members["detail"]) > 10, members
        return members


class Connection:
    """One TCP connection. Every wait has the same time limit."""

    def __init__(self, address, timeout=20.0, receive_buffer=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout = timeout
        self.buffer = bytearray()
        self.interim = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def readable(self, seconds):
        """Whether bytes or the end arrive within so many seconds."""
        return bool(self.buffer) or bool(select.select([self.socket], [], [], seconds)[0])

    def _fill(self):
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(bytes(self.buffer))
        self.buffer += data

    def _take(self, count):
        while len(self.buffer) < count:
            self._fill()
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def _line(self):
        while (end := self.buffer.find(b"\r\n")) < 0:
            self._fill()
        return self._take(end + 2)[:-2]

    def response(self, method="GET"):
        """The next final answer, with its body. Interim ones are collected in `interim`."""
        self.interim = []
        while True:
            answer = self.head()
            if answer.status >= 200:
                break
            self.interim.append(answer)
        if method == "HEAD" or answer.status in (204, 304):
            if answer.status == 204:
                assert answer.header("content-length") is None, "204 with a Content-Length (RFC 9110, 8.6)"
            return answer
        coding = answer.header("transfer-encoding")
        if coding is not None:
            assert coding.lower() == "chunked" and answer.header("content-length") is None
            answer.body = self._chunks()
        elif (length := answer.header("content-length")) is not None:
            assert re.fullmatch(r"\d+", length)
            answer.body = self._take(int(length))
        else:
            assert answer.header("connection") == "close", "a body of unknown length on a connection that stays open"
            answer.body = self.rest()
        return answer

    def head(self):
        """The next status line and fields, without any body."""
        line = self._line()
        match = STATUS_LINE.fullmatch(line)
        assert match, f"not a status line: {line[:200]!r}"
        fields = []
        while line := self._line():
            name, colon, value = line.partition(b":")
            value = value.strip(b" \t")
            assert colon and TOKEN.fullmatch(name) and FIELD_VALUE.fullmatch(value), f"bad field: {line[:200]!r}"
            fields.append((name.decode("ascii").lower(), value.decode("latin-1")))
        return Response(int(match[1]), match[2].decode("ascii"), fields, b"")

    def _chunks(self):
        body = bytearray()
        while size := int(re.fullmatch(rb"([0-9A-Fa-f]{1,16})(;.*)?", self._line())[1], 16):
            body += self._take(size)
            assert self._take(2) == b"\r\n"
        assert self._line() == b"", "trailers are never sent"
        return bytes(body)

    def rest(self):
        """Everything up to the end of the connection."""
        try:
            while True:
                self._fill()
        except Closed:
            taken = bytes(self.buffer)
            self.buffer.clear()
            return taken

    def ended(self, seconds=10.0):
        """Whether the server ends the connection within so many seconds, sending nothing more."""
        deadline = time.monotonic() + seconds
        while not self.buffer and (left := deadline - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                return False
            try:
                self._fill()
            except Closed:
                return True
        return False

    def call(self, method, target, body=None, headers=None):
        """Sends one request and returns its answer."""
        self.send(request(method, target, body, headers))
        return self.response(method)


def request(method, target, body=None, headers=None):
    """The bytes of a request; `body` gets a Content-Length."""
    lines = [f"{method} {target} HTTP/1.1", "Host: kvd.test"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")
