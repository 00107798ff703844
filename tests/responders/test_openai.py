"""A language model over a real socket: what it is told, what is made of what it says."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from authority import Authority
from chat_server import (
    DONE,
    FINISH,
    ChatServer,
    Exchange,
    Reply,
    closed_port,
    delta,
    document,
    events,
    full_listener,
    joined,
    raw,
    silent_listener,
    stalls,
    streamed,
)
from conversation_scripts import wait_until

from slng_edge.errors import ConfigError, ResponderError
from slng_edge.proxies import Proxy, proxy_for
from slng_edge.responders import http_exchange, socket_stream
from slng_edge.responders.http_exchange import Timeouts
from slng_edge.responders.interface import KeepsHistory, ResponderUnreachable
from slng_edge.responders.openai import OpenAiResponder
from slng_edge.responders.reply_text import MAX_CHARS
from slng_edge.responders.runner import ReplyPiece, ReplyWritten, ResponderRunner
from slng_edge.secrets import register_secret

QUICK = Timeouts(
    connect_s=0.3, first_byte_s=0.3, between_s=0.2, whole_s=0.6, retry_s=0.01, longest_retry_s=0.1
)
PATIENT = Timeouts(retry_s=0.01)


@contextmanager
def responder(
    url: str, timeouts: Timeouts = PATIENT, **more: Any
) -> Iterator[tuple[OpenAiResponder, Callable[[str], list[str]]]]:
    made = OpenAiResponder(url, "small", timeouts=timeouts, **more)

    def ask(text: str) -> list[str]:
        return list(made.respond(text, threading.Event()))

    try:
        yield made, ask
    finally:
        made.close()


def answer_to(reply: Reply, timeouts: Timeouts = PATIENT) -> str:
    with ChatServer(reply) as server, responder(server.url, timeouts) as (_, ask):
        return joined(ask("x"))


def failure_of(reply: Reply, timeouts: Timeouts = PATIENT, times: int = 1) -> ResponderError:
    """What is raised, after `times` attempts."""
    with ChatServer(reply) as server, responder(server.url, timeouts) as (_, ask):
        with pytest.raises(ResponderError) as caught:
            ask("x")
        assert len(server.requests) == times
        assert server.url.split("/")[2] in str(caught.value)
        return caught.value


def unreachable(url: str, says: str, timeouts: Timeouts = QUICK, **more: Any) -> None:
    """Asserts that asking there fails so."""
    made = OpenAiResponder(url, "small", timeouts=timeouts, **more)
    with pytest.raises(ResponderUnreachable, match=says):
        list(made.respond("x", threading.Event()))
    made.close()


# What is asked


def test_a_question_is_a_streamed_chat_completion() -> None:
    """With the prompt first, and no key where there is none."""
    with (
        ChatServer() as server,
        responder(server.url, system_prompt="Be brief.") as (_, ask),
    ):
        assert joined(ask("Grüße")) == "Hello there."
        [request] = server.requests
        assert request.line == "POST /v1/chat/completions HTTP/1.1"
        assert request.body == {
            "model": "small",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Grüße"},
            ],
            "stream": True,
        }
        assert request.headers["host"] == server.url.split("/")[2]
        assert "authorization" not in request.headers


def test_the_key_goes_into_its_header() -> None:
    """And the whole address may be given, where only the base is asked for."""
    with (
        ChatServer() as server,
        responder(server.url + "/chat/completions/", key="sk-1234") as (_, ask),
    ):
        ask("x")
        assert server.requests[0].headers["authorization"] == "Bearer sk-1234"
        assert server.requests[0].line.split()[1] == "/v1/chat/completions"


def test_a_conversation_keeps_its_connection_and_its_history() -> None:
    """Three questions go out on one connection, each with the turns before it."""
    with ChatServer() as server, responder(server.url) as (_, ask):
        for text in ("a", "b", "c"):
            ask(text)
        assert [request.connection for request in server.requests] == [1, 1, 1]
        assert [message["content"] for message in server.bodies[-1]["messages"]] == [
            *("a", "Hello there.", "b", "Hello there."),
            "c",
        ]


def test_a_server_that_does_not_end_its_body_is_not_waited_for() -> None:
    """The reply is complete; the connection is given up for it."""
    endless = stalls(delta("Yes."), FINISH)
    with ChatServer(endless, streamed("No.")) as server, responder(server.url) as (_, ask):
        began = time.monotonic()
        assert ask("a") == ["Yes."]
        assert time.monotonic() - began < 0.5
        assert ask("b") == ["No."]
        assert server.requests[-1].connection == 2


def test_an_error_page_without_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status says most."""
    monkeypatch.setattr(http_exchange, "REFUSAL_S", 0.05)

    def page(exchange: Exchange) -> None:
        exchange.head("Content-Length: 90", status="400 Bad Request")
        exchange.send(b"the beginning")
        exchange.stall()

    assert "HTTP 400: the beginning" in str(failure_of(page))


def test_a_document_keeps_the_connection_too() -> None:
    """It ends by its length."""
    value = {"choices": [{"message": {"content": "Yes."}}]}
    with ChatServer(document(value)) as server, responder(server.url) as (_, ask):
        assert ask("a") == ask("b") == ["Yes."]
        assert server.requests[-1].connection == 1


def test_only_what_was_heard_is_told_again() -> None:
    """Of a reply that was interrupted."""
    with ChatServer() as server, responder(server.url) as (made, ask):
        assert isinstance(made, KeepsHistory)
        ask("a")
        made.heard("Hello")
        ask("b")
        assert server.bodies[-1]["messages"][1] == {"role": "assistant", "content": "Hello"}


def test_the_next_visitor_begins_anew() -> None:
    """After `idle_reset_s`, by the clock that is handed in."""
    now = [0.0]
    with (
        ChatServer() as server,
        responder(server.url, idle_reset_s=60.0, clock=lambda: now[0]) as (_, ask),
    ):
        ask("a")
        now[0] = 61.0
        ask("b")
        assert server.bodies[-1]["messages"] == [{"role": "user", "content": "b"}]


def test_a_turn_that_failed_is_not_told_again() -> None:
    """Its answer never came; what had come before an error stands."""
    with (
        ChatServer(document({}, status="400 Bad"), streamed("one"), streamed("two")) as server,
        responder(server.url) as (_, ask),
    ):
        with pytest.raises(ResponderError):
            ask("a")
        ask("b")
        ask("c")
        told = [message["content"] for message in server.bodies[-1]["messages"]]
        assert told == ["b", "one", "c"]


# How it answers


def test_pieces_come_as_they_are_written() -> None:
    """The first is here while the second is still to be written."""
    written = threading.Event()

    def reply(exchange: Exchange) -> None:
        exchange.head("Transfer-Encoding: chunked")
        exchange.chunk(delta("One. "))
        written.wait(5)
        exchange.chunk(delta("Two.") + FINISH + DONE)
        exchange.chunk(b"")

    with ChatServer(reply) as server, responder(server.url) as (made, _):
        pieces = made.respond("x", threading.Event())
        assert next(pieces) == "One. "
        written.set()
        assert list(pieces) == ["Two."]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(events(delta("Yes"), delta("."), FINISH, DONE), id="as it should be"),
        pytest.param(events(delta("Yes."), FINISH), id="without [DONE]"),
        pytest.param(events(delta("Yes."), DONE), id="without finish_reason"),
        pytest.param(events(delta("Yes.")), id="with neither, but a body that ends"),
        pytest.param(events(b": ping\n\n", delta("Yes."), b":\n\n", DONE), id="comments"),
        pytest.param(
            events(b'event: x\r\nid: 1\r\ndata:{"choices":[{"delta":{"content":"Yes."}}]}\r\n\r\n'),
            id="CR LF, no space, other fields",
        ),
        pytest.param(events(delta("Yes.").replace(b"\n", b"\r"), DONE), id="CR"),
        pytest.param(events(*(bytes([b]) for b in delta("Yes.") + DONE)), id="byte by byte"),
        pytest.param(
            events(delta(None, reasoning_content="Hm"), delta(None, reasoning="Hm"), delta("Yes.")),
            id="thoughts in fields",
        ),
        pytest.param(events(delta("<think>Hm</think>"), delta("Yes.")), id="thoughts in the text"),
        pytest.param(
            events(b'data: {"choices":[],"usage":{}}\n\n', delta("Yes.")), id="figures of use"
        ),
        pytest.param(events(b'data: {"type":"ping"}\n\n', delta("Yes.")), id="signs of life"),
        pytest.param(events(delta("", role="assistant"), delta("Yes.")), id="an empty delta"),
        pytest.param(events(delta(None, refusal="Yes.")), id="a refusal in words"),
        pytest.param(events(delta("**Yes**.")), id="markdown"),
        pytest.param(events(delta("Yes."), kind="application/json"), id="a wrong content type"),
        pytest.param(events(b"\xef\xbb\xbf" + delta("Yes.")), id="a byte order mark"),
        pytest.param(document({"choices": [{"message": {"content": "Yes."}}]}), id="no stream"),
        pytest.param(
            document({"choices": [{"message": {"content": [{"type": "text", "text": "Yes."}]}}]}),
            id="content in parts",
        ),
        pytest.param(raw(b"HTTP/1.0 200 OK\r\n\r\n", delta("Yes."), DONE), id="HTTP/1.0"),
        pytest.param(
            raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", delta("Yes."), FINISH),
            id="100 before 200",
        ),
    ],
)
def test_servers_differ(reply: Reply) -> None:
    """And all of them are understood."""
    assert answer_to(reply) == "Yes."


def test_a_character_may_be_spread_over_chunks() -> None:
    """Also one of four bytes."""
    data = delta("Schöne Grüße, 😀 da.")
    assert answer_to(events(*(data[i : i + 1] for i in range(len(data))))) == "Schöne Grüße, 😀 da."


# What goes wrong


@pytest.mark.parametrize(
    ("reply", "says", "times"),
    [
        (events(FINISH, DONE), "returned nothing", 1),
        (events(delta("  \n")), "returned nothing", 1),
        (events(delta("<think>Hm")), "returned nothing", 1),
        (document(b""), "returned nothing", 1),
        (document({"choices": []}), "returned nothing", 1),
        (raw(b"HTTP/1.1 200 OK\r\n\r\n"), "returned nothing", 1),
        (
            events(b'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\n'),
            "returned nothing: it asked for a tool",
            1,
        ),
        (document(b"<!DOCTYPE html><html>"), "a web page; check responder.url", 1),
        (document({"hello": 1}), "there are no choices", 1),
        (document([1]), "did not answer as a chat-completions API does", 1),
        (document(b'{"choices": [{"mess'), 'sent what is no JSON: {"choices"', 1),
        (events(b"data: {oops\n\n"), "sent what is no JSON: {oops", 1),
        (events(b"data: " + b"[" * 60_000 + b"\n\n"), "sent what is no JSON", 1),
        (events(b'data: {"error":{"message":"overloaded"}}\n\n'), "failed: overloaded", 1),
        (events(b'event: error\ndata: {"type":"error","message":"x\\ud83d"}\n\n'), "failed: x", 1),
        (events(b'data: {"error":"no memory"}\n\n'), "failed: no memory", 1),
        (document([{"error": {"code": 4, "message": "bad key"}}]), "failed: bad key", 1),
        (raw(b"SSH-2.0-OpenSSH\r\n"), "did not answer as an HTTP server does", 1),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000), "did not answer as an HTTP server", 1),
        (raw(), "closed the connection before it answered", 2),
        (
            document({"error": {"message": "no such key"}}, status="401 Unauthorized"),
            "answered HTTP 401: no such key; check the key in responder.api_key_file",
            1,
        ),
        (document(b"<html>", status="404 Not Found"), "HTTP 404: a web page; check responder.u", 1),
        (
            document({}, "Location: https://b.example/v1", status="308 Moved"),
            "HTTP 308; it sends us to https://b.example/v1: put that into responder.url",
            1,
        ),
        (document(b"oh\nno\x1b[1m", status="500 X"), "answered HTTP 500: oh no [1m; its own", 2),
        (document({"detail": "x" * 900}, status="400 X"), "answered HTTP 400: xxxxxxx", 1),
        (document(b"", "Retry-After: 0.05", status="429 X"), "answered HTTP 429; too many", 2),
        (document(b"", "Retry-After: 60", status="429 X"), "answered HTTP 429; too many", 1),
        (document(b"", "Retry-After: soon", status="429 X"), "answered HTTP 429; too many", 1),
    ],
)
def test_what_is_no_reply_is_an_error_in_words(reply: Reply, says: str, times: int) -> None:
    """What failed, on what, what to do; and no second attempt where it would not help."""
    error = failure_of(reply, times=times)
    assert says in str(error)
    assert len(str(error)) < 400
    assert isinstance(error, ResponderUnreachable) == ("before it answered" in says)


def test_a_second_attempt_may_succeed() -> None:
    """After a server's own error, once."""
    with (
        ChatServer(document(b"", status="500 X"), streamed("Yes.")) as server,
        responder(server.url) as (_, ask),
    ):
        assert ask("x") == ["Yes."]


def test_a_kept_connection_that_is_gone_is_replaced() -> None:
    """The server ends it between two turns, or when the next question comes."""

    def and_then_closes(exchange: Exchange) -> None:
        streamed("Yes.")(exchange)
        if len(server.requests) == 1:
            exchange.break_off()

    def takes_it_and_closes(exchange: Exchange) -> None:
        exchange.break_off()

    with ChatServer(and_then_closes) as server, responder(server.url) as (_, ask):
        server.answers = [and_then_closes, and_then_closes, takes_it_and_closes, streamed("No.")]
        assert ask("a") == ["Yes."]
        assert ask("b") == ["Yes."]
        assert server.requests[-1].connection == 2
        assert ask("c") == ["No."]
        assert len(server.requests) == 4


def test_pieces_before_a_break_stand() -> None:
    """The words come, then the error; nothing is asked again; the next turn knows them."""
    half = events(delta("One two"), b"data: ")
    cut = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:")
    with ChatServer(half) as server, responder(server.url) as (made, ask):
        short = raw(b"HTTP/1.1 200 OK\r\n\r\n", delta("One two"))
        server.answers = [short, cut, streamed("Yes.")]
        pieces = made.respond("a", threading.Event())
        assert [next(pieces), next(pieces)] == ["One ", "two"]
        with pytest.raises(ResponderError, match="broke off in the middle"):
            next(pieces)
        with pytest.raises(ResponderError, match="broke off in the middle"):
            ask("b")
        ask("c")
        told = [message["content"] for message in server.bodies[-1]["messages"]]
        assert told == ["a", "One two", "c"]
        assert len(server.requests) == 3


def test_long_thoughts_are_no_long_reply() -> None:
    """What is not said does not count."""
    thoughts = [delta("<think>"), *[delta("hm, so " * 100)] * 10, delta("</think>Yes.")]
    assert answer_to(events(*thoughts, DONE)) == "Yes."


def test_half_a_character_at_the_end_is_no_crash() -> None:
    """It is left out."""
    begin, _, end = delta("Yes. ö").partition("ö".encode())
    assert answer_to(events(begin + "ö".encode()[:1] + end, DONE)) == "Yes. "


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (events(b"data: " + b"x" * 10_000_000), "sent a line of more than 262144 bytes"),
        (events(*[b": " + b"x" * 16_000 + b"\n"] * 600), "sent more than 8388608 bytes"),
        (document(b'{"a": "' + b"x" * 10_000_000), "sent more than 1048576 bytes that are no"),
        (events(*[delta("word " * 40)] * 500), f"wrote more than {MAX_CHARS} characters"),
        (events(delta("\0\1\2\3 word ")), "wrote what is no text (binary?)"),
    ],
)
def test_too_much_is_stopped(reply: Reply, says: str) -> None:
    """10 MB on a line, in comments, in a document; a reply without end."""
    began = time.monotonic()
    assert says in str(failure_of(reply))
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("reply", "says", "unreachable"),
    [
        (stalls(head=False), "did not answer within 0.3 s", True),
        (stalls(), "did not answer within 0.3 s", True),
        (stalls(delta("One ")), "fell silent for 0.2 s", False),
        (events(*[b": ping\n\n"] * 100, pause_s=0.02), "did not finish within 0.6 s", False),
    ],
)
def test_who_keeps_us_waiting_is_left(reply: Reply, says: str, unreachable: bool) -> None:
    """Before the head, before the body, in the middle, and for ever."""
    began = time.monotonic()
    error = failure_of(reply, QUICK)
    assert says in str(error)
    assert isinstance(error, ResponderUnreachable) == unreachable
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 X", "504 X"])
def test_a_server_in_front_that_does_not_reach_it_is_no_reach(status: str) -> None:
    """The canned answers may step in."""
    assert isinstance(failure_of(document(b"", status=status), times=2), ResponderUnreachable)


@pytest.mark.parametrize(("status", "retryable"), [("401 X", False), ("500 X", True)])
def test_what_may_pass_is_told_from_what_stays(status: str, retryable: bool) -> None:
    """By `retryable`."""
    error = failure_of(document(b"", status=status), times=2 if retryable else 1)
    assert error.retryable == retryable


def test_nobody_there_is_unreachable() -> None:
    """Refused, unknown, silent: each with what to look at."""
    unreachable(f"http://127.0.0.1:{closed_port()}/v1", "nothing listens there")
    unreachable(
        "http://no-such-host.invalid/v1",
        r"no-such-host.invalid cannot be reached",
        timeouts=Timeouts(retry_s=0.0),
    )
    with full_listener() as port:
        unreachable(f"http://127.0.0.1:{port}/v1", r"no connection within 0\.3 s")


# Being stopped


def stopped_after(made: OpenAiResponder, ready: Callable[[], bool]) -> float:
    """Cancels a reply from another thread when it is `ready`; how long that took."""
    cancelled = threading.Event()
    stopped_at: list[float] = []

    def stop() -> None:
        assert ready()
        time.sleep(0.03)
        stopped_at.append(time.monotonic())
        cancelled.set()
        made.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    list(made.respond("x", cancelled))
    ended_at = time.monotonic()
    thread.join()
    return ended_at - stopped_at[0]


@pytest.mark.parametrize(
    "reply", [stalls(head=False), stalls(), stalls(delta("One "))], ids=["head", "body", "middle"]
)
def test_cancelling_ends_it_at_once_and_the_server_sees_it(reply: Reply) -> None:
    """Wherever it waits for the server; and the next question is answered."""
    with ChatServer(reply, streamed("Yes.")) as server, responder(server.url) as (made, ask):
        assert stopped_after(made, server.is_asked) < 0.1
        assert server.client_has_gone()
        assert ask("b") == ["Yes."]
        assert server.bodies[-1]["messages"] == [{"role": "user", "content": "b"}]


def test_cancelling_ends_connecting_and_shaking_hands() -> None:
    """A queue that is full, and a peer that does not answer TLS."""
    with full_listener() as port, responder(f"http://127.0.0.1:{port}/v1") as (made, _):
        assert stopped_after(made, lambda: True) < 0.1
    with silent_listener() as port, responder(f"https://127.0.0.1:{port}/v1") as (made, _):
        assert stopped_after(made, lambda: True) < 0.1


def test_cancelling_ends_looking_up_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library's resolver cannot be interrupted; it is left behind."""
    go_on = threading.Event()

    def slow(*_: Any, **__: Any) -> list[Any]:
        go_on.wait(5)
        return []

    monkeypatch.setattr(socket_stream.socket, "getaddrinfo", slow)
    with responder("http://slow.example/v1") as (made, _):
        assert stopped_after(made, lambda: True) < 0.1
    go_on.set()


def test_cancelling_ends_the_wait_for_a_second_attempt() -> None:
    """A server that asks for patience does not hold up the next turn."""
    busy = document(b"", "Retry-After: 4", status="429 X")
    with ChatServer(busy) as server, responder(server.url) as (made, _):
        assert stopped_after(made, server.is_asked) < 0.1
        assert len(server.requests) == 1


def test_the_thread_of_the_responder_tells_what_was_heard() -> None:
    """A reply is interrupted while it is written; the next question knows what of it sounded."""
    replies: list[Any] = []
    with ChatServer(stalls(delta("One two three ")), streamed("Yes.")) as server:
        runner = ResponderRunner(OpenAiResponder(server.url, "small"), on_event=replies.append)
        runner.start()
        try:
            runner.ask(1, "a")
            assert wait_until(lambda: replies == [ReplyPiece(1, "One two three ")])
            runner.cancel()
            runner.tell_heard("One two")
            runner.ask(2, "b")
            assert wait_until(lambda: ReplyWritten(2) in replies)
        finally:
            runner.stop(3)
        told = [message["content"] for message in server.bodies[-1]["messages"]]
        assert told == ["a", "One two", "b"]


def test_what_is_there_already_is_not_given_out_after_cancelling() -> None:
    """Also where the whole reply has come in one piece."""
    whole = events(delta("One ") + delta("two ") + delta("three ") + DONE)
    with ChatServer(whole) as server, responder(server.url) as (made, _):
        cancelled = threading.Event()
        pieces = made.respond("x", cancelled)
        assert next(pieces) == "One "
        cancelled.set()
        assert list(pieces) == []


def test_closing_the_iterator_ends_the_work() -> None:
    """Who does not want the rest need not cancel."""
    with ChatServer(stalls(delta("One "))) as server, responder(server.url) as (made, _):
        pieces = made.respond("x", threading.Event())
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        assert server.client_has_gone()


def test_nothing_is_asked_that_was_cancelled_before() -> None:
    """Nor before the first piece is."""
    with ChatServer() as server, responder(server.url) as (made, _):
        cancelled = threading.Event()
        pieces = made.respond("x", cancelled)
        cancelled.set()
        assert list(pieces) == []
        made.close()
        made.close()
        with pytest.raises(ResponderError, match="the responder is closed"):
            list(made.respond("x", threading.Event()))
        assert server.requests == []


# The way there


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return Authority(ca, str(file))


def test_tls_with_an_authority_of_ones_own(authority: Authority) -> None:
    """Which is named in `gateway.ca_file`; without it the server is not trusted."""
    with ChatServer(context=authority.server_context()) as server:
        with responder(server.url, ca_file=authority.ca_file) as (_, ask):
            assert joined(ask("x")) == joined(ask("y")) == "Hello there."
            assert server.requests[-1].connection == 1
        unreachable(server.url, r"not trusted.*gateway\.ca_file")


def test_http_where_tls_was_expected_is_said() -> None:
    """A frequent mistake."""
    with ChatServer() as server:
        unreachable(server.url.replace("http", "https"), "is it an http:// address")


def test_a_proxy_is_asked_where_the_environment_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the whole address; `NO_PROXY` and loopback go directly."""
    with ChatServer() as proxy:
        host = proxy.url.split("/")[2]
        monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@{host}")
        monkeypatch.setenv("HTTPS_PROXY", host)
        with responder("http://llm.example/v1") as (_, ask):
            assert joined(ask("x")) == "Hello there."
        line = proxy.requests[0].line
        assert line == "POST http://llm.example/v1/chat/completions HTTP/1.1"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"

        proxy.answers = [document(b"", status="403 Forbidden")]
        unreachable("https://llm.example/v1", r"through the proxy .*HTTP 403")
        assert proxy.requests[-1].line == "CONNECT llm.example:443 HTTP/1.1"
        proxy.answers = [raw(b"SSH-2.0\r\n")]
        unreachable("https://llm.example/v1", "the proxy does not speak HTTP")
        asked = len(proxy.requests)

        unreachable(f"http://127.0.0.1:{closed_port()}/v1", "nothing listens")
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,.invalid")
        unreachable("http://llm.invalid/v1", r"llm.invalid cannot be reached")
        assert len(proxy.requests) == asked


def test_a_network_is_exempted_from_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its mask, as other programs take it; names beside it do no harm."""
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "example.org, 10.0.0.0/8")
    assert proxy_for("https", "10.1.2.3", 443) is None
    assert proxy_for("https", "192.168.1.5", 443) == Proxy("proxy.example", 3128, "https_proxy")
    assert proxy_for("http", "192.168.1.5", 80) is None
    assert proxy_for("https", "localhost", 443) is None


@pytest.mark.parametrize("value", ["socks5://a:1", "http://", "http://a:b/c@d"])
def test_a_proxy_that_is_none_is_a_config_error(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything starts."""
    monkeypatch.setenv("all_proxy", value)
    with pytest.raises(ConfigError, match=r"\$all_proxy"):
        OpenAiResponder("http://llm.example/v1", "m")


# Mistakes in the config, and the key


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "responder.url is empty"),
        ("llm.example/v1", "must be http://"),
        ("ftp://llm.example", "must be http://"),
        ("http://", "must be http://"),
        ("http://a b/", "must be http://"),
        ("http://a:99999/", "must be http://"),
        ("http://me:key@llm.example/v1", "may not hold a user or a password"),
        ("http://llm.example/v1?x=1", "leave out what follows"),
    ],
)
def test_an_address_that_cannot_be_is_a_config_error(url: str, says: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(ConfigError, match=says):
        OpenAiResponder(url, "m")


def test_a_model_must_be_named_and_an_authority_readable(tmp_path: Path) -> None:
    """Said before anything starts."""
    with pytest.raises(ConfigError, match=r"responder\.model is empty"):
        OpenAiResponder("http://llm.example/v1", " ")
    with pytest.raises(ConfigError, match=r"gateway\.ca_file"):
        OpenAiResponder("https://llm.example/v1", "m", ca_file=str(tmp_path / "none.pem"))


def test_the_key_is_never_written(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the server repeats it."""
    register_secret("sk-very-secret")
    caplog.set_level(logging.DEBUG)
    said = document({"error": {"message": "wrong key sk-very-secret"}}, status="500 X")
    with ChatServer(said) as server, responder(server.url, key="sk-very-secret") as (_, ask):
        with pytest.raises(ResponderError) as caught:
            ask("x")
        assert "wrong key ***" in str(caught.value)
        assert "asked once more" in caplog.text
        assert "very-secret" not in f"{caught.value!r}{caplog.text}"


def test_a_key_that_goes_unencrypted_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Once, unless it stays on this machine."""
    OpenAiResponder("http://127.0.0.1:1/v1", "m", key="sk-1234").close()
    assert caplog.text == ""
    OpenAiResponder("http://llm.example/v1", "m", key="sk-1234").close()
    assert "the key goes to llm.example unencrypted" in caplog.text


def test_a_request_is_plain_ascii() -> None:
    """Whatever was said; half a character too."""
    with ChatServer() as server, responder(server.url) as (_, ask):
        ask("ö \ud83d")
        assert json.dumps(server.bodies[0]["messages"][0]["content"]) == '"\\u00f6 \\ud83d"'
