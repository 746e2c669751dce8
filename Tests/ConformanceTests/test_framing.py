"""HTTP/1.1 on the wire: what is refused, what is taken, and that neither harms anybody else."""

import pytest

from cases import CLOSE, CRLF, REFUSED, TAKEN, head, post
from http1 import Closed, request

SMUGGLED = b"PUT /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nbad"


@pytest.fixture(autouse=True)
def value(node):
    assert node.call("PUT", "/conformance", b"x").status in (200, 201)


def first_answer(connection):
    """The answer to a refused request, or CLOSE."""
    try:
        return connection.response()
    except Closed as closed:
        assert closed.received == b"", f"a torn answer: {closed.received[:200]!r}"
        return CLOSE


def check_refusal(connection, case):
    answer = first_answer(connection)
    if answer == CLOSE:
        assert CLOSE in case.statuses, "closed without an answer"
        return
    answer.problem(*(status for status in case.statuses if status != CLOSE))
    assert answer.header("connection") == "close"
    assert connection.ended(), "the connection goes on after a framing error"


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_is_refused(node, case):
    with node.connect(timeout=10) as connection:
        connection.send(case.data)
        check_refusal(connection, case)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_hides_no_second_request(node, case):
    """The same bytes with a request behind them: it must never be carried out."""
    with node.connect(timeout=10) as connection:
        try:
            connection.send(case.data + SMUGGLED)
        except (BrokenPipeError, ConnectionResetError):
            pass
        check_refusal(connection, case)
    assert node.call("GET", "/smuggled").status == 404


@pytest.mark.parametrize("case", REFUSED[::3], ids=str)
def test_is_refused_byte_by_byte(node, case):
    """However the bytes arrive, the verdict is the same."""
    with node.connect(timeout=10) as connection:
        data = case.data[:600]
        try:
            for i in range(len(data)):
                connection.send(data[i:i + 1])
            connection.send(case.data[600:])
        except (BrokenPipeError, ConnectionResetError):
            pass
        check_refusal(connection, case)


@pytest.mark.parametrize("case", TAKEN, ids=str)
def test_is_taken(node, case):
    with node.connect(timeout=10) as connection:
        connection.send(case.data + request("GET", "/conformance"))
        answer = connection.response()
        assert answer.status in case.statuses, answer.body
        follower = connection.response()
        assert (follower.status, follower.body) == (200, b"x")


@pytest.mark.parametrize("case", TAKEN, ids=str)
def test_is_taken_byte_by_byte(node, case):
    with node.connect(timeout=10) as connection:
        data = case.data[:2000]
        for i in range(len(data)):
            connection.send(data[i:i + 1])
        connection.send(case.data[2000:] + request("GET", "/conformance"))
        assert connection.response().status in case.statuses
        assert connection.response().body == b"x"


class TestSmuggling:
    """The classic disagreements between two servers in a row; each is refused, and what hides inside isn't seen."""

    @pytest.mark.parametrize("name, data", [
        ("CL.TE", post(b"Content-Length: %d" % (5 + len(SMUGGLED)), b"Transfer-Encoding: chunked",
                       body=b"0\r\n\r\n" + SMUGGLED)),
        ("TE.CL", post(b"Transfer-Encoding: chunked", b"Content-Length: 4",
                       body=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n")),
        ("TE.TE", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n" + SMUGGLED)),
        ("CL.CL", post(b"Content-Length: 0", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED)),
        ("TE with a space", post(b"Transfer-Encoding : chunked", b"Content-Length: %d" % (5 + len(SMUGGLED)),
                                 body=b"0\r\n\r\n" + SMUGGLED)),
        ("TE with a vertical tab", post(b"Transfer-Encoding:\x0bchunked", b"Content-Length: 5",
                                        body=b"0\r\n\r\n" + SMUGGLED)),
        ("TE behind a line feed", post(b"X: y\nTransfer-Encoding: chunked", b"Content-Length: 5",
                                       body=b"0\r\n\r\n" + SMUGGLED)),
        ("TE named with an underscore", post(b"Transfer_Encoding: chunked", b"Content-Length: 0", b"Content-Length: 5",
                                             body=b"0\r\n\r\n" + SMUGGLED)),
        ("a length and a read", head(b"Content-Length: 0", b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED),
        ("a chunk size that wraps", post(b"Transfer-Encoding: chunked",
                                         body=b"100000000\n\r\n0\r\n\r\n" + SMUGGLED)),
    ])
    def test_is_refused(self, node, name, data):
        with node.connect(timeout=10) as connection:
            connection.send(data)
            first_answer(connection).problem(400, 413, 501)
            assert connection.ended()
        assert node.call("GET", "/smuggled").status == 404

    def test_a_body_that_looks_like_a_request_is_a_body(self, node):
        with node.connect() as connection:
            connection.send(post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED) + request("GET", "/conformance"))
            assert connection.response().status == 200
            assert connection.response().body == SMUGGLED
        assert node.call("GET", "/smuggled").status == 404

    def test_the_body_of_a_refused_request_is_not_a_request(self, node):
        """An answer that comes before the body (here 404 and 405) must not turn the body into the next request."""
        for line in (b"PATCH /missing", b"POST /livez", b"PUT /%zz", b"PUT /a?x=1"):
            with node.connect() as connection:
                connection.send(head(b"Content-Length: %d" % len(SMUGGLED), start=line + b" HTTP/1.1") + SMUGGLED
                                + request("GET", "/conformance"))
                assert connection.response().status >= 400
                try:
                    assert connection.response().body == b"x"
                except Closed as closed:
                    assert closed.received == b""
            assert node.call("GET", "/smuggled").status == 404, line

    def test_the_unread_body_of_a_read_is_skipped(self, node):
        with node.connect() as connection:
            connection.send(head(b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED + request("GET", "/conformance"))
            assert connection.response().body == b"x"
            assert connection.response().body == b"x"
        assert node.call("GET", "/smuggled").status == 404


class TestConnections:
    def test_http_1_0_closes_unless_asked(self, node):
        with node.connect() as connection:
            connection.send(b"GET /conformance HTTP/1.0\r\n\r\n")
            answer = connection.response()
            assert answer.body == b"x" and answer.all("transfer-encoding") == []
            assert connection.ended()

    def test_http_1_0_stays_when_asked(self, node):
        with node.connect() as connection:
            for _ in range(3):
                connection.send(b"GET /conformance HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                answer = connection.response()
                assert answer.body == b"x" and answer.header("connection").lower() == "keep-alive"

    @pytest.mark.parametrize("words", [b"close", b"CLOSE", b"x, close", b"close , keep-alive"])
    def test_close_closes(self, node, words):
        with node.connect() as connection:
            connection.send(head(b"Connection: " + words))
            answer = connection.response()
            assert answer.body == b"x" and answer.header("connection") == "close"
            assert connection.ended()

    def test_a_later_minor_version_is_served_as_1_1_or_refused(self, node):
        with node.connect() as connection:
            connection.send(head(start=b"GET /conformance HTTP/1.9"))
            assert connection.response().status in (200, 505)

    def test_continue_comes_before_the_body_is_sent(self, node):
        with node.connect() as connection:
            connection.send(post(b"Expect: 100-continue", b"Content-Length: 1"))
            assert connection.head().status == 100
            connection.send(b"x")
            assert connection.response().status == 200

    def test_continue_is_not_sent_when_the_body_is_there(self, node):
        """It may be left out then (RFC 9110, 10.1.1); if it comes, it comes before the answer."""
        with node.connect() as connection:
            connection.send(post(b"Expect: 100-Continue", b"Content-Length: 1", body=b"x"))
            assert connection.response().status == 200
            assert [answer.status for answer in connection.interim] in ([], [100])

    def test_a_final_answer_instead_of_continue(self, node):
        with node.connect() as connection:
            connection.send(post(b"Expect: 100-continue", b"Content-Length: 1", b'If-Match: "0-0-0"'))
            # Either is correct: to refuse at once, or to ask for the body first.
            answer = connection.head()
            if answer.status == 100:
                connection.send(b"x")
                answer = connection.response()
            assert answer.status == 412

    def test_answers_have_a_date_of_the_fixed_form(self, node):
        date = node.call("GET", "/conformance").header("date")
        assert date is None or len(date) == 29 and date.endswith(" GMT")

    def test_an_unfinished_request_is_no_harm_to_others(self, node):
        half = [node.connect() for _ in range(50)]
        for i, connection in enumerate(half):
            data = post(b"Content-Length: 10", body=b"12345")
            connection.send(data[:1 + i * (len(data) - 1) // 49])
        node.alive()
        for connection in half:
            connection.close()

    def test_ten_thousand_empty_lines_end(self, node):
        with node.connect() as connection:
            try:
                connection.send(CRLF * 10_000)
            except (BrokenPipeError, ConnectionResetError):
                pass
            first_answer(connection)
            assert connection.ended()
