"""How loud things sound: a gain that never steps, and ducking that never gets stuck.

Ducking is a multiplier with a count: whoever wants the reply quieter holds it, and it is loud
again when the last one lets go. Nothing is saved and restored, so that nobody can restore the wrong
level, and a holder that is forgotten lets go when it is collected.
"""

from __future__ import annotations

import itertools
import weakref
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from slng_edge.pcm import PcmFormat, Samples

DUCKED_GAIN = 0.25
"""What is left of the reply under a sound: 12 dB less, still to be followed, and no rival."""

RAMP_MS = 25.0
"""How long a change of gain takes: below 20 ms it is heard as a click, above 50 as a swell."""


class Hold:
    """One holder of a `Ducking`, from `Ducking.hold`; a context manager. Any thread."""

    def __init__(self, ducking: Ducking, number: int) -> None:
        self._let_go = weakref.finalize(self, ducking._holds.discard, number)
        self._let_go.atexit = False

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let go; idempotent."""
        self._let_go()


class Ducking:
    """Makes the reply quieter for as long as anybody holds it. Any thread, without a lock.

    Adding to a set and discarding from it are atomic, which a count is not, and may come
    from the garbage collector in the middle of anything, where a lock could be held already.
    """

    def __init__(self) -> None:
        self._holds: set[int] = set()
        self._numbers = itertools.count()

    @property
    def gain(self) -> float:
        """What the reply is to be multiplied by: `DUCKED_GAIN` while anybody holds it, else 1."""
        return DUCKED_GAIN if self._holds else 1.0

    def hold(self) -> Hold:
        """Duck until the returned one is released: at the end of its `with`, or by `release`.

        One that is dropped without either is released when it is collected.
        """
        number = next(self._numbers)
        self._holds.add(number)
        return Hold(self, number)


class GainRamp:
    """Multiplies block after block, and goes to a new gain in `RAMP_MS`. One thread.

    Args:
        rate_hz: Rate of the samples.

    Attributes:
        gain: What the last sample was multiplied by; 1 at first.
    """

    def __init__(self, rate_hz: int) -> None:
        self.gain = 1.0
        self._length = PcmFormat(rate_hz).samples(RAMP_MS)
        self._target = 1.0
        self._left = 0
        self._step = 0.0
        self._wide = np.empty(0, dtype=np.float32)

    def jump(self, gain: float) -> None:
        """Go to `gain` at once: for a block that begins after silence."""
        self.gain = self._target = gain
        self._left = 0

    def apply(self, samples: Samples, target: float) -> None:
        """Multiply `samples` in place, on the way to `target`; what is too loud is clipped.

        At a gain of 1 they are left alone.
        """
        if target != self._target:
            self._target = target
            self._left = self._length
            self._step = (target - self.gain) / self._length
        if not self._left:
            if self.gain != 1.0:
                self._scale(samples, np.float32(self.gain), self.gain)
            return
        loudest = max(self.gain, target)
        gains = np.full(len(samples), target, dtype=np.float32)
        count = min(self._left, len(samples))
        gains[:count] = self.gain + self._step * np.arange(1, count + 1)
        self._left -= count
        self.gain = float(gains[count - 1]) if self._left else target
        self._scale(samples, gains, loudest)

    def _scale(
        self, samples: Samples, gain: NDArray[np.float32] | np.float32, loudest: float
    ) -> None:
        if len(self._wide) != len(samples):
            self._wide = np.empty(len(samples), dtype=np.float32)
        np.multiply(samples, gain, out=self._wide)
        if loudest > 1.0:  # Clipping costs as much as all the rest.
            np.clip(self._wide, -32768, 32767, out=self._wide)
        np.copyto(samples, self._wide, casting="unsafe")
