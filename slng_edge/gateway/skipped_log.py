"""What the log says of messages that were skipped: some of them, however many come. Pure."""

from __future__ import annotations

LINES = 10
WINDOW_S = 600.0
"""Two sessions of a gateway that sends nothing else then leave nearly all that the unit lets into
the journal (2,000 lines in 10 minutes) to others."""
LINE_CHARS = 200


class SkippedLog:
    """Each reason once in `WINDOW_S`, `LINES` of them at most; the owner serializes all calls."""

    def __init__(self) -> None:
        self._until = 0.0
        self._said: set[str] = set()
        self._unsaid = 0

    def lines(self, why: str, now: float) -> list[str]:
        """What to log of a message that was skipped; nothing where it is one of too many.

        Args:
            why: Why it was.
            now: Seconds of a monotonic clock.
        """
        lines = []
        if now >= self._until:
            if self._unsaid:
                lines.append(f"skipped {self._unsaid} more messages")
            self._until = now + WINDOW_S
            self._said.clear()
            self._unsaid = 0
        why = why[:LINE_CHARS]
        if why in self._said or len(self._said) >= LINES:
            self._unsaid += 1
            return lines
        self._said.add(why)
        return [*lines, f"skipped a message: {why}"]
