"""Which short sound says what, pure: the loop that cannot be seen has to be heard.

A sound is played where silence would be taken for something else: that it listens, that it works
on the answer, that there is no connection, that something failed. Times are seconds of a monotonic
clock, handed in.
"""

from __future__ import annotations

from slng_edge.dialogue.turn_taking import State

THINKING_AFTER_S = 1.0
"""Who waits for longer than this doubts that they were heard."""
THINKING_EVERY_S = 4.0
"""And again: a device that is silent for so long might be dead."""


class Signals:
    """Decides when `thinking` sounds, and which of `error` and `offline`. One thread.

    Attributes:
        deadline: When `due` has something to say next; None for never.
    """

    def __init__(self) -> None:
        self.deadline: float | None = None
        self._told_failure = False

    def entered(self, state: State, now: float) -> None:
        """The conversation is in another state."""
        self.deadline = now + THINKING_AFTER_S if state is State.THINKING else None
        if state in (State.LISTENING, State.THINKING):
            self._told_failure = False

    def due(self, now: float) -> str | None:
        """The sound that the passing of time asks for."""
        if self.deadline is None or now < self.deadline:
            return None
        self.deadline = now + THINKING_EVERY_S
        return "thinking"

    def woken(self, *, offline: bool, in_one_breath: bool) -> str | None:
        """Somebody asked to be listened to; no sound where they speak on already."""
        if offline:
            return "offline"
        return None if in_one_breath else "wake"

    def failed(self, *, offline: bool) -> str | None:
        """A turn came to nothing; it is told once, however many things fail with it."""
        if self._told_failure:
            return None
        self._told_failure = True
        return "offline" if offline else "error"
