"""The reply on its way from the network to the speaker.

One thread writes what the gateway sends, the playback thread reads blocks, the conversation
clears. Every chunk carries the number of its utterance, and `clear` raises the number under the
same lock that drops the samples: what the network still delivers of an interrupted reply is
refused, and can never sound in the next turn.

One lock, held for a copy of one block at most. A cut is no hard edge: the last `fade_ms` that are
read after `clear` or `pause` go down to zero. What was read last stays for a while, so that a reply
that was paused can go on from the start of a word.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slng_edge.audio.sample_circle import SampleCircle
from slng_edge.dialogue.rewind import MAX_REWIND_MS
from slng_edge.pcm import PcmFormat, Samples

_FADE_IN_MS = 5
_REMEMBERED_UTTERANCES = 8
_NO_RAMP = np.empty(0, dtype=np.float32)


@dataclass
class _Utterance:
    """Counters of one reply, in samples."""

    number: int
    written: int = 0
    read: int = 0
    """What was gone back over is taken off again."""
    furthest: int = 0
    """The most that `read` has been."""
    ended: bool = False
    """No more is to come: the writer said so, or it was cleared."""


class RingBuffer:
    """Samples of one utterance at a time, in order; every method from any thread.

    Args:
        rate_hz: Rate of the samples, int16 mono.
        capacity_s: Longest reply that may wait here; a writer waits when it is full.
        fade_ms: Length of the ramp to zero after `clear` and `pause`.
        prebuffer_ms: What must have come before an utterance starts, or goes on after it ran dry.

    Attributes:
        utterance: Number of the current utterance; 0 before the first, and raised by `clear`.
        underruns: Times that an utterance ran dry and then went on.
        finished: Number of the last utterance that ended and was read to its last sample
            (a cleared one never is, one that is paused not before it is resumed).
        last_read: Number of the utterance whose samples the last `read_into` returned.
        last_read_total: Samples of that utterance read so far, less what `resume` went back.
            Like `last_read` it is for the thread that reads.
    """

    def __init__(
        self,
        *,
        rate_hz: int,
        capacity_s: float = 120.0,
        fade_ms: float = 10,
        prebuffer_ms: float = 80,
    ) -> None:
        pcm = PcmFormat(rate_hz)
        self.rate_hz = rate_hz
        self.utterance = 0
        self.underruns = 0
        self.finished = 0
        self.last_read = 0
        self.last_read_total = 0
        self._pcm = pcm
        capacity = pcm.samples(capacity_s * 1000)
        self._prebuffer = min(pcm.samples(prebuffer_ms), capacity)
        self._fade_samples = pcm.samples(fade_ms)
        # What fades out is read, too, and gone back over.
        self._kept = pcm.samples(MAX_REWIND_MS) + self._fade_samples
        self._circle = SampleCircle(capacity=capacity, kept=self._kept)
        self._fade_in = np.linspace(0, 1, pcm.samples(_FADE_IN_MS), dtype=np.float32)
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._writers_waiting = 0
        self._current = _Utterance(0, ended=True)
        self._fading = self._current
        self._past: deque[_Utterance] = deque(maxlen=_REMEMBERED_UTTERANCES)
        self._gathering = True
        self._ran_dry = False
        self._paused = False
        self._paused_at = 0
        self._pause_was_heard = False
        self._fade_left = 0
        self._ramp = _NO_RAMP
        self._fade_in_due = False
        self._closed = False
        self._opened = False

    def open_utterance(self) -> int:
        """Begin a new utterance and return its number; one that is not yet read is cleared."""
        with self._lock:
            self._raise_number()
            self._opened = True
            return self.utterance

    def write(self, samples: Samples, utterance: int, timeout_s: float | None = None) -> bool:
        """Append `samples` to `utterance`; waits while the buffer is full.

        Args:
            samples: int16 mono, any length; copied.
            utterance: What `open_utterance` returned.
            timeout_s: Longest wait for room; None waits until `clear` or `close`.

        Returns:
            True when all were taken. False when `utterance` is not the current one any more, has
            been ended, the buffer is closed, or `timeout_s` has passed (what found room is in).
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        taken = 0
        with self._lock:
            while utterance == self._current.number and not self._current.ended:
                if self._closed:
                    return False
                taken += self._append(samples[taken:] if taken else samples)
                if taken == len(samples):
                    return True
                remaining_s = None if deadline_s is None else deadline_s - time.monotonic()
                if remaining_s is not None and remaining_s <= 0:
                    return False
                self._writers_waiting += 1
                self._room.wait(remaining_s)
                self._writers_waiting -= 1
        return False

    def end(self, utterance: int) -> None:
        """Say that no more of `utterance` will come; of an old one it is ignored."""
        with self._lock:
            if utterance == self._current.number and not self._current.ended:
                self._current.ended = True
                self._note_finished()

    def read_into(self, block: Samples) -> int:
        """Fill `block` with what is to sound now, padded with silence. Never waits.

        A block holds samples of one utterance only, and they stand at its start.

        Returns:
            Samples of a reply in `block`; 0 in silence.
        """
        with self._lock:
            if self._fade_left:
                return self._read_fading(block)
            if self._paused or not self._may_sound():
                self._pause_was_heard = self._paused
                block.fill(0)
                return 0
            count = min(len(block), self._circle.waiting)
            self._circle.take(block, count)
            if self._fade_in_due:
                self._fade_in_due = False
                length = min(count, len(self._fade_in))
                _scale(block[:length], self._fade_in[:length])
            self._count_read(self._current, count)
            if count < len(block) and not self._current.ended:
                self._gathering = self._ran_dry = True
            self._note_finished()
            return count

    def clear(self) -> int:
        """Cut the current utterance off and raise the number, so that late writes are refused.

        What sounds goes down to zero within `fade_ms`; the rest is dropped, and a writer that
        waits for room is woken and refused. A pause ends.

        Returns:
            Samples dropped, the fading ones not counted.
        """
        with self._lock:
            return self._raise_number()

    def pause(self) -> bool:
        """Fade out and hold the rest for `resume`, `clear` or the next utterance.

        Returns:
            Whether there is something to hold. Not where no utterance is open, and not where it
            ended and was read to its last sample: what stands in the device of it sounds.
        """
        with self._lock:
            if not self._paused:
                if not self._opened or self._read_to_its_end():
                    return False
                if not self._tail_fades():
                    self._begin_fade()
                self._paused = True
                self._paused_at = self._current.read
                self._pause_was_heard = False
            return True

    def resume(self, rewind_ms: float = 0) -> int:
        """Go on where `pause` stopped, or `rewind_ms` before it, with a fade-in of 5 ms.

        What faded out is played again. Where nobody heard the pause, because nothing was read
        since, the reply goes on as if there had been none. Without a pause: nothing.

        Args:
            rewind_ms: How far before the pause to begin. Never before the start of the utterance,
                and never more than `MAX_REWIND_MS` before the furthest that was read of it, so
                that who coughs again and again does not drive it back.

        Returns:
            Samples gone back, those that faded out included. They count as not read any more.
        """
        with self._lock:
            if not self._paused:
                return 0
            self._paused = False
            if self._fading is self._current:
                self._fade_left = 0
            back = 0
            if self._pause_was_heard and self._current.read:
                back = self._go_back(self._pcm.samples(max(0.0, rewind_ms)))
                self._fade_in_due = True
            self._note_finished()
            return back

    def last_samples(self, ms: float) -> Samples:
        """The last `ms` read of the current utterance, at most `MAX_REWIND_MS`; a copy.

        While it is paused: the last before the pause, which is where `resume` counts from. Fewer
        where fewer have been read.
        """
        with self._lock:
            faded = self._current.read - self._paused_at if self._paused else 0
            count = min(self._pcm.samples(max(0.0, ms)), self._readable_again() - faded)
            return self._circle.last(max(0, count), before=faded)

    def drained(self, utterance: int) -> bool:
        """Whether `read_into` will return nothing more of `utterance`."""
        with self._lock:
            if self._fade_left and self._fading.number == utterance:
                return False
            if utterance != self._current.number:
                return True
            return self._read_to_its_end() and not self._paused

    def samples_read(self, utterance: int) -> int:
        """Samples of `utterance` read so far; 0 of one that is not or no longer known."""
        with self._lock:
            found = self._find(utterance)
            return found.read if found else 0

    def samples_written(self, utterance: int) -> int:
        """Samples of `utterance` taken so far; 0 of one that is not or no longer known."""
        with self._lock:
            found = self._find(utterance)
            return found.written if found else 0

    @property
    def buffered_samples(self) -> int:
        """Samples that wait to be read, fading ones included."""
        with self._lock:
            return self._circle.waiting

    @property
    def fading(self) -> bool:
        """Whether the next `read_into` returns a piece that fades to silence."""
        return self._fade_left > 0

    @property
    def paused(self) -> bool:
        """Whether `pause` holds the utterance."""
        return self._paused

    @property
    def idle(self) -> bool:
        """Whether nothing sounds and nothing is about to: no utterance is open or unread."""
        if self._circle.waiting or self._paused:
            return False
        return self._current.ended or not self._opened

    def close(self) -> None:
        """Refuse all writes from now on, and wake a writer that waits; idempotent."""
        with self._lock:
            self._closed = True
            self._room.notify_all()

    def _append(self, samples: Samples) -> int:
        count = self._circle.append(samples)
        self._current.written += count
        if self._ran_dry and count:
            self._ran_dry = False
            self.underruns += 1
        return count

    def _count_read(self, utterance: _Utterance, count: int) -> None:
        utterance.read += count
        utterance.furthest = max(utterance.furthest, utterance.read)
        self.last_read = utterance.number
        self.last_read_total = utterance.read
        if self._writers_waiting:
            self._room.notify_all()

    def _readable_again(self) -> int:
        current = self._current
        return min(current.read, self._kept - (current.furthest - current.read))

    def _go_back(self, before_pause: int) -> int:
        current = self._current
        count = min(current.read - self._paused_at + before_pause, self._readable_again())
        self._circle.go_back(count)
        current.read -= count
        if self.last_read == current.number:
            self.last_read_total = current.read
        return count

    def _may_sound(self) -> bool:
        waiting = self._circle.waiting
        if self._gathering and (self._current.ended or waiting >= self._prebuffer):
            self._gathering = False
        if not waiting and not self._gathering and not self._current.ended:
            self._gathering = self._ran_dry = True
        return waiting > 0 and not self._gathering

    def _read_fading(self, block: Samples) -> int:
        self._pause_was_heard = self._paused
        if not len(self._ramp):
            # Ends below one: a ramp that begins at full scale only doubles its first sample.
            self._ramp = np.linspace(1, 0, self._fade_left + 1, dtype=np.float32)[1:]
        count = min(len(block), self._fade_left)
        self._circle.take(block, count)
        done = len(self._ramp) - self._fade_left
        _scale(block[:count], self._ramp[done : done + count])
        self._fade_left -= count
        self._count_read(self._fading, count)
        self._note_finished()
        return count

    def _begin_fade(self) -> None:
        waiting = self._circle.waiting
        # Where a fade-in is due, silence has been read last.
        sounding = not self._gathering and not self._fade_in_due and waiting > 0
        self._fading = self._current
        self._fade_left = min(self._fade_samples, waiting) if sounding else 0
        self._ramp = _NO_RAMP

    def _raise_number(self) -> int:
        if not self._paused and not self._tail_fades():
            self._begin_fade()
        dropped = self._circle.cut(self._fade_left)
        self._current.ended = True
        self._past.append(self._current)
        self.utterance += 1
        self._current = _Utterance(self.utterance)
        self._gathering = True
        self._opened = False
        self._paused = self._ran_dry = self._fade_in_due = False
        if self._writers_waiting:
            self._room.notify_all()
        return dropped

    def _note_finished(self) -> None:
        if self._read_to_its_end() and not self._paused:
            self.finished = self._current.number

    def _read_to_its_end(self) -> bool:
        return self._current.ended and not self._circle.waiting

    def _tail_fades(self) -> bool:
        """Whether the last of an utterance before the current one still sounds."""
        return self._fade_left > 0 and self._fading is not self._current

    def _find(self, number: int) -> _Utterance | None:
        if number == self._current.number:
            return self._current
        return next((past for past in self._past if past.number == number), None)


def _scale(samples: Samples, gains: NDArray[np.float32]) -> None:
    np.multiply(samples, gains, out=samples, casting="unsafe")
