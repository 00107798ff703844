"""A request and its answer on a stream: the one file that imports an HTTP library.

That is the standard library's `http.client`, which reads heads and bodies; the waits are
`socket_stream`'s, so that every one of them can be stopped from another thread. Measured beside
urllib3 and httpx: docs/conversation.md.

Deadlines: for the first byte of the answer's body, between two pieces of it, and for all of it.
What is received is bounded.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from slng_edge.errors import ResponderError
from slng_edge.responders.http_failures import broken, refusal, retry_after_s
from slng_edge.responders.interface import ResponderUnreachable
from slng_edge.responders.socket_stream import (
    HEAD_BYTES,
    SocketStream,
    TookTooLong,
    TooMuchReceived,
)

MAX_BODY_BYTES = 8_388_608
"""Of one answer: 20,000 tokens at 400 bytes each, thoughts included."""
RECEIVED_BYTES = 2 * MAX_BODY_BYTES
"""With the heads of chunks and what follows the last of them."""
REFUSAL_BYTES = 4096
REFUSAL_S = 1.0
"""How much of an error page is read, and for how long."""
READ_BYTES = 16384
LEFTOVER_S = 0.02
"""How long the formal end of an answer that is complete is waited for, to keep the connection."""


@dataclass(frozen=True)
class Timeouts:
    """In seconds. `turn.thinking_timeout_s` is shorter than most, but ends with the first sound."""

    connect_s: float = 5.0
    first_byte_s: float = 30.0
    between_s: float = 10.0
    whole_s: float = 120.0
    retry_s: float = 0.5
    """Before the second attempt, where the server names no time."""
    longest_retry_s: float = 5.0
    """A server that names a longer time is not asked again in this turn."""


DEFAULT_TIMEOUTS = Timeouts()


class NoAnswer(ResponderUnreachable):
    """The connection ended before the answer."""


class Refused(ResponderError):
    """The server answered with another status than 2xx."""

    def __init__(self, message: str, status: int, after_s: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = after_s
        self.retryable = status in (408, 425, 429) or status >= 500


class RefusedForNow(Refused, ResponderUnreachable):
    """A server in front of the responder does not reach it either."""


class Answer:
    """An answer as it comes; close it, which keeps the connection where it is complete.

    Args:
        name: The server, for messages.
        stream, response: What it is read from.
        timeouts, deadline: How long each step, and all of it, may take.
        release: Told, once, whether the connection can be used again.
    """

    def __init__(
        self,
        name: str,
        stream: SocketStream,
        response: http.client.HTTPResponse,
        timeouts: Timeouts,
        deadline: float,
        release: Callable[[bool], None],
    ) -> None:
        self.name = name
        self._stream = stream
        self._response = response
        self._timeouts = timeouts
        self._deadline = deadline
        self._release = release
        self._ended = False
        self._released = False

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def content_type(self) -> str:
        """Of the answer, in lower case, without parameters; "" where the server gives none."""
        return (self._response.getheader("Content-Type") or "").partition(";")[0].strip().lower()

    @property
    def ends_by_closing(self) -> bool:
        """Whether only the end of the connection ends the answer, so that none is a sure one."""
        return not self._response.chunked and self._response.length is None

    def chunks(self) -> Iterator[bytes]:
        """The body, as it comes.

        Raises:
            ResponderUnreachable: nothing of it came in time.
            ResponderError: it broke off, took too long or is too long.
            Abandoned: nobody waits any more.
        """
        received = 0
        try:
            while data := self._response.read1(READ_BYTES):
                received += len(data)
                if received > MAX_BODY_BYTES:
                    raise ResponderError(
                        f"{self.name} sent more than {MAX_BODY_BYTES} bytes and was stopped"
                    )
                yield data
                between = time.monotonic() + self._timeouts.between_s
                self._stream.deadline = min(self._deadline, between)
            if self._response.length:
                raise http.client.IncompleteRead(b"", self._response.length)
        except TookTooLong as error:
            raise self._too_slow(received) from error
        except TooMuchReceived as error:
            what = f"more than {RECEIVED_BYTES} bytes that are no answer"
            raise ResponderError(f"{self.name} sent {what} and was stopped") from error
        except (OSError, http.client.HTTPException) as error:
            raise ResponderError(broken(self.name, error)) from error
        self._ended = True

    def drain(self) -> None:
        """What follows the end of a reply is formal: read it where it is there already."""
        self._stream.deadline = time.monotonic() + LEFTOVER_S
        try:
            self._response.read(READ_BYTES)
            self._ended = self._response.isclosed()
        except (OSError, http.client.HTTPException):
            self._ended = False

    def refused(self) -> Refused:
        """What the server's error page says; the answer is closed."""
        self._stream.deadline = time.monotonic() + REFUSAL_S
        page = b""
        try:
            while len(page) < REFUSAL_BYTES and (data := self._response.read1(REFUSAL_BYTES)):
                page += data
        except (OSError, http.client.HTTPException):
            pass  # its status says most
        finally:
            self.close()
        location = self._response.getheader("Location") or ""
        kind = RefusedForNow if self.status in (502, 503, 504) else Refused
        after_s = retry_after_s(self._response.getheader("Retry-After") or "")
        return kind(refusal(self.name, self.status, page, location), self.status, after_s)

    def close(self) -> None:
        """Give the connection back, or end it where the answer is not complete."""
        if self._released:
            return
        self._released = True
        keep = self._ended and not self._response.will_close
        self._response.close()
        self._release(keep)

    def _too_slow(self, received: int) -> ResponderError:
        if time.monotonic() >= self._deadline:
            return ResponderError(
                f"{self.name} did not finish within {self._timeouts.whole_s:g} s and was stopped"
            )
        if received:
            return ResponderError(
                f"{self.name} fell silent for {self._timeouts.between_s:g} s and was stopped"
            )
        return ResponderUnreachable(
            f"{self.name} did not answer within {self._timeouts.first_byte_s:g} s"
        )


def exchange(
    name: str,
    stream: SocketStream,
    request: bytes,
    *,
    timeouts: Timeouts,
    deadline: float,
    release: Callable[[bool], None],
) -> Answer:
    """Send `request`, a POST; returns when the answer's head has come, with status 2xx.

    Raises:
        NoAnswer: the connection broke before anything came.
        ResponderUnreachable: nothing came in time.
        Refused: another status than 2xx.
        ResponderError: what came is no HTTP.
        Abandoned: nobody waits any more.
    """
    stream.deadline = min(deadline, time.monotonic() + timeouts.first_byte_s)
    stream.allowed_bytes = HEAD_BYTES
    response = http.client.HTTPResponse(stream, method="POST")  # type: ignore[arg-type]
    answer = Answer(name, stream, response, timeouts, deadline, release)
    try:
        stream.sendall(request)
        response.begin()
    except BaseException as error:
        answer.close()
        match error:
            case TookTooLong():
                raise ResponderUnreachable(
                    f"{name} did not answer within {timeouts.first_byte_s:g} s"
                ) from error
            case TooMuchReceived():
                raise ResponderError(
                    f"{name} did not answer as an HTTP server does (it sent no end of headers); "
                    "check responder.url"
                ) from error
            case OSError():
                raise NoAnswer(f"{name} closed the connection before it answered") from error
            case http.client.HTTPException():
                raise ResponderError(
                    f"{name} did not answer as an HTTP server does ({type(error).__name__}); "
                    "check responder.url"
                ) from error
        raise
    stream.allowed_bytes = RECEIVED_BYTES
    if not 200 <= response.status <= 299:
        raise answer.refused()
    return answer


def open_tunnel(stream: SocketStream, authority: str, headers: Mapping[str, str]) -> None:
    """Have the proxy, to which `stream` is connected, connect it to `authority`.

    Raises:
        OSError: it does not, or the connection failed.
    """
    stream.sendall(head(f"CONNECT {authority}", {"Host": authority, **headers}))
    response = http.client.HTTPResponse(stream, method="CONNECT")  # type: ignore[arg-type]
    try:
        response.begin()
    except http.client.HTTPException as error:
        raise OSError(f"the proxy does not speak HTTP: {type(error).__name__}") from error
    if not 200 <= response.status <= 299:
        raise OSError(f"the proxy refused it with HTTP {response.status}")


def head(request: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request; `request` is method and target."""
    lines = [f"{request} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii")
