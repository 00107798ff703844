"""How many connections may be open at the same time."""

from __future__ import annotations

import threading
import time
from typing import Protocol

CLOSING_S = 0.5
"""How long a newcomer waits for a place that a closing handshake is about to give up."""

_STEP_S = 0.005


class Connection(Protocol):
    """What has to be known of a connection. Any thread."""

    def occupies(self) -> bool:
        """Whether it still takes a place."""

    def closing(self) -> bool:
        """Whether its closing handshake has begun."""


class ConnectionSlots:
    """The places for connections. Any thread.

    A connection takes its place as long as its socket stands, whatever the gateway's threads
    know of it; see `ConnectionSocket.occupies`.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._taken: list[Connection] = []

    def take(self, connection: Connection) -> bool:
        """Take a place; False when all are taken. Waits `CLOSING_S` at most."""
        deadline = time.monotonic() + CLOSING_S
        while True:
            with self._lock:
                self._taken = [known for known in self._taken if known.occupies()]
                if len(self._taken) < self._count:
                    self._taken.append(connection)
                    return True
                closing = any(known.closing() for known in self._taken)
            if not closing or time.monotonic() >= deadline:
                return False
            time.sleep(_STEP_S)
