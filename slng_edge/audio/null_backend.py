"""`null`: a microphone that hears nothing and a speaker that nobody hears, in real time."""

from __future__ import annotations

import numpy as np

from slng_edge.audio.media_clock import CloseFlag, MediaClock, SpeakerPacing
from slng_edge.pcm import PcmFormat, Samples


class NullSource:
    """Silence, frame by frame, as a microphone would give it. Implements `Source`.

    Args:
        rate_hz: Rate of the frames.
        frame_ms: Length of a frame in milliseconds.
        clock: Its origin is the instant of sample 0.
    """

    def __init__(self, *, rate_hz: int, frame_ms: float, clock: MediaClock) -> None:
        self.name = "null"
        self.rate_hz = rate_hz
        self.frame_samples = PcmFormat(rate_hz).samples(frame_ms)
        self.live = True
        self.overflows = 0
        self.idle = False
        self._clock = clock
        self._closed = CloseFlag()
        self._frames = 0
        self._silence: Samples = np.zeros(self.frame_samples, dtype=np.int16)
        self._silence.setflags(write=False)

    def open(self) -> None:
        """Start at the present moment; never fails."""
        self._closed.clear()
        self._frames = int(self._clock.elapsed_s() * self.rate_hz) // self.frame_samples

    def read(self) -> Samples | None:
        """One frame of zeros, read-only and always the same array; None after `close`."""
        self._frames += 1
        end_s = self._frames * self.frame_samples / self.rate_hz
        return self._silence if self._clock.wait_until(end_s, self._closed) else None

    def close(self) -> None:
        """End a waiting `read`; any thread, idempotent."""
        self._closed.set()


class NullSink:
    """Swallows blocks at the pace of a speaker. Implements `Sink`.

    Args:
        rate_hz: Rate of the blocks.
        block_ms: Length of a block in milliseconds.
        buffer_ms: What stands in the device that it plays (two blocks at least).
        clock: Its origin is the instant of sample 0.
    """

    def __init__(
        self, *, rate_hz: int, block_ms: float, buffer_ms: float, clock: MediaClock
    ) -> None:
        self.name = "null"
        self.rate_hz = rate_hz
        pcm = PcmFormat(rate_hz)
        self.block_samples = pcm.samples(block_ms)
        self.underflows = 0
        self.buffer_ms = max(buffer_ms, 2 * block_ms)
        self._pacing = SpeakerPacing(
            clock,
            rate_hz=rate_hz,
            buffer_samples=pcm.samples(self.buffer_ms),
        )

    @property
    def latency_s(self) -> float:
        """Seconds from now until the last block written would have been heard."""
        return self._pacing.latency_s

    def open(self) -> None:
        """Start; never fails."""
        self._pacing.closed.clear()

    def write(self, block: Samples) -> None:
        """Swallow `block`, then wait until there would be room for another of its length.

        Raises:
            DeviceLost: it was closed.
        """
        self._pacing.admit(len(block))
        self.underflows = self._pacing.underflows
        self._pacing.wait_for_room(len(block))

    def close(self) -> None:
        """End a waiting `write`; any thread, idempotent."""
        self._pacing.closed.set()
