"""How many connections may be open at once: the plan's limit, shared by all sessions.

A session takes a place before it dials and gives it back when the connection is gone. Where there
are fewer places than sessions want, who has work goes first, in the order in which they asked; who
has a place and no work learns that it is wanted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class ConnectionBudget:
    """The places; any thread.

    Args:
        limit: Concurrent connections (protocol.md, 6).
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._lock = threading.Lock()
        self._claims: list[Claim] = []
        self._pressing: list[Claim] = []

    def claim(self, on_change: Callable[[], None]) -> Claim:
        """A session's claim; `on_change` is called when places come or are wanted.

        It is called in other sessions' threads, without a lock held, and must not wait.
        """
        claim = Claim(self, on_change)
        with self._lock:
            self._claims.append(claim)
        return claim

    def _tell(self, but: Claim) -> None:
        with self._lock:
            others = [claim for claim in self._claims if claim is not but]
        for claim in others:
            claim.on_change()


class Claim:
    """What one session has to do with the budget; see `ConnectionBudget.claim`."""

    def __init__(self, budget: ConnectionBudget, on_change: Callable[[], None]) -> None:
        self.on_change = on_change
        self._budget = budget

    @property
    def free(self) -> bool:
        """Whether `take` would succeed now."""
        with self._budget._lock:
            return self._may_take()

    @property
    def wanted_by_another(self) -> bool:
        """Whether another session has work, and no place is left."""
        with self._budget._lock:
            waiting = any(claim is not self for claim in self._budget._pressing)
            return waiting and self._budget._free == 0

    def press(self, pressing: bool) -> None:
        """Say whether work waits for a place."""
        with self._budget._lock:
            if (self in self._budget._pressing) == pressing:
                return
            if pressing:
                self._budget._pressing.append(self)
            else:
                self._budget._pressing.remove(self)
        self._budget._tell(self)

    def take(self) -> bool:
        """Take a place; False where there is none, or another session goes first."""
        with self._budget._lock:
            if not self._may_take():
                return False
            self._budget._free -= 1
            return True

    def give_back(self) -> None:
        """Give a place back that was taken."""
        with self._budget._lock:
            self._budget._free += 1
        self._budget._tell(self)

    def leave(self) -> None:
        """The session ends; its places are given back already."""
        self.press(False)
        with self._budget._lock:
            if self in self._budget._claims:
                self._budget._claims.remove(self)
        self._budget._tell(self)

    def _may_take(self) -> bool:
        ahead = 0
        for claim in self._budget._pressing:
            if claim is self:
                break
            ahead += 1
        return self._budget._free > ahead
