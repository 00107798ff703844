"""How much may still be sent within the minute, pure: `now` is handed in.

A bucket that refills evenly holds a limit only on average: full at the start, it lets twice the
limit through in its first minute. So this one keeps the times of what was sent, and gives an
amount back when it is a minute old. No minute then holds more than the limit, wherever a gateway
lets its minutes begin, and the memory is one entry for each unit of the limit at the most.
"""

from __future__ import annotations

from collections import deque

MINUTE_S = 60.0
MARGIN_S = 2.0
"""What is sent a minute apart can arrive closer together, when the network held the first of it
up: by so much at the most, before the gateway sees too many in its minute. Costs 3 % of the rate.
"""

WINDOW_S = MINUTE_S + MARGIN_S
"""The time after which an amount is given back."""


class TokenBucket:
    """A limit per minute that holds in every minute; one thread.

    Full at the start. An amount of more than the whole limit is allowed when nothing was taken
    for `WINDOW_S`: it could never be sent otherwise.

    Args:
        per_minute: How much may be taken in any minute.

    Raises:
        ValueError: `per_minute` is less than 1.
    """

    def __init__(self, per_minute: float) -> None:
        if per_minute < 1:
            raise ValueError(f"a limit of {per_minute:g} a minute lets nothing through")
        self._per_minute = per_minute
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def take(self, amount: int, now: float) -> bool:
        """Take `amount` if it is there.

        Args:
            amount: Messages, characters; 0 is always there, and takes nothing.
            now: Time in seconds, never earlier than at the last call.

        Returns:
            Whether it was taken, that is, whether it may be sent.

        Raises:
            ValueError: `amount` is negative.
        """
        if self.ready_at(amount, now) > now:
            return False
        if amount:
            self._taken.append((now, amount))
            self._sum += amount
        return True

    def ready_at(self, amount: int, now: float) -> float:
        """When `amount` can be taken, if nothing else is until then; `now` if at once.

        Raises:
            ValueError: `amount` is negative.
        """
        if amount < 0:
            raise ValueError(f"an amount of {amount} cannot be taken")
        while self._taken and self._taken[0][0] + WINDOW_S <= now:
            self._sum -= self._taken.popleft()[1]
        missing = self._sum + amount - self._per_minute if amount else 0
        ready_at = now
        for taken_at, returned in self._taken:
            if missing <= 0:
                break
            missing -= returned
            ready_at = taken_at + WINDOW_S
        return ready_at

    def reset(self) -> None:
        """Full again, as for a new connection."""
        self._taken.clear()
        self._sum = 0
