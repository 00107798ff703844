"""One connection to the control socket: requests in, answers and events out, all bounded.

It belongs to the thread `control` alone and never waits.
"""

from __future__ import annotations

import collections
import json
import select
import socket
from collections.abc import Mapping
from typing import Any

from slng_edge.service.control_requests import RequestId, RequestLines
from slng_edge.service.unsent_bytes import UnsentBytes

READ_BYTES = 65536

BACKLOG_BYTES = 65536
"""Who does not read answers is asked for no more requests from here on."""

STREAM_BACKLOG_BYTES = 262144
"""Beyond this, events are dropped and counted: some minutes of them."""

REQUEST_TIMEOUT_S = 10.0
"""A request that has begun is complete within this."""

ANSWER_TIMEOUT_S = 10.0
"""Who takes nothing of an answer for so long is let go."""

IDLE_TIMEOUT_S = 600.0
"""Who asks for nothing for so long gives its place to others; a stream of events may."""

LINGER_S = 1.0
"""Who was refused has so long to read why."""


def encoded(message: Mapping[str, Any]) -> bytes:
    """`message` as a line."""
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


class ControlClient:
    """A client that was accepted, and what it has not read yet.

    Args:
        sock: Connected; it is closed by `close`.
        now: Seconds on any monotonic clock, as everywhere here.
    """

    def __init__(self, sock: socket.socket, now: float) -> None:
        sock.setblocking(False)
        self.streaming = False
        self.awaits_reload = False
        self._sock = sock
        self._lines = RequestLines()
        self._requests: collections.deque[bytes | None] = collections.deque()
        self._out = UnsentBytes()
        self._dropped_events = 0
        self._read_ended = False
        self._broken = False
        self._refused_at: float | None = None
        self._moved_at = now
        self._request_began_at: float | None = None

    def fileno(self) -> int:
        """The socket's descriptor, -1 once closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Hand over what the socket takes at once, and close it."""
        self.flush(self._moved_at)
        self._sock.close()

    @property
    def over(self) -> bool:
        """Whether it has all that it asked for, and will ask for nothing more."""
        if self._requests:
            return False
        if self._broken:
            return self._read_ended
        if self._out or self.awaits_reload:
            return False
        return self._read_ended and not self.streaming

    @property
    def wanted(self) -> int:
        """What to poll for; that the peer closed is always told."""
        reading = not self._read_ended and (self._broken or self._has_room)
        return (select.POLLIN if reading else 0) | (select.POLLOUT if self._out else 0)

    @property
    def deadline(self) -> float:
        """When it is let go where nothing moves until then; infinite for a stream of events."""
        if self._refused_at is not None:
            return self._refused_at + LINGER_S
        if self.hangs_in_request and self._request_began_at is not None:
            return self._request_began_at + REQUEST_TIMEOUT_S
        if self.streaming:
            return float("inf")
        return self._moved_at + (ANSWER_TIMEOUT_S if self._out else IDLE_TIMEOUT_S)

    @property
    def hangs_in_request(self) -> bool:
        """Whether it has begun a request and not ended it, and not because we do not read on."""
        began = self._request_began_at is not None
        return began and self._refused_at is None and not self._out

    def receive(self, now: float) -> None:
        """Read once what there is; requests come out of `next_request`."""
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # it was closed with answers unread
            self._break_off()
            data = b""
        self._moved_at = now
        self._read_ended = not data
        if self._refused_at is not None:
            return
        self._requests += self._lines.receive(data) if data else self._lines.receive_end()
        if not self._lines.incomplete:
            self._request_began_at = None
        elif self._request_began_at is None or b"\n" in data:
            self._request_began_at = now

    def hang_up(self) -> None:
        """The peer closed: who would read an answer is gone. What it asked for may be read."""
        self._break_off()

    def next_request(self) -> tuple[bytes | None] | None:
        """The next line, None in it where it was too long; None where answers are not read."""
        if not self._requests or not (self._has_room or self._broken):
            return None
        return (self._requests.popleft(),)

    def answer(self, id: RequestId, result: Mapping[str, Any]) -> None:
        """Queue the answer to request `id`."""
        self._queue(encoded({"id": id, "ok": True, "result": result}))

    def answer_error(self, id: RequestId, error: str) -> None:
        """Queue the refusal of request `id`."""
        self._queue(encoded({"id": id, "ok": False, "error": error}))

    def refuse(self, error: str, now: float) -> None:
        """Say `error`, read no request, and be over soon."""
        self.answer_error(None, error)
        self.flush(now)
        self._refused_at = now
        if not self._broken:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self._break_off()

    def stream(self, line: bytes, missing: Mapping[str, Any]) -> None:
        """Queue an event's `line`; too much unread: drop it, and say so before the next one.

        Args:
            line: The event, encoded.
            missing: The event that says that some are; its `why` is made here.
        """
        if self._out.size + len(line) > STREAM_BACKLOG_BYTES:
            self._dropped_events += 1
            return
        if self._dropped_events:
            why = f"{self._dropped_events} events: their reader is too slow"
            self._dropped_events = 0
            self._queue(encoded({**missing, "why": why}))
        self._queue(line)

    def drop_events(self, count: int) -> None:
        """`count` events did not come this far."""
        self._dropped_events += count

    def flush(self, now: float) -> None:
        """Send what the socket takes."""
        if self._broken:
            return
        try:
            moved = self._out.send(self._sock)
        except OSError:
            self._break_off()
            return
        if moved:
            self._moved_at = now
            if self._request_began_at is not None:
                self._request_began_at = now  # until here it may have waited for us

    @property
    def _has_room(self) -> bool:
        limit = STREAM_BACKLOG_BYTES if self.streaming else BACKLOG_BYTES
        return self._out.size <= limit

    def _queue(self, line: bytes) -> None:
        if not self._broken:
            self._out.add(line)

    def _break_off(self) -> None:
        self._broken = True
        self.streaming = False
        self._out.clear()
