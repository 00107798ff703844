"""The ring buffer as plain lists: what it does, with no thought for what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field

FADE_IN = 5


@dataclass
class Written:
    """One utterance: all of its samples, and where it stands."""

    number: int
    samples: list[int] = field(default_factory=list)
    at: int = 0
    furthest: int = 0
    ended: bool = False

    @property
    def left(self) -> list[int]:
        return self.samples[self.at :]


class RingModel:
    """One sample a millisecond, no prebuffer, blocks no shorter than the fade.

    `read` gives the samples with the gain of each, because rounding is not what is modelled.
    """

    def __init__(self, *, capacity: int, fade: int, kept: int) -> None:
        self.capacity, self.fade, self.kept = capacity, fade, kept
        self.current = Written(0, ended=True)
        self.everything = {0: self.current}
        self.opened = False
        self.flowing = False
        """Whether the last that was read was sound of the current utterance, and is not over."""
        self.tail: list[tuple[Written, int]] = []
        """What fades out still: the utterance and the samples left of it."""
        self.paused = False
        self.paused_at = 0
        self.heard_pause = False
        self.fade_in = False
        self.finished = 0

    def open(self) -> int:
        self._next()
        self.opened = True
        return self.current.number

    def clear(self) -> int:
        return self._next()

    def write(self, samples: list[int]) -> bool:
        if self.current.ended:
            return False
        tail = sum(count for item, count in self.tail if item is not self.current)
        room = max(0, self.capacity - tail - len(self.current.left))
        self.current.samples += samples[:room]
        return len(samples) <= room

    def end(self) -> None:
        if not self.current.ended:
            self.current.ended = True
            self._finish()

    def read(self, length: int) -> list[tuple[int, float]]:
        if self.tail:
            self.heard_pause = self.paused
            ((item, count),) = self.tail
            self.tail = []
            gains = [1 - (k + 1) / count for k in range(count)]
            return self._take(item, gains)
        if self.paused:
            self.heard_pause = True
            return []
        count = min(length, len(self.current.left))
        gains = [1.0] * count
        if self.fade_in and count:
            self.fade_in = False
            for k in range(min(count, FADE_IN)):
                gains[k] = k / (FADE_IN - 1)
        sounds = self._take(self.current, gains)
        self.flowing = count == length or self.current.ended
        return sounds

    def pause(self) -> bool:
        if self.paused:
            return True
        old_tail = self.tail and self.tail[0][0] is not self.current
        if not self.opened or (self.current.ended and not self.current.left and not old_tail):
            return False
        if not old_tail:
            self._fade_out()
        self.paused, self.paused_at, self.heard_pause = True, self.current.at, False
        return True

    def resume(self, rewind: int) -> int:
        if not self.paused:
            return 0
        self.paused = False
        item, back = self.current, 0
        if self.tail and self.tail[0][0] is item:
            self.tail = []
        if self.heard_pause and item.at:
            earliest = max(0, item.furthest - self.kept)
            back = item.at - max(earliest, self.paused_at - rewind)
            item.at -= back
            self.fade_in = True
        self._finish()
        return back

    def last(self, count: int) -> list[int]:
        at = self.paused_at if self.paused else self.current.at
        earliest = max(0, self.current.furthest - self.kept, at - count)
        return self.current.samples[earliest:at]

    def _take(self, item: Written, gains: list[float]) -> list[tuple[int, float]]:
        values = item.left[: len(gains)]
        item.at += len(gains)
        item.furthest = max(item.furthest, item.at)
        self._finish()
        return list(zip(values, gains, strict=True))

    def _fade_out(self) -> None:
        count = min(self.fade, len(self.current.left))
        if self.flowing and not self.fade_in and count:
            self.tail = [(self.current, count)]

    def _next(self) -> int:
        old = self.current
        old_tail = sum(count for item, count in self.tail if item is not old)
        if not self.paused and not old_tail:
            self._fade_out()
        dropped = len(old.left) - sum(count for item, count in self.tail if item is old)
        old.ended = True
        self.current = Written(old.number + 1)
        self.everything[self.current.number] = self.current
        self.opened = self.flowing = self.paused = self.fade_in = False
        return dropped

    def _finish(self) -> None:
        over = self.current.ended and not self.current.left
        if over and not self.paused and not self.tail:
            self.finished = self.current.number
