"""The reply on its way from the network to the speaker.

One thread writes what the gateway sends, the playback thread reads blocks, the conversation
clears. Every chunk carries the number of its utterance, and `clear` raises the number under the
same lock that drops the samples: what the network still delivers of an interrupted reply is
refused, and can never sound in the next turn.

Nothing is moved or allocated per call: a preallocated array, two positions that only grow, and
one lock, held for a copy of one block at most. A cut is no hard edge: the last `fade_ms` that are
read after `clear` or `pause` go down to zero.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
            (a cleared one never is).
        last_read: Number of the utterance whose samples the last `read_into` returned.
        last_read_total: Samples of that utterance read so far. Like `last_read` it is for the
            thread that reads.
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
        self._capacity = pcm.samples(capacity_s * 1000)
        self._prebuffer = min(pcm.samples(prebuffer_ms), self._capacity)
        self._fade_samples = pcm.samples(fade_ms)
        # zeros, not empty: the pages come when they are first used.
        self._ring: Samples = np.zeros(self._capacity, dtype=np.int16)
        self._fade_in = np.linspace(0, 1, pcm.samples(_FADE_IN_MS), dtype=np.float32)
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._writers_waiting = 0
        self._read_at = 0
        self._write_at = 0
        self._current = _Utterance(0, ended=True)
        self._fading = self._current
        self._past: deque[_Utterance] = deque(maxlen=_REMEMBERED_UTTERANCES)
        self._gathering = True
        self._ran_dry = False
        self._paused = False
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
                block.fill(0)
                return 0
            count = min(len(block), self._write_at - self._read_at)
            self._copy_out(block, count)
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

    def pause(self) -> None:
        """Fade out and hold the rest for `resume`, `clear` or the next utterance."""
        with self._lock:
            if not self._paused:
                self._begin_fade()
                self._paused = True

    def resume(self) -> None:
        """Go on where `pause` stopped, with a fade-in of 5 ms. Without a pause: nothing."""
        with self._lock:
            if self._paused:
                self._paused = False
                self._fade_in_due = len(self._ramp) > 0
                if self._fading is self._current:
                    self._fade_left = 0

    def drained(self, utterance: int) -> bool:
        """Whether `read_into` will return nothing more of `utterance`."""
        with self._lock:
            if self._fade_left and self._fading.number == utterance:
                return False
            if utterance != self._current.number:
                return True
            return self._current.ended and self._read_at == self._write_at

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
            return self._write_at - self._read_at

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
        if self._read_at != self._write_at:
            return False
        return self._current.ended or not self._opened

    def close(self) -> None:
        """Refuse all writes from now on, and wake a writer that waits; idempotent."""
        with self._lock:
            self._closed = True
            self._room.notify_all()

    def _append(self, samples: Samples) -> int:
        count = min(len(samples), self._capacity - (self._write_at - self._read_at))
        at = self._write_at % self._capacity
        first = min(count, self._capacity - at)
        self._ring[at : at + first] = samples[:first]
        if first < count:
            self._ring[: count - first] = samples[first:count]
        self._write_at += count
        self._current.written += count
        if self._ran_dry and count:
            self._ran_dry = False
            self.underruns += 1
        return count

    def _copy_out(self, block: Samples, count: int) -> None:
        at = self._read_at % self._capacity
        first = min(count, self._capacity - at)
        block[:first] = self._ring[at : at + first]
        if first < count:
            block[first:count] = self._ring[: count - first]
        block[count:] = 0

    def _count_read(self, utterance: _Utterance, count: int) -> None:
        self._read_at += count
        utterance.read += count
        self.last_read = utterance.number
        self.last_read_total = utterance.read
        if self._writers_waiting:
            self._room.notify_all()

    def _may_sound(self) -> bool:
        waiting = self._write_at - self._read_at
        if self._gathering and (self._current.ended or waiting >= self._prebuffer):
            self._gathering = False
        if not waiting and not self._gathering and not self._current.ended:
            self._gathering = self._ran_dry = True
        return waiting > 0 and not self._gathering

    def _read_fading(self, block: Samples) -> int:
        if not len(self._ramp):
            # Ends below one: a ramp that begins at full scale only doubles its first sample.
            self._ramp = np.linspace(1, 0, self._fade_left + 1, dtype=np.float32)[1:]
        count = min(len(block), self._fade_left)
        self._copy_out(block, count)
        done = len(self._ramp) - self._fade_left
        _scale(block[:count], self._ramp[done : done + count])
        self._fade_left -= count
        self._count_read(self._fading, count)
        self._note_finished()
        return count

    def _begin_fade(self) -> None:
        waiting = self._write_at - self._read_at
        sounding = not self._gathering and waiting > 0
        self._fading = self._current
        self._fade_left = min(self._fade_samples, waiting) if sounding else 0
        self._ramp = _NO_RAMP

    def _raise_number(self) -> int:
        if not self._paused and not (self._fade_left and self._fading is not self._current):
            self._begin_fade()
        dropped = self._write_at - self._read_at - self._fade_left
        self._write_at = self._read_at + self._fade_left
        if not self._fade_left:
            # From the start again: short replies then stay within the same few pages.
            self._read_at = self._write_at = 0
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
        if self._current.ended and self._read_at == self._write_at:
            self.finished = self._current.number

    def _find(self, number: int) -> _Utterance | None:
        if number == self._current.number:
            return self._current
        return next((past for past in self._past if past.number == number), None)


def _scale(samples: Samples, gains: NDArray[np.float32]) -> None:
    np.multiply(samples, gains, out=samples, casting="unsafe")
