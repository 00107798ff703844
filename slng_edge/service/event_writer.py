"""The thread that writes events to a file or to standard output, one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
import select
import stat
import time
from contextlib import suppress
from dataclasses import replace
from typing import TextIO

from slng_edge.events import EventBus, Lost, Stamped
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

POLL_MS = 50.0
"""How late a stop is noticed while a reader takes nothing."""


class EventWriter:
    """Owns the thread `event-writer`; a reader that goes away ends the writing, not the loop.

    A file that takes nothing for now, on a full disk, is tried again with the next event; what is
    missing is told in it as `lost`, and no half line stays.

    It writes to the stream's descriptor, a piece at a time and only when there is room: a
    blocked write could not be ended, and the buffer of a stream would hold up the exit.

    Args:
        bus: Whose events are written, from now on.
        stream: Where to, as UTF-8; has to have a descriptor. The caller closes it after `stop`.
        on_death: As in `Worker`.
    """

    def __init__(self, bus: EventBus, stream: TextIO, *, on_death: OnDeath | None = None) -> None:
        self._subscription = bus.subscribe()
        self._stream = stream
        self._end_by: float | None = None
        self._told_dropped = 0
        self._unwritten = 0
        self._unwritten_why = ""
        self._worker = Worker(
            "event-writer", self._run, wake=self._subscription.close, on_death=on_death
        )

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Write what is queued, as far as the reader takes it in time, and end the thread.

        Raises:
            StuckThread: the stream is a file on a device that does not answer.
        """
        self._end_by = time.monotonic() + timeout_s / 2
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        try:
            self._stream.flush()
            descriptor = self._stream.fileno()
            write = self._try if stat.S_ISREG(os.fstat(descriptor).st_mode) else self._write_event
            while not self._subscription.closed:
                stamped = self._subscription.get(timeout_s=60.0)
                if stamped is not None:
                    write(descriptor, stamped)
        except OSError as error:
            log.warning("events are not written any more: %s", error)
            self._subscription.close()

    def _try(self, descriptor: int, stamped: Stamped) -> None:
        """Write an event to a file, which may have no room now."""
        size, told_dropped = os.fstat(descriptor).st_size, self._told_dropped
        try:
            if self._unwritten:
                why = f"{self._unwritten} events: {self._unwritten_why}"
                self._write_event(descriptor, replace(stamped, event=Lost("events", 0, why)))
                log.info("events are written again")
                self._unwritten = 0
                size, told_dropped = os.fstat(descriptor).st_size, self._told_dropped
            self._write_event(descriptor, stamped)
        except TimeoutError:
            raise
        except OSError as error:
            if not self._unwritten:
                log.warning("events are not written for now: %s", error)
            self._unwritten += 1
            self._unwritten_why = error.strerror or str(error)
            self._told_dropped = told_dropped
            with suppress(OSError):
                if os.fstat(descriptor).st_size > size:  # half a line, maybe a whole one before it
                    os.ftruncate(descriptor, size)
                    os.lseek(descriptor, size, os.SEEK_SET)

    def _write_event(self, descriptor: int, stamped: Stamped) -> None:
        dropped = self._subscription.dropped
        if dropped > self._told_dropped:
            why = f"{dropped - self._told_dropped} events: their reader is too slow"
            self._write_line(descriptor, replace(stamped, event=Lost("events", 0, why)))
            self._told_dropped = dropped
        self._write_line(descriptor, stamped)

    def _write_line(self, descriptor: int, stamped: Stamped) -> None:
        line = json.dumps(stamped.as_json(), ensure_ascii=False) + "\n"
        self._write(descriptor, line.encode("utf-8", "replace"))

    def _write(self, descriptor: int, data: bytes) -> None:
        room = select.poll()
        room.register(descriptor, select.POLLOUT)
        while data:
            if room.poll(POLL_MS):
                # A pipe that has room has it for so many bytes at least.
                data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
            if data and self._end_by is not None and time.monotonic() >= self._end_by:
                raise TimeoutError("the reader takes nothing")
