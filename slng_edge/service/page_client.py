"""One browser at the status page: a request in, an answer out, and events after it. All bounded.

It belongs to the thread `status-page` alone and never waits.
"""

from __future__ import annotations

import select
import socket
from http import HTTPStatus

from slng_edge.service.http_messages import (
    BadHttpRequest,
    HttpRequest,
    HttpResponse,
    parse_http_request,
    refusal,
)
from slng_edge.service.unsent_bytes import UnsentBytes

TIMEOUT_S = 10.0
"""A request is complete within this, and an answer taken."""

BACKLOG_BYTES = 262144
"""Who has so many of its events unread is let go; it comes again and begins anew."""

LINGER_S = 1.0
"""Who has its answer closes within this, or is closed."""

READ_BYTES = 16384

SURPLUS_LIMIT_BYTES = 65536
"""Who sends more than this after its request is closed: a browser sends nothing."""


class PageClient:
    """A browser that connected.

    Args:
        sock: Connected; it is closed by `close`.
        now: Seconds on any monotonic clock, as everywhere here.

    Attributes:
        streaming: Whether it watches.
        host: The address it came from, "" where it is gone already.
    """

    def __init__(self, sock: socket.socket, now: float) -> None:
        sock.setblocking(False)
        self.streaming = False
        self._sock = sock
        self.host = _host_of(sock)
        self._in = b""
        self._surplus_bytes = 0
        self._out = UnsentBytes()
        self._answered = False
        self._ended = False
        self._broken = False
        self._deadline = now + TIMEOUT_S

    def fileno(self) -> int:
        """The socket's descriptor, -1 once closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the connection; what it did not take is gone."""
        self._sock.close()

    @property
    def wanted(self) -> int:
        """What to poll for."""
        return select.POLLIN | (select.POLLOUT if self._out else 0)

    @property
    def deadline(self) -> float:
        """When it is let go where nothing moves until then; a stream may last."""
        return float("inf") if self.streaming and not self._out else self._deadline

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self._broken

    def receive(self) -> HttpRequest | HttpResponse | None:
        """Read once: a request, the answer to one that is none, or None for neither yet."""
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self._broken = True
        if self._answered or not data:
            self._surplus_bytes += len(data)
            if self._surplus_bytes > SURPLUS_LIMIT_BYTES:
                self._broken = True
            return None  # one request a connection, and this was it
        self._in += data
        try:
            return parse_http_request(self._in)
        except BadHttpRequest as error:
            return refusal(error.status, str(error))

    def answer(self, response: HttpResponse, *, head_only: bool, now: float) -> None:
        """Queue the answer; events may follow where it streams."""
        self._answered, self._in = True, b""
        self.streaming = response.streams and not head_only
        self._deadline = now + TIMEOUT_S
        self._out.add(response.encoded(head_only=head_only))

    def time_out(self, now: float) -> None:
        """It took too long; who had begun to ask is told."""
        if self._answered or not self._in:
            self._broken = True
            return
        refused = refusal(HTTPStatus.REQUEST_TIMEOUT, "the request did not end in time")
        self.answer(refused, head_only=False, now=now)
        self.flush(now)

    def give_way(self) -> None:
        """It watches no more, and is over."""
        self.streaming, self._broken = False, True

    def stream(self, data: bytes) -> None:
        """Queue events; who is too slow for them is let go."""
        if self._out.size + len(data) > BACKLOG_BYTES:
            self._broken = True
            return
        self._out.add(data)

    def flush(self, now: float) -> None:
        """Send what the socket takes."""
        if self._broken:
            return
        try:
            moved = self._out.send(self._sock)
        except OSError:
            self._broken = True
            return
        if moved:
            self._deadline = now + TIMEOUT_S
        if self._out:
            return
        if self._answered and not self._ended and not self.streaming:
            self._end(now)

    def _end(self, now: float) -> None:
        """All is sent. Closed at once, what it still sends would take the answer from it."""
        self._ended = True
        self._deadline = now + LINGER_S
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._broken = True


def _host_of(sock: socket.socket) -> str:
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""
