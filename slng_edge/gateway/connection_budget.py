"""How many connections may be open at once: the plan's limit, shared by all sessions."""

from __future__ import annotations

import threading

CONNECTIONS = {"free": 1, "pro": 5, "enterprise": 50}
"""Concurrent connections of each tier (protocol.md, 6)."""


class ConnectionBudget:
    """Counts open connections; a session takes one place before it dials."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._changed = threading.Condition()

    def take(self, timeout_s: float) -> bool:
        """Take a place; waits at most `timeout_s`. False: none came free."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._free > 0, timeout_s):
                return False
            self._free -= 1
            return True

    def give_back(self) -> None:
        """Give a place back that was taken."""
        with self._changed:
            self._free += 1
            self._changed.notify()
