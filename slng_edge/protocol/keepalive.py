"""When a keepalive is due: whenever nothing was sent for its interval."""

from __future__ import annotations

import math


class Keepalive:
    """The keepalive of one connection after the other; the owner serializes all calls.

    Args:
        interval_s: A keepalive is due when nothing was sent for so long. Times are seconds of
            a monotonic clock.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._due_at = math.inf

    def sent(self, now: float) -> None:
        """A message went out, or a connection has begun."""
        self._due_at = now + self._interval_s

    def stop(self) -> None:
        """The connection is gone, or its dialect knows no keepalive."""
        self._due_at = math.inf

    def put_off(self, until: float) -> None:
        """It may not be sent before `until`."""
        self._due_at = until

    def is_due(self, now: float) -> bool:
        """Whether nothing was sent for the interval."""
        return now >= self._due_at

    def deadline(self) -> float | None:
        """When it will be due, if nothing is sent before."""
        return None if math.isinf(self._due_at) else self._due_at
