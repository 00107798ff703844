"""Samples in a circle: a preallocated array and two positions that only grow.

Nothing is moved or allocated per call, so that a call costs a copy of what it is given and no
more, however much waits. The samples read last stay in the circle, where a writer never reaches
them: that is what makes it possible to go back. No lock: the ring buffer has one.
"""

from __future__ import annotations

import numpy as np

from slng_edge.pcm import Samples


class SampleCircle:
    """The store of a ring buffer; one thread at a time.

    Args:
        capacity: Most samples that wait to be read, but for those that were gone back to.
        kept: How many of the samples read last stay readable.

    Attributes:
        waiting: Samples between the position of reading and that of writing.
    """

    def __init__(self, *, capacity: int, kept: int) -> None:
        self.waiting = 0
        self._capacity = capacity
        self._size = capacity + kept
        # zeros, not empty: the pages come when they are first used.
        self._ring: Samples = np.zeros(self._size, dtype=np.int16)
        self._read_at = 0

    def append(self, samples: Samples) -> int:
        """Write as many of `samples` as find room, and return how many."""
        count = min(len(samples), self._capacity - self.waiting)
        if count <= 0:  # More may wait than fits, after going back.
            return 0
        at = (self._read_at + self.waiting) % self._size
        first = min(count, self._size - at)
        self._ring[at : at + first] = samples[:first]
        if first < count:
            self._ring[: count - first] = samples[first:count]
        self.waiting += count
        return count

    def take(self, block: Samples, count: int) -> None:
        """Move the next `count` samples, of those that wait, to the start of `block`.

        What is left of `block` becomes silence.
        """
        self._copy(self._read_at, block[:count])
        block[count:] = 0
        self._read_at += count
        self.waiting -= count

    def go_back(self, count: int) -> None:
        """Let the `count` samples read last, at most those that are kept, wait again."""
        self._read_at -= count
        self.waiting += count

    def last(self, count: int, *, before: int = 0) -> Samples:
        """A copy of the `count` samples read last; of those that came `before` samples earlier.

        Together they are at most those that are kept.
        """
        samples: Samples = np.empty(count, dtype=np.int16)
        self._copy(self._read_at - before - count, samples)
        return samples

    def cut(self, keep: int) -> int:
        """Drop what waits, all but the first `keep` samples; returns how many were dropped."""
        dropped = self.waiting - keep
        self.waiting = keep
        if not keep:
            # From the start again: short replies then stay within the same few pages.
            self._read_at = 0
        return dropped

    def _copy(self, position: int, out: Samples) -> None:
        count = len(out)
        at = position % self._size
        first = min(count, self._size - at)
        out[:first] = self._ring[at : at + first]
        if first < count:
            out[first:] = self._ring[: count - first]
