"""The responder that says what it heard: for the first try, and for measuring."""

from __future__ import annotations

import threading
from collections.abc import Iterator


class EchoResponder:
    """Yields the text back, at once and in one piece."""

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        """`text`, or nothing where it was cancelled."""
        if not cancelled.is_set():
            yield text

    def cancel(self) -> None:
        """There is never work to stop."""

    def close(self) -> None:
        """There is nothing to release."""
