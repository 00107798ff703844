"""Raw audio: signed 16-bit little-endian mono samples, and the sums that go with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.int16]
"""One-dimensional int16 array, mono."""

SAMPLE_BYTES = 2
FULL_SCALE = 32768.0
SILENCE_DBFS = -96.0
"""What `level_dbfs` says of digital silence: the floor of 16 bits."""


@dataclass(frozen=True)
class PcmFormat:
    """A sample rate, and what follows from it for s16le mono."""

    rate_hz: int

    def samples(self, ms: float) -> int:
        """Whole samples in `ms` milliseconds."""
        return int(self.rate_hz * ms / 1000)

    def bytes(self, ms: float) -> int:
        """Bytes in `ms` milliseconds, whole samples."""
        return self.samples(ms) * SAMPLE_BYTES

    def ms(self, samples: int) -> float:
        """Milliseconds that `samples` samples last."""
        return samples * 1000 / self.rate_hz


def samples_of(data: bytes | bytearray | memoryview) -> Samples:
    """The samples in `data` (s16le, a whole number of them), without a copy where possible.

    Raises:
        ValueError: `data` is not a multiple of two bytes long.
    """
    return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)


def level_dbfs(samples: Samples) -> float:
    """Root mean square of `samples` in dB relative to full scale, `SILENCE_DBFS` at least."""
    if not len(samples):
        return SILENCE_DBFS
    wide = samples.astype(np.float32)
    mean_square = float(np.dot(wide, wide)) / len(samples)
    if mean_square < 0.25:
        return SILENCE_DBFS
    return 10.0 * math.log10(mean_square / (FULL_SCALE * FULL_SCALE))


class SampleAligner:
    """Carries an odd byte over, because audio messages may split samples (protocol.md, 4)."""

    def __init__(self) -> None:
        self._odd = b""

    def receive(self, data: bytes) -> bytes:
        """The whole samples of what came so far; keeps a last odd byte for the next call."""
        if self._odd:
            data = self._odd + data
        cut = len(data) & ~1
        self._odd = data[cut:]
        return data[:cut] if self._odd else data


class FrameSplitter:
    """Cuts arrays of any length into frames of exactly `frame_samples`.

    Some drivers return odd period sizes, and webrtcvad takes exact frames only.
    """

    def __init__(self, frame_samples: int) -> None:
        self.frame_samples = frame_samples
        self._rest: Samples = np.empty(0, dtype=np.int16)

    def receive(self, samples: Samples) -> list[Samples]:
        """The frames that are complete now; the rest is kept."""
        if len(self._rest):
            samples = np.concatenate((self._rest, samples))
        count = len(samples) // self.frame_samples
        cut = count * self.frame_samples
        self._rest = samples[cut:]
        return [
            samples[start : start + self.frame_samples]
            for start in range(0, cut, self.frame_samples)
        ]

    def end(self) -> Samples | None:
        """The last frame, padded with silence, or None where nothing is left."""
        if not len(self._rest):
            return None
        frame = np.zeros(self.frame_samples, dtype=np.int16)
        frame[: len(self._rest)] = self._rest
        self._rest = self._rest[:0]
        return frame
