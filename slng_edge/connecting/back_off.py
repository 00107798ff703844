"""How long to wait before the next attempt: exponential, full jitter."""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 1.0
LIMIT_S = 30.0
"""1 s doubling to 30 s, as SLNG's own clients do (protocol.md, 7)."""

RATE_LIMITED_S = 5.0
LIVED_S = 30.0
"""A connection that lived this long, with traffic, starts the row anew."""


class BackOff:
    """The row of delays of one session.

    Args:
        uniform: Where the jitter comes from: a number between two, as `random.uniform` gives it.
    """

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._ceiling_s = FIRST_S

    def succeeded(self, lived_s: float) -> None:
        """A connection was ready for `lived_s`; a long life starts the row anew."""
        if lived_s >= LIVED_S:
            self._ceiling_s = FIRST_S

    def next_delay_s(self, at_least_s: float = 0.0) -> float:
        """Seconds to wait now: anything up to the ceiling, which then doubles.

        Args:
            at_least_s: What the server asked for (`Retry-After`), or the table of
                protocol.md says (a rate limit: 5 s).
        """
        delay_s = self._uniform(0.0, self._ceiling_s)
        self._ceiling_s = min(LIMIT_S, self._ceiling_s * 2)
        return at_least_s + delay_s
