"""A web server of one's own that answers: the text is posted to it, the reply comes back.

    POST url    {"text": "what was said", "session": "3f0c…"}
    answer      {"reply": "what to say"}

or, to be spoken as it is written, lines, each as soon as it is there: plain text, one JSON object
a line ({"reply": "a line"}, or {"delta": "a fragment"} which is no line of its own), or the same
as server-sent events. The session stays the same until nobody has spoken for a while.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from slng_edge.errors import ResponderError
from slng_edge.responders.history import IdleTime
from slng_edge.responders.http_client import HttpClient
from slng_edge.responders.http_exchange import DEFAULT_TIMEOUTS, Answer, Timeouts
from slng_edge.responders.http_failures import error_message, words
from slng_edge.responders.reply_text import ReplyText, UnfitReply
from slng_edge.responders.server_address import server_address
from slng_edge.responders.socket_stream import Abandoned, Stopped
from slng_edge.responders.spoken_text import SpokenText
from slng_edge.responders.text_lines import TextLines, event_data

MAX_DOCUMENT_BYTES = 1_048_576
"""Of a JSON answer that is not streamed."""

_DOCUMENT = "application/json"
_EVENTS = "text/event-stream"
_OBJECTS = ("application/x-ndjson", "application/jsonl", "application/json-lines")
_TEXT = "text/plain"
_WEB_PAGE = "sent a web page; check responder.url"


class HttpResponder:
    """Posts each question to `url`; its connection is kept between turns.

    A question is not sent twice once it may have been taken: it may have switched something.

    Args:
        url: Where questions go, with its path.
        key: Sent as `Authorization: Bearer`; "" for none.
        idle_reset_s: After so many seconds in which nobody spoke, a new session begins.
        ca_file: An extra certificate authority; "" for none.
        timeouts: How long each step may take.
        clock: Seconds that only grow.

    Raises:
        ConfigError: the address cannot be.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        idle_reset_s: float = 60.0,
        ca_file: str = "",
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        accept = ", ".join((_DOCUMENT, _OBJECTS[0], _EVENTS, _TEXT))
        self._client = HttpClient(
            server_address(url), key=key, ca_file=ca_file, accept=accept, timeouts=timeouts
        )
        self._idle = IdleTime(idle_reset_s)
        self._session = uuid.uuid4().hex
        self._clock = clock
        self._stopped = False

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        """The reply, line by line where the server streams it.

        Waits within the time-outs; returns within 0.1 s of being cancelled.

        Raises:
            ResponderUnreachable: no connection, or no answer in time.
            ResponderError: it refused, failed, broke off, wrote too much or what is no text, or its
                answer has no reply in it. An empty one ({"reply": ""}, HTTP 204) is nothing to say.
        """
        if cancelled.is_set():
            return
        self._stopped = False
        if self._idle.is_over(self._clock()):
            self._session = uuid.uuid4().hex
        self._idle.spoke(self._clock())
        body = json.dumps({"text": text, "session": self._session}).encode("ascii")
        said_chars = 0
        try:
            for piece in self._pieces(body, lambda: self._stopped or cancelled.is_set()):
                said_chars += len(piece)
                yield piece
        except Abandoned:
            said_chars = 0
        finally:
            self._idle.spoke(self._clock(), said_chars)

    def cancel(self) -> None:
        """End the connection that the reply comes on; does not wait. Any thread."""
        self._stopped = True
        self._client.stop()

    def close(self) -> None:
        """Cancel, and close the connection; no reply follows. Any thread, any number of times."""
        self.cancel()
        self._client.close()

    def _pieces(self, body: bytes, stopped: Stopped) -> Iterator[str]:
        spoken = SpokenText()
        answer = self._client.post(body, stopped, repeatable=False)
        reply = ReplyText(answer.name, web_page=_WEB_PAGE)
        try:
            for text in _texts(answer, reply):
                if stopped():
                    raise Abandoned
                piece = spoken.receive(text)
                reply.count(piece)
                if piece:
                    yield piece
            reply.end()
        except UnfitReply:
            raise
        except ResponderError:
            yield from spoken.rest()
            raise
        finally:
            answer.close()
        for piece in spoken.rest():
            reply.count(piece)
            yield piece


def _texts(answer: Answer, reply: ReplyText) -> Iterator[str]:
    kind = answer.content_type
    if kind in _OBJECTS or kind in (_EVENTS, _TEXT):
        lines = TextLines(answer.name)
        for data in answer.chunks():
            yield from _checked(reply, kind, _lines(answer.name, kind, lines.receive(data)))
        yield from _checked(reply, kind, _lines(answer.name, kind, lines.end()))
        return
    document = bytearray()
    for data in answer.chunks():
        document += data
        if len(document) > MAX_DOCUMENT_BYTES:
            raise ResponderError(
                f"{answer.name} sent more than {MAX_DOCUMENT_BYTES} bytes that are no stream"
            )
    if document.strip():
        text = _reply(answer.name, document.decode("utf-8", "replace"))
        yield from _checked(reply, kind, iter((text,)))
    elif answer.status != 204:
        raise ResponderError(f'{answer.name} returned nothing; it should send {{"reply": …}}')


def _checked(reply: ReplyText, kind: str, texts: Iterator[str]) -> Iterator[str]:
    """`texts`, each looked at; lines of text all at once, as the first may look well."""
    if kind == _TEXT:
        lines = list(texts)
        reply.check("".join(lines))
        yield from lines
        return
    for text in texts:
        reply.check(text)
        yield text


def _lines(name: str, kind: str, lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        text = event_data(line) if kind == _EVENTS else line
        if text is None or (kind == _EVENTS and text.strip() == "[DONE]"):
            continue
        if kind in _OBJECTS or (kind == _EVENTS and text[:1] == "{"):
            yield _line_of(name, text)
        else:
            yield f"{text}\n"


def _line_of(name: str, text: str) -> str:
    value = _parsed(name, text)
    if isinstance(value, dict) and not value.get("error"):
        if isinstance(value.get("delta"), str):
            return str(value["delta"])
        if "reply" not in value:
            return ""  # an object that ends the stream, or says more than we need
    reply = _reply_of(name, value)
    return f"{reply}\n" if reply else ""


def _reply(name: str, text: str) -> str:
    if text.lstrip()[:1] == "<":
        raise ResponderError(f"{name} {_WEB_PAGE}")
    return _reply_of(name, _parsed(name, text))


def _reply_of(name: str, value: Any) -> str:
    if isinstance(value, dict):
        if value.get("error"):
            raise ResponderError(f"{name} failed: {error_message(value)}")
        if isinstance(value.get("reply"), str):
            return str(value["reply"])
        found = words(", ".join(map(str, value))) or "nothing"
        raise ResponderError(f'{name} sent no text under "reply"; its answer holds {found}')
    raise ResponderError(f'{name} should send {{"reply": "…"}}, and sent something else')


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ResponderError(f"{name} sent what is no JSON: {words(text[:80])}") from error
