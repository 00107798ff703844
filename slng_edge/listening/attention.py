"""When the gate may open, pure: always, or for a while after somebody asked to be listened to.

With a wake word or a button the gate is shut until somebody wants something. It may then open for
`WINDOW_S`; once it has, it may open again until the turn is over, since who is being answered may
add something or interrupt. After an answer it may open for `follow_up_s`, so that a conversation
goes on without the wake word. What the gate hears in vain does not make the window longer: a
television would hold it open for ever.

Times are seconds of a monotonic clock, handed in.
"""

from __future__ import annotations

import math

WINDOW_S = 8.0
"""From the wake word to the first word of the question: as long as the follow-up is by default."""


class Attention:
    """Says whether the gate may open. One thread: the one that reads the microphone.

    Args:
        always: Whether it may at any time (`wake.mode = "open"`).
        follow_up_s: How long it may after an answer; 0 for not at all.

    Attributes:
        invited: Whether somebody asked to be listened to, and is not answered yet.
    """

    def __init__(self, *, always: bool, follow_up_s: float) -> None:
        self._always = always
        self._follow_up_s = follow_up_s
        self._until = -math.inf
        self._in_turn = False
        self.invited = False

    def awake(self, now: float) -> bool:
        """Whether the gate may open now."""
        return self._always or self._in_turn or now < self._until

    def waits(self, now: float) -> bool:
        """Whether a window is open in which nobody has spoken yet. Any thread."""
        return not self._always and not self._in_turn and now < self._until

    def woken(self, now: float) -> None:
        """Somebody asked to be listened to."""
        self._in_turn = False
        self._until = now + WINDOW_S
        self.invited = True

    def stopped(self) -> None:
        """Somebody wants it to listen no more; the turn may go on for a while."""
        self._until = -math.inf

    def turn_began(self) -> None:
        """The gate opened, or a question came in writing."""
        self._in_turn = True

    def turn_ended(self, now: float, *, answered: bool) -> bool:
        """The turn is over; returns whether a window for a follow-up opens with it."""
        self._in_turn = False
        self.invited = False
        if answered:
            self._until = now + self._follow_up_s
        return answered and self._follow_up_s > 0 and not self._always

    def fell_asleep(self, now: float) -> bool:
        """Whether the window has passed unused; True once for each."""
        if self._always or self._in_turn or self._until == -math.inf or now < self._until:
            return False
        self._until = -math.inf
        return True
