"""A TCP relay before the gateway: what clients sent, and when their sessions were ready."""

from __future__ import annotations

import threading
import time

from slng_edge.benchmarks.relay import CountingRelay

READY = b'"ready"'
SESSIONS = ("/stt/", "/tts/")


class ObservingRelay(CountingRelay):
    """Also knows when `ready` came back on the first connection of each session.

    Args:
        url: The gateway's `ws://HOST:PORT`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._changed = threading.Condition(self._lock)
        self._seen: dict[str, bytes] = {}
        self._ready_at: dict[str, float] = {}

    def wait_ready(self, timeout_s: float) -> float | None:
        """When (`time.monotonic()`) the second session was ready; None: not in time."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready_at) == len(SESSIONS), timeout_s)
            if len(self._ready_at) < len(SESSIONS):
                return None
            return max(self._ready_at.values())

    def answered(self, path: str, data: bytes) -> None:
        """See `CountingRelay`."""
        session = next((each for each in SESSIONS if each in path), None)
        if session is None or session in self._ready_at:
            return
        self._seen[path] = self._seen.get(path, b"") + data
        if READY in self._seen[path]:
            with self._changed:
                self._ready_at[session] = time.monotonic()
                self._changed.notify_all()
