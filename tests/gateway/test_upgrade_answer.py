"""The answer to the upgrade request, before a library reads it."""

from __future__ import annotations

import pytest

from slng_edge.gateway.byte_stream import TooMuchReceived
from slng_edge.gateway.upgrade_answer import BODY_BYTES, HEAD_BYTES, NoAnswer, UpgradeAnswer


class Sent:
    """A stream that gives what it was made with."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.written = b""
        self.timeout_s: float | None = 3.0
        self.closed = False

    def recv(self, size: int) -> bytes:
        data, self.data = self.data[:size], self.data[size:]
        return data

    def send(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def gettimeout(self) -> float | None:
        return self.timeout_s

    def settimeout(self, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s

    def close(self) -> None:
        self.closed = True


def head_of(sent: bytes) -> bytes:
    """The head as a library gets it, line by line."""
    answer = UpgradeAnswer(Sent(sent))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += answer.recv(7)
    return head


def test_what_follows_the_head_stays_in_the_stream() -> None:
    """It is frames, or a body."""
    stream = Sent(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x81\x02{}")
    answer = UpgradeAnswer(stream)
    assert answer.recv(1000) == b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\n\r\n"
    assert stream.data == b"\x81\x02{}"
    assert answer.recv(2) == b"\x81\x02"


def test_cookies_are_left_out() -> None:
    """However they are written."""
    sent = b"HTTP/1.0 101\r\nset-Cookie: a=1\r\nA: b\r\nSET-COOKIE : b=2\r\n\r\n".replace(
        b"101", b"101 "
    )
    assert head_of(sent) == b"HTTP/1.0 101 \r\na: b\r\n\r\n"


@pytest.mark.parametrize(
    ("length", "read"),
    [
        (b"0", 0),
        (b"17", 17),
        (b"%d" % (BODY_BYTES + 1), BODY_BYTES),
        (b"9" * 5000, BODY_BYTES),
        (b"-5", 0),
        (b"many", 0),
        (b"", 0),
    ],
)
def test_a_body_has_a_bound(length: bytes, read: int) -> None:
    """Whatever its length is said to be."""
    head = head_of(b"HTTP/1.1 503 No\r\nContent-Length: " + length + b"\r\n\r\n")
    assert head == b"HTTP/1.1 503 No\r\ncontent-length: %d\r\n\r\n" % read


def test_a_reason_that_is_no_utf8_does_not_hide_its_status() -> None:
    """401 stays a refused key, which a retry does not mend."""
    assert head_of(b"HTTP/1.1 401 N\xff\r\n\r\n").startswith(b"HTTP/1.1 401 N\xef\xbf\xbd\r\n")


def test_what_is_no_utf8_is_replaced() -> None:
    """In values; reasons are shown to people."""
    assert head_of(b"HTTP/1.1 503 No\r\nX: \xff\r\n\r\n") == (
        "HTTP/1.1 503 No\r\nx: \N{REPLACEMENT CHARACTER}\r\n\r\n".encode()
    )


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 \r\n\r\n",
        b"HTTP/1.1 1010 Much\r\n\r\n",
        b"HTTP/1.1 001 Little\r\n\r\n",
        b"HTTP/2 101 Other\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 101 A\nB: c\r\n\r\n",
        b"HTTP/1.1 101 A\r\nno colon\r\n\r\n",
        b"HTTP/1.1 101 A\r\n\xff: b\r\n\r\n",
        b"HTTP/1.1 101 A\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 101 A\r\nA: b\rC: d\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_refused(sent: bytes) -> None:
    """A library would raise what it likes over it."""
    with pytest.raises(NoAnswer, match="as an HTTP server does"):
        head_of(sent)


def test_a_head_that_ends_early_is_told() -> None:
    """The gateway hung up."""
    with pytest.raises(NoAnswer, match="hung up"):
        head_of(b"HTTP/1.1 101 Swi")


def test_a_head_without_an_end_is_refused() -> None:
    """After so many bytes."""
    stream = Sent(b"HTTP/1.1 101 A\r\n" + b"A: b\r\n" * 100_000)
    with pytest.raises(TooMuchReceived):
        UpgradeAnswer(stream).recv(1)
    assert len(stream.data) > 600_000 - 2 * HEAD_BYTES


def test_all_else_goes_to_the_stream() -> None:
    """As a library expects of a socket."""
    stream = Sent(b"")
    answer = UpgradeAnswer(stream)
    answer.send(b"GET")
    answer.settimeout(1.0)
    assert (stream.written, answer.gettimeout()) == (b"GET", 1.0)
    answer.close()
    assert stream.closed
