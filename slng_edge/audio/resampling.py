"""Sample rates into one another, without seams; the only file that imports soxr.

What soxr keeps back, measured with soxr 1.1 fed 10 and 20 ms chunks (milliseconds of input that
has not come out yet, mean and worst, after each chunk; the ends of the band that passes at -3 dB;
what is left of a tone 10 % above the new Nyquist frequency):

    quality   48 to 16 kHz   24 to 48 kHz   24 to 44.1 kHz   band   alias
    HQ        21 / 37        21 / 38        22 / 39          95 %   < -80 dB
    MQ        21 / 38        21 / 39        21 / 39          95 %   < -80 dB
    LQ        11 / 20        11 / 20        0.9 / 0.9        81 %   < -80 dB
    QQ        0  / 0         0  / 0         0  / 0           -      0 dB

The delay is no shift: output sample k is input moment k / to_hz, it only comes out later, in
bursts of up to the worst figure. So `LIVE` is LQ: half the delay of MQ, the same protection from
aliasing, and what it takes off the top (2 dB at 6.4 of 8 kHz) neither recognizers nor small
loudspeakers miss. QQ folds everything above the new Nyquist frequency back and is never used.
A file is read ahead of time, where delay costs nothing: `STORED` is HQ.
A chunk of 20 ms costs 4-7 µs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slng_edge.errors import MissingLibrary
from slng_edge.pcm import Samples

if TYPE_CHECKING:
    import soxr  # type: ignore[import-untyped]

LIVE = "LQ"
"""For a device: least delay that does not alias."""
STORED = "HQ"
"""For a file: delay does not matter."""


class Resampler:
    """A stream of one rate turned into another; state is kept from chunk to chunk. One thread.

    With equal rates it hands through what comes, and soxr is not loaded.

    Args:
        from_hz: Rate of what `receive` takes.
        to_hz: Rate of what it returns.
        quality: `LIVE` or `STORED`, or another quality of soxr by its name.

    Raises:
        MissingLibrary: the rates differ and soxr is not installed.
    """

    def __init__(self, from_hz: int, to_hz: int, quality: str = LIVE) -> None:
        self.from_hz = from_hz
        self.to_hz = to_hz
        self._received = 0
        self._returned = 0
        self._stream: soxr.ResampleStream | None = None
        if from_hz != to_hz:
            self._stream = _open_stream(from_hz, to_hz, quality)

    @property
    def pending_s(self) -> float:
        """Seconds of sound that went in and have not come out yet."""
        return max(0.0, self._received / self.from_hz - self._returned / self.to_hz)

    def receive(self, samples: Samples) -> Samples:
        """What can be said of the stream so far: any number of samples, none included."""
        self._received += len(samples)
        if self._stream is None:
            self._returned += len(samples)
            return samples
        resampled: Samples = self._stream.resample_chunk(samples)
        self._returned += len(resampled)
        return resampled

    def end(self) -> Samples:
        """The tail that was kept back; the resampler is then ready for a new stream."""
        tail: Samples = np.empty(0, dtype=np.int16)
        if self._stream is not None:
            tail = self._stream.resample_chunk(tail, last=True)
            self._stream.clear()
        self._received = self._returned = 0
        return tail


def _open_stream(from_hz: int, to_hz: int, quality: str) -> soxr.ResampleStream:
    try:
        import soxr
    except ImportError as error:
        raise MissingLibrary(
            "soxr", f"converting {from_hz} Hz to {to_hz} Hz", "pip install soxr"
        ) from error
    return soxr.ResampleStream(from_hz, to_hz, 1, dtype="int16", quality=quality)
