"""How fast is read what others send: pure, with `now` in seconds of any monotonic clock.

Who sends faster waits, as its bytes stay in the socket: nothing is dropped, and no work is done
for it.
"""

from __future__ import annotations


class ReadingRate:
    """So many at once, and so many a second in the long run.

    Args:
        at_once: Where nothing was read for a while.
        per_s: In the long run.
    """

    def __init__(self, *, at_once: int, per_s: float) -> None:
        self._at_once = at_once
        self._per_s = per_s
        self._left = float(at_once)
        self._counted_at = 0.0

    def took(self, count: int, now: float) -> None:
        """`count` were read; more than there may be are owed."""
        self._left = self._left_at(now) - count
        self._counted_at = now

    def due_in_s(self, now: float) -> float:
        """When the next one may be read, 0 for at once."""
        return max(0.0, (1 - self._left_at(now)) / self._per_s)

    def _left_at(self, now: float) -> float:
        return min(self._at_once, self._left + (now - self._counted_at) * self._per_s)
