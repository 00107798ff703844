"""The thread that hands every event to those who cannot wait for one themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slng_edge.events import EventBus, Stamped
from slng_edge.threads import OnDeath, Worker

Receiver = Callable[[Stamped], None]

WAIT_S = 60.0
"""How long one wait for an event is; `stop` ends it."""


class EventRelay:
    """Owns the thread `event-relay`.

    Args:
        bus: Whose events are handed on, from now on.
        receivers: Called with each event, in the thread; they do not wait.
        on_death: As in `Worker`.
    """

    def __init__(
        self, bus: EventBus, receivers: Sequence[Receiver], *, on_death: OnDeath | None = None
    ) -> None:
        self._subscription = bus.subscribe()
        self._receivers = tuple(receivers)
        self._worker = Worker(
            "event-relay", self._run, wake=self._subscription.close, on_death=on_death
        )

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Hand on what is queued, and end the thread; idempotent.

        Raises:
            StuckThread: a receiver did not return.
        """
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        while not self._subscription.closed:
            stamped = self._subscription.get(timeout_s=WAIT_S)
            if stamped is not None:
                for receive in self._receivers:
                    receive(stamped)
