"""Requests on the wire that a correct HTTP/1.1 server must refuse, or must take (RFC 9110, RFC 9112).

The refused ones follow the public test collections for parsers and for request smuggling: wherever two recipients could
measure a message differently, it is an error, and the connection ends, as nothing after it can be trusted.
"""

from dataclasses import dataclass

CRLF = b"\r\n"


@dataclass(frozen=True)
class Case:
    """Bytes, what they are, and the statuses of which one must come; an empty answer (just a close) is `CLOSE`."""

    name: str
    data: bytes
    statuses: tuple

    def __str__(self):
        return self.name.replace(" ", "-")


CLOSE = 0
BAD = (400,)


def head(*lines, start=b"GET /conformance HTTP/1.1", host=b"Host: a"):
    """A request head of whole lines; what is passed as bytes stays as it is."""
    return CRLF.join([start, *([host] if host is not None else []), *lines]) + CRLF * 2


def post(*lines, body=b""):
    return head(*lines, start=b"PUT /conformance HTTP/1.1") + body


def start_line(line):
    return head(start=line)


REQUEST_LINES = [
    ("no version", b"GET /\r\n\r\n", BAD),
    ("only a method", b"GET\r\n\r\n", BAD),
    ("no method", start_line(b" / HTTP/1.1"), BAD),
    ("no target", start_line(b"GET HTTP/1.1"), BAD),
    ("no target, two spaces", start_line(b"GET  HTTP/1.1"), BAD),
    ("two spaces after the method", start_line(b"GET  / HTTP/1.1"), BAD),
    ("two spaces after the target", start_line(b"GET /  HTTP/1.1"), BAD),
    ("a tab after the method", start_line(b"GET\t/ HTTP/1.1"), BAD),
    ("a tab after the target", start_line(b"GET /\tHTTP/1.1"), BAD),
    ("a space at the end", start_line(b"GET / HTTP/1.1 "), BAD),
    ("a word at the end", start_line(b"GET / HTTP/1.1 x"), BAD),
    ("a space in the target", start_line(b"GET /a b HTTP/1.1"), BAD),
    ("a space at the start", b" " + head(), BAD),
    ("a colon in the method", start_line(b"GE:T / HTTP/1.1"), (400, 501)),
    ("a NUL in the method", start_line(b"GE\0T / HTTP/1.1"), BAD),
    ("a slash in the method", start_line(b"GE/T / HTTP/1.1"), BAD),
    ("brackets around the method", start_line(b"<GET> / HTTP/1.1"), BAD),
    ("a byte beyond ASCII in the method", start_line(b"G\xcbT / HTTP/1.1"), BAD),
    ("a control in the target", start_line(b"GET /a\x01b HTTP/1.1"), BAD),
    ("a NUL in the target", start_line(b"GET /a\0b HTTP/1.1"), BAD),
    ("DEL in the target", start_line(b"GET /a\x7fb HTTP/1.1"), BAD),
    ("a carriage return in the target", start_line(b"GET /a\rb HTTP/1.1"), BAD),
    ("a target without a slash", start_line(b"GET conformance HTTP/1.1"), BAD),
    ("a target of another scheme", start_line(b"GET ftp://a/ HTTP/1.1"), BAD),
    ("an absolute target without a host", start_line(b"GET http:///a HTTP/1.1"), BAD),
    ("a backslash target", start_line(b"GET \\ HTTP/1.1"), BAD),
    ("an asterisk for GET", start_line(b"GET * HTTP/1.1"), BAD),
    ("CONNECT", start_line(b"CONNECT a:80 HTTP/1.1"), (400, 405, 501)),
    ("a lower-case version", start_line(b"GET / http/1.1"), BAD),
    ("a misspelt version", start_line(b"GET / HTP/1.1"), BAD),
    ("a version with a space", start_line(b"GET / HTTP/ 1.1"), BAD),
    ("a version with a comma", start_line(b"GET / HTTP/1,1"), BAD),
    ("a version without a minor", start_line(b"GET / HTTP/1"), (400, 505)),
    ("a version with a sign", start_line(b"GET / HTTP/+1.1"), BAD),
    ("a version with two digits", start_line(b"GET / HTTP/1.11"), (400, 505)),
    ("a version with two major digits", start_line(b"GET / HTTP/11.1"), (400, 505)),
    ("a version with a letter", start_line(b"GET / HTTP/1.1a"), BAD),
    ("HTTP/0.9", start_line(b"GET / HTTP/0.9"), (400, 505)),
    ("HTTP/2.0", start_line(b"GET / HTTP/2.0"), (400, 505)),
    ("HTTP/9.9", start_line(b"GET / HTTP/9.9"), (400, 505)),
    ("HTTP/2 with prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 501, 505, CLOSE)),
    ("a TLS hello", bytes.fromhex("160301020001") + bytes(250), (400, CLOSE)),
    ("an SSH banner", b"SSH-2.0-OpenSSH_9.2\r\n", (400, 501, CLOSE)),
    ("a redis command", b"*1\r\n$4\r\nPING\r\n", (400, CLOSE)),
    ("binary noise", bytes(range(255, 0, -1)), (400, CLOSE)),
    ("a line feed alone after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", BAD),
    ("line feeds alone throughout", b"GET / HTTP/1.1\nHost: a\n\n", BAD),
    ("a carriage return alone after the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n", BAD),
    ("two carriage returns", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", BAD),
    ("many empty lines first", CRLF * 1000 + head(), BAD),
    ("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", BAD),
]

FIELDS = [
    ("no Host", head(host=None), BAD),
    ("two Hosts", head(b"Host: b"), BAD),
    ("the same Host twice", head(b"Host: a"), BAD),
    ("a Host with a space", head(host=b"Host: a b"), BAD),
    ("a Host with a path", head(host=b"Host: a/b"), BAD),
    ("a Host with a userinfo", head(host=b"Host: a@b"), BAD),
    ("a Host that is a list", head(host=b"Host: a\\,b"), BAD),
    ("a field without a colon", head(b"X"), BAD),
    ("a field with an empty name", head(b": x"), BAD),
    ("a space before the colon", head(b"X : y"), BAD),
    ("a tab before the colon", head(b"X\t: y"), BAD),
    ("a space in a name", head(b"X Y: z"), BAD),
    ("a NUL in a name", head(b"X\0Y: z"), BAD),
    ("a control in a name", head(b"X\x01: z"), BAD),
    ("a byte beyond ASCII in a name", head(b"X\xe4: z"), BAD),
    ("a bracket in a name", head(b"X[0]: z"), BAD),
    ("a slash in a name", head(b"X/Y: z"), BAD),
    ("a quote in a name", head(b'"X": z'), BAD),
    ("a NUL in a value", head(b"X: a\0b"), BAD),
    ("a control in a value", head(b"X: a\x01b"), BAD),
    ("a bell in a value", head(b"X: a\x07"), BAD),
    ("DEL in a value", head(b"X: a\x7fb"), BAD),
    ("a vertical tab in a value", head(b"X: a\x0bb"), BAD),
    ("a form feed in a value", head(b"X: a\x0cb"), BAD),
    ("a carriage return in a value", head(b"X: a\rb"), BAD),
    ("a line feed in a value", head(b"X: a\nY: b"), BAD),
    ("a line feed in front of a name", head(b"\nX: a"), BAD),
    ("a folded value", head(b"X: a\r\n b"), BAD),
    ("a value folded with a tab", head(b"X: a\r\n\tb"), BAD),
    ("a folded first field", head(host=b" Host: a"), BAD),
    ("a folded Host", head(host=b"Host:\r\n a"), BAD),
    ("a line of blanks", head(b"   "), BAD),
    ("a head ended with line feeds alone", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\n\n", BAD),
    ("a head ended with CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", BAD),
    ("a head ended with LF after CRLF", b"GET / HTTP/1.1\r\nHost: a\r\n\n", BAD),
    ("an expectation nobody knows", post(b"Expect: a-miracle", b"Content-Length: 0"), (417,)),
    ("an endless name", b"GET / HTTP/1.1\r\n" + b"X" * 70_000, (400, 431)),
    ("an endless value", b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000, (400, 431)),
    ("endless fields", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 12_000, (400, 431)),
    ("an endless target", b"GET /" + b"a" * 70_000, (414, 431)),
    ("an endless method", b"A" * 70_000, (400, 414, 431, 501)),
]

_LENGTHS = [b"-1", b"+1", b"0x1", b"1.0", b"1e0", b"a", b"1a", b"1 1", b"1,1", b"1, 1", b"1;a=b", b"1\0", b"\"1\"",
            b"", b"\xb2", b"1\x0b", b"0_1", b"- 1", b"1,", b",1", b"5 ,5"]
LENGTHS = [
    *((f"a length of {length!r}", post(b"Content-Length: " + length, body=b"x"), BAD) for length in _LENGTHS),
    ("a length of 19 digits", post(b"Content-Length: 9999999999999999999"), (400, 413)),
    ("a length of 2 to the 64th", post(b"Content-Length: 18446744073709551616"), (400, 413)),
    ("a length of 2 to the 64th and 1", post(b"Content-Length: 18446744073709551617", body=b"x"), (400, 413)),
    ("a length of 2 to the 63rd", post(b"Content-Length: 9223372036854775808"), (400, 413)),
    ("a length of 2 to the 32nd and 1", post(b"Content-Length: 4294967297", body=b"x"), (413,)),
    ("a length of 400 digits", post(b"Content-Length: " + b"9" * 400), (400, 413)),
    ("two lengths", post(b"Content-Length: 1", b"Content-Length: 2", body=b"xy"), BAD),
    ("the same length twice", post(b"Content-Length: 1", b"Content-Length: 1", body=b"x"), BAD),
    ("two lengths in other letters", post(b"content-length: 1", b"CONTENT-LENGTH: 2", body=b"xy"), BAD),
    ("a length with a space before the colon", post(b"Content-Length : 1", body=b"x"), BAD),
]

_CODINGS = [b"identity", b"gzip", b"chunked, identity", b"chunked, gzip", b"chunked, chunked", b"xchunked", b"chunkedx",
            b"chunked;q=1", b"chunked x", b"\"chunked\"", b"\x0bchunked", b"chunked\x0b", b"[chunked]", b"chun ked",
            b"'chunked'", b"x, chunked", b"gzip, chunked", b"", b","]
CODINGS = [
    *((f"a coding of {coding!r}", post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n"), (400, 501))
      for coding in _CODINGS),
    ("a coding and a length", post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"), BAD),
    ("a length and a coding", post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), BAD),
    ("a length of zero and a coding",
     post(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), BAD),
    ("two codings", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), BAD),
    ("a good and a bad coding",
     post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", body=b"0\r\n\r\n"), (400, 501)),
    ("a bad and a good coding",
     post(b"Transfer-Encoding: x", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), (400, 501)),
    ("a coding with a space before the colon", post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"), BAD),
    ("a coding after a space", post(b" Transfer-Encoding: chunked", body=b"0\r\n\r\n"), BAD),
    ("a folded coding", post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"), BAD),
    ("a coding after a NUL", post(b"\0Transfer-Encoding: chunked", body=b"0\r\n\r\n"), BAD),
    ("a coding after a hidden line feed", post(b"X: y\nTransfer-Encoding: chunked", body=b"0\r\n\r\n"), BAD),
    ("a coding after a hidden carriage return", post(b"X: y\rTransfer-Encoding: chunked", body=b"0\r\n\r\n"), BAD),
    ("a coding in HTTP/1.0",
     head(b"Transfer-Encoding: chunked", start=b"PUT /conformance HTTP/1.0") + b"0\r\n\r\n", BAD),
]


def chunked(body):
    return post(b"Transfer-Encoding: chunked", body=body)


_SIZES = [b"g", b"0x1", b"-1", b"+1", b" 1", b"\t1", b"1 1", b"", b"1,", b"1.0", b"1\0", b"\xb9", b"1_0",
          b"h", b"1\x0b"]
CHUNKS = [
    *((f"a chunk size of {size!r}", chunked(size + b"\r\nx\r\n0\r\n\r\n"), BAD) for size in _SIZES),
    ("a chunk size of 2 to the 64th", chunked(b"10000000000000000\r\n"), (400, 413)),
    ("a chunk size of 2 to the 64th and 1", chunked(b"10000000000000001\r\nx\r\n0\r\n\r\n"), (400, 413)),
    ("a chunk size of 2 to the 63rd", chunked(b"8000000000000000\r\nx"), (400, 413)),
    ("the largest chunk size", chunked(b"ffffffffffffffff\r\nx"), (400, 413)),
    ("a chunk size of 400 digits", chunked(b"0" * 400 + b"1\r\nx\r\n0\r\n\r\n"), (400, 413)),
    ("a chunk size ended with LF alone", chunked(b"1\nx\r\n0\r\n\r\n"), BAD),
    ("a chunk size ended with CR alone", chunked(b"1\rx\r\n0\r\n\r\n"), BAD),
    ("a chunk size ended with CR CR LF", chunked(b"1\r\r\nx\r\n0\r\n\r\n"), BAD),
    ("a chunk that is longer than its size", chunked(b"1\r\nxy\r\n0\r\n\r\n"), BAD),
    ("a chunk that is shorter than its size", chunked(b"3\r\nx\r\n0\r\n\r\n"), BAD),
    ("chunk data ended with LF alone", chunked(b"1\r\nx\n0\r\n\r\n"), BAD),
    ("chunk data ended with CR alone", chunked(b"1\r\nx\r0\r\n\r\n"), BAD),
    ("chunk data ended by nothing", chunked(b"1\r\nx0\r\n\r\n"), BAD),
    ("chunk data ended by other bytes", chunked(b"1\r\nxXX0\r\n\r\n"), BAD),
    ("a chunk extension with a NUL", chunked(b"1;a\0=b\r\nx\r\n0\r\n\r\n"), BAD),
    ("a chunk extension with LF alone", chunked(b"1;a=b\nx\r\n0\r\n\r\n"), BAD),
    ("a chunk extension with a hidden CR", chunked(b"1;a\rb\r\nx\r\n0\r\n\r\n"), BAD),
    ("chunk extensions without end", chunked(b"1;" + b"a" * 200_000), (400, 413, 431)),
    ("chunk extensions again and again", chunked((b"1;" + b"a" * 200 + b"\r\nx\r\n") * 1000), (400, 413, 431)),
    ("a last chunk ended with LF alone", chunked(b"0\n\n"), BAD),
    ("a trailer without a colon", chunked(b"0\r\nX\r\n\r\n"), BAD),
    ("a trailer with a space before its colon", chunked(b"0\r\nX : y\r\n\r\n"), BAD),
    ("a trailer with a NUL", chunked(b"0\r\nX: y\0\r\n\r\n"), BAD),
    ("a trailer ended with LF alone", chunked(b"0\r\nX: y\n\r\n"), BAD),
    ("a folded trailer", chunked(b"0\r\nX: y\r\n z\r\n\r\n"), BAD),
    ("trailers without end", chunked(b"0\r\n" + b"X: y\r\n" * 20_000), (400, 413, 431)),
]

REFUSED = [Case(*row) for row in [*REQUEST_LINES, *FIELDS, *LENGTHS, *CODINGS, *CHUNKS]]

# What is unusual and correct. Each is a write of "x" to /conformance, or a read of it, and the connection stays usable.
ONE = b"Content-Length: 1"
TAKEN = [
    Case("a plain write", post(ONE, body=b"x"), (200, 201)),
    Case("an empty line first", CRLF + post(ONE, body=b"x"), (200, 201)),
    Case("names in any letters", post(b"cOnTeNt-LeNgTh: 1", body=b"x"), (200, 201)),
    Case("no blank after the colon", post(b"Content-Length:1", body=b"x"), (200, 201)),
    Case("many blanks around a value", post(b"Content-Length: \t 1 \t ", body=b"x"), (200, 201)),
    Case("leading zeros in a length", post(b"Content-Length: 000000000000000000000000001", body=b"x"), (200, 201)),
    Case("an empty value", post(b"X:", ONE, body=b"x"), (200, 201)),
    Case("every token character in a name", post(b"!#$%&'*+-.^_`|~09azAZ: y", ONE, body=b"x"), (200, 201)),
    Case("bytes beyond ASCII in a value", post(b"X: \xe4\xff\x80", ONE, body=b"x"), (200, 201)),
    Case("a tab in a value", post(b"X: a\tb", ONE, body=b"x"), (200, 201)),
    Case("an empty Host", head(ONE, start=b"PUT /conformance HTTP/1.1", host=b"Host:") + b"x", (200, 201)),
    Case("a Host with a port",
         head(ONE, start=b"PUT /conformance HTTP/1.1", host=b"Host: [::1]:80") + b"x", (200, 201)),
    Case("an absolute target", head(ONE, start=b"PUT http://a/conformance HTTP/1.1") + b"x", (200, 201)),
    Case("an absolute target in capitals", head(ONE, start=b"PUT HTTP://A:80/conformance HTTP/1.1") + b"x", (200, 201)),
    Case("a chunk", chunked(b"1\r\nx\r\n0\r\n\r\n"), (200, 201)),
    Case("a coding in any letters", post(b"Transfer-Encoding: CHUNKED", body=b"1\r\nx\r\n0\r\n\r\n"), (200, 201)),
    Case("zeros in front of a chunk size", chunked(b"0001\r\nx\r\n0000\r\n\r\n"), (200, 201)),
    Case("chunk extensions", chunked(b"1;a=b;c=\"d;e\"\r\nx\r\n0;f\r\n\r\n"), (200, 201)),
    Case("trailers", chunked(b"1\r\nx\r\n0\r\nX: y\r\nContent-Length: 99\r\nHost: b\r\n\r\n"), (200, 201)),
    Case("an unneeded expectation", head(b"Expect: 100-continue"), (200,)),
    Case("a read with a body", head(b"Content-Length: 5") + b"abcde", (200,)),
    Case("a read with chunks", head(b"Transfer-Encoding: chunked") + b"5\r\nabcde\r\n0\r\n\r\n", (200,)),
    Case("two hundred fields", head(*(b"X-%d: y" % i for i in range(200))), (200,)),
    Case("a value of 30 000 bytes", head(b"X: " + b"y" * 30_000), (200,)),
    Case("an upgrade that is not wanted", head(b"Connection: Upgrade", b"Upgrade: websocket"), (200,)),
    Case("a list in Connection", head(b"Connection: keep-alive, x, , y"), (200,)),
]
