"""A web server of one's own that answers, over a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from chat_server import (
    ChatServer,
    Exchange,
    Reply,
    closed_port,
    document,
    events,
    joined,
    raw,
    stalls,
)

from slng_edge.errors import ConfigError, ResponderError
from slng_edge.responders.http import HttpResponder
from slng_edge.responders.http_exchange import Timeouts
from slng_edge.responders.interface import ResponderUnreachable
from slng_edge.responders.reply_text import MAX_CHARS

QUICK = Timeouts(connect_s=0.3, first_byte_s=0.3, between_s=0.2, whole_s=0.6, retry_s=0.01)
YES = document({"reply": "Yes."})


@contextmanager
def responder(url: str, **more: Any) -> Iterator[tuple[HttpResponder, Callable[[str], list[str]]]]:
    made = HttpResponder(url, timeouts=QUICK, **more)
    try:
        yield made, lambda text: list(made.respond(text, threading.Event()))
    finally:
        made.close()


def test_the_text_and_the_session_are_posted() -> None:
    """As JSON, to the address as it is; the key in its header."""
    with ChatServer(YES) as server, responder(server.url + "/ask?x=1", key="k-12") as (_, ask):
        assert ask("Grüße") == ["Yes."]
        [request] = server.requests
        assert request.line == "POST /v1/ask?x=1 HTTP/1.1"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["authorization"] == "Bearer k-12"
        assert request.body == {"text": "Grüße", "session": request.body["session"]}
        assert len(request.body["session"]) == 32


def test_the_session_ends_when_nobody_has_spoken_for_a_while() -> None:
    """The same until then, on the same connection; another one for the next visitor."""
    now = [0.0]
    with ChatServer(YES) as server, responder(server.url, clock=lambda: now[0]) as (_, ask):
        for at in (0.0, 59.0, 130.0):
            now[0] = at
            ask("x")
        first, second, third = (body["session"] for body in server.bodies)
        assert first == second != third
        assert {request.connection for request in server.requests} == {1}


@pytest.mark.parametrize(
    ("reply", "pieces"),
    [
        (YES, ["Yes."]),
        (document({"reply": "One. *Two*."}), ["One. ", "Two."]),
        (document({"reply": ""}), []),
        (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), []),
        (events(b"One.\nTwo.\r\n\r\nThree", kind="text/plain"), ["One.\n", "Two.\n", "Three\n"]),
        (
            events(b'{"reply": "One."}\n{"reply": "Two."}\n{"done": true}', kind="x/y"),
            None,
        ),
        (
            events(
                b'{"reply": "One."}\n{"reply"', b': "Two."}\n{"x": 1}', kind="application/jsonl"
            ),
            ["One.\n", "Two.\n"],
        ),
        (
            events(b'{"delta": "O"}\n{"delta": "ne. "}\n', kind="application/x-ndjson"),
            ["One. "],
        ),
        (
            events(b': hi\ndata: One.\n\ndata:{"reply":"Two."}\n\ndata: [DONE]\n\n'),
            ["One.\n", "Two.\n"],
        ),
        (events(b"Schl\xc3", b"\xbcssel.\n", kind="text/plain; charset=utf-8"), ["Schlüssel.\n"]),
    ],
)
def test_forms_of_an_answer(reply: Reply, pieces: list[str] | None) -> None:
    """JSON, lines of text, lines of JSON, server-sent events; nothing to say."""
    with ChatServer(reply) as server, responder(server.url) as (_, ask):
        if pieces is None:
            with pytest.raises(ResponderError, match="sent what is no JSON"):
                ask("x")
        else:
            assert ask("x") == pieces


def test_lines_come_as_they_are_written() -> None:
    """The first is here while the second is still to be written."""
    written = threading.Event()

    def reply(exchange: Exchange) -> None:
        exchange.head("Content-Type: text/plain", "Transfer-Encoding: chunked")
        exchange.chunk(b"One.\n")
        written.wait(5)
        exchange.chunk(b"Two.\n")
        exchange.chunk(b"")

    with ChatServer(reply) as server, responder(server.url) as (made, _):
        pieces = made.respond("x", threading.Event())
        assert next(pieces) == "One.\n"
        written.set()
        assert list(pieces) == ["Two.\n"]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (document(b""), 'returned nothing; it should send {"reply"'),
        (document({"answer": "x"}), 'no text under "reply"; its answer holds answer'),
        (document({"reply": 3}), 'no text under "reply"'),
        (document(["x"]), "and sent something else"),
        (document({"error": "no lamp"}), "failed: no lamp"),
        (document(b"<html>"), "sent a web page; check responder.url"),
        (document(b"Hello"), "sent what is no JSON: Hello"),
        (document(b"\xff\xfe"), "sent what is no JSON"),
        (document(b'"' + b"x" * 10_000_000), "sent more than 1048576 bytes"),
        (events(b"x" * 10_000_000, kind="text/plain"), "sent a line of more than 262144 bytes"),
        (events(*[b"word\n" * 200] * 30, kind="text/plain"), f"more than {MAX_CHARS} characters"),
        (document({"reply": "word " * 2_000_000}), "sent more than 1048576 bytes"),
        (document({"reply": "word " * 1000}), f"more than {MAX_CHARS} characters"),
        (events(b"Yes.\n" + bytes(range(256)), kind="text/plain"), "no text (binary?) and was"),
        (events(b"\xfe\xff\xba\x98\xfe", kind="text/plain"), "no text (binary?) and was"),
        (events(b"\xc3", kind="text/plain"), "no text (binary?) and was"),
        (document(b'{"reply": "' + b"\xff" * 9 + b'"}'), "no text (binary?) and was"),
        (document({"reply": "a\0b"}), "no text (binary?) and was stopped: it has a character U+"),
        (document({"reply": "<!DOCTYPE html><p>"}), "sent a web page; check responder.url"),
        (events(b"\n<html>\n", kind="text/plain"), "sent a web page; check responder.url"),
        (events(b'{"delta": "<"}\n{"delta": "html>"}\n', kind="application/jsonl"), "a web page"),
        (events(b'{"error": "x"}\n', kind="application/x-ndjson"), "failed: x"),
        (document(b"", status="500 X"), "answered HTTP 500"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "broke off in the middle"),
        (stalls(head=False), "did not answer within 0.3 s"),
        (stalls(b"{"), "fell silent for 0.2 s"),
    ],
)
def test_what_is_no_reply_is_an_error_in_words(reply: Reply, says: str) -> None:
    """With the server's name; and it is not asked again: it may have switched something."""
    with ChatServer(reply) as server, responder(server.url) as (_, ask):
        with pytest.raises(ResponderError) as caught:
            ask("x")
        assert says in str(caught.value)
        assert server.url.split("/")[2] in str(caught.value)
        assert len(server.requests) == 1


def test_only_what_was_not_taken_is_asked_again() -> None:
    """A server that is busy said that it did nothing; one that nobody reached did nothing."""
    with (
        ChatServer(document(b"", status="503 X"), YES) as server,
        responder(server.url) as (_, ask),
    ):
        assert ask("x") == ["Yes."]
    with (
        responder(f"http://127.0.0.1:{closed_port()}/") as (_, ask),
        pytest.raises(ResponderUnreachable, match="nothing listens there"),
    ):
        ask("x")


def test_cancelling_ends_it_at_once_and_the_server_sees_it() -> None:
    """And the next question is answered."""
    with ChatServer(stalls(), YES) as server, responder(server.url) as (made, ask):
        cancelled = threading.Event()
        stopped_at: list[float] = []

        def stop() -> None:
            assert server.is_asked()
            stopped_at.append(time.monotonic())
            cancelled.set()
            made.cancel()

        thread = threading.Thread(target=stop)
        thread.start()
        assert list(made.respond("x", cancelled)) == []
        assert time.monotonic() - stopped_at[0] < 0.1
        thread.join()
        assert server.client_has_gone()
        assert joined(ask("x")) == "Yes."


def test_nothing_is_asked_that_was_cancelled_before() -> None:
    """Nor after closing."""
    with ChatServer(YES) as server, responder(server.url) as (made, ask):
        cancelled = threading.Event()
        cancelled.set()
        assert list(made.respond("x", cancelled)) == []
        made.close()
        with pytest.raises(ResponderError, match="the responder is closed"):
            ask("x")
        assert server.requests == []


def test_an_address_that_cannot_be_is_a_config_error() -> None:
    """Before anything starts."""
    with pytest.raises(ConfigError, match=r"responder\.url is empty"):
        HttpResponder("")
    with pytest.raises(ConfigError, match="must be http://"):
        HttpResponder("ws://a")
