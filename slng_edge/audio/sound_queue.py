"""Short sounds that wait to be mixed over whatever plays, and the one that sounds."""

from __future__ import annotations

import threading
from collections import deque

from slng_edge.audio.ducking import Ducking, Hold
from slng_edge.pcm import Samples

_LONGEST = 4
"""Sounds that may wait; a fifth replaces the oldest. The newest says what is the case now."""

_STALE_S = 2.0
"""A sound that waited longer for a device tells of something that has passed."""


class SoundQueue:
    """Sounds one after the other; the reply is ducked from the first to the last of them.

    `add` may come from any thread; `take_into`, `drop` and `drop_stale` are for the one that plays.
    A sound is the same as another when it is the same array.

    Args:
        ducking: Held while a sound is mixed that is longer than a block.
    """

    def __init__(self, ducking: Ducking) -> None:
        self.sounding = False
        """Whether a sound waits or is being mixed. Any thread."""
        self._ducking = ducking
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Samples, float]] = deque(maxlen=_LONGEST)
        self._current: Samples | None = None
        self._at = 0
        self._hold: Hold | None = None

    def add(self, sound: Samples, now: float) -> None:
        """Let `sound` follow those that wait, since `now` (monotonic seconds); never waits.

        One that waits already goes to the end. One that sounds, with nothing behind it, does
        not sound again.
        """
        if not len(sound):
            return
        with self._lock:
            if sound is self._current and not self._waiting:
                return
            kept = [item for item in self._waiting if item[0] is not sound]
            self._waiting.clear()
            self._waiting.extend([*kept, (sound, now)])
            self.sounding = True

    def take_into(self, block: Samples) -> int:
        """Fill `block` with the next of the sounds, padded with silence.

        Returns:
            Samples of sounds in `block`; 0 where there is none, and `block` is left alone.
        """
        if not self.sounding:
            return 0
        with self._lock:
            filled = 0
            while filled < len(block) and (sound := self._next()) is not None:
                piece = sound[self._at : self._at + len(block) - filled]
                block[filled : filled + len(piece)] = piece
                self._at += len(piece)
                filled += len(piece)
            block[filled:] = 0
            if self._next() is None:
                self._release()
            elif self._hold is None:
                self._hold = self._ducking.hold()
            return filled

    def drop(self) -> None:
        """Forget all of it at once: there is no device any more."""
        with self._lock:
            self._waiting.clear()
            self._current = None
            self._release()

    def drop_stale(self, now: float) -> None:
        """Forget what has waited too long for a device, before anything of it sounded."""
        oldest = now - _STALE_S
        with self._lock:
            while self._waiting and self._waiting[0][1] < oldest:
                self._waiting.popleft()
            self.sounding = bool(self._waiting)

    def _next(self) -> Samples | None:
        """The sound whose turn it is, at `_at`."""
        if self._current is not None and self._at < len(self._current):
            return self._current
        self._current, self._at = None, 0
        if self._waiting:
            self._current = self._waiting.popleft()[0]
        return self._current

    def _release(self) -> None:
        self.sounding = False
        if self._hold is not None:
            self._hold.release()
            self._hold = None
