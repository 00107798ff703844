"""A responder's server, or a proxy before it, that sends anything: bounded, in time, explained."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from raw_server import server

from slng_edge.errors import ResponderError
from slng_edge.responders.http import HttpResponder
from slng_edge.responders.http_exchange import Timeouts

WHOLE_S = 1.0
LATE_S = 1.0
GROWTH_KIB = 40 * 1024
SECONDS = Timeouts(connect_s=0.5, first_byte_s=0.5, between_s=0.5, whole_s=WHOLE_S)

OK = b"HTTP/1.1 200 OK\r\n"
JSON = b"Content-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"


def endless(head: bytes, each: bytes) -> Iterable[bytes]:
    """A head, and the same for ever."""
    return itertools.chain([head], itertools.repeat(each * max(1, 50_000 // len(each))))


HOSTILE: dict[str, tuple[Callable[[], Iterable[bytes]], str]] = {
    "100 Continue": (lambda: endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "no end of headers"),
    "headers": (lambda: endless(OK, b"A: b\r\n"), "as an HTTP server does"),
    "a header": (lambda: endless(OK + b"A: ", b"b"), "as an HTTP server does"),
    "body": (lambda: endless(OK + JSON + b"\r\n", b" "), "no stream"),
    "lines": (
        lambda: endless(OK + b"Content-Type: text/plain\r\n\r\n", b"Hello, hello.\n"),
        "more than 4000 characters",
    ),
    "comments": (
        lambda: endless(OK + b"Content-Type: text/event-stream\r\n\r\n", b": x\n"),
        "stopped",
    ),
    "empty events": (
        lambda: endless(OK + b"Content-Type: text/event-stream\r\n\r\n", b'data: {"x":1}\n\n'),
        "stopped",
    ),
    "chunks of a byte": (
        lambda: endless(CHUNKED + JSON + b"\r\n", b"1\r\n \r\n"),
        "stopped|no stream",
    ),
    "heads of chunks": (
        lambda: endless(CHUNKED + JSON + b"\r\n", b"1;" + b"x" * 30_000 + b"\r\n \r\n"),
        "stopped",
    ),
    "trailers": (lambda: endless(CHUNKED + JSON + b"\r\n0\r\n", b"A: b\r\n"), "stopped|within"),
    "an error page": (
        lambda: endless(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        "HTTP 500",
    ),
}


def peak_kib() -> int:
    """The most that was resident."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


def flood(pieces: Callable[[], Iterable[bytes]]) -> Callable[[socket.socket], None]:
    """Answer a request with these, until the client has gone."""

    def serve(peer: socket.socket) -> None:
        peer.recv(65536)
        try:
            for piece in pieces():
                peer.sendall(piece)
        except OSError:
            return

    return serve


def ask(port: int) -> None:
    """One question, to its end; the connection is closed."""
    responder = HttpResponder(f"http://127.0.0.1:{port}", timeouts=SECONDS)
    try:
        list(responder.respond("what time is it", threading.Event()))
    finally:
        responder.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_an_answer_without_end_is_ended(name: str) -> None:
    """Within the time-outs, however fast it comes, with a reason; and it takes no memory."""
    pieces, why = HOSTILE[name]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before_kib = peak_kib()
    with server(flood(pieces)) as port:
        began = time.monotonic()
        with pytest.raises(ResponderError, match=why):
            ask(port)
        assert time.monotonic() - began < WHOLE_S + LATE_S
    assert peak_kib() - before_kib < GROWTH_KIB


@pytest.mark.parametrize("name", ["100 Continue", "headers", "a header", "body"])
def test_a_proxy_without_end_is_ended(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for a tunnel, and answers as those servers do."""
    pieces = HOSTILE[name][0]
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with server(flood(pieces)) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        responder = HttpResponder("https://responder.invalid/ask", timeouts=SECONDS)
        began = time.monotonic()
        with pytest.raises(ResponderError):
            list(responder.respond("what time is it", threading.Event()))
        responder.close()
        assert time.monotonic() - began < 2 * (WHOLE_S + LATE_S)
