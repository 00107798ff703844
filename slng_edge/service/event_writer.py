"""The thread that writes events to a file or to standard output, one JSON object a line."""

from __future__ import annotations

import json
import logging
from typing import TextIO

from slng_edge.events import EventBus
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)


class EventWriter:
    """Owns the thread `event-writer`; a reader that goes away ends the writing, not the loop.

    Args:
        bus: Whose events are written, from now on.
        stream: Where to; flushed after each line. The caller closes it after `stop`.
        on_death: As in `Worker`.
    """

    def __init__(self, bus: EventBus, stream: TextIO, *, on_death: OnDeath | None = None) -> None:
        self._subscription = bus.subscribe()
        self._stream = stream
        self._worker = Worker(
            "event-writer", self._run, wake=self._subscription.close, on_death=on_death
        )

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Write what is queued and end the thread.

        Raises:
            StuckThread: the stream takes nothing.
        """
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        while not self._subscription.closed:
            stamped = self._subscription.get(timeout_s=60.0)
            if stamped is None:
                continue
            try:
                self._stream.write(json.dumps(stamped.as_json(), ensure_ascii=False) + "\n")
                self._stream.flush()
            except OSError as error:
                log.warning("events are not written any more: %s", error)
                self._subscription.close()
                return
