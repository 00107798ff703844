"""What a connection puts off: answers that come later, on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

JOIN_S = 2.0
"""How long the end of a connection waits for its delayed messages' threads."""


class DelayedActions:
    """Actions with a delay, each in a thread of its own. Any thread.

    Args:
        name: Of the threads.
        hasten: When it is set, what is put off is done at once.
    """

    def __init__(self, name: str, hasten: threading.Event) -> None:
        self._name, self._hasten = name, hasten
        self._threads: list[threading.Thread] = []

    def add(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do it after `delay_ms`."""

        def wait_and_act() -> None:
            self._hasten.wait(delay_ms / 1000)
            action()

        thread = threading.Thread(target=wait_and_act, name=self._name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def wait(self) -> None:
        """Wait until all is done."""
        for thread in self._threads:
            thread.join()

    def join(self) -> None:
        """Wait until all is done, 2 s at most."""
        deadline = time.monotonic() + JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
